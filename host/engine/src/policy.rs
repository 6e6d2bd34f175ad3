//! What may leave at all: checked on the copy that is sent, for every packet of every plugin.

use std::net::IpAddr;

use sonde_packet::{FlowKey, IpHeader};

/// Why a packet or a flow is refused.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub(crate) enum Refusal {
    /// It is no IP packet, or not all of one.
    #[error("it is not a whole IP packet")]
    Malformed,
    /// Not the addresses, protocol and local identifier of its flow.
    #[error("it is not of the flow that it was sent on")]
    OtherFlow,
    /// Longer than the route allows.
    #[error("it is longer than the MTU")]
    TooLong,
    /// Addresses that no measurement is for.
    #[error("{0} is {1}")]
    Address(IpAddr, &'static str),
}

impl Refusal {
    /// The errno that stands for it.
    pub(crate) fn errno(self) -> i32 {
        match self {
            Self::Malformed => libc::EINVAL,
            Self::OtherFlow | Self::Address(..) => libc::EPERM,
            Self::TooLong => libc::EMSGSIZE,
        }
    }

    /// Whether it is a matter of policy, not of the packet's form.
    pub(crate) fn is_policy(self) -> bool {
        matches!(self, Self::OtherFlow | Self::Address(..))
    }
}

/// Whether somebody may be measured.
///
/// # Errors
///
/// [`Refusal::Address`].
pub(crate) fn check_peer(peer: IpAddr, is_broadcast: bool) -> Result<(), Refusal> {
    let is_limited_broadcast = peer == IpAddr::V4(std::net::Ipv4Addr::BROADCAST);
    let what = match peer {
        _ if peer.is_unspecified() => "the unspecified address",
        _ if peer.is_multicast() => "a multicast address",
        _ if is_broadcast || is_limited_broadcast => "a broadcast address",
        _ => return Ok(()),
    };
    Err(Refusal::Address(peer, what))
}

/// Whether a packet is one of its flow.
///
/// # Errors
///
/// See [`Refusal`].
pub(crate) fn check_packet(packet: &[u8], flow: &FlowKey, mtu: u32) -> Result<(), Refusal> {
    let header = IpHeader::parse(packet).map_err(|_| Refusal::Malformed)?;
    if header.total_octets != packet.len() {
        return Err(Refusal::Malformed);
    }
    if FlowKey::of_probe(packet).as_ref() != Some(flow) {
        return Err(Refusal::OtherFlow);
    }
    if packet.len() > mtu as usize {
        return Err(Refusal::TooLong);
    }
    Ok(())
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
        assert_eq!(check_packet(&own, &flow, 1500), Ok(()));
        assert_eq!(check_packet(&own, &flow, 83), Err(Refusal::TooLong));
        assert_eq!(check_packet(&own[..83], &flow, 1500), Err(Refusal::Malformed));
        for other in [echo("192.0.2.2", 7), echo("192.0.2.1", 8)] {
            assert_eq!(check_packet(&other, &flow, 1500), Err(Refusal::OtherFlow));
        }
        assert_eq!(check_packet(b"", &flow, 1500), Err(Refusal::Malformed));
    }

    #[test]
    fn nobody_measures_many_at_once() {
        for peer in ["0.0.0.0", "::", "224.0.0.1", "ff02::1", "255.255.255.255"] {
            assert!(check_peer(peer.parse().unwrap(), false).is_err(), "{peer}");
        }
        assert!(check_peer("192.0.2.255".parse().unwrap(), true).is_err());
        assert_eq!(check_peer("192.0.2.255".parse().unwrap(), false), Ok(()));
    }
}
