//! A trace as it was asked for: checked, with what stands for 0, and small, for many run at once.

use sonde_plugin_api::prelude::*;

use crate::{kind::Kind, params::TraceParams};

/// Port that traceroutes begin with.
const USUAL_DPORT: u16 = 33_435;
/// Port that stands for "any" where it is taken, since nobody asked for it.
pub(crate) const USUAL_SPORT: u16 = 33_436;

/// See the module.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) destination: IpAddr,
    pub(crate) kind: Kind,
    /// 0 is off.
    pub(crate) confidence: u8,
    pub(crate) first: u8,
    pub(crate) last: u8,
    pub(crate) attempts: u8,
    pub(crate) sends_all: bool,
    /// 0 is none.
    pub(crate) gap_limit: u8,
    pub(crate) has_last_ditch: bool,
    pub(crate) loops: u8,
    pub(crate) loop_action: u8,
    pub(crate) wants_pmtu: bool,
    pub(crate) goes_through: bool,
    pub(crate) tos: u8,
    pub(crate) window: u8,
    pub(crate) is_backward: bool,
    pub(crate) keeps_payload: bool,
    pub(crate) flows: u8,
    /// Of ICMP-paris the checksum, 0 until it is chosen.
    pub(crate) dport: u16,
    pub(crate) sport: u16,
    pub(crate) wait_ms: u32,
    pub(crate) gap_ms: u32,
    pub(crate) hop_gap_ms: u32,
    pub(crate) flow_label: u32,
    pub(crate) userid: u32,
    pub(crate) rounds: u32,
    pub(crate) period: Duration,
    pub(crate) payload: Option<Box<[u8]>>,
    pub(crate) doubletree: Option<Box<Doubletree>>,
    /// Source and gateway; taken when the flows are opened.
    pub(crate) ends: Option<Box<(Option<IpAddr>, Option<IpAddr>)>>,
}

/// Stop sets.
#[derive(Debug)]
pub(crate) struct Doubletree {
    /// Sorted.
    pub(crate) global: Box<[IpAddr]>,
    pub(crate) local: Option<Box<str>>,
    pub(crate) goes_back: bool,
}

fn refuse<T>(text: impl Into<String>) -> Result<T, Fail> {
    Err(Fail::bad_params(text))
}

impl Plan {
    /// Checks what does not fit together.
    ///
    /// # Errors
    ///
    /// Names the parameter, its value and what would be accepted.
    pub(crate) fn of(params: TraceParams) -> Result<Self, Fail> {
        params.check()?;
        let is_doubletree = params.is_doubletree();
        let ends = (params.source.or(params.srcaddr), params.router);
        let mut global = params.gssentry;
        global.sort_unstable();
        let doubletree = Doubletree {
            global: global.into(),
            local: params.lssname.map(Into::into),
            goes_back: !params.noback,
        };
        let milliseconds = |time: Duration| u32::try_from(time.as_millis()).unwrap_or(u32::MAX);
        Ok(Self {
            destination: params.destination,
            kind: params.method,
            confidence: params.confidence,
            first: params.firsthop.max(1),
            last: if params.maxttl == 0 { 255 } else { params.maxttl },
            attempts: params.attempts.max(1),
            sends_all: params.all,
            gap_limit: params.gaplimit,
            has_last_ditch: params.gapaction == 2,
            loops: params.loops,
            loop_action: params.loopaction,
            wants_pmtu: params.pmtud,
            goes_through: params.through,
            tos: params.tos,
            window: params.hopwindow,
            is_backward: params.back,
            keeps_payload: params.constpayload,
            flows: params.flows,
            dport: match params.dport.unwrap_or(0) {
                0 if params.method != Kind::IcmpParis => USUAL_DPORT,
                dport => dport,
            },
            sport: params.sport,
            wait_ms: match params.wait {
                Duration::ZERO => 5000,
                wait => milliseconds(wait).max(1),
            },
            gap_ms: params.waitprobe.saturating_mul(10),
            hop_gap_ms: milliseconds(params.hopgap),
            flow_label: params.flowlabel,
            userid: params.userid,
            rounds: params.rounds,
            period: params.period,
            payload: params.payload.map(|payload| payload.0.into()),
            doubletree: is_doubletree.then(|| Box::new(doubletree)),
            ends: (ends != (None, None)).then(|| Box::new(ends)),
        })
    }

    pub(crate) fn is_v4(&self) -> bool {
        self.destination.is_ipv4()
    }

    /// Whether each probe gets a checksum of its own, which the first octets of its payload make.
    pub(crate) fn is_steered(&self) -> bool {
        match self.kind {
            Kind::UdpParis => !self.keeps_payload,
            Kind::Udp => self.payload.is_none(),
            _ => false,
        }
    }

    /// Length of a probe, whole packet.
    pub(crate) fn octets(&self) -> u32 {
        let headers = if self.is_v4() { 20 } else { 40 } + self.kind.header_octets();
        match &self.payload {
            Some(payload) => (headers + payload.len()) as u32,
            None => self.kind.usual_octets(self.is_v4()),
        }
    }
}

impl TraceParams {
    fn is_doubletree(&self) -> bool {
        !self.gssentry.is_empty() || self.lssname.is_some()
    }

    fn check(&self) -> Result<(), Fail> {
        let is_v4 = self.destination.is_ipv4();
        for (name, address) in
            [("source", self.source), ("srcaddr", self.srcaddr), ("router", self.router)]
        {
            if address.is_some_and(|address| address.is_ipv4() != is_v4) {
                return refuse(format!("{name} and destination are of different families"));
            }
        }
        if let (Some(source), Some(other)) = (self.source, self.srcaddr)
            && source != other
        {
            return refuse(format!("scamper.trace.srcaddr is {other}, but source is {source}"));
        }
        if is_v4 && self.flowlabel != 0 {
            let label = self.flowlabel;
            return refuse(format!("scamper.trace.flowlabel is {label}, accepted: 0 over IPv4"));
        }
        if self.maxttl != 0 && self.firsthop > self.maxttl {
            let (first, last) = (self.firsthop, self.maxttl);
            return refuse(format!(
                "scamper.trace.firsthop is {first}, accepted: 0 ... {last}, which is \
                 scamper.trace.maxttl"
            ));
        }
        if self.confidence != 0 && self.all {
            return refuse(
                "scamper.trace.Q is 1, accepted: 0 with scamper.trace.confidence, which decides how \
                 many probes a hop gets",
            );
        }
        let window = u32::from(self.hopwindow);
        if window > 1 && self.gaplimit != 0 && window > u32::from(self.gaplimit) {
            let limit = self.gaplimit;
            return refuse(format!(
                "scamper.trace.hopwindow is {window}, accepted: 1 ... {limit}, which is \
                 scamper.trace.gaplimit"
            ));
        }
        self.check_modes()?;
        self.check_payload(is_v4)
    }

    fn check_modes(&self) -> Result<(), Fail> {
        if self.pmtud {
            let problem = match () {
                () if self.firsthop > 1 => Some("scamper.trace.firsthop 0 or 1"),
                () if self.is_doubletree() => Some("neither gssentry nor lssname"),
                () if self.method == Kind::Tcp => Some("another scamper.trace.method than TCP"),
                () if self.rounds != 1 => Some("scamper.trace.rounds 1"),
                () => None,
            };
            if let Some(accepted) = problem {
                return refuse(format!("scamper.trace.M is 1, accepted: with {accepted}"));
            }
        }
        if self.back {
            let problem = match () {
                () if matches!(self.maxttl, 0 | 255) => Some("a scamper.trace.maxttl of 1 ... 254"),
                () if self.is_doubletree() => Some("neither gssentry nor lssname"),
                () => None,
            };
            if let Some(accepted) = problem {
                return refuse(format!("scamper.trace.back is 1, accepted: with {accepted}"));
            }
        }
        if self.rounds != 1 && self.is_doubletree() {
            return refuse(
                "scamper.trace.rounds is not 1, accepted: with neither gssentry nor lssname",
            );
        }
        if self.flows > 1 && self.rounds == 1 {
            let flows = self.flows;
            return refuse(format!(
                "scamper.trace.flows is {flows}, accepted: 1 with scamper.trace.rounds 1"
            ));
        }
        Ok(())
    }

    fn check_payload(&self, is_v4: bool) -> Result<(), Fail> {
        let is_steered = matches!(self.method, Kind::UdpParis | Kind::IcmpParis);
        if let Some(payload) = &self.payload {
            if self.method.is_tcp() {
                return refuse("scamper.trace.payload takes a UDP or ICMP method");
            }
            if is_steered && !self.constpayload && payload.0.len() < 2 {
                let octets = payload.0.len();
                return refuse(format!(
                    "scamper.trace.payload is of {octets} octets, accepted: 2 or more with {}",
                    self.method
                ));
            }
        }
        if self.constpayload && (self.method != Kind::UdpParis || !is_v4) {
            return refuse(
                "scamper.trace.constpayload is 1, accepted: with UDP-paris over IPv4, where the \
                 identification is left to tell probes apart",
            );
        }
        if self.method == Kind::IcmpParis && self.dport == Some(u16::MAX) {
            return refuse(
                "scamper.trace.dport is 65535, accepted: 0 ... 65534 with ICMP-paris, whose \
                 checksum it is",
            );
        }
        Ok(())
    }
}
