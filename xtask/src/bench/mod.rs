//! The figures of BENCHMARKS.md: sonde beside its peers, in one run, in namespaces of its own.
//!
//! Needs root; fping and scamper are measured where they are installed. The machine is shared as a
//! rule: read ratios and CPU time per probe, not rates.

mod memory;
mod parts;
mod paths;
mod ping;
mod rtt;

use std::{
    fs,
    net::Ipv4Addr,
    path::{Path, PathBuf},
    process::Command,
};

use sonde_tests::Lab;

use crate::metadata;

/// Prints all tables, or the named one.
pub(crate) fn run(which: Option<&str>) -> Result<(), String> {
    build()?;
    let sonde = target().join("release/sonde");
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    println!("load of the machine before: {}", load.trim());
    let is_wanted = |name| which.is_none_or(|which| which == name);
    if is_wanted("ping") {
        ping::run(&sonde)?;
    }
    if is_wanted("rtt") {
        rtt::run(&sonde)?;
    }
    if is_wanted("memory") {
        memory::run(&sonde)?;
    }
    if is_wanted("paths") {
        paths::run(&sonde)?;
    }
    if is_wanted("diamond") {
        paths::diamond(&sonde)?;
    }
    if is_wanted("parts") {
        parts::run()?;
    }
    Ok(())
}

fn build() -> Result<(), String> {
    let status = Command::new("cargo")
        .args(["build", "--quiet", "--release", "-p", "sonde-cli"])
        .args(["-p", "sonde-ping", "-p", "sonde-sting"])
        .args(["-p", "sonde-trace", "-p", "sonde-tracelb"])
        .current_dir(metadata::root())
        .status()
        .map_err(|error| format!("cargo build: {error}"))?;
    if status.success() { Ok(()) } else { Err("cargo build failed".to_owned()) }
}

fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| metadata::root().join("target"), PathBuf::from)
}

/// A program that has ended.
struct Timed {
    /// Its standard output.
    text: String,
    wall_s: f64,
    /// User and system, of its own processes.
    cpu_s: f64,
}

/// Runs a line of shell on the near host of `lab`; times are no numbers where it does not run.
fn timed(lab: &Lab, command: &str) -> Timed {
    let line = format!("TIMEFORMAT='%R %U %S'; time {command} > /dev/stdout");
    let output = lab.command("src", "bash").args(["-c", &line]).output();
    let (text, times) = output.map_or_else(
        |_| (String::new(), String::new()),
        |output| {
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            (text, String::from_utf8_lossy(&output.stderr).into_owned())
        },
    );
    let last = times.lines().last().unwrap_or_default();
    let seconds: Vec<f64> = last.split(' ').filter_map(|word| word.parse().ok()).collect();
    let [wall_s, user_s, system_s] = seconds.try_into().unwrap_or([f64::NAN; 3]);
    Timed { text, wall_s, cpu_s: user_s + system_s }
}

/// A file with addresses, one a line, removed when this is dropped.
struct List(PathBuf);

impl List {
    /// `count` addresses behind `first`.
    fn new(first: Ipv4Addr, count: u32) -> Result<Self, String> {
        let path = std::env::temp_dir().join(format!("sonde-bench-{}", std::process::id()));
        let address = |number| Ipv4Addr::from(u32::from(first) + 1 + number);
        let lines: String = (0..count).map(|number| format!("{}\n", address(number))).collect();
        fs::write(&path, lines).map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(Self(path))
    }

    fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for List {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}
