//! tbit over each application, against servers of a real kernel.
#![allow(clippy::unwrap_used, reason = "a test ends with a panic")]

use std::{process::Command, time::Duration};

use serde_json::Value;
use sonde_tests::{Background, Finished, Lab, TARGET4, TARGET6, sonde, wait_until};

/// A web server over TLS at 443, and one of lines at 25, 21, 53 and 179, which greets where that is usual
/// and closes when it is told QUIT.
const SERVERS: &str = r"
import http.server, os, socket, socketserver, ssl, sys, threading

class Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b'x' * 200000)

class Six(socketserver.ThreadingTCPServer):
    address_family = socket.AF_INET6
    allow_reuse_address = True
    daemon_threads = True

def serve(port, talk):
    class Talk(socketserver.BaseRequestHandler):
        def handle(self):
            talk(self.request)
    threading.Thread(target=Six(('::', port), Talk).serve_forever).start()

def lines(greeting):
    def talk(connection):
        connection.sendall(greeting)
        heard = b''
        while b'QUIT' not in heard:
            heard += connection.recv(4096)
        connection.sendall(b'250 so be it, said many times\r\n' * heard.count(b'\r\n'))
    return talk

def exactly(connection, octets):
    heard = b''
    while len(heard) < octets:
        heard += connection.recv(octets - len(heard))
    return heard

def names(connection):
    length = int.from_bytes(exactly(connection, 2), 'big')
    exactly(connection, length)
    connection.sendall((1000).to_bytes(2, 'big') + b'n' * 1000)
    connection.recv(1)

def border(connection):
    exactly(connection, 29)
    connection.sendall(b'\xff' * 16 + b'\x00\x13\x04')
    connection.recv(1)

context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(sys.argv[1] + '/cert', sys.argv[1] + '/key')
class Secure(Six):
    def get_request(self):
        connection, peer = super().get_request()
        return context.wrap_socket(connection, server_side=True, do_handshake_on_connect=False), peer
threading.Thread(target=Secure(('::', 443), Page).serve_forever).start()
serve(25, lines(b'220 a ESMTP Postfix\r\n'))
serve(21, lines(b'220 ready\r\n'))
serve(53, names)
serve(179, border)
";

struct Servers {
    _program: Background,
    _folder: tempfile::TempDir,
}

fn servers(lab: &Lab) -> Servers {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name);
    std::fs::write(file("servers.py"), SERVERS).unwrap();
    let made = Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
        ])
        .args(["-subj", "/CN=other.example", "-days", "2"])
        .arg("-keyout")
        .arg(file("key"))
        .arg("-out")
        .arg(file("cert"))
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let mut command = lab.command("dst", "python3");
    command.arg(file("servers.py")).arg(folder.path());
    let program = Lab::background(command);
    wait_until("the servers", Duration::from_secs(20), || {
        lab.shell("dst", "ss -Htln sport = :179").contains(":179")
    });
    Servers { _program: program, _folder: folder }
}

fn tbit(lab: &Lab, arguments: &[&str]) -> Value {
    let mut command = lab.command("src", sonde());
    command.args(["run", "tbit", "--format", "json", "--pps", "500", "--destination-pps", "500"]);
    let run = Finished::of(command.args(arguments));
    assert!(run.code <= 1, "{}{}", run.output, run.errors);
    run.records().remove(0)
}

#[test]
#[ignore = "needs root: makes network namespaces"]
fn every_application_is_spoken_to_a_real_server() {
    let lab = Lab::chain(1);
    let _servers = servers(&lab);
    for target in [TARGET4, TARGET6] {
        for (app, status, octets) in [
            ("smtp", "220 a ESMTP Postfix", 21 + 21 * 31),
            ("ftp", "220 ready", 11 + 21 * 31),
            ("dns", "\u{3}", 1002),
            ("bgp", "\u{fffd}", 19),
        ] {
            let record = tbit(&lab, &["-p", app, target]);
            let summary = &record["tables"]["summary"][0];
            assert_eq!(record["stop"], "null-success", "{app} {target} {record}");
            assert!(summary["status"].as_str().unwrap().starts_with(status), "{app} {summary}");
            assert_eq!(summary["octets"], octets, "{app} {summary}");
        }
        let script = r"220 ready|QUIT\r\n";
        let arguments = ["-p", "script", "--script", script, "-d", "21", target];
        assert_eq!(tbit(&lab, &arguments)["stop"], "null-success");
    }
    assert_eq!(lab.shell("dst", "ss -Htn state established"), "", "every connection was closed");
}

#[test]
#[ignore = "needs root: makes network namespaces"]
fn tests_work_over_tls_though_the_certificate_is_of_another_name() {
    let lab = Lab::chain(1);
    lab.shell("dst", "sysctl -qw net.ipv4.tcp_ecn=1");
    let _servers = servers(&lab);
    for (test, wanted) in [
        ("null", "null-success"),
        ("ecn", "ecn-success"),
        ("sack-rcvr", "sack-rcvr-success"),
        ("icw", "icw-success"),
        ("blind-data", "blind-challenge"),
        ("pmtud", "pmtud-success"),
    ] {
        let record = tbit(&lab, &["-t", test, "-u", "https://www.example/page", TARGET4]);
        let summary = &record["tables"]["summary"][0];
        assert_eq!(record["stop"], wanted, "{record}");
        assert_eq!(
            (&summary["tls_version"], &summary["certificate_verified"]),
            (&"TLSv1.3".into(), &false.into())
        );
        if test == "icw" {
            assert_eq!(summary["icw_segments"], 10, "{record}");
        }
        if test == "null" {
            assert_eq!(summary["status"], "HTTP/1.0 200 OK", "{summary}");
            assert!(summary["octets"].as_u64().unwrap() > 200_000, "{summary}");
        }
    }
}
