//! The operator's lists of prefixes, read again when they change.
//!
//! Reading happens on a thread of its own. A list that cannot be read is told to the operator, and
//! the one before stays in force. Whether somebody is still writing a file nobody can know: so what
//! a change forbids holds at once, and what it permits when the file has rested.

use std::{
    fs::File,
    os::unix::fs::{FileExt, MetadataExt},
    path::{Path, PathBuf},
    sync::{
        Arc,
        mpsc::{RecvTimeoutError, Sender, channel},
    },
    thread::JoinHandle,
    time::Duration,
};

use sonde_engine::{ListError, Policy, PolicySetter, Prefixes};

use crate::Configuration;

/// How often the files are looked at. They are read when they were the same twice.
const INTERVAL: Duration = Duration::from_millis(200);
/// Looks after which files are read although they change all the time.
const PATIENCE: u32 = 3;
/// Looks at unchanged files after which they alone count: 10 s.
const RESTED: u32 = 50;

/// The files.
#[derive(Clone, Debug, Default)]
pub struct Lists {
    /// Never to be measured.
    pub deny: Vec<PathBuf>,
    /// The only ones to be measured; none means everybody.
    pub allow: Vec<PathBuf>,
}

/// Ends with this.
#[derive(Debug)]
pub(crate) struct Watch {
    wishes: Sender<()>,
    thread: JoinHandle<()>,
}

impl Lists {
    /// Those of an operator's file.
    pub(crate) fn of(configuration: &Configuration) -> Self {
        let Configuration { deny, allow, .. } = configuration;
        Self { deny: deny.clone(), allow: allow.clone() }
    }

    /// Reads them all.
    ///
    /// # Errors
    ///
    /// The first file or line that cannot be used.
    pub fn read(&self) -> Result<Policy, ListError> {
        let allow = (!self.allow.is_empty()).then(|| Prefixes::read(&self.allow)).transpose()?;
        Ok(Policy { deny: Prefixes::read(&self.deny)?, allow })
    }

    /// What tells one content of the files from the next without reading them.
    fn state(&self) -> State {
        let state = |file: &PathBuf| {
            let it = std::fs::metadata(file).ok()?;
            Some((it.ino(), it.mtime(), it.mtime_nsec(), it.len()))
        };
        self.all().map(state).collect()
    }

    fn all(&self) -> impl Iterator<Item = &PathBuf> {
        self.deny.iter().chain(&self.allow)
    }
}

/// Inode, time of change (s, ns) and octets of each file; nothing of one that is not there.
type State = Vec<Option<(u64, i64, i64, u64)>>;

/// Files and how often they were found unchanged.
pub(crate) struct Looking {
    lists: Lists,
    /// What the engine was told last.
    in_force: Arc<Policy>,
    /// What the last ones put in force, or refused for a line of them, were like.
    seen: State,
    /// At the last look.
    before: State,
    /// Looks since the last change.
    unchanged: u32,
    /// Looks at files that are not like `seen`.
    unread: u32,
    /// What is in force is what was before `seen` as well.
    is_resting: bool,
    /// What the operator was told last.
    told: Option<String>,
}

impl Looking {
    /// Reads files for the first time.
    ///
    /// # Errors
    ///
    /// As [`Lists::read`].
    pub(crate) fn at(lists: Lists) -> Result<Self, ListError> {
        let seen = lists.state();
        let (in_force, before) = (Arc::new(lists.read()?), seen.clone());
        let (unchanged, unread, is_resting, told) = (0, 0, false, None);
        Ok(Self { lists, in_force, seen, before, unchanged, unread, is_resting, told })
    }

    /// Puts them in force, and again whenever they change.
    ///
    /// # Errors
    ///
    /// Where nobody can be had to look at them.
    pub(crate) fn enforce(mut self, engine: PolicySetter) -> Result<Option<Watch>, ListError> {
        engine.set(Arc::clone(&self.in_force));
        if self.seen.is_empty() {
            return Ok(None);
        }
        let (sender, receiver) = channel();
        let watch = move || {
            loop {
                let is_forced = match receiver.recv_timeout(INTERVAL) {
                    Ok(()) => true,
                    Err(RecvTimeoutError::Timeout) => false,
                    Err(RecvTimeoutError::Disconnected) => return,
                };
                if let Some(policy) = self.look(is_forced) {
                    if !engine.set(policy) {
                        return;
                    }
                    tracing::info!("the lists of prefixes were read again");
                }
            }
        };
        let thread = std::thread::Builder::new().name("lists".into()).spawn(watch);
        let thread = thread.map_err(|error| ListError::Unreadable {
            file: PathBuf::from("lists"),
            reason: format!("no thread to watch them: {error}"),
        })?;
        Ok(Some(Watch { wishes: sender, thread }))
    }

    /// What is to be put in force, if anything is; `is_forced` where somebody says that they are whole.
    fn look(&mut self, is_forced: bool) -> Option<Arc<Policy>> {
        let state = self.lists.state();
        self.unchanged = if state == self.before { self.unchanged.saturating_add(1) } else { 0 };
        self.before.clone_from(&state);
        self.unread = if state == self.seen { 0 } else { self.unread + 1 };
        let is_new = self.unread > 0 && (self.unchanged > 0 || self.unread >= PATIENCE);
        let has_rested = self.is_resting && self.unchanged >= RESTED && self.are_whole();
        if !is_new && !has_rested && !is_forced {
            return None;
        }
        let policy = match self.lists.read() {
            Ok(policy) => policy,
            Err(error) => {
                // What is wrong with a line stays so until the file changes; anything else may pass.
                if matches!(error, ListError::Line { .. }) {
                    (self.seen, self.is_resting) = (state, false);
                }
                self.tell(format!("the lists before stay in force: {error}"), is_forced);
                return None;
            }
        };
        // Somebody may have begun to write them while they were read.
        let has_rested = has_rested && self.lists.state() == state;
        (self.seen, self.told, self.unread) = (state, None, 0);
        self.is_resting = !has_rested && !is_forced;
        // Not what had rested last: somebody may change a file a second time meanwhile.
        self.in_force = Arc::new(if self.is_resting { policy.and(&self.in_force) } else { policy });
        Some(Arc::clone(&self.in_force))
    }

    /// Whether no file looks as if the rest of it were still to come.
    fn are_whole(&mut self) -> bool {
        let Some(file) = self.lists.all().find(|file| !is_whole(file)) else { return true };
        let text = format!(
            "{}: empty, or its last line does not end: what it no longer forbids stays forbidden until that is \
             mended, or SIGHUP says that it is meant",
            file.display()
        );
        self.tell(text, false);
        false
    }

    /// A warning, once for each distinct text unless somebody asked.
    fn tell(&mut self, text: String, is_forced: bool) {
        if is_forced || self.told.as_ref() != Some(&text) {
            tracing::warn!("{text}");
            self.told = Some(text);
        }
    }
}

/// Whether a file ends with a line's end. One that cannot be read does not.
fn is_whole(file: &Path) -> bool {
    let last = || {
        let file = File::open(file).ok()?;
        let mut last = [0];
        file.read_exact_at(&mut last, file.metadata().ok()?.len().checked_sub(1)?).ok()?;
        Some(last[0])
    };
    last() == Some(b'\n')
}

impl Watch {
    /// Reads them again, changed or not.
    pub(crate) fn reload(&self) {
        // It ends with the engine alone; then nothing is left to be told.
        let _ = self.wishes.send(());
    }

    /// Nothing is put in force by this one any more.
    pub(crate) fn end(self) {
        drop(self.wishes);
        // A panic was printed when it happened.
        let _ = self.thread.join();
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, net::IpAddr};

    use super::*;

    const OLD: &str = "192.0.2.0/24\n203.0.113.0/24\n";

    /// A deny list that is in force.
    fn looking(folder: &Path) -> (PathBuf, Looking) {
        let file = folder.join("deny.txt");
        fs::write(&file, OLD).unwrap();
        let lists = Lists { deny: vec![file.clone()], allow: Vec::new() };
        (file, Looking::at(lists).unwrap())
    }

    /// The last policy of so many looks.
    fn after(looking: &mut Looking, looks: u32) -> Option<Arc<Policy>> {
        (0..looks).filter_map(|_| looking.look(false)).last()
    }

    fn denies(policy: &Policy, address: &str) -> bool {
        let address: IpAddr = address.parse().unwrap();
        policy.deny.contains(address)
    }

    #[test]
    fn what_a_list_adds_holds_at_once_and_what_it_leaves_out_once_the_file_has_rested() {
        let folder = tempfile::tempdir().unwrap();
        let (file, mut looking) = looking(folder.path());
        assert!(after(&mut looking, 100).is_none());
        fs::write(&file, "198.51.100.0/24\n").unwrap();
        assert!(looking.look(false).is_none(), "who writes it may not have finished");
        let policy = looking.look(false).unwrap();
        for address in ["192.0.2.1", "203.0.113.1", "198.51.100.1"] {
            assert!(denies(&policy, address), "{address}");
        }
        assert!(after(&mut looking, RESTED - 2).is_none());
        let policy = looking.look(false).unwrap();
        assert!(denies(&policy, "198.51.100.1") && !denies(&policy, "192.0.2.1"));
        assert!(after(&mut looking, 100).is_none());
    }

    #[test]
    fn a_list_that_is_empty_or_ends_within_a_line_permits_nobody_new_unless_somebody_says_so() {
        for text in ["", "192.0.2.0/24\n203.0.113.0/2"] {
            let folder = tempfile::tempdir().unwrap();
            let (file, mut looking) = looking(folder.path());
            fs::write(&file, text).unwrap();
            let policy = after(&mut looking, 1000).unwrap();
            assert!(denies(&policy, "192.0.2.1") && denies(&policy, "203.0.113.1"), "{text}");
            let policy = looking.look(true).unwrap();
            assert_eq!(denies(&policy, "192.0.2.1"), !text.is_empty());
            assert_eq!(denies(&policy, "203.0.113.1"), !text.is_empty());
        }
    }

    #[test]
    fn what_one_change_adds_holds_while_the_next_is_half_written() {
        let folder = tempfile::tempdir().unwrap();
        let (file, mut looking) = looking(folder.path());
        fs::write(&file, format!("{OLD}198.51.100.0/24\n")).unwrap();
        assert!(denies(&after(&mut looking, 2).unwrap(), "198.51.100.1"));
        fs::write(&file, "").unwrap();
        let policy = after(&mut looking, 1000).unwrap();
        assert!(denies(&policy, "198.51.100.1") && denies(&policy, "192.0.2.1"));
        fs::write(&file, "203.0.113.0/24\n").unwrap();
        let policy = after(&mut looking, 1000).unwrap();
        assert!(!denies(&policy, "198.51.100.1") && !denies(&policy, "192.0.2.1"));
    }

    #[test]
    fn a_list_that_changes_at_every_look_is_read_all_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let (file, mut looking) = looking(folder.path());
        let mut text = OLD.to_owned();
        let mut append = || {
            text.push_str("198.51.100.0/24\n");
            fs::write(&file, &text).unwrap();
            looking.look(false)
        };
        assert!(append().is_none() && append().is_none());
        assert!(denies(&append().unwrap(), "198.51.100.1"));
        assert!(append().is_none());
    }

    #[test]
    fn a_list_that_could_not_be_read_is_tried_again_although_it_did_not_change() {
        let folder = tempfile::tempdir().unwrap();
        let (file, mut looking) = looking(folder.path());
        // Unreadable for a reason that its state does not show.
        fs::remove_file(&file).unwrap();
        fs::create_dir(&file).unwrap();
        assert!(after(&mut looking, 10).is_none());
        assert_ne!(looking.seen, looking.before);
        fs::remove_dir(&file).unwrap();
        fs::write(&file, "192.0.2.0/33\n").unwrap();
        assert!(after(&mut looking, 10).is_none());
        assert_eq!(looking.seen, looking.before, "a mistake in a line stays one");
        fs::write(&file, "198.51.100.0/24\n").unwrap();
        assert!(denies(&after(&mut looking, 10).unwrap(), "198.51.100.1"));
    }
}
