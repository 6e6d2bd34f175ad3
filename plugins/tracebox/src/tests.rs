use sonde_plugin_api::packet;
use sonde_plugin_api::{descriptor::Descriptor, glue::describe_json, prelude::*};
use sonde_testkit::{Middlebox, Net, Run, Sim, Verdict, Way, json};

use crate::{METHODS, Tracebox, params::TraceboxParams};

mod devices;
mod ends;
mod forgers;
mod malformed;
mod network_layer;

const TARGET4: &str = "198.51.100.9";
const TARGET6: &str = "2001:db8:9::9";
/// Who answers on a path without a fault.
const HOPS4: [&str; 4] = ["192.0.2.254", "203.0.113.2", "203.0.113.3", TARGET4];
const HOPS6: [&str; 4] = ["2001:db8:1::1", "2001:db8:2::2", "2001:db8:3::3", TARGET6];
const SEED_PROBE: &str = "IP/TCP/MSS(1460)/ECE/CE/MPCAPABLE";

fn net() -> Net {
    Net::draw(
        "vantage - r1 - r2 - r3 - target
         r1 192.0.2.254 2001:db8:1::1
         r2 203.0.113.2 2001:db8:2::2
         r3 203.0.113.3 2001:db8:3::3
         target 198.51.100.9 2001:db8:9::9 tcp 80",
    )
}

fn tracebox(target: &str) -> TraceboxParams {
    let wait = Duration::from_secs(1);
    TraceboxParams { wait, attempts: 1, ..TraceboxParams::with(target.parse().unwrap()) }
}

#[track_caller]
fn run_in(net: Net, params: TraceboxParams) -> Run {
    let run = Sim::new(net, 1).run::<Tracebox>(params);
    run.expect_done();
    run
}

fn changes(run: &Run) -> Vec<String> {
    run.table("hops").column("changes").iter().map(|it| it.as_str().unwrap().to_owned()).collect()
}

fn intervals(run: &Run) -> Vec<(String, u64, u64)> {
    let rows = run.table("intervals");
    rows.iter()
        .map(|row| {
            let number = |name: &str| row[name].as_u64().unwrap();
            (row["field"].as_str().unwrap().to_owned(), number("after_ttl"), number("first_ttl"))
        })
        .collect()
}

#[test]
fn the_descriptor_is_acceptable() {
    let json = describe_json("sonde-tracebox", "0.1.0", METHODS);
    let descriptor = Descriptor::from_json(&json).unwrap();
    assert_eq!(descriptor.method("tracebox").unwrap().1.capabilities.len(), 6);
}

#[test]
fn on_a_clean_path_nothing_but_the_ttl_and_its_checksum_changes() {
    for (target, usual) in [(TARGET4, "IP::TTL IP::Checksum"), (TARGET6, "IPv6::HopLimit")] {
        for udp in [false, true] {
            let run = run_in(net(), TraceboxParams { udp, ..tracebox(target) });
            // What the destination's SYN/ACK offers beyond the probe.
            let end = if udp { usual } else { "+TCP::Options::MSS" };
            assert_eq!(changes(&run), ["", usual, usual, end], "{run}");
            assert_eq!((run.stop.as_str(), intervals(&run).len()), ("reached", 0), "{run}");
        }
    }
}

#[test]
fn a_ttl_that_is_raised_is_no_router() {
    for (target, field) in [(TARGET4, "IP::TTL"), (TARGET6, "IPv6::HopLimit")] {
        let params = TraceboxParams { udp: true, ..tracebox(target) };
        let run = run_in(net().attributes("r1", "rewrite ttl 64 there"), params);
        assert_eq!(intervals(&run), [(field.to_owned(), 1, 2)], "{run}");
        assert_eq!(run.table("summary").column("modifications"), [json!(1)], "{run}");
    }
}

#[test]
fn every_middlebox_is_reported_at_the_right_hop_with_the_right_name() {
    let usual = |more: &str| format!("IP::TTL IP::Checksum{more}");
    for (rule, probe, expected) in [
        ("rewrite dscp 8 there", None, "IP::DiffServicesCP IP::TTL IP::Checksum".to_owned()),
        ("rewrite ecn 2 there", None, usual(" IP::ECT")),
        ("rewrite ecn 0 there", Some(SEED_PROBE), usual(" IP::CE")),
        ("rewrite id 77 there", None, "IP::ID IP::TTL IP::Checksum".to_owned()),
        (
            "rewrite mss 1300",
            Some(SEED_PROBE),
            format!("TCP::Checksum TCP::Options::MSS {}", usual("")),
        ),
        ("rewrite window 1024 there", None, format!("TCP::Window TCP::Checksum {}", usual(""))),
        ("shift-sequence 1000", None, format!("TCP::Checksum TCP::SeqNumber {}", usual(""))),
        (
            "blank sack-permitted",
            Some("IP/TCP/SACKP"),
            format!("TCP::Checksum -TCP::Options::SACKPermitted {}", usual("")),
        ),
        (
            "nat-source 203.0.113.77 fix-up none",
            None,
            format!("TCP::Checksum {} IP::SourceAddr", usual("")),
        ),
    ] {
        let params = TraceboxParams { probe: probe.map(str::to_owned), ..tracebox(TARGET4) };
        let run = run_in(net().attributes("r1", rule), params);
        // The router with the box quotes the packet as it came in.
        assert_eq!(
            changes(&run)[..3],
            ["".to_owned(), expected.clone(), expected],
            "{rule}\n{run}"
        );
        assert!(!intervals(&run).is_empty(), "{rule}");
        assert!(intervals(&run).iter().all(|row| (row.1, row.2) == (1, 2)), "{rule}\n{run}");
    }
}

#[test]
fn what_is_not_quoted_is_unknown_and_not_unchanged() {
    let net = || net().attributes("r1", "rewrite window 1024 there");
    let net = net().attributes("r2", "quote 28");
    let run = run_in(net, tracebox(TARGET4));
    assert_eq!(changes(&run)[1], "IP::TTL IP::Checksum", "{run}");
    let unknown = run.table("hops").column("unknown")[1].clone();
    assert!(unknown.as_array().unwrap().contains(&json!("TCP::Window")), "{unknown}");
    assert!(unknown.as_array().unwrap().contains(&json!("TCP::Options")));
    // The interval is not narrowed by the hop that does not tell.
    assert!(intervals(&run).contains(&("TCP::Window".to_owned(), 1, 3)), "{run}");
}

#[test]
fn quote_classes_are_those_of_the_seed_system() {
    for (quote, class) in [
        ("quote full", "Full packet"),
        ("quote 28", "Layer 3 Header + First 8 L3 payload bytes"),
        ("quote header", "Layer 3 header"),
    ] {
        let run = run_in(net().attributes("r2", quote), tracebox(TARGET4));
        assert_eq!(run.table("hops").column("quote")[1], class, "{quote}\n{run}");
    }
}

#[test]
fn a_silent_hop_is_one_row_and_the_numbers_behind_it_are_right() {
    let run = run_in(net().silent("r2"), TraceboxParams { attempts: 3, ..tracebox(TARGET4) });
    assert_eq!(run.table("hops").column("ttl"), [1, 2, 3, 4]);
    assert_eq!(run.table("hops").column("addr")[1], json!(null));
    let gap = run_in(
        net().silent("r2").silent("r3").silent("target"),
        TraceboxParams { gaplimit: 2, ..tracebox(TARGET4) },
    );
    assert_eq!((gap.stop.as_str(), gap.table("hops").len()), ("gap_limit", 3), "{gap}");
}

#[test]
fn the_answer_of_the_destination_tells_which_options_it_grants() {
    let probe = Some(SEED_PROBE.to_owned());
    let run = run_in(net(), TraceboxParams { probe, ..tracebox(TARGET4) });
    let last = changes(&run).pop().unwrap();
    assert!(last.contains("-TCP::Options::MultipathTCP"), "{last}\n{run}");
    assert_eq!(run.table("hops").column("origin")[3], "endpoint");
    let closed = run_in(net(), TraceboxParams { dport: 81, ..tracebox(TARGET4) });
    assert_eq!(changes(&closed)[3], "RST", "{closed}");
}

#[test]
fn a_refusal_ends_the_run() {
    let run = run_in(net().attributes("r2", "refuse 198.51.100.0/24"), tracebox(TARGET4));
    assert_eq!((run.stop.as_str(), run.table("hops").len()), ("unreachable", 3), "{run}");
}

#[test]
fn values_are_printed_full_width() {
    let params = TraceboxParams { values: true, ..tracebox(TARGET4) };
    let run = run_in(net().attributes("r1", "rewrite window 1024 there"), params);
    assert!(changes(&run)[1].starts_with("TCP::Window(0400) "), "{run}");
}

#[test]
fn a_mistake_in_the_probe_is_refused_before_anything_is_sent() {
    let params = TraceboxParams { probe: Some("IP/TCP/NO".to_owned()), ..tracebox(TARGET4) };
    let run = Sim::new(net(), 1).run::<Tracebox>(params);
    assert_eq!(run.counters.sent, 0);
    assert!(format!("{:?}", run.status).contains("token 3"), "{run}");
}

#[test]
fn what_a_modification_means_is_told_where_its_field_says_so() {
    for (rule, probe, field, meaning) in [
        ("rewrite ecn 0 there", SEED_PROBE, "IP::CE", "bleached"),
        ("rewrite ecn 3 there", "IP/TCP/ECT", "IP::CE", "congestion"),
        ("rewrite dscp 0 there", "IP/TCP/DSCP(46)", "IP::DiffServicesCP", "bleached"),
        ("rewrite dscp 8 there", "IP/TCP/DSCP(46)", "IP::DiffServicesCP", "remarked"),
        ("rewrite mss 1300", "IP/TCP/MSS(1460)", "TCP::Options::MSS", "clamped"),
        ("blank sack-permitted", "IP/TCP/SACKP", "TCP::Options::SACKPermitted", "stripped"),
        ("nat-source 203.0.113.77 fix-up none", "IP/TCP", "IP::SourceAddr", "translated"),
    ] {
        let params = TraceboxParams { probe: Some(probe.to_owned()), ..tracebox(TARGET4) };
        let run = run_in(net().attributes("r1", rule), params);
        let rows = run.table("intervals");
        let row = rows.iter().find(|row| row["field"] == field);
        assert_eq!(
            row.unwrap_or_else(|| panic!("{rule}\n{run}"))["meaning"],
            meaning,
            "{rule}\n{run}"
        );
    }
}

#[test]
fn the_quoted_checksum_and_the_class_of_the_quote_are_told() {
    let run = run_in(net().attributes("r2", "quote 28"), tracebox(TARGET4));
    assert_eq!(
        run.table("hops").column("quote_class"),
        json!(["full", "eight", "full", null]).as_array().unwrap()[..]
    );
    assert_eq!(
        run.table("hops").column("checksum"),
        json!(["good", null, "good", null]).as_array().unwrap()[..]
    );
    assert_eq!(run.table("hops").column("ip_checksum_good")[0], true);
    let partial = run_in(net().attributes("r2", "quote 36"), tracebox(TARGET4));
    assert_eq!(partial.table("hops").column("quote_class")[1], "partial", "{partial}");
    // Some of the header is missing: the seed system has no name for that.
    let eight = "Layer 3 Header + First 8 L3 payload bytes";
    assert_eq!(partial.table("hops").column("quote")[1], eight);
}

#[test]
fn a_chosen_payload_and_window_leave_and_come_back_unchanged() {
    for (udp, probe) in
        [(false, "IP/TCP/DF/WINDOW(1024)/TFO/RAW(c0ffee)"), (true, "IP/UDP/RAW(c0ffee00)")]
    {
        let params = TraceboxParams { udp, probe: Some(probe.to_owned()), ..tracebox(TARGET4) };
        let run = run_in(net(), params);
        assert_eq!(changes(&run)[1], "IP::TTL IP::Checksum", "{run}");
        let sent = run.table("summary").column("probe")[0].as_str().unwrap().to_owned();
        assert!(sent.contains("c0ffee"), "{sent}");
    }
}

#[test]
fn the_end_tells_whether_the_sequence_number_arrived() {
    let run = run_in(net(), tracebox(TARGET4));
    assert_eq!(run.table("summary").column("sequence_arrived"), [true], "{run}");
    let udp = run_in(net(), TraceboxParams { udp: true, ..tracebox(TARGET4) });
    assert_eq!(udp.table("summary").column("sequence_arrived"), [json!(null)]);
    let asked = TraceboxParams { probe: Some("IP/TCP/ECE".to_owned()), ..tracebox(TARGET4) };
    assert!(run_in(net(), asked).table("summary").column("ecn_granted")[0].is_boolean());
    assert_eq!(run.table("summary").column("ecn_granted"), [json!(null)]);
}

#[test]
fn a_box_that_rewrites_identification_and_sequence_number_does_not_hide_the_path_behind_it() {
    let rule = "rewrite id 77 there shift-sequence 1000 rewrite window 1024 there";
    let run = run_in(net().attributes("r1", rule), tracebox(TARGET4));
    let all = "TCP::Window TCP::Checksum TCP::SeqNumber IP::ID IP::TTL IP::Checksum";
    assert_eq!(changes(&run)[..3], ["", all, all], "{run}");
    let certainty = ["exact", "weak", "weak"];
    assert_eq!(run.table("hops").column("certainty")[..3], certainty, "{run}");
    assert_eq!(run.stop, "reached", "{run}");
    assert_eq!(run.table("summary").column("answered"), [4], "{run}");
}

#[test]
fn the_modes_that_look_at_tcp_are_refused_for_datagrams() {
    let params = TraceboxParams { udp: true, stateful: true, ..tracebox(TARGET4) };
    let run = Sim::new(net(), 1).run::<Tracebox>(params);
    assert_eq!(run.counters.sent, 0);
    assert!(format!("{:?}", run.status).contains("scamper.tracebox.stateful is 1"), "{run}");
}

/// A table as a person reads it.
fn text(run: &Run, table: &str) -> Vec<String> {
    let form = Tracebox::text();
    let lines = run.table(table);
    let lines = lines.iter().filter_map(|row| form.row(table, row, None));
    lines.map(|line| line.text).collect()
}

#[test]
fn the_text_tells_quotes_and_the_answer_of_the_destination_apart() {
    let changed = net().silent("r2").attributes("r1", "rewrite window 1024 there");
    let run = run_in(changed, tracebox(TARGET4));
    assert_eq!(
        text(&run, "hops"),
        [
            "  1: 192.0.2.254 [Full packet]",
            "  2: *",
            "  3: 203.0.113.3 [Full packet] TCP::Window TCP::Checksum IP::TTL IP::Checksum",
            "  4: 198.51.100.9 (its own answer) +TCP::Options::MSS"
        ],
        "{run}"
    );
    assert_eq!(text(&run, "summary"), ["--- reached after 4 hops, modifications: 2 ---"]);
    let params = TraceboxParams { stateful: true, fragments: true, ..tracebox(TARGET4) };
    assert_eq!(
        text(&run_in(net().silent("r2"), params), "devices"),
        ["stateful: not_found", "fragment_filter: not_found", "reassembler: not_found"]
    );
}

/// Who answered at each hop.
fn addresses(run: &Run) -> Vec<String> {
    let all = run.table("hops").column("addr");
    all.iter().map(|addr| addr.as_str().unwrap_or("*").to_owned()).collect()
}

#[test]
fn an_answer_that_comes_twice_is_that_of_one_hop() {
    for (target, hops) in [(TARGET4, HOPS4), (TARGET6, HOPS6)] {
        for udp in [false, true] {
            let net = net().duplicate_back("r1", 1..=4);
            let run = run_in(net, TraceboxParams { udp, ..tracebox(target) });
            assert_eq!(addresses(&run), hops, "{run}");
            assert_eq!(run.counters.not_sent, 0, "{run}");
        }
    }
}

#[test]
fn a_late_answer_is_not_that_of_the_next_hop() {
    for (target, hops) in [(TARGET4, HOPS4), (TARGET6, HOPS6)] {
        for udp in [false, true] {
            for quote in ["full", "header+8"] {
                let slow = format!("slow 1500ms quote {quote}");
                let net = net().attributes("r2", &slow).silent("r3");
                let run = run_in(net, TraceboxParams { udp, ..tracebox(target) });
                assert_eq!(addresses(&run), [hops[0], "*", "*", hops[3]], "{run}");
            }
        }
    }
}

/// Takes two more off the hop limit, and leaves one.
struct Taker;

impl Middlebox for Taker {
    fn forward(&mut self, packet: &mut Vec<u8>, way: Way, _now: Duration) -> Verdict {
        if way == Way::There {
            packet[7] = packet[7].saturating_sub(2).max(1);
        }
        Verdict::Pass
    }
}

#[test]
fn a_router_that_answers_for_several_hops_is_at_each_of_them() {
    // Its errors are alike to the last octet, as those of IPv6 about TCP are.
    let params = TraceboxParams { attempts: 2, ..tracebox(TARGET6) };
    let run = run_in(net().middlebox("r1", Taker), params);
    assert_eq!(
        addresses(&run),
        [HOPS6[0], HOPS6[1], HOPS6[1], HOPS6[1], HOPS6[2], HOPS6[3]],
        "{run}"
    );
}

/// Writes another payload into datagrams, with the right checksum.
struct Editor;

impl Middlebox for Editor {
    fn forward(&mut self, packet: &mut Vec<u8>, way: Way, _now: Duration) -> Verdict {
        let header = packet::IpHeader::parse(packet).unwrap();
        if way == Way::There && header.protocol == packet::protocol::UDP {
            // The same sum in two words, and one more in the checksum, which is its complement.
            let at = header.header_octets;
            let word = |packet: &[u8], at: usize| u16::from_be_bytes([packet[at], packet[at + 1]]);
            let (first, sum) = (word(packet, at + 8), word(packet, at + 6));
            let (first, sum) = match (first, sum) {
                (u16::MAX, _) | (_, 0..=1) => (first, sum),
                _ => (first + 1, sum - 1),
            };
            packet[at + 8..at + 10].copy_from_slice(&first.to_be_bytes());
            packet[at + 6..at + 8].copy_from_slice(&sum.to_be_bytes());
        }
        Verdict::Pass
    }
}

#[test]
fn a_box_that_rewrites_datagrams_does_not_hide_the_path_behind_it() {
    for (target, hops, certainty) in [(TARGET4, HOPS4, "exact"), (TARGET6, HOPS6, "weak")] {
        let params = TraceboxParams { udp: true, ..tracebox(target) };
        let run = run_in(net().middlebox("r1", Editor), params);
        assert_eq!(addresses(&run), hops, "{run}");
        let seen = run.table("hops").column("certainty");
        assert_eq!(seen, ["exact", certainty, certainty, certainty], "{run}");
        assert_eq!(intervals(&run), [("UDP::Checksum".to_owned(), 1, 2)], "{run}");
    }
}

/// Gives datagrams another port, of the two at that octet, and a checksum that fits.
struct OtherPort(usize);

impl Middlebox for OtherPort {
    fn forward(&mut self, packet: &mut Vec<u8>, way: Way, _now: Duration) -> Verdict {
        let header = packet::IpHeader::parse(packet).unwrap();
        if way == Way::There && header.protocol == packet::protocol::UDP {
            let at = header.header_octets;
            for (octet, change) in [(at + self.0, 1), (at + 6, u16::MAX)] {
                let word = u16::from_be_bytes([packet[octet], packet[octet + 1]]);
                packet[octet..octet + 2].copy_from_slice(&word.wrapping_add(change).to_be_bytes());
            }
        }
        Verdict::Pass
    }
}

#[test]
fn ports_that_a_box_rewrites_are_seen_where_datagrams_are_quoted_whole() {
    for (target, hops) in [(TARGET4, HOPS4), (TARGET6, HOPS6)] {
        for (octet, name) in [(0, "UDP::SPort"), (2, "UDP::DPort")] {
            let params = TraceboxParams { udp: true, ..tracebox(target) };
            let run = run_in(net().middlebox("r1", OtherPort(octet)), params);
            assert_eq!(addresses(&run), hops, "{run}");
            let names: Vec<_> = intervals(&run).into_iter().map(|(name, ..)| name).collect();
            assert_eq!(names, [name, "UDP::Checksum"], "{run}");
        }
    }
}

/// Makes resets that acknowledge nothing of what TCP answers.
struct Resetter;

impl Middlebox for Resetter {
    fn forward(&mut self, packet: &mut Vec<u8>, way: Way, _now: Duration) -> Verdict {
        let header = packet::IpHeader::parse(packet).unwrap();
        if way == Way::Back && header.protocol == packet::protocol::TCP {
            let at = header.header_octets;
            let word = |at: usize| u32::from(u16::from_be_bytes([packet[at], packet[at + 1]]));
            // The checksum is a complement (RFC 1624).
            let less = (word(at + 12) & 0xff) - u32::from(packet::tcp::flags::RST);
            let sum = word(at + 16) + less;
            let sum = (sum & 0xffff) + (sum >> 16);
            packet[at + 13] = packet::tcp::flags::RST;
            packet[at + 16..at + 18].copy_from_slice(&(sum as u16).to_be_bytes());
        }
        Verdict::Pass
    }
}

#[test]
fn a_reset_without_a_number_of_ours_is_no_end() {
    for (target, hops) in [(TARGET4, HOPS4), (TARGET6, HOPS6)] {
        let params = TraceboxParams { gaplimit: 1, attempts: 1, ..tracebox(target) };
        let run = run_in(net().middlebox("r1", Resetter), params);
        assert_eq!(addresses(&run), [hops[0], hops[1], hops[2], "*"], "{run}");
        assert_eq!(run.stop, "gap_limit", "{run}");
    }
}

#[test]
fn a_refusal_acknowledges_the_payload_of_the_syn() {
    for (target, probe) in [(TARGET4, "IP/TCP/RAW(414243444546)"), (TARGET6, "IPV6/TCP/RAW(4142)")]
    {
        let probe = Some(probe.to_owned());
        let run = run_in(net(), TraceboxParams { probe, dport: 81, ..tracebox(target) });
        assert_eq!(changes(&run).last().unwrap(), "RST", "{run}");
        assert_eq!(run.table("summary").column("sequence_arrived"), [true], "{run}");
    }
}

#[test]
fn a_field_that_is_set_twice_is_told_twice() {
    let net = net().attributes("r1", "rewrite mss 1400").attributes("r2", "rewrite mss 1300");
    let probe = Some("IP/TCP/MSS(1460)".to_owned());
    let run = run_in(net, TraceboxParams { probe, ..tracebox(TARGET4) });
    let mss = |first, next| ("TCP::Options::MSS".to_owned(), first, next);
    let checksum = ("TCP::Checksum".to_owned(), 1, 2);
    assert_eq!(intervals(&run), [checksum, mss(1, 2), mss(2, 3)], "{run}");
}

#[test]
fn every_device_that_sets_a_field_is_told() {
    let (one, two) = ("203.0.113.77", "203.0.113.99");
    let natted = |address| format!("nat-source {address} fix-up none");
    let five = Net::draw("vantage - r1 - r2 - r3 - r4 - r5 - target\n target 198.51.100.9 tcp 80");
    let five = five.attributes("r1", &natted(one)).attributes("r3", &natted(two));
    let run = run_in(five, tracebox(TARGET4));
    let translated = |from, to| ("IP::SourceAddr".to_owned(), from, to);
    for place in [translated(1, 2), translated(3, 4)] {
        assert!(intervals(&run).contains(&place), "{run}");
    }
    let shift = "shift-sequence 1000";
    let run = run_in(net().attributes("r1", shift).attributes("r2", shift), tracebox(TARGET4));
    let sequences = intervals(&run).into_iter().filter(|row| row.0 == "TCP::SeqNumber");
    assert_eq!(sequences.map(|row| (row.1, row.2)).collect::<Vec<_>>(), [(1, 2), (2, 3)], "{run}");
    let checksums = intervals(&run).into_iter().filter(|row| row.0 == "TCP::Checksum");
    assert_eq!(checksums.count(), 1, "{run}");
}

#[test]
fn what_a_router_gets_wrong_where_it_quotes_is_no_device() {
    for damage in ["length swapped", "length reduced", "id swapped", "id incremented"] {
        for udp in [false, true] {
            let net = net().attributes("r3", &format!("quoted-{damage}"));
            let run = run_in(net, TraceboxParams { udp, ..tracebox(TARGET4) });
            assert_eq!(addresses(&run), HOPS4, "{run}");
            assert_eq!(intervals(&run), [], "{damage}\n{run}");
            let field = if damage.starts_with("id") { "IP::ID" } else { "IP::Length" };
            assert!(changes(&run)[2].contains(field), "{damage}\n{run}");
        }
    }
}

#[test]
fn a_checksum_is_judged_where_options_are_gone_too() {
    let probe = Some("IP/TCP/MSS(1460)".to_owned());
    let net = net().attributes("r1", "strip mss");
    let run = run_in(net, TraceboxParams { probe, ..tracebox(TARGET4) });
    let seen = run.table("hops").column("checksum");
    assert_eq!(seen, [json!("good"), json!("good"), json!("good"), json!(null)], "{run}");
}

#[test]
fn the_probe_of_the_seed_system_is_sent_in_the_family_of_the_destination() {
    for (target, hops) in [(TARGET4, HOPS4), (TARGET6, HOPS6)] {
        let probe = Some(SEED_PROBE.to_owned());
        let run = run_in(net(), TraceboxParams { probe, ..tracebox(target) });
        assert_eq!(addresses(&run), hops, "{run}");
    }
}

#[test]
fn time_stamps_are_those_of_the_clock() {
    let probe = || Some("IP/TCP/TS".to_owned());
    let stamp = |seed| {
        let params = TraceboxParams { probe: probe(), ..tracebox(TARGET4) };
        let run = Sim::new(net(), seed).run::<Tracebox>(params);
        let syn = run.exchange().sent().next().unwrap().to_vec();
        assert_eq!(syn[42..46], syn[46..50], "{run}");
        syn[42..46].to_vec()
    };
    assert_eq!(stamp(1), stamp(2), "both begin at one moment of virtual time");
}
