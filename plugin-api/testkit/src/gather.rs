//! What routers write into IPv4 options that gather: addresses and times.
//!
//! Source: RFC 791, section 3.1.

use std::net::Ipv4Addr;

use sonde_packet::IpHeader;

use crate::edit::edit;

const RECORD_ROUTE: u8 = 7;
const TIMESTAMP: u8 = 68;

/// Writes `outgoing` and the time into the options of a packet that passes; `own` are all
/// addresses of the router.
pub(crate) fn stamp(packet: &mut Vec<u8>, outgoing: Ipv4Addr, own: &[Ipv4Addr], day_ms: u32) {
    let Ok(header) = IpHeader::parse(packet) else { return };
    if !header.source.is_ipv4() || header.options.is_empty() {
        return;
    }
    edit(packet, |packet| {
        let mut rest = &mut packet[header.options];
        while let [kind, behind @ ..] = rest {
            let octets = match (*kind, behind.first()) {
                (0, _) | (_, None) => return,
                (1, _) => 1,
                (_, Some(octets)) => usize::from(*octets),
            };
            if octets == 0 || octets > rest.len() {
                return;
            }
            let (option, after) = rest.split_at_mut(octets);
            match option.first() {
                Some(&RECORD_ROUTE) => record(option, outgoing),
                Some(&TIMESTAMP) => add_time(option, outgoing, own, day_ms),
                _ => {}
            }
            rest = after;
        }
    });
}

fn record(option: &mut [u8], outgoing: Ipv4Addr) {
    let at = option.get(2).map_or(0, |pointer| usize::from(*pointer)).saturating_sub(1);
    if put(option, at, outgoing.octets()) {
        option[2] += 4;
    }
}

fn add_time(option: &mut [u8], outgoing: Ipv4Addr, own: &[Ipv4Addr], day_ms: u32) {
    let &[_, _, pointer, form, ..] = &*option else { return };
    let at = usize::from(pointer).saturating_sub(1);
    let time = day_ms.to_be_bytes();
    let written = match form & 15 {
        0 => put(option, at, time).then_some(4),
        1 => {
            let has_room = option.len() >= at + 8;
            let is_done = has_room && put(option, at, outgoing.octets());
            (is_done && put(option, at + 4, time)).then_some(8)
        }
        3 => {
            let wanted = option.get(at..at + 4).and_then(|four| four.first_chunk::<4>());
            match wanted.map(|octets| Ipv4Addr::from(*octets)) {
                Some(wanted) if own.contains(&wanted) => put(option, at + 4, time).then_some(8),
                // The turn of another router, or of none.
                _ => return,
            }
        }
        _ => return,
    };
    match written {
        Some(octets) => option[2] += octets,
        // The counter of those without room stays at 15.
        None => option[3] = form & 15 | ((form >> 4) + 1).min(15) << 4,
    }
}

fn put(option: &mut [u8], at: usize, octets: [u8; 4]) -> bool {
    match option.get_mut(at..at + 4) {
        Some(slot) if at >= 3 => {
            slot.copy_from_slice(&octets);
            true
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use sonde_packet::{
        Ip, Packet, Payload, Transport, Verdict,
        ip_option::{self, IpOption, TimestampForm},
        verify,
    };

    use super::*;

    fn address(last: u8) -> Ipv4Addr {
        Ipv4Addr::new(192, 0, 2, last)
    }

    /// The options of an echo after routers 1 to `routers` have passed it on.
    fn passed(options: &[u8], routers: u8) -> Vec<IpOption> {
        let ip = Ip::plain(address(100).into(), address(200).into());
        let packet = Packet {
            ip: Ip { options, ..ip },
            transport: Transport::Echo { identifier: 1, sequence: 1 },
            payload: Payload::Zeros(0),
            checksum: None,
        };
        let mut packet = packet.to_vec().unwrap();
        for router in 1..=routers {
            stamp(&mut packet, address(router), &[address(router)], u32::from(router) * 10);
        }
        let header = IpHeader::parse(&packet).unwrap();
        assert_eq!(verify(&packet, &header), Verdict::Good);
        ip_option::parse(&packet[header.options])
    }

    #[test]
    fn nine_routers_fill_a_recorded_route_and_the_tenth_finds_no_room() {
        let route = |count| vec![IpOption::RecordRoute((1..=count).map(address).collect())];
        assert_eq!(passed(&ip_option::record_route(), 3), route(3));
        assert_eq!(passed(&ip_option::record_route(), 10), route(9));
    }

    #[test]
    fn routers_without_room_for_their_time_are_counted() {
        let form = TimestampForm::WithAddress;
        let stamps = (1..=4).map(|n| (Some(address(n)), u32::from(n) * 10)).collect();
        let found = passed(&ip_option::timestamps(form, &[]), 6);
        assert_eq!(found, [IpOption::Timestamps { form, stamps, overflow: 2 }]);
    }

    #[test]
    fn a_prespecified_router_waits_for_its_turn() {
        let form = TimestampForm::Prespecified;
        let option = ip_option::timestamps(form, &[address(3), address(2)]);
        let stamps = vec![(Some(address(3)), 30)];
        assert_eq!(passed(&option, 4), [IpOption::Timestamps { form, stamps, overflow: 0 }]);
    }
}
