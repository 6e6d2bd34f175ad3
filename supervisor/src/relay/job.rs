//! A job between a client and a host, and when its host is told of it.

use std::time::Duration;

use sonde_mplane::{Message, Specification, Time};

use super::ms;
use crate::store::{Change, Progress};

/// How long a host may take to acknowledge a specification, or to end an interrupted job, before it is told again.
const AGAIN: Duration = Duration::from_secs(30);

/// How long after the end of its scope a job that was acknowledged and has no end is told again: a host that lost its
/// disk has forgotten it.
const OVERDUE: Duration = Duration::from_secs(3600);

/// A job that was not redeemed.
#[derive(Clone, Debug)]
pub(super) struct Job {
    pub(super) client: String,
    /// As the client sent it, with its token.
    pub(super) specification: Specification,
    pub(super) host: String,
    /// As the host gets it.
    pub(super) forwarded: Specification,
    /// Of the longer one of both, as JSON; at least [`super::LEAST_OCTETS`].
    pub(super) octets: usize,
    pub(super) progress: Progress,
    /// When the host was told of it last.
    pub(super) told: Option<Time>,
    /// The host was told of it, or may have been by an earlier process.
    pub(super) may_be_known: bool,
    pub(super) is_interrupted: bool,
    pub(super) since: Time,
    pub(super) ended: Option<Time>,
}

impl Job {
    pub(super) fn is_overdue(&self, now: Time) -> bool {
        let end = self.forwarded.when.end_time(self.since);
        let told = self.told.or(end).filter(|_| self.progress == Progress::Accepted);
        let last = told.zip(end).map(|(told, end)| told.max(end));
        last.is_some_and(|last| now.since(last) >= OVERDUE)
    }

    /// Whether the host has to be told something, at once or later.
    pub(super) fn is_to_be_told(&self, now: Time) -> bool {
        match self.progress {
            Progress::Waiting => true,
            // Who has it knows an overdue one by its token, and goes on.
            Progress::Accepted => self.is_interrupted || self.is_overdue(now),
            Progress::Ended => false,
        }
    }

    /// That nothing comes of it.
    pub(super) fn failed(&self, number: u64, why: &str, now: Time) -> Change {
        let outcome = Message::from(self.specification.exception(why)).to_json();
        Change::Ended { number, outcome, at_ms: ms(now) }
    }

    pub(super) fn is_due(&self, now: Time) -> bool {
        self.is_overdue(now) || self.told.is_none_or(|told| now.since(told) >= AGAIN)
    }
}
