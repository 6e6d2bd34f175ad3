//! What may leave at all: checked on the copy that is sent, for every packet of every plugin.
//!
//! The addresses, protocol and identifier of a packet are those of its flow, so what is known of
//! the flow's peer is known of the packet; the lists are asked once for each flow and each
//! version of the lists. An IPv6 address that stands for an IPv4 address is refused with it.

mod list;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use sonde_packet::{FlowKey, IpHeader, NotOwn, Permits, check_own, mapped, protocol, unmapped};

pub use self::list::{ListError, Prefixes};

/// Whom the operator lets be measured.
///
/// What is on the deny list is refused, whatever else is said of it. Where there is an allow list,
/// what is not on it is refused too, in both families.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    /// Never to be measured.
    pub deny: Prefixes,
    /// The only ones to be measured, if there are any.
    pub allow: Option<Prefixes>,
}

impl Policy {
    /// Permits whom both permit.
    #[must_use]
    pub fn and(self, other: &Self) -> Self {
        let allow = match (self.allow, &other.allow) {
            (Some(one), Some(other)) => Some(one.intersection(other)),
            (one, other) => one.or_else(|| other.clone()),
        };
        Self { deny: self.deny.union(&other.deny), allow }
    }

    /// Whether a packet may come from where it says, if that is not its flow's address: neither somebody
    /// on the deny list, nor who cannot send.
    ///
    /// # Errors
    ///
    /// [`Refusal::Address`].
    pub(crate) fn check_source(&self, packet: &[u8], flow: &FlowKey) -> Result<(), Refusal> {
        let source = IpHeader::parse(packet).map_err(|_| Refusal::Malformed)?.source;
        if mapped(source) == flow.local_address {
            return Ok(());
        }
        check_peer(source, false)?;
        if source.is_loopback() {
            return Err(Refusal::Address(source, "a loopback address"));
        }
        self.check_denied(unmapped(mapped(source)))
    }

    /// Whether the lists let somebody be measured.
    ///
    /// # Errors
    ///
    /// [`Refusal::Address`].
    pub(crate) fn check(&self, peer: IpAddr) -> Result<(), Refusal> {
        let peer = unmapped(mapped(peer));
        self.check_denied(peer)?;
        if self.allow.as_ref().is_some_and(|allow| !allow.contains(peer)) {
            return Err(Refusal::Address(peer, "not on the allow list"));
        }
        Ok(())
    }

    fn check_denied(&self, peer: IpAddr) -> Result<(), Refusal> {
        if self.deny.contains(peer) {
            return Err(Refusal::Address(peer, "on the deny list"));
        }
        if let IpAddr::V6(address) = peer
            && embedded(address).into_iter().flatten().any(|it| self.deny.contains(it.into()))
        {
            return Err(Refusal::Address(peer, "the way to an IPv4 address on the deny list"));
        }
        Ok(())
    }
}

/// IPv4 addresses that translators and tunnels would send a packet to.
fn embedded(address: Ipv6Addr) -> [Option<Ipv4Addr>; 4] {
    let octets = address.octets();
    let of =
        |[a, b, c, d]: [usize; 4]| Some(Ipv4Addr::new(octets[a], octets[b], octets[c], octets[d]));
    let at = |from: usize| of([from, from + 1, from + 2, from + 3]);
    let one = |address| [address, None, None, None];
    match octets {
        // RFC 4291, 2.5.5.1: IPv4-compatible; ::1 is not one.
        [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, ..] if address.to_bits() > 1 => one(at(12)),
        // RFC 3056: 6to4.
        [0x20, 0x02, ..] => one(at(2)),
        // RFC 8215: NAT64 with prefixes of any length from 48 on (RFC 6052, 2.2).
        [0, 0x64, 0xff, 0x9b, 0, 1, ..] => [at(12), of([6, 7, 9, 10]), of([7, 9, 10, 11]), at(9)],
        // RFC 6052: NAT64, the address at the end.
        [0, 0x64, 0xff, 0x9b, ..] => one(at(12)),
        // RFC 4380: Teredo, the server, and the client with every bit inverted.
        [0x20, 0x01, 0, 0, ..] => {
            [at(4), at(12).map(|client| Ipv4Addr::from_bits(!client.to_bits())), None, None]
        }
        // RFC 5214: ISATAP.
        [_, _, _, _, _, _, _, _, 0 | 2, 0, 0x5e, 0xfe, ..] => one(at(12)),
        _ => one(None),
    }
}

/// Why a packet or a flow is refused.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub(crate) enum Refusal {
    /// It is no IP packet, or not all of one.
    #[error("it is not a whole IP packet")]
    Malformed,
    /// Not the addresses, protocol and local identifier of its flow, nor about what came on it.
    #[error("it is not of the flow that it was sent on")]
    OtherFlow,
    /// What the operator would have to permit.
    #[error("it takes what is not permitted")]
    NotPermitted,
    /// Longer than the route allows.
    #[error("it is longer than the MTU")]
    TooLong,
    /// It names places to go by, so the destination in its header is not where it ends.
    #[error("it carries a source route")]
    Routed,
    /// Addresses that no measurement is for.
    #[error("{0} is {1}")]
    Address(IpAddr, &'static str),
}

impl Refusal {
    /// The errno that stands for it.
    pub(crate) fn errno(self) -> i32 {
        match self {
            Self::Malformed => libc::EINVAL,
            Self::OtherFlow | Self::NotPermitted | Self::Routed | Self::Address(..) => libc::EPERM,
            Self::TooLong => libc::EMSGSIZE,
        }
    }

    /// Whether it is a matter of policy, not of the packet's form.
    pub(crate) fn is_policy(self) -> bool {
        !matches!(self, Self::Malformed | Self::TooLong)
    }
}

/// Whether somebody may be measured.
///
/// # Errors
///
/// [`Refusal::Address`].
pub(crate) fn check_peer(peer: IpAddr, is_broadcast: bool) -> Result<(), Refusal> {
    let is_limited_broadcast = peer == IpAddr::V4(Ipv4Addr::BROADCAST);
    let what = match peer {
        _ if peer.is_unspecified() => "the unspecified address",
        _ if peer.is_multicast() => "a multicast address",
        _ if is_broadcast || is_limited_broadcast => "a broadcast address",
        _ => return Ok(()),
    };
    Err(Refusal::Address(peer, what))
}

/// Whether a packet is one of its flow, or an error about what came on it.
///
/// # Errors
///
/// See [`Refusal`].
pub(crate) fn check_packet(
    packet: &[u8],
    flow: &FlowKey,
    mtu: u32,
    permits: Permits,
) -> Result<(), Refusal> {
    let header = IpHeader::parse(packet).map_err(|_| Refusal::Malformed)?;
    check_own(packet, flow, permits).map_err(|reason| match reason {
        NotOwn::Malformed => Refusal::Malformed,
        NotOwn::OtherFlow => Refusal::OtherFlow,
        NotOwn::Spoofed(_) | NotOwn::Options => Refusal::NotPermitted,
    })?;
    if is_routed(packet, &header) {
        return Err(Refusal::Routed);
    }
    if packet.len() > mtu as usize {
        return Err(Refusal::TooLong);
    }
    Ok(())
}

/// Whether a packet has a loose or strict source route (RFC 791) or a routing header (RFC 8200).
fn is_routed(packet: &[u8], header: &IpHeader) -> bool {
    if header.source.is_ipv4() {
        let mut options = packet.get(20..header.header_octets).unwrap_or_default();
        while let [kind, rest @ ..] = options {
            options = match (kind, rest.first()) {
                (0, _) => return false,
                (1, _) => rest,
                (131 | 137, _) => return true,
                (_, Some(octets)) => options.get((*octets).max(2).into()..).unwrap_or_default(),
                (_, None) => return false,
            };
        }
        return false;
    }
    header.extensions(packet).any(|kind| kind == protocol::ROUTING)
}

#[cfg(test)]
mod tests {
    use sonde_packet::{Ip, Packet, Payload, Transport};

    use super::*;

    fn echo(source: &str, identifier: u16) -> Vec<u8> {
        let packet = Packet {
            ip: Ip::plain(source.parse().unwrap(), "198.51.100.9".parse().unwrap()),
            transport: Transport::Echo { identifier, sequence: 1 },
            payload: Payload::Zeros(56),
            checksum: None,
        };
        packet.to_vec().unwrap()
    }

    #[test]
    fn a_packet_of_another_source_identifier_or_length_is_refused() {
        let own = echo("192.0.2.1", 7);
        let flow = FlowKey::of_probe(&own).unwrap();
        assert_eq!(check_packet(&own, &flow, 1500, Permits::default()), Ok(()));
        assert_eq!(check_packet(&own, &flow, 83, Permits::default()), Err(Refusal::TooLong));
        assert_eq!(
            check_packet(&own[..83], &flow, 1500, Permits::default()),
            Err(Refusal::Malformed)
        );
        for other in [echo("192.0.2.2", 7), echo("192.0.2.1", 8)] {
            assert_eq!(
                check_packet(&other, &flow, 1500, Permits::default()),
                Err(Refusal::OtherFlow)
            );
        }
        assert_eq!(check_packet(b"", &flow, 1500, Permits::default()), Err(Refusal::Malformed));
    }

    #[test]
    fn an_error_about_the_peers_packet_may_leave_and_one_about_anything_else_may_not() {
        let flow = FlowKey::of_probe(&echo("192.0.2.1", 7)).unwrap();
        let mut answer = echo("192.0.2.1", 7);
        answer[12..20].copy_from_slice(&[198, 51, 100, 9, 192, 0, 2, 1]);
        answer[20] = 0;
        for (quoted, expected) in
            [(&answer, Ok(())), (&echo("192.0.2.1", 7), Err(Refusal::OtherFlow))]
        {
            let error = sonde_packet::ErrorMessage {
                source: "192.0.2.1".parse().unwrap(),
                destination: "198.51.100.9".parse().unwrap(),
                ttl: 64,
                kind: sonde_packet::ErrorKind::PacketTooBig(68),
                quoted,
                quoted_octets: 28,
                extensions: &[],
            };
            assert_eq!(
                check_packet(&error.to_vec().unwrap(), &flow, 1500, Permits::default()),
                expected
            );
        }
    }

    #[test]
    fn nobody_measures_many_at_once() {
        for peer in ["0.0.0.0", "::", "224.0.0.1", "ff02::1", "255.255.255.255"] {
            assert!(check_peer(peer.parse().unwrap(), false).is_err(), "{peer}");
        }
        assert!(check_peer("192.0.2.255".parse().unwrap(), true).is_err());
        assert_eq!(check_peer("192.0.2.255".parse().unwrap(), false), Ok(()));
    }

    fn policy(deny: &str, allow: Option<&str>) -> Policy {
        let list = |text: &str| Prefixes::parse(text, std::path::Path::new("list")).unwrap();
        Policy { deny: list(deny), allow: allow.map(list) }
    }

    #[test]
    fn two_policies_permit_whom_both_permit() {
        let all = || policy("192.0.2.1", None);
        let some = || policy("192.0.2.2", Some("192.0.2.0/29"));
        let few = || policy("", Some("192.0.2.0/30\n198.51.100.0/24"));
        for (joined, permitted) in [
            (all().and(&all()), vec![0, 2, 3, 4, 8]),
            (all().and(&some()), vec![0, 3, 4]),
            (some().and(&all()), vec![0, 3, 4]),
            (some().and(&few()), vec![0, 1, 3]),
        ] {
            let is_fine = |low: &u8| joined.check([192, 0, 2, *low].into()).is_ok();
            let fine: Vec<u8> = [0, 1, 2, 3, 4, 8].into_iter().filter(is_fine).collect();
            assert_eq!(fine, permitted);
            assert!(joined.allow.is_none() || joined.check([198, 51, 100, 1].into()).is_err());
        }
    }

    #[test]
    fn the_deny_list_wins_over_the_allow_list() {
        let policy = policy("192.0.2.8/29\n2001:db8:8::/48", Some("192.0.2.0/24\n2001:db8::/32"));
        let checked = |peer: &str| policy.check(peer.parse().unwrap()).map_err(|it| it.to_string());
        for fine in ["192.0.2.7", "192.0.2.16", "2001:db8::1"] {
            assert_eq!(checked(fine), Ok(()));
        }
        assert_eq!(checked("192.0.2.9").unwrap_err(), "192.0.2.9 is on the deny list");
        assert_eq!(checked("2001:db8:8::1").unwrap_err(), "2001:db8:8::1 is on the deny list");
        assert_eq!(checked("192.0.3.1").unwrap_err(), "192.0.3.1 is not on the allow list");
        assert!(checked("::1").is_err());
    }

    #[test]
    fn a_mapped_prefix_denies_addresses_of_ipv4() {
        let policy = policy("::ffff:192.0.2.0/120\n::ffff:198.51.100.9\n::ffff:0:0/96", None);
        let is_denied = |peer: &str| policy.check(peer.parse().unwrap()).is_err();
        assert!(is_denied("192.0.2.77") && is_denied("198.51.100.9"));
        assert!(!is_denied("192.0.3.1") && !is_denied("198.51.100.10"));
    }

    #[test]
    fn nobody_speaks_for_who_is_denied_or_cannot_send() {
        let flow = FlowKey::of_probe(&echo("192.0.2.1", 7)).unwrap();
        let policy = policy("203.0.113.0/24\n192.0.2.1", Some("198.51.100.9"));
        let check = |source: &str| policy.check_source(&echo(source, 7), &flow);
        assert_eq!((check("192.0.2.1"), check("192.0.2.2")), (Ok(()), Ok(())));
        for refused in ["203.0.113.5", "127.0.0.1", "0.0.0.0", "224.0.0.5", "255.255.255.255"] {
            assert!(matches!(check(refused), Err(Refusal::Address(..))), "{refused}");
        }
    }

    #[test]
    fn a_denied_address_is_not_reached_through_an_address_that_stands_for_it() {
        let policy = policy("198.51.100.9", None);
        for detour in [
            "::ffff:198.51.100.9",
            "::198.51.100.9",
            "2002:c633:6409::1",
            "64:ff9b::198.51.100.9",
            "64:ff9b:1::198.51.100.9",
            "64:ff9b:1:c633:64:900::",
            "64:ff9b:1:aac6:33:6409::",
            "64:ff9b:1:aaaa:c6:3364:900:0",
            "2001:0:c633:6409::1",
            "2001:0:7f00:1:0:0:39cc:9bf6",
            "fe80::5efe:198.51.100.9",
        ] {
            assert!(policy.check(detour.parse().unwrap()).is_err(), "{detour}");
        }
        for other in ["::1", "64:ff9b::198.51.100.10", "2002:c633:640a::1", "2001:db8::c633:6409"] {
            assert_eq!(policy.check(other.parse().unwrap()), Ok(()), "{other}");
        }
    }

    #[test]
    fn a_packet_with_a_source_route_is_refused() {
        for (kind, is_refused) in [(131, true), (137, true), (7, false), (68, false)] {
            let plain = echo("192.0.2.1", 7);
            // Record route and the like: a no-operation, then the option with room for an address.
            let mut packet =
                [&plain[..20], &[1, kind, 7, 4, 203, 0, 113, 1], &plain[20..]].concat();
            packet[0] = 0x47;
            packet[2..4].copy_from_slice(&(plain.len() as u16 + 8).to_be_bytes());
            let flow = FlowKey::of_probe(&packet).unwrap();
            let refused = if is_refused { Err(Refusal::Routed) } else { Ok(()) };
            assert_eq!(check_packet(&packet, &flow, 1500, Permits::ALL), refused, "{kind}");
        }
    }
}
