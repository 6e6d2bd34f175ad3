//! A probe to be: a few numbers, made into a packet right in the host's transmit buffer.

use std::net::IpAddr;

use sonde_packet::{BuildError, Ip, Packet, Payload, TcpSegment, Transport, tcp};

use super::{flow::Flow, wall::WallTime};
use crate::{abi::flags, schema::Arena};

/// Random octets that a payload begins with which the author did not choose: an answer has to
/// carry them back, so nobody who did not see the probe can forge one.
const NONCE_OCTETS: usize = 8;

/// An IPv6 packet that is as long as its length field can say, with its fixed header.
const LONGEST_PACKET: usize = 65_575;

/// A probe to be. Cheap to make, to copy and to move.
///
/// What is not chosen: TTL 64, the ToS of the flow, DF set, a random IPv4 identification other
/// than 0, the flow's local identifier, a payload of the usual size (56 octets for an echo, 44 for a
/// time stamp, 12 for UDP, none for TCP) that begins with 8 random octets, and for TCP a window of
/// 65535 and random sequence and acknowledgement numbers. Checksums are right.
///
/// ```
/// use sonde_plugin_api::Probe;
/// let probe = Probe::udp(33_435).ttl(3).checksum(7).size(44);
/// # let _ = probe;
/// ```
#[derive(Clone, Debug)]
#[must_use = "a probe does nothing until it is sent"]
pub struct Probe {
    kind: Kind,
    fill: Fill,
    chosen: u16,
    ttl: u8,
    tos: u8,
    tcp_flags: u8,
    ip_id: u16,
    port: u16,
    window: u16,
    checksum: u16,
    sequence: u32,
    acknowledgement: u32,
    flow_label: u32,
    size: Size,
    rare: Option<Box<Rare>>,
}

const _: () = assert!(size_of::<Probe>() <= 64);

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Kind {
    Echo,
    Timestamp,
    Udp,
    Tcp,
    Icmp { kind: u8, code: u8 },
    Other { protocol: u8 },
    Raw,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Fill {
    /// Random octets, then zeros.
    Random,
    /// These octets, then zeros.
    Nonce(u64),
    Zeros,
    /// What is in [`Rare`].
    Chosen,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Size {
    Natural,
    /// Of the payload.
    Payload(u32),
    /// Of the whole packet.
    Packet(u32),
}

/// Bits of [`Probe::chosen`].
mod chosen {
    pub(super) const TOS: u16 = 1;
    pub(super) const IP_ID: u16 = 2;
    pub(super) const MAY_FRAGMENT: u16 = 4;
    pub(super) const CHECKSUM: u16 = 8;
    pub(super) const SEQUENCE: u16 = 16;
    pub(super) const ACKNOWLEDGEMENT: u16 = 32;
    pub(super) const IMMEDIATE: u16 = 64;
}

/// What few probes have.
#[derive(Clone, Debug, Default)]
struct Rare {
    payload: Box<[u8]>,
    pattern: Box<[u8]>,
    /// Of TCP, or the octets 4 to 7 of an ICMP message.
    urgent: u16,
    rest: [u8; 4],
    originate_ms: Option<u32>,
    ip_options: Box<[u8]>,
    tcp_options: Box<[u8]>,
    source: Option<IpAddr>,
    extension_headers: Option<(u8, Box<[u8]>)>,
}

/// Why a probe cannot be built.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub(super) enum ProbeError {
    #[error("{0}")]
    Build(BuildError),
    #[error("a packet of {octets} octets has no room for its headers of {headers}")]
    NoRoomForHeaders { octets: usize, headers: usize },
    #[error("a raw packet of {0} octets, 20 to 65575 are possible")]
    Raw(usize),
}

impl ProbeError {
    pub(super) fn errno(self) -> i32 {
        const EINVAL: i32 = 22;
        const EMSGSIZE: i32 = 90;
        match self {
            Self::Build(BuildError::TooLong { .. }) => EMSGSIZE,
            Self::Build(_) | Self::NoRoomForHeaders { .. } | Self::Raw(_) => EINVAL,
        }
    }
}

impl Probe {
    const fn new(kind: Kind) -> Self {
        Self {
            kind,
            fill: Fill::Random,
            chosen: 0,
            ttl: 64,
            tos: 0,
            tcp_flags: 0,
            ip_id: 0,
            port: 0,
            window: 65_535,
            checksum: 0,
            sequence: 0,
            acknowledgement: 0,
            flow_label: 0,
            size: Size::Natural,
            rare: None,
        }
    }

    /// ICMP or ICMPv6 echo request.
    pub fn echo(sequence: u16) -> Self {
        Self { sequence: u32::from(sequence), ..Self::new(Kind::Echo) }
    }

    /// ICMP timestamp request, originated when it is sent; IPv4 only.
    pub fn timestamp(sequence: u16) -> Self {
        Self { sequence: u32::from(sequence), ..Self::new(Kind::Timestamp) }
    }

    /// UDP to a port of the peer.
    pub fn udp(port: u16) -> Self {
        Self { port, ..Self::new(Kind::Udp) }
    }

    /// A TCP segment without any flag, to a port of the peer.
    pub fn tcp(port: u16) -> Self {
        Self { port, ..Self::new(Kind::Tcp) }
    }

    /// A TCP SYN.
    pub fn tcp_syn(port: u16, sequence: u32) -> Self {
        Self::tcp(port).flags(tcp::flags::SYN).sequence(sequence).acknowledgement(0)
    }

    /// A TCP ACK without data.
    pub fn tcp_ack(port: u16, sequence: u32, acknowledgement: u32) -> Self {
        Self::tcp(port).flags(tcp::flags::ACK).sequence(sequence).acknowledgement(acknowledgement)
    }

    /// A TCP RST.
    pub fn tcp_rst(port: u16, sequence: u32) -> Self {
        Self::tcp(port).flags(tcp::flags::RST).sequence(sequence).acknowledgement(0)
    }

    /// Any ICMP or ICMPv6 message; `rest` is what stands in its octets 4 to 7. No payload unless
    /// one is chosen.
    pub fn icmp(kind: u8, code: u8, rest: [u8; 4]) -> Self {
        let mut probe = Self::new(Kind::Icmp { kind, code });
        probe.rare().rest = rest;
        probe
    }

    /// Any protocol; the payload is all that follows the IP header.
    pub fn other(protocol: u8) -> Self {
        Self::new(Kind::Other { protocol })
    }

    /// A packet from its IP header on, sent as it is. The host checks that it is of the flow: its
    /// addresses, protocol and local identifier.
    pub fn raw(packet: &[u8]) -> Self {
        Self::new(Kind::Raw).payload(packet)
    }

    fn rare(&mut self) -> &mut Rare {
        self.rare.get_or_insert_default()
    }

    fn choose(&mut self, bits: u16, value: bool) {
        if value {
            self.chosen |= bits;
        } else {
            self.chosen &= !bits;
        }
    }

    fn has(&self, bits: u16) -> bool {
        self.chosen & bits != 0
    }

    // ---- IP ----

    /// TTL or hop limit.
    pub fn ttl(mut self, ttl: u8) -> Self {
        self.ttl = ttl;
        self
    }

    /// ToS or traffic class, with the ECN bits.
    pub fn tos(mut self, tos: u8) -> Self {
        self.tos = tos;
        self.choose(chosen::TOS, true);
        self
    }

    /// IPv4 identification. A raw socket of the kernel replaces 0 by one of its own.
    pub fn ip_id(mut self, ip_id: u16) -> Self {
        self.ip_id = ip_id;
        self.choose(chosen::IP_ID, true);
        self
    }

    /// The IPv4 flag DF.
    pub fn dont_fragment(mut self, dont_fragment: bool) -> Self {
        self.choose(chosen::MAY_FRAGMENT, !dont_fragment);
        self
    }

    /// The IPv6 flow label, 20 bits; 0 unless chosen, so all probes of a flow take one path.
    pub fn flow_label(mut self, flow_label: u32) -> Self {
        self.flow_label = flow_label;
        self
    }

    /// IPv4 options, at most 40 octets; filled up to whole words. See
    /// [`sonde_packet::ip_option`]. IPv6 has none.
    pub fn ip_options(mut self, options: &[u8]) -> Self {
        self.rare().ip_options = options.into();
        self
    }

    /// IPv6 extension headers: the number of the first, and all of them, the last one naming the
    /// protocol of the probe. IPv4 has none.
    pub fn extension_headers(mut self, first: u8, headers: &[u8]) -> Self {
        self.rare().extension_headers = Some((first, headers.into()));
        self
    }

    /// Another source address than the flow's, for an ICMP error in the name of a router. Refused
    /// unless the method wants [`Need::Spoof`](crate::descriptor::Need) and the operator permits it.
    pub fn source(mut self, source: IpAddr) -> Self {
        self.rare().source = Some(source);
        self
    }

    // ---- payload ----

    /// This payload, which may be none. Where a size is chosen too, it is cut or goes on with the pattern.
    pub fn payload(mut self, payload: &[u8]) -> Self {
        self.rare().payload = payload.into();
        self.fill = Fill::Chosen;
        match (self.size, payload) {
            (Size::Natural, []) => self.payload_octets(0),
            _ => self,
        }
    }

    /// A payload of so many zeros.
    pub fn zeros(mut self, octets: usize) -> Self {
        self.fill = Fill::Zeros;
        self.payload_octets(octets)
    }

    /// A payload that begins with these octets, in network order, in place of random ones, so that probes can carry the
    /// same: its size is the usual one or that which is chosen.
    pub fn nonce(mut self, nonce: u64) -> Self {
        self.fill = Fill::Nonce(nonce);
        self
    }

    /// A payload that repeats `pattern`; its size is the usual one or that which is chosen.
    pub fn pattern(mut self, pattern: &[u8]) -> Self {
        self.rare().pattern = pattern.into();
        self.fill = Fill::Chosen;
        self
    }

    /// A payload of so many octets, which begins with random ones unless it is chosen.
    pub fn payload_octets(mut self, octets: usize) -> Self {
        // More than fits in a packet is refused later: cutting it to 32 bits must not fit again.
        self.size = Size::Payload(u32::try_from(octets).unwrap_or(u32::MAX));
        self
    }

    /// A payload that makes the whole packet so long, IP header included.
    pub fn size(mut self, octets: usize) -> Self {
        self.size = Size::Packet(u32::try_from(octets).unwrap_or(u32::MAX));
        self
    }

    /// What the checksum of ICMP, UDP or TCP shall be; the first two octets of the payload absorb
    /// the difference. Not 0 with UDP, and never 0xffff, which is the same number as 0.
    pub fn checksum(mut self, checksum: u16) -> Self {
        self.checksum = checksum;
        self.choose(chosen::CHECKSUM, true);
        self
    }

    // ---- TCP and ICMP ----

    /// TCP flags, see [`sonde_packet::tcp::flags`].
    pub fn flags(mut self, flags: u8) -> Self {
        self.tcp_flags = flags;
        self
    }

    /// TCP sequence number; of ICMP queries the sequence number (16 bits).
    pub fn sequence(mut self, sequence: u32) -> Self {
        self.sequence = sequence;
        self.choose(chosen::SEQUENCE, true);
        self
    }

    /// TCP acknowledgement number.
    pub fn acknowledgement(mut self, acknowledgement: u32) -> Self {
        self.acknowledgement = acknowledgement;
        self.choose(chosen::ACKNOWLEDGEMENT, true);
        self
    }

    /// TCP window, not scaled.
    pub fn window(mut self, window: u16) -> Self {
        self.window = window;
        self
    }

    /// TCP urgent pointer.
    pub fn urgent(mut self, urgent: u16) -> Self {
        self.rare().urgent = urgent;
        self
    }

    /// TCP options, at most 40 octets; filled up to whole words. See
    /// [`sonde_packet::tcp::TcpOption::list`].
    pub fn tcp_options(mut self, options: &[u8]) -> Self {
        self.rare().tcp_options = options.into();
        self
    }

    /// Originate time stamp of an ICMP timestamp request, milliseconds since midnight UTC.
    pub fn originate_ms(mut self, originate_ms: u32) -> Self {
        self.rare().originate_ms = Some(originate_ms);
        self
    }

    /// An answer inside a conversation: it does not wait behind probes.
    pub fn immediate(mut self) -> Self {
        self.choose(chosen::IMMEDIATE, true);
        self
    }

    pub(super) fn action_flags(&self) -> u16 {
        if self.has(chosen::IMMEDIATE) { flags::IMMEDIATE } else { 0 }
    }

    // ---- the packet ----

    /// Appends the whole packet.
    pub(super) fn write(&self, flow: &Flow, arena: &mut Arena<'_>) -> Result<(), ProbeError> {
        let rare = self.rare.as_deref();
        if self.kind == Kind::Raw {
            let packet = rare.map_or(&[][..], |rare| &rare.payload);
            if !(20..=LONGEST_PACKET).contains(&packet.len()) {
                return Err(ProbeError::Raw(packet.len()));
            }
            arena.put(packet);
            return Ok(());
        }
        let nonce = match self.fill {
            Fill::Random => flow.head.random().to_ne_bytes(),
            Fill::Nonce(nonce) => nonce.to_be_bytes(),
            Fill::Zeros | Fill::Chosen => [0; NONCE_OCTETS],
        };
        let mut packet = Packet {
            ip: self.ip(flow, rare),
            transport: Transport::Other { protocol: 0 },
            payload: Payload::Zeros(0),
            checksum: None,
        };
        packet.transport = self.transport(flow, rare);
        let headers = packet.octets().map_err(ProbeError::Build)?;
        let octets = match self.size {
            Size::Natural => self.natural_octets(rare),
            Size::Payload(octets) => octets as usize,
            Size::Packet(octets) => {
                let octets = octets as usize;
                let room = octets.checked_sub(headers);
                room.ok_or(ProbeError::NoRoomForHeaders { octets, headers })?
            }
        };
        packet.payload = match (self.fill, rare) {
            (Fill::Random | Fill::Nonce(_), _) => {
                Payload::Repeat { first: &nonce, pattern: &[], octets }
            }
            (Fill::Chosen, Some(rare)) => {
                Payload::Repeat { first: &rare.payload, pattern: &rare.pattern, octets }
            }
            (Fill::Zeros | Fill::Chosen, _) => Payload::Zeros(octets),
        };
        packet.checksum = self.has(chosen::CHECKSUM).then_some(self.checksum);
        // Beyond the longest packet there is no need for room: `emit` refuses it.
        let room = arena.take((headers + octets).min(LONGEST_PACKET));
        packet.emit(room).map_err(ProbeError::Build)?;
        Ok(())
    }

    #[inline]
    fn natural_octets(&self, rare: Option<&Rare>) -> usize {
        match (self.kind, rare) {
            (_, Some(rare)) if !rare.payload.is_empty() => rare.payload.len(),
            (Kind::Echo, _) => 56,
            (Kind::Timestamp, _) => 44,
            (Kind::Udp, _) => 12,
            _ => 0,
        }
    }

    #[inline]
    fn ip<'a>(&self, flow: &Flow, rare: Option<&'a Rare>) -> Ip<'a> {
        let identification = match &flow.next_ip_id {
            _ if self.has(chosen::IP_ID) => self.ip_id,
            Some(next) => {
                let ip_id = next.get().max(1);
                // By two, through the odd ones and then the even ones: one that a router counted up in its quote is not that
                // of the next probe.
                next.set(ip_id.checked_add(2).unwrap_or(1 + ip_id % 2));
                ip_id
            }
            None if flow.peer.is_ipv4() => (flow.head.random() as u16).max(1),
            None => 0,
        };
        let headers = rare.and_then(|rare| rare.extension_headers.as_ref());
        Ip {
            source: rare.and_then(|rare| rare.source).unwrap_or(flow.source),
            destination: flow.peer,
            ttl: self.ttl,
            tos: if self.has(chosen::TOS) { self.tos } else { flow.tos },
            identification,
            dont_fragment: !self.has(chosen::MAY_FRAGMENT),
            flow_label: self.flow_label,
            options: rare.map_or(&[], |rare| &rare.ip_options),
            extension_headers: headers.map(|(first, headers)| (*first, &**headers)),
        }
    }

    // Not inline: written where it is read from, field by field. Moved as a whole it would wait for its
    // own stores, some 8 ns.
    #[inline(never)]
    fn transport<'a>(&self, flow: &Flow, rare: Option<&'a Rare>) -> Transport<'a> {
        let random_unless = |chosen: u16, value: u32| {
            if self.has(chosen) { value } else { flow.head.random() as u32 }
        };
        match self.kind {
            Kind::Echo => {
                Transport::Echo { identifier: flow.local, sequence: self.sequence as u16 }
            }
            Kind::Timestamp => Transport::Timestamp {
                identifier: flow.local,
                sequence: self.sequence as u16,
                originate_ms: rare
                    .and_then(|rare| rare.originate_ms)
                    .unwrap_or_else(|| WallTime(flow.head.wall()).milliseconds_of_day()),
            },
            Kind::Udp => Transport::Udp { source_port: flow.local, destination_port: self.port },
            Kind::Tcp => Transport::Tcp(TcpSegment {
                source_port: flow.local,
                destination_port: self.port,
                sequence: random_unless(chosen::SEQUENCE, self.sequence),
                acknowledgement: random_unless(chosen::ACKNOWLEDGEMENT, self.acknowledgement),
                flags: self.tcp_flags,
                window: self.window,
                urgent: rare.map_or(0, |rare| rare.urgent),
                options: rare.map_or(&[], |rare| &rare.tcp_options),
            }),
            Kind::Icmp { kind, code } => {
                Transport::Icmp { kind, code, rest: rare.map_or([0; 4], |rare| rare.rest) }
            }
            Kind::Other { protocol } => Transport::Other { protocol },
            // `write` never comes here with it.
            Kind::Raw => Transport::Other { protocol: 0 },
        }
    }
}
