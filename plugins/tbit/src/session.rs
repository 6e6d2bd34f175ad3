//! One connection with what every test needs of it.

use std::time::Duration;

use sonde_plugin_api::{
    packet::tcp::flags,
    prelude::*,
    tcp::{Connection, Passage, Segment, distance},
};

use crate::{
    application::Application,
    params::TbitParams,
    rows::{PacketRow, SummaryRow, TbitRow, Verdict, Way},
};

/// How long a server may keep silent.
pub(crate) const SILENCE: Duration = Duration::from_secs(70);
/// The round-trip time where the handshake did not tell it.
const USUAL: Duration = Duration::from_millis(200);
/// Beside two round-trip times.
const MARGIN: Duration = Duration::from_millis(100);
/// How long its window may stay shut.
const SHUT: Duration = Duration::from_secs(10);
/// How long it is waited for before it is asked for.
const ASK: Duration = Duration::from_secs(1);

/// A connection under test.
pub(crate) struct Session<'a> {
    pub(crate) ctx: &'a Ctx<TbitRow>,
    pub(crate) flow: &'a Flow,
    pub(crate) params: &'a TbitParams,
    pub(crate) connection: Connection<'a, TbitRow>,
    pub(crate) summary: &'a mut SummaryRow,
    pub(crate) application: Application,
    /// The begin of what the server said.
    pub(crate) answer: Vec<u8>,
    /// A packet that the verdict needs did not leave.
    pub(crate) refusal: Option<NotSent>,
}

/// Of the answer only the begin is kept.
const KEPT: usize = 512;

impl Session<'_> {
    /// Waits until the server takes data, and asks whether it does.
    ///
    /// # Errors
    ///
    /// The verdict where it does not.
    pub(crate) async fn window(&mut self) -> Result<(), Verdict> {
        let end = self.ctx.now() + SHUT;
        while self.connection.peer_window() == 0 {
            let left = end.since(self.ctx.now());
            match self.connection.next(left.min(ASK)).await {
                Some(segment) => self.ends(&segment)?,
                None if left <= ASK => return Err(Verdict::ZeroWindow),
                None => self.connection.ask_for_window(),
            }
        }
        Ok(())
    }

    /// Whether a test may send the next `octets` at once, wherever it begins.
    ///
    /// # Errors
    ///
    /// The verdict where the server does not take so many.
    pub(crate) fn has_room(&self, octets: usize) -> Result<(), Verdict> {
        let window = self.connection.peer_window();
        if octets <= window as usize {
            return Ok(());
        }
        self.ctx.warn(&format!("the server's window has {window} octets, needed are {octets}"));
        Err(Verdict::ZeroWindow)
    }

    /// Speaks with the server until one thing is left to say, which a test says in its own way; nothing
    /// where that was said on the SYN.
    ///
    /// # Errors
    ///
    /// The verdict where it does not come to that.
    pub(crate) async fn last(&mut self) -> Result<Vec<u8>, Verdict> {
        self.hear(&[]);
        loop {
            if let Some(message) = self.due()? {
                return Ok(message);
            }
            let Some(segment) = self.connection.next(SILENCE).await else {
                return Err(self.waited_in_vain());
            };
            self.ends(&segment)?;
            self.accept(&segment);
        }
    }

    /// Begins to speak; whether all is said then.
    ///
    /// # Errors
    ///
    /// As [`Session::last`].
    pub(crate) fn begin(&mut self) -> Result<bool, Verdict> {
        self.hear(&[]);
        self.ask()
    }

    /// Says the last thing where it is its turn; whether it was.
    ///
    /// # Errors
    ///
    /// As [`Session::last`].
    pub(crate) fn ask(&mut self) -> Result<bool, Verdict> {
        let message = self.due()?;
        if let Some(message) = &message {
            self.connection.write(message);
        }
        Ok(message.is_some())
    }

    /// The last thing to say, where it is its turn.
    fn due(&mut self) -> Result<Option<Vec<u8>>, Verdict> {
        if let Some(message) = self.application.last() {
            return Ok(Some(message));
        }
        if let Some(error) = self.application.error() {
            self.ctx.warn(&format!("the server cannot be spoken to: {error}"));
            return Err(Verdict::ProtocolError);
        }
        if self.connection.received.is_finished() {
            return Err(Verdict::Fin);
        }
        Ok(None)
    }

    /// Why nothing can be said where the answer did not come, or came once and not again.
    pub(crate) fn nothing_came(&self) {
        let told = if self.is_acknowledged() {
            "the request was acknowledged, and its answer is missing: the server says nothing, or the path loses large segments"
        } else {
            "the request was not acknowledged"
        };
        self.ctx.warn(told);
    }

    /// The server says no more of what the application waits for.
    pub(crate) fn waited_in_vain(&self) -> Verdict {
        self.ctx.warn("what the application waits for did not come");
        Verdict::Aborted
    }

    /// A test that takes its request to pieces cannot do with less than `least` octets.
    pub(crate) fn needs(&self, request: &[u8], least: usize) -> Result<(), Verdict> {
        if request.len() >= least {
            return Ok(());
        }
        let octets = request.len();
        let warning = format!("the last thing to say has {octets} octets, needed are {least}");
        self.ctx.warn(&warning);
        Err(Verdict::Aborted)
    }

    fn hear(&mut self, octets: &[u8]) {
        let turn = self.application.hear(octets);
        let room = KEPT.saturating_sub(self.answer.len());
        self.answer.extend(turn.text.into_iter().take(room));
        self.connection.write(&turn.say);
    }

    /// The server closed, or its answer is whole.
    pub(crate) fn is_over(&self) -> bool {
        self.connection.received.is_finished() || self.application.is_complete()
    }

    /// The verdict of a segment that ends the connection before its time.
    pub(crate) fn ends(&mut self, segment: &Segment) -> Result<(), Verdict> {
        self.summary.answered += 1;
        if segment.options.is_malformed {
            return Err(Verdict::BadOption);
        }
        if self.connection.is_reset() {
            return Err(Verdict::Reset);
        }
        let is_asked =
            self.connection.sending.acknowledged() != self.connection.first.wrapping_add(1);
        if segment.has(flags::FIN) && !segment.has_data() && !is_asked && self.answer.is_empty() {
            return Err(Verdict::Fin);
        }
        Ok(())
    }

    /// Whether our window leaves no room for so many `more` octets behind those that came, and so may be the limit in place
    /// of the server's; it is told.
    pub(crate) fn is_limited(&self, octets: u32, more: u32) -> bool {
        let window = self.connection.received.window();
        let is_limited = octets + more > window;
        if is_limited {
            self.ctx.warn(&format!(
                "{octets} octets came, and our window of {window} may have been the limit, not the server's"
            ));
        }
        is_limited
    }

    /// When a segment left whose consequences are waited for.
    ///
    /// # Errors
    ///
    /// The verdict where it did not.
    pub(crate) fn left(&mut self, sent: Result<Departure, NotSent>) -> Result<Time, Verdict> {
        sent.map(|departure| departure.at).map_err(|reason| {
            self.refusal = Some(reason);
            Verdict::LocalError
        })
    }

    /// After that time what the server has sent before has come.
    pub(crate) fn on_its_way(&self) -> Duration {
        self.connection.handshake.unwrap_or(USUAL) * 2 + MARGIN
    }

    /// Takes what a segment brings.
    pub(crate) fn take(&mut self, segment: &Segment) {
        self.connection.take(segment);
        let octets = self.connection.received.read();
        self.summary.octets += octets.len() as u64;
        if !octets.is_empty() {
            self.hear(&octets);
        }
    }

    /// Takes and acknowledges.
    pub(crate) fn accept(&mut self, segment: &Segment) {
        self.take(segment);
        if segment.has_data() || segment.flags & (flags::SYN | flags::FIN) != 0 {
            self.connection.acknowledge();
        }
    }

    /// Data came, in order or not.
    pub(crate) fn has_data(&self) -> bool {
        self.summary.octets > 0 || self.connection.received.has_hole()
    }

    /// The server acknowledged all of the request.
    pub(crate) fn is_acknowledged(&self) -> bool {
        !self.connection.sending.is_outstanding() && self.connection.sending.waiting() == 0
    }
}

/// A row of the packet log; `first` are both first sequence numbers, ours and, where known, theirs.
pub(crate) fn log(ctx: &Ctx<TbitRow>, first: (u32, Option<u32>), passage: &Passage<'_>) {
    let from = |base: u32, number: u32| i64::from(distance(base, number));
    let theirs = |number: u32| first.1.map_or(0, |base| from(base, number));
    let ours = |number: u32| from(first.0, number);
    let ranges = |blocks: &[(u32, u32)], at: &dyn Fn(u32) -> i64| {
        let range = |(one, other): &(u32, u32)| format!("{}:{}", at(*one), at(*other));
        blocks.iter().map(range).collect::<Vec<String>>()
    };
    ctx.emit(match *passage {
        Passage::Sent { at, sequence, acknowledgement, flags, octets, tos, blocks } => PacketRow {
            time: Some(at),
            way: Way::Sent,
            flags: names(flags),
            octets: octets as u32,
            seq: ours(sequence),
            ack: if flags & 16 == 0 { 0 } else { theirs(acknowledgement) },
            sack: ranges(blocks, &theirs),
            ecn: tos & 3,
            df: None,
            size: None,
            merged: false,
        },
        Passage::Received(segment) => PacketRow {
            time: Some(segment.at),
            way: Way::Received,
            flags: names(segment.flags),
            octets: segment.data.len() as u32,
            seq: theirs(segment.sequence),
            ack: if segment.has(flags::ACK) { ours(segment.acknowledgement) } else { 0 },
            sack: ranges(&segment.options.sack, &ours),
            ecn: segment.tos & 3,
            df: is_v4(&segment.quote).then_some(segment.dont_fragment),
            size: Some(segment.octets as u32),
            merged: segment.is_merged,
        },
    });
}

/// IPv6 has no such flag.
fn is_v4(packet: &[u8]) -> bool {
    packet.first().is_some_and(|first| first >> 4 == 4)
}

/// Letters of the flags, as tcpdump has them in words.
fn names(bits: u8) -> String {
    let all = ["FIN", "SYN", "RST", "PSH", "ACK", "URG", "ECE", "CWR"];
    let set = all.iter().enumerate().filter(|(at, _)| bits >> at & 1 == 1);
    set.map(|(_, name)| *name).collect::<Vec<_>>().join("|")
}
