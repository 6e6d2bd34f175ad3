//! What a person or a program sees of the measurements.

use std::io::{self, BufWriter, IsTerminal, Stdout, Write};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::{Map, Value as Json};
use sonde_host::{Offer, Statistics, record::Record};
use sonde_plugin_api::text_form::{RowText, TextForm, fill};

use crate::targets::Target;

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
    /// The row shown last, whose line the next may go on in.
    last_row: Option<(String, Map<String, Json>)>,
    /// The line shown last has no end yet.
    line_open: bool,
    bar: ProgressBar,
    out: BufWriter<Stdout>,
    /// The record being written; kept for its memory.
    line: Vec<u8>,
}

impl Printer {
    pub(crate) fn new(form: Form, many: bool, offer: &Offer) -> Self {
        let style = "{spinner} {pos} done, {msg}  [{elapsed_precise}]";
        let target = match many && io::stderr().is_terminal() {
            true => ProgressDrawTarget::stderr_with_hz(4),
            false => ProgressDrawTarget::hidden(),
        };
        let bar = ProgressBar::with_draw_target(None, target);
        if let Ok(style) = ProgressStyle::with_template(style) {
            bar.set_style(style);
        }
        let text = offer.method().text.clone();
        let out = BufWriter::with_capacity(1 << 16, io::stdout());
        Self {
            form,
            live: !many,
            text,
            head_printed: false,
            last_row: None,
            line_open: false,
            bar,
            out,
            line: Vec::new(),
        }
    }

    /// Whether rows are shown as they come.
    pub(crate) fn is_live(&self) -> bool {
        self.form == Form::Text && self.live
    }

    /// Whether what is shown of a measurement holds the name that the user gave.
    pub(crate) fn names_targets(&self) -> bool {
        self.form == Form::Text
    }

    /// A row of a measurement that goes on.
    pub(crate) fn row(&mut self, target: Option<&Target>, table: &str, row: &Map<String, Json>) {
        if self.is_live() {
            if !self.head_printed {
                self.head_printed = true;
                let head = self.head(target, &Map::new());
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
            stop_unless_read(write!(self.out, "{end}{text}"));
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
            stop_unless_read(writeln!(self.out));
        }
        self.last_row = None;
    }

    /// A measurement that is over.
    pub(crate) fn ended(&mut self, target: Option<&Target>, record: &Record) {
        if self.form == Form::Json {
            self.line.clear();
            record.write(&mut self.line);
            self.line.push(b'\n');
            return stop_unless_read(self.out.write_all(&self.line));
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
            lines.push(format!("{name}: {}: {error}", record.status));
        }
        for (reason, count) in &record.not_sent {
            lines.push(format!("{count} probes not sent: {reason}"));
        }
        if !self.live {
            lines.push(String::new());
        }
        self.write(&lines);
    }

    /// Something that did not work, to standard error.
    pub(crate) fn complain(&mut self, text: &dyn std::fmt::Display) {
        self.end_line();
        self.bar.suspend(|| eprintln!("sonde: {text}"));
    }

    /// How far we are.
    pub(crate) fn progress(&self, done: u64, answered: u64, statistics: &Statistics) {
        if self.bar.is_hidden() {
            return;
        }
        self.bar.set_position(done);
        self.bar.set_message(format!("{} sent, {answered} answered", statistics.sent));
        self.bar.tick();
    }

    /// After the last measurement.
    pub(crate) fn finish(&mut self) {
        self.flush();
        self.bar.finish_and_clear();
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
        stop_unless_read(lines.iter().try_for_each(|line| writeln!(self.out, "{line}")));
    }

    /// Shows what was written.
    pub(crate) fn flush(&mut self) {
        if !self.out.buffer().is_empty() {
            let Self { bar, out, .. } = self;
            stop_unless_read(bar.suspend(|| out.flush()));
        }
    }
}

/// Nobody reads any more, as behind `| head`: there is nothing left to do.
#[expect(clippy::needless_pass_by_value, reason = "it is what writing gives")]
fn stop_unless_read(written: io::Result<()>) {
    if written.is_err() {
        std::process::exit(0);
    }
}
