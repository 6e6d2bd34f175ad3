//! What became of a probe.

use std::{fmt, net::IpAddr, time::Duration};

use sonde_packet::{
    Class, Family, IpHeader, Quote,
    extension::{self, Extension},
    unmapped,
};

use crate::{
    abi::{Event, flags, stamp},
    schema::Time,
};

/// An answer as the host delivered it: one cache line, nothing is parsed until asked for.
///
/// The packet itself is not kept; methods that take `packet` want the octets that were handed out
/// together with this reply (see [`super::ProbeFuture::read`] and [`super::ProbeFuture::capture`]).
#[derive(Clone, Copy, Debug)]
pub struct Reply(Event);

/// Which clock stamped a packet.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum StampSource {
    /// None did.
    None,
    /// The host, around its system call; interpolated over a batch.
    User,
    /// The kernel, in software.
    Kernel,
    /// The network card.
    Hardware,
    /// A simulation.
    Virtual,
}

impl StampSource {
    fn of(number: u8) -> Self {
        match number {
            stamp::USER => Self::User,
            stamp::KERNEL => Self::Kernel,
            stamp::HARDWARE => Self::Hardware,
            stamp::VIRTUAL => Self::Virtual,
            _ => Self::None,
        }
    }

    /// As results spell it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::User => "user",
            Self::Kernel => "kernel",
            Self::Hardware => "hardware",
            Self::Virtual => "virtual",
        }
    }
}

impl Reply {
    #[inline]
    pub(crate) fn of(event: &Event) -> Self {
        Self(*event)
    }

    /// Who sent it: the target, or a router.
    #[inline]
    #[must_use]
    pub fn from(&self) -> IpAddr {
        unmapped(self.0.from)
    }

    /// What kind of answer it is.
    #[inline]
    #[must_use]
    pub fn class(&self) -> Class {
        Class::from_number(self.0.class)
    }

    /// See [`super::Ctx::interface`].
    #[inline]
    pub(super) fn interface_number(&self) -> u8 {
        self.0.code
    }

    /// TTL or hop limit that it arrived with.
    #[inline]
    #[must_use]
    pub fn ttl(&self) -> u8 {
        self.0.ttl
    }

    /// ICMP type; 0 where it is no ICMP message.
    #[inline]
    #[must_use]
    pub fn icmp_type(&self) -> u8 {
        self.0.icmp_type
    }

    /// ICMP code; 0 where it is no ICMP message.
    #[inline]
    #[must_use]
    pub fn icmp_code(&self) -> u8 {
        self.0.icmp_code
    }

    /// Octets of the whole packet.
    #[inline]
    #[must_use]
    pub fn octets(&self) -> usize {
        self.0.len as usize
    }

    /// When the probe left; 0 where the packet answers none.
    #[inline]
    #[must_use]
    pub fn sent(&self) -> Time {
        Time(self.0.sent)
    }

    /// When it arrived.
    #[inline]
    #[must_use]
    pub fn at(&self) -> Time {
        Time(self.0.at)
    }

    /// Round-trip time; zero where the two stamps contradict each other, and of what answers no probe.
    #[inline]
    #[must_use]
    pub fn rtt(&self) -> Duration {
        Duration::from_nanos(self.rtt_ns())
    }

    /// As [`Reply::rtt`], in whole microseconds.
    #[inline]
    #[must_use]
    pub fn rtt_us(&self) -> u64 {
        self.rtt_ns() / 1000
    }

    #[inline]
    fn rtt_ns(&self) -> u64 {
        if self.0.sent == 0 { 0 } else { self.0.at.saturating_sub(self.0.sent) }
    }

    /// Which clock gave [`Reply::sent`].
    #[must_use]
    pub fn sent_by(&self) -> StampSource {
        StampSource::of(self.0.stamps & 15)
    }

    /// Which clock gave [`Reply::at`].
    #[must_use]
    pub fn received_by(&self) -> StampSource {
        StampSource::of(self.0.stamps >> 4)
    }

    /// How far off [`Reply::sent`] may be; at most 6.5 ms, which stands for that and more.
    #[must_use]
    pub fn uncertainty(&self) -> Duration {
        Duration::from_nanos(u64::from(self.0.aux) * 100)
    }

    /// It came after the time-out of its probe.
    #[inline]
    #[must_use]
    pub fn is_late(&self) -> bool {
        self.has(flags::LATE)
    }

    /// Its probe had been answered before.
    #[inline]
    #[must_use]
    pub fn is_duplicate(&self) -> bool {
        self.has(flags::DUPLICATE)
    }

    /// Credited to its probe by the IP identification or the checksum alone, or because nothing else was
    /// outstanding.
    #[inline]
    #[must_use]
    pub fn is_weak(&self) -> bool {
        self.has(flags::WEAK)
    }

    /// A checksum is wrong.
    #[must_use]
    pub fn bad_checksum(&self) -> bool {
        self.has(flags::BAD_CHECKSUM)
    }

    /// A checksum could not be verified.
    #[must_use]
    pub fn unverified(&self) -> bool {
        self.has(flags::UNVERIFIED)
    }

    /// Several segments that the network card or kernel put together: no packet of this size was
    /// on the wire.
    #[must_use]
    pub fn is_merged(&self) -> bool {
        self.has(flags::MERGED)
    }

    /// Octets of data of each of the segments that were merged, but for the last; `None` where none were, or that is
    /// not known.
    #[must_use]
    pub fn merged_octets(&self) -> Option<u16> {
        Some(self.0.quote).filter(|octets| self.is_merged() && *octets != 0)
    }

    /// It came in fragments, which the host put together. Its headers are those of the first one, in
    /// IPv6 with the fragment header: `IpHeader::identification` shows the number of the fragments.
    #[must_use]
    pub fn is_fragmented(&self) -> bool {
        self.has(flags::FRAGMENTED)
    }

    fn has(&self, flag: u8) -> bool {
        self.0.flags & flag != 0
    }

    /// What stands in an ICMP error where our probe is quoted, up to the end of the packet:
    /// padding and extensions included, see [`Reply::quote`]. `None` where nothing is quoted.
    #[inline]
    #[must_use]
    pub fn quoted<'a>(&self, packet: &'a [u8]) -> Option<&'a [u8]> {
        packet.get(self.quote_offset()?..)
    }

    fn quote_offset(&self) -> Option<usize> {
        Some(usize::from(self.0.quote)).filter(|at| *at != 0 && !self.is_merged())
    }

    /// Where the quote and the extensions of an ICMP error are, and how much of our probe is there.
    #[must_use]
    pub fn quote(&self, packet: &[u8]) -> Option<Quote> {
        let icmp = self.quote_offset()?.checked_sub(8)?;
        let header = IpHeader::parse(packet).ok()?;
        let end = packet.len().min(header.total_octets);
        Some(Quote::parse(packet, icmp, end, Family::of(self.from())))
    }

    /// Extension objects of an ICMP error, such as MPLS label stacks.
    #[must_use]
    pub fn extensions(&self, packet: &[u8]) -> Vec<Extension> {
        self.quote(packet)
            .and_then(|quote| packet.get(quote.extensions?))
            .and_then(extension::parse)
            .unwrap_or_default()
    }
}

/// What became of a probe.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Outcome<T = Reply> {
    /// It was answered.
    Reply(T),
    /// No answer came in time.
    Timeout {
        /// When the probe left.
        sent: Time,
    },
    /// It never left: this is not a loss.
    Unsent(NotSent),
}

impl<T> Outcome<T> {
    /// The answer, if there is one.
    #[must_use]
    pub fn reply(self) -> Option<T> {
        match self {
            Self::Reply(reply) => Some(reply),
            Self::Timeout { .. } | Self::Unsent(_) => None,
        }
    }

    /// The answer, if there is one, left where it is.
    #[must_use]
    pub fn as_reply(&self) -> Option<&T> {
        match self {
            Self::Reply(reply) => Some(reply),
            Self::Timeout { .. } | Self::Unsent(_) => None,
        }
    }

    /// No answer came in time.
    #[must_use]
    pub fn is_timeout(&self) -> bool {
        matches!(self, Self::Timeout { .. })
    }

    /// Why it never left, if it did not.
    #[must_use]
    pub fn not_sent(&self) -> Option<NotSent> {
        match self {
            Self::Unsent(reason) => Some(*reason),
            Self::Reply(_) | Self::Timeout { .. } => None,
        }
    }
}

/// Why a probe never left.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct NotSent {
    /// What the kernel said, as an errno. `EINVAL` (22) and `EMSGSIZE` (90) also stand for a probe
    /// that cannot be built; the measurement's log then has the reason in words.
    pub errno: i32,
    /// The operator does not allow it.
    pub refused_by_policy: bool,
}

impl NotSent {
    #[inline]
    pub(crate) fn of(event: &Event) -> Self {
        Self { errno: i32::from(event.code), refused_by_policy: event.flags & flags::REFUSED != 0 }
    }

    /// How long to wait before the probe is sent again, where as many as `before` in a row did not leave before it:
    /// 100 ms, and twice as long each time up to 2 s.
    ///
    /// `None` where that does not help: it is refused by policy, no packet is left or it cannot be built, or the
    /// network has not come back for 7 s.
    #[must_use]
    pub fn pause(&self, before: u8) -> Option<Duration> {
        // EINVAL and EMSGSIZE, as the host numbers them on every system.
        let is_final =
            self.refused_by_policy || self.is_out_of_budget() || matches!(self.errno, 22 | 90);
        let pause = Duration::from_millis(100) * (1 << before.min(5));
        (!is_final && before < 7).then(|| pause.min(Duration::from_secs(2)))
    }

    /// The measurement may send no more packets.
    #[must_use]
    pub fn is_out_of_budget(&self) -> bool {
        // EDQUOT, as the host numbers it on every system.
        self.errno == 122
    }
}

impl fmt::Display for NotSent {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.refused_by_policy && self.is_out_of_budget() {
            formatter.write_str("not sent: the measurement's budget of packets is used up")
        } else if self.refused_by_policy {
            formatter.write_str("not sent: refused by the host's policy, or it is not of its flow")
        } else {
            write!(formatter, "not sent: {}", std::io::Error::from_raw_os_error(self.errno))
        }
    }
}

impl std::error::Error for NotSent {}

/// When a packet left, see [`super::Flow::send_stamped`].
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Departure {
    /// When it left.
    pub at: Time,
    /// Which clock says so.
    pub by: StampSource,
    /// How far off that may be.
    pub uncertainty: Duration,
}

impl Departure {
    pub(crate) fn of(event: &Event) -> Self {
        Self {
            at: Time(event.sent),
            by: StampSource::of(event.stamps & 15),
            uncertainty: Duration::from_nanos(u64::from(event.aux) * 100),
        }
    }
}

/// Something that a flow heard: the outcome of a launched probe, or a packet that answers none.
#[derive(Clone, Debug)]
pub struct Heard {
    /// Of the probe, as given to [`super::Flow::launch`]; `None` for a packet that answers none.
    pub label: Option<u32>,
    /// A probe may be heard of several times: a time-out, then late answers; an answer, then
    /// duplicates. [`Reply::is_late`] and [`Reply::is_duplicate`] tell.
    pub outcome: Outcome,
}
