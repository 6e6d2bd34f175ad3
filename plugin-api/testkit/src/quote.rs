//! How a router quotes the packet that it complains about, with the deviations seen in the wild.

use std::net::IpAddr;

use sonde_packet::{
    BuildError, ErrorKind, ErrorMessage, IpHeader,
    extension::{self, Extension, InterfaceInformation, InterfaceRole, MplsEntry},
    protocol,
};

use crate::words::{TopologyError, Words};

/// Where extensions begin in the form older than RFC 4884.
const LEGACY_OCTETS: usize = 128;

/// How much of a packet is quoted.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Amount {
    /// So much from the IP header on.
    Octets(usize),
    /// The IP header and so much behind it.
    Behind(usize),
    /// As much as fits into the smallest MTU: 576 octets, in IPv6 1280.
    Full,
}

/// What is done to a field of the quoted header.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Damage {
    Swapped,
    /// Less by the length of the header.
    Reduced,
    Incremented,
    Zero,
}

/// How a router quotes.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct QuotePolicy {
    amount: Amount,
    is_padded: bool,
    is_legacy: bool,
    extensions: Vec<Extension>,
    length: Option<Damage>,
    identification: Option<Damage>,
    checksum: Option<Damage>,
    ttl: Option<u8>,
    has_bad_checksum: bool,
}

impl Default for QuotePolicy {
    fn default() -> Self {
        Self {
            amount: Amount::Full,
            is_padded: false,
            is_legacy: false,
            extensions: Vec::new(),
            length: None,
            identification: None,
            checksum: None,
            ttl: None,
            has_bad_checksum: false,
        }
    }
}

impl QuotePolicy {
    /// Takes one attribute from a drawing; false where the next word is none of a quote.
    pub(crate) fn attribute(&mut self, words: &mut Words<'_>) -> Result<bool, TopologyError> {
        let Some(word) = words.peek() else { return Ok(false) };
        match word {
            "quote" => {
                words.next();
                self.amount = amount(words)?;
            }
            "padded" => {
                words.next();
                self.is_padded = true;
            }
            "legacy" => {
                words.next();
                self.is_legacy = true;
            }
            "mpls" => {
                words.next();
                self.extensions.push(mpls(words)?);
            }
            "interface" => {
                words.next();
                self.extensions.push(interface(words)?);
            }
            "quoted-length" => self.length = Some(damage(words, &["swapped", "reduced"])?),
            "quoted-id" => {
                self.identification = Some(damage(words, &["swapped", "incremented", "zero"])?);
            }
            "quoted-checksum" => self.checksum = Some(damage(words, &["zero", "incremented"])?),
            "quoted-ttl" => {
                words.next();
                self.ttl = Some(words.value()?);
            }
            "bad-checksum" => {
                words.next();
                self.has_bad_checksum = true;
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// The error about `packet`, from `source` to whom it came from.
    pub(crate) fn error(
        &self,
        source: IpAddr,
        destination: IpAddr,
        ttl: u8,
        kind: ErrorKind,
        packet: &[u8],
    ) -> Result<Vec<u8>, BuildError> {
        let mut quoted = self.damaged(packet);
        quoted.truncate(self.octets(packet));
        let mut extensions = self.extensions.as_slice();
        if self.is_legacy && !extensions.is_empty() {
            quoted.resize(LEGACY_OCTETS, 0);
            quoted.extend(extension::emit(extensions));
            extensions = &[];
        } else if self.is_padded {
            quoted.resize(quoted.len().max(LEGACY_OCTETS), 0);
        }
        let quoted_octets = quoted.len();
        let message = ErrorMessage {
            source,
            destination,
            ttl,
            kind,
            quoted: &quoted,
            quoted_octets,
            extensions,
        };
        let mut error = message.to_vec()?;
        if self.has_bad_checksum {
            let at = if source.is_ipv4() { 22 } else { 42 };
            error[at] ^= 0x55;
        }
        Ok(error)
    }

    fn octets(&self, packet: &[u8]) -> usize {
        let header = IpHeader::parse(packet).map_or(0, |header| header.header_octets);
        match self.amount {
            Amount::Octets(octets) => octets,
            Amount::Behind(octets) => header + octets,
            // Room for the headers of the error itself.
            Amount::Full if packet[0] >> 4 == 4 => 576 - 28,
            Amount::Full => 1280 - 48,
        }
    }

    fn damaged(&self, packet: &[u8]) -> Vec<u8> {
        let mut quoted = packet.to_vec();
        let Ok(header) = IpHeader::parse(packet) else { return quoted };
        let is_v4 = header.source.is_ipv4();
        if let Some(ttl) = self.ttl {
            crate::edit::edit(&mut quoted, |quoted| crate::edit::set_ttl(quoted, ttl));
        }
        if is_v4 {
            damage_word(&mut quoted, 2, self.length, header.header_octets);
            damage_word(&mut quoted, 4, self.identification, 0);
        }
        let transport_checksum = match header.protocol {
            protocol::UDP => 6,
            protocol::TCP => 16,
            _ => 2,
        };
        damage_word(&mut quoted, header.header_octets + transport_checksum, self.checksum, 0);
        quoted
    }
}

fn damage_word(quoted: &mut [u8], at: usize, damage: Option<Damage>, header_octets: usize) {
    let (Some(damage), Some(field)) = (damage, quoted.get_mut(at..at + 2)) else { return };
    let value = u16::from_be_bytes([field[0], field[1]]);
    let value = match damage {
        Damage::Swapped => value.swap_bytes(),
        Damage::Reduced => value.saturating_sub(header_octets as u16),
        Damage::Incremented => value.wrapping_add(1),
        Damage::Zero => 0,
    };
    field.copy_from_slice(&value.to_be_bytes());
}

fn amount(words: &mut Words<'_>) -> Result<Amount, TopologyError> {
    let word = words.word("how much to quote")?;
    let amount = match word.strip_prefix("header") {
        Some("") => Some(Amount::Behind(0)),
        Some(behind) => behind.strip_prefix('+').and_then(|n| n.parse().ok()).map(Amount::Behind),
        None if word == "full" => Some(Amount::Full),
        None if word == "none" => Some(Amount::Octets(0)),
        None => word.parse().ok().map(Amount::Octets),
    };
    amount.ok_or_else(|| {
        words.wrong("expected full, none, header, header+8 or a number of octets such as 28")
    })
}

fn damage(words: &mut Words<'_>, accepted: &[&str]) -> Result<Damage, TopologyError> {
    words.next();
    let word = words.word(accepted[0])?;
    let damage = match word {
        "swapped" => Damage::Swapped,
        "reduced" => Damage::Reduced,
        "incremented" => Damage::Incremented,
        _ => Damage::Zero,
    };
    if accepted.contains(&word) {
        Ok(damage)
    } else {
        Err(words.wrong(format!("expected {}", accepted.join(" or "))))
    }
}

/// A stack such as `24001,24002`, outermost first; each with a TTL such as `24001:255`, 1 where
/// none is given.
fn mpls(words: &mut Words<'_>) -> Result<Extension, TopologyError> {
    let labels: Vec<&str> = words.word("a label")?.split(',').collect();
    let entry = |(index, label): (usize, &&str)| {
        let (label, ttl) = label.split_once(':').unwrap_or((label, "1"));
        let label = label.parse().ok().filter(|label| *label < 1 << 20)?;
        let bottom = index + 1 == labels.len();
        Some(MplsEntry { label, traffic_class: 0, bottom, ttl: ttl.parse().ok()? })
    };
    let stack = labels.iter().enumerate().map(entry).collect::<Option<Vec<_>>>();
    stack
        .map(Extension::Mpls)
        .ok_or_else(|| words.wrong("expected labels such as 24001,24002 or 24001:255"))
}

/// Parts such as `name=eth7,index=7,mtu=1500,role=incoming,address=192.0.2.7`.
fn interface(words: &mut Words<'_>) -> Result<Extension, TopologyError> {
    let mut interface = InterfaceInformation::default();
    for part in words.word("an interface")?.split(',') {
        let is_known = match part.split_once('=') {
            Some(("name", name)) => {
                interface.name = Some(name.to_owned());
                true
            }
            Some(("index", index)) => {
                interface.index = index.parse().ok();
                interface.index.is_some()
            }
            Some(("mtu", mtu)) => {
                interface.mtu = mtu.parse().ok();
                interface.mtu.is_some()
            }
            Some(("address", address)) => {
                interface.address = address.parse().ok();
                interface.address.is_some()
            }
            Some(("role", role)) => {
                interface.role = match role {
                    "sub-incoming" => InterfaceRole::SubIncoming,
                    "outgoing" => InterfaceRole::Outgoing,
                    "next-hop" => InterfaceRole::NextHop,
                    _ => InterfaceRole::Incoming,
                };
                ["incoming", "sub-incoming", "outgoing", "next-hop"].contains(&role)
            }
            _ => false,
        };
        if !is_known {
            return Err(words.wrong(format!(
                "{part:?} is no part such as name=eth7, index=7, mtu=1500, role=incoming, address=192.0.2.7"
            )));
        }
    }
    Ok(Extension::Interface(interface))
}

#[cfg(test)]
mod tests {
    use sonde_packet::{Depth, Ip, Packet, Payload, Quote, Transport};

    use super::*;

    fn policy(text: &str) -> QuotePolicy {
        let mut policy = QuotePolicy::default();
        let mut words = Words::of(1, text);
        while policy.attribute(&mut words).unwrap() {}
        assert!(words.is_empty());
        policy
    }

    fn probe(six: bool) -> Vec<u8> {
        let (source, destination) =
            if six { ("2001:db8::1", "2001:db8::9") } else { ("192.0.2.1", "198.51.100.9") };
        let ip = Ip::plain(source.parse().unwrap(), destination.parse().unwrap());
        let packet = Packet {
            ip: Ip { identification: 0x1234, ttl: 1, ..ip },
            transport: Transport::Udp { source_port: 40_000, destination_port: 33_435 },
            payload: Payload::Zeros(32),
            checksum: None,
        };
        packet.to_vec().unwrap()
    }

    fn error(text: &str, six: bool) -> (Vec<u8>, Quote) {
        let router = if six { "2001:db8::fe" } else { "192.0.2.254" }.parse().unwrap();
        let probe = probe(six);
        let source = IpHeader::parse(&probe).unwrap().source;
        let kind = ErrorKind::TimeExceeded;
        let error = policy(text).error(router, source, 255, kind, &probe).unwrap();
        let header = IpHeader::parse(&error).unwrap();
        let quote = Quote::parse(&error, header.header_octets, error.len(), header.family());
        (error, quote)
    }

    #[test]
    fn as_much_is_quoted_as_was_drawn() {
        for six in [false, true] {
            let depth = |text| error(text, six).1.depth;
            assert_eq!(depth("quote full"), Depth::Full);
            assert_eq!(depth("quote header+20"), Depth::Partial);
            assert_eq!(depth("quote header+8"), Depth::Eight);
            assert_eq!(depth("quote header"), Depth::Network);
            assert_eq!(depth("quote none"), Depth::Empty);
        }
        assert_eq!(error("quote 28", false).1.range.len(), 28);
    }

    #[test]
    fn labels_come_in_the_new_and_in_the_old_form() {
        for six in [false, true] {
            for form in ["", "legacy"] {
                let (error, quote) = error(&format!("mpls 24001:9,24002 {form}"), six);
                let found = extension::parse(&error[quote.extensions.unwrap()]).unwrap();
                let entry = MplsEntry { label: 24_001, traffic_class: 0, bottom: false, ttl: 9 };
                let last = MplsEntry { label: 24_002, bottom: true, ttl: 1, ..entry };
                assert_eq!(found, [Extension::Mpls(vec![entry, last])]);
                assert_eq!(quote.range.len(), probe(six).len());
            }
        }
    }

    #[test]
    fn an_interface_is_named() {
        let (error, quote) = error("interface name=eth7,mtu=1400,role=outgoing", false);
        let found = extension::parse(&error[quote.extensions.unwrap()]).unwrap();
        let expected = InterfaceInformation {
            role: InterfaceRole::Outgoing,
            name: Some("eth7".to_owned()),
            mtu: Some(1400),
            ..InterfaceInformation::default()
        };
        assert_eq!(found, [Extension::Interface(expected)]);
    }

    #[test]
    fn damage_shows_in_the_quoted_header_alone() {
        let (error, quote) =
            error("quoted-length swapped quoted-id incremented quoted-ttl 0 padded", false);
        let quoted = &error[quote.range.start..];
        assert_eq!(quoted.len(), LEGACY_OCTETS);
        assert_eq!(u16::from_be_bytes([quoted[2], quoted[3]]).swap_bytes(), 60);
        assert_eq!((quoted[4..6].to_vec(), quoted[8]), (vec![0x12, 0x35], 0));
    }

    #[test]
    fn an_unknown_amount_is_refused_with_what_is_accepted() {
        let refused =
            QuotePolicy::default().attribute(&mut Words::of(4, "quote lots")).unwrap_err();
        assert_eq!((refused.line, refused.word.as_str()), (4, "lots"));
        assert!(refused.problem.contains("header+8"), "{refused}");
    }
}
