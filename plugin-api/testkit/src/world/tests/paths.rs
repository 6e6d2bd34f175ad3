//! Which way packets go, and what links do to them.

use proptest::prelude::*;

use super::*;

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
fn a_router_may_name_a_wrong_mtu() {
    both(|six| {
        let mut prober = Prober::draw("vantage - r1 - target\nlink r1 target mtu 1400 names-mtu 0");
        let transport = Transport::Echo { identifier: 1, sequence: 1 };
        let packet = prober.packet(prober.ip("target", six), transport, 1_400);
        let (_, error) = prober.send(packet).pop().unwrap();
        let at = classify(&error).unwrap().header_octets;
        assert_eq!(error[at + 4..at + 8], [0; 4]);
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

#[test]
fn a_duplicated_answer_comes_twice_and_a_reordered_one_is_overtaken() {
    both(|six| {
        let net = Net::line(["target"]).duplicate_back(1, [1]).link_back(1, "reorder 3 by 5ms");
        let mut prober = Prober::new(net);
        let transport = |sequence| Transport::Echo { identifier: 1, sequence };
        let packet = prober.packet(prober.ip("target", six), transport(1), 8);
        assert_eq!(prober.send(packet).len(), 2);
        for sequence in 2..5 {
            let packet = prober.packet(prober.ip("target", six), transport(sequence), 8);
            prober.world.send(prober.world.now_ns, packet, None);
        }
        let mut sequences = Vec::new();
        while prober.world.next_ns().is_some() {
            let packet = prober.world.step();
            sequences.extend(packet.map(|packet| packet[if six { 47 } else { 27 }]));
        }
        // Numbers count packets of the link, the duplicate not among them.
        assert_eq!(sequences, [2, 4, 3]);
    });
}

#[test]
fn answers_are_balanced_where_the_way_back_is() {
    let delays = |more: &str| {
        let drawing = "vantage - r1 - { a b } - r4 - target\nlink r4 -> b delay 9ms";
        let mut prober = Prober::new(Net::draw(drawing).and(more));
        let mut took: Vec<Duration> =
            (0..20).map(|_| prober.echo("target", false, 64).unwrap().0).collect();
        took.sort();
        took.dedup();
        took
    };
    assert_eq!(delays(""), [milliseconds(8)]);
    assert_eq!(delays("r4 balance-back per-packet"), [milliseconds(8), milliseconds(16)]);
}

#[test]
fn a_probe_may_leave_through_a_chosen_neighbour() {
    both(|six| {
        let mut prober = Prober::draw("vantage - r1 - target\nvantage - r2 - target");
        let ip = Ip { ttl: 1, ..prober.ip("target", six) };
        let packet = prober.packet(ip, Transport::Echo { identifier: 1, sequence: 1 }, 8);
        let gateway = prober.address("r2", six);
        prober.world.send(0, packet, Some(gateway));
        let mut answer = None;
        while prober.world.next_ns().is_some() {
            answer = prober.world.step().or(answer);
        }
        assert_eq!(classify(&answer.unwrap()).unwrap().from, gateway);
    });
}

proptest! {
    #[test]
    fn whatever_is_sent_the_network_comes_to_rest(
        mut packets in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..120), 1..20),
        target in any::<bool>(),
    ) {
        let mut prober = Prober::draw(
            "vantage - r1 - { a b } per-packet - r5 - target
            links loss 5% duplicate 5% reorder 5% corrupt 5% mtu 80
            r1 mpls 16 legacy strip sack rewrite mss 1000 nat-source 203.0.113.9
            a insert 30:00 blank 2 shift-sequence 7 quote header+8
            b rewrite id 7 rewrite window 1 records 192.0.2.7
            r5 nat-destination 203.0.113.80 10.0.0.80 fix-up addresses forwards-zero-ttl
            target 10.0.0.80 open-tcp echo-udp",
        );
        for packet in &mut packets {
            // Something that gets as far as it can: good addresses, any rest.
            if packet.len() > 40 {
                let six = packet[0] & 1 == 1;
                let to = if target { prober.address("target", six) } else { prober.address("a", six) };
                let from = prober.world.source(!six).unwrap();
                packet[0] = if six { 0x60 } else { 0x45 | packet[0] & 7 };
                crate::edit::set_source(packet, from);
                crate::edit::set_destination(packet, to);
                let at = if six { 6 } else { 9 };
                packet[at] = [1, 6, 17, 58, 44, 0][usize::from(packet[at]) % 6];
                crate::edit::put_length(packet);
                crate::edit::put_header_checksum(packet);
            }
            prober.send(packet.clone());
        }
    }
}
