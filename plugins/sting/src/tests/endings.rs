//! Every way in which a run ends, and that the connection is closed in each.

use super::{servers::against, *};

#[test]
fn resets_ends_and_lies_of_the_server_stop_the_run_in_each_phase() {
    // Eight samples: the ninth segment is the filling, which the server answers with the end.
    for at in [1, 8, 9] {
        for (fault, ending) in [
            (Fault::ResetsAt(at), Ending::Reset),
            (Fault::ClosesAt(at), Ending::Fin),
            (Fault::LiesAt(at), Ending::UnexpectedAck),
        ] {
            let (run, heard) = against(fault, sting(TARGET4, 8));
            let found = summary(&run);
            // An end together with the last acknowledgement takes nothing away.
            let is_whole = fault == Fault::ClosesAt(9);
            let ending = if is_whole { Ending::Completed } else { ending };
            assert_eq!(found.result, ending, "{fault:?} {run}");
            assert_eq!(run.stop, ending.name());
            assert_eq!(found.forward_loss.is_some(), is_whole, "{fault:?}");
            let resets = heard.iter().filter(|(bits, _)| bits & flags::RST != 0).count();
            assert_eq!(resets, usize::from(ending != Ending::Reset), "{fault:?} {run}");
        }
    }
}

#[test]
fn the_reset_at_the_end_has_the_number_that_the_server_expects() {
    let (_, heard) = against(Fault::Keeps(1000), sting(TARGET4, 8));
    let (syn, last) = (heard[0], heard[heard.len() - 1]);
    assert_eq!(last, (flags::RST | flags::ACK, syn.1.wrapping_add(1 + 3 + 8)));
}

#[test]
fn who_refuses_is_silent_or_acknowledges_something_else_is_a_row() {
    let closed = |attribute: &str| net().attributes("target", attribute);
    let found = summary(&run_in(closed("closed-tcp"), sting(TARGET4, 8)));
    assert_eq!((found.result, found.samples, found.forward_loss), (Ending::Refused, 0, None));
    let run = run_in(closed("silent-tcp"), sting(TARGET6, 8));
    assert_eq!(summary(&run).result, Ending::NoConnection);
    assert_eq!((summary(&run).answered, run.counters.sent), (0, 3));
    let run = run_in(net().attributes("r1", "refuse 198.51.100.0/24"), sting(TARGET4, 8));
    assert_eq!(summary(&run).result, Ending::Unreachable, "{run}");
    let (run, heard) = against(Fault::BadSynAck, sting(TARGET4, 8));
    assert_eq!(summary(&run).result, Ending::BadSynAck, "{run}");
    assert_eq!(heard[1], (flags::RST, heard[0].1.wrapping_add(8)));
}

#[test]
fn a_server_that_falls_silent_is_given_up_after_five_tries() {
    let run = run_in(net().drop("target", 11..40), sting(TARGET4, 8));
    let found = summary(&run);
    assert_eq!((found.result, found.retransmissions), (Ending::Timeout, 4), "{run}");
    assert_eq!((found.samples, found.acks, found.holes), (8, 8, None));
}

#[test]
fn what_is_kept_from_leaving_ends_a_run_with_what_is_known() {
    let server = Receiver::new(Fault::Keeps(1000));
    let run =
        Sim::new(net().host("target", server), SEED).budget(5).run::<Sting>(sting(TARGET4, 8));
    assert!(matches!(run.status, Status::Failed { .. }), "{run}");
    let found = summary(&run);
    assert_eq!((found.result, found.samples), (Ending::Interrupted, 3), "{run}");
}

#[test]
fn an_interrupt_keeps_what_is_known_and_closes_the_connection() {
    // In the handshake, among the samples, in the pause.
    for (after_ms, samples) in [(3, 0), (500, 5), (2500, 10)] {
        let server = Receiver::new(Fault::Keeps(1000));
        let heard = server.heard();
        let mut sim = Sim::new(net().host("target", server), SEED);
        let params = StingParams { distribution: 2, ..sting(TARGET4, 10) };
        let measurement = sim.start::<Sting>(params);
        sim.run_until(Duration::from_millis(after_ms));
        sim.interrupt(measurement);
        let run = sim.finish(measurement);
        assert_eq!(run.status, Status::Done, "{run}");
        let found = summary(&run);
        assert_eq!((found.result, found.samples), (Ending::Interrupted, samples), "{run}");
        assert_eq!(found.forward_loss, None);
        let heard = heard.borrow();
        let resets = heard.iter().filter(|(bits, _)| bits & flags::RST != 0).count();
        assert_eq!(resets, 1, "{run}");
    }
}

#[test]
fn acknowledgements_after_the_pause_are_counted_and_flagged() {
    let params = StingParams { inter: 1, distribution: 2, ..sting(TARGET4, 10) };
    let run = run_in(net().delay_us("target", 60_000), params);
    let found = summary(&run);
    assert_eq!((found.holes, found.acks), (Some(0), 10), "{run}");
    assert!(found.late_acks > 0);
    assert!(found.flags.contains(&Flag::LateAcks), "{:?}", found.flags);
}
