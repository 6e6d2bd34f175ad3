//! Initial windows of servers that talk before they are asked, and paths that lose or cut what is large.

use super::*;
use crate::application::App;

/// Waits for the greeting before it asks.
fn greeted() -> TbitParams {
    TbitParams {
        test: Test::Icw,
        app: App::Script,
        script: Some(r"x|GET / HTTP/1.0\r\n\r\n".to_owned()),
        ..plain()
    }
}

fn plain() -> TbitParams {
    TbitParams::with(TARGET.parse().unwrap())
}

fn behind(link: &str, behaviour: Behaviour, params: TbitParams) -> (Run, SummaryRow) {
    let net = Net::draw(&format!("vantage - r1 - target\n target 198.51.100.9\n {link}"));
    let run = Sim::new(net.host("target", PageServer::new(behaviour)), 1).run::<Tbit>(params);
    run.expect_done();
    let row = run.typed::<SummaryRow>("summary").remove(0);
    (run, row)
}

fn warns(run: &Run, of: &str) -> bool {
    run.logs.iter().any(|line| line.text.contains(of))
}

#[test]
fn what_is_said_before_the_answer_is_a_part_of_the_initial_window() {
    let (run, row) = behind("", Behaviour { greeting: MSS, ..LINUX }, greeted());
    assert_eq!((row.result, row.icw_segments), (Verdict::IcwSuccess, Some(10)), "{run}");
    let before_the_end =
        run.table("packets").iter().filter(|row| row["way"] == "tx" && row["ack"] == 1).count();
    assert_eq!(before_the_end, 2, "one for the handshake, one with the request: {run}");
}

#[test]
fn a_server_whose_timer_runs_out_before_it_is_asked_has_no_initial_window_any_more() {
    let params = TbitParams { script: Some("xx|GET|nobody|says|".to_owned()), ..greeted() };
    let (run, row) = behind("", Behaviour { greeting: 600, ..LINUX }, params);
    assert_eq!((row.result, row.icw_segments), (Verdict::None, None), "{run}");
    assert!(warns(&run, "timer ran out before it answered"), "{run}");
}

#[test]
fn a_path_that_loses_large_segments_is_no_short_answer() {
    let link = "link vantage <- r1 mtu 1000 black-hole";
    let params = TbitParams { test: Test::Icw, ..plain() };
    let (run, row) = behind(link, LINUX, params);
    assert_eq!((row.result, row.scope), (Verdict::None, Scope::Local), "{run}");
    assert!(warns(&run, "the path loses large segments"), "{run}");
    let (run, row) = behind(link, Behaviour { greeting: 200, ..LINUX }, greeted());
    assert_eq!(row.result, Verdict::None, "{run}");
    assert!(warns(&run, "the path loses large segments"), "{run}");
}

#[test]
fn segments_that_a_box_cuts_are_told() {
    let params = || TbitParams { test: Test::Icw, ..plain() };
    let (run, row) = behind("", Behaviour { cut_to: MSS / 2, ..LINUX }, params());
    let found = (row.result, row.icw_segments, row.icw_octets);
    assert_eq!(found, (Verdict::IcwSuccess, Some(20), Some(14_600)), "{run}");
    assert!(warns(&run, "have 730 octets, not 1460"), "{run}");
    assert!(!warns(&behind("", LINUX, params()).0, "octets, not"));
}

#[test]
fn an_answer_that_is_shorter_than_a_segment_says_nothing_of_a_window() {
    let stays = Behaviour { page: 300, stays: true, ..LINUX };
    assert_eq!(verdict(Test::Abc, stays), Verdict::AbcTooShort);
    let last = Behaviour { page: 3 * MSS + 300, ..stays };
    assert_eq!(verdict(Test::Abc, last), Verdict::AbcTooShort);
    let tiny = Behaviour { mss: 3, page: 300, ..LINUX };
    let (run, row) = behind("", tiny, TbitParams { test: Test::Abc, ..plain() });
    assert_eq!((row.result, row.abc_counts), (Verdict::None, None), "{run}");
    assert!(warns(&run, "have 3 octets"), "{run}");
}

#[test]
fn it_is_told_why_nothing_is_known_where_no_answer_came() {
    for test in [Test::Icw, Test::Abc, Test::BlindRst, Test::BlindSyn] {
        for (behaviour, told) in [
            (Behaviour { page: 0, ..LINUX }, "its answer is missing"),
            (Behaviour { is_deaf: true, ..LINUX }, "was not acknowledged"),
        ] {
            let (run, row) = behind("", behaviour, TbitParams { test, ..plain() });
            assert_eq!((row.result, row.scope), (Verdict::None, Scope::Local), "{run}");
            assert!(warns(&run, told), "{test:?} {told} {run}");
        }
    }
}
