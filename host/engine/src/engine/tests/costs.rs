//! What a probe costs the engine without the kernel: checked, paced, matched, timed, counted. Run with
//! `cargo test --release -p sonde-engine --lib core_costs -- --ignored --nocapture`.

use std::{
    net::{IpAddr, Ipv4Addr},
    os::fd::RawFd,
    sync::mpsc,
    time::Duration,
};

use sonde_packet::{Ip, Packet, Payload, Protocol, Transport};
use sonde_plugin_api::{
    abi::{Action, ActionKind, Event, EventKind, FlowInfo, Usage, stamp},
    port::{Lost, Port},
};

use super::world::{LOCAL, flow};
use crate::{
    config::{Config, Limits, Stamps},
    engine::{Command, Core},
    link::{Arrival, Held, Link},
    output::{PortId, RunId, Start},
    route::{Lookup, Query, Route},
    sys::{Departure, Egress, Full, lab::cpu_time},
};

/// Few tasks stay in the processor's caches with all the probes that they remember; many do not.
const TASKS: [u32; 2] = [64, 4_000];
const PROBES: u64 = 2_000_000;
/// Time from one probe to the next, ns: those that were answered keep their timers for a second.
const GAP_NS: u64 = 10_000;
/// Octets of a probe, and where the type, the checksum and the sequence of its echo are.
const OCTETS: usize = 64;
const ECHO: usize = 20;

/// Answers every echo in the next turn.
#[derive(Default)]
struct Mirror {
    now: u64,
    /// Of one turn, ns.
    step: u64,
    tags: Vec<u64>,
    sent: Vec<u8>,
    answers: Vec<u8>,
    received: u64,
}

impl Link for Mirror {
    type Hold = u16;

    fn poll(&mut self) -> u64 {
        self.now += self.step;
        self.now
    }

    fn now(&self) -> u64 {
        self.now
    }

    fn wall_of(&self, at: u64) -> u64 {
        at
    }

    fn lookup(&mut self, _now: u64, query: &Query, _: &mut dyn FnMut() -> bool) -> Lookup {
        Lookup::Ready(Route {
            interface: 2,
            source: LOCAL.parse().unwrap(),
            next_hop: query.destination,
            mtu: 1500,
            egress: Egress::Raw { interface: 2 },
        })
    }

    fn interfaces(&self) -> &[Box<str>] {
        &[]
    }

    fn is_local(&self, _address: IpAddr) -> bool {
        false
    }

    fn is_broadcast(&self, _address: IpAddr) -> bool {
        false
    }

    fn hold(&mut self, _: Protocol, port: Option<u16>, _quiet: bool) -> Held<u16> {
        Ok((port.unwrap_or(1), port.unwrap_or(1)))
    }

    fn check_hold(&self, _hold: &u16, _quiet: bool) -> Result<(), (i32, String)> {
        Ok(())
    }

    fn release(&mut self, _hold: u16) {}

    fn queue(&mut self, _: Egress, packet: &[u8], tag: u64, _precise: bool) -> Result<(), Full> {
        self.sent.extend_from_slice(packet);
        self.tags.push(tag);
        Ok(())
    }

    fn flush(&mut self, sink: &mut dyn FnMut(u64, Result<Departure, i32>)) {
        for tag in self.tags.drain(..) {
            sink(tag, Ok(Departure { at: self.now, uncertainty: 0 }));
        }
        for packet in self.sent.chunks_exact_mut(OCTETS) {
            let (head, rest) = packet.split_at_mut(16);
            head[12..].swap_with_slice(&mut rest[..4]);
            packet[ECHO] = 0;
            add(packet, 0x0800);
        }
        self.answers.append(&mut self.sent);
    }

    fn receive(&mut self, sink: &mut dyn FnMut(&[u8], &Arrival)) {
        let (at, stamp) = (self.now, stamp::KERNEL);
        let arrival =
            Arrival { at, stamp, checksum_not_ready: false, merged_octets: 0, interface: 0 };
        for packet in self.answers.chunks_exact(OCTETS) {
            sink(packet, &arrival);
            self.received += 1;
        }
        self.answers.clear();
    }

    fn stamps(&mut self, _sink: &mut dyn FnMut(u64, u64, u8)) {}

    fn wait(&mut self, _others: &[RawFd], _limit: Duration) {}

    fn rest(&mut self, _time: Duration) {}

    fn is_reading(&self) -> bool {
        false
    }

    fn losses(&mut self) -> (u64, u64) {
        (0, 0)
    }
}

/// Adds to the checksum of an echo, as the complement of a word that became smaller.
fn add(packet: &mut [u8], word: u16) {
    let at = ECHO + 2;
    let (sum, carry) = u16::from_be_bytes([packet[at], packet[at + 1]]).overflowing_add(word);
    packet[at..at + 2].copy_from_slice(&(sum + u16::from(carry)).to_be_bytes());
}

/// A plugin whose tasks send the next echo when the last was answered.
#[derive(Default)]
struct Pinger {
    packets: Vec<[u8; OCTETS]>,
    actions: Vec<Action>,
    bytes: Vec<u8>,
}

impl Pinger {
    fn act(&mut self, action: Action, payload: &[u8]) {
        let off = self.bytes.len() as u32;
        self.bytes.extend_from_slice(payload);
        self.actions.push(Action { off, len: payload.len() as u32, ..action });
    }

    fn send(&mut self, event: &Event, token: u32) {
        let (task, flow, arg) = (event.task, event.flow, 1_000_000_000);
        let action = Action { kind: ActionKind::Send, task, flow, token, arg, ..Action::ZERO };
        let packet = self.packets[task as usize];
        self.act(action, &packet);
    }
}

impl Port for Pinger {
    fn push(&mut self, event: &Event, payload: &[u8]) -> bool {
        match event.kind {
            EventKind::Start => {
                let number = event.task;
                let peer = Ipv4Addr::from(u32::from(Ipv4Addr::new(198, 18, 0, 0)) + number);
                let spec = flow(sonde_plugin_api::abi::Proto::Icmp, &peer.to_string(), 0);
                let ip = Ip::plain(LOCAL.parse().unwrap(), peer.into());
                let ip = Ip { identification: 1, ..ip };
                let transport = Transport::Echo { identifier: 0, sequence: 0 };
                let payload = Payload::Zeros(OCTETS - 28);
                let packet = Packet { ip, transport, payload, checksum: None }.to_vec().unwrap();
                self.packets.push(packet.try_into().unwrap());
                let task = event.task;
                let action = Action { kind: ActionKind::OpenFlow, task, ..Action::ZERO };
                self.act(action, &spec.to_octets());
            }
            EventKind::FlowOpen => {
                let local = FlowInfo::from_octets(payload).unwrap().local;
                let packet = &mut self.packets[event.task as usize];
                packet[ECHO + 4..ECHO + 6].copy_from_slice(&local.to_be_bytes());
                add(packet, !local);
                self.send(event, 0);
            }
            EventKind::Packet => {
                let packet = &mut self.packets[event.task as usize];
                let at = ECHO + 6;
                let sequence = u16::from_be_bytes([packet[at], packet[at + 1]]);
                let next = sequence.wrapping_add(1);
                packet[at..at + 2].copy_from_slice(&next.to_be_bytes());
                // In ones' complement 0xffff and 0 are the same.
                if next != 0 {
                    add(packet, !1);
                }
                self.send(event, (event.token + 1) & 0x7fff_ffff);
            }
            other => panic!("{other:?}"),
        }
        true
    }

    fn flush(&mut self, _now: u64, _wall: u64) {}

    fn collect(&mut self, sink: &mut dyn FnMut(&[Action], &[u8])) -> Result<(), Lost> {
        sink(&self.actions, &self.bytes);
        self.actions.clear();
        self.bytes.clear();
        Ok(())
    }

    fn ready(&mut self) -> Result<(), Lost> {
        Ok(())
    }

    fn wake_fds(&self) -> Vec<RawFd> {
        Vec::new()
    }

    fn busy(&self) -> bool {
        false
    }

    fn usage(&self) -> Usage {
        Usage::default()
    }
}

#[test]
#[ignore = "needs a quiet machine: a measurement, not a test"]
fn core_costs() {
    let cases = [("the host", Limits::NONE), ("all scopes", everything())];
    let cases = cases.into_iter().flat_map(|case| TASKS.map(|tasks| (case, tasks)));
    for ((name, limits), tasks) in cases {
        let (commands, received) = mpsc::channel();
        let (sent, _outputs) = mpsc::channel();
        let config = Config { packets_per_second: 100e6, limits, stamps: Stamps::Interpolated };
        let link =
            Mirror { now: 1_000_000_000, step: GAP_NS * u64::from(tasks), ..Mirror::default() };
        let mut core = Core::new(link, config, 42, (received, sent, Default::default()), -1);
        let make = || Ok(Box::new(Pinger::default()) as Box<dyn Port>);
        commands
            .send(Command::AddPort { id: PortId(0), plugin: 0, make: Box::new(make), rate: None })
            .unwrap();
        for run in 0..u64::from(tasks) {
            let start = Start {
                run: RunId(run),
                port: PortId(0),
                method: 0,
                params: Vec::new().into(),
                parting_packets: 0,
                packet_budget: None,
                permits: Default::default(),
                client: 0,
                keeps_rows: true,
            };
            commands.send(Command::Start(start)).unwrap();
        }
        while core.link.received < u64::from(tasks) * 2 {
            assert!(core.turn());
        }
        let mut best = f64::MAX;
        for _ in 0..5 {
            let (begin, before) = (cpu_time(), core.link.received);
            while core.link.received < before + PROBES / 5 {
                assert!(core.turn());
            }
            let probes = core.link.received - before;
            best = best.min((cpu_time() - begin) as f64 / probes as f64);
        }
        let counters = core.state.statistics.counters;
        assert!(counters.sent - counters.answered <= u64::from(tasks), "{counters:?}");
        println!("engine without kernel, {tasks} tasks, limits of {name}: {best:.0} ns per probe");
    }
}

/// Rates that hold nobody back.
fn everything() -> Limits {
    let rate = Some(crate::config::Rate { packets_per_second: 50e6, burst: 1e6 });
    Limits {
        plugin: rate,
        client: rate,
        prefix: rate,
        address: rate,
        immediate: None,
        immediate_address: None,
    }
}
