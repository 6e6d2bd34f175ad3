//! What the plugins in the operator's folders offer, and which files were refused and why.
//!
//! A plugin describes itself by running code of its own, so it is asked in a jailed child.

use std::{
    collections::HashSet,
    panic::resume_unwind,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::SystemTime,
};

use sonde_plugin_api::{
    descriptor::{Descriptor, MethodDescriptor, Need, Parameter},
    packet::Permits,
};
use sonde_worker::Kept;

use crate::{Mistake, Settings};

/// Files that are asked at the same time: one that does not answer takes ten seconds.
const AT_ONCE: usize = 8;

/// Plugins that were found, in the order of the folders.
#[derive(Clone, Debug, Default)]
pub struct Catalogue {
    plugins: Vec<Arc<PluginFile>>,
    refusals: Vec<Refusal>,
    mistakes: Vec<Mistake>,
}

/// One file and what it says of itself.
#[derive(Debug)]
pub(crate) struct PluginFile {
    pub(crate) path: PathBuf,
    pub(crate) descriptor: Descriptor,
    /// The private copy that was asked.
    pub(crate) kept: Kept,
    state: FileState,
    mistakes: Vec<Mistake>,
}

/// Tells one content of a file from the next without reading it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct FileState {
    octets: u64,
    modified: Option<SystemTime>,
}

/// A method and where it comes from.
#[derive(Clone, Debug)]
pub struct Offer {
    pub(crate) plugin: Arc<PluginFile>,
    pub(crate) index: usize,
}

/// A file that is not used.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Refusal {
    /// The file.
    pub path: PathBuf,
    /// One line.
    pub reason: String,
}

impl FileState {
    /// Nothing is opened: a pipe would wait for who writes to it.
    fn of(path: &Path) -> Result<Self, String> {
        let found = path.metadata().map_err(|error| match path.is_symlink() {
            true => format!("cannot be read: it is a link, and what it leads to cannot: {error}"),
            false => format!("cannot be read: {error}"),
        })?;
        match found.is_file() {
            true => Ok(Self { octets: found.len(), modified: found.modified().ok() }),
            false => Err("is not a shared library: it is not a regular file".to_owned()),
        }
    }
}

impl Offer {
    /// The method as its plugin describes it.
    #[must_use]
    pub fn method(&self) -> &MethodDescriptor {
        &self.plugin.descriptor.methods[self.index]
    }

    /// The parameter that says whom to measure.
    #[must_use]
    pub fn target(&self) -> Option<&Parameter> {
        self.target_index().map(|index| &self.method().parameters[index])
    }

    pub(crate) fn target_index(&self) -> Option<usize> {
        self.method().parameters.iter().position(|it| it.element == "destination.{ip}")
    }

    /// Why the operator does not let it be used, if so.
    #[must_use]
    pub fn forbidden(&self, settings: &Settings) -> Option<String> {
        let method = self.method();
        settings.configuration.as_ref()?.forbids(&method.name, &method.needs)
    }

    /// What the operator permits of that which a method may send more than others. Without a
    /// configuration nothing is forbidden, but nobody speaks in another's name.
    pub(crate) fn permits(&self, settings: &Settings) -> Permits {
        let method = self.method();
        let grants = |need: Need| {
            let asks = method.needs.contains(&need) || method.wants.contains(&need);
            asks && match &settings.configuration {
                Some(configuration) => configuration.grants(&method.name, need),
                None => need != Need::Spoof,
            }
        };
        Permits { ip_options: grants(Need::IpOptions), spoof: grants(Need::Spoof) }
    }

    /// Whether both come from the same content of the same file.
    #[must_use]
    pub fn is_same_file(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.plugin, &other.plugin)
    }

    /// Version of the plugin.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.plugin.descriptor.version
    }

    /// File of the plugin.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.plugin.path
    }
}

impl Catalogue {
    /// One plugin that lies nowhere.
    #[cfg(test)]
    pub(crate) fn of(descriptor: Descriptor) -> Self {
        let state = FileState { octets: 0, modified: None };
        let kept = Kept { path: PathBuf::new(), octets: 0, hash: String::new() };
        let plugin =
            PluginFile { path: PathBuf::new(), descriptor, kept, state, mistakes: Vec::new() };
        Self { plugins: vec![Arc::new(plugin)], ..Self::default() }
    }

    /// Asks every `*.so` in the folders of `settings`.
    #[must_use]
    pub fn scan(settings: &Settings) -> Self {
        let mut catalogue = Self::default();
        catalogue.refresh(settings);
        catalogue
    }

    /// Looks at the folders again; true where something has changed. A file that is as it was is
    /// not asked again. Who runs an offer of before goes on with it.
    pub fn refresh(&mut self, settings: &Settings) -> bool {
        let files = files(&settings.plugins, settings.program.parent());
        let before = std::mem::take(self);
        // The usual places are looked at only where they are; these were named.
        for folder in &settings.plugins {
            if let Err(error) = std::fs::read_dir(folder) {
                let reason = format!("the folder with plugins cannot be read: {error}");
                self.refusals.push(Refusal { path: folder.clone(), reason });
            }
        }
        let answers = at_once(&files, |(path, state)| {
            let state = state.clone()?;
            let mut known = before.plugins.iter();
            match known.find(|known| known.path == *path && known.state == state) {
                Some(known) => Ok((Arc::clone(known), Vec::new())),
                None => ask(settings, path, state),
            }
        });
        for ((path, _), answer) in files.into_iter().zip(answers) {
            match answer {
                Ok((plugin, refused_calls)) => {
                    for reason in refused_calls {
                        tracing::warn!(plugin = %path.display(), reason, "refused while it was examined");
                    }
                    self.add(plugin);
                }
                Err(reason) => self.refusals.push(Refusal { path, reason }),
            }
        }
        if let Some(configuration) = &settings.configuration {
            let offers: Vec<Offer> = self.offers().collect();
            self.mistakes =
                configuration.missing(&offers.iter().map(|it| it.method().name.as_str()));
            let own = self.plugins.iter().flat_map(|plugin| plugin.mistakes.iter().cloned());
            self.mistakes.extend(own);
        }
        let same = self.plugins.len() == before.plugins.len()
            && self.plugins.iter().zip(&before.plugins).all(|(now, then)| Arc::ptr_eq(now, then));
        !same || self.refusals != before.refusals
    }

    /// The method of that name.
    #[must_use]
    pub fn find(&self, method: &str) -> Option<Offer> {
        self.offers().find(|offer| offer.method().name == method)
    }

    /// Every method.
    pub fn offers(&self) -> impl Iterator<Item = Offer> + '_ {
        self.plugins.iter().flat_map(|plugin| {
            let indexes = 0..plugin.descriptor.methods.len();
            indexes.map(|index| Offer { plugin: Arc::clone(plugin), index })
        })
    }

    /// Files that are not used.
    #[must_use]
    pub fn refusals(&self) -> &[Refusal] {
        &self.refusals
    }

    /// What the operator says of methods and does not fit them.
    #[must_use]
    pub fn mistakes(&self) -> &[Mistake] {
        &self.mistakes
    }

    /// Whether something that the operator says of a method does not fit it.
    pub(crate) fn is_mistaken(&self, method: &str) -> bool {
        let section = format!("methods.{method}.");
        self.mistakes.iter().any(|mistake| mistake.key.starts_with(&section))
    }

    fn add(&mut self, plugin: Arc<PluginFile>) {
        let taken = plugin.descriptor.methods.iter().find_map(|method| self.find(&method.name));
        match taken {
            Some(offer) => self.refusals.push(Refusal {
                path: plugin.path.clone(),
                reason: format!(
                    "the method {} is that of {} already",
                    offer.method().name,
                    offer.path().display()
                ),
            }),
            None => self.plugins.push(plugin),
        }
    }
}

/// Libraries in the folders, in a fixed order, each once, by whatever names it is reached, or why one is none. A folder
/// that cannot be read holds none; of the program's own, which may be a build folder with all kinds of libraries, only ours
/// count.
fn files(folders: &[PathBuf], own: Option<&Path>) -> Vec<(PathBuf, Result<FileState, String>)> {
    let mut found = Vec::new();
    let mut known = HashSet::new();
    for folder in folders {
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
        let is_library = |path: &PathBuf| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            name.ends_with(".so")
                && (Some(folder.as_path()) != own || name.starts_with("libsonde_"))
        };
        let mut files: Vec<_> = entries
            .map(|entry| entry.path())
            .filter(is_library)
            .map(|path| {
                let state = FileState::of(&path);
                (path, state)
            })
            .collect();
        files.sort_by(|one, other| one.0.cmp(&other.0));
        files
            .retain(|(path, _)| known.insert(path.canonicalize().unwrap_or_else(|_| path.clone())));
        found.extend(files);
    }
    found
}

/// Answers about all of them, in their order. Where no threads can be had it takes longer.
fn at_once<T: Sync, A: Send>(all: &[T], ask: impl Fn(&T) -> A + Sync) -> Vec<A> {
    let next = AtomicUsize::new(0);
    let ask_some = || {
        let mut answers = Vec::new();
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(one) = all.get(index) else { return answers };
            answers.push((index, ask(one)));
        }
    };
    let mut answers = thread::scope(|scope| {
        let spawn =
            |_| thread::Builder::new().name("ask".into()).spawn_scoped(scope, ask_some).ok();
        let others: Vec<_> = (1..AT_ONCE.min(all.len())).map_while(spawn).collect();
        let mut answers = ask_some();
        for other in others {
            answers.extend(other.join().unwrap_or_else(|panic| resume_unwind(panic)));
        }
        answers
    });
    answers.sort_unstable_by_key(|(index, _)| *index);
    answers.into_iter().map(|(_, answer)| answer).collect()
}

/// A plugin, and what it tried meanwhile and was refused.
fn ask(
    settings: &Settings,
    path: &Path,
    state: FileState,
) -> Result<(Arc<PluginFile>, Vec<String>), String> {
    let store = settings.store().map_err(|error| error.to_string())?;
    let described = sonde_worker::describe(&settings.worker, path, &store)
        .map_err(|error| error.to_string())?;
    let mut descriptor = described.descriptor;
    let mut mistakes = Vec::new();
    if let Some(configuration) = &settings.configuration {
        let methods = descriptor.methods.iter_mut();
        methods.for_each(|method| configuration.apply(method, &mut mistakes));
    }
    let path = path.to_path_buf();
    let plugin = PluginFile { path, descriptor, kept: described.kept, state, mistakes };
    Ok((Arc::new(plugin), described.refused_calls))
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn files_that_do_not_answer_are_waited_for_together_and_the_order_stays() {
        let asked = AtomicUsize::new(0);
        // As a file that hangs: until all of them are asked, or for too long.
        let hang = || {
            asked.fetch_add(1, Ordering::Relaxed);
            let end = Instant::now() + Duration::from_secs(10);
            while asked.load(Ordering::Relaxed) < 4 && Instant::now() < end {
                thread::yield_now();
            }
            asked.load(Ordering::Relaxed)
        };
        let numbers: Vec<usize> = (0..100).collect();
        let answers = at_once(&numbers, |it| (*it, if *it < 4 { hang() } else { 4 }));
        assert_eq!(answers, numbers.iter().map(|it| (*it, 4)).collect::<Vec<_>>());
        assert!(at_once(&[], |it: &u8| *it).is_empty());
    }

    #[test]
    fn a_file_that_is_reached_by_two_names_is_there_once() {
        let folder = tempfile::tempdir().unwrap();
        let (own, bin) = (folder.path().join("lib"), folder.path().join("bin"));
        [&own, &bin].into_iter().for_each(|folder| std::fs::create_dir(folder).unwrap());
        std::fs::write(own.join("b.so"), "").unwrap();
        std::os::unix::fs::symlink(own.join("b.so"), own.join("c.so")).unwrap();
        let found = files(&[bin.join("../lib"), own], None);
        let found: Vec<&Path> = found.iter().map(|(path, _)| path.as_path()).collect();
        assert_eq!(found, [bin.join("../lib/b.so")]);
    }

    #[test]
    fn what_is_no_file_is_told_with_the_reason() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        std::fs::create_dir(path("folder.so")).unwrap();
        std::os::unix::fs::symlink("nowhere", path("link.so")).unwrap();
        std::os::unix::net::UnixListener::bind(path("socket.so")).unwrap();
        std::fs::write(path("readme"), "").unwrap();
        let mut settings = Settings::beside(&path("bin/sonde"));
        settings.plugins = vec![folder.path().to_owned()];
        let catalogue = Catalogue::scan(&settings);
        let told: Vec<String> = catalogue
            .refusals()
            .iter()
            .map(|it| format!("{}: {}", it.path.file_name().unwrap().display(), it.reason))
            .collect();
        let none = "is not a shared library: it is not a regular file";
        let link = "cannot be read: it is a link, and what it leads to cannot: No such file or directory (os error 2)";
        let expected = [
            format!("folder.so: {none}"),
            format!("link.so: {link}"),
            format!("socket.so: {none}"),
        ];
        assert_eq!(told, expected);
    }
}
