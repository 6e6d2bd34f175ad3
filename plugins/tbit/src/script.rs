//! Conversations in plain octets: wait for something, say something.

use std::collections::VecDeque;

use sonde_plugin_api::prelude::Fail;

/// Octets that are kept of what no step has waited for yet: the longest message of DNS, with its length.
const MOST_HEARD: usize = 2 + 65_535;

/// A conversation.
#[derive(Debug)]
pub(crate) struct Script {
    steps: VecDeque<Step>,
    end: End,
    /// What came and was not waited for.
    heard: Vec<u8>,
}

#[derive(Debug)]
pub(crate) struct Step {
    pub(crate) expect: Expect,
    pub(crate) send: Message,
}

/// What the server has to say first.
#[derive(Debug)]
pub(crate) enum Expect {
    Nothing,
    /// These octets, anywhere.
    Text(Vec<u8>),
    /// The last line of a reply with this code, whole (RFC 5321, section 4.2.1; RFC 959, section 4.2).
    Reply([u8; 3]),
}

#[derive(Debug)]
pub(crate) enum Message {
    Octets(Vec<u8>),
    /// What makes a mail server of the kind that greeted talk much.
    Smtp,
}

/// When the answer is whole.
#[derive(Debug)]
pub(crate) enum End {
    /// The server closes.
    Close,
    /// These octets came.
    Text(Vec<u8>),
    /// A message came that has its length before it.
    Dns,
    /// A message came whose header has its length.
    Bgp,
}

impl Step {
    pub(crate) fn said(octets: Vec<u8>) -> Self {
        Self { expect: Expect::Nothing, send: Message::Octets(octets) }
    }
}

impl Script {
    /// Of one step.
    pub(crate) fn of(step: Step, end: End) -> Self {
        Self { steps: VecDeque::from([step]), end, heard: Vec::new() }
    }

    /// `EXPECT|SEND|EXPECT|SEND…`: an empty EXPECT waits for nothing; one more EXPECT at the end says when
    /// the answer is whole. `\r \n \t \\ \|` and `\xNN` stand for octets.
    ///
    /// # Errors
    ///
    /// Names what is not accepted.
    pub(crate) fn parse(text: &str) -> Result<Self, Fail> {
        let mut fields = fields(text)?.into_iter();
        let (mut steps, mut end) = (VecDeque::new(), End::Close);
        while let Some(expect) = fields.next() {
            let Some(send) = fields.next() else {
                end = End::Text(expect);
                break;
            };
            let expect = if expect.is_empty() { Expect::Nothing } else { Expect::Text(expect) };
            steps.push_back(Step { expect, send: Message::Octets(send) });
        }
        if steps.is_empty() {
            return Err(Fail::bad_params(format!(
                "scamper.tbit.script is {text:?}, accepted: EXPECT|SEND, more than once if need be"
            )));
        }
        Ok(Self { steps, end, heard: Vec::new() })
    }

    /// Takes what the server said; what is to be said then, but for the last of it.
    pub(crate) fn hear(&mut self, octets: &[u8]) -> Vec<u8> {
        let mut say = Vec::new();
        self.heard.extend(octets);
        while self.steps.len() > 1
            && let Some(message) = self.turn()
        {
            say.extend(message);
        }
        // What is waited for is much shorter than this.
        let surplus = self.heard.len().saturating_sub(MOST_HEARD);
        self.heard.drain(..surplus);
        say
    }

    /// The last message, once it is its turn; nothing where it was said before.
    pub(crate) fn last(&mut self) -> Option<Vec<u8>> {
        match self.steps.len() {
            0 => Some(Vec::new()),
            1 => self.turn(),
            _ => None,
        }
    }

    pub(crate) fn is_complete(&self) -> bool {
        let number = |at: usize| match self.heard.get(at..at + 2) {
            Some(&[high, low]) => usize::from(u16::from_be_bytes([high, low])),
            _ => usize::MAX - 2,
        };
        self.steps.is_empty()
            && match &self.end {
                End::Close => false,
                End::Text(text) => find(&self.heard, text).is_some(),
                End::Dns => self.heard.len() >= number(0) + 2,
                End::Bgp => self.heard.len() >= number(16).max(19),
            }
    }

    /// The message of the next step, where what it waits for is here.
    fn turn(&mut self) -> Option<Vec<u8>> {
        let behind = match &self.steps.front()?.expect {
            Expect::Nothing => 0,
            Expect::Text(text) => find(&self.heard, text)? + text.len(),
            Expect::Reply(code) => reply(&self.heard, *code)?,
        };
        let heard: Vec<u8> = self.heard.drain(..behind).collect();
        Some(match self.steps.pop_front()?.send {
            Message::Octets(octets) => octets,
            Message::Smtp => mail(&heard),
        })
    }
}

fn find(octets: &[u8], text: &[u8]) -> Option<usize> {
    if text.is_empty() {
        return Some(0);
    }
    octets.windows(text.len()).position(|window| window == text)
}

/// The place behind the line that ends a reply: code and blank, not code and hyphen.
fn reply(octets: &[u8], code: [u8; 3]) -> Option<usize> {
    let mut behind = 0;
    for line in octets.split_inclusive(|octet| *octet == b'\n') {
        behind += line.len();
        let is_last = line.starts_with(&code) && matches!(line.get(3), Some(b' ' | b'\r' | b'\n'));
        if is_last && line.ends_with(b"\n") {
            return Some(behind);
        }
    }
    None
}

/// By the greeting: help twice for sendmail, twenty greetings for postfix, a long one for exim. What it
/// must do is make the answer large.
fn mail(greeting: &[u8]) -> Vec<u8> {
    let greeting = String::from_utf8_lossy(greeting).to_ascii_lowercase();
    let asked = match () {
        () if greeting.contains("sendmail") => "HELP\r\n".repeat(2),
        () if greeting.contains("postfix") => "EHLO sonde.invalid\r\n".repeat(20),
        // A line has at most 512 octets, a label 63.
        () if greeting.contains("exim") => format!("EHLO {}invalid\r\n", "sonde.".repeat(80)),
        () => String::new(),
    };
    format!("{asked}QUIT\r\n").into_bytes()
}

/// Parts between bars, with the octets that escapes stand for.
fn fields(text: &str) -> Result<Vec<Vec<u8>>, Fail> {
    let refused = |at: usize| {
        Fail::bad_params(format!(
            "scamper.tbit.script has {:?} at octet {at}, accepted: \\r, \\n, \\t, \\\\, \\| and \\xNN",
            String::from_utf8_lossy(&text.as_bytes()[at..(at + 4).min(text.len())])
        ))
    };
    let octets = text.as_bytes();
    let (mut fields, mut at) = (vec![Vec::new()], 0);
    while let Some(octet) = octets.get(at) {
        let (value, length) = match (octet, octets.get(at + 1)) {
            (b'|', _) => {
                fields.push(Vec::new());
                at += 1;
                continue;
            }
            (b'\\', Some(b'r')) => (b'\r', 2),
            (b'\\', Some(b'n')) => (b'\n', 2),
            (b'\\', Some(b't')) => (b'\t', 2),
            (b'\\', Some(other @ (b'\\' | b'|'))) => (*other, 2),
            (b'\\', Some(b'x')) => {
                let digits = text.get(at + 2..at + 4).ok_or_else(|| refused(at))?;
                let is_hex = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
                let value = u8::from_str_radix(digits, 16).ok().filter(|_| is_hex);
                (value.ok_or_else(|| refused(at))?, 4)
            }
            (b'\\', _) => return Err(refused(at)),
            (other, _) => (*other, 1),
        };
        if let Some(field) = fields.last_mut() {
            field.push(value);
        }
        at += length;
    }
    Ok(fields)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_as_long_as_its_length_can_say_is_whole() {
        let mut script = Script::of(Step::said(b"?".to_vec()), End::Dns);
        assert_eq!(script.last(), Some(b"?".to_vec()));
        let answer = vec![0xff; 2 + 65_535];
        script.hear(&answer[..65_536]);
        assert!(!script.is_complete());
        script.hear(&answer[65_536..]);
        assert!(script.is_complete());
    }
}
