//! What a measurement in flight takes, many against few: pings of addresses that do not answer, traces
//! that wait behind two routers for one that does not, and stings of a server that does.

use std::{
    fs,
    net::Ipv4Addr,
    path::Path,
    process::{Child, Stdio},
    thread,
    time::Duration,
};

use sonde_tests::{Lab, Nginx};

use super::List;

/// Measurements in flight.
const FEW: u32 = 2_000;
const MANY: u32 = 32_000;
const MANY_TRACES: u32 = 20_000;

/// The same of stings; nothing is known of one before its samples are on their way.
const FEW_STINGS: u32 = 100;
const MANY_STINGS: u32 = 1_100;

/// Resident octets of the host and of its worker.
#[derive(Clone, Copy)]
struct Resident {
    host: f64,
    worker: f64,
}

/// Prints the table.
pub(super) fn run(sonde: &Path) -> Result<(), String> {
    let lab = Lab::chain(0);
    let _server = Nginx::start(&lab, "dst");
    println!("\noctets of each measurement in flight, many against few\n");
    println!("| | few | many | host | worker |\n|---|---|---|---|---|");
    let ping = |count| resident(&lab, sonde, &PING, count, settled);
    let (few, many) = (ping(FEW)?, ping(MANY)?);
    show("ping", (FEW, few), (MANY, many));
    let routed = Lab::chain(2);
    let trace = |count| resident(&routed, sonde, &TRACE, count, settled);
    let (few, many) = (trace(FEW)?, trace(MANY_TRACES)?);
    show("trace with two hops found", (FEW, few), (MANY_TRACES, many));
    let sting = |count| resident(&lab, sonde, &STING, count, underway);
    let (few, many) = (sting(FEW_STINGS)?, sting(MANY_STINGS)?);
    show("sting of 48 samples", (FEW_STINGS, few), (MANY_STINGS, many));
    Ok(())
}

fn show(what: &str, few: (u32, Resident), many: (u32, Resident)) {
    let each = |one: f64, other: f64| (other - one) / f64::from(many.0 - few.0);
    let (host, worker) = (each(few.1.host, many.1.host), each(few.1.worker, many.1.worker));
    println!("| {what} | {} | {} | {host:.0} | {worker:.0} |", few.0, many.0);
}

/// Method and parameters.
const PING: [&str; 5] = ["ping", "-c", "1", "--wait", "60s"];
const TRACE: [&str; 5] = ["trace", "--method", "UDP-paris", "--wait", "60s"];
/// Samples are on their way from the first second to the twelfth, in a run of fourteen.
const UNDERWAY: Duration = Duration::from_secs(9);
const STING: [&str; 9] = ["sting", "-c", "48", "-m", "250", "-f", "2", "-i", "2000"];

fn resident(
    lab: &Lab,
    sonde: &Path,
    method: &[&str],
    count: u32,
    measure: fn(&Child) -> Option<Resident>,
) -> Result<Resident, String> {
    // Nobody has the first ones: the far end drops what is sent there. All of the others are its own.
    let first = if method[0] == "sting" { [198, 18, 0, 0] } else { [100, 64, 0, 0] };
    let list = List::new(Ipv4Addr::from(first), count)?;
    let mut child = lab
        .command("src", sonde)
        .arg("run")
        .args(method)
        .args(["--format", "json", "--pps", "1000000", "--destination-pps", "1000"])
        .args(["--window", &count.to_string(), "--targets"])
        .arg(list.path())
        .stdout(Stdio::null())
        .spawn()
        .map_err(|error| format!("{}: {error}", sonde.display()))?;
    let found = measure(&child);
    let _ = child.kill();
    let _ = child.wait();
    found.ok_or_else(|| "the program does not come to rest".to_owned())
}

/// While all samples are on their way, before the first rows come.
fn underway(child: &Child) -> Option<Resident> {
    thread::sleep(UNDERWAY);
    let [host, worker] = of_both(child.id())?;
    Some(Resident { host: host as f64, worker: worker as f64 })
}

/// Both sizes once they have stopped growing.
fn settled(child: &Child) -> Option<Resident> {
    let mut before = [0; 2];
    for _ in 0..100 {
        thread::sleep(Duration::from_millis(300));
        let now = of_both(child.id())?;
        if now == before {
            return Some(Resident { host: now[0] as f64, worker: now[1] as f64 });
        }
        before = now;
    }
    None
}

/// Resident octets of a host and of its worker now.
pub(super) fn of_both(process: u32) -> Option<[u64; 2]> {
    Some([octets(&process.to_string())?, octets(&worker_of(process)?)?])
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
