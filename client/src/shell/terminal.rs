//! Somebody at a terminal: a line editor with history and completion, and a spinner while waiting.
//!
//! Without a terminal questions are read line by line, as the RI's shell does, so that a script may answer them.

use std::{
    io::{BufRead, ErrorKind, IsTerminal, Write},
    path::Path,
    time::Duration,
};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use rustyline::{
    Config, Context, Editor, Helper, completion::Completer, error::ReadlineError,
    highlight::Highlighter, hint::Hinter, history::DefaultHistory, validate::Validator,
};

use super::{Form, Person, help};
use crate::session::Session;

/// Prompt of the RI's shell.
pub(crate) const PROMPT: &str = "|mplane| ";

/// Lines that are kept.
const HISTORY: usize = 1000;

/// The words that can be completed at the moment.
#[derive(Default)]
struct Words {
    names: Vec<String>,
    elements: Vec<String>,
}

impl Helper for Words {}
impl Hinter for Words {
    type Hint = String;
}
impl Highlighter for Words {}
impl Validator for Words {}

impl Completer for Words {
    type Candidate = String;

    fn complete(
        &self,
        line: &str,
        at: usize,
        _: &Context<'_>,
    ) -> rustyline::Result<(usize, Vec<String>)> {
        let before = line.get(..at).unwrap_or_default();
        Ok(candidates(before, &self.names, &self.elements))
    }
}

/// Where the word that is being typed begins, and what it may become.
fn candidates(before: &str, names: &[String], elements: &[String]) -> (usize, Vec<String>) {
    let blank = before.char_indices().rfind(|(_, character)| character.is_whitespace());
    let begin = blank.map_or(0, |(at, blank)| at + blank.len_utf8());
    let word = &before[begin..];
    let typed: Vec<&str> = before[..begin].split_whitespace().collect();
    let fits = |candidate: &&String| candidate.starts_with(word);
    let found = match typed[..] {
        [] => help::COMMANDS
            .iter()
            .map(|(name, ..)| (*name).to_owned())
            .filter(|name| name.starts_with(word))
            .collect(),
        ["showcap" | "showmeas" | "stopmeas" | "runcap" | "wait"] => {
            names.iter().filter(fits).cloned().collect()
        }
        ["runcap", ..] => {
            elements.iter().filter(fits).map(|element| format!("{element}=")).collect()
        }
        ["set" | "unset" | "show", ..] => elements.iter().filter(fits).cloned().collect(),
        ["help"] => help::COMMANDS
            .iter()
            .map(|(name, ..)| (*name).to_owned())
            .filter(|name| name.starts_with(word))
            .collect(),
        _ => Vec::new(),
    };
    (begin, found)
}

/// What peers wrote, for a terminal that would obey it.
pub(crate) fn harmless(text: &str) -> String {
    let is_obeyed = |letter: char| letter.is_control() && !matches!(letter, '\n' | '\t');
    let mut shown = String::with_capacity(text.len());
    for letter in text.chars() {
        match is_obeyed(letter) {
            true => shown.extend(letter.escape_default()),
            false => shown.push(letter),
        }
    }
    shown
}

/// A line that may repeat what a peer accepts.
fn tell_to(mut output: impl Write, text: &str) {
    // Nobody may read any more; `print!` would panic.
    let _ = writeln!(output, "{}", harmless(text));
}

/// Somebody at a terminal, or a pipe.
pub struct Terminal {
    editor: Option<Editor<Words, DefaultHistory>>,
    form: Form,
    spinner: Option<ProgressBar>,
}

impl Terminal {
    /// Where standard input is a terminal with line editing; `history` is where lines are kept.
    #[must_use]
    pub fn open(history: Option<&Path>, form: Form) -> Self {
        let config =
            Config::builder().max_history_size(HISTORY).map(|it| it.auto_add_history(true).build());
        let editor = match config {
            Ok(config) if std::io::stdin().is_terminal() => Editor::with_config(config).ok(),
            _ => None,
        };
        let editor = editor.map(|mut editor: Editor<Words, DefaultHistory>| {
            editor.set_helper(Some(Words::default()));
            if let Some(file) = history {
                // None yet, as a rule.
                let _ = editor.load_history(file);
            }
            editor
        });
        Self { editor, form, spinner: None }
    }

    /// Whether lines are typed, and edited.
    #[must_use]
    pub fn is_person(&self) -> bool {
        self.editor.is_some()
    }

    /// What can be completed from now on.
    pub fn learn(&mut self, session: &Session) {
        let Some(helper) = self.editor.as_mut().and_then(Editor::helper_mut) else { return };
        let mut names = Vec::new();
        let mut elements = Vec::new();
        for capability in session.capabilities() {
            names.extend([capability.head.label().to_owned(), capability.token()]);
            elements.extend(capability.parameters.iter().map(|it| it.element.name().to_owned()));
        }
        for measurement in session.measurements() {
            names.extend([measurement.label.clone(), measurement.token.clone()]);
        }
        elements.sort_unstable();
        elements.dedup();
        *helper = Words { names, elements };
    }

    /// The next command; `None` at the end of the input.
    pub fn command(&mut self) -> Option<String> {
        self.read(PROMPT)
    }

    /// Keeps the history for the next time.
    pub fn close(&mut self, history: Option<&Path>) {
        if let (Some(editor), Some(file)) = (&mut self.editor, history) {
            // A shell without a place for its history is one all the same.
            let _ = editor.save_history(file);
        }
    }

    fn read(&mut self, prompt: &str) -> Option<String> {
        let Some(editor) = &mut self.editor else {
            // Among JSON values there are none.
            if self.form == Form::Text {
                let mut output = std::io::stdout().lock();
                let _ = output.write_all(prompt.as_bytes()).and_then(|()| output.flush());
            }
            let mut line = Vec::new();
            let read = std::io::stdin().lock().read_until(b'\n', &mut line).ok()?;
            // What is no text is no end either: the command says that it does not know it.
            let line = String::from_utf8_lossy(&line);
            return (read > 0).then(|| line.trim_end_matches(['\n', '\r']).to_owned());
        };
        loop {
            match editor.readline(prompt) {
                Ok(line) => return Some(line),
                // As in other shells: the line is given up, not the shell.
                Err(ReadlineError::Interrupted) if prompt == PROMPT => {}
                // What is no text is asked for again.
                Err(ReadlineError::Io(error)) if error.kind() == ErrorKind::InvalidData => {}
                Err(_) => return None,
            }
        }
    }
}

impl Person for Terminal {
    fn ask(&mut self, question: &str) -> Option<String> {
        self.read(&harmless(question))
    }

    fn tell(&mut self, text: &str) {
        match self.form {
            Form::Text => tell_to(std::io::stdout().lock(), text),
            Form::Json => tell_to(std::io::stderr().lock(), text),
        }
    }

    fn wait(&mut self, label: &str, waited: Duration) {
        let spinner = self.spinner.get_or_insert_with(|| {
            let target = match std::io::stderr().is_terminal() {
                true => ProgressDrawTarget::stderr(),
                false => ProgressDrawTarget::hidden(),
            };
            let spinner = ProgressBar::with_draw_target(None, target);
            if let Ok(style) = ProgressStyle::with_template("{spinner} {msg}") {
                spinner.set_style(style);
            }
            spinner
        });
        spinner.set_message(format!("{}: {} s", harmless(label), waited.as_secs()));
        spinner.tick();
    }

    fn waited(&mut self) {
        if let Some(spinner) = self.spinner.take() {
            spinner.finish_and_clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_obeys_no_peer() {
        assert_eq!(harmless("a\tb\u{1b}[31m\nc\r\u{9b}é"), "a\tb\\u{1b}[31m\nc\\r\\u{9b}é");
    }

    #[test]
    fn what_a_peer_accepts_is_told_without_being_obeyed() {
        let mut told = Vec::new();
        tell_to(&mut told, "scamper.ping.method is \"b\", accepted: a,\u{1b}]0;x\u{7}");
        let told = String::from_utf8(told).unwrap();
        assert_eq!(told, "scamper.ping.method is \"b\", accepted: a,\\u{1b}]0;x\\u{7}\n");
    }

    #[test]
    fn commands_labels_and_elements_are_completed_each_in_its_place() {
        let names = ["ping-average-ip4".to_owned(), "trace-standard-ip4".to_owned()];
        let elements = ["destination.ip4".to_owned(), "scamper.ping.ttl".to_owned()];
        let found = |before: &str| candidates(before, &names, &elements);
        assert_eq!(found("showc"), (0, vec!["showcap".to_owned()]));
        assert_eq!(found("showcap pi"), (8, vec!["ping-average-ip4".to_owned()]));
        assert_eq!(found("showcap\u{a0}pi"), (9, vec!["ping-average-ip4".to_owned()]));
        assert_eq!(found("set scam"), (4, vec!["scamper.ping.ttl".to_owned()]));
        let (at, values) = found("runcap ping-average-ip4 dest");
        assert_eq!((at, values), (24, vec!["destination.ip4=".to_owned()]));
        assert_eq!(found("listcap x").1, Vec::<String>::new());
    }
}
