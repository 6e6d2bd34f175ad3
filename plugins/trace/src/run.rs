//! A measurement: a trace, or rounds of them, and what follows from how it ended.

use sonde_plugin_api::prelude::*;

use crate::{path::Stop, session::Session};

/// Traces, and tells why it stopped.
pub(crate) async fn run(mut session: Box<Session>) -> Result<(), Fail> {
    let ctx = session.ctx.clone();
    let work = Box::pin(session.rounds());
    let (stop, end) = match ctx.until_interrupted(work).await {
        Some(Ok(stop)) => (stop, Ok(())),
        Some(Err(fail)) => (Stop::Failed, Err(fail)),
        None => (Stop::Interrupted, Ok(())),
    };
    let stop = match session.flow.outstanding() {
        0 => stop,
        _ => Box::pin(session.hear_rest(stop)).await,
    };
    session.emit_pending();
    session.release();
    session.summarise(stop);
    // What was found is told all the same: it cost packets.
    end
}

impl Session {
    /// What is still heard at the end, which may say more than why it ended. Probes of a window that wait for their
    /// turn behind the end of the path do not leave.
    async fn hear_rest(&mut self, stop: Stop) -> Stop {
        self.flow.withdraw();
        if stop == Stop::Budget {
            return self.hear_sent().await;
        }
        let soon = Duration::from_nanos(1);
        // Several come at once: it is over when the host answers and nothing came with it.
        while let Ok(Some(news)) = self.hear(Some(self.ctx.now() + soon)).await {
            if stop == Stop::Interrupted {
                self.note(news);
            }
        }
        stop
    }

    /// The answers to all probes that the budget was enough for.
    async fn hear_sent(&mut self) -> Stop {
        let ctx = self.ctx.clone();
        let all = async {
            while let Ok(Some(news)) = self.hear(None).await {
                self.note(news);
            }
        };
        if ctx.until_interrupted(all).await.is_none() {
            return Stop::Interrupted;
        }
        let is_straight = !self.plan.is_backward && self.plan.doubletree.is_none();
        while let Some(hop) = if is_straight { self.take_finished() } else { None } {
            if let Some(stop) = self.conclude(hop) {
                return stop;
            }
        }
        Stop::Budget
    }

    async fn rounds(&mut self) -> Result<Stop, Fail> {
        let begin = self.ctx.now();
        loop {
            self.begin_round();
            let stop = self.trace().await?;
            let is_last = self.plan.rounds != 0 && self.round >= self.plan.rounds;
            if is_last || stop == Stop::Budget {
                return Ok(stop);
            }
            let next = begin + self.plan.period * self.round;
            self.ctx.sleep_until(next).await;
        }
    }

    async fn trace(&mut self) -> Result<Stop, Fail> {
        let stop = if self.plan.doubletree.is_some() {
            Box::pin(self.doubletree()).await?
        } else if self.plan.is_backward {
            Box::pin(self.probe_backwards()).await?
        } else {
            self.probe_path(self.plan.first).await?
        };
        if stop == Stop::GapLimit && self.plan.has_last_ditch {
            Box::pin(self.probe_at_last()).await?;
        }
        if self.plan.wants_pmtu && stop.proves_an_end() {
            Box::pin(self.find_pmtu()).await?;
        }
        Ok(stop)
    }
}
