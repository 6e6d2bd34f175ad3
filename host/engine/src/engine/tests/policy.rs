//! Lists, stops, and that what one address is held back by is in nobody's way.

use std::{path::Path, sync::Arc};

use sonde_packet::{ErrorKind, ErrorMessage, Permits, TcpSegment, Transport};
use sonde_plugin_api::abi::{Action, ActionKind, EventKind, Proto, flags};

use super::world::{Bench, LOCAL, MS, Plugin, REMOTE, SECOND, echo, flow, packet, ping};
use crate::{
    Limits, Rate,
    config::{Config, Stamps},
    engine::Command,
    output::{End, FORBIDDEN},
    policy::{Policy, Prefixes},
};

fn deny(text: &str) -> Command {
    let deny = Prefixes::parse(text, Path::new("deny.txt")).unwrap();
    Command::SetPolicy(Arc::new(Policy { deny, ..Policy::default() }))
}

/// Two packets a second to an address, one at a time; as many as wanted otherwise.
fn limited(limits: Limits) -> Bench {
    Bench::of(Config { packets_per_second: 100_000.0, limits, stamps: Stamps::Interpolated })
}

fn slow(packets_per_second: f64) -> Option<Rate> {
    Some(Rate { packets_per_second, burst: 1.0 })
}

fn to(peer: &str, identifier: u16, sequence: u16) -> Vec<u8> {
    packet(LOCAL, peer, Transport::Echo { identifier, sequence }, 8)
}

/// Identifiers of the packets that left.
fn left(bench: &Bench) -> Vec<u16> {
    let identifier = |packet: &[u8]| u16::from_be_bytes([packet[24], packet[25]]);
    bench.core.link.left.iter().map(|left| identifier(&left.packet)).collect()
}

#[test]
fn a_list_that_changes_stops_a_running_measurement_with_the_next_packet() {
    let mut bench = Bench::with(100.0, Stamps::Interpolated);
    let plugin = bench.plugin();
    let task = bench.started(&plugin, 1);
    let (number, _) = bench.opened(&plugin, task, ping(7));
    for token in 0..100 {
        plugin.sends(task, number, token, SECOND, &echo(7, token as u16));
    }
    bench.pass(100 * MS);
    let before = bench.core.link.left.len();
    assert!((10..=12).contains(&before), "{before}");
    bench.tell(deny("198.51.100.0/24"));
    bench.pass(2 * SECOND);
    plugin.sends(task, number, 200, SECOND, &echo(7, 200));
    bench.pass(5 * MS);
    assert_eq!(bench.core.link.left.len(), before);
    let errors = plugin.told_of(EventKind::SendError);
    assert_eq!(errors.len(), 101 - before);
    assert!(errors.iter().all(|it| it.flags == flags::REFUSED && it.code == 1));
    bench.tell(deny("203.0.113.0/24"));
    plugin.sends(task, number, 201, SECOND, &echo(7, 201));
    bench.pass(20 * MS);
    assert_eq!(bench.core.link.left.len(), before + 1);
    plugin.finishes(task);
    bench.turn();
    let reasons = &bench.ended()[0].not_sent_errno;
    assert_eq!(*reasons, [(FORBIDDEN, 101 - before as u64)], "no firewall did that");
}

#[test]
fn a_flow_to_a_denied_address_is_not_opened_and_its_measurement_is_refused() {
    let mut bench = Bench::new();
    bench.tell(deny("198.51.100.9"));
    let plugin = bench.plugin();
    let task = bench.started(&plugin, 1);
    plugin.wants(
        Action { kind: ActionKind::OpenFlow, task, token: 1, ..Action::ZERO },
        &ping(7).to_octets(),
    );
    bench.turn();
    bench.turn();
    let told = plugin.told();
    let (event, text) = told.iter().find(|(it, _)| it.kind == EventKind::FlowOpen).unwrap();
    assert_eq!((i32::from(event.code), event.flags), (libc::EPERM, flags::REFUSED));
    assert_eq!(String::from_utf8_lossy(text), format!("{REMOTE} is on the deny list"));
    plugin.wants(Action { kind: ActionKind::Fail, task, code: 1, ..Action::ZERO }, b"denied");
    bench.turn();
    assert!(matches!(bench.ended()[0].end, End::Failed { refused: true, .. }));
}

#[test]
fn a_packet_held_back_by_its_address_blocks_no_other_of_its_task_plugin_or_prefix() {
    let mut bench = limited(Limits { address: slow(2.0), ..Limits::NONE });
    let plugin = bench.plugin();
    let task = bench.started(&plugin, 1);
    let (busy, _) = bench.opened(&plugin, task, flow(Proto::Icmp, "198.51.100.9", 7));
    let (other, _) = bench.opened(&plugin, task, flow(Proto::Icmp, "198.51.100.10", 8));
    let neighbour = bench.started(&plugin, 2);
    let (third, _) = bench.opened(&plugin, neighbour, flow(Proto::Icmp, "198.51.100.11", 9));
    for token in 0..50 {
        plugin.sends(task, busy, token, SECOND, &to("198.51.100.9", 7, token as u16));
    }
    plugin.sends(task, other, 100, SECOND, &to("198.51.100.10", 8, 1));
    plugin.sends(neighbour, third, 100, SECOND, &to("198.51.100.11", 9, 1));
    bench.pass(2 * MS);
    assert_eq!(left(&bench), [7, 8, 9]);
    bench.pass(5 * SECOND);
    assert_eq!(left(&bench).iter().filter(|it| **it == 7).count(), 11);
}

#[test]
fn flows_to_one_address_share_its_pace_in_turn() {
    let mut bench = limited(Limits { address: slow(100.0), ..Limits::NONE });
    let plugin = bench.plugin();
    for number in 0..4u16 {
        let task = bench.started(&plugin, u64::from(number));
        let (open, _) = bench.opened(&plugin, task, ping(100 + number));
        for token in 0..60 {
            plugin.sends(task, open, token, SECOND, &echo(100 + number, token as u16));
        }
    }
    bench.pass(SECOND);
    let all = left(&bench);
    let share = |id: u16| all.iter().filter(|it| **it == id).count();
    assert!((98..=101).contains(&all.len()), "{}", all.len());
    assert!(
        (100..104).all(|id| (23..=27).contains(&share(id))),
        "{:?}",
        (100..104).map(share).collect::<Vec<_>>()
    );
}

#[test]
fn a_plugin_that_calls_everything_immediate_gets_no_more_than_that_class_may_have() {
    let immediate_address = slow(10.0);
    let mut bench = limited(Limits { immediate: Some(50.0), immediate_address, ..Limits::NONE });
    let plugin = bench.plugin();
    let task = bench.started(&plugin, 1);
    let (one, _) = bench.opened(&plugin, task, flow(Proto::Icmp, "198.51.100.9", 7));
    let (two, _) = bench.opened(&plugin, task, flow(Proto::Icmp, "198.51.100.10", 8));
    let send = Action { kind: ActionKind::Send, task, flags: flags::IMMEDIATE, ..Action::ZERO };
    for token in 0..200 {
        plugin.wants(Action { flow: one, token, ..send }, &to("198.51.100.9", 7, 1));
        plugin.wants(Action { flow: two, token, ..send }, &to("198.51.100.10", 8, 1));
    }
    bench.pass(2 * SECOND);
    let all = left(&bench);
    for id in [7, 8] {
        let count = all.iter().filter(|it| **it == id).count();
        assert!((20..=21).contains(&count), "{count}");
    }
}

#[test]
fn what_a_plugin_calls_immediate_has_the_pace_of_plugin_client_and_prefix_once_more() {
    let limits = |it: usize| {
        let at = |level| if level == it { slow(10.0) } else { None };
        Limits { plugin: at(0), client: at(1), prefix: at(2), ..Limits::NONE }
    };
    for (level, own) in [(0, None), (1, None), (2, None), (3, slow(10.0))] {
        let mut bench = limited(limits(level));
        let plugin = bench.limited_plugin(own);
        let task = bench.started(&plugin, 1);
        let (open, _) = bench.opened(&plugin, task, flow(Proto::Icmp, "198.51.100.9", 7));
        for token in 0..200 {
            plugin.sends(task, open, token, SECOND, &to("198.51.100.9", 7, 1));
            let kind = ActionKind::Send;
            let send = Action { kind, task, flags: flags::IMMEDIATE, flow: open, ..Action::ZERO };
            plugin.wants(Action { token: 200 + token, ..send }, &to("198.51.100.9", 7, 1));
        }
        bench.pass(2 * SECOND);
        let count = left(&bench).len();
        assert!((40..=42).contains(&count), "{level}: {count}");
    }
}

/// A task with packets that wait for the host, for their address, and for the device.
fn busy(bench: &mut Bench) -> Plugin {
    let plugin = bench.plugin();
    let task = bench.started(&plugin, 1);
    let (one, _) = bench.opened(&plugin, task, flow(Proto::Icmp, "198.51.100.9", 7));
    let (two, _) = bench.opened(&plugin, task, flow(Proto::Icmp, "198.51.100.10", 8));
    bench.core.link.results = [Ok(()), Err(libc::ENOBUFS)].into();
    for token in 0..200 {
        plugin.sends(task, one, token, SECOND, &to("198.51.100.9", 7, 1));
        plugin.sends(task, two, token, SECOND, &to("198.51.100.10", 8, 1));
    }
    bench.pass(5 * MS);
    plugin
}

#[test]
fn nothing_leaves_after_everything_was_stopped_although_thousands_were_about_to_start() {
    let mut bench = limited(Limits { address: slow(20.0), ..Limits::NONE });
    let plugin = busy(&mut bench);
    for run in 10..5_000 {
        bench.start(&plugin, run, None);
    }
    bench.core.stopping.store(true, std::sync::atomic::Ordering::Release);
    bench.tell(Command::StopAll);
    let before = bench.core.link.attempts;
    bench.turn();
    bench.pass(2 * SECOND);
    assert_eq!(bench.core.link.attempts, before);
    assert_eq!(bench.ended().len(), 4_991);
}

#[test]
fn a_plugin_that_is_switched_off_sends_nothing_more_and_its_neighbour_goes_on() {
    let mut bench = limited(Limits { address: slow(20.0), ..Limits::NONE });
    let plugin = busy(&mut bench);
    let other = bench.plugin();
    let task = bench.started(&other, 2);
    let (open, _) = bench.opened(&other, task, flow(Proto::Icmp, "203.0.113.1", 9));
    let before = bench.core.link.attempts;
    bench.tell(Command::StopPort(plugin.id));
    bench.turn();
    other.sends(task, open, 1, SECOND, &to("203.0.113.1", 9, 1));
    bench.pass(2 * SECOND);
    assert_eq!(bench.core.link.attempts, before + 1);
    let ended = bench.ended();
    assert_eq!(ended.len(), 1);
    let text = "its plugin was switched off".to_owned();
    assert!(matches!(&ended[0].end, End::Failed { text: said, .. } if *said == text));
}

/// "Packet too big", as if `source` had it to say of a segment from `quoted.0` to `quoted.1`.
fn too_big(source: &str, destination: &str, quoted: (&str, &str), port: u16) -> Vec<u8> {
    let segment = TcpSegment { source_port: 80, destination_port: port, ..TcpSegment::default() };
    let quoted = packet(quoted.0, quoted.1, Transport::Tcp(segment), 1400);
    let message = ErrorMessage {
        source: source.parse().unwrap(),
        destination: destination.parse().unwrap(),
        ttl: 64,
        kind: ErrorKind::PacketTooBig(1280),
        quoted: &quoted,
        quoted_octets: 28,
        extensions: &[],
    };
    message.to_vec().unwrap()
}

/// What a plugin that wants to speak as somebody else gets to send: (sent, refused).
fn spoofed(
    permits: Permits,
    deny_list: &str,
    packets: impl Fn(u16) -> Vec<Vec<u8>>,
) -> (usize, usize) {
    let mut bench = Bench::new();
    bench.permits = permits;
    let plugin = bench.plugin();
    bench.tell(deny(deny_list));
    let task = bench.started(&plugin, 1);
    let (number, local) = bench.opened(&plugin, task, flow(Proto::Tcp, REMOTE, 0));
    for (token, packet) in packets(local).iter().enumerate() {
        plugin.sends(task, number, token as u32, 0, packet);
    }
    bench.pass(10 * MS);
    let refused = plugin.told_of(EventKind::SendError);
    assert!(refused.iter().all(|it| it.flags == flags::REFUSED && it.code == 1), "{refused:?}");
    (bench.core.link.left.len(), refused.len())
}

const ROUTER: &str = "203.0.113.5";
const SPOOF: Permits = Permits { ip_options: false, spoof: true };

#[test]
fn who_may_not_speak_for_others_does_not() {
    let errors = |port| vec![too_big(ROUTER, REMOTE, (REMOTE, LOCAL), port)];
    assert_eq!(spoofed(Permits::default(), "", errors), (0, 1));
    assert_eq!(spoofed(SPOOF, "", errors), (1, 0));
    // Whatever is permitted: nobody on the deny list is spoken to, nor spoken for.
    assert_eq!(spoofed(SPOOF, "203.0.113.0/24", errors), (0, 1));
}

#[test]
fn who_may_speak_for_others_speaks_of_its_flow_to_its_peer_alone() {
    let other = "203.0.113.99";
    let hostile = |port| {
        let segment = TcpSegment { source_port: port, ..TcpSegment::default() };
        vec![
            // To another destination, truly or as if it were the peer's answer.
            too_big(ROUTER, other, (REMOTE, LOCAL), port),
            too_big(ROUTER, other, (other, LOCAL), port),
            too_big(REMOTE, LOCAL, (LOCAL, REMOTE), port),
            // About what is not of the flow.
            too_big(ROUTER, REMOTE, (REMOTE, other), port),
            too_big(ROUTER, REMOTE, (REMOTE, LOCAL), port.wrapping_add(1)),
            // Segments and echoes of others.
            packet(ROUTER, REMOTE, Transport::Tcp(segment), 0),
            packet(ROUTER, other, Transport::Tcp(segment), 0),
            packet(ROUTER, REMOTE, Transport::Echo { identifier: port, sequence: 1 }, 8),
            // From who cannot send.
            too_big("127.0.0.1", REMOTE, (REMOTE, LOCAL), port),
            too_big("224.0.0.1", REMOTE, (REMOTE, LOCAL), port),
        ]
    };
    assert_eq!(spoofed(SPOOF, "", hostile), (0, 10));
}

#[test]
fn errors_in_anothers_name_are_held_back_as_every_packet_is() {
    let mut bench = limited(Limits { address: slow(2.0), ..Limits::NONE });
    bench.permits = SPOOF;
    let plugin = bench.plugin();
    let task = bench.started(&plugin, 1);
    let (number, local) = bench.opened(&plugin, task, flow(Proto::Tcp, REMOTE, 0));
    for token in 0..20 {
        let error = too_big(ROUTER, REMOTE, (REMOTE, LOCAL), local);
        plugin.sends(task, number, token, 0, &error);
    }
    bench.pass(2 * SECOND);
    let left = bench.core.link.left.len();
    assert!((4..=5).contains(&left), "{left}");
}
