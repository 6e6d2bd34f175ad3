//! What is lost, what is pending, and what never left.

use super::*;

#[test]
fn probes_that_are_lost_are_those_without_an_answer() {
    let run = run_in(net().drop("target", [2, 5]).drop_back("target", [4]), ping(TARGET4, 6));
    assert_eq!(of_kind(&run, "timeout"), [1, 4, 5]);
    assert_eq!(of_kind(&run, "reply"), [0, 2, 3]);
    let SummaryRow { sent, answered, lost, loss, .. } = summary(&run);
    assert_eq!((sent, answered, lost, loss), (6, 3, 3, Some(0.5)));
}

#[test]
fn no_syn_is_lost_to_the_connection_that_the_one_before_opened_half() {
    for target in [TARGET4, TARGET6] {
        let open = || net().attributes("target", "tcp 80");
        let params = PingParams { method: TcpSyn, ..ping(target, 20) };
        let quick = PingParams { period: ms(10), ..params.clone() };
        let run = run_in(open().and("link r1 target delay 150ms"), quick);
        let SummaryRow { answered, lost, duplicates, .. } = summary(&run);
        assert_eq!((answered, lost, duplicates), (20, 0, 0), "{run}");
        assert_eq!(run.counters.sent, 40, "a reset for each SYN\n{run}");
        let run = run_in(open().drop_back("target", [3]), params);
        assert_eq!(of_kind(&run, "timeout"), [2], "{run}");
    }
}

#[test]
fn a_syn_that_did_not_leave_needs_no_reset() {
    for target in [TARGET4, TARGET6] {
        let sim = Sim::new(net().attributes("target", "tcp 80"), SEED).unsent(1, [1]);
        let run = sim.run::<Ping>(ping_by(TcpSyn, 3));
        let kinds = ["unsent", "reply", "reply"];
        assert_eq!(run.table("replies").column("kind"), kinds, "{target} {run}");
        assert_eq!((run.counters.sent, run.counters.not_sent), (4, 1), "{run}");
    }
}

#[test]
fn random_loss_is_measured_and_the_same_seed_gives_the_same_rows() {
    let lossy = |seed| {
        let params = PingParams { period: ms(1), ..ping(TARGET4, 3000) };
        Sim::new(net().loss("target", 0.3), seed).run::<Ping>(params)
    };
    let (first, again, other) = (lossy(1), lossy(1), lossy(2));
    assert_eq!(first.tables(), again.tables());
    assert_ne!(first.tables(), other.tables());
    for run in [first, other] {
        let loss = summary(&run).loss.unwrap();
        assert!((0.27..0.33).contains(&loss), "{loss}");
    }
}

#[test]
fn it_stops_after_enough_answers() {
    for method in [IcmpEcho, TcpAckSport] {
        let params = PingParams { rcount: 2, ..ping_by(method, 10) };
        let run = run_in(net().drop("target", [1]), params);
        assert_eq!(run.stop, "enough answers");
        let SummaryRow { sent, answered, lost, .. } = summary(&run);
        assert_eq!((sent, answered, lost), (3, 2, 1), "{run}");
    }
}

#[test]
fn an_interrupt_ends_it_with_a_summary_that_calls_no_pending_probe_lost() {
    for method in [IcmpEcho, TcpAckSport] {
        let mut sim = Sim::new(net().drop("target", [2, 3]), SEED);
        let params = PingParams { wait: ms(1500), ..ping_by(method, 100) };
        let measurement = sim.start::<Ping>(params);
        sim.run_until(ms(2700));
        sim.interrupt(measurement);
        let run = sim.finish(measurement);
        assert_eq!(run.expect_done().stop, "interrupted");
        assert_eq!(run.took(), ms(2700) + Duration::from_nanos(1));
        let SummaryRow { sent, answered, lost, pending, loss, .. } = summary(&run);
        assert_eq!((sent, answered, lost, pending, loss), (3, 1, 1, 1, Some(0.5)), "{run}");
    }
}

#[test]
fn probes_that_wait_for_their_turn_at_an_interrupt_are_not_sent_and_none_is_pending() {
    for method in [IcmpEcho, TcpAckSport] {
        let mut sim = Sim::new(net(), SEED).pacing(10.0);
        let params = PingParams { period: ms(10), ..ping_by(method, 100) };
        let measurement = sim.start::<Ping>(params);
        sim.run_until(ms(250));
        sim.interrupt(measurement);
        let run = sim.finish(measurement);
        let SummaryRow { answered, lost, pending, not_sent, .. } = summary(&run);
        assert_eq!((answered, lost, pending, not_sent), (3, 0, 0, 23), "{run}");
        assert_eq!(run.counters.not_sent, 23);
    }
}

#[test]
fn probes_that_do_not_leave_are_rows_but_not_lost() {
    for method in answered_kinds(TARGET4) {
        let run = Sim::new(net(), SEED).unsent(105, [2]).run::<Ping>(ping_by(method, 3));
        assert_eq!(run.expect_done().stop, "complete");
        assert_eq!(run.table("replies").column("kind"), ["reply", "unsent", "reply"]);
        assert_eq!(
            run.table("replies").column("error")[1],
            "not sent: No buffer space available (os error 105)"
        );
        let SummaryRow { sent, answered, lost, not_sent, loss, .. } = summary(&run);
        assert_eq!((sent, answered, lost, not_sent, loss), (2, 2, 0, 1, Some(0.0)), "{run}");
    }
}

#[test]
fn a_fifth_of_ten_thousand_lost_is_measured_within_a_point_and_a_half() {
    for seed in 1..=3 {
        let params = PingParams { period: ms(1), ..ping(TARGET4, 10_000) };
        let net = net().and("link r1 -> target loss 10%\nlink r1 <- target loss 11.1111%");
        let run = Sim::new(net, seed).keep_entries(0).run::<Ping>(params);
        let SummaryRow { sent, loss, loss_low, loss_high, .. } = summary(&run);
        let (loss, low, high) = (loss.unwrap(), loss_low.unwrap(), loss_high.unwrap());
        assert_eq!(sent, 10_000);
        assert!((0.185..0.215).contains(&loss), "{loss}");
        assert!(low < loss && loss < high && high - low < 0.016, "{low} {loss} {high}");
    }
}

#[test]
fn what_the_kernel_or_policy_kept_back_is_never_lost() {
    const EPERM: i32 = 1;
    const ENOBUFS: i32 = 105;
    let params = PingParams { period: ms(1), ..ping(TARGET4, 1000) };
    let sim = Sim::new(net().loss("target", 0.2), SEED)
        .unsent(ENOBUFS, (1..300).step_by(3))
        .unsent(EPERM, (2..300).step_by(3));
    let run = sim.run::<Ping>(params);
    let SummaryRow { sent, not_sent, answered, lost, pending, .. } = summary(&run);
    assert_eq!((sent, not_sent, pending), (800, 200, 0));
    assert_eq!(answered + lost, 800);
    assert_eq!(of_kind(&run, "unsent").len(), 200);
    let drops = of_kind(&run, "timeout");
    assert_eq!(drops.len() as u32, lost);
    assert!(drops.iter().all(|number| *number >= 300 || number % 3 == 2), "{drops:?}");
}

#[test]
fn rows_come_while_it_runs_and_so_do_counts() {
    let mut sim = Sim::new(net().drop("target", [2]), SEED);
    let measurement = sim.start::<Ping>(PingParams { every: 2, ..ping(TARGET4, 5) });
    sim.run_until(ms(2500));
    let so_far = sim.result(measurement);
    assert_eq!(of_kind(&so_far, "reply"), [0, 2]);
    assert_eq!(of_kind(&so_far, "timeout"), [1]);
    let run = sim.finish(measurement);
    let row = |sent, answered, lost, pending, loss| json!({"sent": sent, "answered": answered, "lost": lost, "pending": pending, "loss": loss});
    let rows = run.table("interim").columns(["sent", "answered", "lost", "pending", "loss"]);
    assert_eq!(rows, [row(2, 1, 1, 0, json!(0.5)), row(4, 3, 1, 0, json!(0.25))]);
    assert_eq!(so_far.table("interim").column("sent"), [2]);
}

#[test]
fn probes_that_still_wait_at_an_interrupt_are_listed_as_pending() {
    for method in [IcmpEcho, UdpSport] {
        let mut sim = Sim::new(net().drop("target", [2, 3]), SEED);
        let measurement = sim.start::<Ping>(PingParams { wait: ms(1500), ..ping_by(method, 100) });
        sim.run_until(ms(2700));
        sim.interrupt(measurement);
        let run = sim.finish(measurement);
        assert_eq!((of_kind(&run, "timeout"), of_kind(&run, "pending")), (vec![1], vec![2]));
    }
}

#[test]
fn probes_that_the_hosts_pace_holds_back_pile_up_no_further_and_leave_no_closer_together() {
    let mut sim = Sim::new(net(), SEED).pacing(2.0);
    let measurement = sim.start::<Ping>(PingParams { period: ms(10), ..ping(TARGET4, 10_000) });
    sim.run_until(Duration::from_secs(60));
    sim.interrupt(measurement);
    let run = sim.finish(measurement);
    let SummaryRow { sent, answered, not_sent, pending, .. } = summary(&run);
    assert!(sent >= 118 && answered >= 118, "{sent} {answered}");
    // As many as may be on their way for a second, and a few.
    assert!(not_sent + pending <= 140, "{not_sent} {pending}");
}
