//! The programs under test, as they were built.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;

/// Where cargo put what belongs to this test.
///
/// # Panics
///
/// Where a test is not run by cargo.
#[must_use]
pub fn target_folder() -> PathBuf {
    let test = std::env::current_exe().expect("a running program has a file");
    let folder = test.parent().and_then(Path::parent).expect("tests lie in target/PROFILE/deps");
    folder.to_path_buf()
}

/// The program `sonde`, of the same build as the test.
///
/// # Panics
///
/// Where it was not built: `cargo build --workspace` does.
#[must_use]
pub fn sonde() -> PathBuf {
    let program = target_folder().join("sonde");
    assert!(
        program.is_file(),
        "{} is missing: run `cargo build --workspace` first",
        program.display()
    );
    program
}

/// A command of the program with the methods of the same build, and no others.
///
/// # Panics
///
/// As [`sonde`].
#[must_use]
pub fn sonde_of_this_build() -> Command {
    let mut command = Command::new(sonde());
    command.env("SONDE_PLUGINS", target_folder());
    command
}

/// The library of a plugin, of the same build as the test.
///
/// # Panics
///
/// Where it was not built.
#[must_use]
pub fn plugin(name: &str) -> PathBuf {
    let file = target_folder().join(format!("libsonde_{name}.so"));
    assert!(file.is_file(), "{} is missing: run `cargo build --workspace` first", file.display());
    file
}

/// How a run of `sonde` ended.
#[derive(Debug)]
pub struct Finished {
    /// Exit code; -1 where a signal ended it.
    pub code: i32,
    /// Standard output.
    pub output: String,
    /// Standard error.
    pub errors: String,
}

impl Finished {
    /// Runs `command` to its end.
    ///
    /// # Panics
    ///
    /// Where it cannot be started.
    #[must_use]
    pub fn of(command: &mut Command) -> Self {
        let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        Self {
            code: output.status.code().unwrap_or(-1),
            output: String::from_utf8_lossy(&output.stdout).into_owned(),
            errors: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// The result records of `--format json`.
    ///
    /// # Panics
    ///
    /// Where a line is not JSON.
    #[must_use]
    pub fn records(&self) -> Vec<Value> {
        let parse =
            |line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        self.output.lines().map(parse).collect()
    }
}
