//! How wrong round-trip times are: beside what tcpdump saw on the same interface.
//!
//! The truth of a probe is the time between its passing the interface and its answer's, both stamped
//! by the kernel for the capture. The loaded runs share one processor with a busy loop.

use std::{
    collections::HashMap,
    fs,
    net::Ipv4Addr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use serde_json::Value;
use sonde_tests::{Lab, MANY4, TARGET4, wait_until};

use super::List;

/// Ethernet and IPv4 without options.
const HEADERS: usize = 14 + 20;
/// The processor that the loaded runs are on.
const PROCESSOR: &str = "0";

/// Remote address, ICMP identifier and sequence number.
type Probe = (Ipv4Addr, u16, u16);

/// Prints one table.
pub(super) fn run(sonde: &Path) -> Result<(), String> {
    let lab = Lab::chain(0);
    let first: Ipv4Addr =
        MANY4.split('/').next().and_then(|text| text.parse().ok()).ok_or("no first address")?;
    let list = List::new(first, 10_000)?;
    let one = format!("-c 2000 -i 0.002 --pps 1000 {TARGET4}");
    let many = format!("-c 1 --pps 10000 --targets {}", list.path().display());
    println!("\nerror of the round-trip time, µs\n");
    println!("| probes | stamps | processor | compared | p50 | p99 | most |");
    println!("|---|---|---|---|---|---|---|");
    for (what, arguments, modes) in [
        ("one address, 500/s", one, &["auto", "precise", "interpolated"][..]),
        ("10,000 addresses, 10,000/s", many, &["auto", "precise"][..]),
    ] {
        for stamps in modes {
            for is_loaded in [false, true] {
                let line = format!("run ping --format json --stamps {stamps} {arguments}");
                let mut errors = measure(&lab, sonde, &line, is_loaded)?;
                errors.sort_unstable();
                let at = |share: usize| {
                    let index = errors.len().saturating_sub(1) * share / 100;
                    errors.get(index).map_or(f64::NAN, |error| *error as f64 / 1000.0)
                };
                let (count, processor) =
                    (errors.len(), if is_loaded { "with a busy loop" } else { "its own" });
                let (median, most_of_all, most) = (at(50), at(99), at(100));
                println!(
                    "| {what} | {stamps} | {processor} | {count} | {median:.1} | {most_of_all:.1} \
                     | {most:.1} |"
                );
            }
        }
    }
    Ok(())
}

/// Absolute differences between what the program says and what was on the wire, ns.
fn measure(lab: &Lab, sonde: &Path, line: &str, is_loaded: bool) -> Result<Vec<u64>, String> {
    let trace = Trace::start(lab)?;
    let busy = is_loaded.then(|| {
        let mut command = lab.command("src", "taskset");
        command.args(["-c", PROCESSOR, "sh", "-c", "while :; do :; done"]);
        Lab::background(command)
    });
    let mut command = match is_loaded {
        true => lab.command("src", "taskset"),
        false => lab.command("src", sonde),
    };
    if is_loaded {
        command.args(["-c", PROCESSOR]).arg(sonde);
    }
    let output = command.args(line.split(' ')).output();
    let output = output.map_err(|error| format!("{}: {error}", sonde.display()))?;
    drop(busy);
    let truth = trace.finish()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let mut errors = Vec::new();
    for line in text.lines() {
        let record: Value = serde_json::from_str(line).map_err(|error| error.to_string())?;
        errors.extend(told(&record).into_iter().filter_map(|(probe, rtt_ns)| {
            let (sent, answered) = truth.get(&probe)?;
            Some((*answered)?.checked_sub(*sent)?.abs_diff(rtt_ns))
        }));
    }
    if errors.is_empty() {
        return Err(format!("nothing to compare: {}", String::from_utf8_lossy(&output.stderr)));
    }
    Ok(errors)
}

/// What a record says of each answered probe, ns.
fn told(record: &Value) -> Vec<(Probe, u64)> {
    let remote = record["destination"].as_str().and_then(|text| text.parse().ok());
    let identifier = record["tables"]["summary"][0]["local"].as_u64();
    let (Some(remote), Some(identifier)) = (remote, identifier) else { return Vec::new() };
    let rows = record["tables"]["replies"].as_array().map(Vec::as_slice).unwrap_or_default();
    let reply = |row: &Value| {
        let probe = (remote, identifier as u16, row["seq"].as_u64()? as u16);
        Some((probe, row["rtt_ns"].as_u64()?))
    };
    rows.iter().filter_map(reply).collect()
}

/// A tcpdump on the way out of the measuring host.
struct Trace {
    child: Child,
    file: PathBuf,
}

impl Trace {
    fn start(lab: &Lab) -> Result<Self, String> {
        let file = std::env::temp_dir().join(format!("sonde-rtt-{}.pcap", std::process::id()));
        let _ = fs::remove_file(&file);
        let child = lab
            .command("src", "tcpdump")
            .args(["-i", "src-dst", "-U", "-B", "65536", "-s", "64"])
            .args(["--time-stamp-precision", "nano", "-w"])
            .arg(&file)
            .arg("icmp")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| format!("tcpdump: {error}"))?;
        wait_until("tcpdump", Duration::from_secs(10), || {
            file.metadata().is_ok_and(|metadata| metadata.len() >= 24)
        });
        Ok(Self { child, file })
    }

    /// When each probe and its answer passed, ns since 1970.
    fn finish(mut self) -> Result<HashMap<Probe, (u64, Option<u64>)>, String> {
        // What it has heard reaches it within a second.
        std::thread::sleep(Duration::from_millis(1500));
        // `ip netns exec` becomes the program, so this is tcpdump itself.
        let process = self.child.id().to_string();
        let _ = Command::new("kill").args(["-INT", &process]).status();
        let _ = self.child.wait();
        let octets = fs::read(&self.file).map_err(|error| format!("the capture: {error}"))?;
        let _ = fs::remove_file(&self.file);
        Ok(read(&octets))
    }
}

/// Reads a capture in this machine's byte order with nanoseconds.
fn read(octets: &[u8]) -> HashMap<Probe, (u64, Option<u64>)> {
    let long = |at: usize| {
        octets.get(at..at + 4).and_then(|it| it.try_into().ok()).map_or(0, u32::from_ne_bytes)
    };
    let mut probes = HashMap::new();
    let mut at = 24;
    while at + 16 <= octets.len() {
        let time = u64::from(long(at)) * 1_000_000_000 + u64::from(long(at + 4));
        let captured = long(at + 8) as usize;
        let Some(packet) = octets.get(at + 16..at + 16 + captured) else { break };
        at += 16 + captured;
        let (Some(header), Some(icmp)) = (packet.get(14..HEADERS), packet.get(HEADERS..)) else {
            continue;
        };
        let [kind, _, _, _, high, low, upper, lower, ..] = *icmp else { continue };
        let remote = if kind == 8 { &header[16..20] } else { &header[12..16] };
        let remote = Ipv4Addr::new(remote[0], remote[1], remote[2], remote[3]);
        let probe = (remote, u16::from_be_bytes([high, low]), u16::from_be_bytes([upper, lower]));
        match kind {
            8 => {
                probes.entry(probe).or_insert((time, None));
            }
            0 => {
                if let Some((_, answered @ None)) = probes.get_mut(&probe) {
                    *answered = Some(time);
                }
            }
            _ => {}
        }
    }
    probes
}
