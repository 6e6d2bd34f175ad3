//! Networks that lose a packet, which is nobody's fault: no verdict accuses server or path.

use sonde_testkit::{Middlebox, Verdict as Passage, Way, edit::edit};

use super::*;

/// Loses one packet of ours, by its number from 1 on; the SYN is the first.
struct Loses {
    number: usize,
    passed: usize,
}

impl Middlebox for Loses {
    fn forward(&mut self, _: &mut Vec<u8>, way: Way, _: Duration) -> Passage {
        self.passed += usize::from(way == Way::There);
        match way == Way::There && self.passed == self.number {
            true => Passage::Drop,
            false => Passage::Pass,
        }
    }
}

fn verdict_without(number: usize, test: Test, behaviour: Behaviour) -> (Run, Verdict) {
    let params = TbitParams { test, ..TbitParams::with(TARGET.parse().unwrap()) };
    let net = Net::draw("vantage - r1 - r2 - target\n target 198.51.100.9");
    let net = net.middlebox("r1", Loses { number, passed: 0 });
    let run = Sim::new(net.host("target", PageServer::new(behaviour)), 1).run::<Tbit>(params);
    let verdict = run.typed::<SummaryRow>("summary")[0].result;
    (run, verdict)
}

#[test]
fn blocks_of_what_arrived_are_right_where_one_octet_is_lost() {
    // SYN, acknowledgement, the first octet; then six with holes between them.
    for number in 3..=9 {
        let (run, verdict) = verdict_without(number, Test::SackRcvr, LINUX);
        assert_eq!(verdict, Verdict::SackSuccess, "{number} {run}");
    }
    let shifts = Behaviour { shift: 1000, ..LINUX };
    assert_eq!(verdict_without(5, Test::SackRcvr, shifts).1, Verdict::SackShifted);
}

#[test]
fn nothing_is_known_of_the_echo_where_the_segment_that_met_congestion_is_lost() {
    let deaf_to_congestion = Behaviour { echoes_congestion: false, ..LINUX };
    assert_eq!(verdict_without(99, Test::Ecn, deaf_to_congestion).1, Verdict::EcnNoEce);
    for behaviour in [LINUX, deaf_to_congestion] {
        let (run, verdict) = verdict_without(3, Test::Ecn, behaviour);
        assert_eq!(verdict, Verdict::None, "{run}");
        assert!(run.logs.iter().any(|line| line.text.contains("may lose")), "{run}");
    }
}

/// Marks the server's data as of a transport that takes part in ECN.
struct MarksData;

impl Middlebox for MarksData {
    fn forward(&mut self, packet: &mut Vec<u8>, way: Way, _: Duration) -> Passage {
        if way == Way::Back && packet.len() > 1000 {
            edit(packet, |packet| packet[1] |= 2);
        }
        Passage::Pass
    }
}

#[test]
fn a_server_whose_data_takes_part_in_ecn_is_not_blamed_for_an_answer_that_does_not() {
    for is_marked in [false, true] {
        let net = Net::draw("vantage - r1 - target\n target 198.51.100.9");
        let net = if is_marked { net.middlebox("r1", MarksData) } else { net };
        let params = TbitParams { test: Test::Ecn, ..TbitParams::with(TARGET.parse().unwrap()) };
        let silent = PageServer::new(Behaviour { synack: 0, ..LINUX });
        let run = Sim::new(net.host("target", silent), 1).run::<Tbit>(params);
        let row = &run.typed::<SummaryRow>("summary")[0];
        let scope = if is_marked { Scope::Path } else { Scope::Endpoint };
        assert_eq!((row.result, row.scope), (Verdict::EcnIncapable, scope), "{run}");
        assert_eq!(row.ect_segments > Some(0), is_marked, "{run}");
    }
}

#[test]
fn a_connection_that_goes_on_after_a_blind_segment_and_then_has_nothing_to_say_is_not_dead() {
    for test in [Test::BlindRst, Test::BlindSyn] {
        let kept = Behaviour { page: 67, stays: true, blind: Blind::Ignores, ..LINUX };
        let (run, row) = run(test, kept);
        assert_eq!(row.result, Verdict::BlindIgnored, "{run}");
        let dies = Behaviour { blind: Blind::Accepts, ..kept };
        assert_eq!(verdict(test, dies), Verdict::BlindAccepted);
    }
}

/// Holds back the first segment with data for a second; what comes in its place is as short as a server sends that writes its
/// headers by themselves.
#[derive(Default)]
struct ShortensFirst {
    first: Option<[u8; 4]>,
}

impl Middlebox for ShortensFirst {
    fn forward(&mut self, packet: &mut Vec<u8>, way: Way, _: Duration) -> Passage {
        let Some(sequence) = packet.get(24..28).and_then(|octets| octets.try_into().ok()) else {
            return Passage::Pass;
        };
        if way == Way::There || packet.len() < 1000 {
            return Passage::Pass;
        }
        if self.first.is_none() {
            self.first = Some(sequence);
            return Passage::Drop;
        }
        if self.first == Some(sequence) {
            edit(packet, |packet| {
                packet.truncate(340);
                packet[2..4].copy_from_slice(&340_u16.to_be_bytes());
            });
        }
        Passage::Pass
    }
}

#[test]
fn a_server_that_was_told_nothing_has_not_obeyed() {
    for option in ["", "blackhole"] {
        let params = TbitParams {
            test: Test::Pmtud,
            option: Some(option.to_owned()),
            ..TbitParams::with(TARGET.parse().unwrap())
        };
        let net = Net::draw("vantage - r1 - target\n target 198.51.100.9");
        let net = net.middlebox("r1", ShortensFirst::default());
        let deaf = Behaviour { obeys_too_big: false, ..LINUX };
        let run = Sim::new(net.host("target", PageServer::new(deaf)), 1).run::<Tbit>(params);
        let row = &run.typed::<SummaryRow>("summary")[0];
        assert_eq!(row.result, Verdict::PmtudFail, "{option} {run}");
        assert_eq!((row.ptb_sent, row.size_after), (option.is_empty().then_some(4), None), "{run}");
    }
}

#[test]
fn no_packet_that_is_lost_once_accuses_anybody_or_changes_a_window() {
    for (test, right) in [
        (Test::Null, Verdict::NullSuccess),
        (Test::Pmtud, Verdict::PmtudSuccess),
        (Test::Ecn, Verdict::EcnSuccess),
        (Test::SackRcvr, Verdict::SackSuccess),
        (Test::Icw, Verdict::IcwSuccess),
        (Test::Abc, Verdict::AbcSuccess),
        (Test::BlindRst, Verdict::BlindChallenge),
        (Test::BlindSyn, Verdict::BlindChallenge),
        (Test::BlindData, Verdict::BlindChallenge),
        (Test::BlindFin, Verdict::BlindChallenge),
    ] {
        // This server does not repeat its SYN/ACK. Where the last segment of a window is lost nobody can tell.
        let packets =
            (1..=14).map(|number| ("->", number)).chain((2..=11).map(|number| ("<-", number)));
        let mut told = 0;
        for (way, number) in packets {
            let net = Net::draw(&format!(
                "vantage - r1 - target
                 target 198.51.100.9
                 link r1 {way} target drop {number}"
            ));
            let params = TbitParams { test, ..TbitParams::with(TARGET.parse().unwrap()) };
            let server = PageServer::new(Behaviour { page: 30_000, ..LINUX });
            let run = Sim::new(net.host("target", server), 1).run::<Tbit>(params);
            let row = &run.typed::<SummaryRow>("summary")[0];
            assert!([right, Verdict::None].contains(&row.result), "{way} {number} {run}");
            told += u32::from(row.result == right);
            assert!(row.icw_segments.is_none_or(|segments| segments == 10), "{way} {number} {run}");
        }
        // What is lost of the window that abc counts leaves nothing to tell.
        let least = if test == Test::Abc { 15 } else { 23 };
        assert!(told >= least, "{test:?} is told in {told} of 24 runs");
    }
}

#[test]
fn limits_of_this_host_accuse_no_server() {
    let tests = [
        (Test::Icw, Verdict::IcwSuccess),
        (Test::BlindRst, Verdict::BlindChallenge),
        (Test::BlindSyn, Verdict::BlindChallenge),
        (Test::BlindFin, Verdict::BlindChallenge),
        (Test::SackRcvr, Verdict::SackSuccess),
        // A server whose timer has run out sends by another window.
        (Test::Abc, Verdict::None),
    ];
    for (test, right) in tests {
        let net = Net::draw("vantage - r1 - target\n target 198.51.100.9");
        let params = TbitParams { test, ..TbitParams::with(TARGET.parse().unwrap()) };
        let sim = Sim::new(net.host("target", PageServer::new(LINUX)), 1);
        let run = sim.pacing_all(0.4).run::<Tbit>(params);
        let row = &run.typed::<SummaryRow>("summary")[0];
        assert_eq!(row.result, right, "{test:?} {run}");
    }
}

#[test]
fn windows_that_come_out_of_order_are_those_of_the_server() {
    for (test, right) in [(Test::Abc, Verdict::AbcSuccess), (Test::Icw, Verdict::IcwSuccess)] {
        // The SYN/ACK, what acknowledges the request perhaps, and data behind it.
        for late in ["2", "3", "4", "2,5,8,11", "3,6,9,12", "4,7,10,13"] {
            let net = Net::draw(&format!(
                "vantage - r1 - target
                 target 198.51.100.9
                 link r1 <- target reorder {late} by 2ms"
            ));
            let params = TbitParams { test, ..TbitParams::with(TARGET.parse().unwrap()) };
            let run = Sim::new(net.host("target", PageServer::new(LINUX)), 1).run::<Tbit>(params);
            let row = &run.typed::<SummaryRow>("summary")[0];
            assert_eq!(row.result, right, "{late} {run}");
        }
    }
}

#[test]
fn a_server_sends_again_to_a_slow_host_ever_more_rarely() {
    let net = Net::draw("vantage - r1 - target\n target 198.51.100.9");
    let mut sim = Sim::new(net.host("target", PageServer::new(LINUX)), 1).pacing_all(1.0 / 12.0);
    let params = TbitParams { test: Test::SackRcvr, ..TbitParams::with(TARGET.parse().unwrap()) };
    let measurement = sim.start::<Tbit>(params);
    sim.run_until(Duration::from_secs(600));
    let run = sim.result(measurement);
    let received = run.table("packets").iter().filter(|row| row["way"] == "rx").count();
    assert!(received < 8 * run.counters.sent as usize, "{received} for {}", run.counters.sent);
}
