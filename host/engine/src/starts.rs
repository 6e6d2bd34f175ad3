//! How measurements begin, and how they are asked to finish.
//!
//! How they end is in `ends`.

use sonde_plugin_api::abi::{Event, EventKind};

use crate::{
    engine::{State, Timer},
    output::Start,
    tasks::{OutputUsed, Phase, Task, TaskIndex},
    timers::Timers,
};

/// Time to finish after an interrupt.
const GRACE_NS: u64 = 1_000_000_000;
/// A number whose task was taken from the plugin is not used again for so long: actions that it
/// had on the way are nobody's.
const NUMBER_REST_NS: u64 = 10_000_000_000;

impl<H> State<H> {
    /// Begins a measurement: its plugin is told.
    pub(crate) fn start(&mut self, start: &Start) {
        let Some(index) = self.ports.iter().position(|port| port.id == start.port) else {
            return self.refuse(start.run, "its plugin is not loaded".to_owned(), false);
        };
        if let Err(lost) = self.ports[index].port.ready() {
            return self.refuse(start.run, lost.reason, !self.ports[index].is_missing);
        }
        let port = &mut self.ports[index];
        if port.resting.front().is_some_and(|(until, _)| *until <= self.now)
            && let Some((_, number)) = port.resting.pop_front()
        {
            port.free.push(number);
        }
        let number = port.free.pop().unwrap_or_else(|| {
            port.numbers.push(None);
            port.numbers.len() as u32 - 1
        });
        port.tasks += 1;
        let host_drops = self.statistics.kernel_drops + port.drops;
        let task = self.tasks.insert(Task {
            run: start.run,
            port: index as u32,
            number,
            phase: Phase::Running,
            parting_packets: start.parting_packets,
            budget: start.packet_budget.unwrap_or(u64::MAX),
            client: start.client,
            permits: start.permits,
            counters: Default::default(),
            not_sent: Vec::new(),
            stamps: (0, 0),
            source: None,
            started: self.now,
            wall_offset_ns: self.wall_offset_ns,
            flows: Default::default(),
            turns: None,
            batch: 0,
            is_ready: [false; 2],
            timers: Timers::default(),
            put_off: 0,
            opening: 0,
            output: OutputUsed { keeps_rows: start.keeps_rows, ..Default::default() },
            refused: false,
            unable: false,
            host_drops,
        });
        port.numbers[number as usize] = Some(task);
        self.unsent += 1;
        self.runs.insert(start.run, task);
        let event = Event {
            kind: EventKind::Start,
            at: self.now,
            sent: self.identifiers.random(),
            aux: start.method,
            ..Event::ZERO
        };
        let mut params = std::mem::take(&mut self.params);
        params.clear();
        start.params.write(&mut params);
        self.deliver(task, event, &params);
        self.params = params;
    }

    /// Asks a measurement to finish, for which it has a second.
    pub(crate) fn interrupt(&mut self, task: TaskIndex) {
        let generation = self.tasks.generation(task);
        let Some(entry) = self.tasks.get_mut(task).filter(|task| task.phase == Phase::Running)
        else {
            return;
        };
        entry.phase = Phase::Parting { packets: entry.parting_packets };
        let wheel = &mut self.ports[entry.port as usize].wheel;
        wheel.arm(self.now + GRACE_NS, Timer::Grace { task, generation });
        let event = Event { kind: EventKind::Interrupt, at: self.now, ..Event::ZERO };
        self.deliver(task, event, &[]);
        // What has not left is not worth waiting for any more; who waits for it has to know.
        for send in self.unqueue(task, None, |_| true) {
            self.not_sent(task, send, libc::ECANCELED, false);
        }
    }

    /// Frees the plugin's number of a task that is over.
    pub(crate) fn release_number(&mut self, port: u32, number: u32, plugin_knows: bool) {
        let now = self.now;
        let port = &mut self.ports[port as usize];
        port.tasks = port.tasks.saturating_sub(1);
        if let Some(entry) = port.numbers.get_mut(number as usize) {
            *entry = None;
        }
        if plugin_knows {
            port.free.push(number);
        } else {
            port.resting.push_back((now + NUMBER_REST_NS, number));
        }
    }
}
