//! Runs that end before the path does, and what is left behind.

use sonde_testkit::{Status, edit};

use super::*;

#[test]
fn an_interrupt_keeps_what_was_found_and_says_so() {
    let net = net().attributes("r2", "rewrite mss 1400").silent("r3");
    let mut sim = Sim::new(net, 1);
    let measurement = sim.start::<Tracebox>(tracebox(TARGET4));
    sim.run_until(Duration::from_millis(300));
    sim.interrupt(measurement);
    let run = sim.finish(measurement);
    assert_eq!((run.stop.as_str(), run.table("hops").len()), ("interrupted", 2), "{run}");
    let summary = &run.table("summary");
    assert_eq!(summary.column("stop"), [json!("interrupted")], "{run}");
    assert_eq!(summary.column("hop_count"), [json!(2)], "{run}");
}

#[test]
fn a_network_that_is_down_for_a_moment_costs_no_hop_and_one_that_stays_down_not_what_was_found() {
    let changed = || net().attributes("r1", "rewrite window 1024 there");
    let run = Sim::new(changed(), 1).unsent(100, 3..=5).run::<Tracebox>(tracebox(TARGET4));
    assert_eq!(addresses(run.expect_done()), HOPS4, "{run}");
    assert_eq!(run.table("summary").column("sent"), [4], "{run}");
    let run = Sim::new(changed(), 1).unsent(100, 3..=100).run::<Tracebox>(tracebox(TARGET4));
    assert!(matches!(run.status, Status::Failed { .. }), "{run}");
    assert_eq!(run.table("summary").column("stop"), ["failed"], "{run}");
    assert!(intervals(&run).contains(&("TCP::Window".to_owned(), 1, 2)), "{run}");
}

#[test]
fn a_run_that_has_no_packets_left_tells_what_it_found() {
    let run = Sim::new(net(), 1).budget(2).run::<Tracebox>(tracebox(TARGET4));
    assert_eq!(run.expect_done().stop, "budget", "{run}");
    assert_eq!(addresses(&run), HOPS4[..2], "{run}");
    assert_eq!(run.table("summary").column("sent"), [2], "{run}");
}

/// Makes the destination accept four octets of the SYN's data.
struct Accepting;

impl Middlebox for Accepting {
    fn forward(&mut self, packet: &mut Vec<u8>, way: Way, _now: Duration) -> Verdict {
        if way == Way::Back && packet[9] == packet::protocol::TCP {
            edit::edit(packet, |packet| packet[31] = packet[31].wrapping_add(4));
        }
        Verdict::Pass
    }
}

#[test]
fn a_reset_is_behind_the_data_that_was_taken() {
    let probe = Some("IP/TCP/RAW(c0ffee00)".to_owned());
    let params = TraceboxParams { probe, ..tracebox(TARGET4) };
    let run = run_in(net().middlebox("r3", Accepting), params);
    let sent: Vec<&[u8]> = run.exchange().sent().collect();
    let sequence = |packet: &[u8]| packet::tcp::TcpView::new(&packet[20..]).sequence().unwrap();
    let (syn, reset) = (sent[0], sent[sent.len() - 1]);
    assert_eq!(reset[33], packet::tcp::flags::RST, "{run}");
    assert_eq!(sequence(reset), sequence(syn).wrapping_add(5), "{run}");
}
