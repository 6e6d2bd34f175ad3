//! What is on the wire, and what is refused.

use super::*;

#[test]
fn a_connection_is_reset_once_where_it_was_accepted() {
    for target in [TARGET4, TARGET6] {
        let params = PingParams { method: TcpSyn, ..ping(target, 3) };
        let run = run_in(net().attributes("target", "tcp 80"), params);
        let both = flags::SYN | flags::ACK;
        assert_eq!(run.table("replies").column("tcp_flags"), [both, both, both]);
        let sent: Vec<TcpView<'_>> = transports(&run).into_iter().map(TcpView::new).collect();
        let bits: Vec<u8> = sent.iter().filter_map(TcpView::flags).collect();
        let (syn, rst) = (flags::SYN, flags::RST);
        assert_eq!(bits, [syn, rst, syn, rst, syn, rst], "{run}");
        for pair in sent.chunks(2) {
            let next = pair[0].sequence().map(|sequence| sequence.wrapping_add(1));
            assert_eq!((pair[1].sequence(), pair[1].source_port()), (next, pair[0].source_port()));
        }
    }
    assert_eq!(run_in(net(), ping_by(TcpSyn, 3)).counters.sent, 3, "a refusal needs no reset");
}

#[test]
fn rows_tell_the_identification_that_their_probes_left_with() {
    for target in [TARGET4, TARGET6] {
        for method in kinds(target) {
            let run = run_in(net(), PingParams { method, ..ping(target, 3) });
            let sent = run.exchange().sent();
            let sent: Vec<_> = sent.map(|it| IpHeader::parse(it).unwrap().identification).collect();
            let rows = run.typed::<ReplyRow>("replies");
            let told: Vec<_> = rows.iter().map(|row| row.probe_ip_id.map(u32::from)).collect();
            assert_eq!(told, sent, "{method} {run}");
            assert_eq!(told[0].is_some(), target == TARGET4);
        }
    }
}

#[test]
fn identifications_are_not_0_and_differ_for_as_long_as_they_can() {
    let params = ping(TARGET4, 1);
    for first in [0, 1, 40_000, u16::MAX] {
        let secret = Secret::of(&params, &params.shape().unwrap(), 1, first);
        let numbers = || (u32::MAX - 65_534)..=u32::MAX;
        let ids: BTreeSet<u16> = numbers().map(|number| secret.ip_id(number)).collect();
        assert_eq!((ids.len(), ids.first()), (65_535, Some(&1)));
        let is_counted_up =
            |number| secret.ip_id(number).wrapping_add(1) == secret.ip_id(number + 1);
        assert!(!(0..65_534).any(is_counted_up));
    }
}

#[test]
fn tcp_ack_probes_share_a_port_and_differ_in_their_number() {
    let run = run_in(net(), ping_by(TcpAck, 3));
    let ports = words_at(&run, 0);
    assert!(ports.iter().all(|port| *port == ports[0]), "{run}");
    let number = |octets| TcpView::new(octets).acknowledgement().unwrap();
    let numbers: Vec<u32> = transports(&run).into_iter().map(number).collect();
    assert_eq!(numbers, [0, 1, 2].map(|n| numbers[0].wrapping_add(n)));
}

#[test]
fn tcp_ack_sport_probes_have_a_port_each() {
    let ports: BTreeSet<u16> =
        words_at(&run_in(net(), ping_by(TcpAckSport, 20)), 0).into_iter().collect();
    assert_eq!(ports.len(), 20);
    let params = PingParams { sport: 40_000, ..ping_by(TcpAckSport, 3) };
    assert_eq!(words_at(&run_in(net(), params), 0), [40_000, 40_001, 40_002]);
}

#[test]
fn udp_dport_probes_count_the_destination_port_up() {
    let params = PingParams { dport: 65_534, ..ping_by(UdpDport, 4) };
    assert_eq!(words_at(&run_in(net(), params), 2), [65_534, 65_535, 1, 2]);
}

#[test]
fn payload_pattern_and_checksum_are_on_the_wire() {
    let payload = PingParams { payload: Some(Hex(vec![1, 2, 3])), ..ping(TARGET4, 1) };
    assert_eq!(transports(&run_in(net(), payload))[0][8..], [1, 2, 3]);
    let pattern = PingParams { pattern: Some(Hex(vec![7, 8])), size: Some(33), ..ping(TARGET4, 1) };
    assert_eq!(transports(&run_in(net(), pattern))[0][8..], [7, 8, 7, 8, 7]);
    let method = describe_method::<Ping>();
    let parse =
        |name| method.parameters.iter().find(|p| p.name == name).unwrap().parse("abc", None);
    assert_eq!(parse("pattern"), Ok(Value::Bytes(vec![0x0a, 0xbc])), "a leading 0");
    assert!(parse("payload").is_err(), "exact octets");
    for target in [TARGET4, TARGET6] {
        for (text, word) in [("0x1234", 0x1234), ("77", 77), ("0", 0)] {
            let params = PingParams { checksum: Some(text.to_owned()), ..ping(target, 3) };
            let run = run_in(net(), params);
            assert_eq!(words_at(&run, 2), [word, word, word]);
            assert_eq!(of_kind(&run, "reply"), [0, 1, 2], "a wrong checksum has no answer\n{run}");
        }
    }
}

#[test]
fn size_ttl_and_tos_are_those_of_the_packet() {
    for (target, echo, udp, size) in [(TARGET4, 84, 40, 200), (TARGET6, 56, 60, 140)] {
        for (method, usual) in [(IcmpEcho, echo), (Udp, udp)] {
            let params = PingParams { method, ..ping(target, 1) };
            let chosen = PingParams { size: Some(size), ttl: 9, tos: 184, ..params.clone() };
            for (params, expected) in [(params, (usual, 64, 0)), (chosen, (size, 9, 184))] {
                let run = run_in(net(), params);
                let packet = run.exchange().sent().next().unwrap();
                let header = IpHeader::parse(packet).unwrap();
                assert_eq!((packet.len() as u16, header.ttl, header.tos), expected, "{run}");
            }
        }
    }
}

#[test]
fn segments_have_no_payload_unless_a_size_is_chosen() {
    let octets = |target, method, size| {
        let run = run_in(net(), PingParams { method, size, ..ping(target, 1) });
        run.exchange().sent().next().unwrap().len()
    };
    for method in [TcpAck, TcpAckSport, TcpRst, TcpSyn, TcpSynAck, TcpSynSport] {
        assert_eq!(octets(TARGET4, method, None), 40, "{method}");
        assert_eq!(octets(TARGET6, method, None), 60, "{method}");
        // What the seed system always sends.
        assert_eq!(octets(TARGET4, method, Some(84)), 84, "{method}");
        assert_eq!(octets(TARGET6, method, Some(56)), 60, "{method}");
    }
    assert_eq!(octets(TARGET4, IcmpTime, None), 84);
    assert_eq!(octets(TARGET4, Udp, Some(84)), 84);
}

#[test]
fn where_little_of_the_payload_is_random_the_first_sequence_number_is() {
    let first =
        |size| words_at(&run_in(net(), PingParams { size: Some(size), ..ping(TARGET4, 2) }), 6);
    assert_eq!(first(36), [0, 1], "eight random octets");
    for size in [28, 35] {
        let numbers = first(size);
        assert_ne!(numbers[0], 0, "{size}");
        assert_eq!(numbers[1], numbers[0].wrapping_add(1), "{size}");
    }
}

#[test]
fn parameters_that_do_not_fit_are_refused_by_name() {
    let usual = || ping(TARGET4, 1);
    let octets = || Some(Hex(vec![1]));
    let sum = || Some("7".to_owned());
    for (params, begin) in [
        (PingParams { method: IcmpTime, ..ping(TARGET6, 1) }, "method is icmp-time"),
        (PingParams { rr: true, ..ping(TARGET6, 1) }, "rr is 1"),
        (PingParams { size: Some(39), ..ping_by(TcpSyn, 1) }, "size is 39, accepted: 40 "),
        (PingParams { size: Some(67), rr: true, ..usual() }, "size is 67, accepted: 68 "),
        (PingParams { size: Some(47), ..ping(TARGET6, 1) }, "size is 47, accepted: 48 "),
        (PingParams { payload: octets(), pattern: octets(), ..usual() }, "payload and scamper"),
        (PingParams { checksum: sum(), ..ping_by(Udp, 1) }, "icmp.checksum takes"),
        (PingParams { checksum: sum(), payload: octets(), ..usual() }, "icmp.checksum takes"),
        (PingParams { checksum: sum(), size: Some(29), ..usual() }, "icmp.checksum takes"),
        (PingParams { checksum: Some("x".to_owned()), ..usual() }, "icmp.checksum is \"x\""),
    ] {
        let text = refusal(params);
        assert!(text.strip_prefix("scamper.ping.").is_some_and(|t| t.starts_with(begin)), "{text}");
    }
    for (params, begin) in [
        (PingParams { gateway: TARGET6.parse().ok(), ..usual() }, "gateway is 2001:db8:9::9"),
        (PingParams { mss: 536, ..ping_by(TcpAck, 1) }, "mss is 536, accepted: 0 with tcp-ack"),
        (PingParams { acknowledgement: Some(1), ..ping_by(TcpSyn, 1) }, "acknowledgement is 1"),
        (PingParams { sequence: Some(65_536), ..usual() }, "sequence is 65536, accepted: 0 ... 65"),
        (PingParams { sequence: Some(1), ..ping_by(Udp, 1) }, "sequence is 1, accepted: with"),
        (PingParams { payload_octets: Some(5), size: Some(99), ..usual() }, ""),
        (PingParams { payload_octets: Some(100), size: Some(84), ..usual() }, "84, accepted: 128"),
        (PingParams { payload_octets: Some(5), payload: octets(), ..usual() }, "payloadsize is 5"),
        (PingParams { payload_octets: Some(65_535), ..usual() }, "payloadsize is 65535, a packet"),
        (PingParams { timestamp: Some("ts".to_owned()), ..usual() }, "timestamp is \"ts\""),
        (PingParams { timestamp: Some("tsprespec=".to_owned()), ..usual() }, "timestamp is"),
        (PingParams { timestamp: Some("tsonly".to_owned()), ..ping(TARGET6, 1) }, "timestamp is"),
    ] {
        let text = refusal(params);
        let known =
            ["sonde.ping.", "scamper.ping.size is 99, accepted: 33", "scamper.ping.size is "];
        let rest = known.iter().find_map(|name| text.strip_prefix(name));
        assert!(rest.is_some_and(|rest| rest.starts_with(begin)), "{text}");
    }
    let both = PingParams { timestamp: Some("tsonly".to_owned()), rr: true, ..usual() };
    assert!(refusal(both).contains("exclude each other"));
    let other_family = PingParams { source: TARGET6.parse().ok(), ..usual() };
    assert_eq!(refusal(other_family), "source and destination are of different families");
}

#[test]
fn kinds_with_a_port_each_count_it_up_where_it_is_chosen() {
    for method in [TcpAckSport, TcpSynSport, UdpSport] {
        let run = run_in(net(), PingParams { sport: 65_534, ..ping_by(method, 4) });
        // Behind the last they go on where anybody may have them.
        assert_eq!(words_at(&run, 0), [65_534, 65_535, 1024, 1025], "{method}");
        let others: BTreeSet<u16> =
            words_at(&run_in(net(), ping_by(method, 20)), 0).into_iter().collect();
        assert_eq!(others.len(), 20, "{method}");
    }
}

#[test]
fn chosen_numbers_and_segment_size_are_in_the_segments() {
    let sent = |method, sequence, acknowledgement| {
        let params = PingParams { sequence, acknowledgement, mss: 0, ..ping_by(method, 2) };
        let run = run_in(net(), params);
        let segments = transports(&run).into_iter().map(TcpView::new);
        segments
            .map(|it| (it.sequence().unwrap(), it.acknowledgement().unwrap(), it.flags().unwrap()))
            .collect::<Vec<_>>()
    };
    let ack = flags::ACK;
    assert_eq!(sent(TcpAck, Some(5), Some(u32::MAX)), [(5, u32::MAX, ack), (5, 0, ack)]);
    assert_eq!(sent(TcpAckSport, Some(5), Some(9)), [(5, 9, ack), (5, 9, ack)]);
    let both = flags::SYN | ack;
    assert_eq!(sent(TcpSynAck, Some(5), Some(9)), [(5, 9, both), (5, 10, both)]);
    let syn = flags::SYN;
    assert_eq!(sent(TcpSyn, Some(5), None), [(5, 0, syn), (65_541, 0, syn)]);
    assert_eq!(sent(TcpSynSport, Some(5), None), [(5, 0, syn), (5, 0, syn)]);
    assert_eq!(sent(TcpRst, Some(5), None), [(5, 0, flags::RST), (65_541, 0, flags::RST)]);
    for method in [TcpSyn, TcpSynSport, TcpSynAck] {
        let run = run_in(net(), PingParams { mss: 536, ..ping_by(method, 1) });
        let options: Vec<_> = TcpView::new(transports(&run)[0]).options().collect();
        assert_eq!(options, [TcpOption::MaximumSegmentSize(536)], "{method}");
    }
}

#[test]
fn probes_go_through_the_chosen_neighbour() {
    let net = || {
        Net::draw(
            "vantage - r1 - target
             vantage - r2 - target
             r1 192.0.2.254 2001:db8:1::1
             r2 192.0.2.253 2001:db8:1::2
             target 198.51.100.9 2001:db8:9::9",
        )
    };
    for (target, gateway) in [(TARGET4, "192.0.2.253"), (TARGET6, "2001:db8:1::2")] {
        for method in [IcmpEcho, TcpAckSport] {
            let params = PingParams { method, ttl: 1, ..ping(target, 2) };
            let chosen = PingParams { gateway: gateway.parse().ok(), ..params };
            let run = run_in(net(), chosen.clone());
            assert_eq!(run.table("replies").column("addr"), [gateway, gateway], "{run}");
            let elsewhere = PingParams { gateway: target.parse().ok(), ..chosen };
            let run = Sim::new(net(), SEED).run::<Ping>(elsewhere);
            assert_eq!(run.counters.sent, 0, "the target is no neighbour\n{run}");
        }
    }
}

#[test]
fn probes_leave_from_the_chosen_address() {
    let net = || net().and("vantage 192.0.2.1 192.0.2.7");
    let run = run_in(net(), PingParams { source: "192.0.2.7".parse().ok(), ..ping(TARGET4, 2) });
    let sources = run.exchange().sent().map(|packet| IpHeader::parse(packet).unwrap().source);
    assert_eq!(sources.collect::<Vec<_>>(), ["192.0.2.7".parse::<IpAddr>().unwrap(); 2]);
    assert_eq!(summary(&run).source, "192.0.2.7".parse().ok());
    let foreign = PingParams { source: "192.0.2.8".parse().ok(), ..ping(TARGET4, 2) };
    assert_eq!(Sim::new(net(), SEED).run::<Ping>(foreign).counters.sent, 0);
}

#[test]
fn the_length_of_the_payload_may_be_chosen_instead_of_that_of_the_packet() {
    for (method, target, expected) in
        [(IcmpEcho, TARGET4, 128), (TcpAck, TARGET4, 140), (Udp, TARGET6, 148)]
    {
        let params = PingParams { method, payload_octets: Some(100), ..ping(target, 1) };
        let run = run_in(net(), params);
        assert_eq!(run.exchange().sent().next().unwrap().len(), expected);
        assert_eq!(summary(&run).size as usize, expected);
    }
}
