//! Flows of a measurement: one, or one for each probe.
//!
//! Where a probe is a SYN, also what may be half open at the peer.

use std::{
    future::poll_fn,
    pin::Pin,
    task::{Context, Poll},
};

use sonde_plugin_api::prelude::*;

use crate::{
    answer::{self, Answer},
    plan::Plan,
};

/// Flows at a time: all are asked whenever something comes.
pub(crate) const MOST: usize = 128;

/// Flows that are kept for late answers and duplicates although nothing is outstanding.
const MOST_SETTLED: usize = 16;

/// Probes in flight in one flow: half the sequence numbers of ICMP, so that none is ambiguous.
const MOST_IN_FLIGHT: u32 = 1 << 15;

/// One flow.
struct Port {
    flow: Flow,
    /// Number of the last probe.
    last: u32,
    /// That probe may have opened a connection.
    is_half_open: bool,
}

/// All of them, the oldest first.
#[derive(Default)]
pub(crate) struct Ports(Vec<Port>);

impl Ports {
    /// Adds a flow; one without anything outstanding goes for it.
    pub(crate) fn add(&mut self, flow: Flow) {
        if self.0.len() >= MOST_SETTLED
            && let Some(settled) = self.0.iter().position(|port| port.flow.outstanding() == 0)
        {
            self.0.remove(settled);
        }
        self.0.push(Port { flow, last: 0, is_half_open: false });
    }

    /// Whether one more probe may be in flight.
    pub(crate) fn have_room(&self, with_own_port: bool) -> bool {
        if with_own_port {
            let outstanding = self.0.iter().filter(|port| port.flow.outstanding() > 0);
            return outstanding.count() < MOST;
        }
        self.outstanding() < MOST_IN_FLIGHT
    }

    /// Probes that nothing was heard of yet.
    pub(crate) fn outstanding(&self) -> u32 {
        self.0.iter().map(|port| port.flow.outstanding()).sum()
    }

    /// Sends probe `number` from the newest flow.
    pub(crate) fn launch(&mut self, plan: &Plan, number: u32, wait: Duration) {
        let Some(port) = self.0.last_mut() else { return };
        // A second SYN between the same ports would meet the connection of the first.
        port.reset(plan);
        port.flow.launch(number, plan.probe(number), wait);
        (port.last, port.is_half_open) = (number, plan.params.method.opens());
    }

    /// The next thing heard of a probe.
    pub(crate) async fn hear(&self, plan: &Plan) -> (u32, Answer) {
        poll_fn(|context| self.poll_hear(plan, context)).await
    }

    fn poll_hear(&self, plan: &Plan, context: &mut Context<'_>) -> Poll<(u32, Answer)> {
        for port in &self.0 {
            loop {
                let mut next =
                    port.flow.next_with(|heard, packet| answer::read(plan, heard, packet));
                match Pin::new(&mut next).poll(context) {
                    Poll::Ready(Some(heard)) => return Poll::Ready(heard),
                    Poll::Ready(None) => {}
                    Poll::Pending => break,
                }
            }
        }
        Poll::Pending
    }

    /// Probe `number` has opened a connection, again if `is_again`: closes it.
    pub(crate) fn opened(&mut self, plan: &Plan, number: u32, is_again: bool) {
        let Some(port) = self.port(plan, number) else { return };
        if port.last == number && port.is_half_open {
            port.reset(plan);
        } else if is_again {
            port.flow.send(plan.reset(number));
        }
    }

    /// Probe `number` has opened nothing.
    pub(crate) fn refused(&mut self, plan: &Plan, number: u32) {
        if let Some(port) = self.port(plan, number).filter(|port| port.last == number) {
            port.is_half_open = false;
        }
    }

    /// The answer to probe `number` did not come; perhaps it was lost.
    pub(crate) fn expired(&mut self, plan: &Plan, number: u32) {
        if let Some(port) = self.port(plan, number).filter(|port| port.last == number) {
            port.reset(plan);
        }
    }

    /// Closes whatever may be half open.
    pub(crate) fn reset_all(&mut self, plan: &Plan) {
        self.0.iter_mut().for_each(|port| port.reset(plan));
    }

    /// The flow that probe `number` was sent from.
    fn port(&mut self, plan: &Plan, number: u32) -> Option<&mut Port> {
        if plan.params.method.has_own_port() {
            return self.0.iter_mut().find(|port| port.last == number);
        }
        self.0.first_mut()
    }
}

impl Port {
    fn reset(&mut self, plan: &Plan) {
        if std::mem::take(&mut self.is_half_open) {
            self.flow.send(plan.reset(self.last));
        }
    }
}
