//! Options of IPv4, extension headers of IPv6, and fragments.

use sonde_plugin_api::{
    packet::{self, Family, IpHeader, protocol},
    prelude::*,
};
use sonde_testkit::{Middlebox, Run, Sim, Verdict, Way};

use super::{TARGET4, TARGET6, changes, intervals, net, run_in, tracebox};
use crate::{Tracebox, compare::compare, params::TraceboxParams};

fn probing(target: &str, probe: &str) -> TraceboxParams {
    TraceboxParams { probe: Some(probe.to_owned()), ..tracebox(target) }
}

/// The IP header without options and extension headers, of a packet that is so long and no fragment.
fn plain(packet: &[u8], header: &IpHeader, octets: usize) -> Vec<u8> {
    let mut ip = packet[..header.options.start].to_vec();
    if header.family() == Family::V4 {
        ip[0] = 0x45;
        ip[2..4].copy_from_slice(&(octets as u16 + 20).to_be_bytes());
        ip[6..8].fill(0);
        ip[10..12].fill(0);
        let sum = packet::checksum::sum(&ip, 0);
        let sum = packet::checksum::finish(sum);
        ip[10..12].copy_from_slice(&sum.to_be_bytes());
    } else {
        ip[4..6].copy_from_slice(&(octets as u16).to_be_bytes());
        ip[6] = header.protocol;
    }
    ip
}

/// Takes out options of IPv4 and extension headers of IPv6.
struct Stripper;

impl Middlebox for Stripper {
    fn forward(&mut self, packet: &mut Vec<u8>, way: Way, _now: Duration) -> Verdict {
        if way == Way::There {
            let header = IpHeader::parse(packet).unwrap();
            let data = packet.split_off(header.header_octets);
            *packet = [plain(packet, &header, data.len()), data].concat();
        }
        Verdict::Pass
    }
}

#[test]
fn options_of_ip_arrive_unchanged_on_a_clean_path_and_are_missed_behind_who_strips_them() {
    for (target, probe, usual, stripped) in [
        (
            TARGET4,
            "IP/TCP/RTRALERT",
            "IP::TTL IP::Checksum",
            "IP::IHL IP::Length IP::TTL IP::Checksum -IP::Options::RouterAlert",
        ),
        (
            TARGET4,
            "IP/TCP/IPOPTION(kind=30,data=0102)",
            "IP::TTL IP::Checksum",
            "IP::IHL IP::Length IP::TTL IP::Checksum -IP::Options::30",
        ),
        (
            TARGET6,
            "IPV6/TCP/DSTOPT(kind=30,data=0102)",
            "IPv6::HopLimit",
            "IPv6::PayloadLength IPv6::NextHeader IPv6::HopLimit -IPv6::DestinationOptions",
        ),
        (
            TARGET6,
            "IPV6/TCP/HOPOPT/DSTOPT",
            "IPv6::HopLimit",
            "IPv6::PayloadLength IPv6::NextHeader IPv6::HopLimit -IPv6::HopByHopOptions -IPv6::DestinationOptions",
        ),
    ] {
        let clean = run_in(net(), probing(target, probe));
        assert_eq!(changes(&clean)[..3], ["", usual, usual], "{probe}\n{clean}");
        assert_eq!((clean.stop.as_str(), intervals(&clean).len()), ("reached", 0), "{clean}");
        let run = run_in(net().middlebox("r1", Stripper), probing(target, probe));
        assert_eq!(changes(&run)[..3], ["", stripped, stripped], "{probe}\n{run}");
        let rows = run.table("intervals");
        let row = rows.iter().find(|row| row["change"] == "removed").unwrap();
        assert_eq!((&row["after_ttl"], &row["first_ttl"]), (&1.into(), &2.into()), "{run}");
        assert_eq!(row["meaning"], "stripped", "{run}");
    }
}

/// Puts an extension header of this kind, with so many octets behind its first 8, into what passes.
struct Inserter(u8, [u8; 2], usize);

impl Middlebox for Inserter {
    fn forward(&mut self, packet: &mut Vec<u8>, way: Way, _now: Duration) -> Verdict {
        let header = IpHeader::parse(packet).unwrap();
        if way == Way::There && header.family() == Family::V6 {
            let Self(kind, begin, more) = self;
            let mut put_in = [&[packet[6]], &begin[..], &[4, 0, 0, 0, 0]].concat();
            put_in.resize(8 + *more, 0);
            packet.splice(40..40, put_in);
            packet[6] = *kind;
            let octets = packet.len() as u16 - 40;
            packet[4..6].copy_from_slice(&octets.to_be_bytes());
        }
        Verdict::Pass
    }
}

#[test]
fn an_extension_header_that_was_put_in_is_added() {
    for (inserter, name) in [
        (Inserter(protocol::DESTINATION_OPTIONS, [0, 1], 0), "DestinationOptions"),
        (Inserter(protocol::AUTHENTICATION, [4, 0], 16), "Authentication"),
    ] {
        let run = run_in(net().middlebox("r1", inserter), tracebox(TARGET6));
        let expected = format!("IPv6::PayloadLength IPv6::NextHeader IPv6::HopLimit +IPv6::{name}");
        assert_eq!(changes(&run)[..3], ["", &expected, &expected], "{run}");
    }
}

#[test]
fn a_recorded_route_grows_from_hop_to_hop_by_nature() {
    for probe in ["IP/TCP/RR(5)", "IP/TCP/IPTS(slots=5)"] {
        let run = run_in(net(), probing(TARGET4, probe));
        let name = if probe.contains("RR") { "RecordRoute" } else { "Timestamp" };
        let usual = format!("IP::TTL IP::Checksum IP::Options::{name}");
        assert_eq!(changes(&run)[..3], ["", &usual, &usual], "{run}");
        assert_eq!((run.stop.as_str(), intervals(&run).len()), ("reached", 0), "{run}");
    }
}

#[test]
fn a_hop_that_quotes_some_of_the_options_is_a_hop() {
    for (quote, probe) in [("quote 28", "IP/TCP/RR"), ("quote 20", "IP/TCP/RTRALERT")] {
        let run = run_in(net().attributes("r2", quote), probing(TARGET4, probe));
        assert_eq!(run.table("hops").column("addr")[1], "203.0.113.2", "{run}");
        assert_eq!(run.table("hops").column("quote_class")[1], "empty", "{run}");
        let unknown = run.table("hops").column("unknown")[1].to_string();
        assert!(unknown.contains("TCP::SPort") && unknown.contains("IP::Options"), "{unknown}");
        assert!(!unknown.contains("IP::ID"), "{unknown}");
    }
}

#[test]
fn what_of_the_options_is_not_quoted_is_unknown_and_not_removed() {
    for (target, probe, cut, unknown) in [
        (TARGET4, "IP/TCP/RR", 40, "IP::Options"),
        (TARGET6, "IPV6/TCP/HOPOPT", 44, "IPv6::ExtensionHeaders"),
    ] {
        let run = run_in(net(), probing(target, probe));
        let sent = run.exchange().sent().next().unwrap();
        let told = compare(sent, &sent[..cut]);
        assert!(told.unknown.iter().any(|it| it == unknown), "{told:?}");
        assert_eq!(told.modifications, []);
        assert!(compare(sent, sent).unknown.is_empty());
    }
}

#[test]
fn options_that_are_not_permitted_are_refused_and_said_to_be() {
    let sim = Sim::new(net(), 1).forbid(Need::IpOptions);
    let run = sim.run::<Tracebox>(probing(TARGET4, "IP/TCP/RR"));
    assert_eq!(run.counters.sent, 0, "{run}");
    assert!(format!("{:?}", run.status).contains("ip_options"), "{:?}", run.status);
}

/// What is said of both devices.
fn devices(run: &Run) -> [String; 2] {
    let rows = run.table("devices");
    ["fragment_filter", "reassembler"].map(|name| {
        let row = rows.iter().find(|row| row["device"] == name).unwrap();
        format!("{} {}-{}", row["verdict"].as_str().unwrap(), row["after_ttl"], row["first_ttl"])
    })
}

const NOT_FOUND: &str = "not_found null-null";

fn looking(target: &str, udp: bool) -> TraceboxParams {
    TraceboxParams { fragments: true, udp, ..tracebox(target) }
}

#[test]
fn fragments_get_to_the_end_of_a_clean_path() {
    for target in [TARGET4, TARGET6] {
        for udp in [false, true] {
            let run = run_in(net(), looking(target, udp));
            assert_eq!(devices(&run), [NOT_FOUND, NOT_FOUND], "{run}");
        }
    }
}

#[test]
fn the_end_of_one_probe_is_not_taken_for_that_of_the_next() {
    // The answer of the port has no label, so its probe times out while the parts are on their way.
    let run = run_in(net().link_back("target", "delay 600ms"), looking(TARGET4, false));
    assert_eq!(devices(&run), [NOT_FOUND, NOT_FOUND], "{run}");
}

#[test]
fn an_answer_to_the_packet_in_one_that_comes_late_is_not_that_to_its_parts() {
    for target in [TARGET4, TARGET6] {
        for udp in [false, true] {
            let params = TraceboxParams { attempts: 2, ..looking(target, udp) };
            let run = run_in(net().attributes("r2", "slow 1500ms"), params);
            assert_eq!(devices(&run), [NOT_FOUND, NOT_FOUND], "{run}");
        }
    }
}

/// Stops fragments on the way there: all of them, or those behind the first.
pub(super) struct Filter {
    pub(super) stops_first: bool,
}

impl Middlebox for Filter {
    fn forward(&mut self, packet: &mut Vec<u8>, way: Way, _now: Duration) -> Verdict {
        let fragment = IpHeader::parse(packet).unwrap().fragment;
        let is_stopped = |offset_octets| self.stops_first || offset_octets > 0;
        match fragment.filter(|it| way == Way::There && is_stopped(it.offset_octets)) {
            Some(_) => Verdict::Drop,
            None => Verdict::Pass,
        }
    }
}

#[test]
fn who_stops_fragments_is_found_where_it_stands() {
    for target in [TARGET4, TARGET6] {
        let run =
            run_in(net().middlebox("r2", Filter { stops_first: true }), looking(target, false));
        assert_eq!(devices(&run), ["found 2-3", NOT_FOUND], "{run}");
        // Of later fragments the destination alone tells.
        let later = net().middlebox("r2", Filter { stops_first: false });
        let later = run_in(later, looking(target, false));
        assert_eq!(devices(&later), ["found 0-4", NOT_FOUND], "{later}");
        // A refusal tells as much, and acknowledges the data as well.
        let refused = TraceboxParams { dport: 81, ..looking(target, false) };
        let later = net().middlebox("r2", Filter { stops_first: false });
        let later = run_in(later, refused);
        assert_eq!(devices(&later), ["found 0-4", NOT_FOUND], "{later}");
    }
    // A router that says nothing at all stops nothing.
    let silent = run_in(net().silent("r2"), looking(TARGET4, false));
    assert_eq!(devices(&silent), [NOT_FOUND, NOT_FOUND], "{silent}");
}

#[test]
fn a_part_that_cannot_leave_is_neither_lost_nor_the_end() {
    let look = |target, numbers| {
        let run = Sim::new(net(), 1).unsent(105, numbers).run::<Tracebox>(looking(target, false));
        run.expect_done();
        run
    };
    for target in [TARGET4, TARGET6] {
        let clean = run_in(net(), looking(target, false));
        // Behind four probes, a reset, a packet in one and the first part.
        let run = look(target, vec![8]);
        assert_eq!(devices(&run), [NOT_FOUND, NOT_FOUND], "{run}");
        assert_eq!(run.table("summary").column("sent"), clean.table("summary").column("sent"));
        // The parts behind the first never do.
        let run = look(target, (8..40).step_by(2).collect());
        assert_eq!(devices(&run), ["unknown null-null"; 2], "{run}");
        assert_eq!(run.stop, "reached", "{run}");
    }
}

/// Puts packets of two parts together.
#[derive(Default)]
struct Reassembler {
    first: Option<Vec<u8>>,
}

impl Middlebox for Reassembler {
    fn forward(&mut self, packet: &mut Vec<u8>, way: Way, _now: Duration) -> Verdict {
        let header = IpHeader::parse(packet).unwrap();
        let Some(fragment) = header.fragment.filter(|_| way == Way::There) else {
            return Verdict::Pass;
        };
        if fragment.more {
            self.first = Some(std::mem::take(packet));
            return Verdict::Drop;
        }
        let Some(first) = self.first.take() else { return Verdict::Drop };
        let header_of_first = IpHeader::parse(&first).unwrap();
        let data = [header_of_first.transport(&first), header.transport(packet)].concat();
        *packet = [plain(&first, &header_of_first, data.len()), data].concat();
        Verdict::Pass
    }
}

#[test]
fn who_puts_fragments_together_is_found_by_what_is_quoted_behind_it() {
    for target in [TARGET4, TARGET6] {
        for udp in [false, true] {
            let net = net().middlebox("r2", Reassembler::default());
            let run = run_in(net, looking(target, udp));
            assert_eq!(devices(&run), [NOT_FOUND, "found 2-3"], "{run}");
        }
    }
}

#[test]
fn who_changes_the_options_of_a_first_part_or_its_quoted_length_puts_nothing_together() {
    for (target, box_or_damage) in [
        (TARGET4, "strip all there"),
        (TARGET4, "insert 76:0102 there"),
        (TARGET4, "quoted-length swapped"),
        (TARGET4, "quoted-length reduced"),
        (TARGET6, "strip all there"),
        (TARGET6, "insert 76:0102 there"),
    ] {
        let probe = Some("IP/TCP/MSS(1460)/SACKP".to_owned());
        let params = TraceboxParams { probe, ..looking(target, false) };
        let run = run_in(net().attributes("r2", box_or_damage), params);
        assert_eq!(devices(&run)[1], NOT_FOUND, "{box_or_damage}\n{run}");
    }
}

#[test]
fn fields_that_no_host_chooses_leave_as_they_were_asked_for_with_right_checksums_around_them() {
    for (target, ip, at) in [(TARGET4, "IP(reserved=1)", 20), (TARGET6, "IPV6", 40)] {
        let run = run_in(net(), probing(target, &format!("{ip}/TCP(reserved=5)")));
        assert_eq!((run.stop.as_str(), intervals(&run).len()), ("reached", 0), "{run}");
        for sent in run.exchange().sent().filter(|sent| sent[at + 13] == packet::tcp::flags::SYN) {
            let header = IpHeader::parse(sent).unwrap();
            assert_eq!(packet::verify(sent, &header), packet::Verdict::Good, "{run}");
            assert_eq!(sent[at + 12] & 0x0f, 5, "{run}");
            assert!(at == 40 || sent[6] & 0x80 != 0, "{run}");
        }
        // A host takes no segment whose checksum is wrong; routers do not look at it.
        let run = run_in(net(), probing(target, "IP/TCP(checksum=1)"));
        assert_eq!((run.stop.as_str(), changes(&run).len()), ("gap_limit", 8), "{run}");
        let checksums = run.table("hops").column("checksum");
        assert_eq!(checksums[0], "wrong", "{run}");
        assert_eq!(intervals(&run).len(), 0, "{run}");
        let params = TraceboxParams { udp: true, ..probing(target, "IP/UDP(length=9,checksum=7)") };
        let run = run_in(net(), params);
        let sent = run.exchange().sent().next().unwrap();
        assert_eq!(sent[at + 4..at + 8], [0, 9, 0, 7], "{run}");
        assert_eq!(intervals(&run).len(), 0, "{run}");
        assert!(run.table("hops").len() > 3, "{run}");
    }
}

#[test]
fn a_quote_that_claims_to_be_whole_and_has_no_whole_header_is_of_eight_octets() {
    // 28 octets: what is left of 48 where the router counts without the header.
    let short = net().attributes("r2", "quote 28 quoted-length reduced");
    let run = run_in(short, probing(TARGET4, "IP/TCP/MSS/SACKP"));
    let quotes = run.table("hops").column("quote");
    assert_eq!(quotes[1], "Layer 3 Header + First 8 L3 payload bytes", "{run}");
    assert_eq!(quotes[0], "Full packet", "{run}");
}
