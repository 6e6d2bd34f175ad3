//! What an operator decides about a host.

use std::{
    fs, io,
    os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::Arc,
};

use rustix::fs::{StatVfsMountFlags, statvfs};
use sonde_engine::{Limits, Stamps};

use crate::{Configuration, Lists};

/// Where the plugins run.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Isolation {
    /// Each in a jailed process of its own.
    #[default]
    Process,
    /// In the engine's thread: for debugging, and for plugins that one trusts with everything.
    Inline,
}

/// Everything that a [`crate::Host`] is opened with.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Folders with plugins; of two with the same method the first counts.
    pub plugins: Vec<PathBuf>,
    /// Whether the command line says which; then no file does.
    pub are_plugins_said: bool,
    /// Where private copies of plugins are kept; none where the usual places are meant.
    pub store: Option<PathBuf>,
    /// The program's file, which may be replaced while it runs.
    pub program: PathBuf,
    /// What is started as a worker: the same program, best as `/proc/self/exe`, which stays the one that runs.
    pub worker: PathBuf,
    /// Where plugins run.
    pub isolation: Isolation,
    /// Packets per second of the whole host.
    pub packets_per_second: f64,
    /// What may be asked for instead, of the host and to each address.
    pub most_packets_per_second: f64,
    /// See `most_packets_per_second`.
    pub most_per_address: f64,
    /// Of the scopes within the host.
    pub limits: Limits,
    /// Whom nobody measures.
    pub lists: Lists,
    /// What the operator says of methods.
    pub configuration: Option<Arc<Configuration>>,
    /// Who stamps departures.
    pub stamps: Stamps,
}

/// There is no place for private copies of plugins.
#[derive(Debug, thiserror::Error)]
#[error("cannot make a private folder for plugins: {}", .0.join("; "))]
pub struct StoreError(Vec<String>);

impl Settings {
    /// What scamper does too: slow enough to disturb nobody.
    pub const POLITE_PACKETS_PER_SECOND: f64 = 20.0;

    /// For a program at `program`: plugins beside it or installed with it, polite.
    #[must_use]
    pub fn beside(program: &Path) -> Self {
        Self {
            plugins: plugin_folders(program),
            are_plugins_said: false,
            store: None,
            program: program.to_path_buf(),
            worker: program.to_path_buf(),
            isolation: Isolation::default(),
            packets_per_second: Self::POLITE_PACKETS_PER_SECOND,
            most_packets_per_second: f64::INFINITY,
            most_per_address: f64::INFINITY,
            limits: Limits::default(),
            lists: Lists::default(),
            configuration: None,
            stamps: Stamps::default(),
        }
    }
}

impl Settings {
    /// What an operator's file says, instead of what is usual.
    pub fn obey(&mut self, configuration: Arc<Configuration>) {
        if let Some(folders) = configuration.plugins.as_ref().filter(|_| !self.are_plugins_said) {
            self.plugins.clone_from(folders);
        }
        self.isolation = configuration.isolation;
        self.stamps = configuration.stamps;
        self.packets_per_second = configuration.packets_per_second;
        self.most_packets_per_second = configuration.most_packets_per_second;
        self.most_per_address = configuration.most_per_address;
        self.limits = configuration.limits;
        self.lists = Lists::of(&configuration);
        self.configuration = Some(configuration);
    }

    /// Where private copies of plugins are kept; the folder is made where it is not there.
    pub(crate) fn store(&self) -> Result<PathBuf, StoreError> {
        self.store.clone().map_or_else(store, Ok)
    }
}

/// A folder that a variable names. An empty one is as none, and a relative one would be wherever the program runs.
fn named(variable: &str) -> Option<PathBuf> {
    std::env::var_os(variable).map(PathBuf::from).filter(|folder| folder.is_absolute())
}

/// `$SONDE_PLUGINS`, a list as in `$PATH`, or else the usual places that are there.
fn plugin_folders(program: &Path) -> Vec<PathBuf> {
    if let Some(list) = std::env::var_os("SONDE_PLUGINS").filter(|list| !list.is_empty()) {
        return std::env::split_paths(&list).collect();
    }
    let home = named("HOME");
    let beside = program.parent().map(Path::to_path_buf).unwrap_or_default();
    let near = ["plugins", "../lib/sonde/plugins"].map(|folder| beside.join(folder));
    // A build folder of cargo: the libraries lie beside the program. What is installed is of another build.
    let mut folders = vec![beside];
    folders.extend(home.map(|home| home.join(".local/lib/sonde/plugins")));
    folders.extend(near);
    folders.push("/usr/local/lib/sonde/plugins".into());
    folders.push("/usr/lib/sonde/plugins".into());
    folders.retain(|folder| folder.is_dir());
    folders
}

/// A folder of this user's alone, kept between runs: a copy is made once for each content. Where the usual place is not
/// there, or somebody else has made the folder, or nothing can be run from it, it is in another one. First come those that
/// outlive a session and whose files do not age.
fn store() -> Result<PathBuf, StoreError> {
    let service = named("CACHE_DIRECTORY");
    let cache = named("XDG_CACHE_HOME").or_else(|| Some(named("HOME")?.join(".cache")));
    if let Some(cache) = &cache {
        // As the XDG Base Directory Specification asks of whoever writes there first; else the next place does.
        let _ = folder_of_ours(cache);
    }
    let places = [service, cache, named("XDG_RUNTIME_DIR"), Some(std::env::temp_dir())];
    first_private(places.into_iter().flatten().filter(|place| place.is_absolute()))
}

/// The first folder that can be had; else why each place has none.
fn first_private(places: impl Iterator<Item = PathBuf>) -> Result<PathBuf, StoreError> {
    let mut failed = Vec::new();
    for place in places {
        match private(&place) {
            Ok(folder) => return Ok(folder),
            Err(cause) => failed.push(format!("{}: {cause}", place.display())),
        }
    }
    Err(StoreError(failed))
}

fn private(base: &Path) -> io::Result<PathBuf> {
    let user = fs::metadata("/proc/self").map_or(0, |metadata| metadata.uid());
    if statvfs(base)?.f_flag.contains(StatVfsMountFlags::NOEXEC) {
        return Err(io::Error::other("it is mounted noexec: nothing can be loaded there"));
    }
    let folder = base.join(format!("sonde-{user}"));
    match folder_of_ours(&folder) {
        Err(cause) if cause.kind() != io::ErrorKind::AlreadyExists => return Err(cause),
        _ => {}
    }
    let metadata = fs::symlink_metadata(&folder)?;
    let is_ours = metadata.is_dir() && metadata.uid() == user;
    if is_ours && metadata.permissions().mode() & 0o077 == 0 {
        return Ok(folder);
    }
    Err(io::Error::other(format!("{} is there and not ours alone", folder.display())))
}

fn folder_of_ours(folder: &Path) -> io::Result<()> {
    fs::DirBuilder::new().mode(0o700).create(folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_of_the_command_line_count_also_when_the_file_is_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("host.toml");
        fs::write(&file, "[host]\nplugins = ['/file']\n").unwrap();
        let configuration = Arc::new(Configuration::read(&file, std::iter::empty()).unwrap());
        for (are_plugins_said, expected) in [(true, "/said"), (false, "/file")] {
            let plugins = vec!["/said".into()];
            let usual = Settings::beside(Path::new("sonde"));
            let mut settings = Settings { plugins, are_plugins_said, ..usual };
            settings.obey(Arc::clone(&configuration));
            assert_eq!(settings.plugins, [Path::new(expected)]);
        }
    }

    #[test]
    fn what_was_built_with_the_program_comes_before_what_is_installed() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("plugins")).unwrap();
        let folders = plugin_folders(&folder.path().join("sonde"));
        assert_eq!(folders[0], folder.path(), "{folders:?}");
        assert!(folders.contains(&folder.path().join("plugins")), "{folders:?}");
    }

    #[test]
    fn a_folder_that_is_not_ours_alone_is_passed_over() {
        let [first, second] = [(); 2].map(|()| tempfile::tempdir().unwrap());
        let places = || {
            let nowhere = first.path().join("nowhere");
            [nowhere, first.path().to_owned(), second.path().to_owned()].into_iter()
        };
        let folder = first_private(places()).unwrap();
        assert!(folder.starts_with(&first));
        // Anybody may look into it.
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).unwrap();
        assert!(first_private(places()).unwrap().starts_with(&second));
        let error = first_private(places().take(2)).unwrap_err().to_string();
        let reason = |place: PathBuf| format!("{}: ", place.display());
        assert!(places().take(2).all(|place| error.contains(&reason(place))), "{error}");
    }
}
