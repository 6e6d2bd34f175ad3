//! What it costs to refuse what strangers send: `cargo test --release -p sonde-mplane --test costs -- --ignored
//! --nocapture`. Processor time is that of the thread, memory the most that the process had beyond the octets.

#![expect(clippy::unwrap_used, reason = "a measurement ends with a panic")]

use std::{fs, process::Command};

use sonde_mplane::{MAX_KEYS, MAX_OCTETS, MAX_VALUES, Message, Registries};

/// Of this thread, nanoseconds; brought up to date by the yield.
fn cpu_ns() -> u64 {
    std::thread::yield_now();
    let text = fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    text.split(' ').next().unwrap().parse().unwrap()
}

fn status_kib(name: &str) -> u64 {
    let text = fs::read_to_string("/proc/self/status").unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    line.trim_matches(|letter: char| !letter.is_ascii_digit()).parse().unwrap()
}

/// Processor time in ms and memory in KiB of one refusal, by a process of its own: in this one the memory of the
/// one before would be used again.
fn cost(number: usize) -> (f64, u64) {
    let mut best = (f64::INFINITY, 0);
    for _ in 0..5 {
        let run = Command::new(std::env::current_exe().unwrap())
            .args(["--ignored", "--nocapture", "--exact", "what_refusals_cost"])
            .env(CASE, number.to_string())
            // Memory that is not needed any more is given back, so that it is not used again unseen.
            .env("MALLOC_MMAP_THRESHOLD_", "65536")
            .env("MALLOC_TRIM_THRESHOLD_", "0")
            .output()
            .unwrap();
        let text = String::from_utf8(run.stdout).unwrap();
        let line = text.lines().find_map(|line| line.split_once("cost ")).unwrap().1;
        let (time, memory) = line.split_once(' ').unwrap();
        best = (best.0.min(time.parse().unwrap()), best.1.max(memory.parse().unwrap()));
    }
    best
}

/// Says what the refusal of one input costs.
fn refuse(octets: &[u8], registries: &Registries) {
    fs::write("/proc/self/clear_refs", "5").unwrap();
    let (memory, time) = (status_kib("VmRSS:"), cpu_ns());
    let refused = Message::from_json(octets, registries);
    let time = (cpu_ns() - time) as f64 / 1e6;
    assert!(refused.is_err());
    println!("cost {time} {}", status_kib("VmHWM:").saturating_sub(memory));
}

/// Variable with the number of the input that a process refuses.
const CASE: &str = "SONDE_COSTS_CASE";

/// `count` keys, each once.
fn keys(count: usize) -> String {
    (0..count).map(|number| format!("\"key{number}\":0,")).collect()
}

#[test]
#[ignore = "a measurement: release build, nothing else on the machine"]
fn what_refusals_cost() {
    let registries = Registries::built_in();
    let head = "{\"redemption\":\"measure\",\"token\":\"t\"";
    let blank = " ".repeat(MAX_OCTETS - 200);
    let text = "x".repeat(MAX_OCTETS - 200);
    let accented = "\u{e9}".repeat((MAX_OCTETS - 200) / 2);
    let few = MAX_KEYS - 10;
    let inputs: Vec<(&str, Vec<u8>)> = vec![
        ("depth of 10,000", "{\"a\":".repeat(10_000).into()),
        ("depth of 10,000 behind a long text", format!("[\"{text}\",{}", "[".repeat(100)).into()),
        ("100 MB", vec![b'['; 100_000_000]),
        ("1,000,000 keys", format!("{{{}\"last\":0}}", keys(1_000_000)).into()),
        ("4,000,000 values", format!("[{}0]", "0,".repeat(4_000_000)).into()),
        ("a key twice", format!("{head},\"token\":\"t\"}}").into()),
        ("a key twice, the last of 99,990", format!("{{{}\"key7\":0}}", keys(few)).into()),
        ("a key twice behind 16 MiB of blanks", format!("{head},{blank}\"token\":1}}").into()),
        ("a key twice behind 16 MiB of text", format!("{head},\"x\":\"{text}\",\"x\":1}}").into()),
        ("NaN", format!("{head},\"x\":NaN}}").into()),
        ("NaN behind 99,990 keys", format!("{{{}\"x\":NaN}}", keys(few)).into()),
        ("NaN behind 16 MiB of text", format!("{head},\"x\":\"{text}\",\"y\":NaN}}").into()),
        ("NaN behind 16 MiB of accents", format!("{head},\"x\":\"{accented}\",\"y\":NaN}}").into()),
        ("no UTF-8 behind 16 MiB of text", {
            let mut octets = format!("{head},\"x\":\"{text}").into_bytes();
            octets.extend_from_slice(b"\xff\"}");
            octets
        }),
        ("no message, 99,990 keys", format!("{{{}\"x\":0}}", keys(few)).into()),
        ("a number for a token", r#"{"redemption":"measure","token":7}"#.into()),
        ("a number for a token, 99,990 keys", {
            format!("{{{}\"redemption\":\"measure\",\"token\":7}}", keys(few)).into()
        }),
        ("999,000 numbers for parameters", {
            format!("{head},\"parameters\":[{}0]}}", "0,".repeat(MAX_VALUES - 1000)).into()
        }),
        ("99,990 unknown parameters", {
            format!("{head},\"parameters\":{{{}\"x\":0}}}}", keys(few)).into()
        }),
        ("99,990 keys in as many objects", {
            format!("[{}{{}}]", "{\"a\":0},".repeat(few)).into()
        }),
    ];
    if let Ok(case) = std::env::var(CASE) {
        return refuse(&inputs[case.parse::<usize>().unwrap()].1, &registries);
    }
    println!("| input | octets | CPU ms | KiB | refusal |\n|---|---|---|---|---|");
    for (number, (name, octets)) in inputs.iter().enumerate() {
        let (time, memory) = cost(number);
        let refusal = Message::from_json(octets, &registries).unwrap_err().to_string();
        let short: String = refusal.chars().take(60).collect();
        println!("| {name} | {} | {time:.2} | {memory} | {short} |", octets.len());
    }
}
