//! What went over the wire of the vantage point, and what became of the rest.

use std::{fmt, time::Duration};

use crate::{describe::describe, world::BEGIN_UNIX_NS};

/// Of a pcap file with nanoseconds, and of packets that begin with their IP header.
const PCAP_MAGIC: u32 = 0xa1b2_3c4d;
const PCAP_RAW: u32 = 101;

/// One line of an exchange.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Entry {
    /// The vantage point sent a packet.
    Sent(Vec<u8>),
    /// The vantage point got a packet.
    Received(Vec<u8>),
    /// A packet was not sent; with the errno and the reason.
    NotSent(Vec<u8>, String),
    /// Something happened to a packet inside the network, or to a measurement.
    Note(String),
}

/// Every packet of a simulation with its virtual time; prints as text.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Exchange {
    entries: Vec<(Duration, Entry)>,
    /// Entries that found no room.
    left_out: u64,
}

impl Exchange {
    /// Everything, each with the time since the simulation began.
    #[must_use]
    pub fn entries(&self) -> &[(Duration, Entry)] {
        &self.entries
    }

    /// Packets that were sent.
    pub fn sent(&self) -> impl Iterator<Item = &[u8]> {
        self.entries.iter().filter_map(|(_, entry)| match entry {
            Entry::Sent(packet) => Some(packet.as_slice()),
            _ => None,
        })
    }

    /// Packets that came.
    pub fn received(&self) -> impl Iterator<Item = &[u8]> {
        self.entries.iter().filter_map(|(_, entry)| match entry {
            Entry::Received(packet) => Some(packet.as_slice()),
            _ => None,
        })
    }

    /// As a file for packet analysers (pcap with nanoseconds). The simulation begins on
    /// 2026-01-02 at 03:04:05 UTC.
    #[must_use]
    pub fn pcap(&self) -> Vec<u8> {
        let mut file = Vec::new();
        file.extend(PCAP_MAGIC.to_le_bytes());
        file.extend([2, 0, 4, 0]);
        file.extend([0; 8]);
        file.extend(65_535u32.to_le_bytes());
        file.extend(PCAP_RAW.to_le_bytes());
        for (at, entry) in &self.entries {
            let (Entry::Sent(packet) | Entry::Received(packet)) = entry else { continue };
            let at = Duration::from_nanos(BEGIN_UNIX_NS) + *at;
            file.extend((at.as_secs() as u32).to_le_bytes());
            file.extend(at.subsec_nanos().to_le_bytes());
            file.extend((packet.len() as u32).to_le_bytes());
            file.extend((packet.len() as u32).to_le_bytes());
            file.extend_from_slice(packet);
        }
        file
    }

    pub(crate) fn add(&mut self, at_ns: u64, most: usize, entry: impl FnOnce() -> Entry) {
        if self.entries.len() < most {
            self.entries.push((Duration::from_nanos(at_ns), entry()));
        } else {
            self.left_out += 1;
        }
    }
}

impl fmt::Display for Exchange {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, entry) in &self.entries {
            let (seconds, us) = (at.as_secs(), at.subsec_micros());
            write!(formatter, "{seconds:>4}.{us:06} ")?;
            match entry {
                Entry::Sent(packet) => writeln!(formatter, "-> {}", describe(packet))?,
                Entry::Received(packet) => writeln!(formatter, "<- {}", describe(packet))?,
                Entry::NotSent(packet, why) => {
                    writeln!(formatter, "!! {}, not sent: {why}", describe(packet))?;
                }
                Entry::Note(text) => writeln!(formatter, "   {text}")?,
            }
        }
        if self.left_out > 0 {
            writeln!(formatter, "and {} more", self.left_out)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use sonde_packet::{Ip, Packet, Payload, Transport};

    use super::*;

    fn exchange() -> Exchange {
        let packet = Packet {
            ip: Ip::plain("192.0.2.1".parse().unwrap(), "198.51.100.9".parse().unwrap()),
            transport: Transport::Echo { identifier: 7, sequence: 3 },
            payload: Payload::Zeros(4),
            checksum: None,
        };
        let packet = packet.to_vec().unwrap();
        let mut exchange = Exchange::default();
        exchange.add(1_500_000, 2, || Entry::Sent(packet));
        exchange.add(2_000_000, 2, || Entry::Note("r1: silent".to_owned()));
        exchange.add(3_000_000, 2, || Entry::Note("r1: silent".to_owned()));
        exchange
    }

    #[test]
    fn an_exchange_prints_a_line_for_each_packet_with_its_time() {
        assert_eq!(
            exchange().to_string(),
            "   0.001500 -> 192.0.2.1 > 198.51.100.9 ICMP echo request id 7 seq 3, ttl 64, 32 octets\n   \
             0.002000    r1: silent\nand 1 more\n"
        );
    }

    #[test]
    fn a_capture_file_holds_the_packets_with_wall_times() {
        let file = exchange().pcap();
        assert_eq!(file.len(), 24 + 16 + 32);
        assert_eq!(file[24..28], 1_767_323_045u32.to_le_bytes());
        assert_eq!(file[28..32], 1_500_000u32.to_le_bytes());
        assert_eq!(file[40], 0x45);
    }
}
