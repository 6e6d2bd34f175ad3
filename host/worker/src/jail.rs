//! What a worker gives up before the first line of a plugin runs, and what it gives up after.
//!
//! First, before the plugin's file is even opened: every descriptor but its own, all capabilities,
//! the right to gain any, files but for the plugin's copy and the system's libraries, sockets,
//! other processes, threads. The constructors of the plugin run under these rules. Then, when it
//! has been loaded: files at all, executable memory, and memory beyond its share.
//!
//! What is forbidden fails with `EPERM`, so that a method which tries gets an error as from any
//! system call, and its other tasks go on; the host is told which call it was. Nothing here can be
//! undone.
#![allow(unsafe_code)] // closes descriptors by number

mod system_calls;
mod trap;

use std::{
    fs::{self, File},
    io::Read,
    os::fd::{AsRawFd, BorrowedFd, RawFd},
    path::Path,
};

pub(crate) use self::trap::{Refused, note_in, noted};

use caps::CapSet;
use landlock::{
    ABI, Access, AccessFs, AccessNet, CompatLevel, Compatible, PathBeneath, PathFd, Ruleset,
    RulesetAttr, RulesetCreatedAttr, RulesetStatus, Scope, path_beneath_rules,
};
use rustix::process::{DumpableBehavior, Resource, Rlimit, Signal};

/// Where the dynamic linker looks for what a plugin needs.
const LIBRARY_PATHS: &[&str] = &[
    "/etc/ld.so.cache",
    "/lib",
    "/lib32",
    "/lib64",
    "/usr/lib",
    "/usr/lib64",
    "/usr/local/lib",
    "/usr/local/lib64",
];
/// Enough for the dynamic linker; after loading nothing can be opened at all.
const MAX_FDS: u64 = 64;
const MAX_STACK_OCTETS: u64 = 8 << 20;
/// Address space for what loading needs beside the plugin itself.
const LOADING_OCTETS: u64 = 64 << 20;

/// The jail after its first half.
#[derive(Debug)]
pub(crate) struct Jail {
    /// Opened while that was possible: how much address space is in use.
    statm: File,
    /// Whether the kernel keeps files and sockets away as well (Landlock); system calls it does.
    pub(crate) has_landlock: bool,
}

/// Closes every descriptor from 3 on that is not in `keep`.
///
/// # Errors
///
/// A line that says why not all of them could be closed.
pub(crate) fn close_others(keep: &[RawFd]) -> Result<(), String> {
    let mut keep: Vec<u32> = keep.iter().filter_map(|fd| u32::try_from(*fd).ok()).collect();
    keep.sort_unstable();
    let mut first = 3;
    for fd in keep.into_iter().chain([u32::MAX]) {
        if first < fd {
            let last = if fd == u32::MAX { fd } else { fd - 1 };
            // SAFETY: called at the start of a process that has opened nothing else; no other
            // object owns a descriptor in the range.
            let closed = unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) };
            if closed != 0 {
                let error = std::io::Error::last_os_error();
                return Err(format!("cannot close inherited descriptors: {error}"));
            }
        }
        first = first.max(fd.saturating_add(1));
    }
    Ok(())
}

impl Jail {
    /// The first half, for a process of one thread that will load `plugin` and whose host is
    /// process `parent`.
    ///
    /// # Errors
    ///
    /// A line that says what this kernel or this environment refuses; the plugin must not be
    /// loaded then.
    pub(crate) fn enter(plugin: &Path, parent: u32, heap_octets: u64) -> Result<Self, String> {
        let tasks = fs::read_dir("/proc/self/task").map_err(|error| say("/proc", error))?.count();
        if tasks != 1 {
            return Err(format!("a worker has one thread, this has {tasks}"));
        }
        end_with(parent)?;
        std::env::set_current_dir("/").map_err(|error| say("chdir", error))?;
        let mut statm = File::open("/proc/self/statm").map_err(|error| say("statm", error))?;
        let image_octets = fs::metadata(plugin).map_err(|error| say("plugin", error))?.len();
        set_limits()?;
        let mapped = mapped_octets(&mut statm)?;
        let loading = image_octets.saturating_mul(2).saturating_add(LOADING_OCTETS);
        limit(Resource::As, mapped.saturating_add(loading).saturating_add(heap_octets))?;
        drop_capabilities()?;
        rustix::thread::set_no_new_privs(true).map_err(|error| say("no_new_privs", error))?;
        let has_landlock = hide_files(plugin)?;
        trap::install().map_err(|error| say("trap", error))?;
        system_calls::while_loading().map_err(|error| say("seccomp", error))?;
        Ok(Self { statm, has_landlock })
    }

    /// The second half, once the plugin is loaded: it may read from `read`, write to `write` and
    /// the standard outputs, and compute.
    ///
    /// # Errors
    ///
    /// A line that says what failed.
    pub(crate) fn close(
        mut self,
        heap_octets: u64,
        read: &[BorrowedFd<'_>],
        write: &[BorrowedFd<'_>],
    ) -> Result<(), String> {
        let mapped = mapped_octets(&mut self.statm)?;
        limit(Resource::As, mapped.saturating_add(heap_octets))?;
        drop(self.statm);
        let numbers = |fds: &[BorrowedFd<'_>]| fds.iter().map(AsRawFd::as_raw_fd).collect();
        system_calls::while_serving(numbers(read), numbers(write))
            .map_err(|error| say("seccomp", error))
    }
}

fn say(what: &str, error: impl std::fmt::Display) -> String {
    format!("cannot close the jail: {what}: {error}")
}

/// Has the kernel end this process with the thread that started it.
fn end_with(parent: u32) -> Result<(), String> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))
        .map_err(|error| say("parent death signal", error))?;
    // It may have died before the line above.
    if std::os::unix::process::parent_id() != parent {
        return Err("the host is gone".into());
    }
    Ok(())
}

fn set_limits() -> Result<(), String> {
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)
        .map_err(|error| say("dumpable", error))?;
    limit(Resource::Core, 0)?;
    limit(Resource::Fsize, 0)?;
    limit(Resource::Nproc, 0)?;
    limit(Resource::Nofile, MAX_FDS)?;
    limit(Resource::Stack, MAX_STACK_OCTETS)
}

/// Lowers a limit for good; one that is lower already stays.
fn limit(resource: Resource, value: u64) -> Result<(), String> {
    let before = rustix::process::getrlimit(resource);
    let value = before.maximum.map_or(value, |maximum| maximum.min(value));
    let limit = Rlimit { current: Some(value), maximum: Some(value) };
    rustix::process::setrlimit(resource, limit)
        .map_err(|error| say(&format!("limit {resource:?}"), error))
}

/// Address space in use.
fn mapped_octets(statm: &mut File) -> Result<u64, String> {
    let mut text = [0; 64];
    let unreadable = |error| say("statm", error);
    std::io::Seek::rewind(statm).map_err(unreadable)?;
    let read = statm.read(&mut text).map_err(unreadable)?;
    let pages = std::str::from_utf8(&text[..read]).ok().and_then(|text| text.split(' ').next());
    let pages: u64 =
        pages.and_then(|pages| pages.parse().ok()).ok_or("cannot read /proc/self/statm")?;
    Ok(pages.saturating_mul(rustix::param::page_size() as u64))
}

fn drop_capabilities() -> Result<(), String> {
    // Needs a capability itself; with no_new_privs and without exec the set is of no use anyway.
    let may_clear_bounds =
        caps::has_cap(None, CapSet::Effective, caps::Capability::CAP_SETPCAP).unwrap_or(false);
    if may_clear_bounds {
        caps::clear(None, CapSet::Bounding).map_err(|error| say("capabilities", error))?;
    }
    for set in [CapSet::Ambient, CapSet::Inheritable, CapSet::Effective, CapSet::Permitted] {
        caps::clear(None, set).map_err(|error| say("capabilities", error))?;
    }
    Ok(())
}

/// Leaves `plugin` and the system's libraries readable and nothing else in reach: no other file, no
/// TCP port, no abstract socket and no signal to others. False where this kernel has no Landlock.
///
/// The right to execute is not given: `dlopen` does not need it, only `execve` does.
fn hide_files(plugin: &Path) -> Result<bool, String> {
    let refused = |error: landlock::RulesetError| say("landlock", error);
    let newest = ABI::V10;
    let plugin = PathFd::new(plugin).map_err(|error| say("landlock", error))?;
    let libraries = AccessFs::ReadFile | AccessFs::ReadDir;
    let status = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(newest))
        .and_then(|rules| rules.handle_access(AccessNet::from_all(newest)))
        .and_then(|rules| rules.scope(Scope::from_all(newest)))
        .and_then(Ruleset::create)
        .and_then(|rules| rules.add_rule(PathBeneath::new(plugin, AccessFs::ReadFile)))
        .and_then(|rules| rules.add_rules(path_beneath_rules(LIBRARY_PATHS, libraries)))
        .and_then(landlock::RulesetCreated::restrict_self)
        .map_err(refused)?;
    Ok(status.ruleset != RulesetStatus::NotEnforced)
}
