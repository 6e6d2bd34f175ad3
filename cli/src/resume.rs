//! `--resume FILE`: a campaign that was ended, however that was, goes on where it was.
//!
//! The file names the campaign in its first line, and then, a line at a time, which targets have ended and
//! how long the output was with their results: `OUTPUT OCTETS NUMBER …`. A result that was written without
//! a line here is cut off when the campaign goes on into the same file, so that none is there twice; `end` behind
//! the length says that there is none, whatever others have written behind it. What is cut off may be of others as well, so
//! it is kept, in `FILE.cut`. Families that were measured stand there as `ip4` and `ip6`, and targets that were left for
//! another go as `?NUMBER`: they have none after that one. The journal outlives the death of the program; a loss of power may cost the last lines.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs::{File, OpenOptions, TryLockError},
    io::{self, BufRead, BufReader, Seek, SeekFrom, Write},
    net::IpAddr,
    os::{
        fd::{AsFd, AsRawFd},
        unix::fs::MetadataExt,
    },
    path::Path,
    time::SystemTime,
};

use crate::console::complain;

/// First word of the first line.
const FORM: &str = "sonde-resume-1";

/// Behind a length: nothing was written that is not noted.
const END: &str = "end";

/// Behind a length: a target of that family was measured.
const FAMILIES: [&str; 2] = ["ip4", "ip6"];

/// Before a number: the target failed for this host, and is left for another go.
const LEFT: char = '?';

/// Why a campaign cannot go on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum JournalError {
    /// It cannot be read or written.
    #[error("{file}: {cause}")]
    File {
        /// As given.
        file: String,
        /// Why not.
        cause: io::Error,
    },
    /// Each would cut off what the other has written.
    #[error("{file} is in use by another process")]
    InUse {
        /// As given.
        file: String,
    },
    /// It was begun with something else.
    #[error(
        "{file} is of another campaign ({found}), this one is {wanted}; remove it to begin anew"
    )]
    Other {
        /// As given.
        file: String,
        /// Its first line.
        found: String,
        /// What it would have to be.
        wanted: String,
    },
    /// It holds something that no campaign writes.
    #[error("{file}:{line}: {text:?} is no list of numbers behind an output and its length")]
    Line {
        /// As given.
        file: String,
        /// From 1.
        line: usize,
        /// What stands there, shortened.
        text: String,
    },
    /// Results that were written are not there any more.
    #[error("standard output has {found} octets, there were {wanted}: append to it, as with `>>`")]
    Output {
        /// Its length.
        found: u64,
        /// Its length when the last result was written.
        wanted: u64,
    },
}

/// A file that results are written to.
pub(crate) struct Results {
    /// Opened anew, for a lock is of what was opened: others may share the redirection, and keep it longer.
    file: File,
    /// As it was given: where it writes is shared with who gave it.
    given: File,
    /// In the journal. No other file has it, also when this one is gone and another has its number.
    name: String,
}

impl Results {
    /// How long it is.
    fn octets(&self) -> Result<u64, JournalError> {
        let fail = |cause| JournalError::File { file: "standard output".to_owned(), cause };
        self.file.metadata().map(|facts| facts.len()).map_err(fail)
    }
}

/// Which targets have ended, and where that is written down.
pub(crate) struct Journal {
    name: String,
    file: File,
    done: Numbers,
    /// Targets that failed for this host in an earlier go, and those of this one.
    left: Numbers,
    leaving: Vec<u64>,
    /// Families of which a target was measured, as in [`FAMILIES`], and those of them that are noted.
    measured: [bool; 2],
    noted: [bool; 2],
    output: Option<Results>,
    line: String,
}

impl Journal {
    /// Opens or begins the file at `path`, for a method and what is measured with it, as a fingerprint. `output` is where
    /// the results go, if to a file.
    ///
    /// # Errors
    ///
    /// Where it is of another campaign, in use, or cannot be used.
    pub(crate) fn open(
        path: &Path,
        method: &str,
        print: u64,
        mut output: Option<Results>,
    ) -> Result<Self, JournalError> {
        let name = path.display().to_string();
        let fail = |cause| JournalError::File { file: name.clone(), cause };
        let mut options = OpenOptions::new();
        let file = options.read(true).append(true).create(true).open(path).map_err(fail)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(JournalError::InUse { file: name }),
            Err(TryLockError::Error(cause)) => return Err(fail(cause)),
        }
        // A file system that knows no locks keeps nobody from measuring.
        if let Some(output) = &output
            && let Err(TryLockError::WouldBlock) = output.file.try_lock()
        {
            return Err(JournalError::InUse { file: "standard output".to_owned() });
        }
        let this = output.as_ref().map_or("-", |output| output.name.as_str());
        let head = format!("{FORM} {method} {print:016x}");
        let Found { done, left, measured, whole, written } = read(&file, &name, &head, this)?;
        // The last line was cut short.
        file.set_len(whole).map_err(fail)?;
        if let (Some(Written { octets: wanted, is_all }), Some(output)) = (written, &output) {
            let found = output.octets()?;
            if found < wanted {
                return Err(JournalError::Output { found, wanted });
            }
            if !is_all && found > wanted {
                cut(&output.file, wanted, &format!("{name}.cut"))?;
            }
        }
        // Without `>>` whoever was killed has left it behind what is cut off: there would be a hole.
        if let Some(Results { given, .. }) = &mut output {
            given.seek(SeekFrom::End(0)).map_err(fail)?;
        }
        let (leaving, noted, line) = (Vec::new(), measured, String::new());
        let mut journal = Self { name, file, done, left, leaving, measured, noted, output, line };
        if whole == 0 {
            journal.line = head + "\n";
            journal.append()?;
        }
        journal.note(&[])?;
        Ok(journal)
    }

    /// Whether a target has ended.
    pub(crate) fn is_done(&self, number: u64) -> bool {
        self.done.contains(number)
    }

    /// How many have.
    pub(crate) fn done(&self) -> u64 {
        self.done.count
    }

    /// A target failed for this host. True where it is left for another go: the first time.
    pub(crate) fn leave(&mut self, number: u64) -> bool {
        let is_first = !self.left.contains(number);
        if is_first {
            self.leaving.push(number);
        }
        is_first
    }

    /// A target with this address was measured: the host can measure its family.
    pub(crate) fn measured(&mut self, address: IpAddr) {
        self.measured[family(address)] = true;
    }

    /// Whether one of its family ever was.
    pub(crate) fn has_measured(&self, address: IpAddr) -> bool {
        self.measured[family(address)]
    }

    /// Whether there is something that is not noted yet.
    pub(crate) fn has_news(&self) -> bool {
        !self.leaving.is_empty()
    }

    /// Targets have ended, and their results are written.
    ///
    /// # Errors
    ///
    /// Where that cannot be written down.
    pub(crate) fn note(&mut self, numbers: &[u64]) -> Result<(), JournalError> {
        let (name, octets) = match &self.output {
            Some(output) => (output.name.as_str(), output.octets()?),
            None => ("-", 0),
        };
        self.line.clear();
        let _ = write!(self.line, "{name} {octets}");
        for (family, word) in FAMILIES.into_iter().enumerate() {
            if self.measured[family] && !std::mem::replace(&mut self.noted[family], true) {
                self.line.extend([" ", word]);
            }
        }
        for number in self.leaving.drain(..) {
            let _ = write!(self.line, " {LEFT}{number}");
        }
        for number in numbers {
            self.done.add(*number);
            let _ = write!(self.line, " {number}");
        }
        self.line.push('\n');
        self.append()
    }

    /// All results are written and noted: what stands behind them is somebody else's.
    ///
    /// # Errors
    ///
    /// As [`Journal::note`].
    pub(crate) fn close(&mut self) -> Result<(), JournalError> {
        let Some(output) = &self.output else { return Ok(()) };
        self.line = format!("{} {} {END}\n", output.name, output.octets()?);
        self.append()
    }

    fn append(&mut self) -> Result<(), JournalError> {
        let written = self.file.write_all(self.line.as_bytes());
        written.map_err(|cause| JournalError::File { file: self.name.clone(), cause })
    }
}

/// The place of a family among all.
fn family(address: IpAddr) -> usize {
    usize::from(address.to_canonical().is_ipv6())
}

/// What a journal holds.
#[derive(Debug, Default)]
struct Found {
    done: Numbers,
    left: Numbers,
    measured: [bool; 2],
    /// Its octets up to the last whole line.
    whole: u64,
    /// How long the output was that is asked for.
    written: Option<Written>,
}

/// What a journal holds of a campaign into the output `this`.
fn read(file: &File, name: &str, head: &str, this: &str) -> Result<Found, JournalError> {
    let mut found = Found::default();
    let mut reader = BufReader::new(file);
    let mut line = String::new();
    for number in 1.. {
        line.clear();
        let octets = reader.read_line(&mut line);
        let octets = octets.map_err(|cause| JournalError::File { file: name.to_owned(), cause })?;
        let (text, is_whole) =
            line.strip_suffix('\n').map_or((line.as_str(), false), |text| (text, true));
        if number == 1 {
            // Whatever else has no line's end is no journal, and not ours to empty.
            if text != head && (is_whole || !head.starts_with(text)) {
                let (file, wanted) = (name.to_owned(), head.to_owned());
                let found = text.chars().take(80).collect();
                return Err(JournalError::Other { file, found, wanted });
            }
        }
        if !is_whole {
            break;
        }
        if number > 1 {
            let of = entry(text, &mut found).ok_or_else(|| JournalError::Line {
                file: name.to_owned(),
                line: number,
                text: text.chars().take(40).collect(),
            })?;
            if of.0 == this {
                found.written = Some(of.1);
            }
        }
        found.whole += octets as u64;
    }
    Ok(found)
}

/// Moves what stands in `output` behind its first `octets` to the end of the file at `path`, and tells.
fn cut(mut output: &File, octets: u64, path: &str) -> Result<(), JournalError> {
    let mut moved = || {
        let mut kept = OpenOptions::new().append(true).create(true).open(path)?;
        output.seek(SeekFrom::Start(octets))?;
        let moved = io::copy(&mut output, &mut kept)?;
        kept.sync_all()?;
        output.set_len(octets)?;
        Ok(moved)
    };
    let moved = moved().map_err(|cause| JournalError::File { file: path.to_owned(), cause })?;
    complain!(
        "standard output: {moved} octets behind the results that are noted are in {path} now"
    );
    Ok(())
}

/// How long an output was.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Written {
    octets: u64,
    /// Nothing of this campaign stands behind that.
    is_all: bool,
}

/// The output of a line and its length; its numbers are done, its families measured.
fn entry<'a>(text: &'a str, found: &mut Found) -> Option<(&'a str, Written)> {
    let mut words = text.split(' ');
    let (output, octets) = (words.next()?, words.next()?.parse().ok()?);
    let mut is_all = false;
    for word in words {
        match word {
            END => is_all = true,
            word => match FAMILIES.iter().position(|family| *family == word) {
                Some(family) => found.measured[family] = true,
                None => match word.strip_prefix(LEFT) {
                    Some(number) => found.left.add(number.parse().ok()?),
                    None => found.done.add(word.parse().ok()?),
                },
            },
        }
    }
    Some((output, Written { octets, is_all }))
}

/// Where a descriptor, as that of standard output, writes to if that is a plain file.
pub(crate) fn results(written: impl AsFd) -> io::Result<Option<Results>> {
    let given = File::from(written.as_fd().try_clone_to_owned()?);
    let facts = given.metadata()?;
    if !facts.is_file() {
        return Ok(None);
    }
    let born = facts.created().ok().and_then(|at| at.duration_since(SystemTime::UNIX_EPOCH).ok());
    let born = born.map_or(0, |since| since.as_nanos());
    let name = format!("{}:{}:{born}", facts.dev(), facts.ino());
    let again = format!("/proc/self/fd/{}", given.as_raw_fd());
    let file = match OpenOptions::new().read(true).append(true).open(again) {
        Ok(file) => file,
        Err(_) => given.try_clone()?,
    };
    Ok(Some(Results { file, given, name }))
}

/// A set of numbers that are nearly all there: as many entries as there are holes.
#[derive(Debug, Default)]
struct Numbers {
    /// First number, and the one behind the last.
    ranges: BTreeMap<u64, u64>,
    count: u64,
}

impl Numbers {
    fn contains(&self, number: u64) -> bool {
        self.ranges.range(..=number).next_back().is_some_and(|(_, end)| number < *end)
    }

    fn add(&mut self, number: u64) {
        let Some(next) = number.checked_add(1).filter(|_| !self.contains(number)) else { return };
        self.count += 1;
        let before = self.ranges.range(..number).next_back().map(|(begin, end)| (*begin, *end));
        let begin = before.filter(|(_, end)| *end == number).map_or(number, |(begin, _)| begin);
        let end = self.ranges.remove(&next).unwrap_or(next);
        self.ranges.insert(begin, end);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_follows_the_holes_and_not_the_numbers() {
        let mut numbers = Numbers::default();
        for number in (0..100_000).filter(|number| number % 10_000 != 5).rev() {
            numbers.add(number);
            numbers.add(number);
        }
        assert_eq!((numbers.count, numbers.ranges.len()), (99_990, 11));
        assert!(numbers.contains(4) && !numbers.contains(5) && numbers.contains(99_999));
        assert!(!numbers.contains(100_000));
        numbers.add(u64::MAX);
        assert!(!numbers.contains(u64::MAX), "no list is that long");
    }

    #[test]
    fn nothing_is_cut_off_behind_a_campaign_that_ended_in_order() {
        let mut found = Found::default();
        let file = tempfile::NamedTempFile::new().unwrap();
        let written = |text: &str| {
            std::fs::write(file.path(), format!("head\n{text}")).unwrap();
            read(&File::open(file.path()).unwrap(), "journal", "head", "1:2").unwrap().written
        };
        let some = |octets, is_all| Some(Written { octets, is_all });
        assert_eq!(written("1:2 0\n1:2 70 0 1\n"), some(70, false));
        assert_eq!(written("1:2 0\n1:2 70 0 1\n- 0\n"), some(70, false));
        assert_eq!(written("1:2 0\n1:2 70 0 1\n1:2 70 end\n"), some(70, true));
        assert_eq!(written("1:2 70 0 1\n1:2 70 end\n3:4 0 end\n1:2 90\n"), some(90, false));
        assert!(entry("1:2 3 End", &mut found).is_none());
    }

    #[test]
    fn what_is_cut_off_is_kept_whoever_wrote_it() {
        let folder = tempfile::tempdir().unwrap();
        let [path, output, kept] =
            ["journal", "results", "journal.cut"].map(|it| folder.path().join(it));
        let write = |text: &str| {
            let mut file = OpenOptions::new().append(true).create(true).open(&output).unwrap();
            file.write_all(text.as_bytes()).unwrap();
            file
        };
        let open = || Journal::open(&path, "m", 7, results(write("")).unwrap()).unwrap();
        let mut journal = open();
        write("one\n");
        journal.note(&[0]).unwrap();
        for (round, rest) in ["tw", "two\nof others\n"].into_iter().enumerate() {
            drop(journal);
            write(rest);
            journal = open();
            assert_eq!(std::fs::read_to_string(&output).unwrap(), "one\n", "{round}");
        }
        assert_eq!(std::fs::read_to_string(kept).unwrap(), "twtwo\nof others\n");
    }

    #[test]
    fn results_go_on_where_they_are_cut_off_also_without_append() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal");
        let mut shared = File::create(folder.path().join("results")).unwrap();
        for round in ["one", "two"] {
            let open = Journal::open(&path, "m", 7, results(&shared).unwrap());
            let mut journal = open.unwrap();
            writeln!(shared, "{round}").unwrap();
            journal.note(&[0]).unwrap();
            drop(journal);
            write!(shared, "cut sho").unwrap();
        }
        let text = std::fs::read_to_string(folder.path().join("results")).unwrap();
        assert_eq!(text, "one\ntwo\ncut sho");
    }

    #[test]
    fn what_has_ended_is_known_again_to_one_at_a_time_and_a_line_cut_short_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal");
        let mut journal = Journal::open(&path, "m", 7, None).unwrap();
        journal.note(&[0, 2]).unwrap();
        drop(journal);
        let mut file = OpenOptions::new().append(true).open(&path).unwrap();
        file.write_all(b"- 0 5").unwrap();
        let mut journal = Journal::open(&path, "m", 7, None).unwrap();
        let done: Vec<u64> = (0..9).filter(|number| journal.is_done(*number)).collect();
        assert_eq!(done, [0, 2]);
        journal.note(&[1]).unwrap();
        let second = Journal::open(&path, "m", 7, None);
        assert!(matches!(second, Err(JournalError::InUse { .. })), "it would cut off results");
        drop(journal);
        assert_eq!(Journal::open(&path, "m", 7, None).unwrap().done(), 3);
    }

    #[test]
    fn a_family_that_was_measured_is_known_again_with_the_results() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal");
        let [four, six]: [IpAddr; 2] = ["192.0.2.1", "2001:db8::1"].map(|it| it.parse().unwrap());
        let mut journal = Journal::open(&path, "m", 7, None).unwrap();
        journal.measured(six);
        for number in [3, 4] {
            journal.note(&[number]).unwrap();
        }
        drop(journal);
        assert_eq!(
            std::fs::read_to_string(&path).unwrap().matches("- 0 ip6 3\n- 0 4\n").count(),
            1
        );
        let journal = Journal::open(&path, "m", 7, None).unwrap();
        assert!(journal.has_measured(six) && !journal.has_measured(four));
        assert_eq!(journal.done(), 2);
    }

    #[test]
    fn a_target_is_left_for_another_go_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal");
        let open = || Journal::open(&path, "m", 7, None).unwrap();
        let mut journal = open();
        assert!(journal.leave(3) && journal.has_news());
        journal.note(&[1]).unwrap();
        assert!(!journal.has_news());
        drop(journal);
        let mut journal = open();
        assert!(journal.is_done(1) && !journal.is_done(3));
        assert!(!journal.leave(3), "it had its other go");
        assert!(journal.leave(4));
    }

    #[test]
    fn two_campaigns_do_not_write_to_one_file_at_a_time_whoever_opened_it() {
        let folder = tempfile::tempdir().unwrap();
        let shared = File::create(folder.path().join("results")).unwrap();
        let open = |name: &str| {
            Journal::open(&folder.path().join(name), "m", 7, results(&shared).unwrap())
        };
        let first = open("first").unwrap();
        assert!(matches!(open("second"), Err(JournalError::InUse { .. })));
        drop(first);
        open("second").unwrap();
    }

    #[test]
    fn another_list_another_method_and_what_is_no_journal_are_refused_as_they_are() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal");
        Journal::open(&path, "m", 7, None).unwrap();
        for (method, list) in [("n", 7), ("m", 8)] {
            let refused = Journal::open(&path, method, list, None);
            assert!(matches!(refused, Err(JournalError::Other { .. })));
        }
        for (text, is_taken) in [("192.0.2.1", false), ("sonde-res", true), ("", true)] {
            std::fs::write(&path, text).unwrap();
            let opened = Journal::open(&path, "m", 7, None);
            assert_eq!(opened.is_ok(), is_taken, "{text}");
            assert_eq!(std::fs::read_to_string(&path).unwrap() == text, !is_taken, "{text}");
        }
        std::fs::write(&path, format!("{FORM} m {:016x}\n- 0 1\n- 0 x\n", 7)).unwrap();
        let refused = Journal::open(&path, "m", 7, None);
        assert!(matches!(refused, Err(JournalError::Line { line: 3, .. })));
    }
}
