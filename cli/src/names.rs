//! `--dns`: names of addresses, looked up beside the measurements.
//!
//! Only what is printed waits for a name, and not for long; probing never does. Names come from whoever runs
//! a network's DNS, so what is no name of a host is left out.

use std::{
    collections::HashMap,
    net::IpAddr,
    time::{Duration, Instant},
};

use crate::pool::Pool;

/// Addresses that are kept in mind; then all are forgotten.
const MOST_KNOWN: usize = 65_536;
/// Questions that wait for the resolver; beyond that addresses stay without a name.
const MOST_ASKED: usize = 4096;
/// How long a line waits for the names in it.
pub(crate) const PATIENCE: Duration = Duration::from_millis(1500);
/// Characters of a name: RFC 1035, section 2.3.4.
const LONGEST: usize = 253;

/// Names that are known, and those that are asked for.
pub(crate) struct Names {
    pool: Pool<IpAddr, (IpAddr, Option<String>)>,
    known: HashMap<IpAddr, State>,
    /// Questions without an answer yet.
    asked: usize,
}

enum State {
    Asked(Instant),
    /// `None`: it has no name.
    Known(Option<String>),
}

impl Names {
    /// Begins to look up with `lookup`.
    pub(crate) fn new(lookup: fn(IpAddr) -> (IpAddr, Option<String>)) -> Self {
        Self { pool: Pool::new(lookup), known: HashMap::new(), asked: 0 }
    }

    /// Asks for the names of all addresses in `text` that are not known.
    pub(crate) fn ask(&mut self, text: &str) {
        for (_, _, address) in addresses(text) {
            if self.known.len() >= MOST_KNOWN {
                self.known.clear();
            }
            if self.asked < MOST_ASKED
                && let std::collections::hash_map::Entry::Vacant(entry) = self.known.entry(address)
            {
                self.asked += 1;
                entry.insert(State::Asked(Instant::now()));
                self.pool.ask(address);
            }
        }
    }

    /// Whether nothing in `text` waits for its name any more.
    pub(crate) fn is_ready(&mut self, text: &str) -> bool {
        for (address, name) in self.pool.answers() {
            self.asked -= 1;
            self.known.insert(address, State::Known(name.filter(|name| is_name(name))));
        }
        addresses(text).all(|(_, _, address)| match self.known.get(&address) {
            Some(State::Asked(since)) => since.elapsed() >= PATIENCE,
            _ => true,
        })
    }

    fn name(&self, address: IpAddr) -> Option<&str> {
        match self.known.get(&address) {
            Some(State::Known(name)) => name.as_deref(),
            _ => None,
        }
    }

    /// `text` with names in front of addresses, as `name (address)`.
    pub(crate) fn named(&self, text: &str) -> String {
        let (mut named, mut done) = (String::with_capacity(text.len() + 32), 0);
        let mut found = addresses(text).peekable();
        while let Some((at, spelled, address)) = found.next() {
            let Some(name) = self.name(address) else { continue };
            named.extend([&text[done..at], name]);
            done = at + spelled.len();
            // Where an address was typed the text says it twice: its name stands in the place of the first.
            let is_again =
                |next: &(usize, &str, IpAddr)| next.2 == address && &text[done..next.0] == " (";
            if found.next_if(is_again).is_none() {
                named.extend([" (", spelled, ")"]);
            }
        }
        named + &text[done..]
    }

    /// Members of a JSON object: addresses in `text` with their names.
    pub(crate) fn members(&self, text: &str) -> serde_json::Map<String, serde_json::Value> {
        let found = addresses(text).filter_map(|(_, _, address)| {
            Some((address.to_string(), self.name(address)?.to_owned().into()))
        });
        found.collect()
    }
}

/// The resolver's word for it, in its own time.
pub(crate) fn look_up(address: IpAddr) -> (IpAddr, Option<String>) {
    let name = dns_lookup::lookup_addr(&address).ok();
    // Without a name the resolver spells the address.
    (address, name.filter(|name| name.parse::<IpAddr>().is_err()))
}

/// What a terminal and a reader can take for a name.
fn is_name(name: &str) -> bool {
    let is_usual = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
    !name.is_empty() && name.len() <= LONGEST && name.chars().all(is_usual)
}

/// Addresses in a text, each with its place and its spelling there.
fn addresses(text: &str) -> impl Iterator<Item = (usize, &str, IpAddr)> {
    let mut at = 0;
    let words = text.split_inclusive(|c| !is_of_address(c)).map(move |word| {
        let begin = at;
        at += word.len();
        (begin, word.trim_end_matches(|c| !is_of_address(c)))
    });
    words.filter_map(|(at, word)| {
        let (spelled, address) = address(word).or_else(|| {
            // A sentence goes on, or ends, behind it; but `2001:db8::` ends so itself.
            address(word.strip_suffix([':', '.'])?)
        })?;
        Some((at, spelled, address))
    })
}

/// `::` stands for more than an address.
fn address(word: &str) -> Option<(&str, IpAddr)> {
    let spelled = (word.len() > 2).then_some(word)?;
    Some((spelled, spelled.parse().ok()?))
}

fn is_of_address(c: char) -> bool {
    // Other letters and digits too, or a part of a word would be an address.
    c.is_alphanumeric() || ".:_-".contains(c)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_found_in_any_text_and_nothing_else_is() {
        let text = "(192.0.2.1, 2001:db8::1) 1.020 ms \"::ffff:192.0.2.3\" x192.0.2.9 a:b ::";
        let found: Vec<String> = addresses(text).map(|(_, _, it)| it.to_string()).collect();
        assert_eq!(found, ["192.0.2.1", "2001:db8::1", "::ffff:192.0.2.3"]);
    }

    #[test]
    fn a_colon_or_a_full_stop_behind_an_address_is_no_part_of_it() {
        let text = "from 192.0.2.1: 2001:db8::1: 2001:db8::: 2001:db8:: 192.0.2.9. 1: ::: at :: ::";
        let found: Vec<&str> = addresses(text).map(|(_, spelled, _)| spelled).collect();
        assert_eq!(found, ["192.0.2.1", "2001:db8::1", "2001:db8::", "2001:db8::", "192.0.2.9"]);
    }

    #[test]
    fn a_resolver_that_does_not_answer_is_not_asked_without_end() {
        let mut names = Names::new(|_| {
            loop {
                std::thread::park();
            }
        });
        for number in 0..100_000_u32 {
            names.ask(&IpAddr::V4(number.into()).to_string());
        }
        assert_eq!(names.asked, MOST_ASKED);
        assert!(names.known.len() <= MOST_ASKED);
        assert!(names.is_ready("0.1.134.159"), "it stays without a name");
    }

    #[test]
    fn a_name_stands_in_front_of_its_address_and_what_is_none_is_left_out() {
        let mut names = Names::new(|address| match address.to_string().as_str() {
            "192.0.2.1" => (address, Some("r1.example".to_owned())),
            _ => (address, Some("\u{1b}[2J".to_owned())),
        });
        let text = " 1  192.0.2.1  0.4 ms, 192.0.2.2\n56 octets from 192.0.2.1: seq=0";
        names.ask(text);
        while !names.is_ready(text) {
            std::thread::yield_now();
        }
        let named = " 1  r1.example (192.0.2.1)  0.4 ms, 192.0.2.2\n\
                     56 octets from r1.example (192.0.2.1): seq=0";
        assert_eq!(names.named(text), named);
        let typed = "PING 192.0.2.1 (192.0.2.1): 192.0.2.1 (192.0.2.2)";
        assert_eq!(
            names.named(typed),
            "PING r1.example (192.0.2.1): r1.example (192.0.2.1) (192.0.2.2)"
        );
        assert_eq!(names.members(text).len(), 1);
    }
}
