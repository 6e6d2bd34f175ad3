//! Runs in the simulated network, against a server with each behaviour.

mod applications;
mod endings;
mod header;
mod losses;
mod windows;
mod wire;

use sonde_plugin_api::{
    packet::{IpHeader, protocol, tcp::flags},
    prelude::*,
};
use sonde_testkit::{
    Host, Net, Run, Sim,
    servers::{Behaviour, Blind, Growth, IpOptions, Opener, PageServer},
};

use crate::{
    Tbit,
    params::{TbitParams, Test},
    rows::{Counts, Scope, SummaryRow, Verdict},
};

const TARGET: &str = "198.51.100.9";
const MSS: usize = 1460;
const LINUX: Behaviour = Behaviour::LINUX;

fn run(test: Test, behaviour: Behaviour) -> (Run, SummaryRow) {
    let params = TbitParams { test, ..TbitParams::with(TARGET.parse().unwrap()) };
    let net = Net::draw(
        "vantage - r1 - target
         target 198.51.100.9",
    );
    let server = PageServer::new(behaviour);
    let resets = server.resets();
    let run = Sim::new(net.host("target", server), 1).run::<Tbit>(params);
    run.expect_done();
    let mut rows = run.typed::<SummaryRow>("summary");
    assert_eq!(rows.len(), 1, "{run}");
    assert!(resets.get() <= 4, "{run}");
    let row = rows.remove(0);
    assert_eq!((run.stop.as_str(), row.result_code), (row.result.name(), row.result.code()));
    (run, row)
}

fn verdict(test: Test, behaviour: Behaviour) -> Verdict {
    run(test, behaviour).1.result
}

#[test]
fn every_test_gives_the_verdict_of_a_server_like_linux() {
    for (test, wanted) in [
        (Test::Null, Verdict::NullSuccess),
        (Test::Ecn, Verdict::EcnSuccess),
        (Test::SackRcvr, Verdict::SackSuccess),
        (Test::Icw, Verdict::IcwSuccess),
        (Test::Abc, Verdict::AbcSuccess),
        (Test::Pmtud, Verdict::PmtudSuccess),
        (Test::BlindRst, Verdict::BlindChallenge),
        (Test::BlindSyn, Verdict::BlindChallenge),
    ] {
        let (run, row) = run(test, LINUX);
        assert_eq!((row.result, row.scope), (wanted, Scope::Endpoint), "{run}");
        assert_eq!(row.server_mss, Some(1460));
    }
}

#[test]
fn a_page_comes_whole_through_loss_reordering_and_duplicates_in_both_directions() {
    let params = || TbitParams {
        option: Some("sack,tcpts".to_owned()),
        ..TbitParams::with(TARGET.parse().unwrap())
    };
    for seed in 1..=20 {
        // The handshake gets through: this server does not repeat it.
        let net = Net::draw(
            "vantage - r1 - target
             target 198.51.100.9
             link r1 -> target drop 3,6,11-13 duplicate 9 reorder 10%
             link r1 <- target drop 2,5,8-9,20 duplicate 10% reorder 10% by 5ms",
        );
        let server = PageServer::new(Behaviour { page: 60_001, ..LINUX });
        let run = Sim::new(net.host("target", server), seed).run::<Tbit>(params());
        let row = &run.typed::<SummaryRow>("summary")[0];
        assert_eq!((row.result, row.octets), (Verdict::NullSuccess, 60_001), "{run}");
    }
}

#[test]
fn what_the_network_brings_twice_changes_no_verdict() {
    for (test, expected) in
        [(Test::Icw, Verdict::IcwSuccess), (Test::SackRcvr, Verdict::SackSuccess)]
    {
        for link in ["link r1 <- target duplicate 1-60", "link r1 -> target duplicate 1-60"] {
            let text = format!("vantage - r1 - target\n target 198.51.100.9\n {link}");
            let net = Net::draw(&text).host("target", PageServer::new(LINUX));
            let params = TbitParams { test, ..TbitParams::with(TARGET.parse().unwrap()) };
            let run = Sim::new(net, 1).run::<Tbit>(params);
            let row = &run.typed::<SummaryRow>("summary")[0];
            assert_eq!(row.result, expected, "{link}\n{run}");
            let whole = (test == Test::Icw).then_some(LINUX.window_segments as u32);
            assert_eq!(row.icw_segments, whole, "{link}\n{run}");
        }
    }
}

#[test]
fn a_large_segment_that_comes_twice_is_none_that_a_server_sent_in_spite_of_the_mtu() {
    for way in ["<-", "->"] {
        let text = format!(
            "vantage - r1 - target\n target 198.51.100.9\n link r1 {way} target duplicate 1-60"
        );
        let net = Net::draw(&text).host("target", PageServer::new(LINUX));
        let params = TbitParams {
            test: Test::Pmtud,
            attempts: 1,
            ..TbitParams::with(TARGET.parse().unwrap())
        };
        let run = Sim::new(net, 1).run::<Tbit>(params);
        let row = &run.typed::<SummaryRow>("summary")[0];
        assert_eq!((row.result, row.ptb_sent), (Verdict::PmtudSuccess, Some(1)), "{run}");
    }
}

#[test]
fn an_acknowledgement_that_comes_twice_is_no_challenge() {
    for test in [Test::BlindData, Test::BlindFin] {
        let net = Net::draw(
            "vantage - r1 - target
             target 198.51.100.9
             link r1 <- target duplicate 2",
        );
        let server = PageServer::new(Behaviour { blind: Blind::Ignores, ..LINUX });
        let params = TbitParams { test, ..TbitParams::with(TARGET.parse().unwrap()) };
        let run = Sim::new(net.host("target", server), 1).run::<Tbit>(params);
        assert_eq!(run.typed::<SummaryRow>("summary")[0].result, Verdict::BlindIgnored, "{run}");
    }
}

#[test]
fn initial_windows_of_any_size_are_counted_and_short_pages_are_told() {
    for segments in [1, 2, 4, 10, 30] {
        let (run, row) = run(Test::Icw, Behaviour { window_segments: segments, ..LINUX });
        assert_eq!(row.result, Verdict::IcwSuccess, "{run}");
        assert_eq!(row.icw_segments, Some(segments as u32));
        assert_eq!(row.icw_octets, Some((segments * MSS) as u32));
    }
    let short = Behaviour { page: 5 * MSS, ..LINUX };
    assert_eq!(verdict(Test::Icw, short), Verdict::IcwTooShort);
    // It had no more to send, whatever came later.
    let slow = Behaviour { head: 2 * MSS + 44, ..LINUX };
    assert_eq!(verdict(Test::Icw, slow), Verdict::IcwTooShort);
}

#[test]
fn a_window_that_ours_cuts_off_is_not_taken_for_the_servers() {
    let wide = Behaviour { window_segments: 60, page: 200_000, ..LINUX };
    let (told, row) = run(Test::Icw, wide);
    assert_eq!((row.result, row.icw_segments), (Verdict::IcwSuccess, Some(60)), "{told}");
    assert_eq!(verdict(Test::Abc, wide), Verdict::AbcSuccess);
    for test in [Test::Icw, Test::Abc] {
        let (run, row) = run(test, Behaviour { scales: false, ..wide });
        assert_eq!((row.result, row.icw_octets), (Verdict::None, None), "{run}");
        assert!(run.logs.iter().any(|line| line.text.contains("our window of 65535")), "{run}");
    }
    let page = Behaviour { page: 65_000, scales: false, ..wide };
    assert_eq!(verdict(Test::Icw, page), Verdict::IcwTooShort, "it ended");
}

#[test]
fn what_makes_the_window_grow_is_told_with_its_limit() {
    let abc = |growth| run(Test::Abc, Behaviour { growth, ..LINUX });
    for (limit, wanted) in [(1, 1), (2, 2), (usize::MAX, 4)] {
        let (run, row) = abc(Growth::Octets(limit));
        assert_eq!(
            (row.result, row.abc_counts),
            (Verdict::AbcSuccess, Some(Counts::Octets)),
            "{run}"
        );
        assert_eq!(row.abc_limit, Some(wanted), "{run}");
    }
    let (run, row) = abc(Growth::Acks);
    assert_eq!((row.result, row.abc_counts), (Verdict::AbcSuccess, Some(Counts::Acks)), "{run}");
    assert_eq!(row.abc_limit, Some(1), "one acknowledgement, one segment: {run}");
    assert_eq!(verdict(Test::Abc, Behaviour { page: 5 * MSS, ..LINUX }), Verdict::AbcTooShort);
}

#[test]
fn a_window_that_is_too_small_for_abc_is_told() {
    let (run, row) = run(Test::Abc, Behaviour { window_segments: 4, ..LINUX });
    assert_eq!(row.result, Verdict::AbcBadIcw);
    let told = "has 5840 octets from its first full segment on, needed are 7300";
    assert!(run.logs.iter().any(|line| line.text.contains(told)), "{run}");
}

#[test]
fn each_way_to_do_ecn_wrong_has_a_verdict() {
    let with = |synack, echoes_congestion| Behaviour { synack, echoes_congestion, ..LINUX };
    assert_eq!(verdict(Test::Ecn, with(0, true)), Verdict::EcnIncapable);
    assert_eq!(verdict(Test::Ecn, with(flags::ECE | flags::CWR, true)), Verdict::EcnBadSynAck);
    assert_eq!(verdict(Test::Ecn, with(flags::CWR, true)), Verdict::EcnBadSynAck);
    assert_eq!(verdict(Test::Ecn, with(flags::ECE, false)), Verdict::EcnNoEce);
    assert_eq!(verdict(Test::Ecn, Behaviour { is_deaf: true, ..LINUX }), Verdict::EcnNoAck);
}

#[test]
fn blocks_that_are_missing_or_shifted_are_told() {
    let sack = |behaviour| verdict(Test::SackRcvr, behaviour);
    assert_eq!(sack(Behaviour { sack: false, ..LINUX }), Verdict::SackIncapable);
    assert_eq!(sack(Behaviour { tells_blocks: false, ..LINUX }), Verdict::SackNoSack);
    assert_eq!(sack(Behaviour { shift: 1000, ..LINUX }), Verdict::SackShifted);
    assert_eq!(sack(Behaviour { is_deaf: true, ..LINUX }), Verdict::SackTimeout);
    // Which of the older blocks are told, and in which order, is the server's affair (RFC 2018, section 4).
    for most_blocks in 1..=3 {
        let (run, row) =
            run(Test::SackRcvr, Behaviour { most_blocks, sorts_blocks: true, ..LINUX });
        assert_eq!(row.result, Verdict::SackSuccess, "{run}");
        assert!(run.took() < Duration::from_secs(2), "nothing was waited for: {run}");
    }
}

#[test]
fn a_reset_at_the_end_takes_away_nothing_that_is_known() {
    let ends = |test, behaviour| verdict(test, Behaviour { resets: true, page: 3000, ..behaviour });
    assert_eq!(ends(Test::Ecn, LINUX), Verdict::EcnSuccess);
    assert_eq!(ends(Test::Ecn, Behaviour { synack: 0, ..LINUX }), Verdict::EcnIncapable);
    assert_eq!(ends(Test::Ecn, Behaviour { echoes_congestion: false, ..LINUX }), Verdict::Reset);
    assert_eq!(ends(Test::SackRcvr, LINUX), Verdict::SackSuccess);
    assert_eq!(ends(Test::SackRcvr, Behaviour { shift: 1000, ..LINUX }), Verdict::SackShifted);
}

#[test]
fn a_window_is_asked_for_without_selective_acknowledgements() {
    for test in [Test::Icw, Test::Abc] {
        let params = TbitParams {
            test,
            option: Some("sack".to_owned()),
            ..TbitParams::with(TARGET.parse().unwrap())
        };
        let net = Net::draw("vantage - target\n target 198.51.100.9");
        let run = Sim::new(net.host("target", PageServer::new(LINUX)), 1).run::<Tbit>(params);
        let row = &run.typed::<SummaryRow>("summary")[0];
        assert_eq!(row.granted, ["wscale"], "{run}");
        assert!(run.logs.iter().any(|line| line.text.contains("sack")), "{run}");
    }
}

#[test]
fn path_mtu_discovery_that_fails_clears_df_or_never_was_is_told() {
    let deaf = Behaviour { obeys_too_big: false, ..LINUX };
    let (run, row) = run(Test::Pmtud, deaf);
    assert_eq!(
        (row.result, row.scope, row.ptb_sent),
        (Verdict::PmtudFail, Scope::Path, Some(4)),
        "{run}"
    );
    let clears = Behaviour { clears_df: true, ..deaf };
    assert_eq!(verdict(Test::Pmtud, clears), Verdict::PmtudClearDf);
    assert_eq!(verdict(Test::Pmtud, Behaviour { cuts: true, ..deaf }), Verdict::PmtudSuccess);
    assert_eq!(verdict(Test::Pmtud, Behaviour { sets_df: false, ..LINUX }), Verdict::PmtudNoDf);
    assert_eq!(verdict(Test::Pmtud, Behaviour { page: 500, ..LINUX }), Verdict::PmtudTooSmall);
    assert_eq!(verdict(Test::Pmtud, Behaviour { is_deaf: true, ..LINUX }), Verdict::PmtudNoAck);
}

#[test]
fn what_comes_of_blind_segments_is_told() {
    for test in [Test::BlindRst, Test::BlindSyn] {
        let blind = |blind| verdict(test, Behaviour { blind, ..LINUX });
        assert_eq!(blind(Blind::Accepts), Verdict::BlindAccepted);
        assert_eq!(blind(Blind::Ignores), Verdict::BlindIgnored);
        assert_eq!(blind(Blind::Resets), Verdict::BlindRst);
        assert_eq!(blind(Blind::OpensAnew), Verdict::BlindSynNew);
    }
}

#[test]
fn who_believed_a_blind_segment_is_told_though_its_page_and_its_end_are_here() {
    for test in [Test::BlindRst, Test::BlindSyn] {
        for page in [67, 5 * MSS] {
            let blind = |blind| verdict(test, Behaviour { blind, page, ..LINUX });
            assert_eq!(blind(Blind::Accepts), Verdict::BlindAccepted, "{test:?} {page}");
            assert_eq!(blind(Blind::Ignores), Verdict::BlindIgnored, "{test:?} {page}");
            let mute = Behaviour { blind: Blind::Accepts, page, is_mute: true, ..LINUX };
            assert_eq!(verdict(test, mute), Verdict::None, "{test:?} {page}");
        }
        let mute = Behaviour { blind: Blind::Accepts, is_mute: true, ..LINUX };
        assert_eq!(verdict(test, mute), Verdict::BlindAccepted, "it had more to say");
    }
}

#[test]
fn a_server_that_ignored_a_lost_blind_segment_and_believed_the_next_is_told() {
    let net = Net::draw(
        "vantage - r1 - target
         target 198.51.100.9
         link r1 -> target drop 5",
    );
    let server = PageServer::new(Behaviour { blind: Blind::Accepts, is_mute: true, ..LINUX });
    let params = TbitParams { test: Test::BlindRst, ..TbitParams::with(TARGET.parse().unwrap()) };
    let run = Sim::new(net.host("target", server), 1).run::<Tbit>(params);
    let row = &run.typed::<SummaryRow>("summary")[0];
    assert_eq!((row.result, row.blind_sent), (Verdict::BlindAccepted, Some(2)), "{run}");
}

#[test]
fn an_offset_of_0_is_the_usual_one() {
    for (test, usual) in [
        (Test::BlindRst, 10),
        (Test::BlindSyn, 10),
        (Test::BlindData, -70_000),
        (Test::BlindFin, -70_000),
    ] {
        let said = |offset| {
            let params = TbitParams { test, offset, ..TbitParams::with(TARGET.parse().unwrap()) };
            let net = Net::draw("vantage - r1 - target\n target 198.51.100.9");
            let run = Sim::new(net.host("target", PageServer::new(LINUX)), 1).run::<Tbit>(params);
            run.typed::<SummaryRow>("summary")[0].result
        };
        assert_eq!((said(0), said(usual)), (Verdict::BlindChallenge, said(0)), "{test:?}");
    }
}

#[test]
fn a_request_is_marked_although_it_could_go_with_the_syn() {
    let params = TbitParams {
        test: Test::Ecn,
        cookie: Some(Hex(vec![7; 8])),
        ..TbitParams::with(TARGET.parse().unwrap())
    };
    let net = Net::draw("vantage - r1 - target\n target 198.51.100.9");
    let run = Sim::new(net.host("target", PageServer::new(LINUX)), 1).run::<Tbit>(params);
    assert_eq!(run.typed::<SummaryRow>("summary")[0].result, Verdict::EcnSuccess, "{run}");
}

#[test]
fn a_server_with_tiny_segments_has_a_window_too() {
    for mss in [30, 52] {
        let (run, row) = run(Test::Icw, Behaviour { mss, window_segments: 1, page: 500, ..LINUX });
        assert_eq!((row.result, row.icw_segments), (Verdict::IcwSuccess, Some(1)), "{run}");
    }
}

#[test]
fn what_comes_of_data_and_ends_with_a_wrong_acknowledgement_is_told() {
    for test in [Test::BlindData, Test::BlindFin] {
        for (blind, wanted) in [
            (Blind::Accepts, Verdict::BlindAccepted),
            (Blind::Challenges, Verdict::BlindChallenge),
            (Blind::Ignores, Verdict::BlindIgnored),
            (Blind::Resets, Verdict::BlindRst),
        ] {
            let (run, row) = run(test, Behaviour { blind, ..LINUX });
            assert_eq!(row.result, wanted, "{test:?} {blind:?} {run}");
            let sent = if blind == Blind::Resets { 1 } else { 3 };
            assert_eq!(row.blind_sent, Some(sent), "{test:?} {blind:?}");
        }
    }
}

#[test]
fn an_old_connection_between_the_same_ports_is_reset_and_a_new_one_opened() {
    let (run, row) = run(Test::Null, Behaviour { has_old: true, ..LINUX });
    assert_eq!(row.result, Verdict::NullSuccess, "{run}");
    assert_eq!(row.handshake_rtt_us, None, "two SYNs were sent");
}

#[test]
fn who_refuses_or_is_silent_is_a_row_and_wrong_parameters_are_named() {
    let net = |ports: &str| Net::draw(&format!("vantage - target\n target 198.51.100.9 {ports}"));
    let run = |net, params: TbitParams| Sim::new(net, 1).run::<Tbit>(params);
    let plain = || TbitParams::with(TARGET.parse().unwrap());
    assert_eq!(run(net("closed-tcp"), plain()).stop, "tcp-noconn-rst");
    assert_eq!(run(net("silent-tcp"), plain()).stop, "tcp-noconn");
    assert_eq!(run(net("open-tcp"), plain()).stop, "null-nodata");
    let refused = |params: TbitParams| format!("{:?}", run(net("open-tcp"), params).status);
    let wrong = refused(TbitParams { option: Some("sack,nope".to_owned()), ..plain() });
    assert!(wrong.contains("nope") && wrong.contains("accepted: tcpts"), "{wrong}");
    let wrong = refused(TbitParams { mtu: 67, ..plain() });
    assert!(wrong.contains("scamper.tbit.mtu is 67, accepted: 0, or from 68"), "{wrong}");
    for url in ["ftp://x/", "http://x:99999/", "http://x:0/", "https://", "http://2001:db8::1/"] {
        let wrong = refused(TbitParams { url: url.to_owned(), ..plain() });
        assert!(wrong.contains("scamper.tbit.url"), "{url} {wrong}");
    }
}
