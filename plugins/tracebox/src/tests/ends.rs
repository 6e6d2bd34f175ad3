//! Runs that end before the path does, and what is left behind.

use sonde_testkit::{Entry, Status, edit};

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

#[test]
fn a_loop_ends_the_run_and_one_router_that_answers_for_several_hops_is_none() {
    let round = || net().attributes("r3", "route 198.51.100.0/24 via r2");
    let run = run_in(round(), tracebox(TARGET4));
    assert_eq!((run.stop.as_str(), run.table("hops").len()), ("loop", 4), "{run}");
    let run = run_in(round(), TraceboxParams { loops: 3, ..tracebox(TARGET4) });
    assert_eq!((run.stop.as_str(), run.table("hops").len()), ("loop", 6), "{run}");
    let run = run_in(round(), TraceboxParams { loops: 0, maxttl: 20, ..tracebox(TARGET4) });
    assert_eq!((run.stop.as_str(), run.table("hops").len()), ("max_ttl", 20), "{run}");
    let run = run_in(net().attributes("r3", "reply-from 203.0.113.2"), tracebox(TARGET4));
    assert_eq!(run.stop, "reached", "{run}");
}

/// Answers every probe with a parameter problem, as a router that knows an option and does not like it.
struct Objector;

impl Middlebox for Objector {
    fn forward(&mut self, packet: &mut Vec<u8>, way: Way, _now: Duration) -> Verdict {
        if way == Way::There {
            // It is the next one that says so.
            packet[7] = 1;
        } else {
            edit::edit(packet, |packet| packet[40..42].copy_from_slice(&[4, 0]));
        }
        Verdict::Pass
    }
}

#[test]
fn who_throws_every_probe_away_ends_the_run() {
    let params = TraceboxParams { attempts: 2, ..tracebox(TARGET6) };
    let run = run_in(net().middlebox("r1", Objector), params);
    assert_eq!(addresses(&run), [HOPS6[0], HOPS6[1], HOPS6[1]], "{run}");
    assert_eq!(run.stop, "unreachable", "{run}");
}

#[test]
fn a_silent_hop_gets_as_many_probes_as_can_be_asked_for_and_no_more() {
    let params =
        TraceboxParams { attempts: 255, wait: Duration::from_millis(10), ..tracebox(TARGET4) };
    let run = run_in(net().silent("r2"), params);
    assert_eq!(run.table("hops").column("attempts"), [1, 255, 1, 1], "{run}");
    assert_eq!(run.stop, "reached", "{run}");
}

#[test]
fn probes_keep_the_distance_that_is_asked_for() {
    let params = TraceboxParams { waitprobe: 50, ..tracebox(TARGET4) };
    let run = run_in(net().silent("r2"), params);
    let is_syn = |packet: &[u8]| packet[33] == packet::tcp::flags::SYN;
    let sent: Vec<Duration> = (run.exchange().entries().iter())
        .filter_map(|(at, entry)| match entry {
            Entry::Sent(packet) if is_syn(packet) => Some(*at),
            _ => None,
        })
        .collect();
    assert_eq!(sent.len(), 4, "{run}");
    assert!(sent.is_sorted_by(|one, next| *next - *one >= Duration::from_millis(500)), "{run}");
}
