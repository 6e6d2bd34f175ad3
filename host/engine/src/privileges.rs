//! The one capability that the engine needs, and giving up all of them.

use std::{fmt, io, path::Path};

use caps::{CapSet, Capability};

use crate::sys::forbid_new_privileges;

/// A capability that the process does not have.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Missing {
    /// Its name, as `setcap` knows it.
    pub(crate) capability: &'static str,
    /// What it is for.
    pub(crate) purpose: &'static str,
    /// The command that grants it.
    pub(crate) remedy: String,
}

impl fmt::Display for Missing {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { capability, purpose, remedy } = self;
        write!(formatter, "{capability} is needed {purpose}; grant it with: {remedy}")
    }
}

/// Why capabilities could not be given up.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DropError {
    /// The kernel refused.
    #[error("cannot give up capabilities: {0}")]
    Refused(String),
    /// They are still there afterwards.
    #[error("{thread} still has {set} {value}, give up capabilities before threads are started")]
    Left {
        /// Which thread's status says so.
        thread: String,
        /// Line of the status.
        set: String,
        /// What it says.
        value: String,
    },
    /// The kernel does not say what is left.
    #[error("cannot read {path}")]
    Unverified {
        /// Of the process file system.
        path: String,
        /// What went wrong.
        #[source]
        source: io::Error,
    },
}

/// What the calling thread lacks to open packet sockets; `None` where it may.
pub(crate) fn missing() -> Option<Missing> {
    // A kernel that does not tell lets the sockets decide.
    if caps::has_cap(None, CapSet::Effective, Capability::CAP_NET_RAW).unwrap_or(true) {
        return None;
    }
    let program = std::env::current_exe().ok();
    let program = program.as_deref().unwrap_or(Path::new("sonde"));
    Some(Missing {
        capability: "CAP_NET_RAW",
        purpose: "to send and receive probes",
        remedy: format!("sudo setcap cap_net_raw+ep {}", program.display()),
    })
}

/// Gives up every capability and the way to get one back, and checks that all threads of the
/// process are without. To be called before other threads are started.
///
/// # Errors
///
/// [`DropError`]; the process may then still be privileged and should not go on.
pub(crate) fn drop_all() -> Result<(), DropError> {
    drop_own()?;
    let folder = "/proc/self/task";
    let unverified = |source: io::Error| DropError::Unverified { path: folder.to_owned(), source };
    for entry in std::fs::read_dir(folder).map_err(unverified)? {
        let path = entry.map_err(unverified)?.path().join("status");
        match std::fs::read_to_string(&path) {
            Ok(status) => verify(&path.display().to_string(), &status)?,
            // A thread that has just ended.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(source) => {
                return Err(DropError::Unverified { path: path.display().to_string(), source });
            }
        }
    }
    Ok(())
}

/// The calling thread's part of [`drop_all`].
pub(crate) fn drop_own() -> Result<(), DropError> {
    let refused = |error: caps::errors::CapsError| DropError::Refused(error.to_string());
    // The bounding set can be emptied by those with CAP_SETPCAP only; without it, and for users
    // other than root, no_new_privs is what keeps an executed program from getting anything.
    if caps::has_cap(None, CapSet::Effective, Capability::CAP_SETPCAP).unwrap_or(false) {
        for capability in caps::read(None, CapSet::Bounding).map_err(refused)? {
            caps::drop(None, CapSet::Bounding, capability).map_err(refused)?;
        }
    }
    forbid_new_privileges().map_err(|error| DropError::Refused(error.to_string()))?;
    // Not every kernel has ambient capabilities; where there are none there is nothing to drop.
    let _ = caps::clear(None, CapSet::Ambient);
    for set in [CapSet::Inheritable, CapSet::Effective, CapSet::Permitted] {
        caps::clear(None, set).map_err(refused)?;
    }
    let path = "/proc/thread-self/status";
    let status = std::fs::read_to_string(path)
        .map_err(|source| DropError::Unverified { path: path.to_owned(), source })?;
    verify("this thread", &status)
}

/// Looks for anything left in a `status` of the process file system.
fn verify(thread: &str, status: &str) -> Result<(), DropError> {
    for (set, value) in status.lines().filter_map(|line| line.split_once(':')) {
        let value = value.trim();
        let fine = match set {
            "CapInh" | "CapPrm" | "CapEff" | "CapAmb" => value.bytes().all(|digit| digit == b'0'),
            "NoNewPrivs" => value == "1",
            _ => true,
        };
        if !fine {
            let [thread, set, value] = [thread, set, value].map(str::to_owned);
            return Err(DropError::Left { thread, set, value });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: &str = "Name:\tsonde\nCapInh:\t0000000000000000\nCapPrm:\t0000000000000000\n\
                        CapEff:\t0000000000000000\nCapBnd:\t000001ffffffffff\n\
                        CapAmb:\t0000000000000000\nNoNewPrivs:\t1\n";

    #[test]
    fn a_thread_without_anything_left_is_accepted() {
        assert!(verify("1", NONE).is_ok());
    }

    #[test]
    fn anything_left_is_named() {
        for (set, rest) in
            [("CapPrm", "0000000000002000"), ("CapAmb", "1000000000000000"), ("NoNewPrivs", "0")]
        {
            let status: String = NONE
                .lines()
                .map(|line| match line.split_once(':') {
                    Some((name, _)) if name == set => format!("{set}:\t{rest}\n"),
                    _ => format!("{line}\n"),
                })
                .collect();
            let error = verify("task 7", &status).unwrap_err().to_string();
            assert!(error.contains("task 7") && error.contains(set) && error.contains(rest));
        }
    }

    #[test]
    fn what_is_missing_is_said_with_the_remedy() {
        // In a thread of its own: capabilities belong to threads.
        let missing = std::thread::spawn(|| {
            caps::clear(None, CapSet::Effective).unwrap();
            missing().unwrap()
        });
        let text = missing.join().unwrap().to_string();
        assert!(text.starts_with("CAP_NET_RAW is needed to send and receive probes"), "{text}");
        assert!(text.contains("sudo setcap cap_net_raw+ep /"), "{text}");
    }

    #[test]
    #[ignore = "needs root: has capabilities to give up"]
    fn another_thread_with_capabilities_is_found_out() {
        // This test's own thread stays as it is.
        let error = std::thread::spawn(drop_all).join().unwrap().unwrap_err();
        assert!(matches!(error, DropError::Left { .. }), "{error}");
        assert!(missing().is_none());
    }
}
