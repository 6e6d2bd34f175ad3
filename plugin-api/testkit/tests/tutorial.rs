//! The code of `docs/writing-a-method.md`: it compiles and does what the document says.

use sonde_plugin_api::{params::Params, prelude::*};
use sonde_testkit::{Net, Sim, Status, json};

params! {
    /// What can be chosen.
    pub struct HopsParams {
        /// Address whose path is looked at.
        destination: IpAddr => "destination.{ip}",
        /// The last TTL that is tried.
        max_ttl: u8 = 30 => "sonde.hops.maxttl" { range: 1..=64, short: 'm' },
        /// How long to wait for each answer.
        wait: Duration = Duration::from_secs(1) => "sonde.hops.wait" {
            range: Duration::from_millis(1)..=Duration::from_secs(10),
        },
    }
}

row! {
    /// A router on the path, or its silence.
    pub struct HopRow = "hops" {
        ttl: u8,
        /// Who answered; null where nobody did.
        addr: Option<IpAddr> => "scamper.trace.hop.{ip}",
        /// Null where nobody answered.
        rtt_us: Option<u64> => "rtt.us" { unit: "us" },
    }
}

/// Routers on the path, one probe each.
pub struct Hops;

impl Method for Hops {
    const NAME: &'static str = "hops";
    const DOC: &'static str = "routers on the path, one probe each";
    const SOURCE: &'static str = "RFC 792";
    type Params = HopsParams;
    type Row = HopRow;

    async fn run(ctx: Ctx<HopRow>, params: HopsParams) -> Result<(), Fail> {
        let flow = ctx.open(FlowSpec::udp(params.destination)).await?;
        for ttl in 1..=params.max_ttl {
            let probe = Probe::udp(33_435).ttl(ttl);
            let reply = match flow.probe(probe).timeout(params.wait).await {
                Outcome::Reply(reply) => Some(reply),
                Outcome::Timeout { .. } => None,
                Outcome::Unsent(reason) => return Err(reason.into()),
            };
            ctx.emit(HopRow {
                ttl,
                addr: reply.map(|reply| reply.from()),
                rtt_us: reply.map(|reply| reply.rtt_us()),
            });
            if reply.is_some_and(|reply| reply.class() == Class::Unreachable) {
                ctx.stop("reached");
                return Ok(());
            }
        }
        ctx.stop("max_ttl");
        Ok(())
    }
}

export_methods![Hops];

#[test]
fn a_silent_router_is_a_row_without_an_address() {
    let net = Net::draw(
        "vantage - r1 - r2 - target
         r1 192.0.2.254
         r2 silent
         target 198.51.100.9",
    );
    let params = HopsParams::with("198.51.100.9".parse().unwrap());
    let run = Sim::new(net, 1).run::<Hops>(params);
    assert_eq!(
        run.expect_done().table("hops"),
        [
            json!({"ttl": 1, "addr": "192.0.2.254", "rtt_us": 2000}),
            json!({"ttl": 2, "addr": null, "rtt_us": null}),
            json!({"ttl": 3, "addr": "198.51.100.9", "rtt_us": 6000}),
        ]
    );
    assert_eq!(run.stop, "reached");
}

async fn hops_at_once(flow: &Flow, last: u8) -> Vec<Option<IpAddr>> {
    let probes = (1..=last).map(|ttl| Probe::udp(33_435).ttl(ttl));
    let outcomes = flow.burst(probes).timeout(Duration::from_secs(1)).await;
    outcomes.into_iter().map(|outcome| outcome.reply().map(|reply| reply.from())).collect()
}

type Delays = (Option<u64>, Option<u64>);

async fn both_families(ctx: &Ctx<HopRow>, four: IpAddr, six: IpAddr) -> Result<Delays, Fail> {
    let echo = async |peer| {
        let flow = ctx.open(FlowSpec::icmp(peer)).await?;
        let reply = flow.probe(Probe::echo(1)).await.reply();
        let answer = reply.filter(|reply| reply.class() == Class::EchoReply);
        Ok::<Option<u64>, Fail>(answer.map(|answer| answer.rtt_us()))
    };
    let (four, six) = join(echo(four), echo(six)).await;
    Ok((four?, six?))
}

async fn quoted_tos(flow: &Flow) -> Option<u8> {
    let probe = Probe::udp(33_435).ttl(2).tos(0x2e);
    let answer = flow.probe(probe).read(|reply, packet| {
        let quoted = reply.quoted(packet)?;
        quoted.get(1).copied()
    });
    answer.await.reply().flatten()
}

async fn steady(ctx: &Ctx<HopRow>, flow: &Flow, count: u32) {
    let wait = Duration::from_secs(1);
    let begin = ctx.now();
    for number in 0..count {
        flow.launch(number, Probe::echo(number as u16), wait);
        let mut next = ctx.sleep_until(begin + Duration::from_millis(10) * (number + 1));
        while let Either::Second(heard) = select(&mut next, flow.next()).await {
            note(ctx, &heard);
        }
    }
    while flow.outstanding() > 0 {
        note(ctx, &flow.next().await);
    }
}

fn note(ctx: &Ctx<HopRow>, heard: &Heard) {
    let Some(label) = heard.label else { return };
    match &heard.outcome {
        Outcome::Reply(reply) if reply.is_late() || reply.is_duplicate() => {}
        Outcome::Reply(reply) => ctx.emit(HopRow {
            ttl: label as u8,
            addr: Some(reply.from()),
            rtt_us: Some(reply.rtt_us()),
        }),
        Outcome::Timeout { .. } => {
            ctx.emit(HopRow { ttl: label as u8, addr: None, rtt_us: None });
        }
        Outcome::Unsent(reason) => ctx.warn(&format!("probe {label}: {reason}")),
    }
}

async fn fetch(ctx: &Ctx<HopRow>, server: IpAddr) -> Result<Option<Vec<u8>>, Fail> {
    use sonde_plugin_api::tcp::{Connection, Offer, Opening};

    let flow = ctx.open(FlowSpec::tcp(server).key(Key::None).hear_all()).await?;
    let offer = Offer { mss: Some(1460), sack: true, ..Offer::default() };
    let opening = Opening { offer, ..Opening::to(80) };
    let Ok(mut connection) = Connection::open(ctx, &flow, &opening, None).await else {
        return Ok(None);
    };
    connection.write(b"GET / HTTP/1.0\r\n\r\n");
    let mut page = Vec::new();
    while !connection.received.is_finished() && !connection.is_reset() {
        let Some(_) = connection.receive(Duration::from_secs(10)).await else { break };
        page.extend(connection.received.read());
    }
    connection.close(Duration::from_secs(1)).await;
    Ok(Some(page))
}

async fn polite(ctx: &Ctx<HopRow>, flow: &Flow) {
    let mut sequence = 0;
    let work = async {
        loop {
            sequence = ctx.random();
            flow.probe(Probe::tcp_syn(80, sequence)).await;
            ctx.sleep(Duration::from_secs(1)).await;
        }
    };
    let interrupted: Option<()> = ctx.until_interrupted(work).await;
    if interrupted.is_none() {
        // Awaited: what still waits for its turn when the flow is closed is not sent. With another number it is ignored.
        let reset = Probe::tcp_rst(80, sequence.wrapping_add(1)).immediate();
        let _ = flow.send_stamped(reset).await;
    }
}

async fn handshake(ctx: &Ctx<HopRow>, server: IpAddr) -> Result<Option<u32>, Fail> {
    use sonde_plugin_api::packet::{IpHeader, tcp::TcpView};

    let flow = ctx.open(FlowSpec::tcp(server).key(Key::None).hear_all()).await?;
    let sequence = ctx.random();
    flow.send(Probe::tcp_syn(80, sequence).window(1024).immediate());
    let Some((reply, packet)) = flow.recv(Duration::from_secs(3)).await else { return Ok(None) };
    if reply.class() != Class::Tcp {
        return Ok(None); // an error of a router, about the SYN or about anything that has its ports
    }
    let header = IpHeader::parse(&packet)?;
    let segment = TcpView::new(header.transport(&packet));
    let (Some(theirs), Some(acknowledged)) = (segment.sequence(), segment.acknowledgement()) else {
        return Ok(None);
    };
    flow.send_stamped(Probe::tcp_rst(80, acknowledged).immediate()).await?;
    Ok((acknowledged == sequence.wrapping_add(1)).then_some(theirs))
}

row! {
    /// One packet that came back.
    pub struct ReplyRow { seq: u32, rtt_us: u64 }
}
row! {
    /// What all of them say.
    pub struct SummaryRow { sent: u32, answered: u32 }
}
tables! {
    /// What is emitted.
    pub enum EchoTables { Replies(ReplyRow) = "replies", Summary(SummaryRow) = "summary" }
}

fn report(ctx: &Ctx<EchoTables>) {
    ctx.emit(ReplyRow { seq: 1, rtt_us: 412 });
    ctx.emit(SummaryRow { sent: 1, answered: 1 });
}

fn views() -> Vec<Capability> {
    vec![
        Capability::new("hops-nearest-{ip}")
            .when("now ... future")
            .parameter("destination.{ip}", Constraint::Any)
            .parameter("sonde.hops.maxttl", Constraint::range(1, 64))
            .table("hops")
            .present("addr")
            .aggregate("rtt.us", Aggregate::Min, "rtt_us"),
    ]
}

/// Makes a method of one of the functions above.
macro_rules! method {
    ($name:ident, $row:ty, $ctx:ident, $params:ident, $block:block) => {
        struct $name;
        impl Method for $name {
            const NAME: &'static str = "test";
            const DOC: &'static str = "test";
            const PARTING_PACKETS: u16 = 1;
            type Params = HopsParams;
            type Row = $row;
            async fn run($ctx: Ctx<$row>, $params: HopsParams) -> Result<(), Fail> {
                $block
            }
        }
    };
}

fn params() -> HopsParams {
    HopsParams::with(Ipv4Addr::new(198, 51, 100, 9).into())
}

fn line() -> Net {
    Net::draw("vantage - 192.0.2.254 - 198.51.100.9 - 198.51.100.10\n198.51.100.9 tcp 80")
}

#[test]
fn a_window_and_a_quote_say_what_the_document_says() {
    method!(Window, HopRow, ctx, params, {
        let flow = ctx.open(FlowSpec::udp(params.destination)).await?;
        for addr in hops_at_once(&flow, 2).await {
            ctx.emit(HopRow { ttl: 0, addr, rtt_us: quoted_tos(&flow).await.map(u64::from) });
        }
        Ok(())
    });
    let run = Sim::new(line(), 1).run::<Window>(params());
    assert_eq!(
        run.expect_done().table("hops"),
        [
            json!({"ttl": 0, "addr": "192.0.2.254", "rtt_us": 0x2e}),
            json!({"ttl": 0, "addr": "198.51.100.9", "rtt_us": 0x2e}),
        ]
    );
}

#[test]
fn a_steady_rate_does_not_wait_for_answers() {
    method!(Steady, HopRow, ctx, params, {
        let flow = ctx.open(FlowSpec::icmp(params.destination)).await?;
        steady(&ctx, &flow, 3).await;
        Ok(())
    });
    let net = line().delay_us(1, 40_000);
    let run = Sim::new(net, 1).pacing(1000.0).run::<Steady>(params());
    assert_eq!(run.expect_done().table("hops").len(), 3);
    assert!(run.took() < Duration::from_millis(200), "{run}");
}

#[test]
fn two_things_at_once_take_as_long_as_the_slower_one() {
    method!(Both, HopRow, ctx, params, {
        let (four, other) =
            both_families(&ctx, params.destination, "198.51.100.10".parse()?).await?;
        ctx.emit(HopRow {
            ttl: 0,
            addr: None,
            rtt_us: four.zip(other).map(|(four, other)| four + other),
        });
        Ok(())
    });
    let run = Sim::new(line(), 1).pacing(1000.0).run::<Both>(params());
    assert_eq!(
        run.expect_done().table("hops"),
        [json!({"ttl": 0, "addr": null, "rtt_us": 10_000})]
    );
}

#[test]
fn a_conversation_reads_the_answer_of_the_server() {
    method!(Conversation, HopRow, ctx, params, {
        let theirs = handshake(&ctx, params.destination).await?;
        ctx.emit(HopRow { ttl: u8::from(theirs.is_some()), addr: None, rtt_us: None });
        Ok(())
    });
    let run = Sim::new(line(), 1).run::<Conversation>(params());
    assert_eq!(run.expect_done().table("hops"), [json!({"ttl": 1, "addr": null, "rtt_us": null})]);
    assert_eq!(run.counters.sent, 2);
}

#[test]
fn a_connection_is_opened_used_and_closed() {
    method!(Fetches, HopRow, ctx, params, {
        let page = fetch(&ctx, params.destination).await?;
        ctx.emit(HopRow { ttl: u8::from(page.is_some()), addr: None, rtt_us: None });
        Ok(())
    });
    let net = Net::draw("vantage - target\n target 198.51.100.9 tcp 80");
    let run = Sim::new(net, 1).run::<Fetches>(params());
    assert_eq!(run.expect_done().table("hops"), [json!({"ttl": 1, "addr": null, "rtt_us": null})]);
    // SYN, ACK, request, our FIN, and the acknowledgement of theirs.
    assert_eq!(run.counters.sent, 5, "{run}");
    let closed = Net::draw("vantage - target\n target 198.51.100.9");
    let run = Sim::new(closed, 1).run::<Fetches>(params());
    assert_eq!(run.expect_done().table("hops"), [json!({"ttl": 0, "addr": null, "rtt_us": null})]);
}

#[test]
fn an_interrupted_method_says_goodbye() {
    method!(Polite, HopRow, ctx, params, {
        let flow = ctx.open(FlowSpec::tcp(params.destination)).await?;
        polite(&ctx, &flow).await;
        Ok(())
    });
    let mut sim = Sim::new(line(), 1);
    let measurement = sim.start::<Polite>(params());
    sim.run_until(Duration::from_millis(1500));
    sim.interrupt(measurement);
    let run = sim.finish(measurement);
    assert_eq!((run.status.clone(), run.stop.as_str()), (Status::Done, "interrupted"));
    assert_eq!(run.counters.sent, 3);
}

#[test]
fn rows_go_to_the_tables_of_their_types() {
    method!(Reports, EchoTables, ctx, _params, {
        report(&ctx);
        Ok(())
    });
    let run = Sim::new(line(), 1).run::<Reports>(params());
    assert_eq!(run.table("summary"), [json!({"sent": 1, "answered": 1})]);
    assert_eq!(run.table("replies"), [json!({"seq": 1, "rtt_us": 412})]);
    assert_eq!(views()[0].table, "hops");
}

#[test]
fn the_descriptor_names_the_parameters_as_flags() {
    let method = METHODS[0].describe();
    let names: Vec<&str> = method.parameters.iter().map(|each| each.name.as_str()).collect();
    assert_eq!(names, ["destination", "maxttl", "wait"]);
    assert_eq!(HopsParams::decode(&params().to_bytes()).unwrap().max_ttl, 30);
    assert_eq!(method.capabilities[0].label, "hops-full-{ip}");
    let json = sonde_plugin_api::glue::describe_json("hops", "1.0.0", METHODS);
    let descriptor = sonde_plugin_api::descriptor::Descriptor::from_json(&json).unwrap();
    assert_eq!(descriptor.methods, [method]);
}

/// Every block of Rust in the document stands in this file, but for its indentation.
#[test]
fn the_document_shows_this_code() {
    let flat = |text: &str| {
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
        lines.collect::<Vec<_>>().join("\n")
    };
    let code = flat(include_str!("tutorial.rs"));
    let document = include_str!("../../../docs/writing-a-method.md");
    let blocks = document.split("```rust\n").skip(1);
    let blocks: Vec<&str> = blocks.filter_map(|rest| rest.split("```").next()).collect();
    assert!(blocks.len() >= 8, "{}", blocks.len());
    for block in blocks {
        assert!(code.contains(&flat(block)), "not in tutorial.rs:\n{block}");
    }
}
