//! What supervisors that the host registered with hear of it: its capabilities, and the desk's answers.

use std::{collections::HashSet, path::PathBuf, sync::Arc};

use sonde_mplane::{Capability, Message, Registries, Specification};
use sonde_mplane_http::{
    Access, End, Identity, Registrant, Shared, read_registered, write_registered,
};
use tokio::sync::watch;

use super::{jobs::JobId, offered::Offers, reception::Reception, request::Request};

/// In the folder of a supervisor's spool: the capabilities that it may know.
const REGISTERED: &str = "registered.json";

/// The host as supervisors see it.
pub(crate) struct Measures {
    pub(crate) reception: Reception,
    pub(crate) offers: watch::Receiver<Arc<Offers>>,
    pub(crate) access: Arc<Shared<Access>>,
    pub(crate) registries: Arc<Shared<Registries>>,
    /// Where the spools of the supervisors are.
    pub(crate) folder: PathBuf,
}

impl Measures {
    fn read(&self, text: Option<String>) -> Option<Message> {
        let read = Message::from_json(text?.as_bytes(), &self.registries.get());
        read.inspect_err(|error| tracing::error!(%error, "an answer of ours cannot be read")).ok()
    }

    fn remembered(&self, supervisor: &Arc<str>) -> PathBuf {
        self.folder.join(&**supervisor).join(REGISTERED)
    }
}

impl Registrant for Measures {
    fn capabilities(&self, supervisor: &Identity) -> Vec<Capability> {
        let (offers, access) = (Arc::clone(&self.offers.borrow()), self.access.get());
        let offered = offers.offered.iter().map(|offered| &offered.capability);
        offered.filter(|it| access.allows(supervisor, it.head.label())).cloned().collect()
    }

    async fn specify(
        &self,
        supervisor: &Arc<str>,
        specification: Specification,
        labels: &Arc<HashSet<String>>,
    ) -> Option<Message> {
        let (peer, labels) = (Arc::clone(supervisor), Arc::clone(labels));
        let specification = Box::new(specification);
        let answer = self.reception.ask(|reply| Request::Specify {
            peer,
            specification,
            permits: Box::new(move |label| labels.contains(label)),
            reply,
        });
        self.read(answer.await)
    }

    async fn interrupt(&self, supervisor: &Arc<str>, token: &str) -> Option<Message> {
        let job = JobId::new(supervisor, token);
        self.read(self.reception.ask(|reply| Request::Interrupt { job, reply }).await)
    }

    async fn ends(&self, supervisor: &Arc<str>, most: usize) -> Vec<End> {
        let peer = Arc::clone(supervisor);
        let fetched = self.reception.ask(|reply| Request::Fetch { peer, most, reply }).await;
        let ends = fetched.unwrap_or_default().into_iter();
        ends.map(|end| End {
            sequence: end.sequence,
            token: end.job.token.to_string(),
            body: end.body,
        })
        .collect()
    }

    fn delivered(&self, supervisor: &Arc<str>, sequence: u64) {
        self.reception.tell(Request::Delivered { peer: Arc::clone(supervisor), sequence });
    }

    fn registered(&self, supervisor: &Arc<str>) -> Vec<Capability> {
        read_registered(&self.remembered(supervisor), &self.registries.get())
    }

    fn note_registered(&self, supervisor: &Arc<str>, capabilities: Vec<Capability>) {
        write_registered(&self.remembered(supervisor), capabilities);
    }
}

#[cfg(test)]
mod outage;
