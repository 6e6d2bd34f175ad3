//! What one event costs through the binary interface: `cargo bench -p sonde-plugin-api`.
//!
//! Every event is answered by one probe of 60 octets with its time-out. Batches of 256, the tasks
//! in an order that no cache foresees. Only the time within the plugin counts.

use std::time::Instant;

use sonde_plugin_api::{
    abi::{ActionKind, Batch, Event, EventKind, FlowInfo, InstanceBox, LABEL_TOKEN, Out},
    glue::{MethodEntry, instance_of},
    packet::mapped,
    prelude::*,
};

row! {
    /// One answer.
    struct HopRow = "hops" {
        ttl: u8,
        addr: Option<IpAddr>,
        rtt_us: Option<u64>,
        icmp_type: Option<u8>,
        icmp_code: Option<u8>,
        reply_ttl: Option<u8>,
    }
}

fn peer() -> IpAddr {
    Ipv4Addr::new(198, 51, 100, 9).into()
}

struct Spin;
impl Method for Spin {
    const NAME: &'static str = "spin";
    const DOC: &'static str = "a probe of 60 octets after the other";
    type Params = ();
    type Row = ();
    async fn run(ctx: Ctx, (): ()) -> Result<(), Fail> {
        let flow = ctx.open(FlowSpec::udp(peer())).await?;
        loop {
            flow.probe(Probe::udp(33_435).size(60)).await;
        }
    }
}

struct Rows;
impl Method for Rows {
    const NAME: &'static str = "rows";
    const DOC: &'static str = "as trace: a probe with a chosen checksum, a row of six columns";
    type Params = ();
    type Row = HopRow;
    async fn run(ctx: Ctx<HopRow>, (): ()) -> Result<(), Fail> {
        let flow = ctx.open(FlowSpec::udp(peer())).await?;
        let mut ttl = 0_u8;
        loop {
            ttl = ttl.wrapping_add(1);
            let probe = Probe::udp(33_435).size(60).ttl(ttl).checksum(7).ip_id(7);
            let reply = flow.probe(probe).await.reply();
            ctx.emit(HopRow {
                ttl,
                addr: reply.map(|reply| reply.from()),
                rtt_us: reply.map(|reply| reply.rtt_us()),
                icmp_type: reply.map(|reply| reply.icmp_type()),
                icmp_code: reply.map(|reply| reply.icmp_code()),
                reply_ttl: reply.map(|reply| reply.ttl()),
            });
        }
    }
}

struct Launch;
impl Method for Launch {
    const NAME: &'static str = "launch";
    const DOC: &'static str = "as spin, with labels";
    type Params = ();
    type Row = ();
    async fn run(ctx: Ctx, (): ()) -> Result<(), Fail> {
        let flow = ctx.open(FlowSpec::udp(peer())).await?;
        for label in 0..u32::MAX / 2 {
            flow.launch(label, Probe::udp(33_435).size(60), Duration::from_secs(1));
            flow.next_with(|_, _| ()).await;
        }
        Ok(())
    }
}

static METHODS: &[MethodEntry] =
    &[MethodEntry::of::<Spin>(), MethodEntry::of::<Rows>(), MethodEntry::of::<Launch>()];

struct Driver {
    instance: InstanceBox,
    out: Out,
    events: Vec<Event>,
    within: Duration,
}

impl Driver {
    /// Hands `events` over and puts an answer to every probe that comes back into `next`.
    fn poll(&mut self, next: &mut [Event], octets: &[u8]) {
        let batch = Batch {
            now: 1_000_000,
            wall: 0,
            events: self.events.as_slice().into(),
            bytes: octets.into(),
        };
        let begin = Instant::now();
        self.instance.poll(batch, &mut self.out);
        self.within += begin.elapsed();
        for action in &self.out.actions {
            if action.kind == ActionKind::Send {
                next[action.task as usize].token = action.token;
            }
        }
        self.out.actions.clear();
        self.out.bytes.clear();
    }
}

fn main() {
    let only = std::env::args().nth(1).filter(|argument| !argument.starts_with('-'));
    println!("{:8} {:>9} {:>12}", "method", "tasks", "ns per event");
    for (method, tasks) in [(0, 200), (0, 20_000), (2, 200), (2, 20_000), (1, 200), (1, 20_000)] {
        let name = METHODS[usize::from(method)].name();
        if only.as_deref().is_none_or(|only| only == name) {
            println!("{name:8} {tasks:9} {:12.1}", measure(method, tasks));
        }
    }
}

fn measure(method: u16, tasks: u32) -> f64 {
    let info = FlowInfo {
        source: mapped(Ipv4Addr::new(192, 0, 2, 1).into()),
        local: 40_000,
        reserved: 0,
        mtu: 1500,
    };
    let quote = [0; 56];
    let answer = Event {
        kind: EventKind::Packet,
        class: 2,
        flow: 1,
        at: 900_000,
        sent: 500_000,
        len: 56,
        from: info.source,
        ttl: 61,
        icmp_type: 11,
        quote: 28,
        ..Event::ZERO
    };
    let mut driver = Driver {
        instance: instance_of(METHODS),
        out: Out::default(),
        events: vec![],
        within: Duration::ZERO,
    };
    let mut next: Vec<Event> = (0..tasks).map(|task| Event { task, ..answer }).collect();
    for task in 0..tasks {
        let start = Event { kind: EventKind::Start, task, aux: method, sent: 1, ..Event::ZERO };
        let open = Event { kind: EventKind::FlowOpen, task, token: 0, flow: 1, len: 24, ..start };
        driver.events = vec![start, open];
        driver.poll(&mut next, &info.to_octets());
    }
    assert!(method != 2 || next[0].token & LABEL_TOKEN != 0);
    // A permutation: 7919 is prime and no divisor of the numbers of tasks here.
    let order: Vec<u32> =
        (0..tasks).map(|n| (u64::from(n) * 7919 % u64::from(tasks)) as u32).collect();
    let rounds = (400_000 / tasks).max(3);
    let mut best = f64::MAX;
    for _ in 0..12 {
        let mut count = 0;
        driver.within = Duration::ZERO;
        for _ in 0..rounds {
            for window in order.chunks(256) {
                driver.events.clear();
                driver.events.extend(window.iter().map(|task| next[*task as usize]));
                driver.poll(&mut next, &quote);
                count += window.len();
            }
        }
        best = best.min(driver.within.as_nanos() as f64 / count as f64);
    }
    best
}
