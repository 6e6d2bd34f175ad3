//! One hop while it is being probed: what it has got so far, and whether that is enough.
//!
//! A hop has at most one probe on its way, so that a router which answers slowly is not asked twice,
//! and what is probed does not depend on how many hops are probed at the same time.

use sonde_plugin_api::prelude::*;

use crate::{confidence, plan::Plan, reading::Meaning, rows::HopRow};

/// An answer, as far as the path's end depends on it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Sight {
    pub(crate) addr: IpAddr,
    pub(crate) meaning: Meaning,
    /// The probe was quoted with a TTL of 0: the router before passed it on.
    pub(crate) is_zero_ttl: bool,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Hop {
    pub(crate) ttl: u8,
    /// Probes so far.
    pub(crate) sent: u8,
    /// The last of them is on its way.
    pub(crate) waits: bool,
    pub(crate) last_sent: Time,
    pub(crate) sights: Vec<Sight>,
    /// Rows that wait for the hops before.
    pub(crate) rows: Vec<HopRow>,
}

impl Hop {
    pub(crate) fn new(ttl: u8) -> Self {
        Self {
            ttl,
            sent: 0,
            waits: false,
            last_sent: Time(0),
            sights: Vec::new(),
            rows: Vec::new(),
        }
    }

    /// Enough is known of it, and nothing on its way can change that.
    pub(crate) fn is_finished(&self, plan: &Plan) -> bool {
        let is_answered = !self.sights.is_empty();
        if plan.sends_all {
            return self.sent >= plan.attempts && !self.waits;
        }
        match (is_answered, plan.confidence) {
            // A hop that has never answered is silent after as many probes as without confidence.
            (false, _) => self.sent >= plan.attempts && !self.waits,
            (true, 0) => true,
            (true, confidence) => {
                let wanted = confidence::probes(confidence, self.interfaces());
                self.sent >= wanted && !self.waits
            }
        }
    }

    /// Different addresses that have answered.
    fn interfaces(&self) -> usize {
        let is_new = |at: usize| self.sights[..at].iter().all(|it| it.addr != self.sights[at].addr);
        (0..self.sights.len()).filter(|at| is_new(*at)).count()
    }

    /// Whether an answer ends the path here, whatever the hops before say.
    pub(crate) fn ends_path(&self, plan: &Plan) -> bool {
        self.sights.iter().any(|sight| {
            sight.meaning != Meaning::Hop || sight.addr == plan.destination && !plan.goes_through
        })
    }
}
