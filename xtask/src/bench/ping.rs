//! One probe to each of many addresses, beside fping and scamper.

use std::{cmp::Ordering, net::Ipv4Addr, path::Path, process::Command};

use sonde_tests::{Lab, MANY4};

use super::{List, Timed, timed};

/// Every program is run so often, in turn with the others; the best run counts.
const ROUNDS: usize = 3;

/// One line of a table.
#[derive(Clone, Copy)]
struct Figure {
    answered: usize,
    wall_s: f64,
    cpu_us_per_probe: f64,
}

impl Figure {
    /// Who loses answers is not quick.
    fn is_better(&self, other: &Self) -> bool {
        match self.answered.cmp(&other.answered) {
            Ordering::Equal => self.cpu_us_per_probe < other.cpu_us_per_probe,
            more => more == Ordering::Greater,
        }
    }
}

/// Prints one table for each number of addresses and rate.
pub(super) fn run(sonde: &Path) -> Result<(), String> {
    for (count, pps) in
        [(1, 10_000), (10_000, 10_000), (60_000, 10_000), (60_000, 20_000), (65_000, 1_000_000)]
    {
        table(sonde, count, pps)?;
    }
    Ok(())
}

fn table(sonde: &Path, count: u32, pps: u32) -> Result<(), String> {
    let lab = Lab::chain(0);
    let first: Ipv4Addr =
        MANY4.split('/').next().and_then(|text| text.parse().ok()).ok_or("no first address")?;
    let list = List::new(first, count)?;
    let (file, sonde) = (list.path().display(), sonde.display());
    let gap_ms = 1000.0 / f64::from(pps);
    let run = format!("{sonde} run ping -c 1 --pps {pps} --format json --targets {file}");
    let inline = format!("{run} --isolation inline");
    let fping = format!("fping -q -C 1 -r 0 -i {gap_ms} -f {file} 2>&1");
    let scamper =
        |form: &str| format!("scamper {form} -p {} -c 'ping -c 1' -f {file}", pps.min(10_000));
    let rivals = [
        ("sonde, worker process", run, "\"answered\":1,"),
        ("sonde, inline", inline, "\"answered\":1,"),
        ("fping", fping, " : "),
        ("scamper, text", scamper("-O text"), "1 packets received"),
        ("scamper, JSON as ours", scamper("-O json"), "\"replies\":1,"),
    ];
    let rivals: Vec<_> = rivals.iter().filter(|(_, command, _)| is_installed(command)).collect();
    let mut best = vec![None::<Figure>; rivals.len()];
    for _ in 0..ROUNDS {
        for ((_, command, sign), best) in rivals.iter().zip(&mut best) {
            let figure = measure(&lab, command, sign, count);
            if best.is_none_or(|best| figure.is_better(&best)) {
                *best = Some(figure);
            }
        }
    }
    println!("\n{count} addresses, one probe each, {pps} packets/s\n");
    println!("| program | answered | wall s | answers/s | CPU µs/probe | to the first |");
    println!("|---|---|---|---|---|---|");
    let own = best.first().copied().flatten().map_or(f64::NAN, |own| own.cpu_us_per_probe);
    for ((name, ..), figure) in rivals.iter().zip(best.into_iter().flatten()) {
        let Figure { answered, wall_s, cpu_us_per_probe } = figure;
        let per_second = answered as f64 / wall_s;
        let ratio = cpu_us_per_probe / own;
        println!(
            "| {name} | {answered} | {wall_s:.2} | {per_second:.0} | {cpu_us_per_probe:.1} | {ratio:.2} |"
        );
    }
    Ok(())
}

fn is_installed(command: &str) -> bool {
    let program = command.split(' ').next().unwrap_or_default();
    Command::new("which").arg(program).output().is_ok_and(|output| output.status.success())
}

fn measure(lab: &Lab, command: &str, sign: &str, count: u32) -> Figure {
    let Timed { text, wall_s, cpu_s } = timed(lab, command);
    let is_answer = |line: &&str| line.contains(sign) && !line.trim_end().ends_with('-');
    Figure {
        answered: text.lines().filter(is_answer).count(),
        wall_s,
        cpu_us_per_probe: cpu_s * 1e6 / f64::from(count),
    }
}
