//! What goes to standard output, in the order of what happened; what has names to come waits for them.

use std::{
    collections::VecDeque,
    io::{self, BufWriter, Write},
};

use crate::names::Names;

/// What is printed, and which measurements are printed whole.
pub(crate) struct Sink {
    out: BufWriter<Box<dyn Write>>,
    names: Option<Names>,
    waiting: VecDeque<Piece>,
    /// Numbers of targets whose results are in `out`, since the last flush.
    written: Vec<u64>,
    /// Why nothing can be written any more.
    lost: Option<io::Error>,
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
    pub(crate) fn new(out: Box<dyn Write>, names: Option<Names>) -> Self {
        let out = BufWriter::with_capacity(1 << 16, out);
        Self { out, names, waiting: VecDeque::new(), written: Vec::new(), lost: None }
    }

    /// Text as it is.
    pub(crate) fn text(&mut self, text: &str) {
        match &mut self.names {
            Some(names) => {
                names.ask(text);
                self.waiting.push_back(Piece::Text(text.to_owned()));
            }
            None => self.put(|out| out.write_all(text.as_bytes())),
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
                self.put(|out| out.write_all(record).and_then(|()| out.write_all(b"\n")));
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
        self.show();
        let written = std::mem::take(&mut self.written);
        if self.lost.is_some() { Vec::new() } else { written }
    }

    /// Shows what is ready.
    pub(crate) fn show(&mut self) {
        self.release();
        self.put(Write::flush);
    }

    /// Why nothing can be written any more, where that is so.
    pub(crate) fn lost(&self) -> Option<&io::Error> {
        self.lost.as_ref()
    }

    fn put(&mut self, write: impl FnOnce(&mut BufWriter<Box<dyn Write>>) -> io::Result<()>) {
        if self.lost.is_none() {
            self.lost = write(&mut self.out).err();
        }
    }

    /// Whether something waits for names.
    pub(crate) fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    fn release(&mut self) {
        let Some(names) = &mut self.names else { return };
        while let Some(piece) = self.waiting.front() {
            let text = match piece {
                Piece::Text(text) | Piece::Record(text) if !names.is_ready(text) => return,
                Piece::Text(text) => names.named(text),
                Piece::Record(text) => with_names(text, names) + "\n",
                Piece::Ended(number) => {
                    self.written.push(*number);
                    String::new()
                }
            };
            if self.lost.is_none() {
                self.lost = self.out.write_all(text.as_bytes()).err();
            }
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
