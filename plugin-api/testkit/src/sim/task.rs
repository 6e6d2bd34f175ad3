//! One measurement as the host sees it.

use std::{collections::BTreeSet, rc::Rc};

use sonde_plugin_api::{descriptor::MethodDescriptor, schema::Value};

use crate::run::{Counters, LogLine, Status};

#[derive(Debug)]
pub(super) struct Task {
    pub(super) plugin: usize,
    pub(super) method: Rc<MethodDescriptor>,
    pub(super) status: Status,
    pub(super) stop: String,
    pub(super) counters: Counters,
    pub(super) logs: Vec<LogLine>,
    pub(super) progress: u64,
    /// Index of the table, and the values.
    pub(super) rows: Vec<(usize, Vec<Value>)>,
    /// Those that it has not closed.
    pub(super) flows: BTreeSet<u32>,
    pub(super) began_ns: u64,
    pub(super) ended_ns: Option<u64>,
    /// Packets that it may send at most.
    pub(super) budget: u64,
    /// Packets that are left after an interrupt.
    pub(super) parting_packets: Option<u16>,
}

impl Task {
    pub(super) fn new(plugin: usize, method: Rc<MethodDescriptor>, now_ns: u64) -> Self {
        Self {
            plugin,
            status: Status::Running,
            stop: String::new(),
            counters: Counters::default(),
            logs: Vec::new(),
            progress: 0,
            rows: Vec::new(),
            flows: BTreeSet::new(),
            began_ns: now_ns,
            ended_ns: None,
            budget: method.packet_budget.unwrap_or(u64::MAX),
            parting_packets: None,
            method,
        }
    }

    pub(super) fn is_running(&self) -> bool {
        self.status == Status::Running
    }

    /// Takes a packet off what is left; why it may not be sent.
    pub(super) fn take_packet(&mut self) -> Result<(), &'static str> {
        if self.budget == 0 {
            return Err("beyond the packets that one measurement may send");
        }
        if self.parting_packets == Some(0) {
            return Err("beyond the packets that are left after an interrupt");
        }
        self.budget -= 1;
        self.parting_packets = self.parting_packets.map(|left| left - 1);
        Ok(())
    }
}
