//! Probes of which the plugin keeps nothing but a label.

use super::*;
use crate::{
    Probe,
    abi::{FailKind, LABEL_TOKEN},
    author::{Either, Heard, Outcome, select},
};

fn shown(heard: &Heard, packet: &[u8]) -> String {
    let label = heard.label.map_or("-".to_owned(), |label| label.to_string());
    match &heard.outcome {
        Outcome::Reply(reply) => {
            let late = if reply.is_late() { " late" } else { "" };
            let duplicate = if reply.is_duplicate() { " duplicate" } else { "" };
            format!("{label} reply{late}{duplicate} {}", packet.len())
        }
        Outcome::Timeout { .. } => format!("{label} timeout"),
        Outcome::Unsent(reason) => format!("{label} {reason}"),
    }
}

method!(Launches, ctx {
    let flow = ctx.udp().await?;
    for label in 0..3 {
        flow.launch(label, Probe::udp(33_435), ms(100));
    }
    while flow.outstanding() > 0 {
        let text = flow.next_with(shown).await;
        ctx.say(text);
    }
    ctx.sleep(ms(500)).await;
    while let Either::First(heard) = select(flow.next(), ctx.sleep(ms(0))).await {
        ctx.say(shown(&heard, &[]));
    }
    Ok(())
});

#[test]
fn launched_probes_are_heard_of_by_their_labels() {
    let (mut driver, did) = Driver::opened::<Launches>();
    let tokens: Vec<u32> =
        of_kind(&did, ActionKind::Send).iter().map(|send| send.action.token).collect();
    assert_eq!(tokens, [LABEL_TOKEN, LABEL_TOKEN | 1, LABEL_TOKEN | 2]);
    assert_eq!(said(&driver.answer(tokens[1])), ["1 reply 6"]);
    assert_eq!(said(&driver.timeout(tokens[0])), ["0 timeout"]);
    let again = Event { flags: flags::DUPLICATE, ..driver.packet(tokens[1]) };
    assert_eq!(said(&driver.with_payload(again, b"answer")), ["1 reply duplicate 6"]);
    let late = Event { flags: flags::LATE, ..driver.packet(tokens[0]) };
    assert_eq!(said(&driver.with_payload(late, b"answer")), ["0 reply late 6"]);
    // The last outcome: nothing is outstanding any more.
    let did = driver.answer(tokens[2]);
    assert_eq!(said(&did), ["2 reply 6"]);
    let timer = only(&did, ActionKind::Timer).action.token;
    // Nobody listens: it is kept.
    assert_eq!(driver.with_payload(again, b"answer"), []);
    let did = driver.timer(timer);
    assert_eq!(said(&did), ["1 reply duplicate 0"]);
}

#[test]
fn what_comes_in_one_batch_is_heard_in_its_order() {
    let (mut driver, _) = Driver::opened::<Launches>();
    let events = [0, 1, 2].map(|label| (driver.packet(LABEL_TOKEN | label), &b"answer"[..]));
    assert_eq!(said(&driver.batch(&events)), ["0 reply 6", "1 reply 6", "2 reply 6"]);
}

#[test]
fn duplicates_that_nobody_hears_are_bounded_and_told_but_first_outcomes_are_kept() {
    method!(Deaf, ctx {
        let flow = ctx.udp().await?;
        flow.launch(1, Probe::udp(1), ms(100));
        flow.launch(2, Probe::udp(1), ms(100));
        ctx.sleep(ms(500)).await;
        let mut heard = 0;
        while flow.outstanding() > 0 {
            flow.next().await;
            heard += 1;
        }
        ctx.say(format!("{heard} heard"));
        Ok(())
    });
    let (mut driver, did) = Driver::opened::<Deaf>();
    let timer = only(&did, ActionKind::Timer).action.token;
    driver.answer(LABEL_TOKEN | 1);
    let again = Event { flags: flags::DUPLICATE, ..driver.packet(LABEL_TOKEN | 1) };
    for _ in 0..2000 {
        assert_eq!(driver.with_payload(again, b"answer"), []);
    }
    driver.answer(LABEL_TOKEN | 2);
    let did = driver.timer(timer);
    let warning = "packets were lost: 1024 of a flow waited, and nobody listened";
    assert_eq!(only(&did, ActionKind::Log).text(), warning);
    assert_eq!(said(&did), ["1025 heard"]);
}

#[test]
fn a_probe_that_cannot_be_built_is_heard_of_like_one_that_was_refused() {
    method!(Unbuilt, ctx {
        let flow = ctx.udp().await?;
        flow.launch(4, Probe::udp(1).size(10), ms(100));
        let heard = flow.next().await;
        ctx.say(shown(&heard, &[]));
        ctx.say(format!("{} outstanding", flow.outstanding()));
        Ok(())
    });
    let (_, did) = Driver::opened::<Unbuilt>();
    assert_eq!(of_kind(&did, ActionKind::Send), Vec::<&Did>::new());
    assert_eq!(said(&did), ["4 not sent: Invalid argument (os error 22)", "0 outstanding"]);
    let text = "a probe to 198.51.100.9 cannot be built: \
                a packet of 10 octets has no room for its headers of 28";
    assert_eq!(only(&did, ActionKind::Log).text(), text);
}

#[test]
fn departures_are_heard_apart_from_answers() {
    method!(Paced, ctx {
        let flow = ctx.udp().await?;
        flow.launch_stamped(9, Probe::udp(1), ms(100));
        let (label, departure) = flow.next_departure().await;
        ctx.say(format!("{label} left at {}", departure.at.0));
        let heard = flow.next().await;
        ctx.say(shown(&heard, &[]));
        Ok(())
    });
    let (mut driver, did) = Driver::opened::<Paced>();
    let send = only(&did, ActionKind::Send).action;
    assert_eq!(send.flags, flags::WANT_SENT);
    // The answer overtakes the report.
    assert_eq!(driver.answer(send.token), []);
    let event = Event { kind: EventKind::Sent, token: send.token, flow: 5, sent: 5, ..Event::ZERO };
    assert_eq!(said(&driver.event(event)), ["9 left at 5", "9 reply 0"]);
}

#[test]
fn a_label_beyond_the_last_fails_the_measurement() {
    method!(Beyond, ctx {
        let flow = ctx.udp().await?;
        flow.launch(LABEL_TOKEN - 1, Probe::udp(1), ms(100));
        flow.next().await;
        Ok(())
    });
    let (_, did) = Driver::opened::<Beyond>();
    let fail = only(&did, ActionKind::Fail);
    assert_eq!(fail.action.code, FailKind::Error.0);
    assert_eq!(fail.text(), "2147483647 is no label: they end below 2^31 - 1");
}

#[test]
fn events_for_a_flow_that_was_dropped_are_ignored() {
    method!(Forgets, ctx {
        let flow = ctx.udp().await?;
        flow.launch(1, Probe::udp(1), ms(100));
        drop(flow);
        ctx.sleep(ms(500)).await;
        Ok(())
    });
    let (mut driver, _) = Driver::opened::<Forgets>();
    assert_eq!(driver.answer(LABEL_TOKEN | 1), []);
    assert_eq!(driver.tasks(), 1);
}

method!(SeveralFlows, ctx {
    let (first, second) = (ctx.udp().await?, ctx.udp().await?);
    first.launch(1, Probe::udp(1), ms(100));
    second.launch(2, Probe::udp(2), ms(100));
    ctx.say(ctx.next_with(shown).await);
    // Nobody listens while it sleeps.
    ctx.sleep(ms(500)).await;
    while first.outstanding() + second.outstanding() > 0 {
        ctx.say(ctx.next_with(shown).await);
    }
    ctx.say(ctx.next_with(shown).await);
    Ok(())
});

#[test]
fn what_any_flow_hears_is_heard_by_who_listens_to_all() {
    let (mut driver, did) = Driver::opened::<SeveralFlows>();
    driver.open(only(&did, ActionKind::OpenFlow).action.token, 6);
    let on = |flow, event| Event { flow, ..event };
    let of_second = on(6, driver.packet(LABEL_TOKEN | 2));
    let did = driver.with_payload(of_second, b"answer");
    assert_eq!(said(&did), ["2 reply 6"]);
    let timer = only(&did, ActionKind::Timer).action.token;
    let of_first = on(5, driver.packet(LABEL_TOKEN | 1));
    assert_eq!(driver.with_payload(of_first, b"answer"), []);
    assert_eq!(said(&driver.timer(timer)), ["1 reply 6"]);
    let again = Event { flags: flags::DUPLICATE, ..of_second };
    assert_eq!(said(&driver.with_payload(again, b"answer")), ["2 reply duplicate 6"]);
}
