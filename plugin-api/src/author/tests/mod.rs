//! Methods driven by hand: events go in as a host would send them, actions are looked at.

mod ends;
mod flows;
mod launches;
mod packets;
mod together;

use std::{net::IpAddr, time::Duration};

use sonde_packet::{Class, mapped};

use crate::{
    abi::{
        Action, ActionKind, Batch, Event, EventKind, FlowInfo, FlowSpecRaw, InstanceBox, NO_TOKEN,
        Out, flags, stamp,
    },
    author::{Ctx, Fail, Flow, FlowSpec, Method},
    glue::{MethodEntry, instance_of},
    row,
    schema::{Reader, Value},
};

const MS: u64 = 1_000_000;
/// What the first event of a task carries as wall time: 2026-01-02 03:04:05 UTC.
const WALL: u64 = 1_767_323_045_000_000_000;
const SEED: u64 = 7;

row! {
    /// What the methods here have to say.
    struct Said = "said" {
        text: String,
    }
}

/// A method of one block.
macro_rules! method {
    ($name:ident, $ctx:ident $body:block) => {
        struct $name;

        impl Method for $name {
            const NAME: &'static str = "test";
            const DOC: &'static str = "test";
            type Params = ();
            type Row = Said;

            async fn run($ctx: Ctx<Said>, (): ()) -> Result<(), Fail> {
                $body
            }
        }
    };
}
use method;

fn peer() -> IpAddr {
    "198.51.100.9".parse().unwrap()
}

fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

impl Ctx<Said> {
    fn say(&self, text: impl Into<String>) {
        self.emit(Said { text: text.into() });
    }

    async fn udp(&self) -> Result<Flow, Fail> {
        self.open(FlowSpec::udp(peer())).await
    }
}

/// An action with its payload.
#[derive(Clone, Debug, PartialEq)]
struct Did {
    action: Action,
    octets: Vec<u8>,
}

impl Did {
    fn text(&self) -> &str {
        std::str::from_utf8(&self.octets).unwrap()
    }

    fn spec(&self) -> FlowSpecRaw {
        FlowSpecRaw::from_octets(&self.octets).unwrap()
    }
}

/// One plugin with one method, and the host's side of it.
struct Driver {
    instance: InstanceBox,
    out: Out,
    now: u64,
}

impl Driver {
    fn of<M: Method>() -> Self {
        let instance = instance_of(const { &[MethodEntry::of::<M>()] });
        Self { instance, out: Out::default(), now: 1000 * MS }
    }

    /// A driver whose task 0 has started.
    fn started<M: Method>() -> (Self, Vec<Did>) {
        let mut driver = Self::of::<M>();
        let did = driver.start(0);
        (driver, did)
    }

    /// A driver whose task 0 has opened its first flow, number 5, from 192.0.2.1:40000.
    fn opened<M: Method>() -> (Self, Vec<Did>) {
        let (mut driver, did) = Self::started::<M>();
        let did = driver.open(did[0].action.token, 5);
        (driver, did)
    }

    fn start(&mut self, task: u32) -> Vec<Did> {
        self.event(Event { kind: EventKind::Start, task, sent: SEED, ..Event::ZERO })
    }

    fn event(&mut self, event: Event) -> Vec<Did> {
        self.with_payload(event, &[])
    }

    fn with_payload(&mut self, event: Event, payload: &[u8]) -> Vec<Did> {
        self.batch(&[(event, payload)])
    }

    fn batch(&mut self, events: &[(Event, &[u8])]) -> Vec<Did> {
        let mut octets = Vec::new();
        let mut list = Vec::new();
        for (event, payload) in events {
            let (off, len) = (octets.len() as u32, payload.len() as u32);
            list.push(Event { off, len, ..*event });
            octets.extend_from_slice(payload);
        }
        let batch = Batch {
            now: self.now,
            wall: WALL + self.now - 1000 * MS,
            events: list.as_slice().into(),
            bytes: octets.as_slice().into(),
        };
        self.instance.poll(batch, &mut self.out);
        let did = self
            .out
            .actions
            .iter()
            .map(|action| {
                let (begin, end) = (action.off as usize, (action.off + action.len) as usize);
                Did { action: *action, octets: self.out.bytes[begin..end].to_vec() }
            })
            .collect();
        self.out.actions.clear();
        self.out.bytes.clear();
        did
    }

    fn open(&mut self, token: u32, flow: u32) -> Vec<Did> {
        let source = "192.0.2.1".parse().unwrap();
        let info = FlowInfo { source: mapped(source), local: 40_000, reserved: 0, mtu: 1500 };
        let event = Event { kind: EventKind::FlowOpen, token, flow, ..Event::ZERO };
        self.with_payload(event, &info.to_octets())
    }

    fn timer(&mut self, token: u32) -> Vec<Did> {
        self.event(Event { kind: EventKind::Timer, token, ..Event::ZERO })
    }

    fn timeout(&mut self, token: u32) -> Vec<Did> {
        let sent = self.now - 1000 * MS + 3;
        self.event(Event { kind: EventKind::Timeout, token, flow: 5, sent, ..Event::ZERO })
    }

    fn answer(&mut self, token: u32) -> Vec<Did> {
        self.with_payload(self.packet(token), b"answer")
    }

    /// An answer after 20 ms.
    fn packet(&self, token: u32) -> Event {
        Event {
            kind: EventKind::Packet,
            class: Class::TimeExceeded as u8,
            token,
            flow: 5,
            at: self.now,
            sent: self.now - 20 * MS,
            from: mapped("203.0.113.1".parse().unwrap()),
            ttl: 61,
            icmp_type: 11,
            stamps: stamp::KERNEL << 4 | stamp::USER,
            aux: 12,
            ..Event::ZERO
        }
    }

    fn tasks(&self) -> u64 {
        self.instance.usage().tasks
    }
}

fn of_kind(did: &[Did], kind: ActionKind) -> Vec<&Did> {
    did.iter().filter(|did| did.action.kind == kind).collect()
}

/// The only action of a kind.
fn only(did: &[Did], kind: ActionKind) -> &Did {
    match of_kind(did, kind)[..] {
        [one] => one,
        _ => panic!("not one {kind:?} in {did:?}"),
    }
}

/// What the rows say.
fn said(did: &[Did]) -> Vec<String> {
    of_kind(did, ActionKind::Row)
        .iter()
        .map(|row| match Reader::all(&row.octets).unwrap().as_slice() {
            [Value::Text(text)] => text.clone(),
            other => panic!("no row of `said`: {other:?}"),
        })
        .collect()
}

/// Kinds of all actions.
fn kinds(did: &[Did]) -> Vec<ActionKind> {
    did.iter().map(|did| did.action.kind).collect()
}
