//! Standard output, in the order of what happened; what has names to come waits for them.

use std::{
    collections::VecDeque,
    io::{self, BufWriter, Stdout, Write},
};

use crate::names::Names;

/// What is printed, and which measurements are printed whole.
pub(crate) struct Sink {
    out: BufWriter<Stdout>,
    names: Option<Names>,
    waiting: VecDeque<Piece>,
    /// Numbers of targets whose results are in `out`, since the last flush.
    written: Vec<u64>,
}

/// Something to be printed once the names in it are known.
enum Piece {
    Text(String),
    /// A record: a JSON object.
    Record(String),
    /// Everything of a target is printed.
    Ended(u64),
}

impl Sink {
    /// Without `names` nothing waits.
    pub(crate) fn new(names: Option<Names>) -> Self {
        let out = BufWriter::with_capacity(1 << 16, io::stdout());
        Self { out, names, waiting: VecDeque::new(), written: Vec::new() }
    }

    /// Text as it is.
    pub(crate) fn text(&mut self, text: &str) {
        match &mut self.names {
            Some(names) => {
                names.ask(text);
                self.waiting.push_back(Piece::Text(text.to_owned()));
            }
            None => stop_unless_read(self.out.write_all(text.as_bytes())),
        }
    }

    /// A record, without the line's end.
    pub(crate) fn record(&mut self, record: &[u8]) {
        match &mut self.names {
            Some(names) => {
                let text = String::from_utf8_lossy(record).into_owned();
                names.ask(&text);
                self.waiting.push_back(Piece::Record(text));
            }
            None => {
                stop_unless_read(
                    self.out.write_all(record).and_then(|()| self.out.write_all(b"\n")),
                );
            }
        }
    }

    /// Everything of target `number` was given.
    pub(crate) fn ended(&mut self, number: u64) {
        match self.names {
            Some(_) => self.waiting.push_back(Piece::Ended(number)),
            None => self.written.push(number),
        }
    }

    /// Whether there is something to be shown.
    pub(crate) fn has_news(&mut self) -> bool {
        self.release();
        !self.out.buffer().is_empty() || !self.written.is_empty()
    }

    /// Shows what is ready; the targets whose results are out since the last time.
    pub(crate) fn flush(&mut self) -> Vec<u64> {
        self.release();
        stop_unless_read(self.out.flush());
        std::mem::take(&mut self.written)
    }

    /// Whether something waits for names.
    pub(crate) fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    fn release(&mut self) {
        let Some(names) = &mut self.names else { return };
        while let Some(piece) = self.waiting.front() {
            let written = match piece {
                Piece::Text(text) | Piece::Record(text) if !names.is_ready(text) => return,
                Piece::Text(text) => self.out.write_all(names.named(text).as_bytes()),
                Piece::Record(text) => writeln!(self.out, "{}", with_names(text, names)),
                Piece::Ended(number) => {
                    self.written.push(*number);
                    Ok(())
                }
            };
            stop_unless_read(written);
            self.waiting.pop_front();
        }
    }
}

/// A record with one member more: names by address.
fn with_names(record: &str, names: &Names) -> String {
    let members = serde_json::Value::Object(names.members(record));
    match record.strip_suffix('}') {
        Some(open) => format!("{open},\"names\":{members}}}"),
        None => record.to_owned(),
    }
}

/// Nobody reads any more, as behind `| head`: there is nothing left to do.
#[expect(clippy::needless_pass_by_value, reason = "it is what writing gives")]
fn stop_unless_read(written: io::Result<()>) {
    if written.is_err() {
        std::process::exit(0);
    }
}
