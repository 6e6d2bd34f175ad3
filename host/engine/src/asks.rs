//! Whose turn it is to make the kernel ask for a neighbour.
//!
//! For each it sends up to three requests and a datagram, so they have the pace of probes, in all scopes and in buckets of their
//! own. Of the plugins that wait for the host's, the one that asked longest ago is the first: else who opens flows without end
//! would keep all others from their neighbours.

use std::net::IpAddr;

use crate::{
    pacing::{Pacer, Scope, Verdict},
    ports::PortState,
    tasks::{Slab, Task, TaskIndex},
};

/// For so long a plugin counts as waiting that was not let through.
const WAITING_NS: u64 = 20_000_000;

/// When a plugin asked.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Asks {
    last: u64,
    /// When it was last held back for want of the host's tokens; 0 where it was not.
    held: u64,
}

impl Asks {
    fn waits(self, now: u64) -> bool {
        self.held > 0 && now < self.held + WAITING_NS
    }
}

/// The port of a task, and what its packets to `destination` belong to.
pub(crate) fn scope_of(
    tasks: &Slab<Task>,
    ports: &[PortState],
    task: TaskIndex,
    destination: IpAddr,
) -> Option<(usize, Scope)> {
    let task = tasks.get(task)?;
    let port = task.port as usize;
    Some((port, Scope { plugin: ports.get(port)?.plugin, client: task.client, destination }))
}

/// Whether the plugin with that port may make the kernel ask for who is on the way to the scope's address; then that counts.
pub(crate) fn may_ask(
    pacer: &mut Pacer,
    ports: &mut [PortState],
    (port, scope): (usize, Scope),
    now: u64,
) -> bool {
    let own = ports[port].asks;
    let is_first = |other: &PortState| other.asks.waits(now) && other.asks.last < own.last;
    let verdict = match ports.iter().any(is_first) {
        true => Verdict::Full,
        false => pacer.take_for_ask(now, &scope),
    };
    ports[port].asks = match verdict {
        Verdict::Go => Asks { last: now, held: 0 },
        Verdict::Full => Asks { held: now, ..own },
        Verdict::Held(_) => Asks { held: 0, ..own },
    };
    verdict == Verdict::Go
}
