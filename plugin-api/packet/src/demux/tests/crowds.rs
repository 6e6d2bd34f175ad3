//! Flows with more probes in flight than a packet is compared with.

use std::cell::Cell;

use super::*;

fn crowd(probe: impl Fn(u16) -> Vec<u8>, field: Key) -> (Demux, FlowId) {
    let (mut demux, flow) = opened(&probe(0), field, false);
    for number in 0..5_000 {
        demux.sent(flow, u32::from(number), &probe(number), LEFT).unwrap();
    }
    (demux, flow)
}

#[test]
fn a_packet_that_fits_no_probe_is_compared_with_the_newest_alone() {
    let (demux, flow) = crowd(echo, Key::IcmpSequence);
    let looked = Cell::new(0);
    let fits_none = |_: &Slot| {
        looked.set(looked.get() + 1);
        false
    };
    assert_eq!(demux.find_all(demux.flow(flow).unwrap(), fits_none).count(), 0);
    assert_eq!(looked.get(), 1024);
}

#[test]
fn the_oldest_of_many_probes_is_found_by_its_field_whoever_answers() {
    let (mut demux, flow) = crowd(echo, Key::IcmpSequence);
    assert_eq!(token(demux.receive(&echo_reply(0))), Some((0, Quality::Exact)));
    assert_eq!(token(demux.receive(&error(&echo(1), 28))), Some((1, Quality::Exact)));
    let elsewhere = Transport::Icmp { kind: 0, code: 0, rest: [0, 7, 0, 2] };
    let elsewhere = packet("203.0.113.9", LOCAL, 1, elsewhere);
    assert_eq!(token(demux.receive(&elsewhere)), Some((2, Quality::Weak)));
    let oldest = demux.waiting(flow, 3).unwrap();
    assert_eq!(demux.expire(oldest).map(|expired| expired.token), Some(3));
}

#[test]
fn of_many_probes_none_is_the_only_one_that_fits() {
    let (mut demux, _) = crowd(|number| udp(number, 33_435), Key::IpId);
    // All have the same checksum.
    assert_eq!(token(demux.receive(&error(&udp(20_000, 33_435), 28))), None);
    let other = |number| udp(number, if number == 4_000 { 80 } else { 33_435 });
    let (mut demux, _) = crowd(other, Key::IpId);
    assert_eq!(token(demux.receive(&error(&udp(20_000, 80), 28))), None, "an older may fit too");
    assert_eq!(token(demux.receive(&error(&udp(4_000, 80), 28))), Some((4_000, Quality::Exact)));
}
