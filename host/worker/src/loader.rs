//! Opens a plugin and checks it against the published interface.
//!
//! libloading for the file, abi_stable for the types. Of abi_stable's own rules three do not fit a
//! host of plugins and are replaced here: it refuses a plugin that is older than its host, its
//! verdict depends on what was loaded before, and it knows one library per type. The rules are
//! those of `docs/plugin-abi.md`. Libraries are never unloaded.
#![allow(unsafe_code)] // running a plugin's code is what loading means

use std::{
    fmt,
    path::{Path, PathBuf},
};

use abi_stable::{
    StableAbi,
    abi_stability::abi_checking::{CheckingGlobals, check_layout_compatibility_with_globals},
    library::{AbiHeaderRef, LibHeader, RootModule},
    std_types::RStr,
};
use libloading::os::unix::{Library, RTLD_LOCAL, RTLD_NOW};
use sonde_plugin_api::{
    abi::{InstanceBox, PluginRef},
    descriptor::MAX_DESCRIPTOR_OCTETS,
};

use crate::{
    Kept, LoadError, Store,
    error::{Octets, chain, one_line, parse_version},
};

/// What every plugin exports.
const SYMBOL: &[u8] = b"sonde_plugin\0";

/// Whether a plugin may end the process that it runs in by a panic.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Policy {
    /// In the host's own process: no.
    MustUnwind,
    /// In a process of its own: yes.
    MayAbort,
}

/// How a plugin was built.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Build {
    /// False where it was compiled with `panic=abort`.
    pub unwinds: bool,
    /// True where it was compiled without optimisation.
    pub debug: bool,
    /// As the compiler names itself.
    pub rustc: String,
}

/// A plugin that passed every check.
pub struct Loaded {
    /// What it says of itself, JSON; not parsed yet.
    pub descriptor_json: String,
    /// The version of plugin-api that it was built with.
    pub api: String,
    /// How it was built.
    pub build: Build,
    /// The private copy that was loaded.
    pub file: PathBuf,
    module: PluginRef,
}

impl Loaded {
    /// Makes the object that takes batches, for use on this thread.
    ///
    /// # Errors
    ///
    /// [`LoadError::Start`] with what the plugin says.
    pub fn instance(&self) -> Result<InstanceBox, LoadError> {
        (self.module.instance())(RStr::from_str("{}"))
            .into_result()
            .map_err(|text| LoadError::Start(one_line(&text)))
    }
}

impl fmt::Debug for Loaded {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Loaded")
            .field("file", &self.file)
            .field("api", &self.api)
            .field("build", &self.build)
            .finish_non_exhaustive()
    }
}

/// Loads a copy of `plugin`, made in the folder `store`, into this process, which runs its code with
/// all rights that this process has.
///
/// # Errors
///
/// Every [`LoadError`] but [`LoadError::Worker`].
pub fn load(plugin: &Path, store: &Path) -> Result<Loaded, LoadError> {
    load_kept(&Store::open(store)?.keep(plugin)?)
}

/// As [`load`], of a copy that has been made already.
///
/// # Errors
///
/// As [`load`].
pub fn load_kept(kept: &Kept) -> Result<Loaded, LoadError> {
    Opened::open(&kept.path)?.inspect(Policy::MustUnwind)
}

/// The version of plugin-api that this host speaks.
#[must_use]
pub fn host_api() -> &'static str {
    PluginRef::VERSION_STRINGS.version.as_str()
}

/// A library whose constructors have run and whose symbol was found, but not looked at.
pub(crate) struct Opened {
    header: AbiHeaderRef,
    file: PathBuf,
}

impl Opened {
    /// Loads `file` and leaves it loaded for ever, also where it turns out to be no plugin: its
    /// constructors may have left pointers behind.
    pub(crate) fn open(file: &Path) -> Result<Self, LoadError> {
        // SAFETY: its constructors run here. In a worker the jail is closed before; inline the
        // operator vouches for the file.
        let library = unsafe { Library::open(Some(file), RTLD_NOW | RTLD_LOCAL) }
            .map_err(|error| LoadError::NotAPlugin(without_path(&chain(&error), file)))?;
        // SAFETY: where the symbol exists it is an `AbiHeader`, by the contract of plugin-api. Its
        // magic string is compared before anything else of it is used.
        let symbol = unsafe { library.get::<AbiHeaderRef>(SYMBOL) }.map(|symbol| *symbol);
        std::mem::forget(library);
        let header = symbol.map_err(|_| {
            LoadError::NotAPlugin("it does not export the symbol `sonde_plugin`".into())
        })?;
        Ok(Self { header, file: file.to_owned() })
    }

    /// Runs every check and reads the descriptor. Needs nothing of the system but memory.
    pub(crate) fn inspect(self, policy: Policy) -> Result<Loaded, LoadError> {
        let header = self
            .header
            .upgrade()
            .map_err(|error| LoadError::OtherAbiStable(distil(&error.to_string())))?;
        let api = one_line(header.version_strings().version.as_str());
        let order = compare_versions(&api, host_api())?;
        check_layout(header, order)?;
        // SAFETY: its layout was compared with ours just now.
        let module: PluginRef = unsafe { header.unchecked_layout() }
            .map_err(|error| LoadError::Start(one_line(&format!("{error:?}"))))?;
        let build = module.build();
        let build = Build {
            unwinds: build.unwinds,
            debug: build.debug,
            rustc: one_line(build.rustc.as_str()),
        };
        if !build.unwinds && policy == Policy::MustUnwind {
            return Err(LoadError::Aborts);
        }
        let descriptor = (module.describe())();
        if descriptor.len() > MAX_DESCRIPTOR_OCTETS {
            let (found, limit) = (descriptor.len(), Octets(MAX_DESCRIPTOR_OCTETS as u64));
            return Err(LoadError::Descriptor(format!("{found} octets, more than {limit}")));
        }
        // The type promises it, the plugin made the value.
        let descriptor_json = std::str::from_utf8(descriptor.as_bytes())
            .map_err(|_| LoadError::Descriptor("it is not UTF-8".into()))?
            .to_owned();
        Ok(Loaded { descriptor_json, api, build, file: self.file, module })
    }
}

/// Which of the two is the elder.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Order {
    Same,
    PluginOlder,
}

/// Equal major version, and a plugin no newer than its host: a newer one would call what this host
/// does not have.
fn compare_versions(plugin: &str, host: &str) -> Result<Order, LoadError> {
    let refused = || LoadError::ApiVersion { plugin: plugin.to_owned(), host: host.to_owned() };
    let theirs = parse_version(plugin).ok_or_else(refused)?;
    let ours = parse_version(host).ok_or_else(refused)?;
    if theirs.0 != ours.0 || theirs.1 > ours.1 {
        return Err(refused());
    }
    Ok(if theirs.1 < ours.1 { Order::PluginOlder } else { Order::Same })
}

/// abi_stable wants the provider of an interface to be at least as new as its user; the provider of
/// a plugin's interface is the host, so for an older plugin the roles are exchanged.
fn check_layout(header: &LibHeader, order: Order) -> Result<(), LoadError> {
    let theirs = header
        .layout()
        .ok_or_else(|| LoadError::Layout("it carries no description of its types".into()))?;
    let ours = <PluginRef as StableAbi>::LAYOUT;
    let (user, provider) = match order {
        Order::PluginOlder => (theirs, ours),
        Order::Same => (ours, theirs),
    };
    // The process-wide registry of abi_stable would let earlier plugins decide about this one.
    check_layout_compatibility_with_globals(user, provider, &CheckingGlobals::new())
        .map_err(|error| LoadError::Layout(distil(&error.to_string())))
}

/// The path to the first difference and what it is, out of a report of a thousand lines.
fn distil(report: &str) -> String {
    let lines: Vec<&str> = report.lines().map(str::trim).collect();
    let mut differences: Vec<String> = Vec::new();
    let mut path: Vec<&str> = Vec::new();
    let mut in_path = true;
    for (number, line) in lines.iter().enumerate() {
        if line.ends_with("inside:") {
            path.clear();
            in_path = true;
        }
        if line.starts_with("Layout of expected type") {
            in_path = false;
        }
        if let (Some(field), true) = (line.strip_prefix("field_name:"), in_path) {
            path.push(field);
        }
        if let Some(error) = line.strip_prefix("Error:") {
            let details: Vec<&str> = lines[number + 1..]
                .iter()
                .copied()
                .filter(|line| !line.is_empty() && !line.starts_with("package:"))
                .take_while(|line| !line.starts_with("Error:") && !line.contains("error(s)"))
                .take(10)
                .collect();
            let difference = format!("{} ({error}: {})", path.join("."), details.join(" "));
            if !differences.contains(&difference) {
                differences.push(difference);
            }
        }
    }
    match differences.as_slice() {
        [] => one_line(report),
        [only] => one_line(only),
        // One changed type shows up wherever it is used.
        [first, rest @ ..] => format!("{} and {} more", one_line(first), rest.len()),
    }
}

/// The reason alone: the name of the private copy means nothing to the operator.
fn without_path(text: &str, file: &Path) -> String {
    text.replace(&format!("{}: ", file.display()), "")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(plugin: &str, host: &str) -> Option<Order> {
        compare_versions(plugin, host).ok()
    }

    #[test]
    fn plugin_of_an_equal_or_older_minor_is_accepted() {
        assert_eq!(verdict("1.2.0", "1.2.0"), Some(Order::Same));
        assert_eq!(verdict("1.2.9", "1.2.0"), Some(Order::Same));
        assert_eq!(verdict("1.1.0", "1.2.0"), Some(Order::PluginOlder));
    }

    #[test]
    fn plugin_of_another_major_or_a_newer_minor_is_refused() {
        assert_eq!(verdict("1.3.0", "1.2.0"), None);
        assert_eq!(verdict("2.0.0", "1.2.0"), None);
        assert_eq!(verdict("0.2.0", "1.2.0"), None);
        assert_eq!(verdict("", "1.2.0"), None);
        assert_eq!(verdict("1", "1.2.0"), None);
        assert_eq!(verdict("99999999999.0.0", "1.2.0"), None);
    }

    #[test]
    fn host_speaks_the_version_that_it_was_built_with() {
        assert!(host_api().starts_with("1."));
    }

    #[test]
    fn report_becomes_path_and_difference() {
        let report = "Compared <this>:\n0 error(s) inside:\n  field_name:poll\n  field_name:at\n\
                      Error:size mismatch\nExpected:\n  64\nFound:\n  72\n1 error(s)";
        assert_eq!(distil(report), "poll.at (size mismatch: Expected: 64 Found: 72)");
        assert_eq!(distil("plain\ntext"), "plain text");
    }
}
