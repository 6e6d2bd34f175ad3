//! The path so far, and whether it ends here.
//!
//! Hops are judged in the order of their TTL, however they were probed; so the end does not depend
//! on the order in which answers came.
//!
//! Source: the rules of scamper's trace; for adjacent repeats Augustin and others, 2006 (zero-TTL
//! forwarding).

use sonde_plugin_api::prelude::*;

use crate::{
    hop::{Hop, Sight},
    plan::Plan,
    reading::Meaning,
};

/// Why a trace ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Stop {
    Reached,
    Unreachable {
        icmp_type: u8,
        code: u8,
    },
    GapLimit,
    Loop {
        ttl: u8,
        addr: IpAddr,
    },
    MaxTtl,
    /// Doubletree: what lies behind this address is known.
    Known(IpAddr),
    /// No packets are left.
    Budget,
    Interrupted,
    /// Probes do not leave.
    Failed,
}

impl Stop {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Reached => "reached",
            Self::Unreachable { .. } => "unreachable",
            Self::GapLimit => "gap_limit",
            Self::Loop { .. } => "loop",
            Self::MaxTtl => "max_ttl",
            Self::Known(_) => "stop_set",
            Self::Budget => "budget",
            Self::Interrupted => "interrupted",
            Self::Failed => "failed",
        }
    }

    /// The far end, or who speaks for it, answers.
    pub(crate) fn proves_an_end(self) -> bool {
        matches!(self, Self::Reached | Self::Unreachable { .. })
    }
}

/// An address at a hop.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Known {
    pub(crate) ttl: u8,
    pub(crate) addr: IpAddr,
    is_zero_ttl: bool,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Path {
    pub(crate) first: u8,
    pub(crate) known: Vec<Known>,
    loops: u8,
    /// Adjacent repeats that were passed over, where only some are.
    ignored: u8,
    /// Silent hops in a row.
    pub(crate) gap: u8,
    /// Last hop that was judged.
    pub(crate) hops: u8,
    /// The destination itself answered.
    pub(crate) has_reached: bool,
}

impl Path {
    pub(crate) fn new(first: u8) -> Self {
        Self {
            first,
            known: Vec::new(),
            loops: 0,
            ignored: 0,
            gap: 0,
            hops: first.saturating_sub(1),
            has_reached: false,
        }
    }

    /// The next hop, which is finished.
    pub(crate) fn conclude(&mut self, plan: &Plan, hop: &Hop) -> Option<Stop> {
        self.hops = hop.ttl;
        if hop.sights.is_empty() {
            self.gap = self.gap.saturating_add(1);
            // From far to near it is known that something answers behind the gap.
            let is_limit = plan.gap_limit != 0 && self.gap >= plan.gap_limit && !plan.is_backward;
            return is_limit.then_some(Stop::GapLimit);
        }
        self.gap = 0;
        let mut stop = None;
        for sight in &hop.sights {
            let judged = self.judge(plan, hop.ttl, sight);
            stop = stop.or(judged);
        }
        stop
    }

    /// One answer at a hop.
    fn judge(&mut self, plan: &Plan, ttl: u8, sight: &Sight) -> Option<Stop> {
        let is_destination = sight.addr == plan.destination;
        self.has_reached |= is_destination;
        match sight.meaning {
            Meaning::Reached => {
                self.note(ttl, sight);
                return Some(Stop::Reached);
            }
            Meaning::Unreachable { icmp_type, code } => {
                self.note(ttl, sight);
                return Some(Stop::Unreachable { icmp_type, code });
            }
            Meaning::Hop => {}
        }
        let is_loop = plan.loops != 0 && self.closes_loop(plan, ttl, sight);
        self.note(ttl, sight);
        if is_loop {
            self.loops += 1;
            if self.loops >= plan.loops {
                return Some(Stop::Loop { ttl, addr: sight.addr });
            }
        }
        if is_destination && !plan.goes_through {
            return Some(Stop::Reached);
        }
        let doubletree = plan.doubletree.as_ref()?;
        let is_known = doubletree.global.binary_search(&sight.addr).is_ok();
        is_known.then_some(Stop::Known(sight.addr))
    }

    /// As [`Path::judge`], of a hop that was given up. Where that is the end, no hop behind it counts.
    pub(crate) fn judge_late(&mut self, plan: &Plan, ttl: u8, sight: &Sight) -> Option<Stop> {
        // It was no silent one.
        self.gap = self.gap.min(self.hops.saturating_sub(ttl));
        let stop = self.judge(plan, ttl, sight)?;
        self.hops = self.hops.min(ttl);
        Some(stop)
    }

    fn note(&mut self, ttl: u8, sight: &Sight) {
        if !self.has(ttl, sight.addr) {
            let Sight { addr, is_zero_ttl, .. } = *sight;
            self.known.push(Known { ttl, addr, is_zero_ttl });
        }
    }

    fn has(&self, ttl: u8, addr: IpAddr) -> bool {
        self.known.iter().any(|known| known.ttl == ttl && known.addr == addr)
    }

    /// Whether the address was at another hop, which is none of the two beside this one.
    fn closes_loop(&mut self, plan: &Plan, ttl: u8, sight: &Sight) -> bool {
        if ttl == self.first || self.has(ttl, sight.addr) {
            return false;
        }
        let same = self.known.iter().filter(|known| known.addr == sight.addr);
        let Some(before) = same.min_by_key(|known| known.ttl).copied() else { return false };
        if before.ttl.abs_diff(ttl) != 1 {
            return true;
        }
        // Zero-TTL forwarding, and one router that answers twice.
        if plan.loop_action == 0 || before.is_zero_ttl || self.ignored < plan.loop_action {
            self.ignored += u8::from(!before.is_zero_ttl && plan.loop_action != 0);
            return false;
        }
        true
    }
}
