//! What is said to the server: one application for all tests.
//!
//! An application says things in turn with the server. The last thing that it says is kept apart, for that
//! is what a test delays, cuts to pieces or counts the answer of: [`Application::last`].
//!
//! Source: RFC 1945 (HTTP), RFC 5321 (SMTP), RFC 7766 (DNS), RFC 959 (FTP), RFC 4271 (BGP).

use sonde_plugin_api::prelude::*;

use crate::{
    params::TbitParams,
    script::{End, Expect, Message, Script, Step},
    tls::Tls,
};

choices! {
    /// What is spoken to the server.
    pub enum App {
        /// A page is fetched.
        Http = "http",
        /// A page is fetched over TLS; the certificate is not verified.
        Https = "https",
        /// Help is asked for, or a greeting repeated, by what the server says it is.
        Smtp = "smtp",
        /// TXT records of the name in the URL, or the servers of the root.
        Dns = "dns",
        /// Help is asked for.
        Ftp = "ftp",
        /// A session is opened.
        Bgp = "bgp",
        /// What the script says.
        Script = "script",
    }
}

impl App {
    /// Port where such servers are.
    pub(crate) fn port(self) -> u16 {
        match self {
            Self::Http | Self::Script => 80,
            Self::Https => 443,
            Self::Smtp => 25,
            Self::Dns => 53,
            Self::Ftp => 21,
            Self::Bgp => 179,
        }
    }
}

/// What comes of octets of the server.
#[derive(Debug, Default)]
pub(crate) struct Turn {
    /// To be sent.
    pub(crate) say: Vec<u8>,
    /// What the server said, without what TLS adds.
    pub(crate) text: Vec<u8>,
}

/// One conversation.
pub(crate) enum Application {
    Script(Script),
    Tls(Box<Tls>),
}

impl Application {
    /// `number` is random.
    ///
    /// # Errors
    ///
    /// Where a parameter cannot be said in the protocol.
    pub(crate) fn of(params: &TbitParams, number: u32) -> Result<Self, Fail> {
        let said = |octets: Vec<u8>, end| Script::of(Step::said(octets), end);
        let address = params.url.trim_start_matches('/');
        Ok(Self::Script(match params.app() {
            App::Https => return Ok(Self::Tls(Box::new(Tls::of(params)?))),
            App::Http => said(params.page(), End::Close),
            App::Dns => said(question(address, number as u16)?, End::Dns),
            App::Bgp => said(open(params.asn, number), End::Bgp),
            App::Smtp => {
                Script::of(Step { expect: Expect::Reply(*b"220"), send: Message::Smtp }, End::Close)
            }
            App::Ftp => {
                let help = [b"HELP\r\n".repeat(20), b"QUIT\r\n".to_vec()].concat();
                let send = Message::Octets(help);
                Script::of(Step { expect: Expect::Reply(*b"220"), send }, End::Close)
            }
            App::Script => Script::parse(params.script.as_deref().unwrap_or_default())?,
        }))
    }

    /// Takes what the server said; nothing, to begin.
    pub(crate) fn hear(&mut self, octets: &[u8]) -> Turn {
        match self {
            Self::Script(script) => Turn { say: script.hear(octets), text: octets.to_vec() },
            Self::Tls(tls) => tls.hear(octets),
        }
    }

    /// The last thing to say, once it is its turn; nothing where that was said before.
    pub(crate) fn last(&mut self) -> Option<Vec<u8>> {
        match self {
            Self::Script(script) => script.last(),
            Self::Tls(tls) => tls.last(),
        }
    }

    /// The server's answer is whole, though it has not closed the connection.
    pub(crate) fn is_complete(&self) -> bool {
        match self {
            Self::Script(script) => script.is_complete(),
            Self::Tls(tls) => tls.is_complete(),
        }
    }

    /// Why the conversation cannot go on.
    pub(crate) fn error(&self) -> Option<&str> {
        match self {
            Self::Script(_) => None,
            Self::Tls(tls) => tls.error(),
        }
    }

    /// Version of TLS that was agreed on.
    pub(crate) fn tls_version(&self) -> Option<String> {
        match self {
            Self::Script(_) => None,
            Self::Tls(tls) => tls.version(),
        }
    }
}

/// A question for TXT records of `name`, or for the name servers of the root, with its length before it
/// (RFC 1035, sections 4.1 and 4.2.2).
fn question(name: &str, number: u16) -> Result<Vec<u8>, Fail> {
    let kind: u16 = if name.is_empty() { 2 } else { 16 };
    let mut octets = [number, 0x0100, 1, 0, 0, 0].map(u16::to_be_bytes).concat();
    for label in name.trim_end_matches('.').split('.').filter(|_| !name.is_empty()) {
        let length = u8::try_from(label.len()).unwrap_or(u8::MAX);
        if !(1..=63).contains(&length) || octets.len() + label.len() > 12 + 253 {
            return Err(Fail::bad_params(format!(
                "scamper.tbit.url has the name {name:?}, accepted: labels of 1 to 63 octets, 253 in all"
            )));
        }
        octets.push(length);
        octets.extend(label.bytes());
    }
    octets.push(0);
    octets.extend([kind, 1].map(u16::to_be_bytes).concat());
    Ok([&(octets.len() as u16).to_be_bytes()[..], &octets].concat())
}

/// OPEN of a speaker that holds a session for 180 s (RFC 4271, section 4.2).
fn open(asn: u16, number: u32) -> Vec<u8> {
    // An identifier looks like an address of unicast: 1.x.x.x.
    let identifier = (number & 0x00ff_ffff) | 0x0100_0000;
    let mut octets = vec![0xff; 16];
    octets.extend([0, 29, 1, 4]);
    octets.extend(asn.to_be_bytes());
    octets.extend(180_u16.to_be_bytes());
    octets.extend(identifier.to_be_bytes());
    octets.push(0);
    octets
}
