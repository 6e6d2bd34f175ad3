//! The figures of BENCHMARKS.md: sonde beside its peers, in one run, in namespaces of its own.
//!
//! Needs root; fping and scamper are measured where they are installed. The machine is shared as a
//! rule: read ratios and CPU time per probe, not rates.

use std::{
    fs,
    net::Ipv4Addr,
    path::{Path, PathBuf},
    process::Command,
};

use sonde_tests::{Lab, MANY4};

use crate::metadata;

/// Every program is run so often; the best run counts.
const ROUNDS: usize = 3;

/// One line of the table.
struct Figure {
    name: String,
    answered: usize,
    wall_s: f64,
    cpu_us_per_probe: f64,
}

/// Prints one table for each number of addresses and rate.
pub(crate) fn run() -> Result<(), String> {
    let status = Command::new("cargo")
        .args(["build", "--quiet", "--release", "--workspace"])
        .current_dir(metadata::root())
        .status()
        .map_err(|error| format!("cargo build: {error}"))?;
    if !status.success() {
        return Err("cargo build failed".to_owned());
    }
    let target = std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| metadata::root().join("target"), PathBuf::from);
    let sonde = target.join("release/sonde");
    for (count, pps) in [(10_000, 10_000), (10_000, 20_000), (65_000, 1_000_000)] {
        table(&sonde, count, pps)?;
    }
    Ok(())
}

fn table(sonde: &Path, count: u32, pps: u32) -> Result<(), String> {
    let lab = Lab::chain(0);
    let list = std::env::temp_dir().join(format!("sonde-bench-{}", std::process::id()));
    let first: Ipv4Addr =
        MANY4.split('/').next().and_then(|text| text.parse().ok()).ok_or("no first address")?;
    let address = |number| Ipv4Addr::from(u32::from(first) + 1 + number);
    let lines: String = (0..count).map(|number| format!("{}\n", address(number))).collect();
    fs::write(&list, lines).map_err(|error| format!("{}: {error}", list.display()))?;
    let file = list.display();
    let sonde = sonde.display();
    let gap_ms = 1000.0 / f64::from(pps);
    let rivals = [
        (
            "sonde, worker process",
            format!("{sonde} run ping -c 1 --pps {pps} --format json --targets {file}"),
            "\"answered\":1,",
        ),
        (
            "sonde, inline",
            format!(
                "{sonde} run ping -c 1 --pps {pps} --format json --isolation inline --targets {file}"
            ),
            "\"answered\":1,",
        ),
        ("fping", format!("fping -q -C 1 -r 0 -i {gap_ms} -f {file} 2>&1"), " : "),
        (
            "scamper",
            format!("scamper -p {} -c 'ping -c 1' -f {file}", pps.min(10_000)),
            "1 packets received",
        ),
    ];
    println!("\n{count} addresses, one probe each, {pps} packets/s\n");
    println!("| program | answered | wall s | CPU µs/probe |\n|---|---|---|---|");
    for (name, command, sign) in rivals {
        let program = command.split(' ').next().unwrap_or_default();
        if Command::new("which").arg(program).output().is_ok_and(|output| !output.status.success())
        {
            println!("| {name} | not installed | | |");
            continue;
        }
        let best = (0..ROUNDS)
            .map(|_| measure(&lab, name, &command, sign, count))
            .min_by(|one, other| one.cpu_us_per_probe.total_cmp(&other.cpu_us_per_probe))
            .ok_or("no round")?;
        println!(
            "| {} | {} | {:.2} | {:.1} |",
            best.name, best.answered, best.wall_s, best.cpu_us_per_probe
        );
    }
    fs::remove_file(&list).map_err(|error| format!("{}: {error}", list.display()))
}

fn measure(lab: &Lab, name: &str, command: &str, sign: &str, count: u32) -> Figure {
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
    let is_answer = |line: &&str| line.contains(sign) && !line.trim_end().ends_with('-');
    Figure {
        name: name.to_owned(),
        answered: text.lines().filter(is_answer).count(),
        wall_s,
        cpu_us_per_probe: (user_s + system_s) * 1e6 / f64::from(count),
    }
}
