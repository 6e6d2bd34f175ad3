//! How measurements end: each exactly once, whatever ends it.

use sonde_plugin_api::abi::{Event, EventKind, FailKind, stamp};

use crate::{
    engine::State,
    output::{End, Ended, Output, PortId, RunId},
    ports::PortState,
    tasks::{Phase, Task, TaskIndex},
};

impl<H> State<H> {
    /// It ended by itself.
    pub(crate) fn finish(&mut self, task: TaskIndex, stop: Option<String>) {
        let is_parting = |task: &Task| task.phase != Phase::Running;
        let interrupted = self.tasks.get(task).is_some_and(is_parting);
        self.end(task, End::Finished { stop, interrupted }, true);
    }

    /// It failed by itself.
    pub(crate) fn failed(&mut self, task: TaskIndex, kind: FailKind, text: String) {
        let refused =
            self.tasks.get(task).is_some_and(|task| task.refused && task.counters.sent == 0);
        self.end(task, End::Failed { kind, text, refused }, true);
    }

    /// It did what it must not, or its rows make no sense.
    pub(crate) fn fail(&mut self, task: TaskIndex, text: &str) {
        let end = End::Failed { kind: FailKind::Error, text: text.to_owned(), refused: false };
        self.drop_task(task);
        self.end(task, end, false);
    }

    /// Somebody does not want it any more.
    pub(crate) fn cancel(&mut self, run: RunId) {
        if let Some(task) = self.runs.get(&run).copied() {
            self.drop_interrupted(task);
        }
    }

    /// It was asked to finish, and the time for that is over.
    pub(crate) fn drop_interrupted(&mut self, task: TaskIndex) {
        let (kind, text) = (FailKind::Interrupted, "interrupted".to_owned());
        self.drop_task(task);
        self.end(task, End::Failed { kind, text, refused: false }, false);
    }

    /// It never began; where its plugin comes back it may later.
    pub(crate) fn refuse(&mut self, run: RunId, text: String, comes_back: bool) {
        let wall = self.now.saturating_add_signed(self.wall_offset_ns);
        let end = match comes_back {
            true => End::NotBegun { text },
            false => End::Failed { kind: FailKind::Crashed, text, refused: false },
        };
        self.news.outputs.push(Output::Ended(Box::new(Ended {
            run,
            end,
            counters: Default::default(),
            not_sent_errno: Vec::new(),
            stamps: (name(0), name(0)),
            source: None,
            unable: comes_back,
            started_wall_ns: wall,
            ended_wall_ns: wall,
            clock_steps: Vec::new(),
            host_drops: 0,
        })));
    }

    /// Its plugin was switched off: nothing of it leaves any more.
    pub(crate) fn stop_port(&mut self, id: PortId) {
        let Some(port) = self.ports.iter().position(|port| port.id == id) else { return };
        self.ports[port].leaving = true;
        let is_its = |(index, task): (u32, &Task)| (task.port as usize == port).then_some(index);
        let tasks: Vec<TaskIndex> = self.tasks.iter().filter_map(is_its).collect();
        for task in tasks {
            self.fail(task, "its plugin was switched off");
        }
    }

    /// A plugin died with all that it was doing, at the task with the number `at` perhaps: then the others are not to
    /// blame.
    pub(crate) fn lose_port(&mut self, port: u32, reason: &str, at: Option<u32>) {
        let PortState { id, numbers, .. } = &self.ports[port as usize];
        let id = *id;
        let blamed = at.and_then(|at| *numbers.get(at as usize)?);
        let lost: Vec<TaskIndex> = self
            .tasks
            .iter()
            .filter(|(_, task)| task.port == port)
            .map(|(index, _)| index)
            .collect();
        for task in lost {
            if let Some(entry) = self.tasks.get_mut(task) {
                entry.unable |= blamed.is_some_and(|blamed| blamed != task);
            }
            let (kind, text) = (FailKind::Crashed, reason.to_owned());
            self.end(task, End::Failed { kind, text, refused: false }, true);
        }
        self.ports[port as usize].reset();
        self.news.outputs.push(Output::PortLost { port: id, reason: reason.to_owned() });
    }

    /// A plugin that takes no events for what it asks for. Where it cannot be ended by itself it is refused from here on.
    pub(crate) fn restart_port(&mut self, port: u32) {
        let reason = "the plugin does not take the events that it causes: ended";
        self.lose_port(port, reason, None);
        let entry = &mut self.ports[port as usize];
        if !entry.port.restart(reason) {
            let (id, plugin, leaving) = (entry.id, entry.plugin, entry.leaving);
            *entry = PortState::missing(id, plugin, reason.to_owned());
            entry.leaving = leaving;
            self.news.outputs.push(Output::PortGone(id));
        }
    }

    fn drop_task(&mut self, task: TaskIndex) {
        let event = Event { kind: EventKind::Drop, at: self.now, ..Event::ZERO };
        self.deliver(task, event, &[]);
    }

    fn end(&mut self, task: TaskIndex, end: End, plugin_knows: bool) {
        self.leave_unsent(task, None);
        if let Some(entry) = self.tasks.get(task) {
            self.ports[entry.port as usize].kept.let_go(entry);
        }
        let flows = self.tasks.get_mut(task).map(|task| std::mem::take(&mut task.flows));
        for flow in flows.into_iter().flatten() {
            self.close_flow(flow);
        }
        let Some(ended) = self.tasks.remove(task) else { return };
        self.unsent -= usize::from(ended.counters.sent == 0);
        self.runs.remove(&ended.run);
        self.release_number(ended.port, ended.number, plugin_knows);
        let clock_steps = self.steps_during(&ended);
        let host_drops = self.statistics.kernel_drops + self.ports[ended.port as usize].drops;
        let host_drops = host_drops.saturating_sub(ended.host_drops);
        self.news.outputs.push(Output::Ended(Box::new(Ended {
            run: ended.run,
            end,
            counters: ended.counters,
            not_sent_errno: ended.not_sent,
            stamps: (name(ended.stamps.0), name(ended.stamps.1)),
            source: ended.source,
            unable: ended.unable,
            started_wall_ns: ended.started.saturating_add_signed(ended.wall_offset_ns),
            ended_wall_ns: self.now.saturating_add_signed(self.wall_offset_ns),
            clock_steps,
            host_drops,
        })));
    }
}

/// As it stands in a record.
fn name(number: u8) -> &'static str {
    match number {
        stamp::USER => "user",
        stamp::KERNEL => "kernel",
        stamp::HARDWARE => "hardware",
        stamp::VIRTUAL => "virtual",
        _ => "none",
    }
}
