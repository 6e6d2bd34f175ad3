//! Flows, probes, timers: one thing after the other.

use super::*;
use crate::{
    Key, Probe,
    abi::{FailKind, Proto},
    author::Outcome,
};

method!(OneProbe, ctx {
    let flow = ctx.udp().await?;
    let answer = flow.probe(Probe::udp(33_435)).timeout(ms(300)).await;
    ctx.say(match answer {
        Outcome::Reply(reply) => format!(
            "{} {:?} {} us ttl {} by {:?}/{:?} +-{:?}",
            reply.from(), reply.class(), reply.rtt_us(), reply.ttl(),
            reply.sent_by(), reply.received_by(), reply.uncertainty(),
        ),
        Outcome::Timeout { sent } => format!("nothing since {}", sent.0),
        Outcome::Unsent(reason) => reason.to_string(),
    });
    Ok(())
});

#[test]
fn a_flow_is_asked_for_with_what_the_spec_says() {
    method!(Opens, ctx {
        let spec = FlowSpec::tcp(peer()).key(Key::None).local(4000).tos(0x20).hear_all();
        ctx.open(spec.source("192.0.2.7".parse()?).gateway("192.0.2.254".parse()?)).await?;
        Ok(())
    });
    let (_, did) = Driver::started::<Opens>();
    let spec = only(&did, ActionKind::OpenFlow).spec();
    assert_eq!(spec.proto, Proto::Tcp);
    assert_eq!((spec.key, spec.local, spec.tos), (0, 4000, 0x20));
    assert_eq!(spec.flags, flags::HEAR_ALL | flags::QUIET_KERNEL);
    assert_eq!(spec.peer, mapped(peer()));
    assert_eq!(spec.source, mapped("192.0.2.7".parse().unwrap()));
    assert_eq!(spec.gateway, mapped("192.0.2.254".parse().unwrap()));
}

#[test]
fn ports_of_many_flows_count_up_and_go_on_where_there_are_some() {
    let ports = |first| [0, 1, 2, 65_535].map(|number| crate::port_behind(first, number));
    assert_eq!(ports(33_435), [33_435, 33_436, 33_437, 33_435]);
    assert_eq!(ports(65_534), [65_534, 65_535, 1, 65_534]);
    assert_eq!(ports(0), [0, 1, 2, 65_535]);
    let own = |first, number| {
        let octets = FlowSpec::udp(peer()).local_behind(first, number).to_octets();
        FlowSpecRaw::from_octets(&octets).unwrap().local
    };
    assert_eq!([0, 1, 2].map(|number| own(65_534, number)), [65_534, 65_535, 1024]);
    assert_eq!([0, 64_511, 64_512].map(|number| own(1024, number)), [1024, 65_535, 1024]);
    assert_eq!([own(0, 5), own(33, 0), own(33, 1)], [0, 33, 34]);
}

#[test]
fn the_answer_of_a_probe_is_its_reply() {
    let (mut driver, did) = Driver::opened::<OneProbe>();
    let send = only(&did, ActionKind::Send);
    assert_eq!((send.action.flow, send.action.arg), (5, 300 * MS));
    let token = send.action.token;
    let did = driver.answer(token);
    assert_eq!(said(&did), ["203.0.113.1 TimeExceeded 20000 us ttl 61 by User/Kernel +-1.2µs"]);
    assert_eq!(kinds(&did), [ActionKind::Row, ActionKind::CloseFlow, ActionKind::Finish]);
    assert_eq!(driver.tasks(), 0);
}

#[test]
fn a_timeout_says_when_the_probe_left() {
    let (mut driver, did) = Driver::opened::<OneProbe>();
    let token = only(&did, ActionKind::Send).action.token;
    assert_eq!(said(&driver.timeout(token)), ["nothing since 3"]);
}

#[test]
fn a_probe_that_was_refused_is_no_loss() {
    let (mut driver, did) = Driver::opened::<OneProbe>();
    let token = only(&did, ActionKind::Send).action.token;
    let event = Event { kind: EventKind::SendError, token, code: 1, flow: 5, ..Event::ZERO };
    let did = driver.event(Event { flags: flags::REFUSED, ..event });
    assert_eq!(said(&did), ["not sent: refused by the host's policy, or it is not of its flow"]);
    let (mut driver, did) = Driver::opened::<OneProbe>();
    let token = only(&did, ActionKind::Send).action.token;
    let did = driver.event(Event { flags: flags::REFUSED, code: 122, token, ..event });
    assert_eq!(said(&did), ["not sent: the measurement's budget of packets is used up"]);
}

#[test]
fn a_flow_that_the_host_refuses_fails_the_measurement_with_its_reason() {
    let (mut driver, did) = Driver::started::<OneProbe>();
    let token = did[0].action.token;
    let event = Event { kind: EventKind::FlowOpen, token, code: 101, ..Event::ZERO };
    let did = driver.with_payload(event, b"no route");
    let fail = only(&did, ActionKind::Fail);
    assert_eq!(fail.text(), "cannot open a flow to 198.51.100.9: no route");
    assert_eq!(fail.action.code, FailKind::Error.0);
}

#[test]
fn a_late_answer_finds_nobody() {
    method!(Twice, ctx {
        let flow = ctx.udp().await?;
        for _ in 0..2 {
            let answer = flow.probe(Probe::udp(1)).await;
            ctx.say(format!("{}", answer.is_timeout()));
        }
        Ok(())
    });
    let (mut driver, did) = Driver::opened::<Twice>();
    let first = only(&did, ActionKind::Send).action.token;
    let did = driver.timeout(first);
    assert_eq!(said(&did), ["true"]);
    let second = only(&did, ActionKind::Send).action.token;
    assert_ne!(first, second);
    assert_eq!(driver.answer(first), []);
    assert_eq!(said(&driver.answer(second)), ["false"]);
}

#[test]
fn a_sleep_ends_with_its_timer_and_one_into_the_past_at_once() {
    method!(Sleeps, ctx {
        let begin = ctx.now();
        ctx.sleep_until(begin).await;
        ctx.say("at once");
        ctx.sleep(ms(250)).await;
        ctx.say(format!("{:?} later", ctx.now() - begin));
        Ok(())
    });
    let (mut driver, did) = Driver::started::<Sleeps>();
    assert_eq!(said(&did), ["at once"]);
    let timer = only(&did, ActionKind::Timer).action;
    assert_eq!(timer.arg, 1250 * MS);
    driver.now += 250 * MS;
    assert_eq!(said(&driver.timer(timer.token)), ["250ms later"]);
}

#[test]
fn a_packet_is_read_where_it_lies_or_kept() {
    method!(Reads, ctx {
        let flow = ctx.udp().await?;
        let length = flow.probe(Probe::udp(1)).read(|_, packet| packet.len()).await;
        ctx.say(format!("{length:?}"));
        let (reply, packet) = flow.probe(Probe::udp(1)).capture().await.reply().ok_or_else(|| Fail::new("?"))?;
        ctx.say(format!("{} {packet:?}", reply.octets()));
        Ok(())
    });
    let (mut driver, did) = Driver::opened::<Reads>();
    let did = driver.answer(only(&did, ActionKind::Send).action.token);
    assert_eq!(said(&did), ["Reply(6)"]);
    let did = driver.answer(only(&did, ActionKind::Send).action.token);
    assert_eq!(said(&did), [format!("6 {:?}", b"answer")]);
}

#[test]
fn a_flow_given_up_while_it_is_opened_is_closed_again() {
    method!(GivesUp, ctx {
        let opening = ctx.udp();
        match crate::select(opening, ctx.sleep(ms(1))).await {
            crate::Either::First(_) => ctx.say("opened"),
            crate::Either::Second(()) => ctx.say("given up"),
        }
        ctx.sleep(ms(1)).await;
        Ok(())
    });
    let (mut driver, did) = Driver::started::<GivesUp>();
    let opening = only(&did, ActionKind::OpenFlow).action.token;
    let timer = only(&did, ActionKind::Timer).action.token;
    let did = driver.timer(timer);
    assert_eq!(said(&did), ["given up"]);
    let did = driver.open(opening, 9);
    assert_eq!((did.len(), did[0].action.kind, did[0].action.flow), (1, ActionKind::CloseFlow, 9));
}

#[test]
fn a_last_word_is_a_packet_and_is_taken_back_by_nothing() {
    method!(Leaves, ctx {
        let flow = ctx.open(FlowSpec::tcp(peer())).await?;
        flow.last_word(Some(Probe::tcp_rst(80, 7)));
        flow.last_word(None);
        ctx.sleep(ms(1)).await;
        Ok(())
    });
    let (_, did) = Driver::opened::<Leaves>();
    let words: Vec<_> = did.iter().filter(|it| it.action.kind == ActionKind::LastWord).collect();
    assert_eq!((words.len(), words[0].action.flow, words[1].action.flow), (2, 5, 5));
    assert_eq!((words[0].octets.len(), words[1].octets.len()), (40, 0));
    assert_eq!(words[0].octets[24..28], [0, 0, 0, 7]);
}

#[test]
fn dropping_a_flow_closes_it() {
    method!(Drops, ctx {
        let flow = ctx.udp().await?;
        drop(flow);
        ctx.sleep(ms(1)).await;
        Ok(())
    });
    let (_, did) = Driver::opened::<Drops>();
    assert_eq!(only(&did, ActionKind::CloseFlow).action.flow, 5);
}

#[test]
fn wall_time_goes_along_with_the_clock_of_the_host() {
    method!(Clocks, ctx {
        let before = ctx.now() - ms(10);
        ctx.say(format!("{} {}", ctx.wall(ctx.now()).0 - WALL, WALL - ctx.wall(before).0));
        Ok(())
    });
    let (_, did) = Driver::started::<Clocks>();
    assert_eq!(said(&did), [format!("0 {}", 10 * MS)]);
}

#[test]
fn randomness_is_that_of_the_seed() {
    method!(Random, ctx {
        let unit = ctx.random_unit();
        ctx.say(format!("{} {} {}", ctx.random(), ctx.random64(), (0.0..1.0).contains(&unit)));
        Ok(())
    });
    let (_, one) = Driver::started::<Random>();
    let (_, two) = Driver::started::<Random>();
    assert_eq!(said(&one), said(&two));
    let mut driver = Driver::of::<Random>();
    let other = driver.event(Event { kind: EventKind::Start, sent: SEED + 1, ..Event::ZERO });
    assert_ne!(said(&one), said(&other));
    assert!(said(&one)[0].ends_with("true"));
}

#[test]
fn log_lines_have_levels_and_an_end() {
    method!(Logs, ctx {
        ctx.error("a");
        ctx.warn("b");
        ctx.log("c");
        ctx.debug("d");
        ctx.trace(&"ü".repeat(5000));
        ctx.progress(0.5);
        ctx.progress(f64::NAN);
        ctx.progress(7.0);
        Ok(())
    });
    let (_, did) = Driver::started::<Logs>();
    let logs = of_kind(&did, ActionKind::Log);
    assert_eq!(logs.iter().map(|log| log.action.code).collect::<Vec<_>>(), [1, 2, 3, 4, 5]);
    assert_eq!(logs[4].text(), "ü".repeat(2048));
    let progress = of_kind(&did, ActionKind::Progress);
    assert_eq!(progress.iter().map(|one| one.action.arg).collect::<Vec<_>>(), [500, 0, 1000]);
}

#[test]
fn a_departure_is_reported_where_it_is_asked_for() {
    method!(Stamped, ctx {
        let flow = ctx.open(FlowSpec::tcp(peer())).await?;
        let left = flow.send_stamped(Probe::tcp_ack(80, 1, 2).immediate()).await?;
        ctx.say(format!("{} {:?}", left.at.0, left.by));
        Ok(())
    });
    let (mut driver, did) = Driver::opened::<Stamped>();
    let send = only(&did, ActionKind::Send).action;
    assert_eq!((send.arg, send.flags), (0, flags::WANT_SENT | flags::IMMEDIATE));
    let event =
        Event { kind: EventKind::Sent, token: send.token, flow: 5, sent: 77, ..Event::ZERO };
    let did = driver.event(Event { stamps: stamp::KERNEL, ..event });
    assert_eq!(said(&did), ["77 Kernel"]);
}

#[test]
fn an_unasked_packet_is_waited_for_with_an_end() {
    method!(Listens, ctx {
        let flow = ctx.open(FlowSpec::tcp(peer()).key(Key::None).hear_all()).await?;
        for _ in 0..3 {
            let heard = flow.recv(ms(50)).await;
            ctx.say(heard.map_or("nothing".into(), |(reply, packet)| format!("{} {}", reply.ttl(), packet.len())));
        }
        Ok(())
    });
    let (mut driver, did) = Driver::opened::<Listens>();
    let first = only(&did, ActionKind::Timer).action.token;
    let did = driver.answer(NO_TOKEN);
    assert_eq!(said(&did), ["61 6"]);
    assert_eq!(only(&did, ActionKind::Cancel).action.token, first);
    let second = only(&did, ActionKind::Timer).action.token;
    let did = driver.timer(second);
    assert_eq!(said(&did), ["nothing"]);
    // Two at once: the second one is kept until it is asked for.
    let (one, two) = (driver.packet(NO_TOKEN), driver.packet(NO_TOKEN));
    let did = driver.batch(&[(one, b"1"), (two, b"22")]);
    assert_eq!(said(&did), ["61 1"]);
    assert_eq!(driver.tasks(), 0);
}
