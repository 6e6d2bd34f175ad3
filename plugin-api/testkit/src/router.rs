//! What a router does beside forwarding: errors, and what it keeps to itself.

use std::{net::IpAddr, time::Duration};

use sonde_packet::{ErrorKind, IpHeader, Verdict, protocol, verify};

use crate::{
    quote::QuotePolicy,
    random::Random,
    words::{PerSecond, Prefix, TopologyError, Words},
};

/// What a drawing says of a node as a router.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct RouterSpec {
    /// Sends nothing of its own.
    pub(crate) is_silent: bool,
    /// Leaves the TTL alone, as inside a tunnel.
    pub(crate) keeps_ttl: bool,
    /// Passes a packet on whose TTL has just become 0.
    pub(crate) forwards_zero_ttl: bool,
    /// Drops packets with IPv4 options or IPv6 extension headers.
    pub(crate) drops_options: bool,
    /// TTL of its own packets.
    pub(crate) initial_ttl: Option<u8>,
    /// How long it takes to write an error.
    pub(crate) slowness: Duration,
    /// Destinations it refuses, with the ICMP code.
    pub(crate) refused: Vec<(Prefix, Option<u8>)>,
    quote: QuotePolicy,
    /// Source addresses of its errors, in turn.
    reply_from: Vec<IpAddr>,
    errors_per_second: Option<f64>,
    burst: f64,
    unanswered: f64,
}

impl RouterSpec {
    /// Takes one attribute from a drawing; false where the next word is none of a router.
    pub(crate) fn attribute(&mut self, words: &mut Words<'_>) -> Result<bool, TopologyError> {
        if self.quote.attribute(words)? {
            return Ok(true);
        }
        let Some(word) = words.next() else { return Ok(false) };
        match word {
            "silent" => self.is_silent = true,
            "keeps-ttl" => self.keeps_ttl = true,
            "forwards-zero-ttl" => self.forwards_zero_ttl = true,
            "drops-options" => self.drops_options = true,
            "ttl" => self.initial_ttl = Some(words.value()?),
            "slow" => self.slowness = words.value()?,
            "reply-from" => {
                self.reply_from.push(words.value()?);
                while let Some(address) = words.optional() {
                    self.reply_from.push(address);
                }
            }
            "rate-limit" => {
                self.errors_per_second = Some(words.value::<PerSecond>()?.0);
                self.burst = 1.0;
                if words.take("burst") {
                    self.burst = f64::from(words.value::<u16>()?.max(1));
                }
            }
            "unanswered" => self.unanswered = words.value::<crate::words::Ratio>()?.0,
            "refuse" => {
                let prefix = words.value()?;
                let code = if words.take("code") { Some(words.value()?) } else { None };
                self.refused.push((prefix, code));
            }
            _ => {
                words.back();
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// A router with what it remembers.
#[derive(Debug)]
pub(crate) struct Router {
    pub(crate) spec: RouterSpec,
    random: Random,
    errors: u64,
    tokens: f64,
    refilled_ns: u64,
}

impl Router {
    pub(crate) fn new(spec: RouterSpec, random: Random) -> Self {
        let tokens = spec.burst;
        Self { spec, random, errors: 0, tokens, refilled_ns: 0 }
    }

    /// Code of the refusal for packets to `destination`, where they are refused.
    pub(crate) fn refusal(&self, destination: IpAddr) -> Option<u8> {
        let (_, code) =
            self.spec.refused.iter().find(|(prefix, _)| prefix.contains(destination))?;
        // Communication administratively prohibited.
        Some(code.unwrap_or(if destination.is_ipv4() { 13 } else { 1 }))
    }

    /// The error about `packet` as it came in, from this router's `own` address; or why there is
    /// none.
    pub(crate) fn error(
        &mut self,
        own: IpAddr,
        ttl: u8,
        kind: ErrorKind,
        packet: &[u8],
        now_ns: u64,
    ) -> Result<Vec<u8>, &'static str> {
        if self.spec.is_silent {
            return Err("silent");
        }
        let header = IpHeader::parse(packet).map_err(|_| "no packet")?;
        if !deserves_error(packet, &header) {
            return Err("no error about an error or a later fragment");
        }
        if self.random.chance(self.spec.unanswered) {
            return Err("left unanswered by chance");
        }
        self.take_token(now_ns)?;
        let mine = |address: &&IpAddr| address.is_ipv4() == own.is_ipv4();
        let sources: Vec<&IpAddr> = self.spec.reply_from.iter().filter(mine).collect();
        let source = match sources.len() {
            0 => own,
            count => *sources[(self.errors % count as u64) as usize],
        };
        self.errors += 1;
        self.spec
            .quote
            .error(source, header.source, ttl, kind, packet)
            .map_err(|_| "the error would be too long")
    }

    fn take_token(&mut self, now_ns: u64) -> Result<(), &'static str> {
        let Some(rate) = self.spec.errors_per_second else { return Ok(()) };
        let passed_ns = now_ns.saturating_sub(self.refilled_ns);
        self.tokens = (self.tokens + passed_ns as f64 / 1e9 * rate).min(self.spec.burst);
        self.refilled_ns = now_ns;
        // Rates such as 3/s do not add up to a whole token exactly.
        if self.tokens < 1.0 - 1e-6 {
            return Err("over its rate limit");
        }
        self.tokens -= 1.0;
        Ok(())
    }
}

/// RFC 1122, section 3.2.2: never about an ICMP error, nor about a fragment behind the first; and
/// a packet with a wrong header is dropped.
fn deserves_error(packet: &[u8], header: &IpHeader) -> bool {
    let kind = packet.get(header.header_octets).copied().unwrap_or_default();
    let is_error = match header.protocol {
        protocol::ICMP => [3, 4, 5, 11, 12].contains(&kind),
        protocol::ICMPV6 => kind < 128,
        _ => false,
    };
    header.has_transport() && !is_error && !header.source.is_unspecified()
}

/// False where a host would drop the packet for its checksum.
pub(crate) fn is_intact(packet: &[u8], header: &IpHeader) -> bool {
    verify(packet, header) != Verdict::Bad
}
