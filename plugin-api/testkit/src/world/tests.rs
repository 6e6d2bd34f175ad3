use std::net::{IpAddr, Ipv4Addr};

use sonde_packet::{
    Class, Ip, Packet, Payload, TcpSegment, Transport, classify,
    ip_option::{self, IpOption},
    tcp::{TcpView, flags},
};

use super::*;

const SEED: u64 = 1;

/// Sends packets into a drawing and lists what comes back.
struct Prober {
    world: World,
    sent: u16,
}

impl Prober {
    fn new(net: Net) -> Self {
        Self { world: World::new(net, SEED), sent: 0 }
    }

    fn draw(text: &str) -> Self {
        Self::new(Net::draw(text))
    }

    fn address(&self, name: &str, six: bool) -> IpAddr {
        let node = self.world.nodes.iter().find(|node| node.name == name).unwrap();
        node.address(!six).unwrap()
    }

    fn packet(&self, ip: Ip<'_>, transport: Transport<'_>, octets: usize) -> Vec<u8> {
        let payload = Payload::Repeat { first: &[], pattern: b"abc", octets };
        Packet { ip, transport, payload, checksum: None }.to_vec().unwrap()
    }

    fn ip<'a>(&self, name: &str, six: bool) -> Ip<'a> {
        let destination = self.address(name, six);
        let source = self.world.source(!six).unwrap();
        Ip { identification: 7, ..Ip::plain(source, destination) }
    }

    /// What comes back, each with the time that it took.
    fn send(&mut self, packet: Vec<u8>) -> Vec<(Duration, Vec<u8>)> {
        let begin_ns = self.world.now_ns;
        self.world.send(begin_ns, packet);
        let mut back = Vec::new();
        while self.world.next_ns().is_some() {
            let packet = self.world.step();
            let took = since(self.world.now_ns - begin_ns);
            back.extend(packet.map(|packet| (took, packet)));
        }
        back
    }

    /// The only answer to an echo request.
    fn echo(&mut self, name: &str, six: bool, ttl: u8) -> Option<(Duration, Vec<u8>)> {
        self.sent += 1;
        let ip = Ip { ttl, ..self.ip(name, six) };
        let transport = Transport::Echo { identifier: 1, sequence: self.sent };
        let mut back = self.send(self.packet(ip, transport, 56));
        assert!(back.len() < 2, "{} answers", back.len());
        back.pop()
    }

    /// Who answers an echo request of each TTL.
    fn path(&mut self, name: &str, six: bool, ttls: u8) -> Vec<Option<IpAddr>> {
        (1..=ttls)
            .map(|ttl| {
                let (_, packet) = self.echo(name, six, ttl)?;
                Some(classify(&packet).unwrap().from)
            })
            .collect()
    }

    fn names(&self, path: &[Option<IpAddr>]) -> String {
        let name = |address: IpAddr| {
            let owner = self.world.routing.owner(address);
            owner.map_or_else(|| address.to_string(), |node| self.world.nodes[node].name.clone())
        };
        let names = path.iter().map(|hop| hop.map_or_else(|| "*".to_owned(), name));
        names.collect::<Vec<_>>().join(" ")
    }

    /// As [`Prober::path`], by name.
    fn named_path(&mut self, name: &str, six: bool, ttls: u8) -> String {
        let path = self.path(name, six, ttls);
        self.names(&path)
    }

    fn udp(&mut self, name: &str, six: bool, ports: (u16, u16), ttl: u8) -> Vec<Vec<u8>> {
        let ip = Ip { ttl, ..self.ip(name, six) };
        let transport = Transport::Udp { source_port: ports.0, destination_port: ports.1 };
        let back = self.send(self.packet(ip, transport, 20));
        back.into_iter().map(|(_, packet)| packet).collect()
    }

    fn tcp(&mut self, name: &str, six: bool, segment: TcpSegment<'_>) -> Vec<Vec<u8>> {
        let packet = self.packet(self.ip(name, six), Transport::Tcp(segment), 0);
        self.send(packet).into_iter().map(|(_, packet)| packet).collect()
    }

    fn notes(&mut self) -> String {
        let notes = self.world.take_notes();
        notes.iter().map(|note| note.text.as_str()).collect::<Vec<_>>().join("\n")
    }
}

fn both(test: impl Fn(bool)) {
    test(false);
    test(true);
}

fn milliseconds(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

#[test]
fn each_ttl_is_answered_by_its_hop_after_its_delay() {
    both(|six| {
        let mut prober = Prober::draw("vantage - r1 - r2 - target\nlink r1 r2 delay 10ms");
        assert_eq!(prober.named_path("target", six, 4), "r1 r2 target target");
        let (took, packet) = prober.echo("target", six, 2).unwrap();
        assert_eq!(took, milliseconds(22));
        let received = classify(&packet).unwrap();
        assert_eq!((received.class, received.ttl), (Class::TimeExceeded, 254));
        let quoted = IpHeader::parse(&packet[received.quote.unwrap()]).unwrap();
        assert_eq!((quoted.ttl, quoted.destination), (1, prober.address("target", six)));
    });
}

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
fn a_silent_router_forwards_and_says_nothing() {
    both(|six| {
        let mut prober = Prober::draw("vantage - r1 - r2 - target\nr1 silent");
        assert_eq!(prober.named_path("target", six, 3), "* r2 target");
        assert!(prober.notes().contains("r1: no error about this packet: silent"));
    });
}

#[test]
fn a_router_over_its_rate_limit_is_silent_until_the_next_token() {
    let mut prober = Prober::draw("vantage - r1 - target\nr1 rate-limit 10/s burst 2");
    let answers: Vec<bool> = (0..80).map(|_| prober.echo("target", false, 1).is_some()).collect();
    // Answers take 2 ms and silence 1 ms: two of the burst, then one each 100 ms.
    assert_eq!(answers.iter().filter(|answered| **answered).count(), 2);
    prober.world.now_ns += 100_000_000;
    assert!(prober.echo("target", false, 1).is_some());
    assert!(prober.echo("target", false, 1).is_none());
}

#[test]
fn zero_ttl_forwarding_shows_the_next_router_twice() {
    both(|six| {
        let mut prober = Prober::draw("vantage - r1 - r2 - r3 - target\nr2 forwards-zero-ttl");
        assert_eq!(prober.named_path("target", six, 4), "r1 r3 r3 target");
        let (_, packet) = prober.echo("target", six, 2).unwrap();
        let quote = classify(&packet).unwrap().quote.unwrap();
        assert_eq!(IpHeader::parse(&packet[quote]).unwrap().ttl, 0);
    });
}

#[test]
fn a_router_that_keeps_the_ttl_is_invisible() {
    both(|six| {
        let mut prober = Prober::draw("vantage - r1 - r2 - target\nr1 keeps-ttl");
        assert_eq!(prober.named_path("target", six, 2), "r2 target");
    });
}

#[test]
fn errors_come_from_the_drawn_addresses_in_turn() {
    let mut prober =
        Prober::draw("vantage - r1 - target\nr1 reply-from 203.0.113.1 203.0.113.2 2001:db8::66");
    let path = |prober: &mut Prober| {
        let hops = (0..3).map(|_| prober.path("target", false, 1)[0].unwrap().to_string());
        hops.collect::<Vec<_>>()
    };
    assert_eq!(path(&mut prober), ["203.0.113.1", "203.0.113.2", "203.0.113.1"]);
    let six = prober.path("target", true, 1)[0].unwrap();
    assert_eq!(six, "2001:db8::66".parse::<IpAddr>().unwrap());
}

#[test]
fn a_refused_destination_is_prohibited() {
    both(|six| {
        let drawing = "vantage - r1 - target 
            r1 refuse 198.51.100.0/24 refuse 2001:db8:9::/48 code 3
            target 198.51.100.9 2001:db8:9::9";
        let (_, packet) = Prober::draw(drawing).echo("target", six, 64).unwrap();
        let received = classify(&packet).unwrap();
        assert_eq!(received.class, Class::Unreachable);
        assert_eq!(received.icmp_code, if six { 3 } else { 13 });
    });
}

#[test]
fn an_address_that_nobody_has_is_unreachable() {
    both(|six| {
        let mut prober = Prober::draw("vantage - r1 - target");
        let nobody: IpAddr = if six { "2001:db8:dead::1" } else { "203.0.113.99" }.parse().unwrap();
        let ip = Ip { destination: nobody, ..prober.ip("target", six) };
        let packet = prober.packet(ip, Transport::Echo { identifier: 1, sequence: 1 }, 8);
        let (_, error) = prober.send(packet).pop().unwrap();
        let received = classify(&error).unwrap();
        assert_eq!((received.class, received.icmp_code), (Class::Unreachable, 0));
        assert_eq!(received.from, prober.address("r1", six));
    });
}

#[test]
fn a_drawn_route_makes_a_loop() {
    both(|six| {
        let mut prober = Prober::draw(
            "vantage - r1 - r2 - r3 - target
            r3 route default via r2",
        );
        assert_eq!(prober.named_path("target", six, 6), "r1 r2 r3 r2 r3 r2");
    });
}

#[test]
fn known_packets_are_lost_on_a_line() {
    both(|six| {
        let net = Net::line(["r1", "target"]).drop(2, [2]).drop_back(1, [3]);
        let mut prober = Prober::new(net);
        let answered: Vec<bool> =
            (0..5).map(|_| prober.echo("target", six, 64).is_some()).collect();
        // Numbers count the packets of one link one way: the third to come back is of echo 4.
        assert_eq!(answered, [true, false, true, false, true]);
        assert!(prober.notes().contains("r1: lost on the way to target, packet 2 of the link"));
    });
}

#[test]
fn a_large_packet_meets_a_small_link() {
    both(|six| {
        let mut prober = Prober::draw("vantage - r1 - r2 - target\nlink r1 r2 mtu 1400");
        let packet = |prober: &Prober, octets: usize| {
            let transport = Transport::Echo { identifier: 1, sequence: 1 };
            prober.packet(prober.ip("target", six), transport, octets)
        };
        let back = prober.send(packet(&prober, 1_400));
        let received = classify(&back[0].1).unwrap();
        assert_eq!(received.from, prober.address("r1", six));
        let at = received.header_octets;
        if six {
            assert_eq!(received.class, Class::PacketTooBig);
            assert_eq!(back[0].1[at + 4..at + 8], 1_400u32.to_be_bytes());
        } else {
            assert_eq!((received.class, received.icmp_code), (Class::Unreachable, 4));
            assert_eq!(back[0].1[at + 6..at + 8], 1_400u16.to_be_bytes());
        }
        let back = prober.send(packet(&prober, 1_300));
        assert_eq!(classify(&back[0].1).unwrap().class, Class::EchoReply);
    });
}

#[test]
fn a_black_hole_swallows_what_is_too_large() {
    both(|six| {
        let mut prober = Prober::draw("vantage - r1 - target\nlink r1 target mtu 1400 black-hole");
        let transport = Transport::Echo { identifier: 1, sequence: 1 };
        let packet = prober.packet(prober.ip("target", six), transport, 1_400);
        assert_eq!(prober.send(packet), []);
        assert!(prober.notes().contains("octets are too many, black hole"));
    });
}

#[test]
fn a_packet_without_df_is_cut_and_put_together_again() {
    let mut prober = Prober::draw("vantage - r1 - target\nlink r1 target mtu 576");
    let ip = Ip { dont_fragment: false, ..prober.ip("target", false) };
    let packet = prober.packet(ip, Transport::Echo { identifier: 1, sequence: 1 }, 1_000);
    let back = prober.send(packet);
    // The answer too crosses the small link, in two parts.
    assert_eq!(back.iter().map(|(_, part)| part.len()).collect::<Vec<_>>(), [572, 476]);
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
fn one_flow_takes_one_branch_and_many_flows_take_all() {
    both(|six| {
        let mut prober = Prober::draw("vantage - r1 - { a b c } per-flow - r5 - target");
        let mut hop = |port| {
            let back = prober.udp("target", six, (40_000, port), 2);
            classify(&back[0]).unwrap().from
        };
        let first = hop(33_435);
        assert!((0..20).all(|_| hop(33_435) == first));
        let mut seen: Vec<IpAddr> = (33_435..33_535).map(hop).collect();
        seen.sort();
        seen.dedup();
        assert_eq!(seen.len(), 3);
    });
}

#[test]
fn stages_choose_independently_unless_they_have_one_salt() {
    let drawing = "vantage - r1 - { a b } - { c d } - target";
    let meet = |more: &str| {
        let mut prober = Prober::new(Net::draw(drawing).and(more));
        let mut seen = std::collections::BTreeSet::new();
        for port in 0..60 {
            let hop = |prober: &mut Prober, ttl| {
                let back = prober.udp("target", false, (40_000, 33_435 + port), ttl);
                classify(&back[0]).unwrap().from
            };
            seen.insert((hop(&mut prober, 2), hop(&mut prober, 3)));
        }
        seen.len()
    };
    assert_eq!(meet(""), 4);
    assert_eq!(meet("r1 salt 5\na salt 5\nb salt 5"), 2);
}

#[test]
fn a_per_packet_balancer_spreads_one_flow() {
    let mut prober = Prober::draw("vantage - r1 - { a b } per-packet - target");
    let mut seen: Vec<IpAddr> = (0..30)
        .map(|_| classify(&prober.udp("target", false, (1, 2), 2)[0]).unwrap().from)
        .collect();
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), 2);
}

#[test]
fn the_way_back_may_be_another_one() {
    both(|six| {
        let mut prober = Prober::draw(
            "vantage - r1 -> r2 -> target
            r1 <- r3 <- target
            link target -> r3 delay 30ms",
        );
        assert_eq!(prober.named_path("target", six, 3), "r1 r2 target");
        assert_eq!(prober.echo("target", six, 64).unwrap().0, milliseconds(35));
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
fn packets_with_options_may_be_dropped() {
    let mut prober = Prober::draw("vantage - r1 - target\nr1 drops-options");
    let options = ip_option::record_route();
    let ip = Ip { options: &options, ..prober.ip("target", false) };
    let packet = prober.packet(ip, Transport::Echo { identifier: 1, sequence: 1 }, 8);
    assert_eq!(prober.send(packet), []);
    assert!(prober.echo("target", false, 64).is_some());
}

#[test]
fn what_a_box_rewrites_shows_in_the_quote_of_the_next_hop() {
    both(|six| {
        let mut prober = Prober::draw("vantage - r1 - r2 - target\nr1 rewrite dscp 10");
        let mut tos = |ttl| {
            let (_, packet) = prober.echo("target", six, ttl).unwrap();
            let quote = classify(&packet).unwrap().quote.unwrap();
            IpHeader::parse(&packet[quote]).unwrap().tos
        };
        assert_eq!((tos(1), tos(2)), (0, 40));
    });
}

#[test]
fn behind_a_translator_the_source_is_another_and_answers_find_back() {
    let mut prober =
        Prober::draw("vantage - r1 - r2 - target\nr1 nat-source 203.0.113.9 fix-up none");
    let (_, reply) = prober.echo("target", false, 64).unwrap();
    assert_eq!(classify(&reply).unwrap().class, Class::EchoReply);
    let (_, error) = prober.echo("target", false, 2).unwrap();
    let quote = classify(&error).unwrap().quote.unwrap();
    let quoted = IpHeader::parse(&error[quote]).unwrap();
    assert_eq!(quoted.source, "203.0.113.9".parse::<IpAddr>().unwrap());
}

#[test]
fn a_translated_destination_answers_under_its_public_address() {
    let mut prober = Prober::draw(
        "vantage - r1 - r2 - inner\nr1 nat-destination 203.0.113.80 10.0.0.80\ninner 10.0.0.80",
    );
    let public: IpAddr = "203.0.113.80".parse().unwrap();
    let mut echo = |ttl| {
        let ip = Ip { destination: public, ttl, ..prober.ip("inner", false) };
        let packet = prober.packet(ip, Transport::Echo { identifier: 1, sequence: 1 }, 8);
        classify(&prober.send(packet).pop().unwrap().1).unwrap()
    };
    assert_eq!((echo(64).class, echo(64).from), (Class::EchoReply, public));
    assert_eq!(echo(1).class, Class::TimeExceeded);
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
fn a_box_that_a_test_wrote_drops_what_it_wants() {
    struct EverySecond(u32);
    impl Middlebox for EverySecond {
        fn forward(&mut self, _: &mut Vec<u8>, way: Way, _: Duration) -> Verdict {
            self.0 += u32::from(way == Way::There);
            if way == Way::There && self.0.is_multiple_of(2) {
                Verdict::Drop
            } else {
                Verdict::Pass
            }
        }
    }
    let mut prober = Prober::new(Net::line(["r1", "target"]).middlebox("r1", EverySecond(0)));
    let answered: Vec<bool> = (0..4).map(|_| prober.echo("target", true, 64).is_some()).collect();
    assert_eq!(answered, [true, false, true, false]);
}

#[test]
fn a_corrupted_answer_has_a_wrong_checksum() {
    both(|six| {
        let mut prober = Prober::new(Net::line(["r1", "target"]).link_back(1, "corrupt 1"));
        let (_, packet) = prober.echo("target", six, 64).unwrap();
        let header = IpHeader::parse(&packet).unwrap();
        assert_eq!(sonde_packet::verify(&packet, &header), sonde_packet::Verdict::Bad);
    });
}

#[test]
fn the_same_seed_gives_the_same_run_and_another_seed_another() {
    let run = |seed| {
        let net =
            Net::draw("vantage - r1 - { a b } per-packet - target\nlinks loss 10% jitter 3ms");
        let mut prober = Prober { world: World::new(net, seed), sent: 0 };
        (0..50).map(|_| prober.echo("target", false, 2)).collect::<Vec<_>>()
    };
    assert_eq!(run(1), run(1));
    assert_ne!(run(1), run(2));
}
