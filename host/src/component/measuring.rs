//! The host as who measures for the desk.

use std::{
    collections::{BTreeMap, HashMap},
    hash::{BuildHasher, RandomState},
    sync::Arc,
    time::Duration,
};

use sonde_plugin_api::schema::Value;

use super::{answer, desk::Measurer, jobs::Outcome, offered::Offered};
use crate::{Configuration, Host, Notice, Prepared, RunId, Status};

/// The host measures.
pub struct Measuring {
    host: Host,
    offered: HashMap<RunId, Arc<Offered>>,
    /// Makes a number of a peer's name: each has a bucket of its own.
    clients: RandomState,
}

impl Measuring {
    /// With a host that is open.
    #[must_use]
    pub fn new(host: Host) -> Self {
        Self { host, offered: HashMap::new(), clients: RandomState::new() }
    }
}

impl Measurer for Measuring {
    fn start(
        &mut self,
        peer: &str,
        offered: &Offered,
        mut values: BTreeMap<String, Value>,
    ) -> Result<RunId, String> {
        let target = offered.offer.target().map(|target| target.element.clone());
        let destination = target.and_then(|element| values.remove(&element));
        let Some(Value::Ip(destination)) = destination else {
            return Err("the specification has no destination".to_owned());
        };
        let mut prepared = Prepared::new(offered.offer.clone(), values);
        let run = self.host.start_for(self.clients.hash_one(peer), &mut prepared, destination);
        let run = run.map_err(|error| error.to_string())?;
        self.offered.insert(run, Arc::new(offered.clone()));
        Ok(run)
    }

    fn obey(&mut self, configuration: Arc<Configuration>) {
        match self.host.obey(configuration) {
            Ok(()) => tracing::info!("the lists of prefixes were read"),
            Err(error) => tracing::error!(%error, "the lists before stay in force"),
        }
    }

    fn interrupt(&mut self, run: RunId) {
        self.host.interrupt(run);
    }

    fn ended(&mut self, limit: Duration) -> Vec<(RunId, Outcome)> {
        let mut ended = Vec::new();
        for notice in self.host.notices(limit) {
            match notice {
                Notice::Ended { run, status, record } => {
                    let Some(offered) = self.offered.remove(&run) else { continue };
                    let outcome = match status {
                        Status::Done | Status::Interrupted => {
                            let (from, to) = answer::span(&record);
                            let rows = answer::rows(&offered, &record);
                            Outcome::Measured { from, to, rows }
                        }
                        Status::Failed
                        | Status::Unable
                        | Status::Crashed
                        | Status::Beside
                        | Status::NotBegun
                        | Status::Unfit
                        | Status::Refused => Outcome::Failed(
                            record.error.unwrap_or_else(|| "the measurement failed".to_owned()),
                        ),
                    };
                    ended.push((run, outcome));
                }
                Notice::Log { run, level, text } => {
                    let label = self.offered.get(&run).map(|it| it.capability.head.label());
                    let destination = self.host.destination(run).map(tracing::field::display);
                    match level {
                        1 => tracing::error!(label, destination, "{text}"),
                        2 => tracing::warn!(label, destination, "{text}"),
                        _ => tracing::debug!(label, destination, "{text}"),
                    }
                }
                Notice::Row { .. } => {}
            }
        }
        ended
    }

    fn is_able(&self) -> bool {
        self.host.is_able()
    }
}
