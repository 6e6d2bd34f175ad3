//! What hosts answer.

use sonde_packet::{
    ip_option::{self, IpOption},
    tcp::{TcpView, flags},
};

use super::*;

#[test]
fn an_echo_comes_back_with_its_data_and_tos() {
    both(|six| {
        let mut prober = Prober::draw("vantage - r1 - target");
        let ip = Ip { tos: 0x28, ..prober.ip("target", six) };
        let sent = prober.packet(ip, Transport::Echo { identifier: 9, sequence: 5 }, 100);
        let (took, reply) = prober.send(sent.clone()).pop().unwrap();
        let header = IpHeader::parse(&reply).unwrap();
        assert_eq!((took, header.ttl, header.tos), (milliseconds(4), 63, 0x28));
        assert_eq!(reply[header.header_octets + 4..], sent[header.header_octets + 4..]);
        assert_eq!(classify(&reply).unwrap().class, Class::EchoReply);
    });
}

#[test]
fn a_host_that_was_told_a_smaller_mtu_answers_in_parts() {
    both(|six| {
        let mut prober = Prober::draw("vantage - r1 - target");
        let transport = Transport::Echo { identifier: 1, sequence: 1 };
        let packet = prober.packet(prober.ip("target", six), transport, 1_352);
        let whole = prober.send(packet.clone()).pop().unwrap().1;
        let header = IpHeader::parse(&whole).unwrap();
        let too_big = sonde_packet::ErrorMessage {
            source: header.destination,
            destination: header.source,
            ttl: 64,
            kind: ErrorKind::PacketTooBig(1_280),
            quoted: &whole,
            quoted_octets: 48,
            extensions: &[],
        };
        assert_eq!(prober.send(too_big.to_vec().unwrap()), []);
        let parts = prober.send(packet);
        assert_eq!(parts.len(), 2);
        assert!(parts.iter().all(|(_, part)| part.len() <= 1_280));
        let mut reassembly = fragment::Reassembly::default();
        let made = parts.iter().filter_map(|(_, part)| reassembly.receive(part)).next().unwrap();
        assert_eq!(made.len(), whole.len());
    });
}

#[test]
fn one_host_answers_for_a_whole_prefix() {
    let mut prober = Prober::draw("vantage - r1 - many\nmany 198.51.100.0/24");
    let destination: IpAddr = "198.51.100.77".parse().unwrap();
    let ip = Ip { destination, ..prober.ip("many", false) };
    let packet = prober.packet(ip, Transport::Echo { identifier: 1, sequence: 1 }, 8);
    let (_, reply) = prober.send(packet).pop().unwrap();
    assert_eq!(IpHeader::parse(&reply).unwrap().source, destination);
}

#[test]
fn udp_ports_are_closed_silent_or_echo() {
    both(|six| {
        let mut prober = Prober::draw("vantage - target\ntarget udp 7 echo udp 9 silent");
        let closed = prober.udp("target", six, (40_000, 33_435), 64);
        let received = classify(&closed[0]).unwrap();
        assert_eq!(received.class, Class::Unreachable);
        assert_eq!(received.icmp_code, if six { 4 } else { 3 });
        let echo = prober.udp("target", six, (40_000, 7), 64);
        assert_eq!(classify(&echo[0]).unwrap().class, Class::Udp);
        assert!(echo[0].ends_with(b"abcab"));
        assert!(prober.udp("target", six, (40_000, 9), 64).is_empty());
    });
}

#[test]
fn tcp_ports_are_closed_silent_or_open() {
    both(|six| {
        let mut prober = Prober::draw("vantage - target\ntarget tcp 80 tcp 81 silent");
        let mut answer = |port, bits| {
            let segment = TcpSegment {
                source_port: 40_000,
                destination_port: port,
                sequence: 99,
                acknowledgement: 7,
                flags: bits,
                ..TcpSegment::default()
            };
            let back = prober.tcp("target", six, segment).pop()?;
            let at = classify(&back).unwrap().header_octets;
            let view = TcpView::new(&back[at..]);
            Some((view.flags().unwrap(), view.sequence().unwrap(), view.acknowledgement().unwrap()))
        };
        let (bits, _, acknowledged) = answer(80, flags::SYN).unwrap();
        assert_eq!((bits, acknowledged), (flags::SYN | flags::ACK, 100));
        assert_eq!(answer(22, flags::SYN), Some((flags::RST | flags::ACK, 0, 100)));
        assert_eq!(answer(22, flags::ACK), Some((flags::RST, 7, 0)));
        assert_eq!(answer(22, flags::RST), None);
        assert_eq!(answer(81, flags::SYN), None);
    });
}

#[test]
fn a_timestamp_request_is_answered_with_the_time_of_day() {
    let mut prober = Prober::draw("vantage - target");
    let transport = Transport::Timestamp { identifier: 1, sequence: 2, originate_ms: 77 };
    let packet = prober.packet(prober.ip("target", false), transport, 0);
    let (_, reply) = prober.send(packet).pop().unwrap();
    let day_ms: u32 = (3 * 3_600 + 4 * 60 + 5) * 1_000 + 1;
    assert_eq!(reply[20], 14);
    assert_eq!(reply[28..32], 77u32.to_be_bytes());
    assert_eq!(reply[32..36], day_ms.to_be_bytes());
}

#[test]
fn a_recorded_route_shows_both_ways_and_the_target_twice() {
    let mut prober = Prober::draw(
        "vantage - r1 - r2 - target 
        r1 198.51.100.2 records 198.51.100.5 198.51.100.1
        r2 198.51.100.6 records 198.51.100.9 198.51.100.7
        target 203.0.113.80",
    );
    let options = ip_option::record_route();
    let ip = Ip { options: &options, ..prober.ip("target", false) };
    let packet = prober.packet(ip, Transport::Echo { identifier: 1, sequence: 1 }, 8);
    let (_, reply) = prober.send(packet).pop().unwrap();
    let header = IpHeader::parse(&reply).unwrap();
    let route = ["198.51.100.5", "198.51.100.9", "203.0.113.80", "203.0.113.80", "198.51.100.7"];
    let mut route: Vec<Ipv4Addr> = route.iter().map(|address| address.parse().unwrap()).collect();
    route.push("198.51.100.1".parse().unwrap());
    assert_eq!(ip_option::parse(&reply[header.options]), [IpOption::RecordRoute(route)]);
}

#[test]
fn a_host_that_a_test_wrote_answers_now_and_later() {
    struct Late;
    impl Host for Late {
        fn receive(&mut self, packet: &[u8], _: Duration, net: &mut Outbox<'_>) {
            let header = IpHeader::parse(packet).unwrap();
            let answer = Packet {
                ip: Ip::plain(header.destination, header.source),
                transport: Transport::Udp { source_port: 1, destination_port: 2 },
                payload: Payload::Zeros(1),
                checksum: None,
            };
            net.send_after(milliseconds(5), answer.to_vec().unwrap());
            net.wake(milliseconds(50), 3);
        }

        fn wake(&mut self, token: u64, now: Duration, _: &mut Outbox<'_>) {
            assert_eq!((token, now), (3, milliseconds(51)));
        }
    }
    let mut prober = Prober::new(Net::line(["target"]).host(1, Late));
    assert_eq!(prober.echo("target", false, 64).unwrap().0, milliseconds(7));
    assert_eq!(prober.world.now_ns, 51_000_000);
}

#[test]
fn a_host_may_answer_no_requests() {
    both(|six| {
        let mut prober = Prober::draw("vantage - target\ntarget no-echo no-timestamp");
        assert_eq!(prober.echo("target", six, 64), None);
        assert_eq!(prober.udp("target", six, (1, 2), 64).len(), 1);
    });
    let mut prober = Prober::draw("vantage - target\ntarget no-timestamp");
    let transport = Transport::Timestamp { identifier: 1, sequence: 2, originate_ms: 77 };
    let packet = prober.packet(prober.ip("target", false), transport, 0);
    assert_eq!(prober.send(packet), []);
}

#[test]
fn a_packet_with_a_wrong_checksum_is_not_answered() {
    both(|six| {
        let mut prober = Prober::draw("vantage - target");
        let transport = Transport::Udp { source_port: 1, destination_port: 2 };
        let mut packet = prober.packet(prober.ip("target", six), transport, 20);
        *packet.last_mut().unwrap() ^= 1;
        assert_eq!(prober.send(packet), []);
        assert_eq!(prober.notes(), "target: wrong checksum");
    });
}

#[test]
fn nodes_without_an_address_get_one_of_each_family() {
    let prober = Prober::draw("vantage - r1 - target\nr1 192.0.2.254");
    let address = |name, six| prober.address(name, six).to_string();
    assert_eq!(address("vantage", false), "192.0.2.1");
    assert_eq!(address("vantage", true), "2001:db8::1");
    assert_eq!(address("r1", false), "192.0.2.254");
    assert_eq!(address("r1", true), "fd00::1");
    assert_eq!(address("target", false), "10.0.0.2");
    let prober = Prober::draw("vantage 192.0.2.77\nvantage - target");
    assert_eq!(prober.world.source(false), None);
}
