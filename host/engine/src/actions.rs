//! What a plugin wants: checked, then done. A plugin is not trusted.

use std::sync::atomic::Ordering;

use sonde_packet::demux::{Flow, FlowId};
use sonde_plugin_api::abi::{Action, ActionKind, FailKind, NO_TOKEN};

use crate::{
    engine::{Core, Timer},
    exchange::LOOKED_THROUGH,
    link::Link,
    output::Output,
    tasks::{Send, TaskIndex},
};

/// Timers that a task may have at a time.
const MAX_TIMERS: usize = 65_536;
/// Rows of one measurement, each with [`ROW_OCTETS`] beside its values; then it is asked to finish.
const ENOUGH_ROW_OCTETS: usize = 64 << 20;
/// With what it has to say at its end; then it fails. Of rows that are only told as many wait for who reads them.
const MAX_ROW_OCTETS: usize = 72 << 20;
/// What keeping a row costs at least.
const ROW_OCTETS: usize = 64;
/// Lines that are kept of one measurement.
const MAX_LOG_LINES: u32 = 1000;
/// Level of a log line.
const WARN: u8 = 2;
/// Longest text of a log, an error, a reason to stop; octets.
const MAX_TEXT: usize = 1024;

impl<L: Link> Core<L> {
    /// Does one action of the plugin at `port`; `bytes` are those of its batch.
    pub(crate) fn act(&mut self, port: u32, action: &Action, bytes: &[u8]) {
        let state = &mut self.state;
        let numbers = &state.ports[port as usize].numbers;
        // A task that is over, or was never there: what it wants is late, or nonsense.
        let Some(&Some(task)) = numbers.get(action.task as usize) else { return };
        let (from, octets) = (action.off as usize, action.len as usize);
        let Some(payload) = from.checked_add(octets).and_then(|to| bytes.get(from..to)) else {
            return self.fail(task, "the plugin pointed outside of its batch");
        };
        match action.kind {
            ActionKind::OpenFlow => self.open_flow(task, action.token, payload),
            ActionKind::Send => {
                let send = Send {
                    flow: FlowId(action.flow),
                    token: action.token,
                    timeout_ns: action.arg,
                    flags: action.flags,
                    tries: 0,
                };
                self.handle_send(task, send, payload);
            }
            ActionKind::Timer => self.arm(port, task, action.token, action.arg),
            ActionKind::Cancel => self.cancel_token(task, action),
            ActionKind::LastWord => self.handle_last_word(task, action, payload),
            ActionKind::CloseFlow => self.handle_close(task, FlowId(action.flow)),
            ActionKind::Row => {
                if !self.count_row(port, task, payload.len() + ROW_OCTETS) {
                    return;
                }
                let state = &mut self.state;
                let Some(entry) = state.tasks.get_mut(task) else { return };
                let (run, wall_offset_ns) = (entry.run, state.wall_offset_ns);
                let begin = state.news.octets.len();
                state.news.octets.extend_from_slice(payload);
                let (table, values) = (action.code, begin..state.news.octets.len());
                state.news.outputs.push(Output::Row { run, table, values, wall_offset_ns });
            }
            ActionKind::Log => {
                let Some(entry) = state.tasks.get_mut(task) else { return };
                entry.output.log_lines = entry.output.log_lines.saturating_add(1);
                let run = entry.run;
                state.news.outputs.push(match entry.output.log_lines {
                    ..=MAX_LOG_LINES => {
                        Output::Log { run, level: action.code, text: text(payload) }
                    }
                    lines if lines == MAX_LOG_LINES + 1 => {
                        Output::Log { run, level: WARN, text: log_is_full() }
                    }
                    _ => return,
                });
            }
            ActionKind::Progress => {
                let Some(entry) = state.tasks.get_mut(task) else { return };
                let per_mille = action.arg.min(1000) as u16;
                if per_mille <= entry.output.per_mille {
                    return;
                }
                entry.output.per_mille = per_mille;
                state.news.outputs.push(Output::Progress { run: entry.run, per_mille });
            }
            ActionKind::Finish => {
                let stop = (!payload.is_empty()).then(|| text(payload));
                self.flush_of(task);
                self.state.finish(task, stop);
            }
            ActionKind::Fail => {
                // Whether it crashed is for us to say.
                let kind = Some(FailKind(action.code)).filter(|kind| *kind != FailKind::Crashed);
                self.flush_of(task);
                self.state.failed(task, kind.unwrap_or(FailKind::Error), text(payload));
            }
            // The loader lets no plugin in that knows more kinds than we do.
            other => self.fail(task, &format!("the plugin wanted {other:?}, which is not known")),
        }
    }

    /// It did what it must not. What is in the batch leaves, and counts.
    pub(crate) fn fail(&mut self, task: TaskIndex, text: &str) {
        self.flush_of(task);
        self.state.fail(task, text);
    }

    /// Counts what a row takes; false where the task has failed for it.
    fn count_row(&mut self, port: u32, task: TaskIndex, octets: usize) -> bool {
        let state = &mut self.state;
        let Some(entry) = state.tasks.get_mut(task) else { return false };
        if !entry.output.keeps_rows {
            state.news.passing += octets;
            let passing = state.passing.fetch_add(octets, Ordering::Relaxed) + octets;
            if passing > MAX_ROW_OCTETS {
                self.fail(task, "nobody reads the rows as fast as the plugin puts them out");
            }
            return passing <= MAX_ROW_OCTETS;
        }
        let (run, before) = (entry.run, entry.output.row_octets);
        entry.output.row_octets += octets;
        let own = entry.output.row_octets;
        state.ports[port as usize].kept.rows += octets;
        if own > MAX_ROW_OCTETS {
            self.fail(task, "the plugin put out more than 72 MiB of rows");
            return false;
        }
        if before <= ENOUGH_ROW_OCTETS && own > ENOUGH_ROW_OCTETS {
            let text = "64 MiB of rows, which is the most: it is asked to finish".to_owned();
            state.news.outputs.push(Output::Log { run, level: WARN, text });
            state.interrupt(task);
        }
        self.is_within_bounds(port, task)
    }

    /// Fails a task that takes more than is left to its plugin.
    pub(crate) fn is_within_bounds(&mut self, port: u32, task: TaskIndex) -> bool {
        let surplus = self.state.ports[port as usize].kept.surplus();
        if let Some(what) = surplus {
            self.fail(task, &format!("the plugin's measurements have more than {what}"));
        }
        surplus.is_none()
    }

    fn arm(&mut self, port: u32, task: TaskIndex, token: u32, at: u64) {
        let state = &mut self.state;
        let generation = state.tasks.generation(task);
        let Some(entry) = state.tasks.get_mut(task) else { return };
        if entry.timers.len() >= MAX_TIMERS {
            return self.fail(task, &format!("it has {MAX_TIMERS} timers already"));
        }
        let before = entry.timers.len();
        entry.timers.arm(token, at);
        let of_plugin = &mut state.ports[port as usize];
        of_plugin.kept.timers += entry.timers.len() - before;
        of_plugin.wheel.arm(at, Timer::Plugin { task, generation, token });
        self.is_within_bounds(port, task);
    }

    /// A timer or a probe is let go.
    fn cancel_token(&mut self, task: TaskIndex, action: &Action) {
        let state = &mut self.state;
        let flow = FlowId(action.flow);
        // In place of a flow: a timer has none.
        if action.flow == NO_TOKEN
            && let Some(entry) = state.tasks.get_mut(task)
        {
            let before = entry.timers.len();
            entry.timers.cancel(action.token);
            state.ports[entry.port as usize].kept.timers -= before - entry.timers.len();
            return;
        }
        if !state.owns(task, flow) {
            return;
        }
        if action.token == NO_TOKEN {
            for send in state.unqueue(task, Some(flow), |send| send.token != NO_TOKEN) {
                state.not_sent(task, send, libc::ECANCELED, false);
            }
            return;
        }
        let probes = state.demux.flow(flow).map_or(0, Flow::waiting);
        state.work += probes as usize / LOOKED_THROUGH;
        if let Some(probe) = state.demux.waiting(flow, action.token) {
            state.demux.cancel(probe);
            state.end_waiting(task, 1);
        } else {
            state.unqueue(task, Some(flow), |send| send.token == action.token);
        }
    }
}

fn log_is_full() -> String {
    format!("more than {MAX_LOG_LINES} lines: the others are not kept")
}

/// One line, without what could steer a terminal.
fn text(payload: &[u8]) -> String {
    let cut = payload.get(..MAX_TEXT).unwrap_or(payload);
    if cut.iter().all(|octet| (b' '..0x7f).contains(octet)) {
        return String::from_utf8_lossy(cut).into_owned();
    }
    let line = String::from_utf8_lossy(cut);
    line.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect()
}
