//! What can be chosen of a tbit.

use sonde_plugin_api::{prelude::*, tcp::Offer};

use crate::{application::App, header};

choices! {
    /// What is tested.
    pub enum Test {
        /// Fetches; which options are granted.
        Null = "null",
        /// Path MTU discovery.
        Pmtud = "pmtud",
        /// Explicit congestion notification.
        Ecn = "ecn",
        /// Selective acknowledgements of the server.
        SackRcvr = "sack-rcvr",
        /// Initial congestion window.
        Icw = "icw",
        /// Appropriate byte counting: what makes the window grow.
        Abc = "abc",
        /// Resets in the window, but not exact.
        BlindRst = "blind-rst",
        /// SYNs in the window.
        BlindSyn = "blind-syn",
        /// Data with a wrong acknowledgement.
        BlindData = "blind-data",
        /// An end with a wrong acknowledgement.
        BlindFin = "blind-fin",
    }
}

params! {
    pub struct TbitParams {
        /// Address of the server.
        destination: IpAddr => "destination.{ip}",
        /// Address to send from, one of the host's; the route decides where it is not given.
        source: Option<IpAddr> => "scamper.tbit.srcaddr" { short: 'S' },
        /// What is tested. The window of abc is the initial one where nothing is said before, as with http, dns and bgp.
        test: Test = Test::Null => "scamper.tbit.type" { short: 't', alias: "test" },
        /// What is spoken to the server; a URL of https:// says it too.
        app: App = App::Http => "scamper.tbit.app" { short: 'p' },
        /// Port of the server; 0 is that of the URL, or of the application.
        dport: u16 = 0 => "scamper.tbit.dport" { alias: "destination-port", short: 'd' },
        /// Source port; 0 lets the host choose.
        sport: u16 = 0 => "scamper.tbit.sport" { alias: "source-port", short: 's' },
        /// Largest segment that we offer; 0 is what the route takes.
        mss: u16 = 0 => "scamper.tbit.mss" { unit: "octets", short: 'm' },
        /// MTU that "packet too big" tells, from 68 on; 0 is 1280.
        mtu: u16 = 0 => "scamper.tbit.mtu" { unit: "octets", short: 'M' },
        /// Who packets too big come from, instead of us: a router, whose name we speak in. The operator has to
        /// permit spoof.
        ptbsrc: Option<IpAddr> => "scamper.tbit.ptbsrc" { short: 'P' },
        /// Any of tcpts, sack (not of icw and abc), fo, fo-exp, blackhole, and one of ipts-syn, iprr-syn, ipqs-syn (timestamps, record
        /// route and quick start in the IPv4 header of the SYN), with commas between them.
        option: Option<String> => "scamper.tbit.option" { max_length: 60, short: 'O' },
        /// What is asked for: a path, or http://HOST:PORT/PATH, or https://HOST:PORT/PATH; of dns a slash and a
        /// name.
        url: String = "/".to_owned() => "scamper.tbit.url" { max_length: 1000, short: 'u' },
        /// The conversation of the application script, EXPECT|SEND|EXPECT|SEND…: an empty EXPECT waits for nothing,
        /// one more at the end says when the answer is whole; \r \n \t \\ \| and \xNN stand for octets.
        script: Option<String> => "scamper.tbit.script" { max_length: 4000 },
        /// Number of our autonomous system, for bgp.
        asn: u16 = 1 => "scamper.tbit.asn" { short: 'b' },
        /// Packets-too-big, or blind segments, at most; 0 is 4 and 3.
        attempts: u8 = 0 => "scamper.tbit.attempts" { range: 0..=4, short: 'q' },
        /// How far blind segments are from the number that the server expects, 0 is 10; of data and ends how
        /// far their acknowledgement is off, 0 is -70000.
        offset: i32 = 0 => "scamper.tbit.offset" { range: -i32::MAX..=i32::MAX, short: 'o' },
        /// Fast open cookie, hexadecimal, of 4 to 16 octets.
        cookie: Option<Hex> => "scamper.tbit.cookie" { max_length: 16, short: 'f' },
        /// Window scale that is offered; 0 offers none, but 7 with icw and abc, for our window must not limit theirs.
        wscale: u8 = 0 => "scamper.tbit.wscale" { range: 0..=14, short: 'w' },
        /// TTL or hop limit of what is sent.
        ttl: u8 = 255 => "scamper.tbit.ttl" { range: 1..=255, unit: "hops", short: 'T' },
        /// Any number, which is in the record and changes nothing.
        userid: u32 = 0 => "sonde.tbit.userid" { short: 'U' },
    }
}

/// What Linux offers with the usual buffers; a window of 8 MB is more than any server begins with.
const USUAL_SCALE: u8 = 7;

/// What no router says less than. Source: RFC 791, section 3.2.
const LEAST_MTU: u16 = 68;

pub(crate) const SACK: &str = "sack";
const OPTIONS: [&str; 8] =
    ["tcpts", SACK, "fo", "fo-exp", "blackhole", "ipts-syn", "iprr-syn", "ipqs-syn"];

impl TbitParams {
    /// How far blind segments are off, where usually `usual`: exact they would not be blind.
    pub(crate) fn offset(&self, usual: i32) -> i32 {
        if self.offset == 0 { usual } else { self.offset }
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        let text = self.option.as_deref().unwrap_or_default();
        text.split(',').any(|option| option.trim() == name)
    }

    /// What a range cannot say.
    ///
    /// # Errors
    ///
    /// Names the element, the value and what is accepted.
    pub(crate) fn check(&self) -> Result<(), Fail> {
        let text = self.option.as_deref().unwrap_or_default();
        let given = text.split(',').map(str::trim).filter(|option| !option.is_empty());
        for option in given {
            if !OPTIONS.contains(&option) {
                return Err(Fail::bad_params(format!(
                    "scamper.tbit.option has {option:?}, accepted: {}",
                    OPTIONS.join(", ")
                )));
            }
        }
        header::check(self)?;
        if (1..LEAST_MTU).contains(&self.mtu) {
            return Err(Fail::bad_params(format!(
                "scamper.tbit.mtu is {}, accepted: 0, or from {LEAST_MTU} octets on, which every link takes",
                self.mtu
            )));
        }
        let octets = self.cookie.as_ref().map_or(4, |cookie| cookie.0.len());
        if !(4..=16).contains(&octets) || !octets.is_multiple_of(4) {
            return Err(Fail::bad_params(format!(
                "scamper.tbit.cookie has {octets} octets, accepted: 4, 8, 12 or 16"
            )));
        }
        let schemes = ["/", "http://", "https://"];
        let is_known = schemes.iter().any(|scheme| self.url.starts_with(scheme));
        if !is_known || self.parts().0.is_some_and(|authority| !is_authority(authority)) {
            return Err(Fail::bad_params(format!(
                "scamper.tbit.url is {:?}, accepted: a path from / on, http://HOST:PORT/PATH or https://HOST:PORT/PATH",
                self.url
            )));
        }
        if self.url.chars().any(|one| one.is_control() || one == ' ') {
            return Err(Fail::bad_params(
                "scamper.tbit.url has blanks or control characters, accepted: none of them",
            ));
        }
        if self.script.is_some() && self.app() != App::Script {
            return Err(Fail::bad_params(format!(
                "scamper.tbit.script is given with scamper.tbit.app {}, accepted: with script",
                self.app()
            )));
        }
        Ok(())
    }

    /// Host, with its port, port of the URL, and its path.
    fn parts(&self) -> (Option<&str>, Option<u16>, &str) {
        let scheme = ["http://", "https://"].into_iter().find_map(|one| self.url.strip_prefix(one));
        let Some(rest) = scheme else { return (None, None, &self.url) };
        let (authority, path) = match rest.find('/') {
            Some(at) => rest.split_at(at),
            None => (rest, "/"),
        };
        let port = authority.rsplit_once(':').and_then(|(_, port)| port.parse().ok());
        (Some(authority), port, path)
    }

    pub(crate) fn port(&self) -> u16 {
        if self.dport == 0 { self.parts().1.unwrap_or(self.app().port()) } else { self.dport }
    }

    pub(crate) fn app(&self) -> App {
        if self.url.starts_with("https://") { App::Https } else { self.app }
    }

    /// Name or address in the URL, without port and brackets.
    pub(crate) fn host(&self) -> Option<&str> {
        let (authority, port, _) = self.parts();
        let authority = authority?;
        let host = match port {
            Some(_) => authority.rsplit_once(':').map_or(authority, |(host, _)| host),
            None => authority,
        };
        Some(host.trim_start_matches('[').trim_end_matches(']'))
    }

    /// The request for a page (RFC 1945): the server closes the connection behind its answer.
    pub(crate) fn page(&self) -> Vec<u8> {
        let (host, _, path) = self.parts();
        let host = host.map(|host| format!("Host: {host}\r\n")).unwrap_or_default();
        format!("GET {path} HTTP/1.0\r\n{host}Accept: */*\r\nUser-Agent: sonde\r\n\r\n")
            .into_bytes()
    }

    pub(crate) fn mtu(&self) -> u16 {
        if self.mtu == 0 { 1280 } else { self.mtu }
    }

    pub(crate) fn tries(&self, usual: u8) -> u8 {
        if self.attempts == 0 { usual } else { self.attempts }
    }

    /// Who is offered selective acknowledgements sends one segment beyond its window before its timer runs out, a tail loss
    /// probe (RFC 8985, section 7).
    pub(crate) fn counts_a_window(&self) -> bool {
        matches!(self.test, Test::Icw | Test::Abc)
    }

    /// Options of the SYN; `mtu` is that of the route.
    pub(crate) fn offer(&self, mtu: u32) -> Offer {
        let headers = if self.destination.is_ipv4() { 40 } else { 60 };
        let mss = u16::try_from(mtu.saturating_sub(headers)).unwrap_or(u16::MAX);
        let cookie = self.cookie.as_ref().map(|cookie| cookie.0.clone());
        let scale =
            if self.counts_a_window() && self.wscale == 0 { USUAL_SCALE } else { self.wscale };
        let asks = self.has("fo") || self.has("fo-exp");
        Offer {
            mss: Some(if self.mss == 0 { mss } else { self.mss }),
            window_scale: (scale != 0).then_some(scale),
            sack: self.test == Test::SackRcvr || self.has(SACK) && !self.counts_a_window(),
            timestamps: self.has("tcpts"),
            fast_open: cookie.or_else(|| asks.then(Vec::new)),
            fast_open_experimental: self.has("fo-exp"),
        }
    }

    pub(crate) fn flow(&self) -> FlowSpec {
        let spec = FlowSpec::tcp(self.destination).key(Key::None).hear_all().local(self.sport);
        match self.source {
            Some(source) => spec.source(source),
            None => spec,
        }
    }
}

/// Whether a text is a host, and perhaps a port; an IPv6 address stands in brackets (RFC 3986, section 3.2).
fn is_authority(text: &str) -> bool {
    let end = text.find(']').map(|at| at + 1).or(text.find(':')).unwrap_or(text.len());
    let (host, port) = text.split_at(end);
    let is_port = |port: &str| port.parse::<u16>().is_ok_and(|port| port != 0);
    !host.is_empty() && (port.is_empty() || port.strip_prefix(':').is_some_and(is_port))
}
