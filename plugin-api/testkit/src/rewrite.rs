//! Boxes that write over header fields, meddle with TCP options, or block.

use std::time::Duration;

use sonde_packet::{
    Family, IpHeader, protocol,
    tcp::{TcpOption, TcpView, flags},
};

use crate::{
    edit::{edit, set_tcp_options, set_tos, set_ttl},
    middlebox::{Middlebox, Verdict, Way},
    raw_option::options,
    words::{TopologyError, Words},
};

/// One change, one way or both.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Rewrite {
    change: Change,
    way: Option<Way>,
}

/// What a box of a drawing does.
#[derive(Clone, Debug, PartialEq)]
enum Change {
    Field(Field, u32),
    /// Takes TCP options out.
    Strip(Kind),
    /// Puts fillers over TCP options.
    Blank(Kind),
    /// Adds a TCP option to a SYN.
    Insert {
        kind: u8,
        value: Vec<u8>,
    },
    /// Drops packets.
    Block(What),
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Field {
    Tos,
    Dscp,
    Ecn,
    Ttl,
    Identification,
    DontFragment,
    FlowLabel,
    MaximumSegmentSize,
    Window,
}

/// TCP options, all or one number.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    All,
    One(u8),
}

/// Packets of one kind.
#[derive(Clone, Copy, Debug, PartialEq)]
enum What {
    Protocols(u8, u8),
    Port(u16),
    Option(u8),
}

impl Rewrite {
    /// Takes a change from a drawing; `None` where the next word is none.
    pub(crate) fn attribute(words: &mut Words<'_>) -> Result<Option<Self>, TopologyError> {
        let change = match words.next() {
            Some("rewrite") => {
                let field = field(words)?;
                let value = words.value()?;
                if value > field.most() {
                    return Err(words.wrong(format!("at most {} fits", field.most())));
                }
                Change::Field(field, value)
            }
            Some("strip") => Change::Strip(kind(words)?),
            Some("blank") => Change::Blank(kind(words)?),
            Some("insert") => insert(words)?,
            Some("block") => Change::Block(what(words)?),
            Some(_) => {
                words.back();
                return Ok(None);
            }
            None => return Ok(None),
        };
        let way = if words.take("there") {
            Some(Way::There)
        } else {
            words.take("back").then_some(Way::Back)
        };
        Ok(Some(Self { change, way }))
    }
}

fn field(words: &mut Words<'_>) -> Result<Field, TopologyError> {
    Ok(match words.word("a field")? {
        "tos" => Field::Tos,
        "dscp" => Field::Dscp,
        "ecn" => Field::Ecn,
        "ttl" => Field::Ttl,
        "id" => Field::Identification,
        "df" => Field::DontFragment,
        "flow-label" => Field::FlowLabel,
        "mss" => Field::MaximumSegmentSize,
        "window" => Field::Window,
        _ => {
            return Err(
                words.wrong("expected tos, dscp, ecn, ttl, id, df, flow-label, mss or window")
            );
        }
    })
}

fn kind(words: &mut Words<'_>) -> Result<Kind, TopologyError> {
    match words.word("a TCP option")? {
        "all" => Ok(Kind::All),
        name => option_number(name)
            .map(Kind::One)
            .ok_or_else(|| words.wrong("expected all, a number or a name such as sack-permitted")),
    }
}

fn option_number(name: &str) -> Option<u8> {
    Some(match name {
        "mss" => 2,
        "window-scale" => 3,
        "sack-permitted" => 4,
        "sack" => 5,
        "timestamps" => 8,
        "multipath" => 30,
        "fast-open" => 34,
        number => number.parse().ok()?,
    })
}

/// `30:0001` is option 30 with these two octets.
fn insert(words: &mut Words<'_>) -> Result<Change, TopologyError> {
    let word = words.word("a TCP option")?;
    let (kind, hex) = word.split_once(':').unwrap_or((word, ""));
    let octet = |at| hex.get(at..at + 2).and_then(|two| u8::from_str_radix(two, 16).ok());
    let value = (0..hex.len()).step_by(2).map(octet).collect::<Option<Vec<_>>>();
    match (option_number(kind), value) {
        (Some(kind), Some(value)) => Ok(Change::Insert { kind, value }),
        _ => Err(words.wrong("expected an option such as 30:0001")),
    }
}

fn what(words: &mut Words<'_>) -> Result<What, TopologyError> {
    Ok(match words.word("what to block")? {
        "icmp" => What::Protocols(protocol::ICMP, protocol::ICMPV6),
        "tcp" => What::Protocols(protocol::TCP, protocol::TCP),
        "udp" => What::Protocols(protocol::UDP, protocol::UDP),
        "port" => What::Port(words.value()?),
        "option" => {
            let word = words.word("a TCP option")?;
            What::Option(option_number(word).ok_or_else(|| words.wrong("not a TCP option"))?)
        }
        _ => return Err(words.wrong("expected icmp, tcp, udp, port or option")),
    })
}

impl Middlebox for Rewrite {
    fn forward(&mut self, packet: &mut Vec<u8>, way: Way, _: Duration) -> Verdict {
        if self.way.is_some_and(|only| only != way) {
            return Verdict::Pass;
        }
        let Ok(header) = IpHeader::parse(packet) else { return Verdict::Pass };
        if let Change::Block(what) = &self.change {
            let is_meant = is_meant(*what, packet, &header);
            return if is_meant { Verdict::Drop } else { Verdict::Pass };
        }
        edit(packet, |packet| self.change.apply(packet, &header));
        Verdict::Pass
    }
}

fn is_meant(what: What, packet: &[u8], header: &IpHeader) -> bool {
    let transport = header.transport(packet);
    match what {
        What::Protocols(one, other) => [one, other].contains(&header.protocol),
        What::Port(port) => {
            let has_ports = [protocol::TCP, protocol::UDP].contains(&header.protocol);
            let view = TcpView::new(transport);
            has_ports && [view.source_port(), view.destination_port()].contains(&Some(port))
        }
        What::Option(kind) => {
            header.protocol == protocol::TCP
                && options(transport).iter().any(|option| option.kind == kind)
        }
    }
}

impl Change {
    fn apply(&self, packet: &mut Vec<u8>, header: &IpHeader) {
        match self {
            Self::Field(field, value) => field.write(packet, header, *value),
            Self::Strip(kind) => {
                let kept = options(header.transport(packet))
                    .into_iter()
                    .filter(|option| !kind.holds(option.kind))
                    .flat_map(|option| option.octets)
                    .collect::<Vec<_>>();
                set_tcp_options(packet, &kept);
            }
            Self::Blank(kind) => {
                let blanked = options(header.transport(packet))
                    .into_iter()
                    .flat_map(|option| match kind.holds(option.kind) {
                        true => vec![1; option.octets.len()],
                        false => option.octets,
                    })
                    .collect::<Vec<_>>();
                set_tcp_options(packet, &blanked);
            }
            Self::Insert { kind, value } => {
                let view = TcpView::new(header.transport(packet));
                if header.protocol != protocol::TCP
                    || view.flags().unwrap_or_default() & flags::SYN == 0
                {
                    return;
                }
                let mut octets: Vec<u8> =
                    options(header.transport(packet)).into_iter().flat_map(|o| o.octets).collect();
                TcpOption::Other { kind: *kind, value }.emit(&mut octets);
                set_tcp_options(packet, &octets);
            }
            // Decided before anything is changed.
            Self::Block(_) => {}
        }
    }
}

impl Kind {
    fn holds(self, kind: u8) -> bool {
        match self {
            Self::All => true,
            Self::One(one) => one == kind,
        }
    }
}

impl Field {
    fn most(self) -> u32 {
        match self {
            Self::Tos | Self::Ttl => 0xff,
            Self::Dscp => 0x3f,
            Self::Ecn => 3,
            Self::DontFragment => 1,
            Self::FlowLabel => 0xf_ffff,
            Self::Identification | Self::MaximumSegmentSize | Self::Window => 0xffff,
        }
    }

    fn write(self, packet: &mut [u8], header: &IpHeader, value: u32) {
        let is_v4 = header.family() == Family::V4;
        let at = header.header_octets;
        match self {
            Self::Tos => set_tos(packet, value as u8),
            Self::Dscp => set_tos(packet, (value as u8) << 2 | header.tos & 3),
            Self::Ecn => set_tos(packet, header.tos & !3 | value as u8 & 3),
            Self::Ttl => set_ttl(packet, value as u8),
            Self::Identification if is_v4 => put(packet, 4, value as u16),
            Self::DontFragment if is_v4 => {
                packet[6] = packet[6] & !0x40 | if value == 0 { 0 } else { 0x40 };
            }
            Self::FlowLabel if !is_v4 => {
                packet[1] = packet[1] & 0xf0 | (value >> 16) as u8 & 15;
                put(packet, 2, value as u16);
            }
            Self::MaximumSegmentSize if header.protocol == protocol::TCP => {
                let mut at = at + 20;
                for option in options(header.transport(packet)) {
                    if option.kind == 2 && option.octets.len() == 4 {
                        put(packet, at + 2, value as u16);
                    }
                    at += option.octets.len();
                }
            }
            Self::Window if header.protocol == protocol::TCP => put(packet, at + 14, value as u16),
            _ => {}
        }
    }
}

fn put(packet: &mut [u8], at: usize, value: u16) {
    if let Some(field) = packet.get_mut(at..at + 2) {
        field.copy_from_slice(&value.to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use sonde_packet::{Ip, Packet, Payload, TcpSegment, Transport, Verdict as Checksums, verify};

    use super::*;

    fn segment(six: bool) -> Vec<u8> {
        let (source, destination) =
            if six { ("2001:db8::1", "2001:db8::9") } else { ("192.0.2.1", "198.51.100.9") };
        let options = TcpOption::list(&[
            TcpOption::MaximumSegmentSize(1460),
            TcpOption::SackPermitted,
            TcpOption::Multipath(&[0, 1]),
        ]);
        let ip = Ip::plain(source.parse().unwrap(), destination.parse().unwrap());
        let packet = Packet {
            ip: Ip { tos: 0xb9, identification: 7, flow_label: 7, ..ip },
            transport: Transport::Tcp(TcpSegment {
                sequence: 1_000,
                acknowledgement: 5_000,
                flags: flags::SYN | flags::ACK,
                window: 65_535,
                options: &options,
                ..TcpSegment::default()
            }),
            payload: Payload::Zeros(0),
            checksum: None,
        };
        packet.to_vec().unwrap()
    }

    fn passed(text: &str, six: bool, way: Way) -> (Verdict, Vec<u8>) {
        let mut words = Words::of(1, text);
        let mut middlebox = Rewrite::attribute(&mut words).unwrap().unwrap();
        assert!(words.is_empty());
        let mut packet = segment(six);
        let verdict = middlebox.forward(&mut packet, way, Duration::ZERO);
        let header = IpHeader::parse(&packet).unwrap();
        assert_eq!(verify(&packet, &header), Checksums::Good);
        (verdict, packet)
    }

    fn kinds(packet: &[u8]) -> Vec<u8> {
        let header = IpHeader::parse(packet).unwrap();
        options(header.transport(packet)).iter().map(|option| option.kind).collect()
    }

    #[test]
    fn a_field_is_rewritten_and_the_checksums_with_it() {
        for six in [false, true] {
            let header = |text| IpHeader::parse(&passed(text, six, Way::There).1).unwrap();
            assert_eq!(header("rewrite tos 0").tos, 0);
            assert_eq!(header("rewrite dscp 1").tos, 5);
            assert_eq!(header("rewrite ecn 3").tos, 0xbb);
            assert_eq!(header("rewrite ttl 3").ttl, 3);
            let (_, packet) = passed("rewrite window 1024", six, Way::There);
            let at = header("rewrite window 1024").header_octets;
            assert_eq!(TcpView::new(&packet[at..]).window(), Some(1024));
            let (_, packet) = passed("rewrite mss 1300", six, Way::There);
            let first = TcpView::new(&packet[at..]).options().next();
            assert_eq!(first, Some(TcpOption::MaximumSegmentSize(1300)));
        }
        let (_, packet) = passed("rewrite df 0", false, Way::There);
        assert!(!IpHeader::parse(&packet).unwrap().dont_fragment);
        let (_, packet) = passed("rewrite flow-label 74565", true, Way::There);
        assert_eq!(IpHeader::parse(&packet).unwrap().flow_label, 0x1_2345);
    }

    #[test]
    fn an_option_is_taken_out_blanked_or_added() {
        for six in [false, true] {
            let before = segment(six).len();
            let (_, stripped) = passed("strip sack-permitted", six, Way::There);
            assert!(!kinds(&stripped).contains(&4));
            let (_, blanked) = passed("blank multipath", six, Way::There);
            assert_eq!((kinds(&blanked).contains(&30), blanked.len()), (false, before));
            let (_, added) = passed("insert 76:0102", six, Way::There);
            assert!(kinds(&added).contains(&76));
            let (_, bare) = passed("strip all", six, Way::There);
            assert_eq!(bare.len(), before - 12);
        }
    }

    #[test]
    fn a_box_for_one_way_leaves_the_other_alone() {
        assert_eq!(passed("rewrite tos 0 there", false, Way::Back).1, segment(false));
        assert_ne!(passed("rewrite tos 0 there", false, Way::There).1, segment(false));
    }

    #[test]
    fn what_is_blocked_is_dropped() {
        assert_eq!(passed("block tcp", true, Way::There).0, Verdict::Drop);
        assert_eq!(passed("block option multipath", true, Way::There).0, Verdict::Drop);
        assert_eq!(passed("block udp", true, Way::There).0, Verdict::Pass);
        assert_eq!(passed("block port 443", true, Way::There).0, Verdict::Pass);
    }

    #[test]
    fn a_value_that_does_not_fit_its_field_is_refused() {
        let refused = Rewrite::attribute(&mut Words::of(3, "rewrite ecn 4")).unwrap_err();
        assert_eq!(refused.to_string(), "line 3, \"4\": at most 3 fits");
    }
}
