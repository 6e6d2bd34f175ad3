//! Lists of options that make no sense from some point on.

use sonde_testkit::edit::edit;

use super::*;

/// Writes one octet of a SYN over, counted from the IP header or from that of TCP.
#[derive(Clone, Copy)]
struct Scribbler {
    way: Way,
    is_network: bool,
    at: usize,
    octet: u8,
}

impl Middlebox for Scribbler {
    fn forward(&mut self, packet: &mut Vec<u8>, way: Way, _now: Duration) -> Verdict {
        let header = packet::IpHeader::parse(packet).unwrap();
        let segment = packet::tcp::TcpView::new(header.transport(packet));
        let is_tcp = header.protocol == packet::protocol::TCP;
        if way == self.way && is_tcp && segment.flags().unwrap() & packet::tcp::flags::SYN != 0 {
            let begin = if self.is_network { 0 } else { header.header_octets };
            edit(packet, |packet| packet[begin + self.at] = self.octet);
        }
        Verdict::Pass
    }
}

fn scribbled(target: &str, probe: &str, scribbler: Scribbler) -> Run {
    let params = TraceboxParams { probe: Some(probe.to_owned()), ..tracebox(target) };
    let net = net().attributes("target", "server-mss 1460");
    run_in(net.middlebox("r1", scribbler), params)
}

const OPTIONS: &str = "IP/TCP/MSS(1460)/SACKP/WSCALE(7)";

#[test]
fn options_behind_one_that_makes_no_sense_are_unknown_and_not_removed() {
    for (target, usual) in [(TARGET4, "IP::TTL IP::Checksum"), (TARGET6, "IPv6::HopLimit")] {
        // The length of the second one: none, less than its head, beyond the header.
        for octet in [0, 1, 13] {
            let scribbler = Scribbler { way: Way::There, is_network: false, at: 25, octet };
            let run = scribbled(target, OPTIONS, scribbler);
            let expected = format!("TCP::Checksum TCP::Options::malformed {usual}");
            assert_eq!(changes(&run)[..3], ["".to_owned(), expected.clone(), expected], "{run}");
            let unknown = json!(["TCP::Options::SACKPermitted", "TCP::Options::WSOPT-WindowScale"]);
            assert_eq!(run.table("hops").column("unknown")[1], unknown, "{run}");
        }
    }
}

#[test]
fn options_of_ip_are_no_exception() {
    let scribbler = Scribbler { way: Way::There, is_network: true, at: 21, octet: 0 };
    let run = scribbled(TARGET4, "IP/TCP/RTRALERT", scribbler);
    assert_eq!(changes(&run)[1], "IP::TTL IP::Checksum IP::Options::malformed", "{run}");
    let unknown = json!(["IP::Options::RouterAlert"]);
    assert_eq!(run.table("hops").column("unknown")[1], unknown, "{run}");
}

#[test]
fn what_the_destination_grants_is_unknown_where_its_options_make_no_sense() {
    let all = ["MSS", "SACKPermitted", "WSOPT-WindowScale"];
    let all = json!(all.map(|name| format!("TCP::Options::{name}")));
    // The length of its first option; a header that ends before it begins, and one that ends behind the packet.
    for (at, octet, changed, unknown) in [
        (21, 0, "TCP::Options::malformed", all),
        (12, 0x40, "", json!(["TCP::Options"])),
        (12, 0xf0, "", json!(["TCP::Options"])),
    ] {
        let scribbler = Scribbler { way: Way::Back, is_network: false, at, octet };
        let run = scribbled(TARGET4, OPTIONS, scribbler);
        assert_eq!(changes(&run)[3], changed, "{run}");
        assert_eq!(run.table("hops").column("unknown")[3], unknown, "{run}");
    }
}

#[test]
fn an_option_that_is_added_behind_one_that_makes_no_sense_is_not_looked_for_there() {
    let scribbler = Scribbler { way: Way::There, is_network: false, at: 25, octet: 0 };
    let mender = Scribbler { octet: 2, ..scribbler };
    let net = net().middlebox("r1", scribbler).middlebox("r2", mender);
    let params = TraceboxParams { probe: Some(OPTIONS.to_owned()), ..tracebox(TARGET4) };
    let run = run_in(net.attributes("r2", "insert 76:0102 there"), params);
    assert!(intervals(&run).contains(&("TCP::Options::76".to_owned(), 1, 3)), "{run}");
}
