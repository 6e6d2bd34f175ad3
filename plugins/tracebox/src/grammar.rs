//! The probe as people write it: `IP/TCP/MSS(1460)/ECE`.
//!
//! Tokens are whole names in any case, separated by slashes, some with a value or several in parentheses. The
//! first is the network layer, the second the transport; what is left out is taken as usual. `CE`
//! alone gives the code point 01, as the seed system has it: "congestion experienced" is `ECT/CE`.
//!
//! Source: the grammar of the seed system; RFC 9293, RFC 7323, RFC 2018, RFC 2385, RFC 5925, RFC 7413, RFC 8684
//! for the options of TCP; RFC 791, RFC 2113, RFC 8200, RFC 2711 for those of IP.

use sonde_plugin_api::packet::{protocol, tcp::flags};

use crate::{token::Token, unusual::Unusual};

/// A probe, as asked for.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Spec {
    pub(crate) is_udp: bool,
    pub(crate) tos: u8,
    pub(crate) ip_id: Option<u16>,
    pub(crate) flow_label: u32,
    pub(crate) dont_fragment: bool,
    /// IPv4 options, not filled up.
    pub(crate) ip_options: Vec<u8>,
    /// IPv6 extension headers: the number of the first, and all of them.
    pub(crate) extension_headers: Option<(u8, Vec<u8>)>,
    /// Of TCP, as all up to the options.
    pub(crate) flags: u8,
    pub(crate) window: Option<u16>,
    pub(crate) sequence: Option<u32>,
    pub(crate) acknowledgement: u32,
    pub(crate) urgent: u16,
    /// TCP options in their order on the wire.
    pub(crate) options: Vec<u8>,
    /// Behind the transport's header; that of the method where none is chosen.
    pub(crate) payload: Option<Vec<u8>>,
    pub(crate) unusual: Unusual,
}

/// What is wrong with a probe, and where.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("scamper.tracebox.probe: token {number}, {token:?}: {problem}")]
pub(crate) struct GrammarError {
    /// From 1.
    number: usize,
    /// As written, shortened.
    token: String,
    problem: String,
}

const NAMES: &str = "IP, IPV6, TCP, UDP, ECT, CE, DSCP, IPID, IPFLOW, DF, RR, IPTS, RTRALERT, IPOPTION, HOPOPT, \
                     DSTOPT, RAW, ECE, WINDOW, MSS, WSCALE, SACKP, SACK, TS, MD5, AO, TFO, MPCAPABLE, MPJOIN, OPTION";

/// Fields that have one value. Options of IP may stand several times, one behind the other.
const ONCE: [&str; 5] = ["DSCP", "IPID", "IPFLOW", "WINDOW", "RAW"];
/// Octets of a chosen payload at most.
const MOST_PAYLOAD: usize = 512;
/// Octets of options that an IPv4 header has room for, and a TCP header.
const MOST_OPTIONS: usize = 40;
/// Octets of an option of one's own in an IPv6 header.
const MOST_IN_HEADER: usize = 64;
/// IPv4 options that name routers to go by, which no host sends.
const SOURCE_ROUTES: [u8; 2] = [131, 137];

/// TCP options by their order on the wire.
const MSS: usize = 0;
const SACKP: usize = 1;
const MPCAPABLE: usize = 2;
const MPJOIN: usize = 3;
const WSCALE: usize = 4;
const MD5: usize = 5;
const AO: usize = 6;
const TS: usize = 7;
const SACK: usize = 8;
const TFO: usize = 9;
/// What was written out.
const OTHER: usize = 10;

impl Spec {
    /// Reads a probe; `None` is the default one. `is_udp` and `is_v4` must agree with what is written.
    /// `random` gives what is not chosen, and `clock_ms` the time stamps: a device that checks them sees one clock from
    /// run to run.
    ///
    /// # Errors
    ///
    /// Names the token.
    pub(crate) fn parse(
        text: Option<&str>,
        is_udp: bool,
        is_v4: bool,
        clock_ms: u32,
        random: &mut dyn FnMut() -> u32,
    ) -> Result<Self, GrammarError> {
        let spec = Self { is_udp, flags: flags::SYN, ..Self::default() };
        let mut reader = Reader {
            spec,
            is_v4,
            clock_ms,
            random,
            has_transport: false,
            seen: Vec::new(),
            tcp_options: Default::default(),
            headers: Default::default(),
        };
        let text = text.map(str::trim).filter(|text| !text.is_empty());
        for (at, written) in text.into_iter().flat_map(|text| text.split('/')).enumerate() {
            let written = written.trim();
            reader.take(at, written).map_err(|problem| GrammarError {
                number: at + 1,
                token: written.chars().filter(|c| !c.is_control()).take(32).collect(),
                problem,
            })?;
        }
        Ok(reader.finish())
    }
}

/// A probe that is being read.
struct Reader<'a> {
    spec: Spec,
    is_v4: bool,
    clock_ms: u32,
    random: &'a mut dyn FnMut() -> u32,
    has_transport: bool,
    /// Names of tokens so far.
    seen: Vec<String>,
    tcp_options: [Vec<u8>; 11],
    /// Options hop by hop and for the destination; each header is left out where there is none.
    headers: [Option<Vec<u8>>; 2],
}

impl Reader<'_> {
    fn take(&mut self, at: usize, written: &str) -> Result<(), String> {
        let mut token = Token::read(written)?;
        if ONCE.contains(&token.name.as_str()) && self.seen.contains(&token.name) {
            return Err("stands twice".to_owned());
        }
        self.seen.push(token.name.clone());
        let is_known = self.take_network(at, &mut token)?
            || self.take_transport(&mut token)?
            || self.take_tcp_option(&mut token)?;
        if !is_known {
            return Err(format!("is unknown, accepted: {NAMES}"));
        }
        for (what, octets) in [
            ("TCP", self.tcp_options.iter().map(Vec::len).sum::<usize>()),
            ("IP", self.spec.ip_options.len()),
        ] {
            if octets > MOST_OPTIONS {
                return Err(format!("makes {octets} octets of {what} options, accepted: 40"));
            }
        }
        Ok(())
    }

    fn finish(mut self) -> Spec {
        self.spec.options = self.tcp_options.concat();
        while !self.spec.options.len().is_multiple_of(4) {
            self.spec.options.push(1);
        }
        // Each header names the one behind it, so they are put together from the last one on.
        let transport = if self.spec.is_udp { protocol::UDP } else { protocol::TCP };
        let numbers = [protocol::HOP_BY_HOP, protocol::DESTINATION_OPTIONS];
        let (mut next, mut all) = (transport, Vec::new());
        for (number, options) in numbers.into_iter().zip(self.headers).rev() {
            let Some(options) = options else { continue };
            let mut header = vec![next, 0];
            header.extend(options);
            match 8 - header.len() % 8 {
                8 => {}
                1 => header.push(0),
                octets => {
                    header.extend([1, octets as u8 - 2]);
                    header.resize(header.len() + octets - 2, 0);
                }
            }
            header[1] = (header.len() / 8 - 1) as u8;
            header.append(&mut all);
            (next, all) = (number, header);
        }
        self.spec.extension_headers = (!all.is_empty()).then_some((next, all));
        self.spec
    }

    fn octets(&mut self, count: usize) -> Vec<u8> {
        let words = (0..count.div_ceil(4)).flat_map(|_| (self.random)().to_be_bytes());
        words.take(count).collect()
    }

    /// Octets that were chosen, or as many random ones.
    fn chosen(&mut self, token: &Token<'_>, key: &str, count: usize) -> Result<Vec<u8>, String> {
        Ok(token.octets(key, count..=count)?.unwrap_or_else(|| self.octets(count)))
    }

    fn number(&mut self, most: u32) -> u32 {
        (self.random)() % most + 1
    }

    /// What is for one of the families alone.
    fn only(&self, is_v4: bool) -> Result<(), String> {
        let wrong = || "is not of this destination's family".to_owned();
        if self.is_v4 == is_v4 { Ok(()) } else { Err(wrong()) }
    }

    /// IP and its options; false where it is none of them.
    fn take_network(&mut self, at: usize, token: &mut Token<'_>) -> Result<bool, String> {
        match token.name.as_str() {
            "IP" | "IPV6" => {
                let fields: &[&str] = &["tos", "id", "df", "reserved"];
                token.accept(if self.is_v4 { fields } else { &["tos", "flow"] })?;
                if at != 0 {
                    return Err("the network layer comes first".to_owned());
                }
                // `IP` is of the destination's family, for a supervisor has one probe for all of them.
                if self.is_v4 && token.name == "IPV6" {
                    return Err("accepted for this destination: IP".to_owned());
                }
                self.spec.tos = token.number("tos", 0..=255)?.unwrap_or(0);
                self.spec.ip_id = token.number("id", 1..=65_535)?;
                self.spec.dont_fragment = token.number("df", 0..=1)? == Some(1_u8);
                self.spec.unusual.ip_reserved = token.number("reserved", 0..=1)? == Some(1_u8);
                self.spec.flow_label = token.number("flow", 0..=0xf_ffff)?.unwrap_or(0);
            }
            "ECT" | "CE" => {
                token.accept(&[])?;
                self.spec.tos |= if token.name == "CE" { 1 } else { 2 };
            }
            "DSCP" => {
                token.accept(&["value"])?;
                let chosen = token.number("value", 0..=63)?;
                let value = chosen.unwrap_or_else(|| self.number(63) as u8);
                self.spec.tos = self.spec.tos & 3 | value << 2;
            }
            "DF" => {
                self.only(true)?;
                token.accept(&[])?;
                self.spec.dont_fragment = true;
            }
            "IPID" => {
                self.only(true)?;
                token.accept(&["value"])?;
                // A 0 would be replaced.
                let chosen = token.number("value", 1..=65_535)?;
                self.spec.ip_id = Some(chosen.unwrap_or_else(|| self.number(65_535) as u16));
            }
            "IPFLOW" => {
                self.only(false)?;
                token.accept(&["value"])?;
                let chosen = token.number("value", 0..=0xf_ffff)?;
                self.spec.flow_label = chosen.unwrap_or_else(|| self.number(0xf_ffff));
            }
            "RR" => {
                self.only(true)?;
                token.accept(&["slots"])?;
                let octets = 4 * token.number("slots", 1..=9)?.unwrap_or(9_u8);
                self.spec.ip_options.extend([7, 3 + octets, 4]);
                self.spec.ip_options.extend(vec![0; octets.into()]);
            }
            "IPTS" => {
                self.only(true)?;
                token.accept(&["slots", "form"])?;
                let form = token.number("form", 0..=1)?.unwrap_or(0_u8);
                let (each, most) = if form == 0 { (4, 9) } else { (8, 4) };
                let octets = each * token.number("slots", 1..=most)?.unwrap_or(most);
                self.spec.ip_options.extend([68, 4 + octets, 5, form]);
                self.spec.ip_options.extend(vec![0; octets.into()]);
            }
            "RTRALERT" => {
                token.accept(&["value"])?;
                let value = token.number("value", 0..=65_535)?.unwrap_or(0_u16).to_be_bytes();
                if self.is_v4 {
                    self.spec.ip_options.extend([148, 4, value[0], value[1]]);
                } else {
                    let options = self.headers[0].get_or_insert_default();
                    options.extend([5, 2, value[0], value[1]]);
                }
            }
            "IPOPTION" => {
                self.only(true)?;
                token.accept(&["kind", "data"])?;
                let kind = token.number("kind", 2..=255)?.ok_or("kind is missing")?;
                if SOURCE_ROUTES.contains(&kind) {
                    return Err(
                        "kind: 131 and 137 are source routes, which are not sent".to_owned()
                    );
                }
                let data = token.octets("data", 0..=38)?.unwrap_or_default();
                self.spec.ip_options.extend([kind, data.len() as u8 + 2]);
                self.spec.ip_options.extend(data);
            }
            "HOPOPT" | "DSTOPT" => {
                self.only(false)?;
                token.accept(&["kind", "data"])?;
                let kind: Option<u8> = token.number("kind", 2..=255)?;
                let data = token.octets("data", 0..=MOST_IN_HEADER)?;
                let header = usize::from(token.name == "DSTOPT");
                let options = self.headers[header].get_or_insert_default();
                match (kind, data) {
                    (None, Some(_)) => return Err("kind is missing".to_owned()),
                    // A header of fillers alone.
                    (None, None) => {}
                    (Some(kind), data) => {
                        let data = data.unwrap_or_default();
                        options.extend([kind, data.len() as u8]);
                        options.extend(data);
                    }
                }
                if options.len() > 4 * MOST_IN_HEADER {
                    let octets = options.len();
                    return Err(format!("makes {octets} octets of options, accepted: 256"));
                }
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// The transport, its fields and what is behind it; false where it is none of them.
    fn take_transport(&mut self, token: &mut Token<'_>) -> Result<bool, String> {
        match token.name.as_str() {
            "TCP" | "UDP" => {
                if self.has_transport {
                    return Err("there is a transport already".to_owned());
                }
                let is_udp = token.name == "UDP";
                if is_udp != self.spec.is_udp {
                    let given = u8::from(self.spec.is_udp);
                    return Err(format!("contradicts scamper.tracebox.udp, which is {given}"));
                }
                token.accept(match is_udp {
                    true => &["length", "checksum"],
                    false => &["flags", "window", "seq", "ack", "urgent", "reserved", "checksum"],
                })?;
                // What `ECE` in front of it has set stays.
                let ecn = self.spec.flags & (flags::ECE | flags::CWR);
                self.spec.flags = token.number("flags", 0..=255)?.unwrap_or(flags::SYN) | ecn;
                self.spec.window = token.number("window", 0..=65_535)?.or(self.spec.window);
                self.spec.sequence = token.number("seq", 0..=u32::MAX)?;
                self.spec.acknowledgement = token.number("ack", 0..=u32::MAX)?.unwrap_or(0);
                self.spec.urgent = token.number("urgent", 0..=65_535)?.unwrap_or(0);
                let unusual = &mut self.spec.unusual;
                unusual.tcp_reserved = token.number("reserved", 0..=15)?.unwrap_or(0);
                unusual.udp_length = token.number("length", 0..=65_535)?;
                unusual.checksum = token.number("checksum", 0..=65_535)?;
                self.has_transport = true;
            }
            "ECE" => {
                self.of_tcp()?;
                token.accept(&[])?;
                self.spec.flags |= flags::ECE | flags::CWR;
            }
            "WINDOW" => {
                self.of_tcp()?;
                token.accept(&["value"])?;
                self.spec.window = Some(token.number("value", 0..=65_535)?.unwrap_or(65_535));
            }
            "RAW" => {
                token.accept(&["hex"])?;
                let payload = token.octets("hex", 1..=MOST_PAYLOAD)?;
                self.spec.payload = Some(payload.ok_or("its octets are missing: RAW(hex)")?);
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn of_tcp(&self) -> Result<(), String> {
        if self.spec.is_udp { Err("is of TCP alone".to_owned()) } else { Ok(()) }
    }

    /// Options of TCP; false where it is none.
    fn take_tcp_option(&mut self, token: &mut Token<'_>) -> Result<bool, String> {
        let (place, keys): (usize, &[&str]) = match token.name.as_str() {
            "MSS" => (MSS, &["size"]),
            "WSCALE" | "WINDOWSCALE" => (WSCALE, &["shift"]),
            "SACKP" => (SACKP, &[]),
            "SACK" => (SACK, &["left", "right"]),
            "TS" | "TSTAMP" | "TIMESTAMP" => (TS, &["value", "echo"]),
            "MD5" => (MD5, &["digest"]),
            "AO" | "AUTH" | "TCPAO" => (AO, &["key", "next", "mac"]),
            "TFO" => (TFO, &["cookie"]),
            "MPCAPABLE" => (MPCAPABLE, &["version", "flags", "key"]),
            "MPJOIN" => (MPJOIN, &["address", "token", "nonce"]),
            "OPTION" => (OTHER, &["kind", "data"]),
            _ => return Ok(false),
        };
        self.of_tcp()?;
        token.accept(keys)?;
        if place != OTHER && !self.tcp_options[place].is_empty() {
            return Err("stands twice".to_owned());
        }
        let option = match place {
            MSS => {
                let size: u16 = token.number("size", 0..=65_535)?.unwrap_or(1460);
                [&[2, 4], &size.to_be_bytes()[..]].concat()
            }
            WSCALE => vec![3, 3, token.number("shift", 0..=255)?.unwrap_or(14)],
            SACKP => vec![4, 2],
            SACK => {
                let mut edges = vec![5, 10];
                for key in ["left", "right"] {
                    let edge = token.number(key, 0..=u32::MAX)?;
                    edges.extend(edge.unwrap_or_else(|| (self.random)()).to_be_bytes());
                }
                edges
            }
            TS => {
                let value: u32 = token.number("value", 0..=u32::MAX)?.unwrap_or(self.clock_ms);
                let echo: u32 = token.number("echo", 0..=u32::MAX)?.unwrap_or(self.clock_ms);
                [&[8, 10], &value.to_be_bytes()[..], &echo.to_be_bytes()].concat()
            }
            MD5 => [vec![19, 18], self.chosen(token, "digest", 16)?].concat(),
            AO => {
                let keys = self.octets(2);
                let key = token.number("key", 0..=255)?.unwrap_or(keys[0]);
                let next = token.number("next", 0..=255)?.unwrap_or(keys[1]);
                [vec![29, 20, key, next], self.chosen(token, "mac", 16)?].concat()
            }
            TFO => {
                // None: a request for one.
                let cookie = token.octets("cookie", 4..=16)?.unwrap_or_default();
                [vec![34, cookie.len() as u8 + 2], cookie].concat()
            }
            MPCAPABLE => {
                // Subtype 0; checksums wanted, HMAC-SHA1.
                let version: u8 = token.number("version", 0..=15)?.unwrap_or(0);
                let flags = token.number("flags", 0..=255)?.unwrap_or(0x81);
                [vec![30, 12, version, flags], self.chosen(token, "key", 8)?].concat()
            }
            MPJOIN => {
                let address = token.number("address", 0..=255)?.unwrap_or(0);
                let (key, nonce) =
                    (self.chosen(token, "token", 4)?, self.chosen(token, "nonce", 4)?);
                [vec![30, 12, 0x10, address], key, nonce].concat()
            }
            _ => {
                let kind = token.number("kind", 2..=255)?.ok_or("kind is missing")?;
                let data = token.octets("data", 0..=38)?.unwrap_or_default();
                // Several of them follow each other.
                let before = std::mem::take(&mut self.tcp_options[OTHER]);
                [before, vec![kind, data.len() as u8 + 2], data].concat()
            }
        };
        self.tcp_options[place] = option;
        Ok(true)
    }
}

#[cfg(test)]
mod tests;
