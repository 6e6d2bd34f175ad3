//! A supervisor below another one: client, upper supervisor, lower supervisor, host, over real connections.
#![allow(clippy::unwrap_used, reason = "a test ends with a panic")]

mod common;

use std::{future::Future, path::Path, sync::Arc, time::Duration};

use common::{Running, average, average_from, clock, connection, poll, redeem, text, wanted};
use sonde_mplane::{Capability, Kind, Message, Outcome, Reference, Registries, When};
use sonde_mplane_http::{
    Access, Attendance, Client, ComponentPaths, Shared, SupervisorAddress, Timeouts,
};
use sonde_supervisor::{
    above::{Below, count_changes},
    service::Policy,
};
use tokio::{sync::watch, task::JoinHandle};

const TOP: &str = "top";
/// For what another task does meanwhile.
const PATIENCE: Duration = Duration::from_secs(60);

/// A supervisor that registers with another one.
struct Lower {
    running: Running,
    stop: watch::Sender<bool>,
    attends: JoinHandle<()>,
}

impl Lower {
    async fn start(store: &Path, upper: &str) -> Self {
        Self::with(store, upper, Policy::default()).await
    }

    /// `upper`: where the other one has its port for hosts.
    async fn with(store: &Path, upper: &str, policy: Policy) -> Self {
        let policy = Policy { above: vec![TOP.into()], ..policy };
        Self::attending(Running::with(store, policy).await, upper)
    }

    fn attending(running: Running, upper: &str) -> Self {
        let registries = Shared::new(Registries::built_in());
        let client = Client::new(None, Arc::clone(&registries), Timeouts::default()).unwrap();
        let (stop, stopped) = watch::channel(false);
        let changes = watch::Sender::new(0);
        let paths = ComponentPaths::default();
        let poll = Duration::from_millis(20);
        let access = Shared::new(Access::open());
        let attendance = Attendance {
            supervisor: SupervisorAddress::new(TOP, upper, &paths, poll),
            client: Arc::new(client),
            registrant: Arc::new(Below::new(Arc::clone(&running.service), access)),
            registries,
            changes: changes.subscribe(),
            ends: running.service.ends_of(TOP),
            clock,
            stop: stopped,
        };
        tokio::spawn(count_changes(Arc::downgrade(&running.service), changes));
        let attends = tokio::spawn(attendance.run());
        Self { running, stop, attends }
    }

    async fn stop(self) {
        self.stop.send(true).unwrap();
        self.attends.await.unwrap();
        self.running.stop().await;
    }
}

/// What comes out sooner or later.
async fn until<T, F: Future<Output = Option<T>>>(mut look: impl FnMut() -> F) -> T {
    let look = async {
        loop {
            if let Some(found) = look().await {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, look).await.expect("it never comes")
}

/// Labels that a supervisor lists, once they are these.
async fn until_listed(supervisor: &Running, labels: &[&str]) -> Vec<Capability> {
    let client = connection();
    let (client, url) = (&client, supervisor.client_url());
    let url = &url;
    until(|| async move {
        let offered = client.discover(url).await.unwrap();
        offered.iter().map(|it| it.head.label()).eq(labels.iter().copied()).then_some(offered)
    })
    .await
}

/// What a host is told next.
async fn next(host: &Client, supervisor: &Running) -> Message {
    let mut messages = until(|| async move {
        let messages = poll(host, supervisor).await;
        (!messages.is_empty()).then_some(messages)
    })
    .await;
    assert_eq!(messages.len(), 1, "{messages:?}");
    messages.remove(0)
}

/// What a client gets, once it is more than a receipt.
async fn outcome(client: &Client, supervisor: &Running, token: &str) -> Message {
    until(|| async move {
        let answer = redeem(client, supervisor, token).await;
        (answer.kind() != Kind::Receipt).then_some(answer)
    })
    .await
}

async fn register(host: &Client, supervisor: &Running, messages: Vec<Message>) {
    host.register(&supervisor.component_url("/register/capability"), messages).await.unwrap();
}

async fn deliver(host: &Client, supervisor: &Running, message: Message) {
    host.deliver(&supervisor.component_url("/register/result"), &message).await.unwrap();
}

fn http(supervisor: &Running) -> String {
    supervisor.component_url("")
}

#[tokio::test]
async fn a_measurement_goes_through_both_supervisors_and_back_and_survives_a_restart_of_the_lower()
{
    let folder = tempfile::tempdir().unwrap();
    let (host, client) = (connection(), connection());
    let store = folder.path().join("lower.db");
    let upper = Running::start(&folder.path().join("upper.db")).await;
    let lower = Lower::start(&store, &http(&upper)).await;
    register(&host, &lower.running, vec![average().into()]).await;
    let offered = until_listed(&upper, &["ping-average-ip4"]).await;
    assert_eq!(offered[0].token(), average().token());
    assert_eq!(
        offered[0].via,
        [http(&lower.running), http(&upper)].map(|it| it + "/register/result")
    );

    let answer = client.post(&upper.client_url(), &wanted("mine").into()).await.unwrap();
    assert_eq!(answer.kind(), Kind::Receipt);
    let Message::Specification(work) = next(&host, &lower.running).await else { panic!("no work") };
    assert_eq!(work.value("destination.ip4").unwrap().to_string(), "198.51.100.9");
    lower.stop().await;

    // The host was told, and brings what it has to who is there.
    let lower = Lower::start(&store, &http(&upper)).await;
    deliver(&host, &lower.running, work.receipt()).await;
    deliver(&host, &lower.running, work.result(When::measured(clock(), clock()), vec![]).into())
        .await;
    let result = outcome(&client, &upper, "mine").await;
    assert_eq!((result.kind(), result.token()), (Kind::Result, Some("mine")));
    assert_eq!(result.label(), Some("ping-average-ip4-0"));
    lower.stop().await;

    // What was brought is not brought again.
    let lower = Lower::start(&store, &http(&upper)).await;
    assert_eq!(lower.running.service.unfinished(), 0);
    assert_eq!(text(&redeem(&client, &upper, "mine").await), "Unknown job");
    lower.stop().await;
    upper.stop().await;
}

#[tokio::test]
async fn an_interrupt_and_an_exception_find_their_way_through_both_supervisors() {
    let folder = tempfile::tempdir().unwrap();
    let (host, client) = (connection(), connection());
    let upper = Running::start(&folder.path().join("upper.db")).await;
    let lower = Lower::start(&folder.path().join("lower.db"), &http(&upper)).await;
    register(&host, &lower.running, vec![average().into()]).await;
    until_listed(&upper, &["ping-average-ip4"]).await;

    client.post(&upper.client_url(), &wanted("long").into()).await.unwrap();
    let Message::Specification(work) = next(&host, &lower.running).await else { panic!("no work") };
    deliver(&host, &lower.running, work.receipt()).await;
    let interrupt = Message::Interrupt(Reference::to_token("measure", "long"));
    let answer = client.post(&upper.client_url(), &interrupt).await.unwrap();
    assert_eq!(answer.kind(), Kind::Receipt);
    let interrupt = next(&host, &lower.running).await;
    assert_eq!((interrupt.kind(), interrupt.token()), (Kind::Interrupt, Some(&*work.token())));
    let exception = work.exception("no route to the destination");
    deliver(&host, &lower.running, exception.into()).await;
    assert_eq!(text(&outcome(&client, &upper, "long").await), "no route to the destination");
    lower.stop().await;
    upper.stop().await;
}

#[tokio::test]
async fn what_hosts_take_back_or_leave_in_silence_is_taken_back_above() {
    let folder = tempfile::tempdir().unwrap();
    let (host, client) = (connection(), connection());
    let upper = Running::start(&folder.path().join("upper.db")).await;
    let expiry = Some(Duration::from_secs(5));
    let policy = Policy { expiry, ..Policy::default() };
    let lower = Lower::with(&folder.path().join("lower.db"), &http(&upper), policy).await;
    let other = average_from("192.0.2.2");
    register(&host, &lower.running, vec![average().into(), other.clone().into()]).await;
    let identity = "Identity.Unauthenticated.Default";
    let second = format!("ping-average-ip4@{identity}");
    until_listed(&upper, &["ping-average-ip4", &second]).await;
    // The host is not heard of any more after this.
    register(&host, &lower.running, vec![average().withdrawal()]).await;
    until_listed(&upper, &[&second]).await;
    until_listed(&upper, &[]).await;
    let mut wanted = other.specification("ping-average-ip4-0", "now + 3s / 1s".parse().unwrap());
    wanted.set("destination.ip4", "198.51.100.9").unwrap();
    let answer = client.post(&upper.client_url(), &wanted.into()).await.unwrap();
    assert_eq!(text(&answer), "No service registered for specification");
    poll(&host, &lower.running).await;
    until_listed(&upper, &[&second]).await;
    lower.stop().await;
    upper.stop().await;
}

#[tokio::test]
async fn supervisors_that_register_with_each_other_do_not_pass_capabilities_in_a_circle() {
    let folder = tempfile::tempdir().unwrap();
    let host = connection();
    let policy = || Policy { above: vec![TOP.into()], ..Policy::default() };
    let first = Running::with(&folder.path().join("first.db"), policy()).await;
    let second = Running::with(&folder.path().join("second.db"), policy()).await;
    let [to_first, to_second] = [&first, &second].map(http);
    let url = first.component_url("/register/capability");
    let mut circle = average_from("192.0.2.3");
    circle.via =
        vec![format!("{to_second}/register/result"), format!("{to_first}/register/result")];
    let refused = host.register(&url, vec![circle.into()]).await.unwrap();
    let Some(Outcome::Refused { reason }) = refused.get("ping-average-ip4") else {
        panic!("{refused:?}")
    };
    assert!(reason.starts_with("it came through this supervisor"), "{reason}");

    let first = Lower::attending(first, &to_second);
    let second = Lower::attending(second, &to_first);
    register(&host, &first.running, vec![average().into()]).await;
    until_listed(&second.running, &["ping-average-ip4"]).await;
    register(&host, &second.running, vec![average_from("192.0.2.2").into()]).await;
    // Both have both: what each offers is registered with the other one, and not again with itself.
    let both = |offered: &[Capability]| {
        let mut sources: Vec<String> = offered
            .iter()
            .map(|it| it.parameter("source.ip4").unwrap().constraint.to_string())
            .collect();
        sources.sort();
        sources == ["192.0.2.1", "192.0.2.2"]
    };
    let client = connection();
    for supervisor in [&first.running, &second.running] {
        let (client, url) = (&client, &supervisor.client_url());
        until(|| async move { both(&client.discover(url).await.unwrap()).then_some(()) }).await;
    }
    first.stop().await;
    second.stop().await;
}
