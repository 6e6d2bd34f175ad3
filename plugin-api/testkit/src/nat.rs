//! Address translation: of the source for what leaves, or of the destination in front of a server.
//!
//! Ports stay as they are.

use std::{collections::BTreeMap, net::IpAddr, time::Duration};

use sonde_packet::{FlowKey, IpHeader, checksum, classify, protocol};

use crate::{
    edit::{edit, put_header_checksum, set_destination, set_source},
    middlebox::{Middlebox, Verdict, Way},
    words::{TopologyError, Words},
};

/// What becomes of the packet that an ICMP error quotes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum FixUp {
    /// Addresses and checksums are as the sender wrote them.
    Full,
    /// The addresses alone; the transport checksum gives the translation away.
    Addresses,
    /// The quote shows the translated packet.
    None,
}

/// A translator.
#[derive(Debug)]
pub(crate) struct Nat {
    kind: Kind,
    fix_up: FixUp,
    /// Who is behind the outside address, by protocol and port or ICMP identifier.
    inside: BTreeMap<(u8, u16), IpAddr>,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Source { outside: IpAddr },
    Destination { public: IpAddr, inner: IpAddr },
}

impl Nat {
    /// `nat-source ADDRESS [fix-up full|addresses|none]`
    pub(crate) fn source(words: &mut Words<'_>) -> Result<Self, TopologyError> {
        let outside = words.value()?;
        Self::new(Kind::Source { outside }, words)
    }

    /// `nat-destination PUBLIC INNER [fix-up full|addresses|none]`
    pub(crate) fn destination(words: &mut Words<'_>) -> Result<Self, TopologyError> {
        let (public, inner): (IpAddr, IpAddr) = (words.value()?, words.value()?);
        if public.is_ipv4() != inner.is_ipv4() {
            return Err(words.wrong("both addresses must be of one family"));
        }
        Self::new(Kind::Destination { public, inner }, words)
    }

    fn new(kind: Kind, words: &mut Words<'_>) -> Result<Self, TopologyError> {
        let fix_up = if words.take("fix-up") {
            match words.word("full, addresses or none")? {
                "full" => FixUp::Full,
                "addresses" => FixUp::Addresses,
                "none" => FixUp::None,
                _ => return Err(words.wrong("expected full, addresses or none")),
            }
        } else {
            FixUp::Full
        };
        Ok(Self { kind, fix_up, inside: BTreeMap::new() })
    }

    fn there(&mut self, packet: &mut Vec<u8>, header: &IpHeader) {
        match self.kind {
            Kind::Source { outside } if outside.is_ipv4() == header.source.is_ipv4() => {
                if let Some(key) = FlowKey::of_probe(packet) {
                    self.inside.insert((key.protocol as u8, key.local), header.source);
                }
                edit(packet, |packet| set_source(packet, outside));
            }
            Kind::Destination { public, inner } if header.destination == public => {
                edit(packet, |packet| set_destination(packet, inner));
            }
            Kind::Source { .. } | Kind::Destination { .. } => {}
        }
    }

    fn back(&mut self, packet: &mut Vec<u8>, header: &IpHeader) {
        let received = classify(packet);
        let quote = received.as_ref().and_then(|received| received.quote.clone());
        let fix_up = self.fix_up;
        match self.kind {
            Kind::Source { outside } if header.destination == outside => {
                let key = received.and_then(|received| received.flow);
                let inside = key.and_then(|key| self.inside.get(&(key.protocol as u8, key.local)));
                let Some(&inside) = inside else { return };
                edit(packet, |packet| {
                    set_destination(packet, inside);
                    if let Some(quote) = quote {
                        fix(&mut packet[quote], fix_up, |quoted| quoted.source, inside, set_source);
                    }
                });
            }
            Kind::Destination { public, inner } => edit(packet, |packet| {
                if header.source == inner {
                    set_source(packet, public);
                }
                if let Some(quote) = quote {
                    let quoted = &mut packet[quote];
                    if IpHeader::parse(quoted).is_ok_and(|quoted| quoted.destination == inner) {
                        let address = |quoted: &IpHeader| quoted.destination;
                        fix(quoted, fix_up, address, public, set_destination);
                    }
                }
            }),
            Kind::Source { .. } => {}
        }
    }
}

/// Puts `address` back into a quoted packet, which may be cut short.
fn fix(
    quoted: &mut [u8],
    fix_up: FixUp,
    which: impl Fn(&IpHeader) -> IpAddr,
    address: IpAddr,
    set: impl Fn(&mut [u8], IpAddr),
) {
    let Ok(header) = IpHeader::parse(quoted) else { return };
    if fix_up == FixUp::None {
        return;
    }
    set(quoted, address);
    put_header_checksum(quoted);
    let at = header.header_octets
        + match header.protocol {
            protocol::UDP => 6,
            protocol::TCP => 16,
            protocol::ICMPV6 => 2,
            _ => return,
        };
    if let (FixUp::Full, Some(field)) = (fix_up, quoted.get_mut(at..at + 2)) {
        let value = u16::from_be_bytes([field[0], field[1]]);
        field.copy_from_slice(&adjusted(value, which(&header), address).to_be_bytes());
    }
}

/// A checksum over a packet in which `address` takes the place of `before` (RFC 1624).
fn adjusted(value: u16, before: IpAddr, address: IpAddr) -> u16 {
    let sum = |address| match address {
        IpAddr::V4(address) => checksum::sum(&address.octets(), 0),
        IpAddr::V6(address) => checksum::sum(&address.octets(), 0),
    };
    let without = u32::from(!value) + u32::from(!(sum(before) as u16));
    checksum::finish(without + sum(address))
}

impl Middlebox for Nat {
    fn forward(&mut self, packet: &mut Vec<u8>, way: Way, _: Duration) -> Verdict {
        if let Ok(header) = IpHeader::parse(packet) {
            match way {
                Way::There => self.there(packet, &header),
                Way::Back => self.back(packet, &header),
            }
        }
        Verdict::Pass
    }

    fn addresses(&self) -> Vec<IpAddr> {
        vec![match self.kind {
            Kind::Source { outside } => outside,
            Kind::Destination { public, .. } => public,
        }]
    }
}

#[cfg(test)]
mod tests {
    use sonde_packet::{
        ErrorKind, ErrorMessage, Ip, Packet, Payload, Transport, Verdict as Checksums, verify,
    };

    use super::*;

    fn nat(text: &str) -> Nat {
        let mut words = Words::of(1, text);
        match words.next() {
            Some("nat-source") => Nat::source(&mut words).unwrap(),
            _ => Nat::destination(&mut words).unwrap(),
        }
    }

    fn datagram() -> Vec<u8> {
        let packet = Packet {
            ip: Ip::plain("192.0.2.1".parse().unwrap(), "198.51.100.9".parse().unwrap()),
            transport: Transport::Udp { source_port: 40_000, destination_port: 33_435 },
            payload: Payload::Zeros(8),
            checksum: None,
        };
        packet.to_vec().unwrap()
    }

    /// What comes back of a datagram whose error was caused behind the translator.
    fn quoted_behind(text: &str) -> (IpHeader, Vec<u8>) {
        let mut nat = nat(text);
        let mut packet = datagram();
        nat.forward(&mut packet, Way::There, Duration::ZERO);
        let header = IpHeader::parse(&packet).unwrap();
        assert_eq!(verify(&packet, &header), Checksums::Good);
        let message = ErrorMessage {
            source: "203.0.113.66".parse().unwrap(),
            destination: header.source,
            ttl: 60,
            kind: ErrorKind::TimeExceeded,
            quoted: &packet,
            quoted_octets: 28,
            extensions: &[],
        };
        let mut error = message.to_vec().unwrap();
        nat.forward(&mut error, Way::Back, Duration::ZERO);
        let header = IpHeader::parse(&error).unwrap();
        assert_eq!(verify(&error, &header), Checksums::Good);
        let quote = classify(&error).unwrap().quote.unwrap();
        (header, error[quote].to_vec())
    }

    #[test]
    fn a_full_fix_up_leaves_no_trace_in_the_quote() {
        for text in ["nat-source 203.0.113.9", "nat-destination 198.51.100.9 10.0.0.9"] {
            let (header, quoted) = quoted_behind(text);
            assert_eq!(header.destination, "192.0.2.1".parse::<IpAddr>().unwrap());
            assert_eq!(quoted, datagram()[..28]);
        }
    }

    #[test]
    fn a_fix_up_of_addresses_alone_leaves_the_translated_checksum() {
        let (_, quoted) = quoted_behind("nat-source 203.0.113.9 fix-up addresses");
        assert_eq!(quoted[..26], datagram()[..26]);
        assert_ne!(quoted[26..], datagram()[26..28]);
    }

    #[test]
    fn without_fix_up_the_quote_shows_the_translated_address() {
        let (header, quoted) = quoted_behind("nat-source 203.0.113.9 fix-up none");
        assert_eq!(header.destination, "192.0.2.1".parse::<IpAddr>().unwrap());
        let quoted = IpHeader::parse(&quoted).unwrap();
        assert_eq!(quoted.source, "203.0.113.9".parse::<IpAddr>().unwrap());
    }
}
