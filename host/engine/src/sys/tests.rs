//! The sockets against real kernels, in network namespaces.

use std::{
    net::{IpAddr, TcpListener, UdpSocket},
    time::Duration,
};

use caps::{CapSet, Capability};
use sonde_packet::{Class, Ip, Packet, Payload, Protocol, TcpSegment, Transport, classify, tcp};

use super::{
    Departure, Egress, OpenError, Options, Poller, Received, Sockets, StampSource,
    guard::GuardError,
    lab::{Pair, Tunnel, index, send_frame, wait_until},
    wait::Readiness,
};
use crate::{clock::Clock, privileges};

const FAR: [u8; 6] = [2, 0, 0, 0, 0, 0xb];

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn packet(source: &str, destination: &str, transport: Transport<'_>, octets: usize) -> Vec<u8> {
    let ip = Ip { identification: 77, ..Ip::plain(address(source), address(destination)) };
    Packet { ip, transport, payload: Payload::Zeros(octets), checksum: None }.to_vec().unwrap()
}

fn echo(source: &str, destination: &str, sequence: u16) -> Vec<u8> {
    packet(source, destination, Transport::Echo { identifier: 7, sequence }, 56)
}

fn segment(source_port: u16, destination_port: u16, flags: u8) -> Transport<'static> {
    Transport::Tcp(TcpSegment {
        source_port,
        destination_port,
        sequence: 1000,
        flags,
        window: 8192,
        ..TcpSegment::default()
    })
}

/// A received packet.
struct Heard {
    octets: Vec<u8>,
    received: Received,
    at: Option<u64>,
}

impl Heard {
    fn class(&self) -> Option<Class> {
        classify(&self.octets).map(|received| received.class)
    }
}

/// Waits for `wanted` packets, or until 300 ms are over.
fn listen(sockets: &mut Sockets, clock: &mut Clock, wanted: usize) -> Vec<Heard> {
    let mut heard = Vec::new();
    let mut poller = Poller::new();
    poller.add(sockets.ring_fd());
    let end = clock.now() + 300_000_000;
    while heard.len() < wanted && clock.now() < end {
        poller.wait(Some(Duration::from_millis(20))).unwrap();
        clock.poll();
        sockets.receive(1000, |packet, received| {
            let at = clock.arrival(received.realtime);
            heard.push(Heard { octets: packet.to_vec(), received: *received, at });
        });
    }
    heard
}

fn send(
    sockets: &mut Sockets,
    clock: &Clock,
    egress: Egress,
    packets: &[Vec<u8>],
) -> Vec<Result<Departure, i32>> {
    let mut results = vec![None; packets.len()];
    for (tag, packet) in packets.iter().enumerate() {
        sockets.queue(egress, packet, tag as u64, false).unwrap();
    }
    sockets.flush(clock, |tag, result| results[tag as usize] = Some(result));
    results.into_iter().map(Option::unwrap).collect()
}

#[test]
#[ignore = "needs root: makes network namespaces"]
fn without_any_privilege_probes_of_both_families_are_answered() {
    let pair = Pair::new();
    pair.inside("near", || {
        let mut sockets = Sockets::open(Options::default()).unwrap();
        let mut clock = Clock::new();
        privileges::drop_own().unwrap();
        assert!(privileges::missing().is_some(), "this thread could still open packet sockets");
        let ethernet = Egress::Ethernet { interface: index("near"), address: FAR };
        let raw = Egress::Raw { interface: index("lo") };
        for (egress, source, destination) in [
            (ethernet, "198.51.100.1", "198.18.0.9"),
            (ethernet, "2001:db8::1", "2001:db8:1::9"),
            (raw, "127.0.0.1", "127.0.0.1"),
            (raw, "::1", "::1"),
            (raw, "198.51.100.1", "198.51.100.1"),
            (raw, "2001:db8::1", "2001:db8::1"),
            (raw, "198.51.100.1", "198.18.0.10"),
            (raw, "2001:db8::1", "2001:db8:1::10"),
        ] {
            let packets = [echo(source, destination, 1), echo(source, destination, 2)];
            // The first packet may have to wait until the kernel knows its neighbour.
            let before = clock.now();
            let sent = send(&mut sockets, &clock, egress, &packets);
            let heard = listen(&mut sockets, &mut clock, 2);
            let classes: Vec<_> = heard.iter().map(Heard::class).collect();
            assert_eq!(classes, [Some(Class::EchoReply); 2], "from {destination}");
            for (sent, heard) in sent.iter().zip(&heard) {
                let departure = sent.unwrap();
                let at = heard.at.unwrap();
                assert!(before <= departure.at && departure.at <= at + departure.uncertainty);
                assert_eq!(heard.received.source, StampSource::Kernel);
                assert_eq!(heard.received.merged_octets, 0);
                assert!(!heard.received.truncated);
            }
        }
        let guard = sockets.guard(Protocol::Tcp, None, true).unwrap();
        assert!(guard.port() >= 1024);
        assert!(matches!(
            sockets.guard(Protocol::Tcp, Some(80), true),
            Err(GuardError::Privileged { port: 80 })
        ));
        sockets.release(guard);
        sockets.tidy().unwrap();
    });
}

#[test]
#[ignore = "needs root: makes network namespaces"]
fn one_capability_is_enough_and_needed() {
    let pair = Pair::new();
    pair.inside("near", || {
        let only: caps::CapsHashSet = [Capability::CAP_NET_RAW].into_iter().collect();
        for set in [CapSet::Effective, CapSet::Permitted] {
            caps::set(None, set, &only).unwrap();
        }
        Sockets::open(Options::default()).unwrap();
        privileges::drop_own().unwrap();
        let error = Sockets::open(Options::default()).unwrap_err();
        assert!(matches!(error, OpenError::NotPermitted(_)), "{error}");
        assert!(error.to_string().contains("sudo setcap cap_net_raw+ep"), "{error}");
    });
}

#[test]
#[ignore = "needs root: makes network namespaces"]
fn each_packet_of_a_batch_is_reported_and_a_bad_one_stops_no_other() {
    let pair = Pair::new();
    pair.inside("near", || {
        let mut sockets = Sockets::open(Options::default()).unwrap();
        let mut clock = Clock::new();
        let ethernet = Egress::Ethernet { interface: index("near"), address: FAR };
        let raw = Egress::Raw { interface: index("near") };
        let large = |source, destination| {
            packet(source, destination, Transport::Echo { identifier: 7, sequence: 2 }, 3000)
        };
        for (egress, source, destination) in [
            (ethernet, "198.51.100.1", "198.18.0.9"),
            (raw, "198.51.100.1", "198.18.0.9"),
            (raw, "2001:db8::1", "2001:db8:1::9"),
        ] {
            let packets = [
                echo(source, destination, 1),
                large(source, destination),
                echo(source, destination, 3),
            ];
            let results = send(&mut sockets, &clock, egress, &packets);
            assert!(results[0].is_ok() && results[2].is_ok(), "{results:?}");
            assert_eq!(results[1], Err(libc::EMSGSIZE));
            assert_eq!(listen(&mut sockets, &mut clock, 2).len(), 2);
            // What the kernel queued about it does not disturb later packets.
            sockets.stamps(&clock, true, |_, _| panic!("nobody asked for a stamp"));
        }
        let nowhere = Egress::Ethernet { interface: 4711, address: FAR };
        let results = send(&mut sockets, &clock, nowhere, &[echo("198.51.100.1", "198.18.0.9", 1)]);
        assert_eq!(results, [Err(libc::ENXIO)]);
    });
}

#[test]
#[ignore = "needs root: makes network namespaces"]
fn a_path_mtu_of_the_kernel_keeps_no_probe_back() {
    let pair = Pair::new();
    // What it makes of an error that names no MTU (RFC 1191, section 5), and the least of IPv6.
    pair.ip("near", "route add 198.18.0.10 via 198.51.100.2 mtu lock 552");
    pair.ip("near", "-6 route add 2001:db8:1::10 via 2001:db8::2 mtu 1280");
    pair.inside("near", || {
        let mut sockets = Sockets::open(Options::default()).unwrap();
        let clock = Clock::new();
        let raw = Egress::Raw { interface: index("near") };
        let transport = Transport::Echo { identifier: 7, sequence: 2 };
        for (source, destination) in
            [("198.51.100.1", "198.18.0.10"), ("2001:db8::1", "2001:db8:1::10")]
        {
            let results =
                send(&mut sockets, &clock, raw, &[packet(source, destination, transport, 1400)]);
            assert!(results[0].is_ok(), "{destination}: {results:?}");
        }
    });
}

#[test]
#[ignore = "needs root: makes network namespaces"]
fn a_batch_takes_no_more_than_it_can() {
    let pair = Pair::new();
    pair.inside("near", || {
        let mut sockets = Sockets::open(Options::default()).unwrap();
        let clock = Clock::new();
        let ethernet = Egress::Ethernet { interface: index("near"), address: FAR };
        let probe = echo("198.51.100.1", "198.18.0.9", 1);
        let taken = (0..100).filter(|tag| sockets.queue(ethernet, &probe, *tag, false).is_ok());
        assert_eq!(taken.count(), 64);
        let mut tags = Vec::new();
        sockets.flush(&clock, |tag, result| {
            result.unwrap();
            tags.push(tag);
        });
        assert_eq!(tags, (0..64).collect::<Vec<_>>());
        assert!(sockets.queue(ethernet, &probe, 0, false).is_ok());
    });
}

#[test]
#[ignore = "needs root: makes network namespaces"]
fn departures_are_stamped_by_the_kernel_on_every_kind_of_socket() {
    let pair = Pair::new();
    for kernel_numbers in [false, true] {
        pair.inside("near", || {
            let mut sockets = Sockets::open(Options::default()).unwrap();
            if kernel_numbers {
                sockets.let_the_kernel_number();
            }
            let mut clock = Clock::new();
            let ethernet = Egress::Ethernet { interface: index("near"), address: FAR };
            let raw = Egress::Raw { interface: index("near") };
            let ip4 = echo("198.51.100.1", "198.18.0.9", 1);
            let ip6 = echo("2001:db8::1", "2001:db8:1::9", 1);
            let large = packet(
                "198.51.100.1",
                "198.18.0.9",
                Transport::Echo { identifier: 7, sequence: 2 },
                3000,
            );
            for round in 0..3u64 {
                let mut queue = |tag, egress, packet: &[u8], precise| {
                    sockets.queue(egress, packet, round * 100 + tag, precise).unwrap();
                };
                queue(1, ethernet, &ip4, true);
                queue(2, ethernet, &ip4, false);
                queue(3, ethernet, &large, true);
                queue(4, ethernet, &ip6, true);
                queue(5, raw, &ip4, true);
                queue(6, raw, &ip4, false);
                queue(7, raw, &large, true);
                queue(8, raw, &ip4, true);
                queue(9, raw, &ip6, true);
                clock.poll();
                let mut departures = std::collections::BTreeMap::new();
                sockets.flush(&clock, |tag, result| {
                    departures.insert(tag, result);
                });
                let mut poller = Poller::new();
                sockets.stamp_fds().for_each(|fd| poller.add_errors(fd));
                let mut stamped = Vec::new();
                while poller.wait(Some(Duration::from_millis(100))).unwrap() == Readiness::Ready {
                    clock.poll();
                    sockets.stamps(&clock, true, |tag, stamp| {
                        let departure: Departure = departures[&tag].unwrap();
                        let error = stamp.at.abs_diff(departure.at);
                        assert!(error <= departure.uncertainty + 100_000, "{tag}: {error} ns");
                        stamped.push(tag);
                    });
                }
                stamped.sort_unstable();
                assert_eq!(
                    stamped,
                    [1, 4, 5, 8, 9].map(|tag| round * 100 + tag),
                    "kernel numbers: {kernel_numbers}, round {round}, {departures:?}"
                );
            }
        });
    }
}

#[test]
#[ignore = "needs root: makes network namespaces"]
fn only_what_can_answer_a_probe_leaves_the_kernel() {
    let pair = Pair::new();
    pair.inside("near", || {
        let mut sockets = Sockets::open(Options::default()).unwrap();
        let mut clock = Clock::new();
        // Requests, a connection of the host, datagrams.
        let server = TcpListener::bind("198.51.100.1:0").unwrap();
        let port = server.local_addr().unwrap().port();
        let datagrams = UdpSocket::bind("198.51.100.1:0").unwrap();
        let datagram_port = datagrams.local_addr().unwrap().port();
        pair.inside("far", || {
            let _connection = std::net::TcpStream::connect(("198.51.100.1", port)).unwrap();
            let socket = UdpSocket::bind("[::]:0").unwrap();
            let to = format!("[::ffff:198.51.100.1]:{datagram_port}");
            socket.send_to(b"not for us", to).unwrap();
        });
        pair.shell("far", "ping -q -c 2 -i 0.1 198.51.100.1; ping -q -c 2 -i 0.1 2001:db8::1");
        let heard = listen(&mut sockets, &mut clock, 1);
        let classes: Vec<_> = heard.iter().map(Heard::class).collect();
        assert_eq!(classes, []);
        assert_eq!(sockets.statistics().packets, 0);
    });
}

#[test]
#[ignore = "needs root: makes network namespaces"]
fn what_a_bridge_port_receives_is_heard_once() {
    let pair = Pair::new();
    pair.ip("near", "link add name bridge type bridge");
    pair.ip("near", &format!("link add port type veth peer name other netns {}", pair.far));
    pair.ip("near", "link set port master bridge");
    pair.ip("near", "link set port up");
    pair.ip("near", "link set bridge up");
    pair.ip("near", "addr add 192.0.2.1/24 dev bridge");
    pair.ip("far", "addr add 192.0.2.2/24 dev other");
    pair.ip("far", "link set other up");
    pair.inside("near", || {
        let mut sockets = Sockets::open(Options::default()).unwrap();
        let mut clock = Clock::new();
        sockets.ignore(&[index("port")]);
        let raw = Egress::Raw { interface: 0 };
        wait_until("the answer", || {
            send(&mut sockets, &clock, raw, &[echo("192.0.2.1", "192.0.2.2", 1)])[0].unwrap();
            let heard = listen(&mut sockets, &mut clock, 2);
            let from: Vec<_> = heard
                .iter()
                .filter(|heard| heard.class() == Some(Class::EchoReply))
                .map(|heard| heard.received.interface)
                .collect();
            assert!(from.is_empty() || from == [index("bridge")], "{from:?}");
            !from.is_empty()
        });
    });
}

#[test]
#[ignore = "needs root: makes network namespaces"]
fn frames_for_a_virtual_network_or_another_machine_are_not_heard() {
    let pair = Pair::new();
    pair.inside("near", || {
        let mut sockets = Sockets::open(Options::default()).unwrap();
        let mut clock = Clock::new();
        pair.ip("near", "link set near promisc on");
        pair.inside("far", || {
            let near = [2, 0, 0, 0, 0, 0xa];
            let other = [2, 0, 0, 0, 0, 0xc];
            for (destination, tag) in [
                (near, &[][..]),
                (near, &[0x81, 0, 0, 5]),
                (other, &[]),
                (near, &[0x88, 0xa8, 0, 5]),
            ] {
                let reply = Transport::Icmp { kind: 0, code: 0, rest: [0, 7, 0, 1] };
                let packet = packet("198.51.100.2", "198.51.100.1", reply, 56);
                let frame = [&destination[..], &FAR, tag, &[8, 0], &packet].concat();
                send_frame("far", &frame);
            }
        });
        assert_eq!(listen(&mut sockets, &mut clock, 4).len(), 1);
    });
}

#[test]
#[ignore = "needs root: makes network namespaces"]
fn the_kernel_resets_no_guarded_conversation() {
    let pair = Pair::new();
    for (privileged, ttl) in [(true, 64), (false, 64), (false, 255)] {
        pair.shell(
            "far",
            &format!("sysctl -qw net.ipv4.ip_default_ttl={ttl} net.ipv6.conf.far.hop_limit={ttl}"),
        );
        pair.inside("near", || converse(&pair, privileged));
    }
}

/// Opens connections to far that only we know of, and checks that our kernel keeps out of them.
fn converse(pair: &Pair, privileged: bool) {
    let mut sockets = Sockets::open(Options::default()).unwrap();
    let mut clock = Clock::new();
    let server = pair.inside("far", || TcpListener::bind("[::]:8080").unwrap());
    if !privileged {
        privileges::drop_own().unwrap();
    }
    let ethernet = Egress::Ethernet { interface: index("near"), address: FAR };
    for (source, destination) in [("198.51.100.1", "198.51.100.2"), ("2001:db8::1", "2001:db8::2")]
    {
        let guard = sockets.guard(Protocol::Tcp, None, true).unwrap();
        let before = resets();
        let syn = packet(source, destination, segment(guard.port(), 8080, tcp::flags::SYN), 0);
        send(&mut sockets, &clock, ethernet, &[syn])[0].unwrap();
        let heard = listen(&mut sockets, &mut clock, 1);
        assert_eq!(heard[0].class(), Some(Class::Tcp));
        assert_eq!(resets(), before, "our kernel sent a reset to {destination}");
        // Another port of ours has no flow: the kernel answers, and we do not hear it.
        let other = packet(source, destination, segment(1025, 8080, tcp::flags::SYN), 0);
        send(&mut sockets, &clock, ethernet, &[other])[0].unwrap();
        wait_until("the reset", || resets() == before + 1);
        let heard = listen(&mut sockets, &mut clock, 1);
        let foreign = heard.iter().filter(|heard| {
            let received = classify(&heard.octets).unwrap();
            received.flow.unwrap().local != guard.port()
        });
        assert_eq!(foreign.count(), 0);
        sockets.release(guard);
        sockets.tidy().unwrap();
    }
    drop(server);
}

/// Resets that the kernel of this namespace has sent.
fn resets() -> u64 {
    let text = std::fs::read_to_string("/proc/thread-self/net/snmp").unwrap();
    let line = text.lines().rfind(|line| line.starts_with("Tcp:")).unwrap();
    line.split_whitespace().nth(14).unwrap().parse().unwrap()
}

#[test]
#[ignore = "needs root: makes network namespaces"]
fn the_kernel_reports_no_guarded_port_as_unreachable() {
    let pair = Pair::new();
    pair.inside("near", || {
        let mut sockets = Sockets::open(Options::default()).unwrap();
        let mut clock = Clock::new();
        let guard = sockets.guard(Protocol::Udp, None, true).unwrap();
        // However many ports were taken, they are received once something leaves.
        assert!(sockets.is_stale);
        sockets.flush(&clock, |_, _| {});
        assert!(!sockets.is_stale);
        pair.inside("far", || {
            for (local, near) in [("0.0.0.0:0", "198.51.100.1"), ("[::]:0", "2001:db8::1")] {
                let socket = UdpSocket::bind(local).unwrap();
                socket.connect((near, guard.port())).unwrap();
                socket.send(b"an answer").unwrap();
                socket.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
                let error = socket.recv(&mut [0; 10]).unwrap_err();
                assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock, "{near} is unreachable");
            }
        });
        let heard = listen(&mut sockets, &mut clock, 2);
        assert_eq!(heard.iter().map(Heard::class).collect::<Vec<_>>(), [Some(Class::Udp); 2]);
        let port = guard.port();
        assert!(matches!(
            sockets.guard(Protocol::Udp, Some(port), true),
            Err(GuardError::Taken { .. })
        ));
        sockets.release(guard);
        let again = sockets.guard(Protocol::Udp, Some(port), true).unwrap();
        assert_eq!(again.port(), port);
    });
}

#[test]
#[ignore = "needs root: makes network namespaces"]
fn merged_segments_say_how_large_they_were() {
    let pair = Pair::new();
    pair.inside("near", || {
        let mut sockets = Sockets::open(Options::default()).unwrap();
        let mut clock = Clock::new();
        let ethernet = Egress::Ethernet { interface: index("near"), address: FAR };
        let guard = sockets.guard(Protocol::Tcp, None, true).unwrap();
        let server = pair.inside("far", || TcpListener::bind("[::]:8080").unwrap());
        let (source, destination) = ("198.51.100.1", "198.51.100.2");
        let syn = packet(source, destination, segment(guard.port(), 8080, tcp::flags::SYN), 0);
        send(&mut sockets, &clock, ethernet, &[syn])[0].unwrap();
        let heard = listen(&mut sockets, &mut clock, 1);
        let theirs = u32::from_be_bytes(heard[0].octets[24..28].try_into().unwrap());
        let ack = Transport::Tcp(TcpSegment {
            source_port: guard.port(),
            destination_port: 8080,
            sequence: 1001,
            acknowledgement: theirs.wrapping_add(1),
            flags: tcp::flags::ACK,
            window: 65_000,
            ..TcpSegment::default()
        });
        send(&mut sockets, &clock, ethernet, &[packet(source, destination, ack, 0)])[0].unwrap();
        let (mut connection, _) = server.accept().unwrap();
        std::io::Write::write_all(&mut connection, &[7; 4000]).unwrap();
        let heard = listen(&mut sockets, &mut clock, 2);
        // No option was offered, so segments carry 536 octets each.
        let merged = heard.iter().find(|heard| heard.received.merged_octets != 0).unwrap();
        assert_eq!(merged.received.merged_octets, 536);
        assert!(merged.octets.len() > 1500, "{}", merged.octets.len());
        assert!(merged.received.checksum_not_ready);
    });
}

#[test]
#[ignore = "needs root: makes network namespaces"]
fn a_full_ring_is_counted_as_our_own_loss() {
    let pair = Pair::new();
    pair.inside("near", || {
        let mut sockets = Sockets::open(Options { ring_blocks: 2 }).unwrap();
        let mut clock = Clock::new();
        let ethernet = Egress::Ethernet { interface: index("near"), address: FAR };
        let probe = vec![
            packet(
                "198.51.100.1",
                "198.18.0.9",
                Transport::Echo { identifier: 7, sequence: 1 },
                1400
            );
            64
        ];
        for _ in 0..16 {
            send(&mut sockets, &clock, ethernet, &probe);
        }
        let heard = listen(&mut sockets, &mut clock, 64 * 16).len() as u64;
        let statistics = sockets.statistics();
        assert!(statistics.drops > 0);
        assert_eq!(statistics.packets, heard + statistics.drops);
        assert_eq!(heard + statistics.drops, 64 * 16);
    });
}

#[test]
#[ignore = "needs root: makes network namespaces"]
fn a_tunnel_takes_packets_as_they_are_and_is_heard() {
    let pair = Pair::new();
    pair.inside("near", || {
        let mut tunnel = Tunnel::new("tunnel");
        // No messages of the kernel's own.
        pair.shell("near", "sysctl -qw net.ipv6.conf.tunnel.addr_gen_mode=1");
        pair.ip("near", "link set tunnel up");
        pair.ip("near", "addr add 192.0.2.1 peer 192.0.2.2 dev tunnel");
        pair.ip("near", "-6 addr add 2001:db8:2::1/64 dev tunnel nodad");
        pair.ip("near", "route add 203.0.113.0/24 dev tunnel");
        let mut sockets = Sockets::open(Options::default()).unwrap();
        let mut clock = Clock::new();
        let raw = Egress::Raw { interface: index("tunnel") };
        for (source, destination) in
            [("192.0.2.1", "203.0.113.9"), ("2001:db8:2::1", "2001:db8:2::9")]
        {
            let (source, destination) = (address(source), address(destination));
            let ip = Ip {
                ttl: 3,
                tos: 0x1d,
                identification: 4660,
                dont_fragment: false,
                flow_label: 0xabcde,
                ..Ip::plain(source, destination)
            };
            // The checksum is one that nobody would compute.
            let transport = Transport::Udp { source_port: 40_000, destination_port: 33_434 };
            let payload = Payload::Zeros(20);
            let mut sent = Packet { ip, transport, payload, checksum: None }.to_vec().unwrap();
            let checksum = sent.len() - 22;
            sent[checksum..checksum + 2].copy_from_slice(&[0x12, 0x34]);
            send(&mut sockets, &clock, raw, &[sent.clone()])[0].unwrap();
            let mut taken = tunnel.take();
            while taken[0] >> 4 != sent[0] >> 4 || taken.len() != sent.len() {
                taken = tunnel.take();
            }
            assert_eq!(taken, sent);
            let kind = if source.is_ipv6() { 129 } else { 0 };
            let reply = Transport::Icmp { kind, code: 0, rest: [0, 7, 0, 1] };
            let ip = Ip::plain(destination, source);
            let reply = Packet { ip, transport: reply, payload, checksum: None }.to_vec().unwrap();
            tunnel.give(&reply);
            let heard = listen(&mut sockets, &mut clock, 1);
            assert_eq!(heard.len(), 1);
            assert_eq!(heard[0].octets, reply);
            assert_eq!(heard[0].received.interface, index("tunnel"));
            assert_eq!(heard[0].received.source, StampSource::Kernel);
        }
    });
}
