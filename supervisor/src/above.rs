//! A supervisor below others: it registers with them what its hosts offer, and works for them as for its clients.
//!
//! Loops do no harm. A capability carries the names of the supervisors that it came through, and none takes one that
//! came through itself; what a supervisor above offers is not offered to it again, which also holds for
//! those of the reference implementation, where that list gets lost.

use std::{
    collections::HashSet,
    sync::{Arc, Weak},
    time::Duration,
};

use sonde_mplane::{Capability, Message, Specification};
use sonde_mplane_http::{Access, ClientPort, End, Identity, Registrant, Shared};
use tokio::{
    sync::watch,
    time::{MissedTickBehavior, interval},
};

use crate::service::Service;

/// From one look at what hosts offer to the next.
const LOOK: Duration = Duration::from_secs(1);

/// The client that a supervisor above is. No identity of a certificate has a control character in it, so nobody
/// else can be taken for it.
#[must_use]
pub fn client(supervisor: &str) -> String {
    format!("{PREFIX}{supervisor}")
}

const PREFIX: &str = "above\n";

/// Whether a client is a supervisor above: it is brought its outcomes, others fetch them.
pub(crate) fn is_above(client: &str) -> bool {
    client.starts_with(PREFIX)
}

/// A service as supervisors above see it.
pub struct Below {
    service: Arc<Service>,
    access: Arc<Shared<Access>>,
}

impl Below {
    /// Those above may use what their roles allow.
    #[must_use]
    pub fn new(service: Arc<Service>, access: Arc<Shared<Access>>) -> Self {
        Self { service, access }
    }
}

impl Registrant for Below {
    fn capabilities(&self, supervisor: &Identity) -> Vec<Capability> {
        let access = self.access.get();
        let mut offered = self.service.offered_to(supervisor);
        offered.retain(|capability| access.allows(supervisor, capability.head.label()));
        offered
    }

    async fn specify(
        &self,
        supervisor: &Arc<str>,
        specification: Specification,
        labels: &Arc<HashSet<String>>,
    ) -> Option<Message> {
        self.service.specify_from_above(&client(supervisor), specification, labels).await
    }

    async fn interrupt(&self, supervisor: &Arc<str>, token: &str) -> Option<Message> {
        self.service.interrupt_from_above(&client(supervisor), token).await
    }

    async fn ends(&self, supervisor: &Arc<str>, most: usize) -> Vec<End> {
        self.service.ends(&client(supervisor), most).await
    }

    fn delivered(&self, _: &Arc<str>, sequence: u64) {
        self.service.delivered(sequence);
    }
}

/// Counts how often what hosts offer has changed, until the service is gone. Hosts also go in silence, so it is
/// looked at again and again.
pub async fn count_changes(service: Weak<Service>, changes: watch::Sender<u64>) {
    let mut look = interval(LOOK);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut seen: Arc<Vec<Capability>> = Arc::default();
    loop {
        look.tick().await;
        let Some(service) = service.upgrade() else { return };
        let offered = service.capabilities();
        if seen != offered {
            changes.send_modify(|change| *change += 1);
        }
        seen = offered;
    }
}
