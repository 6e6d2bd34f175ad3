//! Doubletree: begin in the middle of the path, forward until what is known elsewhere, back until
//! what is known here.
//!
//! The local stop set is the one thing that traces share: whoever names it gets it. It lives as long
//! as the plugin's process.
//!
//! Source: Donnet, Raoult, Friedman, Crovella, "Efficient algorithms for large-scale topology
//! discovery", 2005.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
};

use sonde_plugin_api::prelude::*;

use crate::{
    forward::Probed,
    hop::Hop,
    path::{Path, Stop},
    session::{Leg, Session},
};

/// Addresses in all local stop sets together; beyond it nothing is added.
const MOST_KNOWN: usize = 262_144;

thread_local! {
    static LOCAL: RefCell<BTreeMap<Box<str>, BTreeSet<IpAddr>>> = const { RefCell::new(BTreeMap::new()) };
}

/// What a local stop set says of an address.
enum Seen {
    /// By a trace before.
    Before,
    /// Never, and there is no room to remember it.
    New,
    /// Never; it is there from here on.
    Added,
}

fn see(name: &str, addr: IpAddr) -> Seen {
    LOCAL.with_borrow_mut(|sets| {
        if sets.get(name).is_some_and(|set| set.contains(&addr)) {
            return Seen::Before;
        }
        let known: usize = sets.values().map(BTreeSet::len).sum::<usize>() + sets.len();
        if known >= MOST_KNOWN {
            return Seen::New;
        }
        sets.entry(name.into()).or_default().insert(addr);
        Seen::Added
    })
}

impl Session {
    /// Probes from the first TTL forward, then back from it.
    ///
    /// # Errors
    ///
    /// Where probes do not leave.
    pub(crate) async fn doubletree(&mut self) -> Result<Stop, Fail> {
        let (first, stop) = match self.find_first().await? {
            Ok(found) => found,
            Err(stop) => return Ok(stop),
        };
        let stop = match stop {
            Some(stop) => stop,
            None if first == self.plan.last => Stop::MaxTtl,
            None => self.probe_path(first + 1).await?,
        };
        let goes_back = self.plan.doubletree.as_ref().is_some_and(|plan| plan.goes_back);
        if !goes_back || stop == Stop::Budget {
            return Ok(stop);
        }
        self.begin_phase();
        self.leg = Leg::Back;
        let is_told = self.probe_back(first).await?;
        self.leg = Leg::Path;
        Ok(if is_told { stop } else { Stop::Budget })
    }

    /// The TTL to begin with: one at which a router answers, not the far end. With it why the path
    /// ends there, if it does. In place of both why the measurement ends.
    async fn find_first(&mut self) -> Result<Result<(u8, Option<Stop>), Stop>, Fail> {
        let mut ttl = self.plan.first;
        loop {
            self.path = Path::new(ttl);
            // What comes late of one that was too far says nothing of the next.
            self.begin_phase();
            self.leg = Leg::Search;
            let probed = self.probe_hop(ttl).await?;
            self.leg = Leg::Path;
            let hop = match probed {
                Probed::Hop(hop) => hop,
                Probed::Stop(stop) => return Ok(Err(stop)),
            };
            let is_useful = !hop.sights.is_empty() && !hop.ends_path(&self.plan);
            if is_useful || ttl == 1 {
                let stop = self.conclude(hop);
                return Ok(Ok((ttl, stop)));
            }
            ttl /= 2;
        }
    }

    /// False where the budget was not enough.
    async fn probe_back(&mut self, first: u8) -> Result<bool, Fail> {
        let mut added = BTreeSet::new();
        for ttl in (1..first).rev() {
            let hop = match self.probe_hop(ttl).await? {
                Probed::Hop(hop) => hop,
                // Nothing else ends this leg.
                Probed::Stop(_) => return Ok(false),
            };
            self.path.first = ttl;
            let known = self.known_before(&hop, &mut added);
            self.tell(hop);
            if known.is_some() {
                self.lss_stop = known;
                break;
            }
        }
        Ok(true)
    }

    /// An address of the hop that a trace before this one has seen.
    fn known_before(&self, hop: &Hop, added: &mut BTreeSet<IpAddr>) -> Option<IpAddr> {
        let name = self.plan.doubletree.as_ref()?.local.as_deref()?;
        let addresses = hop.sights.iter().map(|sight| sight.addr);
        addresses.into_iter().find(|addr| match see(name, *addr) {
            Seen::Before => !added.contains(addr),
            Seen::Added => {
                added.insert(*addr);
                false
            }
            Seen::New => false,
        })
    }
}
