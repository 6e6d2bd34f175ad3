//! What a measurement in flight takes: pings of addresses that do not answer, many against few.

use std::{
    fs,
    net::Ipv4Addr,
    path::Path,
    process::{Child, Stdio},
    thread,
    time::Duration,
};

use sonde_tests::Lab;

use super::List;

/// Measurements in flight.
const FEW: u32 = 2_000;
const MANY: u32 = 32_000;

/// Resident octets of the host and of its worker.
#[derive(Clone, Copy)]
struct Resident {
    host: f64,
    worker: f64,
}

/// Prints the table.
pub(super) fn run(sonde: &Path) -> Result<(), String> {
    let lab = Lab::chain(0);
    let (few, many) = (resident(&lab, sonde, FEW)?, resident(&lab, sonde, MANY)?);
    let each = |few: f64, many: f64| (many - few) / f64::from(MANY - FEW);
    println!("\n{MANY} pings in flight, octets of each beyond the first {FEW}\n");
    println!("| host | worker |\n|---|---|");
    println!("| {:.0} | {:.0} |", each(few.host, many.host), each(few.worker, many.worker));
    Ok(())
}

fn resident(lab: &Lab, sonde: &Path, count: u32) -> Result<Resident, String> {
    // Nobody has these: the far end drops what is sent there.
    let list = List::new(Ipv4Addr::new(100, 64, 0, 0), count)?;
    let mut child = lab
        .command("src", sonde)
        .args(["run", "ping", "-c", "1", "--wait", "60s", "--format", "json", "--pps", "1000000"])
        .args(["--window", &count.to_string(), "--targets"])
        .arg(list.path())
        .stdout(Stdio::null())
        .spawn()
        .map_err(|error| format!("{}: {error}", sonde.display()))?;
    let found = settled(&child);
    let _ = child.kill();
    let _ = child.wait();
    found.ok_or_else(|| "the program does not come to rest".to_owned())
}

/// Both sizes once they have stopped growing.
fn settled(child: &Child) -> Option<Resident> {
    let mut before = (0, 0);
    for _ in 0..100 {
        thread::sleep(Duration::from_millis(300));
        let worker = worker_of(child.id());
        let now = (octets(&child.id().to_string())?, worker.and_then(|it| octets(&it))?);
        if now == before {
            return Some(Resident { host: now.0 as f64, worker: now.1 as f64 });
        }
        before = now;
    }
    None
}

/// The engine's thread started it.
fn worker_of(process: u32) -> Option<String> {
    let threads = fs::read_dir(format!("/proc/{process}/task")).ok()?.flatten();
    threads
        .filter_map(|thread| fs::read_to_string(thread.path().join("children")).ok())
        .find_map(|children| children.split_whitespace().next().map(str::to_owned))
}

/// `VmRSS`.
fn octets(process: &str) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
    line.split_whitespace().nth(1)?.parse::<u64>().ok().map(|kilo| kilo << 10)
}
