//! What the sockets cost, in CPU time of this thread per packet. Run with
//! `cargo test --release -p sonde-engine --lib costs -- --ignored --nocapture --test-threads 1`.
//!
//! On a virtual Ethernet pair the peer's receiving is done by the sender, so sending includes it.

use std::{
    net::IpAddr,
    os::fd::{AsRawFd, OwnedFd},
};

use sonde_packet::{Ip, Packet, Payload, Transport};

use super::{
    Egress, Options, Sockets,
    fd::{bind, socket},
    lab::{Pair, cpu_time, index},
    messages::Batch,
    ring::link_address,
};
use crate::clock::Clock;

const ROUNDS: u64 = 10_000;
const FAR: [u8; 6] = [2, 0, 0, 0, 0, 0xb];

/// Sixty-four octets to the `number`th destination.
fn probe(six: bool, number: u64) -> Vec<u8> {
    let low = number as u16;
    let (source, destination) = if six {
        ("2001:db8::1", format!("2001:db8:1::{low:x}"))
    } else {
        ("198.51.100.1", format!("198.18.{}.{}", low >> 8, low & 255))
    };
    let [source, destination] = [source, &destination].map(|text| text.parse::<IpAddr>().unwrap());
    let ip = Ip { identification: 1 + low % 60_000, ..Ip::plain(source, destination) };
    let transport = Transport::Echo { identifier: 7, sequence: low };
    let payload = Payload::Zeros(if six { 16 } else { 36 });
    Packet { ip, transport, payload, checksum: None }.to_vec().unwrap()
}

fn drop_at_far(pair: &Pair) {
    let rules = "table netdev t { chain c { type filter hook ingress device far priority 0; \
                 policy drop; }; }";
    pair.shell("far", &format!("nft '{rules}'"));
}

fn resolved(pair: &Pair) {
    pair.ip("near", "neigh replace 198.51.100.2 lladdr 02:00:00:00:00:0b dev near nud permanent");
    pair.ip("near", "neigh replace 2001:db8::2 lladdr 02:00:00:00:00:0b dev near nud permanent");
    pair.ip("far", "neigh replace 198.51.100.1 lladdr 02:00:00:00:00:0a dev far nud permanent");
    pair.ip("far", "neigh replace 2001:db8::1 lladdr 02:00:00:00:00:0a dev far nud permanent");
}

#[test]
#[ignore = "needs root: makes network namespaces"]
fn sending_costs() {
    let pair = Pair::new();
    resolved(&pair);
    drop_at_far(&pair);
    pair.inside("near", || {
        let mut sockets = Sockets::open(Options::default()).unwrap();
        let clock = Clock::new();
        let ethernet = Egress::Ethernet { interface: index("near"), address: FAR };
        let raw = Egress::Raw { interface: index("near") };
        let packets = [false, true]
            .map(|six| (0..64).map(|number| probe(six, number)).collect::<Vec<Vec<u8>>>());
        for (name, egress, six, batch, precise) in [
            ("packet socket, 1", ethernet, false, 1, false),
            ("packet socket, 8", ethernet, false, 8, false),
            ("packet socket, 32", ethernet, false, 32, false),
            ("packet socket, 32, IPv6", ethernet, true, 32, false),
            ("packet socket, 32, stamps", ethernet, false, 32, true),
            ("raw socket, 32", raw, false, 32, false),
            ("raw socket, 32, IPv6", raw, true, 32, false),
        ] {
            let mut best = u64::MAX;
            for _ in 0..5 {
                let begin = cpu_time();
                let (mut sent, mut stamped) = (0u64, 0u64);
                for round in 0..ROUNDS / batch {
                    for number in 0..batch {
                        let tag = round * batch + number;
                        let packet = &packets[usize::from(six)][number as usize];
                        sockets.queue(egress, packet, tag, precise).unwrap();
                    }
                    sockets.flush(&clock, |_, result| sent += u64::from(result.is_ok()));
                    if precise {
                        sockets.stamps(&clock, true, |_, _| stamped += 1);
                    }
                }
                best = best.min((cpu_time() - begin) / sent);
                assert!(!precise || stamped == sent, "{stamped} stamps of {sent}");
            }
            println!("send, {name}: {best} ns");
        }
    });
}

/// Why frames leave by an unbound SOCK_DGRAM socket: against the two ways to write the link header
/// ourselves, in turns.
#[test]
#[ignore = "needs root: makes network namespaces"]
fn costs_of_the_link_header() {
    let pair = Pair::new();
    resolved(&pair);
    drop_at_far(&pair);
    pair.inside("near", || {
        let packets: Vec<Vec<u8>> = (0..32).map(|number| probe(false, number)).collect();
        let interface = index("near");
        let names = ["kernel's header", "ours, unbound", "ours, bound"];
        let mut best = [u64::MAX; 3];
        for _ in 0..8 {
            for (way, best) in best.iter_mut().enumerate() {
                let kind = if way == 0 { libc::SOCK_DGRAM } else { libc::SOCK_RAW };
                let fd = socket(libc::AF_PACKET, kind, 0).unwrap();
                if way == 2 {
                    bind(&fd, &link_address(interface, 0)).unwrap();
                }
                *best = (*best).min(frames(&fd, way, interface, &packets));
            }
        }
        for (name, best) in names.iter().zip(best) {
            println!("link header, {name}: {best} ns");
        }
    });
}

fn frames(fd: &OwnedFd, way: usize, interface: u32, packets: &[Vec<u8>]) -> u64 {
    let header = [&FAR[..], &[2, 0, 0, 0, 0, 0xa, 8, 0]].concat();
    let egress = Egress::Ethernet { interface, address: FAR };
    let mut batch = Batch::new();
    let begin = cpu_time();
    for _ in 0..ROUNDS / 32 {
        let mut frame = [0u8; 128];
        frame[..14].copy_from_slice(&header);
        for packet in packets {
            frame[14..14 + packet.len()].copy_from_slice(packet);
            let whole = &frame[..14 + packet.len()];
            batch.push(egress, if way == 0 { &whole[14..] } else { whole }, 0, false);
        }
        let headers = batch.headers();
        if way == 2 {
            for header in headers.iter_mut() {
                (header.msg_hdr.msg_name, header.msg_hdr.msg_namelen) = (std::ptr::null_mut(), 0);
            }
        }
        // SAFETY: the headers point into the batch.
        let sent = unsafe { libc::sendmmsg(fd.as_raw_fd(), headers.as_mut_ptr(), 32, 0) };
        assert_eq!(sent, 32);
        batch.clear();
    }
    (cpu_time() - begin) / (ROUNDS / 32 * 32)
}

#[test]
#[ignore = "needs root: makes network namespaces"]
fn receiving_costs() {
    let pair = Pair::new();
    resolved(&pair);
    pair.inside("near", || {
        let mut sockets = Sockets::open(Options::default()).unwrap();
        let mut clock = Clock::new();
        let ethernet = Egress::Ethernet { interface: index("near"), address: FAR };
        for six in [false, true] {
            let packets: Vec<Vec<u8>> = (0..64).map(|number| probe(six, number)).collect();
            let (mut all, mut taking) = (u64::MAX, u64::MAX);
            for _ in 0..5 {
                let (mut received, mut sum, mut spent) = (0u64, 0u64, 0);
                let begin = cpu_time();
                let wanted = ROUNDS * 4 / 32 * 32;
                for round in 0..wanted / 32 {
                    for (number, packet) in packets.iter().take(32).enumerate() {
                        sockets.queue(ethernet, packet, number as u64, false).unwrap();
                    }
                    sockets.flush(&clock, |_, result| assert!(result.is_ok()));
                    clock.poll();
                    let from = if round % 64 == 63 { cpu_time() } else { 0 };
                    if from > 0 {
                        received += sockets.receive(usize::MAX, |packet, meta| {
                            sum += clock.arrival(meta.realtime).unwrap() + u64::from(packet[0]);
                        }) as u64;
                        spent += cpu_time() - from;
                    }
                }
                let total = cpu_time() - begin;
                assert!(received > wanted / 2 && sum > 0, "{received} of {wanted}");
                all = all.min(total / wanted);
                taking = taking.min(spent / received);
                std::thread::sleep(std::time::Duration::from_millis(5));
                sockets.receive(usize::MAX, |_, _| {});
            }
            let family = if six { 6 } else { 4 };
            println!("receive, IPv{family}: {taking} ns taking from the ring, {all} ns an echo");
        }
        println!("{:?}", sockets.statistics());
    });
}
