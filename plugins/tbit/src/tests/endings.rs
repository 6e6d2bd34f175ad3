//! Servers with which a test does not come to what it is about.

use sonde_plugin_api::packet::tcp::TcpView;

use super::*;

const PLAIN: Opener = Opener::PLAIN;

#[test]
fn a_connection_that_is_of_no_use_has_a_verdict_of_its_own() {
    let malformed = &[2, 1, 0, 0];
    for (test, server, wanted, code) in [
        (Test::Null, Opener { window: 0, ..PLAIN }, Verdict::ZeroWindow, 10),
        (Test::Null, Opener { options: malformed, ..PLAIN }, Verdict::BadOption, 8),
        (Test::Null, Opener { then: Some(flags::FIN | flags::ACK), ..PLAIN }, Verdict::Fin, 9),
        (Test::Null, Opener { then: Some(flags::RST), ..PLAIN }, Verdict::Reset, 2),
        (Test::Null, PLAIN, Verdict::NullNoData, 41),
        (Test::Pmtud, PLAIN, Verdict::PmtudNoData, 21),
        (Test::Ecn, Opener { flags: flags::ECE, ..PLAIN }, Verdict::EcnNoData, 35),
        (Test::Icw, PLAIN, Verdict::None, 0),
        (Test::Abc, PLAIN, Verdict::None, 0),
    ] {
        let params = TbitParams { test, ..TbitParams::with(TARGET.parse().unwrap()) };
        let net = Net::draw("vantage - target\n target 198.51.100.9");
        let run = Sim::new(net.host("target", server), 1).run::<Tbit>(params);
        let row = &run.typed::<SummaryRow>("summary")[0];
        assert_eq!((row.result, row.result_code), (wanted, code), "{test:?} {run}");
    }
}

#[test]
fn every_packet_has_a_row_that_says_what_it_acknowledged() {
    let (run, _) = run(Test::BlindData, LINUX);
    let rows = run.table("packets");
    let wrong = rows.iter().filter(|row| row["way"] == "tx" && row["ack"] == -69_999);
    assert_eq!(wrong.count(), 3, "the blind segments: {run}");
    assert!(rows.iter().next().is_some_and(|row| row["flags"] == "SYN"), "{run}");
    assert!(rows.iter().any(|row| row["way"] == "rx" && row["df"] == true), "{run}");
    let headers = run.exchange().sent().map(|packet| IpHeader::parse(packet).unwrap());
    let has_df: Vec<bool> = headers.map(|header| header.dont_fragment).collect();
    assert!(!has_df[0] && has_df[1..].iter().all(|has| *has), "all but the SYN: {run}");
    let net = Net::draw("vantage - target\n target 2001:db8:9::9 open-tcp");
    let params = TbitParams::with("2001:db8:9::9".parse().unwrap());
    let run = Sim::new(net, 1).run::<Tbit>(params);
    let received = run.table("packets").iter().filter(|row| row["way"] == "rx").count();
    let without = run.table("packets").iter().filter(|row| row["df"].is_null()).count();
    assert!(received > 0 && without == run.table("packets").len(), "IPv6 has no such flag: {run}");
}

#[test]
fn a_syn_that_cannot_be_sent_is_our_fault_and_fails_the_measurement() {
    const EACCES: i32 = 13;
    let net = Net::draw("vantage - target\n target 198.51.100.9 open-tcp");
    let params = TbitParams::with(TARGET.parse().unwrap());
    let run = Sim::new(net, 1).unsent(EACCES, 1..=3).run::<Tbit>(params);
    assert!(format!("{:?}", run.status).contains("os error 13"), "{run}");
    let row = &run.typed::<SummaryRow>("summary")[0];
    assert_eq!((row.result, row.result_code), (Verdict::LocalError, 4));
    assert_eq!((row.scope, row.answered), (Scope::Local, 0));
}

#[test]
fn without_every_segment_there_is_no_verdict() {
    let tests = [Test::Null, Test::Icw, Test::BlindRst, Test::BlindSyn, Test::Ecn, Test::SackRcvr];
    for test in tests.into_iter().chain([Test::Pmtud]) {
        let net = Net::draw("vantage - target\n target 198.51.100.9");
        let net = net.host("target", PageServer::new(LINUX));
        let params = TbitParams { test, ..TbitParams::with(TARGET.parse().unwrap()) };
        let run = Sim::new(net, 1).budget(3).run::<Tbit>(params);
        assert!(format!("{:?}", run.status).contains("Failed"), "{test:?} {run}");
        let row = &run.typed::<SummaryRow>("summary")[0];
        assert_eq!((row.result, row.scope), (Verdict::LocalError, Scope::Local), "{test:?} {run}");
        assert_eq!(row.ptb_sent, None, "none left: {run}");
        assert!(run.took() < Duration::from_secs(5), "at once: {run}");
    }
}

#[test]
fn who_is_interrupted_says_so_and_closes_with_one_reset() {
    // Before the answer to the SYN, and while the server keeps silent.
    for (ports, at_ms, answered) in [("silent-tcp", 1_000, 0), ("", 1_000, 2)] {
        let net = Net::draw(&format!("vantage - target\n target 198.51.100.9 {ports}"));
        let net = if ports.is_empty() { net.host("target", PLAIN) } else { net };
        let mut sim = Sim::new(net, 1);
        let measurement = sim.start::<Tbit>(TbitParams::with(TARGET.parse().unwrap()));
        sim.run_until(Duration::from_millis(at_ms));
        sim.interrupt(measurement);
        let run = sim.finish(measurement);
        let row = &run.typed::<SummaryRow>("summary")[0];
        assert_eq!((row.result, row.result_code), (Verdict::Halted, 7), "{run}");
        assert_eq!((row.scope, row.answered), (Scope::Local, answered), "{run}");
        let last = run.exchange().sent().last().unwrap().to_vec();
        let bits = TcpView::new(IpHeader::parse(&last).unwrap().transport(&last)).flags();
        assert_eq!(bits.unwrap() & flags::RST, flags::RST, "{run}");
    }
}

#[test]
fn the_last_reset_has_the_number_that_the_server_expects() {
    let last = |run: &Run| {
        let rows = run.table("packets");
        let numbers = |way: &str, key: &str| -> Vec<i64> {
            rows.iter()
                .filter(|row| row["way"] == way)
                .map(|row| row[key].as_i64().unwrap())
                .collect()
        };
        (numbers("tx", "seq").pop(), numbers("rx", "ack").into_iter().max())
    };
    for test in [Test::BlindData, Test::BlindFin] {
        let (run, row) = run(test, Behaviour { blind: Blind::Accepts, ..LINUX });
        assert_eq!(row.result, Verdict::BlindAccepted, "{run}");
        let (sent, expected) = last(&run);
        assert_eq!(sent, expected, "{test:?} {run}");
    }
    let net = Net::draw("vantage - target\n target 198.51.100.9");
    let mut sim = Sim::new(
        net.host("target", PageServer::new(Behaviour { tells_blocks: false, ..LINUX })),
        1,
    );
    let measurement = sim.start::<Tbit>(TbitParams {
        test: Test::SackRcvr,
        ..TbitParams::with(TARGET.parse().unwrap())
    });
    sim.run_until(Duration::from_millis(9));
    sim.interrupt(measurement);
    let run = sim.finish(measurement);
    let (sent, expected) = last(&run);
    assert_eq!((run.stop.as_str(), sent), ("halted", expected), "{run}");
}

#[test]
fn who_says_that_a_server_cannot_be_reached_is_told() {
    let net = Net::draw(
        "vantage - r1 - target\n r1 192.0.2.254 refuse 198.51.100.0/24\n target 198.51.100.9",
    );
    let run = Sim::new(net, 1).run::<Tbit>(TbitParams::with(TARGET.parse().unwrap()));
    assert_eq!(run.stop, "tcp-noconn", "{run}");
    assert!(
        run.logs.iter().any(|line| line.text.contains("192.0.2.254 says unreachable")),
        "{run}"
    );
}

#[test]
fn a_server_that_resets_behind_what_was_lost_is_asked_and_says_so_again() {
    let net = Net::draw(
        "vantage - r1 - target
         target 198.51.100.9
         link r1 <- target drop 4",
    );
    let server = PageServer::new(Behaviour { resets: true, page: 3000, ..LINUX });
    let run = Sim::new(net.host("target", server), 1)
        .run::<Tbit>(TbitParams::with(TARGET.parse().unwrap()));
    assert_eq!(run.stop, "tcp-rst", "{run}");
    let resets = run.table("packets").iter().filter(|row| row["flags"] == "RST").count();
    assert_eq!(resets, 1, "of what is no connection any more: {run}");
    assert!(run.took() < Duration::from_secs(1), "{run}");
}

#[test]
fn a_server_whose_window_shuts_before_it_has_the_request_is_told_in_every_test() {
    for test in [
        Test::Null,
        Test::Pmtud,
        Test::Ecn,
        Test::SackRcvr,
        Test::Icw,
        Test::Abc,
        Test::BlindRst,
        Test::BlindSyn,
        Test::BlindData,
        Test::BlindFin,
    ] {
        let (run, row) = run(test, Behaviour { takes: 10, ..LINUX });
        // What met congestion is among what it took.
        let wanted = if test == Test::Ecn { Verdict::EcnSuccess } else { Verdict::ZeroWindow };
        assert_eq!((row.result, row.scope), (wanted, Scope::Endpoint), "{run}");
        assert!(run.took() < Duration::from_secs(20), "{run}");
    }
}
