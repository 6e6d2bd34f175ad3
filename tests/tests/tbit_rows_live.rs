//! tbit, row by row of what it has to tell apart, against a Linux server whose abilities are switched.
#![allow(clippy::unwrap_used, reason = "a test ends with a panic")]

use std::{
    io::{Read as _, Write as _},
    process::{Command, Stdio},
    time::Duration,
};

use serde_json::{Value, json};
use sonde_tests::{Background, Finished, Lab, TARGET4, TARGET6, sonde, wait_until};

/// A web server at 80 that takes fast open; at 81 one that closes at once, at 82 one that resets.
const SERVERS: &str = r"
import http.server, socket, socketserver, struct, threading

class Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b'x' * 200000)

class Six(socketserver.ThreadingTCPServer):
    address_family = socket.AF_INET6
    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 2000
    def server_activate(self):
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_FASTOPEN, 16)
        super().server_activate()

class Closes(socketserver.BaseRequestHandler):
    pass

class Resets(socketserver.BaseRequestHandler):
    def handle(self):
        self.request.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))

class Reset(Six):
    def shutdown_request(self, request):
        request.close()

threading.Thread(target=Six(('::', 81), Closes).serve_forever).start()
threading.Thread(target=Reset(('::', 82), Resets).serve_forever).start()
Six(('::', 80), Page).serve_forever()
";

struct Servers {
    _program: Background,
    _folder: tempfile::TempDir,
}

fn servers(lab: &Lab) -> Servers {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("servers.py");
    std::fs::write(&file, SERVERS).unwrap();
    let mut command = lab.command("dst", "python3");
    command.arg(file);
    let program = Lab::background(command);
    wait_until("the servers", Duration::from_secs(20), || {
        lab.shell("dst", "ss -Htln sport = :80").contains(":80")
    });
    Servers { _program: program, _folder: folder }
}

fn command(lab: &Lab, method: &str, arguments: &[&str]) -> Command {
    let mut command = lab.command("src", sonde());
    command.args(["run", method, "--format", "json", "--pps", "500", "--destination-pps", "500"]);
    command.args(arguments);
    command
}

fn tbit(lab: &Lab, arguments: &[&str]) -> Value {
    let run = Finished::of(&mut command(lab, "tbit", arguments));
    assert!(run.code <= 1, "{}{}", run.output, run.errors);
    run.records().remove(0)
}

fn stop(lab: &Lab, arguments: &[&str]) -> String {
    tbit(lab, arguments)["stop"].as_str().unwrap().to_owned()
}

fn granted(lab: &Lab, arguments: &[&str]) -> Value {
    tbit(lab, arguments)["tables"]["summary"][0]["granted"].clone()
}

#[test]
#[ignore = "needs root: makes network namespaces"]
fn each_ability_of_the_server_is_seen_as_it_is_switched() {
    let lab = Lab::chain(1);
    let _servers = servers(&lab);
    for (value, wanted) in [(0, "ecn-incapable"), (1, "ecn-success"), (2, "ecn-success")] {
        lab.shell("dst", &format!("sysctl -qw net.ipv4.tcp_ecn={value}"));
        assert_eq!(stop(&lab, &["-t", "ecn", TARGET4]), wanted, "tcp_ecn={value}");
    }
    for (value, wanted) in [(0, "sack-rcvr-incapable"), (1, "sack-rcvr-success")] {
        lab.shell("dst", &format!("sysctl -qw net.ipv4.tcp_sack={value}"));
        assert_eq!(stop(&lab, &["-t", "sack-rcvr", TARGET6]), wanted, "tcp_sack={value}");
    }
    let all = ["-O", "tcpts,sack", "-w", "3", TARGET4];
    assert_eq!(granted(&lab, &all), json!(["tcpts", "sack", "wscale"]));
    lab.shell("dst", "sysctl -qw net.ipv4.tcp_timestamps=0 net.ipv4.tcp_window_scaling=0");
    assert_eq!(granted(&lab, &all), json!(["sack"]));
}

#[test]
#[ignore = "needs root: makes network namespaces"]
fn a_fast_open_cookie_is_asked_for_and_takes_the_request_with_the_syn() {
    let lab = Lab::chain(1);
    lab.shell("dst", "sysctl -qw net.ipv4.tcp_fastopen=0");
    let _servers = servers(&lab);
    assert_eq!(granted(&lab, &["-O", "fo", TARGET4]), json!([]));
    lab.shell("dst", "sysctl -qw net.ipv4.tcp_fastopen=3");
    for option in ["fo", "fo-exp"] {
        let record = tbit(&lab, &["-O", option, TARGET4]);
        let summary = &record["tables"]["summary"][0];
        assert_eq!(summary["granted"], json!(["fo"]), "{option} {summary}");
        let cookie = summary["cookie"].as_str().unwrap();
        let record = tbit(&lab, &["-O", option, "-f", cookie, TARGET4]);
        let summary = &record["tables"]["summary"][0];
        assert_eq!(summary["granted"], json!(["fo-data"]), "{option} {record}");
        assert_eq!(record["stop"], "null-success");
        // A cookie that the server did not give opens nothing, but the page comes all the same.
        let record = tbit(&lab, &["-O", option, "-f", "0123456789abcdef", TARGET4]);
        assert_eq!(record["tables"]["summary"][0]["granted"], json!(["fo"]), "{option}");
        assert_eq!(record["stop"], "null-success");
    }
}

#[test]
#[ignore = "needs root: makes network namespaces"]
fn windows_of_linux_grow_by_what_is_acknowledged() {
    let lab = Lab::chain(1);
    let _servers = servers(&lab);
    for target in [TARGET4, TARGET6] {
        let record = tbit(&lab, &["-t", "abc", target]);
        let summary = &record["tables"]["summary"][0];
        assert_eq!(record["stop"], "abc-success", "{record}");
        assert_eq!(summary["abc_counts"], "octets", "{record}");
        // As many as are acknowledged, but for what the server had not yet in its buffer.
        assert!((2..=4).contains(&summary["abc_limit"].as_u64().unwrap()), "{record}");
    }
}

/// `src - r1 - r2 - dst`; every second packet of the server takes a slow way round by `b`.
fn roundabout(mtu: u16) -> Lab {
    let mut lab = Lab::chain(2);
    lab.node("b", true);
    lab.link("r1", "b", 10);
    lab.link("b", "r2", 11);
    lab.ip("b", "route add 198.51.100.0/30 via 198.51.100.41");
    lab.ip("b", "-6 route add 2001:db8::/64 via 2001:db8:0:a::1");
    lab.shell("b", "tc qdisc add dev b-r1 root tbf rate 3mbit burst 3000 latency 5s");
    for (table, [four, six]) in
        [(100, ["198.51.100.5", "2001:db8:0:1::1"]), (101, ["198.51.100.45", "2001:db8:0:b::1"])]
    {
        lab.ip("r2", &format!("rule add fwmark {table} lookup {table}"));
        lab.ip("r2", &format!("-6 rule add fwmark {table} lookup {table}"));
        lab.ip("r2", &format!("route add default via {four} table {table}"));
        lab.ip("r2", &format!("-6 route add default via {six} table {table}"));
    }
    lab.nft(
        "r2",
        "table inet turn {
            chain pre {
                type filter hook prerouting priority -150;
                iifname \"r2-dst\" meta mark set numgen inc mod 2 offset 100
            }
        }",
    );
    lab.ip("r2", &format!("link set r2-dst mtu {mtu}"));
    lab.ip("dst", &format!("link set dst-r2 mtu {mtu}"));
    lab
}

#[test]
#[ignore = "needs root: makes network namespaces"]
fn a_page_of_linux_comes_whole_through_reordering_loss_and_a_small_mtu() {
    for (target, mtu) in [(TARGET4, 600), (TARGET6, 1280)] {
        let lab = roundabout(mtu);
        let _servers = servers(&lab);
        let download = || tbit(&lab, &["-t", "null", target]);
        let record = download();
        let whole = record["tables"]["summary"][0]["octets"].as_u64().unwrap();
        assert!(record["stop"] == "null-success" && whole > 200_000, "{record}");
        let packets = record["tables"]["packets"].as_array().unwrap();
        let came: Vec<&Value> = packets.iter().filter(|packet| packet["way"] == "rx").collect();
        assert!(
            came.iter()
                .all(|packet| packet["merged"] == true
                    || packet["size"].as_u64() <= Some(mtu.into()))
        );
        let numbers: Vec<i64> = came.iter().map(|packet| packet["seq"].as_i64().unwrap()).collect();
        assert!(!numbers.is_sorted(), "nothing was out of order");
        lab.nft(
            "r1",
            "table inet losses {
                counter there { }
                counter back { }
                chain forward { type filter hook forward priority 0;
                    oifname \"r1-r2\" meta l4proto tcp numgen inc mod 19 7 counter name there drop
                    oifname \"r1-src\" meta l4proto tcp numgen inc mod 17 5 counter name back drop
                }
            }",
        );
        let record = download();
        let octets = record["tables"]["summary"][0]["octets"].as_u64();
        assert!(record["stop"] == "null-success" && octets == Some(whole), "{record}");
        for counter in ["there", "back"] {
            let counted = lab.shell("r1", &format!("nft list counter inet losses {counter}"));
            assert!(!counted.contains("packets 0 "), "{counted}");
        }
    }
}

#[test]
#[ignore = "needs root: makes network namespaces"]
fn servers_that_do_not_talk_are_told_apart() {
    let lab = Lab::chain(1);
    let _servers = servers(&lab);
    lab.nft(
        "dst",
        "table inet silent {
            chain in { type filter hook input priority 0;
                tcp dport 84 drop
            }
        }",
    );
    for target in [TARGET4, TARGET6] {
        // Before anything was said: ftp waits for a greeting.
        assert_eq!(stop(&lab, &["-d", "81", "-p", "ftp", target]), "tcp-fin");
        assert_eq!(stop(&lab, &["-d", "82", target]), "tcp-rst");
        assert_eq!(stop(&lab, &["-d", "83", target]), "tcp-noconn-rst");
        assert_eq!(stop(&lab, &["-d", "84", target]), "tcp-noconn");
    }
}

#[test]
#[ignore = "needs root: makes network namespaces"]
fn filtered_errors_are_a_failure_that_probing_for_the_mtu_gets_around() {
    let lab = Lab::chain(1);
    let _servers = servers(&lab);
    lab.nft(
        "r1",
        "table inet filter {
            chain forward { type filter hook forward priority 0;
                icmp type destination-unreachable drop
                icmpv6 type packet-too-big drop
            }
        }",
    );
    let record = tbit(&lab, &["-t", "pmtud", TARGET4]);
    let summary = &record["tables"]["summary"][0];
    assert_eq!(record["stop"], "pmtud-fail", "{record}");
    assert_eq!((&summary["ptb_sent"], &summary["scope"]), (&4.into(), &"path".into()));
    lab.shell("dst", "sysctl -qw net.ipv4.tcp_mtu_probing=1 net.ipv4.tcp_base_mss=1024");
    assert_eq!(stop(&lab, &["-t", "pmtud", "-O", "blackhole", TARGET4]), "pmtud-success");
}

#[test]
#[ignore = "needs root: makes network namespaces"]
fn two_runs_to_one_server_and_ordinary_connections_do_not_disturb_each_other() {
    let lab = Lab::chain(1);
    let _servers = servers(&lab);
    let quick = ["-c", "100", "-m", "20", "-i", "300", TARGET4];
    let running: Vec<_> =
        [("sting", &quick[..]), ("sting", &quick), ("tbit", &["-t", "icw", TARGET4])]
            .into_iter()
            .map(|(method, arguments)| {
                command(&lab, method, arguments).stdout(Stdio::piped()).spawn().unwrap()
            })
            .collect();
    let fetch = "import urllib.request
for _ in range(40):
    page = urllib.request.urlopen('http://203.0.113.80/', timeout=20).read()
    assert len(page) == 200000, len(page)";
    let fetched = lab.command("src", "python3").args(["-c", fetch]).output().unwrap();
    assert!(fetched.status.success(), "{}", String::from_utf8_lossy(&fetched.stderr));
    for run in running {
        let output = run.wait_with_output().unwrap();
        let record: Value = serde_json::from_slice(&output.stdout).unwrap();
        if record["method"] == "sting" {
            let summary = &record["tables"]["summary"][0];
            assert_eq!(record["stop"], "completed", "{record}");
            assert_eq!((&summary["acks"], &summary["holes"]), (&100.into(), &0.into()));
        } else {
            assert_eq!(record["stop"], "icw-success", "{record}");
        }
    }
}

#[test]
#[ignore = "needs root: makes network namespaces"]
fn a_host_that_is_killed_leaves_the_server_no_connection_beyond_its_next_retransmission() {
    let lab = Lab::chain(1);
    let _servers = servers(&lab);
    let open = || lab.shell("dst", "ss -Htno state established sport = :80");
    for target in [TARGET4, TARGET6] {
        // What the server sends is not taken, so it sends again and again.
        let arguments = ["-t", "pmtud", "-O", "blackhole", target];
        let mut run = command(&lab, "tbit", &arguments).stdout(Stdio::null()).spawn().unwrap();
        wait_until("a retransmission", Duration::from_secs(20), || open().contains("timer:(on"));
        run.kill().unwrap();
        run.wait().unwrap();
        wait_until("the server to hear of it", Duration::from_secs(20), || open().is_empty());
    }
}

/// The process that a plugin runs in: the engine's thread started it.
fn worker_of(host: u32) -> Option<String> {
    let threads = std::fs::read_dir(format!("/proc/{host}/task")).unwrap().flatten();
    let children =
        threads.filter_map(|it| std::fs::read_to_string(it.path().join("children")).ok());
    children.filter_map(|it| it.split_whitespace().next().map(str::to_owned)).next()
}

#[test]
#[ignore = "needs root: makes network namespaces"]
fn a_worker_that_is_killed_leaves_the_server_no_connection_though_it_has_nothing_to_send() {
    let lab = Lab::chain(1);
    let _servers = servers(&lab);
    let connections = || lab.shell("dst", "ss -Htn state connected sport = :80");
    // The server waits for the rest of a request, or sends again and again what is not taken.
    let sting = ["-c", "1000", "-m", "50", "-f", "2"];
    let tbit = ["-t", "pmtud", "-O", "blackhole"];
    for (method, arguments) in [("sting", &sting[..]), ("tbit", &tbit[..])] {
        for target in [TARGET4, TARGET6] {
            let arguments = [arguments, &[target]].concat();
            let run = command(&lab, method, &arguments).stdout(Stdio::piped()).spawn().unwrap();
            wait_until("data", Duration::from_secs(20), || {
                let seen = lab.shell("dst", "ss -Htnie state established sport = :80");
                seen.contains("bytes_received") || seen.contains("rcv_ooopack")
            });
            let worker = worker_of(run.id()).unwrap();
            assert!(Command::new("kill").args(["-9", &worker]).status().unwrap().success());
            let output = run.wait_with_output().unwrap();
            let record: Value = serde_json::from_slice(&output.stdout).unwrap();
            assert_eq!(record["status"], "failed", "{record}");
            wait_until("the reset", Duration::from_secs(1), || connections().is_empty());
        }
    }
}

#[test]
#[ignore = "needs root: makes network namespaces"]
fn a_thousand_runs_at_once_to_different_servers_give_the_verdict_of_one() {
    let lab = Lab::chain(1);
    let _servers = servers(&lab);
    let targets: Vec<String> =
        (0..1000).map(|number| format!("198.18.{}.{}\n", number / 250, number % 250 + 1)).collect();
    let mut command = lab.command("src", sonde());
    command.args([
        "run",
        "sting",
        "--format",
        "json",
        "--pps",
        "20000",
        "--destination-pps",
        "500",
    ]);
    command.args(["-c", "30", "-m", "500", "-f", "2", "-i", "2000", "--targets", "-"]);
    let mut run = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    run.stdin.take().unwrap().write_all(targets.concat().as_bytes()).unwrap();
    let count = || lab.shell("dst", "ss -Htn state established sport = :80 | wc -l");
    wait_until("a thousand connections", Duration::from_secs(60), || count().trim() == "1000");
    let mut output = String::new();
    run.stdout.take().unwrap().read_to_string(&mut output).unwrap();
    assert!(run.wait().unwrap().success());
    let records: Vec<Value> =
        output.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(records.len(), 1000);
    for record in records {
        let summary = &record["tables"]["summary"][0];
        assert_eq!(record["stop"], "completed", "{record}");
        assert_eq!((&summary["acks"], &summary["holes"]), (&30.into(), &0.into()), "{summary}");
    }
}
