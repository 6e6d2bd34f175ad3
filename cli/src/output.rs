//! What a person or a program sees of the measurements.

use std::{
    cmp::Reverse,
    io::{self, IsTerminal},
    time::Instant,
};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::{Map, Value as Json};
use sonde_host::{
    Statistics,
    record::{Record, WITHDRAWN},
};
use sonde_plugin_api::{
    descriptor::MethodDescriptor,
    json::put_text,
    text_form::{RowText, TextForm, fill},
};

use crate::{
    arguments::called,
    console::{complain, shown},
    sink::Sink,
    targets::Target,
};

/// How results are written.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Form {
    /// For people.
    Text,
    /// One record a line.
    Json,
}

impl Form {
    /// As asked for; else text on a terminal and records in a pipe.
    pub(crate) fn chosen(word: Option<&str>) -> Self {
        match word {
            Some("json") => Self::Json,
            Some(_) => Self::Text,
            None if io::stdout().is_terminal() => Self::Text,
            None => Self::Json,
        }
    }
}

/// Writes results to standard output, and how far we are to standard error.
pub(crate) struct Printer {
    form: Form,
    /// Rows as they come, for a single target.
    live: bool,
    text: TextForm,
    head_printed: bool,
    /// Of the measurement that is shown.
    parameters: Map<String, Json>,
    /// The row shown last, whose line the next may go on in.
    last_row: Option<(String, Map<String, Json>)>,
    /// The line shown last has no end yet.
    line_open: bool,
    bar: ProgressBar,
    begin: Instant,
    sink: Sink,
    /// Elements of the method and the flags that stand for them, the longest first.
    flags: Vec<(String, String)>,
    /// The record being written; kept for its memory.
    line: Vec<u8>,
}

impl Printer {
    pub(crate) fn new(form: Form, many: bool, method: &MethodDescriptor, sink: Sink) -> Self {
        let style = "{spinner} {msg}  [{elapsed_precise}]";
        let target = match many && io::stderr().is_terminal() {
            true => ProgressDrawTarget::stderr_with_hz(4),
            false => ProgressDrawTarget::hidden(),
        };
        let bar = ProgressBar::with_draw_target(None, target);
        if let Ok(style) = ProgressStyle::with_template(style) {
            bar.set_style(style);
        }
        let text = method.text.clone();
        let parameters = method.parameters.iter();
        let mut flags: Vec<(String, String)> = parameters
            .filter(|parameter| parameter.element.contains('.'))
            .map(|parameter| (parameter.element.clone(), called(parameter)))
            .collect();
        flags.sort_by_key(|(element, _)| Reverse(element.len()));
        Self {
            form,
            live: !many,
            text,
            head_printed: false,
            parameters: Map::new(),
            last_row: None,
            line_open: false,
            bar,
            begin: Instant::now(),
            sink,
            flags,
            line: Vec::new(),
        }
    }

    /// Whether rows are shown as they come.
    pub(crate) fn is_live(&self) -> bool {
        self.form == Form::Text && self.live
    }

    /// The parameters of the measurement whose rows are shown as they come.
    pub(crate) fn begin(&mut self, parameters: Map<String, Json>) {
        self.parameters = parameters;
    }

    /// Whether what is shown of a measurement holds what the user wrote.
    pub(crate) fn names(&self, target: &Target) -> bool {
        self.form == Form::Text || target.other_name().is_some()
    }

    /// A row of a measurement that goes on.
    pub(crate) fn row(&mut self, target: Option<&Target>, table: &str, row: &Map<String, Json>) {
        if self.is_live() {
            if !self.head_printed {
                self.head_printed = true;
                let head = self.head(target, &self.parameters);
                self.write(head.as_slice());
            }
            self.write_row(table, row);
        }
    }

    /// A row in a line of its own, or in that of the row before. The line stays open where the next
    /// may go on in it.
    fn write_row(&mut self, table: &str, row: &Map<String, Json>) {
        let before = self.last_row.as_ref().map(|(table, row)| (table.as_str(), row));
        let shown = self.text.row(table, row, before);
        let plain = || self.plain_row(table, row).map(|text| RowText { text, continues: false });
        if let Some(RowText { text, continues }) = shown.or_else(plain) {
            let end = if self.line_open && !continues { "\n" } else { "" };
            self.sink.text(&format!("{end}{text}"));
            self.line_open = true;
            let mut others = self.text.lines.iter().filter(|line| line.table == table);
            if others.all(|line| line.continues.is_empty()) {
                self.end_line();
            }
        }
        self.last_row = Some((table.to_owned(), row.clone()));
    }

    fn end_line(&mut self) {
        if std::mem::take(&mut self.line_open) {
            self.sink.text("\n");
        }
        self.last_row = None;
    }

    /// A measurement that is over.
    pub(crate) fn ended(&mut self, target: Option<&Target>, record: &Record) {
        if self.form == Form::Json {
            self.line.clear();
            record.write(&mut self.line);
            if let Some(name) = target.and_then(Target::other_name) {
                // INVARIANT: a record ends with its brace.
                self.line.pop();
                self.line.extend_from_slice(b",\"target\":");
                put_text(name, &mut self.line);
                self.line.push(b'}');
            }
            self.sink.record(&self.line);
            return;
        }
        if !self.live {
            let head = self.head(target, record.parameters());
            self.write(head.as_slice());
            for (table, row) in record.rows() {
                self.write_row(table, &row);
            }
        }
        self.end_line();
        let mut lines = Vec::new();
        if let Some(error) = &record.error {
            let name = target.map_or("", |target| target.name.as_str());
            let said = self
                .flags
                .iter()
                .fold(error.clone(), |text, (element, flag)| text.replace(element.as_str(), flag));
            lines.push(shown(&format!("{name}: {}: {said}", record.status)));
        }
        for (reason, count) in record.not_sent.iter().filter(|(reason, _)| reason != WITHDRAWN) {
            lines.push(format!("{count} probes not sent: {reason}"));
        }
        if !self.live {
            lines.push(String::new());
        }
        self.write(&lines);
    }

    /// Of one of several targets that cannot be measured, as was told: text says no more of it.
    pub(crate) fn unmeasured(&mut self, target: &Target, record: &Record) {
        if self.form == Form::Json && !self.live {
            self.ended(Some(target), record);
        }
    }

    /// Something that did not work, to standard error.
    pub(crate) fn complain(&mut self, text: &dyn std::fmt::Display) {
        self.end_line();
        let Self { bar, sink, .. } = self;
        bar.suspend(|| {
            // On a terminal the open line is shown already.
            sink.show();
            complain!("{text}");
        });
    }

    /// Why nothing can be written any more, where that is so.
    pub(crate) fn lost(&self) -> Option<&io::Error> {
        self.sink.lost()
    }

    /// How far we are.
    pub(crate) fn progress(&self, progress: &Progress, statistics: &Statistics) {
        if self.bar.is_hidden() {
            return;
        }
        self.bar.set_message(progress.text(statistics.sent, self.begin.elapsed().as_secs_f64()));
        self.bar.tick();
    }

    /// After the last measurement: waits for the names of what is not printed yet.
    pub(crate) fn finish(&mut self) -> Vec<u64> {
        let mut written = self.flush();
        while self.sink.is_waiting() && self.lost().is_none() {
            std::thread::sleep(std::time::Duration::from_millis(5));
            written.extend(self.flush());
        }
        self.bar.finish_and_clear();
        written
    }

    fn head(&self, target: Option<&Target>, parameters: &Map<String, Json>) -> Option<String> {
        let mut values = parameters.clone();
        if let Some(target) = target {
            values.insert("target".into(), target.name.clone().into());
            values.insert("destination".into(), target.address.to_string().into());
        }
        (!self.text.head.is_empty()).then(|| fill(&self.text.head, &values))
    }

    /// For a method that does not say how its rows read: what they hold, by name.
    fn plain_row(&self, table: &str, row: &Map<String, Json>) -> Option<String> {
        if !self.text.lines.is_empty() {
            return None;
        }
        let there = row.iter().filter(|(_, value)| !value.is_null());
        let line: String = there.map(|(name, _)| format!("  {name}={{{name}}}")).collect();
        Some(fill(&format!("{table}{line}"), row))
    }

    fn write(&mut self, lines: &[String]) {
        for line in lines {
            self.sink.text(line);
            self.sink.text("\n");
        }
    }

    /// Everything of a target was shown or waits to be.
    pub(crate) fn is_over(&mut self, number: u64) {
        self.sink.ended(number);
    }

    /// Shows what was written; the targets whose results are out since the last time.
    pub(crate) fn flush(&mut self) -> Vec<u64> {
        if !self.sink.has_news() {
            return Vec::new();
        }
        let Self { bar, sink, .. } = self;
        bar.suspend(|| sink.flush())
    }
}

/// How far a campaign is.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Progress {
    /// Targets that had ended before this run.
    pub(crate) before: u64,
    /// Targets that have ended in this run.
    pub(crate) done: u64,
    /// Probes that were answered in this run.
    pub(crate) answered: u64,
    /// All targets, where that is known.
    pub(crate) targets: Option<u64>,
}

impl Progress {
    /// In one line: targets, rates, and how long it will take if it goes on like this.
    fn text(&self, sent: u64, seconds: f64) -> String {
        let done = self.before + self.done;
        let rate = |count: u64| count as f64 / seconds.max(0.001);
        let of = self.targets.map_or(String::new(), |all| format!(" of {all}"));
        let (probes, targets) = (rate(sent), rate(self.done));
        let text = format!(
            "{done}{of} targets, {targets:.1}/s, {sent} probes, {probes:.0}/s, {} answered",
            self.answered
        );
        match self.targets.map(|all| all.saturating_sub(done)) {
            Some(rest) if self.done > 0 => {
                let left = (rest as f64 / targets).ceil() as u64;
                let (hours, minutes) = (left / 3600, left / 60 % 60);
                format!("{text}, {hours}:{minutes:02}:{:02} to go", left % 60)
            }
            _ => text,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{cell::RefCell, rc::Rc};

    use super::*;

    #[test]
    fn progress_tells_rates_of_this_run_and_when_it_will_end() {
        let progress = Progress { before: 50, done: 100, answered: 900, targets: Some(1000) };
        assert_eq!(
            progress.text(1000, 10.0),
            "150 of 1000 targets, 10.0/s, 1000 probes, 100/s, 900 answered, 0:01:25 to go"
        );
        let unknown = Progress { targets: None, ..progress };
        assert!(!unknown.text(0, 0.0).contains("to go"));
        let none = Progress { done: 0, ..progress };
        assert!(!none.text(0, 5.0).contains("to go"));
    }

    /// What is written, to be read while it is.
    #[derive(Clone, Default)]
    struct Paper(Rc<RefCell<Vec<u8>>>);

    impl io::Write for Paper {
        fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
            self.0.borrow_mut().write(octets)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_line_that_goes_on_has_its_end_before_a_warning_is_told() {
        let method = serde_json::json!({
            "name": "probe",
            "text": { "lines": [
                { "table": "probes", "text": "{ttl}  {addr}" },
                { "table": "probes", "text": "  {addr}", "continues": ["ttl"] },
            ] },
        });
        let method = serde_json::from_value(method).unwrap();
        let paper = Paper::default();
        let sink = Sink::new(Box::new(paper.clone()), None);
        let mut printer = Printer::new(Form::Text, false, &method, sink);
        let row = serde_json::json!({ "ttl": 3, "addr": "192.0.2.1" });
        printer.row(None, "probes", row.as_object().unwrap());
        printer.flush();
        assert_eq!(*paper.0.borrow(), b"3  192.0.2.1");
        printer.complain(&"the server cannot be spoken to");
        assert_eq!(*paper.0.borrow(), b"3  192.0.2.1\n");
    }
}
