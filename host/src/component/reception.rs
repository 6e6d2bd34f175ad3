//! The way from the network's tasks to the desk's thread, and the thread itself.

use std::{
    sync::mpsc::{self, Receiver, RecvTimeoutError, Sender},
    time::{Duration, Instant, SystemTime},
};

use sonde_mplane::Time;
use tokio::sync::oneshot;

use super::{
    desk::{Desk, Measurer},
    request::{Reply, Request},
};

/// Longest time without looking at the clock, which may have been set.
const IDLE: Duration = Duration::from_secs(1);
/// How long measurements are waited for before requests are looked at again.
const MEASURING: Duration = Duration::from_millis(5);
/// Requests that go to disk together, at most.
const TOGETHER: usize = 1024;

/// Asks the desk. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Reception(Sender<Request>);

impl Reception {
    /// With the other end, for [`serve`].
    pub(crate) fn new() -> (Self, Receiver<Request>) {
        let (sender, receiver) = mpsc::channel();
        (Self(sender), receiver)
    }

    /// `None` where the desk is closed.
    pub(crate) async fn ask<T: Send + 'static>(
        &self,
        request: impl FnOnce(Reply<T>) -> Request,
    ) -> Option<T> {
        // Who asked may be gone: then nobody needs the answer.
        let reply = |sender: oneshot::Sender<T>| request(Box::new(|it| drop(sender.send(it))));
        self.wait(reply).await
    }

    /// As [`Reception::ask`], for what may take long: the desk sees when it is not awaited any more.
    pub(crate) async fn wait<T>(
        &self,
        request: impl FnOnce(oneshot::Sender<T>) -> Request,
    ) -> Option<T> {
        let (sender, receiver) = oneshot::channel();
        self.tell(request(sender));
        receiver.await.ok()
    }

    /// Without waiting for anything.
    pub(crate) fn tell(&self, request: Request) {
        // Only at the very end is there nobody who listens.
        let _ = self.0.send(request);
    }
}

/// Works until every [`Reception`] is gone, or nothing can be measured any more.
pub(crate) fn serve<M: Measurer>(desk: &mut Desk<M>, requests: &Receiver<Request>) {
    let opened = Instant::now();
    loop {
        let due = desk.next_due().map(|due| due.since(now()));
        let wait = if desk.is_measuring() { Duration::ZERO } else { due.unwrap_or(IDLE).min(IDLE) };
        match requests.recv_timeout(wait) {
            Ok(request) => {
                desk.handle(now(), request);
                for request in requests.try_iter().take(TOGETHER) {
                    desk.handle(now(), request);
                }
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        let limit = if desk.is_measuring() { MEASURING } else { Duration::ZERO };
        desk.step(now(), opened.elapsed(), limit);
        if !desk.is_able() {
            return;
        }
    }
}

/// Wall time: scopes are of wall time. Times of probes are the engine's.
pub(crate) fn now() -> Time {
    Time::from(SystemTime::now())
}
