//! Certificates: whose are accepted, who they make a peer, and what a reload does.
//!
//! Checklist of the protocol reference, section 17: line 20 is
//! `the_identity_is_the_dotted_subject`, line 28 `two_components_with_the_same_capability_are_told_apart`,
//! line 40 `a_connection_that_closes_after_its_handshake_is_no_request`.

#![allow(clippy::unwrap_used, reason = "a test ends with a panic")]

mod common;

use std::sync::Arc;

use common::{
    Authority, Oddity, Served, Supervisor, capability, client, registries, specification,
};
use sonde_mplane_http::{
    Access, ClientError, ClientTls, ComponentPaths, Limits, ServerTls, Shared, TlsError, TlsFiles,
    component_port,
};

/// A component port that lets every certificate in.
async fn components(supervisor: &Arc<Supervisor>, tls: Arc<ServerTls>) -> Served {
    let router = component_port(Arc::clone(supervisor), registries(), ComponentPaths::default());
    let access = Shared::new(Access::closed().component("*"));
    Served::new(router, Some(tls), access, Limits::default()).await
}

fn server(authority: &Authority, oddity: Oddity) -> Arc<ServerTls> {
    ServerTls::load(authority.issue("Supervisors", "Supervisor", oddity)).unwrap()
}

async fn poll(port: &Served, files: TlsFiles) -> Result<(), ClientError> {
    let client = client(Some(ClientTls::load(files).unwrap()));
    client.poll(&port.url("/show/specification")).await.map(drop)
}

#[tokio::test]
async fn the_identity_is_the_dotted_subject() {
    let authority = Authority::new();
    let supervisor = Supervisor::offering(Vec::new());
    let port = components(&supervisor, server(&authority, Oddity::default())).await;
    let files = authority.issue("Components", "Component-1", Oddity::default());
    let client = client(Some(ClientTls::load(files).unwrap()));
    let receipt = specification(&capability("x", "destination.ip4"), "t").receipt();
    client.deliver(&port.url("/register/result"), &receipt).await.unwrap();
    let deliverer = supervisor.delivered.lock().unwrap()[0].0.clone();
    assert_eq!(deliverer.as_str(), "org.mplane.Test.Components.Component-1");
    let server = client.identify(&port.url("/")).await.unwrap();
    assert_eq!(server.as_str(), "org.mplane.Test.Supervisors.Supervisor");
}

#[tokio::test]
async fn expired_foreign_and_missing_client_certificates_are_refused() {
    let authority = Authority::new();
    let foreign = Authority::new();
    let supervisor = Supervisor::offering(Vec::new());
    let port = components(&supervisor, server(&authority, Oddity::default())).await;
    let good = authority.issue("Components", "Good", Oddity::default());
    assert!(poll(&port, good.clone()).await.is_ok());
    let expired = Oddity { expired: true, ..Oddity::default() };
    let expired = authority.issue("Components", "Expired", expired);
    assert!(matches!(poll(&port, expired).await, Err(ClientError::Connection { .. })));
    let mut stranger = foreign.issue("Components", "Good", Oddity::default());
    stranger.authority = good.authority.clone();
    assert!(matches!(poll(&port, stranger).await, Err(ClientError::Connection { .. })));
    let plain = client(None).poll(&port.url("/show/specification")).await;
    assert!(matches!(plain, Err(ClientError::Connection { .. })), "{plain:?}");
}

#[tokio::test]
async fn expired_foreign_and_wrongly_named_servers_are_refused() {
    let authority = Authority::new();
    let foreign = Authority::new();
    let supervisor = Supervisor::offering(Vec::new());
    let good = || authority.issue("Components", "Good", Oddity::default());
    for (what, tls) in [
        ("expired", server(&authority, Oddity { expired: true, ..Oddity::default() })),
        (
            "wrong name",
            server(&authority, Oddity { host: Some("elsewhere.example.net"), ..Oddity::default() }),
        ),
        ("wrong authority", server(&foreign, Oddity::default())),
    ] {
        let port = components(&supervisor, tls).await;
        let refused = poll(&port, good()).await;
        assert!(matches!(refused, Err(ClientError::Connection { .. })), "{what}: {refused:?}");
        let client = client(Some(ClientTls::load(good()).unwrap()));
        assert!(client.identify(&port.url("/")).await.is_err(), "{what}");
    }
    let port = components(&supervisor, server(&authority, Oddity::default())).await;
    assert!(poll(&port, good()).await.is_ok());
}

#[tokio::test]
async fn two_components_with_the_same_capability_are_told_apart() {
    let authority = Authority::new();
    let supervisor = Supervisor::offering(Vec::new());
    let port = components(&supervisor, server(&authority, Oddity::default())).await;
    for name in ["Component-1", "Component-2"] {
        let files = authority.issue("Components", name, Oddity::default());
        let client = client(Some(ClientTls::load(files).unwrap()));
        let offered = capability("ping-ip4", "destination.ip4");
        client.register(&port.url("/register/capability"), vec![offered.into()]).await.unwrap();
    }
    let registered = supervisor.registered.lock().unwrap();
    assert_eq!(registered[0].1, registered[1].1);
    assert_ne!(registered[0].0, registered[1].0);
}

#[tokio::test]
async fn a_connection_that_closes_after_its_handshake_is_no_request() {
    let authority = Authority::new();
    let supervisor = Supervisor::offering(Vec::new());
    let port = components(&supervisor, server(&authority, Oddity::default())).await;
    let files = authority.issue("Components", "Component-1", Oddity::default());
    let client = client(Some(ClientTls::load(files).unwrap()));
    for _ in 0..5 {
        client.identify(&port.url("/")).await.unwrap();
    }
    assert!(client.poll(&port.url("/show/specification")).await.is_ok());
    assert!(supervisor.registered.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_reload_changes_the_certificate_of_new_connections_and_breaks_none() {
    let authority = Authority::new();
    let supervisor = Supervisor::offering(Vec::new());
    let tls = server(&authority, Oddity::default());
    let port = components(&supervisor, Arc::clone(&tls)).await;
    let files = authority.issue("Components", "Component-1", Oddity::default());
    let client = client(Some(ClientTls::load(files).unwrap()));
    let (poll, before) = (port.url("/show/specification"), port.url("/"));
    assert!(client.poll(&poll).await.is_ok());

    authority.issue_as("Supervisors", "Renewed", "Supervisor", Oddity::default());
    tls.reload().unwrap();
    assert!(client.poll(&poll).await.is_ok(), "the connection goes on");
    let renewed = client.identify(&before).await.unwrap();
    assert_eq!(renewed.as_str(), "org.mplane.Test.Supervisors.Renewed");

    let certificate = authority.directory.path().join("Supervisor.crt");
    std::fs::write(&certificate, "nothing").unwrap();
    let error = tls.reload().unwrap_err();
    assert!(matches!(&error, TlsError::Empty { file } if *file == certificate), "{error}");
    assert_eq!(client.identify(&before).await.unwrap(), renewed);
}

#[tokio::test]
async fn a_certificate_with_another_key_is_refused_at_once() {
    let authority = Authority::new();
    let mut files = authority.issue("Components", "One", Oddity::default());
    files.key = authority.issue("Components", "Two", Oddity::default()).key;
    let error = ServerTls::load(files.clone()).unwrap_err();
    assert!(matches!(error, TlsError::Pair { .. }), "{error}");
    files.key = "/nonexistent/key".into();
    let error = ClientTls::load(files).unwrap_err();
    assert!(error.to_string().starts_with("/nonexistent/key: "), "{error}");
}

#[test]
fn a_certificate_that_is_out_of_its_time_is_told() {
    let authority = Authority::new();
    let files = |expired| {
        let oddity = Oddity { expired, ..Oddity::default() };
        authority.issue("Components", "Component-1", oddity)
    };
    assert_eq!(files(false).warnings(), [""; 0]);
    let warnings = files(true).warnings();
    let [warning] = &warnings[..] else { panic!("{warnings:?}") };
    assert!(warning.contains("Component-1.crt: ") && warning.ends_with(", not now"), "{warning}");
    let other = authority.issue("Components", "Component-2", Oddity::default());
    let leaf = TlsFiles { authority: other.certificate, ..files(false) };
    let warnings = leaf.warnings();
    let [warning] = &warnings[..] else { panic!("{warnings:?}") };
    assert!(warning.ends_with(": it is none of an authority"), "{warning}");
}
