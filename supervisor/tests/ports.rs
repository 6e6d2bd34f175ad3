//! A supervisor between a host and clients, over real connections and a real store.
#![allow(clippy::unwrap_used, reason = "a test ends with a panic")]

mod common;

use std::sync::Arc;

use common::{Running, average, average_from, clock, connection, poll, redeem, text, wanted};
use sonde_mplane::{
    Capability, Kind, Message, Reference, Registries, Specification, Unknown, When,
};
use sonde_mplane_http::Polled;
use sonde_supervisor::service::Policy;

#[tokio::test]
async fn a_measurement_goes_from_client_to_host_and_back_and_survives_restarts() {
    let folder = tempfile::tempdir().unwrap();
    let store = folder.path().join("supervisor.db");
    let (host, client) = (connection(), connection());

    let supervisor = Running::start(&store).await;
    let url = supervisor.component_url("/register/capability");
    let outcomes = host.register(&url, vec![average().into()]).await.unwrap();
    assert_eq!(outcomes.0.len(), 1);
    let offered = client.discover(&supervisor.client_url()).await.unwrap();
    let tokens: Vec<String> = offered.iter().map(Capability::token).collect();
    assert_eq!(tokens, [average().token()]);
    let message = Message::from(wanted("mine"));
    let answer = client.post(&supervisor.client_url(), &message).await.unwrap();
    assert_eq!(answer.kind(), Kind::Receipt);
    supervisor.stop().await;

    // The host needs not register again, nor the client ask again.
    let supervisor = Running::start(&store).await;
    let polled = poll(&host, &supervisor).await;
    let [Message::Specification(forwarded)] = &polled[..] else { panic!("{polled:?}") };
    assert_ne!(forwarded.token(), "mine");
    let result = forwarded.result(When::measured(clock(), clock()), Vec::new());
    let url = supervisor.component_url("/register/result");
    host.deliver(&url, &forwarded.receipt()).await.unwrap();
    host.deliver(&url, &result.into()).await.unwrap();
    supervisor.stop().await;

    let supervisor = Running::start(&store).await;
    // An interrupt that comes too late is told the outcome, and takes it from nobody.
    let interrupt = Message::Interrupt(Reference::to_token("measure", "mine"));
    let answer = client.post(&supervisor.client_url(), &interrupt).await.unwrap();
    assert_eq!(answer.kind(), Kind::Result);
    let outcome = redeem(&client, &supervisor, "mine").await;
    assert_eq!((outcome.kind(), outcome.token()), (Kind::Result, Some("mine")));
    assert_eq!(outcome.label(), Some("ping-average-ip4-0"));
    assert_eq!(text(&redeem(&client, &supervisor, "mine").await), "Unknown job");
    supervisor.stop().await;

    let supervisor = Running::start(&store).await;
    assert_eq!(text(&redeem(&client, &supervisor, "mine").await), "Unknown job");
    supervisor.stop().await;
}

#[tokio::test]
async fn a_host_is_told_to_deliver_where_it_polled() {
    let folder = tempfile::tempdir().unwrap();
    let policy = Policy { link_follows_host: true, ..Policy::default() };
    let supervisor = Running::with(&folder.path().join("supervisor.db"), policy).await;
    let (host, client) = (connection(), connection());
    let url = supervisor.component_url("/register/capability");
    host.register(&url, vec![average().into()]).await.unwrap();
    client.post(&supervisor.client_url(), &Message::from(wanted("mine"))).await.unwrap();
    let by_name = |path| supervisor.component_url(path).replace("127.0.0.1", "localhost");
    let polled = host.poll(&by_name("/show/specification")).await.unwrap();
    let Polled::Messages(work) = polled else { panic!("{polled:?}") };
    let [Ok(Message::Specification(forwarded))] = &work[..] else { panic!("{work:?}") };
    assert_eq!(forwarded.head.link, Some(by_name("/register/result")));
    supervisor.stop().await;
}

#[tokio::test]
async fn a_capability_that_a_client_cannot_read_takes_no_other_with_it_nor_does_one_in_another_order()
 {
    let folder = tempfile::tempdir().unwrap();
    let supervisor = Running::start(&folder.path().join("supervisor.db")).await;
    let (host, client) = (connection(), connection());
    let lenient = Registries::built_in().with_unknown(Unknown::AsText);
    let odd = Capability::build("odd", "now ... future / 1s").result("nope").finish(&lenient);
    let [first, again] = ["192.0.2.1,192.0.2.2", "192.0.2.2,192.0.2.1"].map(average_from);
    let url = supervisor.component_url("/register/capability");
    for messages in [vec![odd.unwrap().into(), first.into()], vec![again.clone().into()]] {
        let registered = messages.len();
        assert_eq!(host.register(&url, messages).await.unwrap().0.len(), registered);
    }
    let offered = client.discover(&supervisor.client_url()).await.unwrap();
    let tokens: Vec<String> = offered.iter().map(Capability::token).collect();
    assert_eq!(tokens, [again.token()]);
    supervisor.stop().await;
}

#[tokio::test]
async fn a_specification_that_nobody_can_do_is_answered_with_the_reason() {
    let folder = tempfile::tempdir().unwrap();
    let supervisor = Running::start(&folder.path().join("supervisor.db")).await;
    let (host, client) = (connection(), connection());
    let ask = |specification: Specification| {
        let (client, url) = (&client, supervisor.client_url());
        async move { text(&client.post(&url, &specification.into()).await.unwrap()) }
    };
    assert_eq!(ask(wanted("a")).await, "No service registered for specification");
    let url = supervisor.component_url("/register/capability");
    host.register(&url, vec![average().into()]).await.unwrap();
    let mut elsewhere = wanted("b");
    elsewhere.set("source.ip4", "192.0.2.2").unwrap();
    let refused = ask(elsewhere).await;
    assert!(refused.contains("source.ip4 is 192.0.2.2, accepted: 192.0.2.1"), "{refused}");
    assert_eq!(ask(wanted("c")).await, "receipt");
    let withdrawal = average().withdrawal();
    let outcomes = host.register(&url, vec![withdrawal]).await.unwrap();
    assert!(outcomes.to_json().contains("Withdrawn"), "{}", outcomes.to_json());
    assert_eq!(ask(wanted("d")).await, "No service registered for specification");
    supervisor.stop().await;
}

#[tokio::test]
async fn a_failure_is_told_each_time_it_is_asked_for_also_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let store = folder.path().join("supervisor.db");
    let (host, client) = (connection(), connection());
    let supervisor = Running::start(&store).await;
    let url = supervisor.component_url("/register/capability");
    host.register(&url, vec![average().into()]).await.unwrap();
    client.post(&supervisor.client_url(), &wanted("mine").into()).await.unwrap();
    let polled = poll(&host, &supervisor).await;
    let [Message::Specification(forwarded)] = &polled[..] else { panic!("{polled:?}") };
    let exception = Message::from(forwarded.exception("no route"));
    host.deliver(&supervisor.component_url("/register/result"), &exception).await.unwrap();
    supervisor.stop().await;
    for _ in 0..2 {
        let supervisor = Running::start(&store).await;
        for _ in 0..2 {
            let told = redeem(&client, &supervisor, "mine").await;
            assert_eq!((&*text(&told), told.token()), ("no route", Some("mine")));
        }
        supervisor.stop().await;
    }
}

#[tokio::test]
async fn every_one_of_many_specifications_comes_to_its_host_once() {
    let folder = tempfile::tempdir().unwrap();
    let supervisor = Running::start(&folder.path().join("supervisor.db")).await;
    let (host, client) = (Arc::new(connection()), Arc::new(connection()));
    let url = supervisor.component_url("/register/capability");
    host.register(&url, vec![average().into()]).await.unwrap();
    let url = supervisor.client_url();
    let asked = (0..100).map(|number| {
        let (client, url) = (client.clone(), url.clone());
        tokio::spawn(async move {
            let message = Message::from(wanted(&format!("job-{number}")));
            client.post(&url, &message).await.unwrap().kind()
        })
    });
    for asked in asked.collect::<Vec<_>>() {
        assert_eq!(asked.await.unwrap(), Kind::Receipt);
    }
    let polled = poll(&host, &supervisor).await;
    let tokens: std::collections::BTreeSet<&str> =
        polled.iter().filter_map(Message::token).collect();
    assert_eq!((polled.len(), tokens.len()), (100, 100));
    assert_eq!(poll(&host, &supervisor).await, []);
    supervisor.stop().await;
}

#[tokio::test]
async fn a_label_without_digits_and_values_of_zero_and_false_reach_the_host() {
    let folder = tempfile::tempdir().unwrap();
    let supervisor = Running::start(&folder.path().join("supervisor.db")).await;
    let (host, client) = (connection(), connection());
    let capability = Capability::build("ping-average-ip4", "now ... future / 1s")
        .parameter("destination.ip4", "*")
        .parameter("scamper.ping.dport", "0 ... 65535")
        .parameter("scamper.ping.rr", "False,True")
        .result("delay.twoway.icmp.us.min")
        .finish(&Registries::built_in())
        .unwrap();
    let url = supervisor.component_url("/register/capability");
    host.register(&url, vec![capability.clone().into()]).await.unwrap();
    let when = "now + 3s / 1s".parse().unwrap();
    let mut specification = capability.specification("whatever", when);
    let asked = [("destination.ip4", "0.0.0.0"), ("scamper.ping.dport", "0")];
    for (name, value) in asked.into_iter().chain([("scamper.ping.rr", "False")]) {
        specification.set(name, value).unwrap();
    }
    specification.head.token = Some("mine".to_owned());
    let answer = client.post(&supervisor.client_url(), &specification.into()).await.unwrap();
    assert_eq!((answer.kind(), answer.label()), (Kind::Receipt, Some("whatever")));
    let polled = poll(&host, &supervisor).await;
    let [Message::Specification(forwarded)] = &polled[..] else { panic!("{polled:?}") };
    let values = ["destination.ip4", "scamper.ping.dport", "scamper.ping.rr"]
        .map(|name| forwarded.value(name).unwrap().to_string());
    assert_eq!(values, ["0.0.0.0", "0", "False"]);
    supervisor.stop().await;
}

#[tokio::test]
async fn an_absolute_scope_in_the_future_is_relayed_in_all_its_forms() {
    let folder = tempfile::tempdir().unwrap();
    let supervisor = Running::start(&folder.path().join("supervisor.db")).await;
    let (host, client) = (connection(), connection());
    let url = supervisor.component_url("/register/capability");
    host.register(&url, vec![average().into()]).await.unwrap();
    let scopes = [
        "2199-01-01 00:00:00.000000 / 1s",
        "2199-01-01 00:00:00.000000 + 10s / 1s",
        "2199-01-01 00:00:00.000000 ... 2199-01-01 00:00:10.000000 / 1s",
    ];
    for scope in scopes {
        let mut specification = wanted("");
        specification.when = scope.parse().unwrap();
        // As the RI sends it: the receiver computes the token.
        specification.head.token = None;
        let answer = client.post(&supervisor.client_url(), &specification.into()).await.unwrap();
        assert_eq!(text(&answer), "receipt", "{scope}");
    }
    let polled = poll(&host, &supervisor).await;
    let forwarded = polled.iter().map(|message| match message {
        Message::Specification(specification) => specification.when.to_string(),
        other => panic!("{other:?}"),
    });
    assert_eq!(forwarded.collect::<Vec<_>>(), scopes);
    supervisor.stop().await;
}

#[tokio::test]
async fn an_unknown_host_that_polls_gets_the_answer_that_is_configured() {
    let folder = tempfile::tempdir().unwrap();
    let host = connection();
    for (unknown_must_register, expected) in
        [(false, Polled::Messages(Vec::new())), (true, Polled::Register)]
    {
        let store = folder.path().join(format!("{unknown_must_register}.db"));
        let policy = Policy { unknown_must_register, ..Policy::default() };
        let supervisor = Running::with(&store, policy).await;
        let url = supervisor.component_url("/show/specification");
        assert_eq!(host.poll(&url).await.unwrap(), expected);
        supervisor.stop().await;
    }
}

#[tokio::test]
async fn hosts_that_poll_too_often_are_told_when_to_come_again_at_the_end_of_the_envelope() {
    let folder = tempfile::tempdir().unwrap();
    let policy = Policy { polls_per_second: 0.1, ..Policy::default() };
    let supervisor = Running::with(&folder.path().join("supervisor.db"), policy).await;
    let (host, client) = (connection(), connection());
    let callback = Capability::build(sonde_mplane::CALLBACK, "now ... future");
    let callback = callback.finish(&Registries::built_in()).unwrap();
    let url = supervisor.component_url("/register/capability");
    host.register(&url, vec![average().into(), callback.into()]).await.unwrap();
    let offered = client.discover(&supervisor.client_url()).await.unwrap();
    assert_eq!(offered.len(), 1, "callback control is not for clients");
    client.post(&supervisor.client_url(), &wanted("mine").into()).await.unwrap();
    let polled = poll(&host, &supervisor).await;
    let [Message::Specification(work), Message::Specification(last)] = &polled[..] else {
        panic!("{polled:?}")
    };
    assert_eq!(work.head.label(), "ping-average-ip4-0");
    assert_eq!((last.head.label(), &*last.when.to_string()), ("callback", "now + 10s"));
    supervisor.stop().await;
}
