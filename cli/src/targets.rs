//! Whom to measure: addresses and names from the command line or a list, one after the other.
//!
//! A list may have millions of lines, so it is read as it is needed.

use std::{
    collections::VecDeque,
    fs::File,
    io::{self, BufRead, BufReader},
    net::{IpAddr, ToSocketAddrs},
    path::PathBuf,
    sync::mpsc::{Receiver, TryRecvError, sync_channel},
    thread,
    time::Duration,
};

use crate::pool::Pool;

/// A target with its place among all of them, or why it cannot be measured.
type Found = (u64, Result<Target, TargetError>);

/// Names that are looked up at a time, or wait for it.
const MOST_LOOKED_UP: usize = 64;

/// Which family a name is resolved to.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) enum Wanted {
    /// The first address that the resolver gives.
    #[default]
    Any,
    /// `-4`.
    V4,
    /// `-6`.
    V6,
}

/// A target that cannot be measured, and why.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TargetError {
    /// The list cannot be read.
    #[error("{file}: {cause}")]
    List {
        /// As given.
        file: String,
        /// Why not.
        cause: io::Error,
    },
    /// A line of the list is no text.
    #[error("{file}:{line}: {text} is no name or address: it is not UTF-8")]
    Text {
        /// As given.
        file: String,
        /// From 1.
        line: u64,
        /// What can be read of it.
        text: String,
    },
    /// An address of one link of this machine.
    #[error("{name} names a network interface, accepted: no %; the routing table chooses it")]
    Zone {
        /// As given.
        name: String,
    },
    /// No name has a slash: it is a network's, or a URL.
    #[error("{name} is no target, accepted: an address or a name, without /")]
    Slash {
        /// As given.
        name: String,
    },
    /// The name is not known.
    #[error("{name}: {cause}")]
    Name {
        /// As given.
        name: String,
        /// The resolver's words.
        cause: io::Error,
    },
    /// There is an address, but of the other family.
    #[error("{name} has no {family} address")]
    Family {
        /// As given.
        name: String,
        /// `IPv4` or `IPv6`.
        family: &'static str,
    },
}

impl TargetError {
    /// What was asked for, as it was written.
    pub(crate) fn name(&self) -> &str {
        match self {
            Self::List { file: name, .. }
            | Self::Text { text: name, .. }
            | Self::Zone { name }
            | Self::Slash { name }
            | Self::Name { name, .. }
            | Self::Family { name, .. } => name,
        }
    }
}

/// A host to be measured.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Target {
    /// As the user wrote it.
    pub(crate) name: String,
    /// What it stands for.
    pub(crate) address: IpAddr,
    /// Its place among all targets, from 0.
    pub(crate) number: u64,
}

impl Target {
    /// What the user wrote, where the address does not say so.
    pub(crate) fn other_name(&self) -> Option<&str> {
        (self.name != self.address.to_string()).then_some(self.name.as_str())
    }
}

/// One that was written as the address it is, in a place that nobody asks for.
impl From<IpAddr> for Target {
    fn from(address: IpAddr) -> Self {
        Self { name: address.to_string(), address, number: 0 }
    }
}

/// The lines of a list.
enum Lines {
    Of(Box<dyn BufRead + Send>),
    /// Nobody knows when the next line comes: it is read on a thread of its own, once there may be one.
    Slow(Box<dyn BufRead + Send>),
    /// Lines with their ends, an empty one at the end of all; and the one that was waited for.
    Piped(Receiver<io::Result<Vec<u8>>>, Option<io::Result<Vec<u8>>>),
}

impl Lines {
    /// The next line in place of what is in `line`: whether it is there, `None` behind the last.
    fn next(&mut self, line: &mut Vec<u8>) -> io::Result<Option<bool>> {
        line.clear();
        if let Self::Slow(reader) = self {
            let reader = std::mem::replace(reader, Box::new(io::empty()));
            *self = Self::Piped(pump(reader)?, None);
        }
        let octets = match self {
            Self::Of(reader) | Self::Slow(reader) => reader.read_until(b'\n', line)?,
            Self::Piped(lines, ahead) => match ahead.take().map_or_else(|| lines.try_recv(), Ok) {
                Ok(read) => {
                    *line = read?;
                    line.len()
                }
                Err(TryRecvError::Empty) => return Ok(Some(false)),
                Err(TryRecvError::Disconnected) => 0,
            },
        };
        Ok((octets > 0).then_some(true))
    }
}

/// Reads lines until the last one was read, or nobody wants more.
fn pump(mut reader: Box<dyn BufRead + Send>) -> io::Result<Receiver<io::Result<Vec<u8>>>> {
    let (sender, lines) = sync_channel(1024);
    let read = move || {
        loop {
            let mut line = Vec::new();
            let read = reader.read_until(b'\n', &mut line).map(|_| line);
            let is_last = !read.as_ref().is_ok_and(|line| !line.is_empty());
            if sender.send(read).is_err() || is_last {
                return;
            }
        }
    };
    thread::Builder::new().name("list".into()).spawn(read)?;
    Ok(lines)
}

/// What there is of the next line with a target.
enum Line {
    Target(Result<String, TargetError>),
    /// It is not written yet.
    Later,
    End,
}

/// All targets in order: those of the command line, then those of the list.
pub(crate) struct Targets {
    named: std::vec::IntoIter<String>,
    list: Option<(String, Lines)>,
    wanted: Wanted,
    /// Of the next target.
    number: u64,
    /// Lines of the list so far.
    lines: u64,
    /// The line being read; kept for its memory.
    line: Vec<u8>,
    /// Begun with the first name.
    resolver: Option<Pool<Question, Found>>,
    /// Names that are being looked up, and those whose address waits here.
    looking: usize,
    found: VecDeque<Found>,
}

/// What there is of the next target.
pub(crate) enum Next {
    /// It.
    Found(Found),
    /// Addresses are being looked up, or lines not written yet.
    Later,
    /// There is none.
    End,
}

impl Targets {
    /// `list` is a file, `-` for standard input.
    pub(crate) fn open(
        named: Vec<String>,
        list: Option<PathBuf>,
        wanted: Wanted,
    ) -> Result<Self, TargetError> {
        let list = match list {
            None => None,
            Some(file) if file.as_os_str() == "-" => {
                let reader = Box::new(BufReader::new(io::stdin()));
                Some(("standard input".to_owned(), Lines::Slow(reader)))
            }
            Some(file) => {
                let name = file.display().to_string();
                let opened = File::open(file);
                let opened =
                    opened.map_err(|cause| TargetError::List { file: name.clone(), cause })?;
                let is_file = opened.metadata().is_ok_and(|facts| facts.is_file());
                let reader = Box::new(BufReader::new(opened));
                Some((name, if is_file { Lines::Of(reader) } else { Lines::Slow(reader) }))
            }
        };
        Ok(Self::new(named, list, wanted))
    }

    fn new(named: Vec<String>, list: Option<(String, Lines)>, wanted: Wanted) -> Self {
        Self {
            named: named.into_iter(),
            list,
            wanted,
            number: 0,
            lines: 0,
            line: Vec::new(),
            resolver: None,
            looking: 0,
            found: VecDeque::new(),
        }
    }

    /// The next line of the list that holds a target; `#` begins a comment.
    fn next_of_list(&mut self) -> Line {
        let Some((file, lines)) = &mut self.list else { return Line::End };
        let line = &mut self.line;
        loop {
            match lines.next(line) {
                Ok(Some(true)) => self.lines += 1,
                Ok(Some(false)) => return Line::Later,
                Ok(None) => {
                    self.list = None;
                    return Line::End;
                }
                Err(cause) => {
                    let file = file.clone();
                    self.list = None;
                    return Line::Target(Err(TargetError::List { file, cause }));
                }
            }
            let target = target_of(line);
            if !target.is_empty() {
                let (file, line) = (file.clone(), self.lines);
                let text = String::from_utf8(target.to_vec());
                return Line::Target(text.map_err(|_| TargetError::Text {
                    file,
                    line,
                    text: target.escape_ascii().to_string(),
                }));
            }
        }
    }
}

impl Targets {
    /// The next target for which `is_done` does not hold, with its number; names of others are not
    /// resolved. Those with names come when their address is known.
    pub(crate) fn next(&mut self, is_done: impl Fn(u64) -> bool) -> Next {
        loop {
            let answers = self.resolver.iter().flat_map(Pool::answers);
            self.found.extend(answers);
            if let Some(found) = self.found.pop_front() {
                self.looking -= 1;
                return Next::Found(found);
            }
            if self.looking >= MOST_LOOKED_UP {
                return Next::Later;
            }
            let number = self.number;
            let name = match self.named.next() {
                Some(name) => name,
                None => match self.next_of_list() {
                    Line::Target(Ok(name)) => name,
                    Line::Target(Err(error)) => {
                        self.number += 1;
                        return Next::Found((number, Err(error)));
                    }
                    Line::Later => return Next::Later,
                    Line::End if self.looking > 0 => return Next::Later,
                    Line::End => return Next::End,
                },
            };
            self.number += 1;
            if is_done(number) {
                continue;
            }
            let question = Question { name, number, wanted: self.wanted };
            match question.literal() {
                Some(found) => return Next::Found((number, found)),
                None => {
                    self.looking += 1;
                    self.resolver
                        .get_or_insert_with(|| Pool::new(Question::resolved))
                        .ask(question);
                }
            }
        }
    }

    /// Whether an address is being looked up, or whoever writes the list may write more.
    pub(crate) fn is_looking(&self) -> bool {
        self.looking > 0 || matches!(self.list, Some((_, Lines::Slow(_) | Lines::Piped(..))))
    }

    /// Waits for an address that is being looked up, or else for a line.
    pub(crate) fn wait(&mut self, time: Duration) {
        match (&self.resolver, &mut self.list) {
            (Some(resolver), _) if self.looking > 0 => self.found.extend(resolver.wait(time)),
            (_, Some((_, Lines::Piped(lines, ahead)))) if ahead.is_none() => {
                *ahead = lines.recv_timeout(time).ok();
            }
            _ => {}
        }
    }
}

/// What a line names; `#` begins a comment, in whatever encoding. Some editors begin a file with a byte order mark.
fn target_of(line: &[u8]) -> &[u8] {
    let line = line.strip_prefix("\u{feff}".as_bytes()).unwrap_or(line);
    line.split(|octet| *octet == b'#').next().unwrap_or_default().trim_ascii()
}

/// Fingerprint of nothing.
const PRINT: u64 = 0xcbf2_9ce4_8422_2325;

/// The fingerprint of what had `print` and of what follows it: FNV-1a, 64 bits.
pub(crate) fn printed(print: u64, octets: &[u8]) -> u64 {
    octets
        .iter()
        .fold(print, |print, octet| (print ^ u64::from(*octet)).wrapping_mul(0x0100_0000_01b3))
}

/// How many targets a list has, and a number that another list is unlikely to have.
/// `None` where it can be read only once, as standard input.
pub(crate) fn survey(list: &std::path::Path) -> Option<(u64, u64)> {
    if list.as_os_str() == "-" || !list.metadata().is_ok_and(|facts| facts.is_file()) {
        return None;
    }
    let mut reader = BufReader::new(File::open(list).ok()?);
    let (mut count, mut print, mut line) = (0, PRINT, Vec::new());
    loop {
        line.clear();
        if reader.read_until(b'\n', &mut line).ok()? == 0 {
            return Some((count, print));
        }
        print = printed(print, &line);
        count += u64::from(!target_of(&line).is_empty());
    }
}

/// A target whose address is wanted.
struct Question {
    name: String,
    number: u64,
    wanted: Wanted,
}

impl Question {
    /// Brackets as in URLs are what people paste.
    fn bare(&self) -> &str {
        self.name.trim_start_matches('[').trim_end_matches(']')
    }

    /// Of one that is an address, which needs not be looked up.
    fn literal(&self) -> Option<Result<Target, TargetError>> {
        match self.bare().parse() {
            Ok(address) => Some(self.chosen([address])),
            Err(_) if self.bare().contains('%') => {
                Some(Err(TargetError::Zone { name: self.name.clone() }))
            }
            Err(_) if self.name.contains('/') => {
                Some(Err(TargetError::Slash { name: self.name.clone() }))
            }
            Err(_) => None,
        }
    }

    /// As the resolver knows it, in its own time.
    fn resolved(self) -> Found {
        let found = match (self.bare(), 0).to_socket_addrs() {
            Ok(addresses) => self.chosen(addresses.map(|address| address.ip())),
            Err(cause) => Err(TargetError::Name { name: self.name.clone(), cause }),
        };
        (self.number, found)
    }

    fn chosen(&self, addresses: impl IntoIterator<Item = IpAddr>) -> Result<Target, TargetError> {
        // An IPv4 address in the form of one of IPv6 is one of IPv4.
        let mut addresses = addresses.into_iter().map(|address| address.to_canonical());
        let fits = |address: &IpAddr| match self.wanted {
            Wanted::Any => true,
            Wanted::V4 => address.is_ipv4(),
            Wanted::V6 => address.is_ipv6(),
        };
        let (name, number) = (self.name.clone(), self.number);
        match addresses.find(fits) {
            Some(address) => Ok(Target { name, address, number }),
            None => {
                let family = if self.wanted == Wanted::V4 { "IPv4" } else { "IPv6" };
                Err(TargetError::Family { name, family })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(lines: impl AsRef<[u8]>, wanted: Wanted) -> Vec<Result<String, String>> {
        let reader = || Box::new(io::Cursor::new(lines.as_ref().to_owned()));
        let found = all_of(Lines::Of(reader()), wanted);
        assert_eq!(sorted(all_of(Lines::Slow(reader()), wanted)), sorted(found.clone()));
        found
    }

    fn sorted(mut found: Vec<Result<String, String>>) -> Vec<Result<String, String>> {
        found.sort();
        found
    }

    fn all_of(lines: Lines, wanted: Wanted) -> Vec<Result<String, String>> {
        let list = Some(("list".to_owned(), lines));
        let mut targets = Targets::new(vec!["127.0.0.1".to_owned()], list, wanted);
        let text = |target: Result<Target, TargetError>| {
            target.map(|target| target.address.to_string()).map_err(|error| error.to_string())
        };
        let mut found = Vec::new();
        loop {
            match targets.next(|number| number == 7) {
                Next::Found((_, target)) => found.push(text(target)),
                Next::Later => targets.wait(Duration::from_secs(1)),
                Next::End => return found,
            }
        }
    }

    #[test]
    fn the_targets_of_a_list_are_counted_as_they_are_read() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "# none\n\n192.0.2.1 # one\n  \n192.0.2.2").unwrap();
        let (count, print) = survey(file.path()).unwrap();
        assert_eq!(count, 2);
        std::fs::write(file.path(), "192.0.2.1\n192.0.2.3").unwrap();
        assert_ne!(survey(file.path()).unwrap(), (2, print));
        assert_eq!(survey(std::path::Path::new("-")), None);
    }

    #[test]
    fn a_list_may_hold_comments_and_empty_lines() {
        let lines = "\u{feff}# routers\r\n\n192.0.2.1 # first\r\n[2001:db8::1]\n";
        let addresses: Vec<_> = all(lines, Wanted::Any).into_iter().flatten().collect();
        assert_eq!(addresses, ["127.0.0.1", "192.0.2.1", "2001:db8::1"]);
    }

    #[test]
    fn comments_are_in_any_encoding_and_a_name_that_is_none_costs_no_other_target() {
        let found = all(b"192.0.2.1 # caf\xe9\nm\xfcnchen\n192.0.2.2\n", Wanted::Any);
        let wrong = "list:2: m\\xfcnchen is no name or address: it is not UTF-8";
        let expected = [Ok("127.0.0.1"), Ok("192.0.2.1"), Err(wrong), Ok("192.0.2.2")];
        let found: Vec<_> = found.iter().map(|it| it.as_deref().map_err(String::as_str)).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn a_mapped_address_is_of_ipv4_and_one_of_a_link_is_refused() {
        let found = all("::ffff:192.0.2.1\n[fe80::1%lo]\n", Wanted::V4);
        assert_eq!(found[1].as_deref(), Ok("192.0.2.1"));
        let zone = "[fe80::1%lo] names a network interface, accepted: no %; the routing table \
                    chooses it";
        assert_eq!(found[2], Err(zone.to_owned()));
    }

    #[test]
    fn networks_and_urls_are_told_as_such_and_not_looked_up() {
        let found = all("192.0.2.0/24\nhttp://[2001:db8::1]/\n", Wanted::Any);
        let told = |name: &str| {
            Err(format!("{name} is no target, accepted: an address or a name, without /"))
        };
        assert_eq!(found[1..], [told("192.0.2.0/24"), told("http://[2001:db8::1]/")]);
    }

    #[test]
    fn names_are_looked_up_beside_addresses_that_come_first() {
        let mut found = all("localhost\n192.0.2.1\n192.0.2.2\nlocalhost\n", Wanted::V4);
        assert_eq!(found.len(), 5);
        found.sort();
        let local = || Ok("127.0.0.1".to_owned());
        let others = ["192.0.2.1", "192.0.2.2"].map(|it| Ok(it.to_owned()));
        assert_eq!(found, [[local(), local(), local()].as_slice(), &others].concat());
    }

    #[test]
    fn a_list_that_is_not_written_yet_keeps_nobody_waiting() {
        let (reader, mut writer) = io::pipe().unwrap();
        let lines = Lines::Slow(Box::new(BufReader::new(reader)));
        let mut targets = Targets::new(Vec::new(), Some(("list".to_owned(), lines)), Wanted::Any);
        assert!(matches!(targets.next(|_| false), Next::Later) && targets.is_looking());
        io::Write::write_all(&mut writer, b"192.0.2.1\n").unwrap();
        let found = loop {
            match targets.next(|_| false) {
                Next::Found((number, target)) => break (number, target.unwrap().name),
                _ => targets.wait(Duration::from_secs(9)),
            }
        };
        assert_eq!(found, (0, "192.0.2.1".to_owned()));
        assert!(matches!(targets.next(|_| false), Next::Later) && targets.is_looking());
        drop(writer);
        while !matches!(targets.next(|_| false), Next::End) {
            targets.wait(Duration::from_secs(9));
        }
        assert!(!targets.is_looking());
    }

    #[test]
    fn an_address_of_the_other_family_is_named() {
        let found = all("2001:db8::1\n", Wanted::V4);
        assert_eq!(found[1], Err("2001:db8::1 has no IPv4 address".to_owned()));
    }
}
