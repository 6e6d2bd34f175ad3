//! Answers of somebody who knows the ports and guesses the rest, and boxes that look alike.

use sonde_testkit::edit::edit;

use super::*;

/// Does something to packets of a protocol that go that way.
struct Edits<F>(Way, u8, F);

impl<F: FnMut(&mut Vec<u8>, usize)> Middlebox for Edits<F> {
    fn forward(&mut self, packet: &mut Vec<u8>, way: Way, _now: Duration) -> Verdict {
        let header = packet::IpHeader::parse(packet).unwrap();
        if way == self.0 && header.protocol == self.1 {
            edit(packet, |packet| (self.2)(packet, header.header_octets));
        }
        Verdict::Pass
    }
}

/// Writes a number of TCP.
fn put(packet: &mut [u8], at: usize, number: u32) {
    packet[at..at + 4].copy_from_slice(&number.to_be_bytes());
}

#[test]
fn a_box_that_makes_sequence_numbers_up_hides_nothing_where_eight_octets_are_quoted_either() {
    for (target, hops) in [(TARGET4, HOPS4), (TARGET6, HOPS6)] {
        for quote in ["quote full", "quote header+8"] {
            // The destination acknowledges what it got.
            let randomiser =
                Edits(Way::There, packet::protocol::TCP, |packet: &mut Vec<u8>, at| {
                    put(packet, at + 4, 0x1234_5678);
                });
            let net = net().attributes("r2", quote).attributes("r3", quote);
            let net = net.attributes("r1", "rewrite id 77 there").middlebox("r1", randomiser);
            let run = run_in(net, tracebox(target));
            assert_eq!(addresses(&run), hops, "{quote}\n{run}");
            let certainty = ["exact", "weak", "weak", "exact"];
            assert_eq!(run.table("hops").column("certainty"), certainty, "{quote}\n{run}");
            assert_eq!(run.stop, "reached", "{run}");
        }
    }
}

#[test]
fn a_segment_that_acknowledges_what_no_quote_showed_is_no_end() {
    for (target, hops) in [(TARGET4, HOPS4), (TARGET6, HOPS6)] {
        let forger = Edits(Way::Back, packet::protocol::TCP, |packet: &mut Vec<u8>, at| {
            put(packet, at + 8, 0x7777_7777);
        });
        let net = net().attributes("r1", "shift-sequence 1000").middlebox("r2", forger);
        let run = run_in(net, TraceboxParams { gaplimit: 1, ..tracebox(target) });
        assert_eq!(addresses(&run), [hops[0], hops[1], hops[2], "*"], "{run}");
    }
}

#[test]
fn what_comes_from_another_port_than_the_one_that_was_asked_is_no_end() {
    for (udp, protocol) in [(false, packet::protocol::TCP), (true, packet::protocol::UDP)] {
        let other = Edits(Way::Back, protocol, |packet: &mut Vec<u8>, at| packet[at + 1] ^= 1);
        let net = net().attributes("target", "echo-udp").middlebox("r1", other);
        let run = run_in(net, TraceboxParams { udp, gaplimit: 1, ..tracebox(TARGET4) });
        assert_eq!(addresses(&run), [HOPS4[0], HOPS4[1], HOPS4[2], "*"], "{run}");
    }
}

#[test]
fn a_datagram_of_the_destination_proves_itself_by_the_payload() {
    for (target, hops) in [(TARGET4, HOPS4), (TARGET6, HOPS6)] {
        for (changed, certainty) in [(0, "exact"), (1, "weak")] {
            let edits = Edits(Way::Back, packet::protocol::UDP, move |packet: &mut Vec<u8>, at| {
                packet[at + 8] ^= changed;
            });
            let net = net().attributes("target", "echo-udp").middlebox("r1", edits);
            let run = run_in(net, TraceboxParams { udp: true, ..tracebox(target) });
            assert_eq!(addresses(&run), hops, "{run}");
            assert_eq!(run.table("hops").column("certainty")[3], certainty, "{run}");
        }
    }
}

#[test]
fn a_quote_of_ports_with_another_payload_is_of_no_datagram_over_ipv6() {
    for changed in [3, 5] {
        // Behind the error's own header, those of the quoted packet.
        let forger = Edits(Way::Back, packet::protocol::ICMPV6, move |packet: &mut Vec<u8>, at| {
            let payload = at + 8 + 40 + 8;
            packet[payload..payload + changed].iter_mut().for_each(|octet| *octet ^= 0x55);
        });
        let net = net().middlebox("r2", forger);
        let run = run_in(net, TraceboxParams { udp: true, gaplimit: 2, ..tracebox(TARGET6) });
        let hop = |hop| if changed == 3 { hop } else { "*" };
        assert_eq!(addresses(&run), [HOPS6[0], HOPS6[1], hop(HOPS6[2]), hop(HOPS6[3])], "{run}");
    }
}

#[test]
fn an_identification_without_ports_is_weak() {
    let run = run_in(net().attributes("r2", "quote header"), tracebox(TARGET4));
    let certainty = run.table("hops").column("certainty");
    assert_eq!(certainty, ["exact", "weak", "exact", "exact"], "{run}");
}
