//! The measurement: send on schedule, write down what comes, add up.

use std::pin::pin;

use sonde_plugin_api::prelude::*;

use crate::{
    answer::Answer,
    kind::is_syn_ack,
    params::PingParams,
    plan::Plan,
    ports::Ports,
    rows::{PingTables, ReplyRow},
    tally::Tally,
};

/// A measurement in progress.
struct Run {
    ctx: Ctx<PingTables>,
    plan: Plan,
    ports: Ports,
    tally: Tally,
}

pub(crate) fn run(
    ctx: Ctx<PingTables>,
    params: PingParams,
) -> impl Future<Output = Result<(), Fail>> {
    async move {
        let plan = Plan::new(params, ctx.random64())?;
        let mut run = Run { ctx, plan, ports: Ports::default(), tally: Tally::default() };
        let ctx = run.ctx.clone();
        let outcome = {
            let probing = pin!(run.probe_all());
            ctx.until_interrupted(probing).await
        };
        let stop = match outcome {
            Some(stop) => stop?,
            None => "interrupted",
        };
        run.ports.reset_all(&run.plan);
        let pending = run.ports.outstanding();
        ctx.emit(run.tally.summary(pending));
        ctx.stop(stop);
        Ok(())
    }
}

impl Run {
    /// Sends all probes and hears what becomes of them; why it stopped.
    async fn probe_all(&mut self) -> Result<&'static str, Fail> {
        let (count, period, wait) =
            (self.plan.params.count, self.plan.params.period, self.plan.params.wait());
        let has_own_port = self.plan.params.method.has_own_port();
        // Also finds the route, so that the first probe does not wait for it.
        self.ports.add(self.ctx.open(self.plan.flow(0)).await?);
        let begin = self.ctx.now();
        for number in 0..count {
            while !self.ports.have_room(has_own_port) {
                self.hear().await;
            }
            if has_own_port && number > 0 && !self.open(number).await {
                continue;
            }
            // Not from the probe before: a delay does not add up.
            let mut due = self.ctx.sleep_until(begin + period.saturating_mul(number));
            loop {
                match select(self.ports.hear(&self.plan), &mut due).await {
                    Either::First(heard) => handle(&self.ctx, &self.plan, &mut self.ports, &mut self.tally, heard),
                    Either::Second(()) => break,
                }
                if self.is_enough() {
                    return Ok("rcount");
                }
            }
            drop(due);
            self.launch(number, wait);
        }
        Ok("complete")
    }
}
