//! Client-initiated: clients come to us for capabilities, bring specifications, redeem results.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use sonde_mplane::{Capability, Message, Reference, Registries, Specification};
use sonde_mplane_http::{ClientPort, Identity, Peer, Shared, exception};

use super::{
    desk::{Request, client},
    jobs::JobId,
    reception::Reception,
};

/// Tokens whose owners are remembered, at most.
const OWNERS: usize = 200_000;

/// Answers clients.
pub(crate) struct Listener {
    pub(crate) reception: Reception,
    pub(crate) capabilities: Arc<Shared<Vec<Capability>>>,
    pub(crate) registries: Arc<Shared<Registries>>,
    /// How long a specification is held for an immediate answer.
    pub(crate) immediate: Duration,
    owners: Mutex<HashMap<String, Identity>>,
}

impl Listener {
    /// `jobs` are those of an earlier process.
    pub(crate) fn new(
        reception: Reception,
        capabilities: Arc<Shared<Vec<Capability>>>,
        registries: Arc<Shared<Registries>>,
        immediate: Duration,
        jobs: &[JobId],
    ) -> Self {
        let owner = |job: &JobId| {
            let identity = job.peer.strip_prefix("client:")?;
            Some((job.token.to_string(), Identity::new(identity)))
        };
        let owners = Mutex::new(jobs.iter().filter_map(owner).collect());
        Self { reception, capabilities, registries, immediate, owners }
    }

    fn own(&self, token: &str, identity: &Identity) {
        let mut owners = self.owners.lock().unwrap_or_else(PoisonError::into_inner);
        if owners.len() >= OWNERS {
            owners.clear();
        }
        owners.entry(token.to_owned()).or_insert_with(|| identity.clone());
    }

    fn read(&self, token: Option<&str>, text: Option<String>) -> Message {
        let Some(text) = text else { return exception(token, "the host is being stopped") };
        Message::from_json(text.as_bytes(), &self.registries.get())
            .unwrap_or_else(|error| exception(token, error.to_string()))
    }
}

fn job(peer: &Peer, token: &str) -> JobId {
    JobId::new(&client(peer.identity.as_str()), token)
}

impl ClientPort for Listener {
    fn capabilities(&self) -> Arc<Vec<Capability>> {
        self.capabilities.get()
    }

    fn owns(&self, peer: &Peer, token: &str) -> bool {
        let owners = self.owners.lock().unwrap_or_else(PoisonError::into_inner);
        owners.get(token) == Some(&peer.identity)
    }

    async fn specification(
        &self,
        peer: &Peer,
        specification: Specification,
        _: Vec<Capability>,
    ) -> Message {
        let token = specification.token();
        let job = job(peer, &token);
        let (name, permits) = (Arc::clone(&job.peer), peer.clone());
        let specification = Box::new(specification);
        let answer = self.reception.ask(|reply| Request::Specify {
            peer: name,
            specification,
            permits: Box::new(move |label| permits.may_use(label)),
            reply,
        });
        let receipt = self.read(Some(&token), answer.await);
        if !matches!(receipt, Message::Receipt(_)) {
            return receipt;
        }
        self.own(&token, &peer.identity);
        let end = self.reception.ask(|reply| Request::Await { job, reply });
        match tokio::time::timeout(self.immediate, end).await {
            Ok(Some(end)) => self.read(Some(&token), Some(end)),
            _ => receipt,
        }
    }

    async fn redemption(&self, peer: &Peer, redemption: Reference) -> Message {
        let token = redemption.head.token.unwrap_or_default();
        let job = job(peer, &token);
        let answer = self.reception.ask(|reply| Request::Redeem { job, reply }).await;
        self.read(Some(&token), answer)
    }

    async fn interrupt(&self, peer: &Peer, interrupt: Reference) -> Message {
        let token = interrupt.head.token.unwrap_or_default();
        let job = job(peer, &token);
        let answer = self.reception.ask(|reply| Request::Interrupt { job, reply }).await;
        self.read(Some(&token), answer)
    }
}
