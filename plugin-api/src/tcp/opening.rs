//! How a connection is opened, and why there is none.

use std::time::Duration;

use super::{options::Offer, segment::Segment};

/// How a connection is opened.
#[derive(Clone, Debug)]
pub struct Opening {
    /// Port of the peer.
    pub port: u16,
    /// Options of the SYN.
    pub offer: Offer,
    /// Window of the SYN and of all that follows, not scaled.
    pub window: u16,
    /// Flags of the SYN beside SYN: ECE and CWR ask for ECN (RFC 3168).
    pub flags: u8,
    /// Data on the SYN, for fast open.
    pub data: Vec<u8>,
    /// SYNs that are sent at most.
    pub tries: u8,
    /// How long each waits for its answer.
    pub wait: Duration,
    /// TTL or hop limit of all segments.
    pub ttl: u8,
    /// The IPv4 flag DF of the SYN; all that follows has it.
    pub dont_fragment: bool,
    /// IPv4 options of the SYN.
    pub ip_options: Vec<u8>,
    /// The first sequence number; a random one where missing.
    pub sequence: Option<u32>,
}

impl Opening {
    /// A plain SYN to a port: no options, a window of 65535, three tries of five seconds.
    #[must_use]
    pub fn to(port: u16) -> Self {
        Self {
            port,
            offer: Offer::default(),
            window: u16::MAX,
            flags: 0,
            data: Vec::new(),
            tries: 3,
            wait: Duration::from_secs(5),
            ttl: 64,
            dont_fragment: true,
            ip_options: Vec::new(),
            sequence: None,
        }
    }
}

/// Why there is no connection.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Refusal {
    /// Nothing came.
    Silence,
    /// The peer answered with a reset.
    Reset,
    /// An ICMP error came: who says so, type and code.
    Unreachable(std::net::IpAddr, u8, u8),
    /// An answer that acknowledges something else than the SYN, and no other one.
    WrongNumber(Box<Segment>),
    /// The SYN could not be sent.
    Unsent(crate::author::NotSent),
}
