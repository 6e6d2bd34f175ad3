//! Devices that act for the destination, or keep account of its connections.

use sonde_testkit::edit;

use super::*;

/// What is said of a device: the verdict, and the hops that it is between.
fn device(run: &Run) -> String {
    let rows = run.table("devices");
    let row = rows.iter().next().unwrap_or_else(|| panic!("no row\n{run}"));
    format!("{} {}-{}", row["verdict"].as_str().unwrap(), row["after_ttl"], row["first_ttl"])
}

/// Lets segments pass that belong to the first SYN that it saw.
struct Accountant(Option<u32>);

impl Middlebox for Accountant {
    fn forward(&mut self, packet: &mut Vec<u8>, way: Way, _now: Duration) -> Verdict {
        let header = packet::IpHeader::parse(packet).unwrap();
        if way == Way::Back || header.protocol != packet::protocol::TCP {
            return Verdict::Pass;
        }
        let sequence = packet::tcp::TcpView::new(header.transport(packet)).sequence().unwrap();
        let first = *self.0.get_or_insert(sequence);
        if sequence.wrapping_sub(first) <= 65_535 { Verdict::Pass } else { Verdict::Drop }
    }
}

#[test]
fn a_device_that_keeps_account_is_found_where_it_stands_and_nowhere_else() {
    for target in [TARGET4, TARGET6] {
        let params = || TraceboxParams { stateful: true, ..tracebox(target) };
        let run = run_in(net().middlebox("r2", Accountant(None)), params());
        assert_eq!(device(&run), "found 2-3", "{run}");
        let clean = run_in(net(), params());
        assert_eq!(device(&clean), "not_found null-null", "{clean}");
    }
    // Who refuses opens nothing.
    let closed = TraceboxParams { stateful: true, dport: 81, ..tracebox(TARGET4) };
    assert_eq!(device(&run_in(net(), closed)), "unknown null-null");
    // A silent router is not taken for the device.
    let silent = TraceboxParams { stateful: true, ..tracebox(TARGET4) };
    assert_eq!(device(&run_in(net().silent("r2"), silent)), "not_found null-null");
}

#[test]
fn without_a_proxy_datagrams_get_as_far_as_a_syn() {
    for target in [TARGET4, TARGET6] {
        let run = run_in(net(), TraceboxParams { proxy: true, ..tracebox(target) });
        assert_eq!(device(&run), "not_found null-null", "{run}");
    }
    let gone = TraceboxParams { proxy: true, gaplimit: 2, ..tracebox(TARGET4) };
    assert_eq!(device(&run_in(net().silent("target"), gone)), "unknown null-null");
}

#[test]
fn a_router_that_leaves_some_errors_out_is_no_device_where_one_behind_it_answers() {
    for seed in 0..30 {
        let params = TraceboxParams { stateful: true, ..tracebox(TARGET4) };
        let net = net().attributes("r2", "unanswered 50%");
        let run = Sim::new(net, seed).run::<Tracebox>(params);
        assert_eq!(device(&run), "not_found null-null", "{run}");
    }
}

#[test]
fn looking_for_one_device_leaves_the_destination_its_say_in_the_next() {
    let params = TraceboxParams { stateful: true, fragments: true, ..tracebox(TARGET4) };
    let filter = network_layer::Filter { stops_first: false };
    let run = run_in(net().middlebox("r2", filter), params);
    let verdicts = run.table("devices").column("verdict");
    assert_eq!(verdicts, ["not_found", "found", "not_found"], "{run}");
    let opened = run.exchange().received().filter(|packet| packet[9] == packet::protocol::TCP);
    let is_reset = |packet: &&[u8]| packet.get(33) == Some(&packet::tcp::flags::RST);
    let resets = run.exchange().sent().filter(is_reset);
    assert_eq!(resets.count(), opened.count(), "a connection stays half open\n{run}");
}

/// Answers each SYN in the name of its destination, with these flags.
struct Answerer(u8);

impl Middlebox for Answerer {
    fn forward(&mut self, packet: &mut Vec<u8>, way: Way, _now: Duration) -> Verdict {
        let header = packet::IpHeader::parse(packet).unwrap();
        let flags = packet::tcp::TcpView::new(header.transport(packet)).flags();
        let is_syn = flags == Some(packet::tcp::flags::SYN);
        if way == Way::There && header.protocol == packet::protocol::TCP && is_syn {
            edit::edit(packet, |packet| {
                let addresses = if header.source.is_ipv4() { 12..20 } else { 8..40 };
                let middle = addresses.len() / 2;
                packet[addresses].rotate_left(middle);
                let segment = &mut packet[header.header_octets..];
                segment[..4].rotate_left(2);
                let next = packet::tcp::TcpView::new(segment).sequence().unwrap().wrapping_add(1);
                segment[8..12].copy_from_slice(&next.to_be_bytes());
                segment[13] = self.0;
                edit::set_ttl(packet, 64);
            });
        }
        Verdict::Pass
    }
}

#[test]
fn who_accepts_in_front_of_the_destination_is_a_proxy_and_who_refuses_may_be_none() {
    use packet::tcp::flags::{ACK, RST, SYN};
    for target in [TARGET4, TARGET6] {
        for (flags, expected) in [(SYN | ACK, "found 2-3"), (RST | ACK, "unknown null-null")] {
            let params = TraceboxParams { proxy: true, ..tracebox(target) };
            let run = run_in(net().middlebox("r2", Answerer(flags)), params);
            assert_eq!(device(&run), expected, "{run}");
        }
        // The destination refuses where datagrams end as well.
        let params = TraceboxParams { proxy: true, dport: 81, ..tracebox(target) };
        assert_eq!(device(&run_in(net(), params)), "not_found null-null");
    }
}

#[test]
fn a_search_ends_where_nobody_answers_though_the_run_does_not() {
    let far: Vec<String> = (1..=20).map(|hop| format!("r{hop}")).collect();
    let net =
        || Net::line(far.iter().map(String::as_str).chain([TARGET4])).attributes(TARGET4, "tcp 80");
    let patient = || TraceboxParams { gaplimit: 0, maxttl: 64, ..tracebox(TARGET4) };
    let params = TraceboxParams { stateful: true, ..patient() };
    let run = run_in(net().middlebox("r2", Accountant(None)).silent("r1"), params);
    assert_eq!(device(&run), "found 2-3", "{run}");
    assert_eq!(run.took().as_secs(), 6, "one silent hop, and five behind the device");
    let params = TraceboxParams { proxy: true, ..patient() };
    let run = run_in(net().attributes(TARGET4, "silent-udp"), params);
    assert_eq!(device(&run), "unknown null-null", "{run}");
    assert_eq!(run.took().as_secs(), 5);
}

/// Translates the source port of datagrams; what it chose is forgotten with each packet.
struct Forgetful(u16);

impl Middlebox for Forgetful {
    fn forward(&mut self, packet: &mut Vec<u8>, way: Way, _now: Duration) -> Verdict {
        let header = packet::IpHeader::parse(packet).unwrap();
        if way == Way::There && header.protocol == packet::protocol::UDP {
            self.0 += 1;
            let at = header.header_octets;
            edit::edit(packet, |packet| packet[at..at + 2].copy_from_slice(&self.0.to_be_bytes()));
        }
        Verdict::Pass
    }
}

#[test]
fn a_translator_that_forgets_its_ports_is_one() {
    for target in [TARGET4, TARGET6] {
        let params = TraceboxParams { udp: true, ..tracebox(target) };
        let run = run_in(net().middlebox("r1", Forgetful(2000)), params);
        let told = ["UDP::SPort", "UDP::Checksum"].map(|name| (name.to_owned(), 1, 2));
        assert_eq!(intervals(&run), told, "{run}");
    }
}

/// Begins each segment's numbers anew, as a firewall does that hides those of bad hosts and keeps no account.
struct Randomiser(u32);

impl Middlebox for Randomiser {
    fn forward(&mut self, packet: &mut Vec<u8>, way: Way, _now: Duration) -> Verdict {
        let header = packet::IpHeader::parse(packet).unwrap();
        if way == Way::There && header.protocol == packet::protocol::TCP {
            self.0 = self.0.wrapping_mul(0x915f_77f5).wrapping_add(1);
            let at = header.header_octets + 4;
            edit::edit(packet, |packet| packet[at..at + 4].copy_from_slice(&self.0.to_be_bytes()));
        }
        Verdict::Pass
    }
}

#[test]
fn numbers_that_are_sent_otherwise_each_time_and_set_otherwise_each_time_tell_one_device() {
    let run = run_in(net().middlebox("r1", Randomiser(7)), tracebox(TARGET6));
    let told = ["TCP::Checksum", "TCP::SeqNumber"].map(|name| (name.to_owned(), 1, 2));
    assert_eq!(intervals(&run), told, "{run}");
}
