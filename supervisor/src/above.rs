//! A supervisor below others: it registers with them what its hosts offer, and works for them as for its clients.
//!
//! Loops do no harm. A capability carries the names of the supervisors that it came through, and none takes one that
//! came through itself; what a supervisor above offers is not offered to it again, which also holds for
//! those of the reference implementation, where that list gets lost.

use std::{
    collections::HashSet,
    path::{Path, PathBuf},
    sync::{Arc, Weak},
    time::Duration,
};

use sonde_mplane::{Capability, Message, Registries, Specification};
use sonde_mplane_http::{
    Access, ClientPort, End, Identity, Registrant, Shared, read_registered, write_registered,
};
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
    /// What files are named after that say what those above may know, and what these are read with.
    notes: Option<(PathBuf, Arc<Shared<Registries>>)>,
}

impl Below {
    /// Those above may use what their roles allow.
    #[must_use]
    pub fn new(service: Arc<Service>, access: Arc<Shared<Access>>) -> Self {
        Self { service, access, notes: None }
    }

    /// Notes beside the store what those above may know, so that what goes in the meantime is taken back by the next
    /// process.
    #[must_use]
    pub fn noting(self, store: &Path, registries: Arc<Shared<Registries>>) -> Self {
        Self { notes: Some((store.to_owned(), registries)), ..self }
    }

    fn notes(&self, supervisor: &str) -> Option<(PathBuf, Arc<Registries>)> {
        let (store, registries) = self.notes.as_ref()?;
        let mut file = store.clone().into_os_string();
        file.push(format!(".{supervisor}.registered.json"));
        Some((file.into(), registries.get()))
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

    fn registered(&self, supervisor: &Arc<str>) -> Vec<Capability> {
        let notes = self.notes(supervisor);
        notes.map(|(file, registries)| read_registered(&file, &registries)).unwrap_or_default()
    }

    fn note_registered(&self, supervisor: &Arc<str>, capabilities: Vec<Capability>) {
        if let Some((file, _)) = self.notes(supervisor) {
            write_registered(&file, capabilities);
        }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        fixtures::{at, average, registries},
        service::Policy,
        store::Sqlite,
    };

    #[test]
    fn what_those_above_may_know_is_known_to_the_next_process() {
        let folder = tempfile::tempdir().unwrap();
        let store = folder.path().join("supervisor.db");
        let below = || {
            let registries = Shared::new(registries());
            let database = Box::new(Sqlite::open(&store).unwrap());
            let policy = Policy::default();
            let service = Service::open(database, policy, Arc::clone(&registries), || at(0));
            let service = Arc::new(service.unwrap());
            Below::new(service, Shared::new(Access::open())).noting(&store, registries)
        };
        // More than stand in one envelope.
        let known: Vec<Capability> =
            (0..450).map(|it| average(&format!("192.0.{}.{}", it / 250, it % 250))).collect();
        let [top, other] = ["top", "other"].map(Arc::from);
        below().note_registered(&top, known.clone());
        assert_eq!(below().registered(&top), known);
        assert_eq!(below().registered(&other), []);
    }
}
