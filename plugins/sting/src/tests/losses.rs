//! Losses at known places come out exactly.

use super::*;

/// Every `step`th number from `first` on, `count` of them.
fn every(first: u64, step: u64, count: u64) -> Vec<u64> {
    (0..count).map(|number| first + step * number).collect()
}

fn lossy(holes: &[u64], lost: &[u64]) -> Net {
    let net = if holes.is_empty() { net() } else { net().drop("target", there(holes)) };
    if lost.is_empty() { net } else { net.drop_back("target", back(lost)) }
}

#[test]
fn losses_at_known_places_come_out_exactly_in_both_families_and_all_spacings() {
    // Samples that are lost there, acknowledgements that are lost back.
    let cases = [
        (every(0, 0, 0), every(0, 0, 0)),
        (every(7, 20, 5), every(0, 0, 0)),
        (every(0, 0, 0), every(9, 19, 5)),
        (every(4, 10, 10), every(12, 30, 3)),
        (every(1, 5, 20), every(3, 5, 16)),
    ];
    for target in [TARGET4, TARGET6] {
        for distribution in 1..=3 {
            for (holes, lost) in &cases {
                let net = lossy(holes, lost);
                let params = StingParams { distribution, ..sting(target, 100) };
                let run = run_in(net, params);
                let found = summary(&run);
                let arrived = 100 - holes.len() as u32;
                let acks = arrived - lost.len() as u32;
                assert_eq!(found.result, Ending::Completed, "{run}");
                let counts = (found.samples, found.holes, found.arrived, found.acks);
                let wanted = (100, Some(holes.len() as u32), Some(arrived), acks);
                assert_eq!(counts, wanted, "{target} {distribution} {holes:?} {lost:?} {run}");
                assert_eq!(found.reverse_lost, Some(lost.len() as u32));
                assert_eq!(found.forward_loss, Some(holes.len() as f64 / 100.0));
                let reverse = lost.len() as f64 / f64::from(arrived);
                assert_eq!(found.reverse_loss, Some(reverse));
                let (low, high) = (found.reverse_ci95[0], found.reverse_ci95[1]);
                assert!(low <= reverse && reverse <= high && high - low < 0.2);
                assert_eq!(found.flags, [], "{run}");
                let rows = run.typed::<SampleRow>("samples");
                let missing: Vec<u64> = rows
                    .iter()
                    .filter(|row| row.arrived == Some(false))
                    .map(|row| row.seq.into())
                    .collect();
                assert_eq!(missing, *holes);
                let unseen = rows.iter().filter(|row| row.ack_seen == Some(false)).count();
                assert_eq!(unseen, lost.len());
            }
        }
    }
}

#[test]
fn which_acknowledgement_was_lost_is_estimated_by_time() {
    let net = net().drop_back("target", back(&[4, 9]));
    let run = run_in(net, StingParams { distribution: 2, ..sting(TARGET4, 12) });
    let rows = run.typed::<SampleRow>("samples");
    let unseen: Vec<u32> =
        rows.iter().filter(|row| row.ack_seen == Some(false)).map(|row| row.seq).collect();
    assert_eq!(unseen, [4, 9]);
    assert!(rows.iter().all(|row| row.estimate));
    assert!(rows.iter().all(|row| row.rtt_us.is_none_or(|rtt| rtt == 4000)), "{run}");
}

#[test]
fn runs_of_losses_are_told_with_their_lengths() {
    let run = run_in(net().drop("target", there(&[3, 4, 5, 9, 12, 13])), sting(TARGET4, 20));
    let found = summary(&run);
    assert_eq!((found.forward_burst, &found.forward_bursts[..]), (Some(3), &[3, 1, 2][..]));
    assert_eq!(found.holes, Some(6));
}

#[test]
fn what_is_lost_of_the_handshake_or_the_filling_changes_no_count() {
    // SYN; acknowledgement of the handshake; first filling; one in the middle; the last.
    for lost in [1, 2, 23, 24, 25] {
        // The first, fifth and last sample are missing; a lost SYN moves the numbers by one.
        let shift = u64::from(lost == 1);
        let holes: Vec<u64> = [3, 7, 22].iter().map(|number| number + shift).collect();
        let net = net().drop("target", holes.into_iter().chain([lost]));
        let run = run_in(net, StingParams { distribution: 2, ..sting(TARGET6, 20) });
        let found = summary(&run);
        assert_eq!(found.result, Ending::Completed, "{lost} {run}");
        assert_eq!((found.holes, found.acks), (Some(3), 17), "{lost} {run}");
        assert_eq!(found.handshake_rtt_us.is_none(), lost == 1, "{lost}");
        assert_eq!(found.retransmissions, u32::from(lost > 22), "{lost} {run}");
    }
    // Acknowledgements of the fillings: each is asked for again.
    for lost in [22, 23] {
        let run = run_in(net().drop_back("target", [lost]), sting(TARGET4, 20));
        let found = summary(&run);
        assert_eq!(
            (found.holes, found.acks, found.retransmissions),
            (Some(0), 20, 1 - (lost as u32 - 22))
        );
    }
}

#[test]
fn acknowledgements_that_come_twice_are_no_negative_loss() {
    let of =
        |target| summary(&run_in(net().duplicate_back("target", back(&[2, 3])), sting(target, 10)));
    let found = of(TARGET4);
    assert_eq!((found.acks, found.reverse_lost, found.duplicate_acks), (10, Some(0), Some(2)));
    assert_eq!(found.flags, []);
    // Nothing in them tells one of the other.
    let found = of(TARGET6);
    assert_eq!((found.acks, found.reverse_lost, found.duplicate_acks), (12, Some(0), None));
    assert_eq!(found.flags, [Flag::AckExcess]);
}

#[test]
fn an_acknowledgement_that_comes_twice_stands_for_none_that_was_lost() {
    let net = || lossy(&[4], &[8, 9, 15]).duplicate_back("target", back(&[2, 5, 12]));
    let run = run_in(net(), sting(TARGET4, 20));
    let found = summary(&run);
    assert_eq!(
        (found.acks, found.reverse_lost, found.duplicate_acks),
        (16, Some(3), Some(3)),
        "{run}"
    );
    // A server with one identification for all.
    let net = net().attributes("target", "ip-id zero");
    let found = summary(&run_in(net, sting(TARGET4, 20)));
    assert_eq!((found.acks, found.reverse_lost, found.duplicate_acks), (19, Some(0), None));
}

#[test]
fn an_acknowledgement_that_comes_twice_is_credited_to_no_other_sample() {
    for lost in [&[][..], &[8]] {
        let net = lossy(&[], lost).duplicate_back("target", back(&[2]));
        let run = run_in(net, StingParams { distribution: 2, ..sting(TARGET6, 10) });
        let rows = run.typed::<SampleRow>("samples");
        let times: Vec<u64> = rows.iter().filter_map(|row| row.rtt_us).collect();
        assert!(rows.iter().all(|row| row.estimate), "{run}");
        let wanted: &[u64] = if lost.is_empty() { &[4000; 10] } else { &[4000; 2] };
        assert!(times.starts_with(wanted) && !times.contains(&0), "{times:?}");
    }
}

#[test]
fn a_thousand_samples_are_as_exact_and_end_with_a_whole_request() {
    let holes: Vec<u64> = (1..=1000).filter(|sample| sample % 37 == 0).collect();
    let net = net().drop("target", there(&holes));
    let run = run_in(net, StingParams { mean: 10, ..sting(TARGET4, 1000) });
    let found = summary(&run);
    assert_eq!(found.holes, Some(27), "{run}");
    assert_eq!((found.acks, found.reverse_loss), (973, Some(0.0)));
    let request = request(&run);
    assert!(request.starts_with(b"GET / HTTP/1.0\r\n") && request.ends_with(b"\r\n\r\n"));
    assert_eq!(request.len(), 1003, "with the hole: {run}");
}

#[test]
fn a_sample_that_never_left_is_no_loss() {
    let sim = Sim::new(net(), SEED).unsent(105, [5, 6]);
    let run = sim.run::<Sting>(sting(TARGET4, 10));
    let found = summary(&run);
    assert_eq!((found.samples, found.not_sent, found.holes), (8, 2, Some(0)), "{run}");
    assert_eq!((found.acks, found.forward_loss, found.reverse_loss), (8, Some(0.0), Some(0.0)));
}

#[test]
fn samples_that_the_hosts_pace_holds_back_are_all_out_before_the_hole_is_filled() {
    let sim = Sim::new(net(), SEED).pacing(2.0);
    let run = sim.run::<Sting>(StingParams { inter: 100, ..sting(TARGET4, 20) });
    let found = summary(&run);
    assert_eq!((found.holes, found.acks, found.late_acks), (Some(0), 20, 0), "{run}");
    assert_eq!(found.flags, [Flag::Slowed]);
}

#[test]
fn two_runs_to_one_server_do_not_disturb_each_other() {
    let net = net().drop("target", [6]);
    let mut sim = Sim::new(net, SEED);
    let one = sim.start::<Sting>(sting(TARGET4, 30));
    let other = sim.start::<Sting>(StingParams { mean: 37, ..sting(TARGET4, 30) });
    let runs = [sim.finish(one), sim.finish(other)];
    let found: Vec<SummaryRow> = runs.iter().map(summary).collect();
    assert!(
        found.iter().all(|row| row.result == Ending::Completed && row.reverse_loss == Some(0.0))
    );
    assert_eq!(found[0].holes.unwrap() + found[1].holes.unwrap(), 1);
    assert_ne!(found[0].source_port, found[1].source_port);
}
