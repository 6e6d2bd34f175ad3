//! Client-initiated: clients come to us for capabilities, bring specifications, redeem results.

use std::{sync::Arc, time::Duration};

use sonde_mplane::{Capability, Message, Reference, Registries, Specification};
use sonde_mplane_http::{ClientPort, Peer, Shared, Unavailable, exception};

use super::{
    jobs::JobId,
    reception::Reception,
    request::{Request, client},
};

/// Answers clients.
pub(crate) struct Listener {
    pub(crate) reception: Reception,
    pub(crate) capabilities: Arc<Shared<Vec<Capability>>>,
    pub(crate) registries: Arc<Shared<Registries>>,
    /// How long a specification is held for an immediate answer.
    pub(crate) immediate: Duration,
}

impl Listener {
    fn read(&self, token: &str, text: Option<String>) -> Result<Message, Unavailable> {
        let text = text.ok_or_else(|| Unavailable("the host is being stopped".to_owned()))?;
        let message = Message::from_json(text.as_bytes(), &self.registries.get());
        Ok(message.unwrap_or_else(|error| exception(Some(token), error.to_string())))
    }

    /// As [`Listener::read`], where no answer ends what never began.
    fn read_receipt(&self, token: &str, text: Option<String>) -> Message {
        self.read(token, text).unwrap_or_else(|Unavailable(why)| exception(Some(token), why))
    }
}

fn job(peer: &Peer, token: &str) -> JobId {
    JobId::new(&client(peer.identity.as_str()), token)
}

impl ClientPort for Listener {
    fn capabilities(&self) -> Arc<Vec<Capability>> {
        self.capabilities.get()
    }

    /// The desk keeps jobs by peer and token: another one's is unknown to it.
    fn owns(&self, _: &Peer, _: &str) -> bool {
        true
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
        let receipt = self.read_receipt(&token, answer.await);
        if !matches!(receipt, Message::Receipt(_)) {
            return receipt;
        }
        let end = self.reception.wait(|reply| Request::Await { job, reply });
        match tokio::time::timeout(self.immediate, end).await {
            Ok(Some(end)) => self.read_receipt(&token, Some(end)),
            _ => receipt,
        }
    }

    async fn redemption(&self, peer: &Peer, redemption: Reference) -> Result<Message, Unavailable> {
        let token = redemption.head.token.unwrap_or_default();
        let job = job(peer, &token);
        let answer = self.reception.ask(|reply| Request::Redeem { job, reply }).await;
        self.read(&token, answer)
    }

    async fn redeemed(&self, peer: &Peer, token: &str) -> Result<(), Unavailable> {
        self.reception.tell(Request::Redeemed { job: job(peer, token) });
        Ok(())
    }

    async fn interrupt(&self, peer: &Peer, interrupt: Reference) -> Result<Message, Unavailable> {
        let token = interrupt.head.token.unwrap_or_default();
        let job = job(peer, &token);
        let answer = self.reception.ask(|reply| Request::Interrupt { job, reply }).await;
        self.read(&token, answer)
    }
}
