//! Receivers and paths that do not do what the method relies on.

use super::*;

pub(super) fn against(fault: Fault, params: StingParams) -> (Run, Vec<(u8, u32)>) {
    let server = Receiver::new(fault);
    let heard = server.heard();
    let run = run_in(net().host("target", server), params);
    let heard = heard.borrow().clone();
    (run, heard)
}

#[test]
fn a_receiver_that_keeps_little_out_of_order_is_flagged() {
    let (run, _) = against(Fault::Keeps(30), sting(TARGET4, 48));
    let found = summary(&run);
    assert_eq!((found.result, found.holes), (Ending::Completed, Some(18)), "{run}");
    assert_eq!(found.reverse_lost, Some(0));
    // More acknowledgements than samples that were kept: what is thrown away is acknowledged too.
    assert_eq!((found.acks, &found.flags[..]), (48, &[Flag::ReceiverLimited][..]));
}

#[test]
fn acknowledgements_for_two_are_flagged_and_those_lost_at_random_are_not() {
    let (run, _) = against(Fault::EverySecond, sting(TARGET4, 48));
    let found = summary(&run);
    assert_eq!((found.holes, found.acks), (Some(0), 24), "{run}");
    assert_eq!(found.flags, [Flag::AckThinning]);
    let half: Vec<u64> = [1, 2, 5, 7, 8, 9, 12, 15, 16, 19, 21, 22, 25, 26, 30, 31].to_vec();
    let found = summary(&run_in(net().drop_back("target", back(&half)), sting(TARGET4, 32)));
    assert_eq!((found.reverse_lost, &found.flags[..]), (Some(16), &[][..]));
}

#[test]
fn data_of_a_server_that_ignores_the_window_is_not_counted_as_an_acknowledgement() {
    let (run, _) = against(Fault::Talks, sting(TARGET4, 8));
    let found = summary(&run);
    assert_eq!((found.result, found.acks), (Ending::Completed, 0), "{run}");
    assert_eq!(found.data_segments, 9);
    assert!(found.flags.contains(&Flag::ServerData));
}

#[test]
fn acknowledgements_behind_a_greeting_are_counted() {
    let (run, _) = against(Fault::Greets, sting(TARGET4, 8));
    let found = summary(&run);
    assert_eq!((found.result, found.acks), (Ending::Completed, 7), "{run}");
    assert_eq!((found.data_segments, &found.flags[..]), (1, &[Flag::ServerData][..]));
}

#[test]
fn a_server_that_asks_for_the_window_is_not_counted_twice() {
    let found = summary(&against(Fault::AsksForTheWindow, sting(TARGET4, 8)).0);
    assert_eq!((found.acks, found.reverse_loss), (8, Some(0.0)));
}

#[test]
fn a_window_that_is_told_behind_the_handshake_acknowledges_no_sample() {
    for fault in [Fault::OpensLater(8000, 20), Fault::OpensLater(0, 20)] {
        let net = net().drop_back("target", [5]).host("target", Receiver::new(fault));
        let run = run_in(net, sting(TARGET4, 8));
        let found = summary(&run);
        assert_eq!((found.acks, found.reverse_lost), (7, Some(1)), "{fault:?} {run}");
    }
}

#[test]
fn no_sample_leaves_before_there_is_a_window() {
    let found = summary(&against(Fault::OpensLater(0, 300), sting(TARGET4, 8)).0);
    assert_eq!((found.result, found.holes, found.acks), (Ending::Completed, Some(0), 8));
    assert_eq!(found.flags, []);
    let (run, heard) = against(Fault::OpensLater(0, 60_000), sting(TARGET4, 8));
    let found = summary(&run);
    assert_eq!((found.result, found.samples), (Ending::ZeroWindow, 0), "{run}");
    assert_eq!(heard.last().unwrap().0, flags::RST | flags::ACK, "{run}");
}

#[test]
fn a_window_is_asked_for_where_the_news_of_it_is_lost() {
    let net =
        net().drop_back("target", [2]).host("target", Receiver::new(Fault::OpensLater(0, 20)));
    let found = summary(&run_in(net, sting(TARGET4, 8)));
    assert_eq!((found.result, found.holes, found.acks), (Ending::Completed, Some(0), 8));
}

#[test]
fn samples_beyond_the_window_are_flagged_also_where_others_were_lost() {
    // The window begins with the hole.
    for (count, flag) in [(7997, None), (7998, Some(Flag::ReceiverLimited))] {
        let net =
            net().drop("target", there(&[5])).host("target", Receiver::new(Fault::Keeps(9000)));
        let found = summary(&run_in(net, StingParams { mean: 1, ..sting(TARGET4, count) }));
        assert_eq!(found.result, Ending::Completed);
        assert_eq!(found.flags, Vec::from_iter(flag), "{count}");
    }
}

#[test]
fn acknowledgements_without_end_take_no_room() {
    let run = run_in(
        net().host("target", Receiver::new(Fault::Floods(1000))),
        StingParams { hole: 1, ..sting(TARGET4, 4) },
    );
    let found = summary(&run);
    assert_eq!((found.result, found.acks), (Ending::Completed, 4 * 5), "{run}");
    assert_eq!((found.reverse_lost, &found.flags[..]), (Some(0), &[Flag::AckExcess][..]));
}

#[test]
fn a_handshake_that_is_much_quicker_than_an_echo_is_flagged() {
    let found = summary(&against(Fault::IsAProxy, sting(TARGET4, 8)).0);
    assert_eq!((found.handshake_rtt_us, found.ping_rtt_us), (Some(4000), Some(34_000)));
    assert_eq!(found.flags, [Flag::Proxy]);
}
