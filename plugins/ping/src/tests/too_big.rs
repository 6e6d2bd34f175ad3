//! Answers in fragments, and what provokes them.

use sonde_plugin_api::packet::protocol;

use super::*;

fn large(target: &str, mtu: u16, count: u32) -> PingParams {
    PingParams { size: Some(1400), mtu, ..ping(target, count) }
}

#[test]
fn after_a_packet_too_big_answers_come_in_fragments_with_their_identification() {
    for (target, mtu) in [(TARGET4, 600), (TARGET6, 1280)] {
        let run = run_in(net(), large(target, mtu, 4));
        let rows = run.typed::<ReplyRow>("replies");
        let fragmented: Vec<bool> = rows.iter().map(|row| row.fragmented).collect();
        assert_eq!(fragmented, [false, true, true, true], "{run}");
        let sizes: Vec<u32> = rows.iter().map(|row| row.size.unwrap()).collect();
        let header = if target == TARGET6 { 8 } else { 0 };
        assert_eq!(sizes, [1400, 1400 + header, 1400 + header, 1400 + header]);
        let numbers: BTreeSet<u32> = rows[1..].iter().map(|row| row.ip_id.unwrap()).collect();
        assert_eq!(numbers.len(), 3, "each has a number of its own\n{run}");
        let SummaryRow { answered, fragmented, too_big_sent, lost, .. } = summary(&run);
        assert_eq!((answered, fragmented, too_big_sent, lost), (4, 3, 1, 0), "{run}");
        assert_eq!(run.counters.sent, 5);
    }
}

#[test]
fn the_packet_too_big_quotes_the_reply_as_a_router_does() {
    for (target, mtu, expected) in [(TARGET4, 600, 20 + 8 + 28), (TARGET6, 1280, 40 + 8 + 1232)] {
        let run = run_in(net(), large(target, mtu, 1));
        let sent: Vec<&[u8]> = run.exchange().sent().collect();
        let (error, header) = (sent[1], IpHeader::parse(sent[1]).unwrap());
        assert_eq!((error.len(), header.destination.to_string().as_str()), (expected, target));
        let message = header.transport(error);
        let kind = if header.protocol == protocol::ICMP { [3, 4] } else { [2, 0] };
        assert_eq!(message[..2], kind);
        assert_eq!(u16::from_be_bytes([message[6], message[7]]), mtu);
        let quoted = IpHeader::parse(&message[8..]).unwrap();
        assert_eq!((quoted.source, quoted.total_octets), (header.destination, 1400));
    }
}

#[test]
fn answers_that_are_short_enough_are_left_alone() {
    let run = run_in(net(), PingParams { size: Some(601), mtu: 600, ..ping(TARGET4, 1) });
    assert_eq!(summary(&run).too_big_sent, 1);
    assert_eq!(summary(&run_in(net(), large(TARGET4, 0, 2))).too_big_sent, 0);
}

#[test]
fn answers_in_fragments_are_answers_whoever_cut_them() {
    // A router on the way back may cut in IPv4.
    let net = || net().and("link vantage <- r1 mtu 700");
    let run = run_in(net(), large(TARGET4, 0, 3));
    assert_eq!(of_kind(&run, "reply"), [0, 1, 2], "{run}");
    assert_eq!(run.table("replies").column("fragmented"), [true; 3]);
    // A part that does not come is a lost answer, not half a one.
    let run = run_in(net().and("link vantage <- r1 drop 2"), large(TARGET4, 0, 2));
    assert_eq!((of_kind(&run, "timeout"), of_kind(&run, "reply")), (vec![0], vec![1]), "{run}");
}

#[test]
fn an_error_of_a_router_that_comes_in_fragments_is_an_error() {
    let net = || net().and("r1 quote full").and("link vantage <- r1 mtu 300");
    for method in [IcmpEcho, Udp] {
        let params = PingParams { method, ttl: 1, ..large(TARGET4, 0, 3) };
        let run = run_in(net(), params);
        assert_eq!(of_kind(&run, "error"), [0, 1, 2], "{run}");
        assert_eq!(run.table("replies").column("fragmented"), [true; 3]);
        // No router quotes more (RFC 1812, section 4.3.2.3).
        assert_eq!(run.table("replies").column("size"), [576; 3]);
    }
}

#[test]
fn the_trick_counts_fragmented_answers_and_ends_without_an_echo_reply() {
    let trick = |count| PingParams { tbt: true, rcount: 2, ..large(TARGET6, 1280, count) };
    let run = run_in(net(), trick(10));
    let SummaryRow { answered, fragmented, .. } = summary(&run);
    assert_eq!((run.stop.as_str(), answered, fragmented), ("enough answers", 3, 2));
    let run = run_in(net(), PingParams { ttl: 1, ..trick(10) });
    assert_eq!((run.stop.as_str(), summary(&run).errors), ("no echo reply", 1));
}

#[test]
fn an_mtu_that_makes_no_sense_is_refused() {
    for (params, text) in [
        (large(TARGET4, 67, 1), "sonde.ping.mtu is 67, accepted: 0, 68 ... 65535"),
        (large(TARGET6, 1279, 1), "sonde.ping.mtu is 1279, accepted: 0, 1280 ... 65535"),
        (large(TARGET4, 1400, 1), "sonde.ping.mtu is 1400, accepted: less than the 1400"),
        (PingParams { method: Udp, ..large(TARGET4, 600, 1) }, "sonde.ping.mtu is 600, accepted"),
        (PingParams { tbt: true, ..large(TARGET4, 600, 1) }, "sonde.ping.tbt is 1, accepted"),
    ] {
        let said = refusal(params);
        assert!(said.starts_with(text), "{said}");
    }
}
