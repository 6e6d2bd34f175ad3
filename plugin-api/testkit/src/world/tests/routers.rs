//! What routers and boxes do.

use sonde_packet::ip_option;

use super::*;

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
fn a_slow_router_answers_late_and_forwards_at_once() {
    both(|six| {
        let mut prober = Prober::draw("vantage - r1 - target\nr1 slow 300ms");
        assert_eq!(prober.echo("target", six, 1).unwrap().0, milliseconds(302));
        assert_eq!(prober.echo("target", six, 64).unwrap().0, milliseconds(4));
    });
}

#[test]
fn some_packets_are_left_unanswered() {
    let mut prober = Prober::draw("vantage - r1 - target\nr1 unanswered 20%");
    let answered = (0..1_000).filter(|_| prober.echo("target", true, 1).is_some()).count();
    assert!((760..840).contains(&answered), "{answered} of 1000");
}

#[test]
fn errors_are_numbered_from_one_counter_unless_drawn_otherwise() {
    let numbers = |attribute: &str| {
        let mut prober = Prober::new(Net::line(["r1", "target"]).attributes("r1", attribute));
        let mut number = || {
            let (_, packet) = prober.echo("target", false, 1).unwrap();
            IpHeader::parse(&packet).unwrap().identification.unwrap()
        };
        (number(), number())
    };
    let (first, second) = numbers("ip-id counter");
    assert_eq!((first + 1) % 65_536, second);
    assert_eq!(numbers("ip-id zero"), (0, 0));
    let (first, second) = numbers("ip-id random");
    assert_ne!((first + 1) % 65_536, second);
}

#[test]
fn errors_may_have_a_wrong_checksum() {
    both(|six| {
        let mut prober = Prober::draw("vantage - r1 - target\nr1 bad-checksum");
        let (_, packet) = prober.echo("target", six, 1).unwrap();
        let header = IpHeader::parse(&packet).unwrap();
        assert_eq!(sonde_packet::verify(&packet, &header), sonde_packet::Verdict::Bad);
        assert_eq!(classify(&packet).unwrap().class, Class::TimeExceeded);
    });
}

#[test]
fn nobody_complains_about_an_error() {
    let mut prober = Prober::draw("vantage - r1 - target");
    let quoted = prober.packet(prober.ip("target", false), Transport::Other { protocol: 99 }, 8);
    let error = sonde_packet::ErrorMessage {
        source: prober.world.source(true).unwrap(),
        destination: prober.address("target", false),
        ttl: 1,
        kind: ErrorKind::TimeExceeded,
        quoted: &quoted,
        quoted_octets: 28,
        extensions: &[],
    };
    assert_eq!(prober.send(error.to_vec().unwrap()), []);
}
