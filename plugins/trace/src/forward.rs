//! Probing hop after hop, several at the same time where asked for.
//!
//! A hop leaves the window when it is finished and all before it are; then it is judged. So the
//! rows, and where the path ends, are those of a window of one.

use sonde_plugin_api::prelude::*;

use crate::{
    hop::Hop,
    path::Stop,
    rows::LastDitchRow,
    session::{Answer, LARGEST_TTL, Leg, News, Session, What},
};

/// What a probe could be sent to next.
enum Candidate {
    /// A hop in the window, by its place.
    Again(usize),
    /// A hop that is not in it yet.
    Next(u8),
}

/// How a hop came out.
pub(crate) enum Probed {
    /// It is finished.
    Hop(Hop),
    /// The measurement ends.
    Stop(Stop),
}

impl Session {
    /// Probes from the TTL `from` on, until the path ends.
    ///
    /// # Errors
    ///
    /// Where probes do not leave.
    pub(crate) async fn probe_path(&mut self, from: u8) -> Result<Stop, Fail> {
        let mut next = Some(from);
        loop {
            while let Some(hop) = self.take_finished() {
                if let Some(stop) = self.conclude(hop) {
                    return Ok(stop);
                }
            }
            match self.candidate(next) {
                Some((candidate, due)) if due <= self.ctx.now() => {
                    if let Candidate::Next(ttl) = candidate {
                        next = ttl.checked_add(1).filter(|next| *next <= self.plan.last);
                    }
                    self.probe(&candidate);
                    continue;
                }
                None if self.hops.is_empty() => return Ok(Stop::MaxTtl),
                candidate => {
                    let due = candidate.map(|(_, due)| due);
                    if let Some(news) = self.hear(due).await?
                        && let Some(stop) = self.note(news)
                    {
                        return Ok(stop);
                    }
                }
            }
        }
    }

    /// Probes from the last TTL down to the first; the path's end is found afterwards.
    ///
    /// # Errors
    ///
    /// Where probes do not leave.
    pub(crate) async fn probe_backwards(&mut self) -> Result<Stop, Fail> {
        let mut next = Some(self.plan.last);
        loop {
            let plan = &self.plan;
            self.finished.extend(self.hops.extract_if(.., |hop| hop.is_finished(plan)));
            match self.candidate(next) {
                Some((candidate, due)) if due <= self.ctx.now() => {
                    if let Candidate::Next(ttl) = candidate {
                        next = ttl.checked_sub(1).filter(|next| *next >= self.plan.first);
                    }
                    self.probe(&candidate);
                }
                None if self.hops.is_empty() => break,
                candidate => {
                    let due = candidate.map(|(_, due)| due);
                    if let Some(news) = self.hear(due).await?
                        && let Some(stop) = self.note(news)
                    {
                        return Ok(stop);
                    }
                }
            }
        }
        self.finished.sort_by_key(|hop| hop.ttl);
        for hop in std::mem::take(&mut self.finished) {
            if let Some(stop) = self.conclude(hop) {
                return Ok(stop);
            }
        }
        Ok(Stop::MaxTtl)
    }

    /// Probes one hop alone.
    ///
    /// # Errors
    ///
    /// Where probes do not leave.
    pub(crate) async fn probe_hop(&mut self, ttl: u8) -> Result<Probed, Fail> {
        self.hops.push(Hop::new(ttl));
        loop {
            if let Some(hop) = self.take_finished() {
                return Ok(Probed::Hop(hop));
            }
            let due = match self.candidate(None) {
                Some((candidate, due)) if due <= self.ctx.now() => {
                    self.probe(&candidate);
                    continue;
                }
                candidate => candidate.map(|(_, due)| due),
            };
            if let Some(news) = self.hear(due).await?
                && let Some(stop) = self.note(news)
            {
                return Ok(Probed::Stop(stop));
            }
        }
    }

    /// Probes of the largest TTL, when the gap limit was reached: does anything answer at all?
    ///
    /// # Errors
    ///
    /// Where probes do not leave.
    pub(crate) async fn probe_at_last(&mut self) -> Result<(), Fail> {
        self.begin_phase();
        for attempt in 1..=self.plan.attempts {
            let name = self.send_in_turn(LARGEST_TTL, attempt, self.plan.octets()).await;
            while let Some(news) = self.hear(None).await? {
                match news.what {
                    What::Answer(answer) if news.is_current => {
                        self.path.has_reached |= answer.sight.addr == self.plan.destination;
                        self.ctx.emit(last_ditch(*answer));
                        return Ok(());
                    }
                    What::Answer(answer) => self.emit(answer.row),
                    What::NoBudget => return Ok(()),
                    What::TimeOut(_) | What::Unsent if news.name == name => break,
                    What::TimeOut(_) | What::Unsent => {}
                }
            }
        }
        Ok(())
    }

    /// The nearest hop, if it is finished.
    pub(crate) fn take_finished(&mut self) -> Option<Hop> {
        let is_finished = self.hops.first().is_some_and(|hop| hop.is_finished(&self.plan));
        is_finished.then(|| self.hops.remove(0))
    }

    /// Tells of a finished hop, and whether the path ends with it.
    pub(crate) fn conclude(&mut self, hop: Hop) -> Option<Stop> {
        let stop = self.path.conclude(&self.plan, &hop);
        self.tell(hop);
        self.cut_behind(stop)
    }

    /// Where the path ends, what was probed behind its end is no part of it.
    fn cut_behind(&mut self, stop: Option<Stop>) -> Option<Stop> {
        if stop.is_some() {
            self.hops.clear();
            self.finished.clear();
        }
        stop
    }

    /// Where the next probe goes, and when. Hops in the window come first, near ones before far ones.
    fn candidate(&self, next: Option<u8>) -> Option<(Candidate, Time)> {
        let turn = self.next_turn();
        let gap = Duration::from_millis(u64::from(self.plan.hop_gap_ms));
        let is_open = |hop: &Hop| !hop.waits && !hop.is_finished(&self.plan);
        let again = self
            .hops
            .iter()
            .enumerate()
            .filter(|(_, hop)| is_open(hop))
            .map(|(at, hop)| {
                (
                    Candidate::Again(at),
                    if hop.sent == 0 { turn } else { turn.max(hop.last_sent + gap) },
                )
            })
            .min_by_key(|(_, due)| *due);
        let next = next.filter(|ttl| self.has_room(*ttl)).map(|ttl| (Candidate::Next(ttl), turn));
        match (again, next) {
            (Some(again), Some(next)) if again.1 > next.1 => Some(next),
            (again, next) => again.or(next),
        }
    }

    /// Whether a hop may be added to the window.
    fn has_room(&self, ttl: u8) -> bool {
        if self.hops.len() >= usize::from(self.plan.window) {
            return false;
        }
        if self.plan.is_backward || self.hops.is_empty() {
            return true;
        }
        // Behind the end of the path there is nothing; nor does the gap limit let a probe get there.
        let ends = self.hops.iter().any(|hop| hop.ends_path(&self.plan));
        let answering = self.hops.iter().rev().find(|hop| !hop.sights.is_empty());
        let last = answering.map_or(self.path.hops - self.path.gap, |hop| hop.ttl);
        let limit = self.plan.gap_limit;
        !ends && (limit == 0 || ttl - last <= limit)
    }

    fn probe(&mut self, candidate: &Candidate) {
        let at = match *candidate {
            Candidate::Again(at) => at,
            Candidate::Next(ttl) => {
                let at = self.hops.partition_point(|hop| hop.ttl < ttl);
                self.hops.insert(at, Hop::new(ttl));
                at
            }
        };
        let octets = self.plan.octets();
        let now = self.ctx.now();
        let hop = &mut self.hops[at];
        hop.sent = hop.sent.saturating_add(1);
        hop.waits = true;
        hop.last_sent = now;
        let (ttl, attempt) = (hop.ttl, hop.sent);
        self.send(ttl, attempt, octets);
    }

    /// Puts news where they belong. An answer for a hop that was given up is told at once, and may
    /// end the path.
    pub(crate) fn note(&mut self, news: News) -> Option<Stop> {
        let News { name, is_current, what, .. } = news;
        let at = self.hops.iter().position(|hop| is_current && hop.ttl == name.ttl);
        let Some(at) = at else {
            return match what {
                What::Answer(answer) => self.note_late(name.ttl, is_current, *answer),
                What::NoBudget => Some(Stop::Budget),
                What::TimeOut(_) | What::Unsent => None,
            };
        };
        let hop = &mut self.hops[at];
        let is_last = name.attempt == hop.sent;
        match what {
            What::Answer(answer) => {
                hop.waits &= !is_last;
                hop.sights.push(answer.sight);
                hop.rows.push(answer.row);
            }
            What::TimeOut(row) => {
                hop.waits &= !is_last;
                hop.rows.push(*row);
            }
            What::Unsent if is_last => {
                hop.waits = false;
                hop.sent -= 1;
            }
            What::Unsent => {}
            What::NoBudget => return Some(Stop::Budget),
        }
        if at == 0 && !self.plan.is_backward && self.leg == Leg::Path {
            // Whatever the hops behind bring, this one is part of the path.
            for row in std::mem::take(&mut self.hops[0].rows) {
                self.emit(row);
            }
        }
        None
    }

    fn note_late(&mut self, ttl: u8, is_current: bool, answer: Answer) -> Option<Stop> {
        if let Some(hop) = self.finished.iter_mut().find(|hop| is_current && hop.ttl == ttl) {
            hop.sights.push(answer.sight);
            hop.rows.push(answer.row);
            return None;
        }
        // Of a round before: that one is told already.
        if !is_current {
            return None;
        }
        let stop = match self.leg {
            Leg::Path => self.path.judge_late(&self.plan, ttl, &answer.sight),
            Leg::Search | Leg::Back => None,
        };
        self.emit(answer.row);
        self.cut_behind(stop)
    }
}

fn last_ditch(answer: Answer) -> LastDitchRow {
    let Answer { row, sight } = answer;
    LastDitchRow {
        attempt: row.attempt,
        addr: sight.addr,
        rtt_us: row.rtt_us.unwrap_or_default(),
        icmp_type: row.icmp_type,
        icmp_code: row.icmp_code,
        reply_ttl: row.reply_ttl.unwrap_or_default(),
        mark: row.mark,
    }
}
