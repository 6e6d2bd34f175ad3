//! What the network's tasks want of the desk.

use std::sync::Arc;

use sonde_mplane::Specification;
use tokio::sync::oneshot;

use super::{jobs::JobId, ledger::Delivery, offered::Offers};
use crate::Configuration;

/// Calls back with an answer.
pub type Reply<T> = Box<dyn FnOnce(T) + Send>;

/// What peers want.
pub enum Request {
    /// Measure this.
    Specify {
        /// Name of the supervisor, or a client's from [`client`].
        peer: Arc<str>,
        /// What.
        specification: Box<Specification>,
        /// Whether the peer may use the capability of a label.
        permits: Box<dyn Fn(&str) -> bool + Send>,
        /// Gets the receipt, an exception, or the end of a job that had the same token.
        reply: Reply<String>,
    },
    /// Stop a job.
    Interrupt {
        /// Which.
        job: JobId,
        /// Gets the receipt, the end, or an exception; dropped where a supervisor has the end already.
        reply: Reply<String>,
    },
    /// Is there an end?
    Redeem {
        /// Which job.
        job: JobId,
        /// Gets the end, the results so far, the receipt, or an exception.
        reply: Reply<String>,
    },
    /// The client has what it was told: an end is forgotten.
    Redeemed {
        /// Which job.
        job: JobId,
    },
    /// Tell the end of a job when there is one; it stays redeemable.
    Await {
        /// Which job.
        job: JobId,
        /// Gets the end, unless nobody waits for it any more.
        reply: oneshot::Sender<String>,
    },
    /// Ends that wait for a supervisor, oldest first.
    Fetch {
        /// Its name.
        peer: Arc<str>,
        /// At most so many.
        most: usize,
        /// Gets them.
        reply: Reply<Vec<Delivery>>,
    },
    /// A supervisor has this end.
    Delivered {
        /// Its name.
        peer: Arc<str>,
        /// Of the delivery.
        sequence: u64,
    },
    /// Offer these from now on; jobs that are open go on with what they began with.
    Offer(Arc<Offers>),
    /// This says from now on what methods may do, and who may be measured.
    Obey(Arc<Configuration>),
    /// Interrupt what runs; called back when it has ended and is on disk.
    Stop(Reply<()>),
}

/// The name of a client as a peer.
#[must_use]
pub fn client(identity: &str) -> Arc<str> {
    format!("client:{identity}").into()
}

/// Whether a peer is a client, not a supervisor.
pub(crate) fn is_client(peer: &str) -> bool {
    peer.starts_with("client:")
}
