//! Which of several next hops a packet takes.
//!
//! Source: Augustin, Friedman, Teixeira, "Measuring load-balanced paths in the Internet", 2007.

use sonde_packet::{Family, IpHeader, mapped, protocol};

use crate::random::{Random, mix};

/// How a router shares packets out over its next hops.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Policy {
    /// By addresses, protocol and the first four octets of the transport header, in IPv6 also by
    /// the flow label.
    #[default]
    PerFlow,
    /// As [`Policy::PerFlow`], and by ToS or traffic class.
    PerFlowAndTos,
    /// By addresses, protocol and ports; ICMP by addresses alone, as Linux does.
    PerPorts,
    /// At random.
    PerPacket,
    /// In turn.
    RoundRobin,
    /// By the destination address.
    PerDestination,
    /// By source and destination address.
    PerAddresses,
}

impl Policy {
    /// As a drawing names it.
    pub(crate) fn of_name(name: &str) -> Option<Self> {
        Some(match name {
            "per-flow" => Self::PerFlow,
            "per-flow-and-tos" => Self::PerFlowAndTos,
            "per-ports" => Self::PerPorts,
            "per-packet" => Self::PerPacket,
            "round-robin" => Self::RoundRobin,
            "per-destination" => Self::PerDestination,
            "per-addresses" => Self::PerAddresses,
            _ => return None,
        })
    }
}

/// A router's way of sharing out, with what it remembers.
#[derive(Debug)]
pub(crate) struct Balancer {
    salt: u64,
    random: Random,
    turn: u64,
}

impl Balancer {
    /// Balancers of one salt make the same choice for the same packet.
    pub(crate) fn new(salt: u64, random: Random) -> Self {
        Self { salt, random, turn: 0 }
    }

    /// Index of the next hop that `packet` takes, out of several with these weights.
    pub(crate) fn choose(&mut self, policy: Policy, packet: &[u8], weights: &[u32]) -> usize {
        let total: u64 = weights.iter().copied().map(u64::from).sum();
        if weights.len() < 2 || total == 0 {
            return 0;
        }
        let mut draw = match policy {
            Policy::PerPacket => self.random.below(total),
            Policy::RoundRobin => {
                self.turn += 1;
                (self.turn - 1) % total
            }
            _ => {
                let spread = mix(self.salt ^ flow(policy, packet));
                ((u128::from(spread) * u128::from(total)) >> 64) as u64
            }
        };
        for (index, weight) in weights.iter().enumerate() {
            match draw.checked_sub(u64::from(*weight)) {
                Some(rest) => draw = rest,
                None => return index,
            }
        }
        0
    }
}

/// One number for all packets that belong together.
fn flow(policy: Policy, packet: &[u8]) -> u64 {
    let Ok(header) = IpHeader::parse(packet) else { return 0 };
    let destination = mapped(header.destination);
    if policy == Policy::PerDestination {
        return digest(&[&destination]);
    }
    let source = mapped(header.source);
    let is_icmp = matches!(header.protocol, protocol::ICMP | protocol::ICMPV6);
    if policy == Policy::PerAddresses || policy == Policy::PerPorts && is_icmp {
        return digest(&[&source, &destination]);
    }
    // A fragment behind the first has no ports; then none of its siblings may be told by them.
    let transport = packet.get(header.header_octets..header.header_octets + 4);
    let transport = transport.filter(|_| header.fragment.is_none()).unwrap_or_default();
    let tos = if policy == Policy::PerFlowAndTos { header.tos } else { 0 };
    let label = match (policy, header.family()) {
        (Policy::PerPorts, _) | (_, Family::V4) => 0,
        _ => header.flow_label,
    };
    digest(&[&source, &destination, transport, &[header.protocol, tos], &label.to_be_bytes()])
}

fn digest(parts: &[&[u8]]) -> u64 {
    parts
        .iter()
        .flat_map(|part| part.iter())
        .fold(1, |so_far, octet| mix(so_far.rotate_left(8) ^ u64::from(*octet)))
}

#[cfg(test)]
mod tests {
    use sonde_packet::{Ip, Packet, Payload, Transport};

    use super::*;

    fn balancer() -> Balancer {
        Balancer::new(9, Random::new(9))
    }

    fn datagram(destination: &str, port: u16, flow_label: u32) -> Vec<u8> {
        let source = if destination.contains(':') { "2001:db8::1" } else { "192.0.2.1" };
        let ip = Ip::plain(source.parse().unwrap(), destination.parse().unwrap());
        let packet = Packet {
            ip: Ip { flow_label, ..ip },
            transport: Transport::Udp { source_port: 40_000, destination_port: port },
            payload: Payload::Zeros(4),
            checksum: None,
        };
        packet.to_vec().unwrap()
    }

    fn shares(policy: Policy, packets: impl Iterator<Item = Vec<u8>>, weights: &[u32]) -> Vec<u32> {
        let mut balancer = balancer();
        let mut shares = vec![0; weights.len()];
        for packet in packets {
            shares[balancer.choose(policy, &packet, weights)] += 1;
        }
        shares
    }

    #[test]
    fn one_flow_keeps_its_next_hop_and_many_flows_take_all() {
        for target in ["198.51.100.9", "2001:db8::9"] {
            let one = shares(Policy::PerFlow, (0..100).map(|_| datagram(target, 1, 0)), &[1; 3]);
            assert_eq!(one.iter().filter(|share| **share == 100).count(), 1);
            let many = (0..3_000).map(|port| datagram(target, port, 0));
            let many = shares(Policy::PerFlow, many, &[1; 3]);
            assert!(many.iter().all(|share| (850..1_150).contains(share)), "{many:?}");
        }
    }

    #[test]
    fn the_flow_label_is_part_of_an_ipv6_flow() {
        let labels = (0..100).map(|label| datagram("2001:db8::9", 1, label));
        assert!(shares(Policy::PerFlow, labels, &[1; 2]).iter().all(|share| *share > 20));
    }

    #[test]
    fn packets_of_one_flow_are_spread_by_a_per_packet_balancer() {
        let same = || (0..300).map(|_| datagram("198.51.100.9", 1, 0));
        assert!(shares(Policy::PerPacket, same(), &[1; 3]).iter().all(|share| *share > 70));
        assert_eq!(shares(Policy::RoundRobin, same(), &[1; 3]), [100, 100, 100]);
    }

    #[test]
    fn ports_do_not_matter_to_a_per_destination_balancer() {
        let ports = (0..100).map(|port| datagram("198.51.100.9", port, 0));
        let shares = shares(Policy::PerDestination, ports, &[1; 3]);
        assert_eq!(shares.iter().filter(|share| **share == 100).count(), 1);
    }

    #[test]
    fn a_next_hop_of_weight_three_gets_three_quarters() {
        let ports = (0..4_000).map(|port| datagram("198.51.100.9", port, 0));
        let shares = shares(Policy::PerFlow, ports, &[3, 1]);
        assert!((2_850..3_150).contains(&shares[0]), "{shares:?}");
    }
}
