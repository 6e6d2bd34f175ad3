//! Both ports over plain HTTP: paths, media types, status, discovery, and what a person sees.
//!
//! Checklist of the protocol reference, section 17:
//!
//! | line | test |
//! |---|---|
//! | 11, 24 | `a_registration_is_answered_with_the_outcome_of_each_label` |
//! | 13, 31 | `a_client_discovers_asks_redeems_and_interrupts` |
//! | 18 | `a_poll_gets_an_envelope_empty_when_idle` |
//! | 22, 29 | `a_component_that_is_not_known_is_told_with_428` |
//! | 34 | `an_exception_comes_with_status_200` |
//! | 36 | `media_types_are_exact_and_pages_are_html` |
//! | 37 | `a_token_of_no_job_is_unknown` |
//!
//! Lines 35 and 39 are in `roles.rs`, 20, 28 and 40 in `tls.rs`.

#![allow(clippy::unwrap_used, reason = "a test ends with a panic")]

mod common;

use std::sync::Arc;

use common::{Served, Supervisor, capability, client, specification};
use sonde_mplane::{
    Capability, Envelope, MEDIA_TYPE, Message, Outcome, Outcomes, Reference, Registries, Time,
    Value, When,
};
use sonde_mplane_http::{
    ClientError, Identity, Limits, NO_SERVICE, Polled, UNEXPECTED_TYPE, UNKNOWN_JOB,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// One exchange by hand; the reply as text.
async fn exchange(address: std::net::SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut reply = String::new();
    stream.read_to_string(&mut reply).await.unwrap();
    reply
}

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
}

fn post(path: &str, media_type: &str, body: &str) -> String {
    format!(
        "POST {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\ncontent-type: {media_type}\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

fn status(reply: &str) -> u16 {
    reply.split(' ').nth(1).unwrap().parse().unwrap()
}

fn media_type(reply: &str) -> String {
    let line = reply.lines().find(|line| line.to_ascii_lowercase().starts_with("content-type:"));
    line.map_or_else(String::new, |line| line[13..].trim().to_owned())
}

fn body(reply: &str) -> &str {
    reply.split_once("\r\n\r\n").unwrap().1
}

fn message(reply: &str) -> Message {
    assert_eq!((status(reply), media_type(reply).as_str()), (200, "application/x-mplane+json"));
    Message::from_json(body(reply).as_bytes(), &Registries::built_in()).unwrap()
}

fn text(message: &Message) -> &str {
    match message {
        Message::Exception(exception) => &exception.message,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_client_discovers_asks_redeems_and_interrupts() {
    let offered = vec![capability("ping-ip4", "destination.ip4"), capability("odd", "source.port")];
    let supervisor = Supervisor::offering(offered.clone());
    let port = Served::clients(&supervisor, Limits::default()).await;
    let client = client(None);
    for first in ["/", "/capability"] {
        let found = client.discover(&port.url(first)).await.unwrap();
        let tokens: Vec<_> = found.iter().map(Capability::token).collect();
        assert_eq!(tokens, [offered[0].token(), offered[1].token()], "from {first}");
    }
    let url = port.url("/");
    let asked = specification(&offered[0], "t-1");
    let receipt = client.post(&url, &asked.clone().into()).await.unwrap();
    assert_eq!(receipt, asked.receipt());
    let short = Reference::to_token("measure", "t-1");
    let interrupted = client.post(&url, &short.interrupt()).await.unwrap();
    assert_eq!(interrupted, asked.receipt());
    let Message::Result(result) = client.post(&url, &short.redemption()).await.unwrap() else {
        panic!("no result")
    };
    assert_eq!(result.head.label(), "s-0");
    assert_eq!(result.rows[0][0].as_u64(), Some(412));
}

#[tokio::test]
async fn media_types_are_exact_and_pages_are_html() {
    let offered = capability("a<b>&'c", "destination.ip4");
    let supervisor = Supervisor::offering(vec![offered.clone()]);
    let port = Served::clients(&supervisor, Limits::default()).await;
    for path in ["/", "/capability", "/capability/"] {
        let reply = exchange(port.address, &get(path)).await;
        assert_eq!((status(&reply), media_type(&reply).as_str()), (200, "text/html"), "{path}");
        assert!(!reply.contains("a<b>"), "labels are escaped: {reply}");
    }
    let page = exchange(port.address, &get("/")).await;
    assert!(page.contains("<a href='/capability'>"), "{page}");
    assert!(page.contains("a&lt;b&gt;&amp;&#39;c") && page.contains("destination.ip4"), "{page}");
    let link = format!("/capability/{}", offered.token());
    assert!(
        exchange(port.address, &get("/capability")).await.contains(&format!("<a href='{link}'>"))
    );
    assert_eq!(message(&exchange(port.address, &get(&link)).await), offered.into());

    let asked = Message::from(specification(&capability("x", "destination.ip4"), "t")).to_json();
    let exact = exchange(port.address, &post("/", "application/x-mplane+json", &asked)).await;
    assert!(matches!(message(&exact), Message::Receipt(_)));
    let suffixed = post("/", "application/x-mplane+json; charset=utf-8", &asked);
    let suffixed = exchange(port.address, &suffixed).await;
    assert_eq!((status(&suffixed), media_type(&suffixed).as_str()), (415, "text/plain"));
}

#[tokio::test]
async fn an_exception_comes_with_status_200() {
    let supervisor = Supervisor::offering(vec![capability("ping-ip4", "destination.ip4")]);
    let port = Served::clients(&supervisor, Limits::default()).await;
    let send = async |body: &str| {
        message(&exchange(port.address, &post("/", "application/x-mplane+json", body)).await)
    };
    let foreign = Message::from(specification(&capability("odd", "source.port"), "t-9")).to_json();
    let answer = send(&foreign).await;
    assert_eq!((answer.token(), text(&answer)), (Some("t-9"), NO_SERVICE));
    let envelope = r#"{"envelope":"message","contents":[]}"#;
    assert_eq!(text(&send(envelope).await), UNEXPECTED_TYPE);
    let broken = send(r#"{"redemption":"measure","token":5}"#).await;
    assert_eq!((broken.token(), text(&broken)), (None, "token: is number, accepted: string"));
    assert!(text(&send("{").await).starts_with("message: no JSON"));
}

#[tokio::test]
async fn a_token_of_no_job_is_unknown() {
    let supervisor = Supervisor::offering(Vec::new());
    let port = Served::clients(&supervisor, Limits::default()).await;
    let client = client(None);
    let none = Reference::to_token("measure", "nothing");
    for asked in [none.redemption(), none.interrupt()] {
        let answer = client.post(&port.url("/"), &asked).await.unwrap();
        assert_eq!((answer.token(), text(&answer)), (Some("nothing"), UNKNOWN_JOB));
    }
}

#[tokio::test]
async fn a_wrong_path_or_method_is_answered_in_words() {
    let supervisor = Supervisor::offering(Vec::new());
    let port = Served::clients(&supervisor, Limits::default()).await;
    for (request, expected) in [
        (get("/nowhere"), 404),
        (get("/capability/nothing"), 404),
        (post("/capability", "application/x-mplane+json", "{}"), 405),
    ] {
        assert_eq!(status(&exchange(port.address, &request).await), expected, "{request}");
    }
    let reply = exchange(port.address, &get("/capability/nothing")).await;
    assert_eq!(body(&reply), "no capability with this token\n");
}

#[tokio::test]
async fn a_registration_is_answered_with_the_outcome_of_each_label() {
    let supervisor = Supervisor::offering(Vec::new());
    let port = Served::components(&supervisor).await;
    let client = client(None);
    let offered = capability("ping-ip4", "destination.ip4");
    for path in ["/register/capability", "/register/capability/"] {
        let messages = vec![offered.clone().into(), capability("odd", "source.port").into()];
        let outcomes = client.register(&port.url(path), messages).await.unwrap();
        assert_eq!(outcomes.get("ping-ip4"), Some(&Outcome::Registered));
        assert_eq!(outcomes.get("odd"), Some(&Outcome::Registered));
    }
    let withdrawn = client
        .register(&port.url("/register/capability"), vec![offered.withdrawal()])
        .await
        .unwrap();
    let reason = "Withdrawn".to_owned();
    assert_eq!(withdrawn.get("ping-ip4"), Some(&Outcome::Refused { reason }));
    let bare = Message::from(offered).to_json();
    let bare = post("/register/capability", "application/x-mplane+json", &bare);
    assert_eq!(status(&exchange(port.address, &bare).await), 200);
    let typed = exchange(port.address, &post("/register/capability", "text/plain", "x")).await;
    assert_eq!((status(&typed), body(&typed)), (400, "Invalid format\n"));
    let page = exchange(port.address, &get("/")).await;
    assert!(media_type(&page) == "text/html" && page.contains("/show/specification"), "{page}");
}

#[tokio::test]
async fn a_capability_that_cannot_be_read_costs_a_component_no_other() {
    let supervisor = Supervisor::offering(Vec::new());
    let port = Served::components(&supervisor).await;
    let labels = ["first", "strange", "last"];
    let contents = labels.map(|label| capability(label, "source.port").into()).to_vec();
    let envelope = Message::Envelope(Envelope { contents, ..Envelope::default() }).to_json();
    let at = envelope.find("\"strange\"").unwrap();
    let (before, behind) = envelope.split_at(at);
    let envelope = before.to_owned() + &behind.replacen("source.port", "source.harbour", 1);
    let request = post("/register/capability", MEDIA_TYPE, &envelope);
    let reply = exchange(port.address, &request).await;
    assert_eq!(status(&reply), 200, "{reply}");
    let outcomes = Outcomes::from_json(body(&reply).as_bytes()).unwrap();
    assert_eq!(["first", "last"].map(|it| outcomes.get(it)), [Some(&Outcome::Registered); 2]);
    let refused = outcomes.get("strange");
    assert!(
        matches!(refused, Some(Outcome::Refused { reason }) if reason.contains("source.harbour")),
        "{refused:?}"
    );
}

#[tokio::test]
async fn a_poll_gets_an_envelope_empty_when_idle() {
    let supervisor = Supervisor::offering(Vec::new());
    let port = Served::components(&supervisor).await;
    let client = client(None);
    let url = port.url("/show/specification");
    assert_eq!(client.poll(&url).await.unwrap(), Polled::Messages(Vec::new()));
    let reply = exchange(port.address, &get("/show/specification")).await;
    assert_eq!(
        body(&reply).replace(['\n', ' '], ""),
        r#"{"contents":[],"envelope":"message","version":1}"#
    );
    let offered = capability("ping-ip4", "destination.ip4");
    let work: Vec<Message> = vec![
        specification(&offered, "a").into(),
        specification(&offered, "b").into(),
        specification(&offered, "a").reference().interrupt(),
    ];
    supervisor.work.lock().unwrap().clone_from(&work);
    let work = work.into_iter().map(Ok).collect();
    assert_eq!(client.poll(&url).await.unwrap(), Polled::Messages(work));
}

#[tokio::test]
async fn a_component_that_is_not_known_is_told_with_428() {
    let supervisor = Supervisor::offering(Vec::new());
    *supervisor.knows_nobody.lock().unwrap() = true;
    let port = Served::components(&supervisor).await;
    let polled = client(None).poll(&port.url("/show/specification")).await.unwrap();
    assert_eq!(polled, Polled::Register);
    let reply = exchange(port.address, &get("/show/specification")).await;
    assert_eq!((status(&reply), media_type(&reply).as_str()), (428, "text/plain"));
    assert_eq!(body(&reply), "not registered\n");
}

#[tokio::test]
async fn results_are_taken_whole_or_left_with_the_component() {
    let supervisor = Supervisor::offering(Vec::new());
    let port = Served::components(&supervisor).await;
    let client = client(None);
    let url = port.url("/register/result");
    let asked = specification(&capability("ping-ip4", "destination.ip4"), "t");
    client.deliver(&url, &asked.receipt()).await.unwrap();
    client.deliver(&url, &asked.exception("no route").into()).await.unwrap();
    let taken: Vec<_> =
        supervisor.delivered.lock().unwrap().iter().map(|(_, it)| it.kind()).collect();
    assert_eq!(taken, [sonde_mplane::Kind::Receipt, sonde_mplane::Kind::Exception]);
    let later = client.deliver(&url, &asked.exception("later").into()).await.unwrap_err();
    assert!(
        matches!(&later, ClientError::Status { status: 503, reason, .. } if reason == "the disk is full")
    );
    let wrong = client.deliver(&url, &asked.into()).await.unwrap_err();
    assert!(matches!(wrong, ClientError::Status { status: 400, .. }), "{wrong}");
}

#[tokio::test]
async fn what_is_wrong_with_a_specification_is_said_under_its_token() {
    let port = Served::clients(&Supervisor::offering(Vec::new()), Limits::default()).await;
    let asked = specification(&capability("ping", "destination.ip4"), "t1");
    let wrong = Message::from(asked).to_json().replace("198.51.100.7", "nowhere");
    let reply = exchange(port.address, &post("/", MEDIA_TYPE, &wrong)).await;
    let said = Message::from_json(body(&reply).as_bytes(), &Registries::built_in()).unwrap();
    let Message::Exception(exception) = said else { panic!("{reply}") };
    assert_eq!(exception.token.as_deref(), Some("t1"));
    assert!(exception.message.contains("nowhere"), "{}", exception.message);
}

#[tokio::test]
async fn a_result_that_cannot_be_read_ends_its_job_and_says_why() {
    let supervisor = Supervisor::offering(Vec::new());
    let port = Served::components(&supervisor).await;
    let asked = specification(&capability("ping", "destination.ip4"), "t1");
    let time = |text: &str| text.parse::<Time>().unwrap();
    let when = When::measured(time("2026-01-02 10:00"), time("2026-01-02 10:01"));
    let result = Message::from(asked.result(when, vec![vec![Value::from(412_u64)]])).to_json();
    let mut said = Vec::new();
    for (from, to) in [("\"412\"", "\"many\""), ("\"t1\"", "1"), ("{", "x")] {
        let wrong = post("/register/result", MEDIA_TYPE, &result.replacen(from, to, 1));
        said.push(status(&exchange(port.address, &wrong).await));
    }
    let receipt = asked.receipt().to_json().replace("198.51.100.7", "nowhere");
    let receipt = post("/register/result", MEDIA_TYPE, &receipt);
    said.push(status(&exchange(port.address, &receipt).await));
    assert_eq!(said, [200, 400, 400, 400]);
    let delivered = supervisor.delivered.lock().unwrap();
    let [(_, Message::Exception(exception))] = &delivered[..] else { panic!("{delivered:?}") };
    assert_eq!(exception.token.as_deref(), Some("t1"));
    assert!(exception.message.contains("many"), "{}", exception.message);
}

#[tokio::test]
async fn the_client_takes_nothing_but_messages_and_never_sends_in_the_clear_by_mistake() {
    let supervisor = Supervisor::offering(Vec::new());
    let port = Served::clients(&supervisor, Limits::default()).await;
    let client = client(None);
    let page = client.poll(&port.url("/")).await.unwrap_err();
    assert!(matches!(page, ClientError::MediaType { .. }), "{page}");
    assert!(matches!(client.url("https://192.0.2.1/"), Err(ClientError::Scheme { .. })));
    for url in ["", "ftp://192.0.2.1/", "http://", "::"] {
        assert!(client.url(url).is_err(), "{url}");
    }
    let nobody = Arc::new(tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap());
    let address = nobody.local_addr().unwrap();
    drop(nobody);
    let gone = client.discover(&address.to_string()).await.unwrap_err();
    assert!(matches!(gone, ClientError::Connection { .. }), "{gone}");
}

#[tokio::test]
async fn a_page_of_a_proxy_acknowledges_no_result() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/register/result", listener.local_addr().unwrap());
    let receipt = specification(&capability("ping", "destination.ip4"), "t1").receipt();
    let client = client(None);
    for (body, is_taken) in [("<html>login</html>", false), ("", true)] {
        let proxy = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            assert!(stream.read(&mut [0; 4096]).await.unwrap() > 0);
            let head =
                "HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=UTF-8\r\nConnection: close";
            let reply = format!("{head}\r\nContent-Length: {}\r\n\r\n{body}", body.len());
            stream.write_all(reply.as_bytes()).await.unwrap();
            stream.shutdown().await.unwrap();
            stream.read_to_end(&mut Vec::new()).await.unwrap();
        };
        let (delivered, ()) = tokio::join!(client.deliver(&url, &receipt), proxy);
        assert_eq!(delivered.is_ok(), is_taken, "{delivered:?}");
    }
}

#[tokio::test]
async fn a_result_that_its_client_does_not_read_is_not_redeemed() {
    let supervisor = Supervisor::offering(Vec::new());
    for (token, octets) in [("short", 1), ("unread", 32 << 20), ("long", 32 << 20)] {
        let mut job = specification(&capability("ping", "destination.ip4"), token);
        // More than the buffers of both ends hold.
        job.head.label = Some("x".repeat(octets));
        let job = (Identity::unauthenticated(), job);
        supervisor.jobs.lock().unwrap().insert(token.to_owned(), job);
    }
    let mut port = Served::clients(&supervisor, Limits::default()).await;
    let redeem = |token: &str| {
        let redemption = Message::Redemption(Reference::to_token("measure", token));
        post("/", MEDIA_TYPE, &redemption.to_json())
    };
    let mut unread = TcpStream::connect(port.address).await.unwrap();
    unread.write_all(redeem("unread").as_bytes()).await.unwrap();
    let mut begins = [0; 12];
    unread.read_exact(&mut begins).await.unwrap();
    assert_eq!(&begins, b"HTTP/1.1 200");
    drop(unread);
    for (token, octets) in [("short", 1), ("long", 32 << 20)] {
        let reply = exchange(port.address, &redeem(token)).await;
        assert!(status(&reply) == 200 && reply.len() > octets && reply.ends_with('}'));
    }
    port.stop.take().unwrap().send(()).unwrap();
    port.task.await.unwrap();
    assert_eq!(*supervisor.redeemed.lock().unwrap(), ["short", "long"]);
}
