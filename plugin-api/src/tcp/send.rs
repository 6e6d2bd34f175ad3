//! What the peer has not acknowledged yet, and when to send it again.
//!
//! Source: RFC 6298 (retransmission timer, Karn's rule).

use std::{collections::VecDeque, time::Duration};

use super::sequence::distance;
use crate::schema::Time;

/// The timer before a round-trip time is known, and at least (RFC 6298, section 2).
const FIRST_TIMEOUT: Duration = Duration::from_secs(1);
const LONGEST_TIMEOUT: Duration = Duration::from_secs(60);

/// Our octets that wait for their acknowledgement, with the retransmission timer.
#[derive(Clone, Debug)]
pub struct SendQueue {
    /// The first number that is not acknowledged.
    acknowledged: u32,
    /// The next number that was never sent.
    next: u32,
    /// From `acknowledged` on, sent or not.
    data: VecDeque<u8>,
    end: End,
    smoothed: Option<(Duration, Duration)>,
    timeout: Duration,
    /// When the timer runs out, while something is outstanding.
    due: Option<Time>,
    /// A number whose acknowledgement gives a round-trip time, and when it was sent.
    timed: Option<(u32, Time)>,
    repeats: u8,
    all_repeats: u32,
    is_given_up: bool,
}

/// Whether more will come.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum End {
    Open,
    /// A FIN follows the data.
    Follows,
    /// It was acknowledged.
    Acknowledged,
}

impl SendQueue {
    /// Nothing is outstanding; `first` is the number of the first octet.
    #[must_use]
    pub fn new(first: u32) -> Self {
        Self {
            acknowledged: first,
            next: first,
            data: VecDeque::new(),
            end: End::Open,
            smoothed: None,
            timeout: FIRST_TIMEOUT,
            due: None,
            timed: None,
            repeats: 0,
            all_repeats: 0,
            is_given_up: false,
        }
    }

    /// The next number that was never sent.
    #[must_use]
    pub fn next(&self) -> u32 {
        self.next
    }

    /// The first number that the peer has not acknowledged.
    #[must_use]
    pub fn acknowledged(&self) -> u32 {
        self.acknowledged
    }

    /// Something was sent and not acknowledged.
    #[must_use]
    pub fn is_outstanding(&self) -> bool {
        self.next != self.acknowledged
    }

    /// Octets that were never sent, an end that was never sent included.
    #[must_use]
    pub fn waiting(&self) -> usize {
        let sent = self.outstanding();
        let end = self.end == End::Follows && sent <= self.data.len();
        self.data.len().saturating_sub(sent) + usize::from(end)
    }

    /// How often the oldest octets were sent again.
    #[must_use]
    pub fn repeats(&self) -> u8 {
        self.repeats
    }

    /// How often anything was sent again.
    #[must_use]
    pub fn all_repeats(&self) -> u32 {
        self.all_repeats
    }

    /// What is outstanding will not be sent again.
    pub fn give_up(&mut self) {
        self.is_given_up = true;
    }

    /// See [`SendQueue::give_up`]; an acknowledgement changes it back.
    #[must_use]
    pub fn is_given_up(&self) -> bool {
        self.is_given_up
    }

    /// The peer's window is too small for what waits, and nothing is on its way that it could answer.
    #[must_use]
    pub fn is_shut(&self) -> bool {
        !self.is_outstanding() && self.waiting() > 0
    }

    /// When the oldest octets are to be sent again, or the peer is to be asked for its window.
    #[must_use]
    pub fn due(&self) -> Option<Time> {
        self.due
    }

    /// Appends octets. Behind an end there is nothing: they are not taken.
    pub fn append(&mut self, data: &[u8]) {
        if self.end == End::Open {
            self.data.extend(data);
        }
    }

    /// Nothing more will be appended: a FIN follows.
    pub fn end(&mut self) {
        if self.end == End::Open {
            self.end = End::Follows;
        }
    }

    /// The peer has all of it, the end included.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.end == End::Acknowledged
    }

    fn outstanding(&self) -> usize {
        self.next.wrapping_sub(self.acknowledged) as usize
    }

    /// The next octets to send for the first time, at most `most` and within the peer's `window`; their
    /// number, they themselves, and whether a FIN goes with them. It counts as sent `now`.
    pub fn take(&mut self, most: usize, window: u32, now: Time) -> Option<(u32, Vec<u8>, bool)> {
        let outstanding = self.outstanding();
        let room = (window as usize).saturating_sub(outstanding).min(most);
        let from = outstanding.min(self.data.len());
        let behind = (from + room).min(self.data.len());
        let data: Vec<u8> = self.data.range(from..behind).copied().collect();
        let is_last = behind == self.data.len() && outstanding <= self.data.len();
        let fin = self.end == End::Follows && is_last;
        if data.is_empty() && !fin {
            if self.is_shut() {
                self.due.get_or_insert(now + self.timeout);
            }
            return None;
        }
        if outstanding == 0 {
            // The window was shut, perhaps.
            (self.due, self.repeats) = (None, 0);
        }
        let first = self.next;
        self.next = self.next.wrapping_add(data.len() as u32 + u32::from(fin));
        self.timed.get_or_insert((self.next, now));
        self.due.get_or_insert(now + self.timeout);
        Some((first, data, fin))
    }

    /// The oldest octets that are outstanding, to be sent again, at most `most`; the timer doubles. `None` where nothing is, and
    /// the peer is to be asked for its window.
    pub fn take_again(&mut self, most: usize, now: Time) -> Option<(u32, Vec<u8>, bool)> {
        self.repeats = self.repeats.saturating_add(1);
        self.timeout = (self.timeout * 2).min(LONGEST_TIMEOUT);
        self.due = Some(now + self.timeout);
        if !self.is_outstanding() {
            self.due = self.due.filter(|_| self.is_shut());
            return None;
        }
        self.all_repeats = self.all_repeats.saturating_add(1);
        // What is sent twice gives no round-trip time (Karn).
        self.timed = None;
        let sent = self.outstanding().min(self.data.len());
        let octets = sent.min(most);
        let data: Vec<u8> = self.data.range(..octets).copied().collect();
        let fin = self.outstanding() > self.data.len() && octets == self.data.len();
        Some((self.acknowledged, data, fin))
    }

    /// A round-trip time that was measured otherwise, such as that of the handshake.
    pub fn measured(&mut self, rtt: Duration) {
        let (mean, deviation) = match self.smoothed {
            None => (rtt, rtt / 2),
            Some((mean, deviation)) => {
                (mean * 7 / 8 + rtt / 8, deviation * 3 / 4 + mean.abs_diff(rtt) / 4)
            }
        };
        self.smoothed = Some((mean, deviation));
        self.timeout = (mean + deviation * 4).clamp(FIRST_TIMEOUT, LONGEST_TIMEOUT);
    }

    /// The peer acknowledged all before `number`; false where that was never sent, which is an error
    /// of the peer.
    pub fn acknowledge(&mut self, number: u32, now: Time) -> bool {
        let new = distance(self.acknowledged, number);
        if new <= 0 {
            return true;
        }
        if new as usize > self.outstanding() {
            return false;
        }
        if new as usize > self.data.len() {
            self.end = End::Acknowledged;
        }
        self.data.drain(..(new as usize).min(self.data.len()));
        self.acknowledged = number;
        self.repeats = 0;
        self.is_given_up = false;
        if let Some((timed, sent)) = self.timed
            && distance(timed, number) >= 0
        {
            self.measured(now.since(sent));
            self.timed = None;
        }
        self.due = self.is_outstanding().then(|| now + self.timeout);
        true
    }
}
