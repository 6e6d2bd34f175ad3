//! Roles over mutual TLS: every identity, every operation, every capability.
//!
//! Checklist of the protocol reference, section 17: line 35 is
//! `nothing_is_allowed_that_no_role_allows` (in `GET /capability/TOKEN` we are stricter than the RI,
//! as the line asks), line 39 `nothing_is_allowed_that_no_role_allows_in_the_seed_form` and the unit
//! tests of `access.rs`.

#![allow(clippy::unwrap_used, reason = "a test ends with a panic")]

mod common;

use std::sync::Arc;

use common::{
    Authority, Oddity, Served, Supervisor, capability, client, registries, specification,
};
use sonde_mplane::{Capability, Message};
use sonde_mplane_http::{
    Access, Client, ClientTls, ComponentPaths, Limits, NOT_PERMITTED, ServerTls, Shared,
    UNKNOWN_JOB, client_port, component_port,
};

const IDENTITIES: [&str; 6] = ["Admin", "Guest", "Both", "Blank", "Roleless", "Stranger"];

/// Labels with a parameter of their own, so that each capability has a schema of its own.
const LABELS: [(&str, &str); 7] = [
    ("ping-average-ip4", "destination.ip4"),
    ("ping-detail-ip4", "destination.port"),
    ("scamper-ping-ip4", "scamper.ping.size"),
    ("trace-standard-ip4", "scamper.trace.maxttl"),
    ("tracelb-standard-ip4", "scamper.tracelb.tos"),
    ("unlisted", "duration.s"),
    ("callback", "period.s"),
];

/// Written out by hand: which labels each identity may use.
const ALLOWED: [(&str, &[&str]); 6] = [
    (
        "Admin",
        &["ping-average-ip4", "ping-detail-ip4", "trace-standard-ip4", "tracelb-standard-ip4"],
    ),
    ("Guest", &["ping-average-ip4", "ping-detail-ip4"]),
    (
        "Both",
        &["ping-average-ip4", "ping-detail-ip4", "trace-standard-ip4", "tracelb-standard-ip4"],
    ),
    ("Blank", &[]),
    ("Roleless", &[]),
    ("Stranger", &[]),
];

/// The same for the seed's form, where `ping` is within `scamper-ping-ip4` and `trace` within both.
const ALLOWED_IN_SEED_FORM: [(&str, &[&str]); 6] = [
    ("Admin", &["ping-average-ip4", "trace-standard-ip4", "tracelb-standard-ip4"]),
    ("Guest", &["ping-detail-ip4", "scamper-ping-ip4"]),
    (
        "Both",
        &[
            "ping-average-ip4",
            "ping-detail-ip4",
            "scamper-ping-ip4",
            "trace-standard-ip4",
            "tracelb-standard-ip4",
        ],
    ),
    ("Blank", &[]),
    ("Roleless", &[]),
    ("Stranger", &[]),
];

fn id(name: &str) -> String {
    format!("org.mplane.Test.Clients.{name}")
}

fn access() -> Access {
    Access::closed()
        .role(&id("Admin"), &["admin"])
        .role(&id("Guest"), &["guest"])
        .role(&id("Both"), &["admin", "guest"])
        .role(&id("Blank"), &[" admin", "guest "])
        .role(&id("Roleless"), &[])
        .authorize("ping-*", &["guest", "admin"])
        .authorize("trace*-standard-ip4", &["admin"])
        .component("org.mplane.Test.Components.*")
}

fn seed_access() -> Access {
    let names: Vec<String> = IDENTITIES.iter().map(|name| id(name)).collect();
    let roles = ["admin", "guest", "admin,guest", " admin,guest ", ""];
    let roles = names.iter().zip(roles).map(|(name, roles)| (name.as_str(), roles));
    Access::seed(roles, [("ping", "guest"), ("ping-average", "admin"), ("trace", "admin")])
}

struct Bench {
    port: Served,
    supervisor: Arc<Supervisor>,
    clients: Vec<(&'static str, Client)>,
    offered: Vec<Capability>,
    _authority: Authority,
}

async fn bench(access: Access) -> Bench {
    let authority = Authority::new();
    let offered: Vec<_> =
        LABELS.iter().map(|(label, parameter)| capability(label, parameter)).collect();
    let supervisor = Supervisor::offering(offered.clone());
    let tls =
        ServerTls::load(authority.issue("Supervisors", "Supervisor", Oddity::default())).unwrap();
    let router = client_port(Arc::clone(&supervisor), registries());
    let port = Served::new(router, Some(tls), Shared::new(access), Limits::default()).await;
    let clients = IDENTITIES.map(|name| {
        let tls = ClientTls::load(authority.issue("Clients", name, Oddity::default())).unwrap();
        (name, client(Some(tls)))
    });
    Bench { port, supervisor, clients: clients.into(), offered, _authority: authority }
}

/// How many of an identity's operations on a capability were let through.
async fn cells(bench: &Bench, name: &str, client: &Client, capability: &Capability) -> Vec<bool> {
    let url = bench.port.url("/");
    let token = format!("{name}-{}", capability.head.label());
    let listed = client.discover(&bench.port.url("/capability")).await.unwrap();
    let listed = listed.iter().any(|found| found.token() == capability.token());
    let shown = client.discover(&url).await.unwrap();
    let shown = shown.iter().any(|found| found.head.label() == capability.head.label());
    let path = format!("/capability/{}", capability.token());
    let fetched =
        client.discover(&bench.port.url(&path)).await.is_ok_and(|found| !found.is_empty());
    let asked = specification(capability, &token);
    let posted = match client.post(&url, &asked.clone().into()).await.unwrap() {
        Message::Receipt(_) => true,
        Message::Exception(exception) => {
            assert_eq!(exception.message, NOT_PERMITTED);
            assert_eq!(exception.token.as_deref(), Some(token.as_str()));
            false
        }
        other => panic!("{other:?}"),
    };
    let mut cells = vec![listed, shown, fetched, posted];
    for message in [asked.reference().redemption(), asked.reference().interrupt()] {
        cells.push(match client.post(&url, &message).await.unwrap() {
            Message::Result(_) | Message::Receipt(_) => true,
            Message::Exception(exception) => {
                assert_eq!(exception.message, UNKNOWN_JOB);
                false
            }
            other => panic!("{other:?}"),
        });
    }
    cells
}

async fn matrix(access: Access, allowed: &[(&str, &[&str])]) {
    let bench = bench(access).await;
    let mut compared = 0;
    for (name, client) in &bench.clients {
        let labels = allowed.iter().find(|(who, _)| who == name).unwrap().1;
        for capability in &bench.offered {
            let label = capability.head.label();
            let expected = labels.contains(&label);
            for (operation, cell) in
                cells(&bench, name, client, capability).await.into_iter().enumerate()
            {
                assert_eq!(cell, expected, "{name} {label} operation {operation}");
                compared += 1;
            }
        }
    }
    assert!(compared >= 200, "{compared} cells");
    let used = bench.supervisor.used.lock().unwrap();
    let granted: usize = allowed.iter().map(|(_, labels)| labels.len()).sum();
    assert_eq!(used.len(), granted, "the handler saw a specification that nobody may send");
}

#[tokio::test]
async fn nothing_is_allowed_that_no_role_allows() {
    matrix(access(), &ALLOWED).await;
}

#[tokio::test]
async fn nothing_is_allowed_that_no_role_allows_in_the_seed_form() {
    matrix(seed_access(), &ALLOWED_IN_SEED_FORM).await;
}

#[tokio::test]
async fn a_job_is_unknown_to_everybody_but_its_owner() {
    let bench = bench(access()).await;
    let url = bench.port.url("/");
    let (_, owner) = &bench.clients[0];
    let asked = specification(&bench.offered[0], "mine");
    assert!(matches!(owner.post(&url, &asked.clone().into()).await.unwrap(), Message::Receipt(_)));
    for (name, other) in &bench.clients[1..] {
        for message in [asked.reference().redemption(), asked.reference().interrupt()] {
            let answer = other.post(&url, &message).await.unwrap();
            let Message::Exception(exception) = answer else { panic!("{name}: {answer:?}") };
            assert_eq!(exception.message, UNKNOWN_JOB, "{name}");
        }
    }
    let answer = owner.post(&url, &asked.reference().redemption()).await.unwrap();
    assert!(matches!(answer, Message::Result(_)));
}

#[tokio::test]
async fn a_change_of_roles_holds_for_the_next_request() {
    let authority = Authority::new();
    let offered = capability("ping-average-ip4", "destination.ip4");
    let supervisor = Supervisor::offering(vec![offered.clone()]);
    let tls =
        ServerTls::load(authority.issue("Supervisors", "Supervisor", Oddity::default())).unwrap();
    let shared = Shared::new(Access::closed());
    let router = client_port(Arc::clone(&supervisor), registries());
    let port = Served::new(router, Some(tls), Arc::clone(&shared), Limits::default()).await;
    let tls = ClientTls::load(authority.issue("Clients", "Guest", Oddity::default())).unwrap();
    let client = client(Some(tls));
    assert!(client.discover(&port.url("/")).await.unwrap().is_empty());
    shared.set(access());
    assert_eq!(client.discover(&port.url("/")).await.unwrap(), [offered]);
}

#[tokio::test]
async fn only_components_may_register_poll_and_deliver() {
    let authority = Authority::new();
    let supervisor = Supervisor::offering(Vec::new());
    let tls =
        ServerTls::load(authority.issue("Supervisors", "Supervisor", Oddity::default())).unwrap();
    let router = component_port(Arc::clone(&supervisor), registries(), ComponentPaths::default());
    let port = Served::new(router, Some(tls), Shared::new(access()), Limits::default()).await;
    for (unit, expected) in [("Components", true), ("Clients", false)] {
        let tls = ClientTls::load(authority.issue(unit, "One", Oddity::default())).unwrap();
        let client = client(Some(tls));
        let offered = capability("ping-average-ip4", "destination.ip4");
        let exception = specification(&offered, "t").exception("x");
        let registered =
            client.register(&port.url("/register/capability"), vec![offered.into()]).await;
        assert_eq!(registered.is_ok(), expected, "{unit}");
        assert_eq!(client.poll(&port.url("/show/specification")).await.is_ok(), expected, "{unit}");
        let delivered = client.deliver(&port.url("/register/result"), &exception.into()).await;
        assert_eq!(delivered.is_ok(), expected, "{unit}");
    }
    let registered = supervisor.registered.lock().unwrap();
    let who: Vec<_> = registered.iter().map(|(identity, _)| identity.as_str()).collect();
    assert_eq!(who, ["org.mplane.Test.Components.One"]);
}
