//! Paths of many targets and the branches of one, beside scamper on the same topology; and a campaign
//! that is killed in the middle.

use std::{
    collections::BTreeMap,
    fs::{self, File, OpenOptions},
    io::{BufRead, BufReader},
    net::Ipv4Addr,
    path::{Path, PathBuf},
    process::Stdio,
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;
use sonde_tests::Lab;

use super::{List, Timed, memory, timed};

/// All of it is the far end's.
const FIRST: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 0);
/// Targets, and how often each program traces them, in turn with the other; the cheapest run counts.
const ROUNDS: [(u32, usize); 2] = [(2_000, 3), (20_000, 1)];

/// Addresses of the hops of each target.
type Paths = BTreeMap<String, Vec<String>>;

/// Prints the tables.
pub(super) fn run(sonde: &Path) -> Result<(), String> {
    println!("\ntraces with UDP-paris over four routers, 10,000 packets/s\n");
    println!(
        "| targets | program | whole paths | probes | wall s | targets/s | CPU µs/probe | to the first |"
    );
    println!("|---|---|---|---|---|---|---|---|");
    for (count, rounds) in ROUNDS {
        beside_scamper(sonde, count, rounds)?;
    }
    campaign(sonde)
}

/// One round of one program.
struct Round {
    timed: Timed,
    probes: u64,
}

impl Round {
    /// Packets are counted where they leave.
    fn of(lab: &Lab, device: &str, command: &str) -> Result<Self, String> {
        let before = packets(lab, device)?;
        let timed = timed(lab, command);
        Ok(Self { timed, probes: packets(lab, device)? - before })
    }

    fn cpu_us_per_probe(&self) -> f64 {
        self.timed.cpu_s * 1e6 / self.probes as f64
    }
}

fn packets(lab: &Lab, device: &str) -> Result<u64, String> {
    let text = lab.shell("src", &format!("cat /sys/class/net/{device}/statistics/tx_packets"));
    text.trim().parse().map_err(|_| format!("{device} sent {text:?} packets"))
}

fn beside_scamper(sonde: &Path, count: u32, rounds: usize) -> Result<(), String> {
    let lab = Lab::chain(4);
    let list = List::new(FIRST, count)?;
    let (file, sonde) = (list.path().display(), sonde.display());
    let ours =
        format!("{sonde} run trace --method UDP-paris --pps 10000 --format json --targets {file}");
    let theirs =
        |form: &str| format!("scamper -O {form} -p 10000 -c 'trace -P UDP-paris' -f {file}");
    let commands = [ours, theirs("text"), theirs("json")];
    let mut best = [const { None::<Round> }; 3];
    for _ in 0..rounds {
        for (command, best) in commands.iter().zip(&mut best) {
            let round = Round::of(&lab, "src-r1", command)?;
            let is_better = |best: &Round| round.cpu_us_per_probe() < best.cpu_us_per_probe();
            if best.as_ref().is_none_or(is_better) {
                *best = Some(round);
            }
        }
    }
    let [Some(ours), Some(text), Some(json)] = best else { return Err("no round".to_owned()) };
    let found = [
        paths_of_records(&ours.timed.text)?,
        paths_of_scamper(&text.timed.text),
        paths_of_scamper_json(&json.timed.text)?,
    ];
    // Whoever saw a hop saw the right one; an answer that was lost is a hop less in the count.
    for paths in &found {
        if let Some((target, hops)) = paths.iter().find(|(target, hops)| !is_drawn(target, hops)) {
            return Err(format!("{target}: {hops:?} is not the path that there is"));
        }
    }
    let rounds = [("sonde", &ours), ("scamper, text", &text), ("scamper, JSON as ours", &json)];
    for ((name, round), paths) in rounds.into_iter().zip(&found) {
        let (wall_s, each) = (round.timed.wall_s, round.cpu_us_per_probe());
        let (rate, ratio) = (f64::from(count) / wall_s, each / ours.cpu_us_per_probe());
        let probes = round.probes;
        let whole = paths.values().filter(|hops| !hops.iter().any(|hop| hop == "*")).count();
        println!(
            "| {count} | {name} | {whole} | {probes} | {wall_s:.2} | {rate:.0} | {each:.1} | {ratio:.2} |"
        );
    }
    Ok(())
}

/// The four routers in their order and the target, as far as they answered.
fn is_drawn(target: &str, hops: &[String]) -> bool {
    let routers = ["198.51.100.2", "198.51.100.6", "198.51.100.10", "198.51.100.14"];
    let mut drawn = routers.into_iter().chain([target]);
    // A target that once did not answer answers one hop later.
    let hops: Vec<&str> = hops.iter().map(String::as_str).collect();
    let routers = hops.iter().zip(routers).all(|(hop, router)| *hop == router || *hop == "*");
    routers && hops.iter().filter(|hop| **hop != "*").all(|hop| drawn.any(|it| it == *hop))
}

fn paths_of_records(text: &str) -> Result<Paths, String> {
    text.lines().map(path_of_record).collect()
}

fn path_of_record(line: &str) -> Result<(String, Vec<String>), String> {
    let record: Value = serde_json::from_str(line).map_err(|error| format!("{error}: {line}"))?;
    let text = |value: &Value| value.as_str().unwrap_or("*").to_owned();
    let rows = record["tables"]["hops"].as_array().map(Vec::as_slice).unwrap_or_default();
    Ok((text(&record["destination"]), rows.iter().map(|row| text(&row["addr"])).collect()))
}

fn paths_of_scamper(text: &str) -> Paths {
    let mut paths = Paths::new();
    let mut target = String::new();
    for line in text.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[..] {
            ["traceroute", _, _, "to", to, ..] => to.clone_into(&mut target),
            [_, hop, ..] => paths.entry(target.clone()).or_default().push(hop.to_owned()),
            _ => {}
        }
    }
    paths
}

/// A hop of which no answer came is not there.
fn paths_of_scamper_json(text: &str) -> Result<Paths, String> {
    let mut paths = Paths::new();
    for line in text.lines() {
        let record: Value =
            serde_json::from_str(line).map_err(|error| format!("{error}: {line}"))?;
        let Some(target) = record["dst"].as_str() else { continue };
        let count = record["hop_count"].as_u64().unwrap_or_default().min(255) as usize;
        let mut hops = vec!["*".to_owned(); count];
        for hop in record["hops"].as_array().into_iter().flatten() {
            let ttl = hop["probe_ttl"].as_u64().unwrap_or_default() as usize;
            let place = ttl.checked_sub(1).and_then(|at| hops.get_mut(at));
            if let (Some(place), Some(addr)) = (place, hop["addr"].as_str()) {
                addr.clone_into(place);
            }
        }
        paths.insert(target.to_owned(), hops);
    }
    Ok(paths)
}

/// Targets of the campaign, and how many of them at a time.
const CAMPAIGN: u32 = 100_000;
const WINDOW: &str = "20000";

/// Traced once in one go, once with a kill in the middle.
fn campaign(sonde: &Path) -> Result<(), String> {
    println!("\n{CAMPAIGN} targets behind two routers, --window {WINDOW} --pps 20000\n");
    println!("| run | wall s | results | twice | lost | most RSS, host / worker MiB |");
    println!("|---|---|---|---|---|---|");
    let lab = Lab::chain(2);
    let list = List::new(FIRST, CAMPAIGN)?;
    for (name, kill_at) in
        [("in one go", None), ("killed and resumed", Some(CAMPAIGN as usize / 2))]
    {
        let place = |what: &str| {
            let file = format!("sonde-bench-{}-{what}", std::process::id());
            Scratch(std::env::temp_dir().join(file))
        };
        let (output, journal) = (place("output"), place("journal"));
        let begin = Instant::now();
        let mut most = part(&lab, sonde, list.path(), [&output, &journal], kill_at)?;
        if kill_at.is_some() {
            let rest = part(&lab, sonde, list.path(), [&output, &journal], None)?;
            most = [most[0].max(rest[0]), most[1].max(rest[1])];
        }
        let wall_s = begin.elapsed().as_secs_f64();
        let times = count_results(&output.0)?;
        let twice = times.values().filter(|count| **count > 1).count();
        let lost = CAMPAIGN as usize - times.len();
        let [host, worker] = most.map(|octets| octets >> 20);
        let results = times.len();
        println!("| {name} | {wall_s:.1} | {results} | {twice} | {lost} | {host} / {worker} |");
    }
    Ok(())
}

/// A file that is removed in the end.
struct Scratch(PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// Runs until the end, or until so many results are there; the most octets of host and worker.
fn part(
    lab: &Lab,
    sonde: &Path,
    list: &Path,
    [output, journal]: [&Scratch; 2],
    kill_at: Option<usize>,
) -> Result<[u64; 2], String> {
    let failed = |error: std::io::Error| format!("{}: {error}", output.0.display());
    let to = OpenOptions::new().create(true).append(true).open(&output.0).map_err(failed)?;
    let mut child = lab
        .command("src", sonde)
        .args(["run", "trace", "--format", "json", "--pps", "20000", "--window", WINDOW])
        .arg("--targets")
        .arg(list)
        .arg("--resume")
        .arg(&journal.0)
        .stdout(to)
        .stderr(Stdio::null())
        .spawn()
        .map_err(|error| format!("{}: {error}", sonde.display()))?;
    let mut most = [0; 2];
    let mut seen = Lines::of(&output.0).map_err(failed)?;
    while child.try_wait().map_err(failed)?.is_none() {
        thread::sleep(Duration::from_millis(50));
        if let Some(now) = memory::of_both(child.id()) {
            most = [most[0].max(now[0]), most[1].max(now[1])];
        }
        if kill_at.is_some_and(|count| seen.count().is_ok_and(|seen| seen >= count)) {
            // `ip netns exec` has become the program, so this is SIGKILL for sonde itself.
            child.kill().map_err(failed)?;
            child.wait().map_err(failed)?;
            return Ok(most);
        }
    }
    match child.wait() {
        Ok(status) if status.success() && kill_at.is_none() => Ok(most),
        Ok(status) => Err(format!("the campaign ended too early: {status}")),
        Err(error) => Err(failed(error)),
    }
}

/// Counts the lines of a file that grows.
struct Lines {
    file: BufReader<File>,
    count: usize,
}

impl Lines {
    fn of(path: &Path) -> std::io::Result<Self> {
        Ok(Self { file: BufReader::new(File::open(path)?), count: 0 })
    }

    fn count(&mut self) -> std::io::Result<usize> {
        loop {
            let part = self.file.fill_buf()?;
            if part.is_empty() {
                return Ok(self.count);
            }
            self.count += part.iter().filter(|octet| **octet == b'\n').count();
            let octets = part.len();
            self.file.consume(octets);
        }
    }
}

/// How often each target was traced over both routers to its end.
fn count_results(output: &Path) -> Result<BTreeMap<String, u32>, String> {
    let failed = |error: std::io::Error| format!("{}: {error}", output.display());
    let mut times = BTreeMap::new();
    for line in BufReader::new(File::open(output).map_err(failed)?).lines() {
        let (target, hops) = path_of_record(&line.map_err(failed)?)?;
        if hops != ["198.51.100.2", "198.51.100.6", target.as_str()] {
            return Err(format!("{target}: {hops:?}"));
        }
        *times.entry(target).or_default() += 1;
    }
    Ok(times)
}

/// Destinations behind the diamond, one after the other.
const BEHIND: u32 = 10;
/// Links from the first router on.
const LINKS: usize = 6;

/// `src - p - r - (a, b) - j - dst`, shared out by ports; a plain router comes first, for a split right behind the first hop
/// is a cluster to scamper.
pub(super) fn diamond(sonde: &Path) -> Result<(), String> {
    let mut lab = Lab::new();
    let links = ["src-p", "p-r", "r-a", "r-b", "a-j", "b-j", "j-dst"];
    for name in ["src", "p", "r", "a", "b", "j", "dst"] {
        lab.node(name, !["src", "dst"].contains(&name));
    }
    let targets = format!("{FIRST}/24");
    for (number, link) in links.iter().enumerate() {
        let (near, far) = link.split_once('-').ok_or("no link")?;
        lab.link(near, far, number);
        let back = if number == 5 { "route append" } else { "route add" };
        lab.ip(far, &format!("{back} default via 198.51.100.{} metric {number}", 4 * number + 1));
        if near != "r" {
            lab.ip(near, &format!("route add {targets} via 198.51.100.{}", 4 * number + 2));
        }
    }
    let both = "nexthop via 198.51.100.10 nexthop via 198.51.100.14";
    lab.ip("r", &format!("route add {targets} {both}"));
    lab.shell("r", "sysctl -qw net.ipv4.fib_multipath_hash_policy=1");
    lab.ip("dst", &format!("route add local {targets} dev lo"));
    let list = List::new(FIRST, BEHIND)?;
    println!("\na diamond of two branches, 95 %, {BEHIND} destinations one after the other\n");
    println!("| program | probes per destination | s per destination | of {LINKS} links |");
    println!("|---|---|---|---|");
    let (file, sonde) = (list.path().display(), sonde.display());
    let run =
        format!("{sonde} run tracelb --confidence 95 --format json --window 1 --targets {file}");
    let quick = format!("{run} --pps 1000 --waitprobe 0");
    let lite = format!("{quick} --algorithm mda-lite");
    let theirs = format!("scamper -w 1 -p 1000 -c 'tracelb -c 95 -P udp-dport -W 15' -f {file}");
    for (name, command) in [
        ("sonde, two packets a second to an address", run),
        ("sonde, --pps 1000 --waitprobe 0", quick),
        ("sonde, the same with --algorithm mda-lite", lite),
        ("scamper, as quick as it can", theirs),
    ] {
        let Round { timed, probes } = Round::of(&lab, "src-p", &command)?;
        let each = |all: f64| all / f64::from(BEHIND);
        let links = each(links_found(&timed.text)? as f64);
        let (probes, wall_s) = (each(probes as f64), each(timed.wall_s));
        println!("| {name} | {probes:.1} | {wall_s:.2} | {links:.1} |");
    }
    Ok(())
}

/// Links of all records, or of all that scamper's first lines say.
fn links_found(text: &str) -> Result<usize, String> {
    let mut all = 0;
    for line in text.lines() {
        let said = line.split(", ").find_map(|part| part.strip_suffix(" links"));
        if line.starts_with('{') {
            let record: Value =
                serde_json::from_str(line).map_err(|error| format!("{error}: {line}"))?;
            all += record["tables"]["links"].as_array().map_or(0, Vec::len);
        } else if let Some(links) = said {
            all += links.parse::<usize>().map_err(|error| format!("{error}: {line}"))?;
        }
    }
    Ok(all)
}
