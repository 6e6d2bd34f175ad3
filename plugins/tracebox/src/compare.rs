//! A packet as it was sent and as it is quoted: what is different, and what cannot be told.
//!
//! A field is compared only where all its octets are quoted; otherwise it is unknown, never unchanged.

use sonde_plugin_api::packet::{Family, IpHeader, protocol};

use crate::{
    fields::{Field, IPV4, IPV6, TCP_BEHIND, TCP_FIRST, UDP},
    option_names::{self, EXTENSION_HEADERS, IP_OPTIONS, TCP_OPTIONS},
    rows::Change,
};

/// One difference.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Modification {
    pub(crate) field: String,
    pub(crate) change: Change,
    /// Hexadecimal.
    pub(crate) sent: Option<String>,
    /// Hexadecimal.
    pub(crate) seen: Option<String>,
    /// It changes at every hop, by nature, or is what routers get wrong where they quote.
    pub(crate) is_expected: bool,
}

/// Everything that a quote tells.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Comparison {
    pub(crate) modifications: Vec<Modification>,
    pub(crate) unknown: Vec<String>,
    /// ToS or traffic class, as sent and as quoted.
    pub(crate) tos: Option<(u8, u8)>,
    /// The whole TCP header, or that of UDP, is quoted.
    pub(crate) has_transport: bool,
}

/// Compares what is quoted of a probe with the probe.
pub(crate) fn compare(sent: &[u8], quoted: &[u8]) -> Comparison {
    let mut found = Comparison::default();
    let Ok(ours) = IpHeader::parse(sent) else { return found };
    let theirs = IpHeader::parse(quoted).ok();
    let network = if ours.source.is_ipv4() { IPV4 } else { IPV6 };
    let transport = sent.get(ours.header_octets..).unwrap_or_default();
    let seen = theirs
        .as_ref()
        .filter(|theirs| theirs.protocol == ours.protocol)
        .and_then(|theirs| quoted.get(theirs.header_octets..))
        .unwrap_or_default();
    if ours.protocol == protocol::TCP {
        found.fields(TCP_BEHIND, transport, seen);
        found.options(transport, seen);
        found.fields(TCP_FIRST, transport, seen);
    } else {
        found.fields(UDP, transport, seen);
        found.has_transport = seen.len() >= 8;
    }
    found.fields(network, sent, quoted);
    found.excuse_damages(sent, &ours);
    found.network_options(sent, &ours, quoted, theirs.as_ref());
    found.tos = tos(sent).zip(tos(quoted));
    found
}

/// ToS or traffic class of a packet that begins like an IP header.
fn tos(packet: &[u8]) -> Option<u8> {
    match packet {
        [version, tos, ..] if version >> 4 == 4 => Some(*tos),
        [first, second, ..] if first >> 4 == 6 => Some(first << 4 | second >> 4),
        _ => None,
    }
}

impl Comparison {
    fn fields(&mut self, fields: &[Field], sent: &[u8], quoted: &[u8]) {
        for field in fields {
            let Some(sent) = field.read(sent) else { continue };
            match field.read(quoted) {
                None => self.unknown.push(field.name.to_owned()),
                Some(seen) if seen != sent => self.modifications.push(Modification {
                    field: field.name.to_owned(),
                    change: Change::Changed,
                    sent: Some(field.shown(sent)),
                    seen: Some(field.shown(seen)),
                    is_expected: field.is_expected && !(field.only_falls && seen > sent),
                }),
                Some(_) => {}
            }
        }
    }

    /// What routers are known to get wrong where they quote: octets of the length or the identification swapped, the
    /// length without that of the header, and the identification counted up.
    fn excuse_damages(&mut self, sent: &[u8], ours: &IpHeader) {
        let word = |at: usize| u16::from_be_bytes([sent[at], sent[at + 1]]);
        for it in &mut self.modifications {
            let (sent, other) = match it.field.as_str() {
                "IP::Length" => (word(2), word(2).wrapping_sub(ours.header_octets as u16)),
                "IP::ID" => (word(4), word(4).wrapping_add(1)),
                _ => continue,
            };
            let damages = [sent.swap_bytes(), other, other.swap_bytes()];
            it.is_expected = damages.iter().any(|word| it.seen == Some(format!("{word:04x}")));
        }
    }

    /// TCP options, by kind: order and padding do not count.
    fn options(&mut self, sent: &[u8], quoted: &[u8]) {
        let Some(seen) = option_area(quoted) else {
            self.unknown.push(TCP_OPTIONS.to_owned());
            return;
        };
        self.has_transport = true;
        let (sent, _) = options(option_area(sent).unwrap_or_default());
        self.option_lists(TCP_OPTIONS, &sent, options(seen), |kind, content| {
            format!("{TCP_OPTIONS}::{}", option_names::tcp(kind, content))
        });
    }

    /// Options of IPv4 and extension headers of IPv6, by kind too.
    fn network_options(
        &mut self,
        sent: &[u8],
        ours: &IpHeader,
        quoted: &[u8],
        theirs: Option<&IpHeader>,
    ) {
        let is_v4 = ours.family() == Family::V4;
        let (of_all, list): (_, for<'a> fn(&'a [u8], &IpHeader) -> Listed<'a>) = if is_v4 {
            (IP_OPTIONS, |packet, header| options(&packet[header.options.clone()]))
        } else {
            (EXTENSION_HEADERS, |packet, header| (extension_headers(packet, header), false))
        };
        let whole = theirs.filter(|it| it.family() == ours.family());
        let whole = whole.filter(|it| is_v4 || !option_names::is_extension_header(it.protocol));
        let Some(theirs) = whole else { return self.unknown.push(of_all.to_owned()) };
        self.option_lists(of_all, &list(sent, ours).0, list(quoted, theirs), |kind, _| {
            if is_v4 {
                format!("{IP_OPTIONS}::{}", option_names::ipv4(kind))
            } else {
                option_names::extension_header(kind)
            }
        });
        // What routers are asked to fill in: it grows from hop to hop.
        for it in &mut self.modifications {
            let gathers = ["RecordRoute", "Timestamp"].map(|name| format!("{IP_OPTIONS}::{name}"));
            if it.change == Change::Changed && gathers.contains(&it.field) {
                let (sent, seen) = (it.sent.as_deref().unwrap_or(""), it.seen.as_deref());
                // The pointer comes first, and goes up.
                let goes_on =
                    |seen: &str| seen.len() == sent.len() && seen.get(..2) > sent.get(..2);
                it.is_expected = seen.is_some_and(goes_on);
            }
        }
    }

    /// Of the list `of_all`. Where it makes no sense from some point on, nobody knows what stands behind.
    fn option_lists(
        &mut self,
        of_all: &str,
        sent: &[(u8, &[u8])],
        (seen, is_malformed): Listed<'_>,
        name: impl Fn(u8, Option<&str>) -> String,
    ) {
        let mut note = |kind: u8, change: Change, before: Option<&[u8]>, after: Option<&[u8]>| {
            let (before, after) = (before.map(hex), after.map(hex));
            self.modifications.push(Modification {
                field: name(kind, after.as_deref().or(before.as_deref())),
                change,
                sent: before,
                seen: after,
                is_expected: false,
            });
        };
        // An option may stand there twice: what is there as it was sent is put aside first.
        let (mut ours, mut theirs) = (Vec::new(), seen);
        for option in sent {
            match theirs.iter().position(|seen| seen == option) {
                Some(same) => drop(theirs.remove(same)),
                None => ours.push(*option),
            }
        }
        ours.retain(|(kind, content)| {
            let same_kind = theirs.iter().position(|seen| seen.0 == *kind);
            if let Some(at) = same_kind {
                note(*kind, Change::Changed, Some(content), Some(theirs.remove(at).1));
            }
            same_kind.is_none()
        });
        for (kind, content) in ours.iter().filter(|_| !is_malformed) {
            note(*kind, Change::Removed, Some(content), None);
        }
        for (kind, content) in theirs {
            note(kind, Change::Added, None, Some(content));
        }
        if is_malformed {
            let names = ours.iter().map(|(kind, content)| name(*kind, Some(&hex(content))));
            self.unknown.extend(names);
            self.modifications.push(Modification {
                field: malformed(of_all),
                change: Change::Changed,
                sent: None,
                seen: None,
                is_expected: false,
            });
        }
    }

    /// What the destination's own segment grants of the options of a probe.
    pub(crate) fn of_answer(probe: &[u8], answer: &[u8]) -> Self {
        let mut found = Self::default();
        if let (Ok(ours), Ok(theirs)) = (IpHeader::parse(probe), IpHeader::parse(answer)) {
            found.options(ours.transport(probe), theirs.transport(answer));
        }
        found
    }
}

/// The options of a TCP header, where all of them are there.
fn option_area(transport: &[u8]) -> Option<&[u8]> {
    let end = usize::from(*transport.get(12)? >> 4) * 4;
    transport.get(20..end)
}

/// Kinds with their content.
type Options<'a> = Vec<(u8, &'a [u8])>;
/// And whether they make no sense from some point on.
type Listed<'a> = (Options<'a>, bool);

/// What is said of a list that makes no sense from some point on.
pub(crate) fn malformed(of_all: &str) -> String {
    format!("{of_all}::malformed")
}

/// The extension headers of an IPv6 packet by their numbers, without the number of the next one.
fn extension_headers<'a>(packet: &'a [u8], header: &IpHeader) -> Options<'a> {
    let (mut found, mut at) = (Vec::new(), 40);
    for kind in header.extensions(packet) {
        let octets = match (kind, packet.get(at + 1)) {
            (protocol::FRAGMENT, _) => 8,
            (protocol::AUTHENTICATION, Some(fours)) => 8 + usize::from(*fours) * 4,
            (_, Some(eights)) => 8 + usize::from(*eights) * 8,
            (_, None) => break,
        };
        let Some(content) = packet.get(at + 2..at + octets) else { break };
        found.push((kind, content));
        at += octets;
    }
    found
}

/// Kinds with their content, without fillers.
fn options(mut area: &[u8]) -> Listed<'_> {
    let mut found = Vec::new();
    while let [kind, rest @ ..] = area {
        match (kind, rest.first().map(|octets| usize::from(*octets))) {
            (0, _) => break,
            (1, _) => area = rest,
            (_, Some(octets)) if octets >= 2 && octets <= area.len() => {
                found.push((*kind, &area[2..octets]));
                area = &area[octets..];
            }
            _ => return (found, true),
        }
    }
    (found, false)
}

fn hex(octets: &[u8]) -> String {
    sonde_plugin_api::text::hex(octets)
}

/// A part of a packet that nobody can guess.
pub(crate) enum Part {
    /// Of IPv4 alone.
    Identification,
    /// Octets of the transport.
    Transport(std::ops::Range<usize>),
}

/// Whether a quote shows this part of the probe, wherever it stands there: options may be gone.
pub(crate) fn brings_back(probe: &[u8], quoted: &[u8], part: Part) -> bool {
    let Part::Transport(range) = part else {
        // There even where the rest of the header is not.
        let is_v4 = probe.first().is_some_and(|first| first >> 4 == 4);
        return is_v4 && quoted.get(4..6).is_some_and(|seen| Some(seen) == probe.get(4..6));
    };
    let (Ok(ours), Ok(theirs)) = (IpHeader::parse(probe), IpHeader::parse(quoted)) else {
        return false;
    };
    let behind = |packet: &[u8], header: &IpHeader| {
        packet.get(header.header_octets..)?.get(range.clone()).map(<[u8]>::to_vec)
    };
    let sent = behind(probe, &ours);
    sent.is_some() && sent == behind(quoted, &theirs)
}

#[cfg(test)]
mod tests {
    use sonde_plugin_api::packet::{Ip, Packet, Payload, TcpSegment, Transport, tcp::TcpOption};

    use super::*;

    fn segment(options: &[TcpOption<'_>]) -> Vec<u8> {
        let options = TcpOption::list(options);
        let tcp = TcpSegment { options: &options, ..TcpSegment::default() };
        let packet = Packet {
            ip: Ip::plain("192.0.2.1".parse().unwrap(), "198.51.100.9".parse().unwrap()),
            transport: Transport::Tcp(tcp),
            payload: Payload::Zeros(0),
            checksum: None,
        };
        packet.to_vec().unwrap()
    }

    #[test]
    fn an_option_that_stands_there_twice_was_added_wherever_it_stands() {
        let mss = TcpOption::MaximumSegmentSize;
        let told = |sent: &[TcpOption<'_>], seen: &[TcpOption<'_>]| {
            let found = Comparison::of_answer(&segment(sent), &segment(seen));
            let text = |it: Modification| format!("{:?} {:?} {:?}", it.change, it.sent, it.seen);
            found.modifications.into_iter().map(text).collect::<Vec<String>>()
        };
        let ours = [mss(1460)];
        assert_eq!(told(&ours, &ours), [""; 0]);
        for seen in [[mss(1460), mss(512)], [mss(512), mss(1460)]] {
            assert_eq!(told(&ours, &seen), ["Added None Some(\"0200\")"]);
            assert_eq!(told(&seen, &ours), ["Removed Some(\"0200\") None"]);
        }
        assert_eq!(told(&ours, &[mss(512)]), ["Changed Some(\"05b4\") Some(\"0200\")"]);
        assert_eq!(
            told(&ours, &[mss(512), mss(536)]),
            ["Changed Some(\"05b4\") Some(\"0200\")", "Added None Some(\"0218\")"]
        );
    }
}
