//! What a peer may take: octets, time, connections, requests.

#![allow(clippy::unwrap_used, reason = "a test ends with a panic")]

mod common;

use std::time::Duration;

use common::{Served, Supervisor};
use sonde_mplane::{Capability, Registries};
use sonde_mplane_http::Limits;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const SOON: Duration = Duration::from_millis(50);

async fn send(port: &Served, request: &str) -> TcpStream {
    let mut stream = TcpStream::connect(port.address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    stream
}

/// Everything until the server closes.
async fn rest(mut stream: TcpStream) -> String {
    let mut octets = Vec::new();
    // A reset ends the connection as well as a close does.
    let _ = stream.read_to_end(&mut octets).await;
    String::from_utf8_lossy(&octets).into_owned()
}

#[tokio::test]
async fn who_will_ask_nothing_more_gets_the_answer() {
    let port = Served::clients(&Supervisor::offering(Vec::new()), Limits::default()).await;
    for _ in 0..20 {
        let mut stream = send(&port, "GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
        stream.shutdown().await.unwrap();
        let reply = rest(stream).await;
        assert!(reply.starts_with("HTTP/1.1 200 "), "{reply}");
    }
}

#[tokio::test]
async fn a_body_that_is_too_long_is_refused_with_the_limit() {
    let limits = Limits { body_octets: 1000, ..Limits::default() };
    let port = Served::clients(&Supervisor::offering(Vec::new()), limits).await;
    let head = "POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\
                Content-Type: application/x-mplane+json\r\n";
    let request = format!("{head}Content-Length: 1001\r\n\r\n{}", "x".repeat(1001));
    let reply = rest(send(&port, &request).await).await;
    assert!(reply.starts_with("HTTP/1.1 413") && reply.contains("1000 octets"), "{reply}");
    let chunk = format!("3e9\r\n{}\r\n0\r\n\r\n", "x".repeat(1001));
    let reply =
        rest(send(&port, &format!("{head}Transfer-Encoding: chunked\r\n\r\n{chunk}")).await).await;
    assert!(reply.starts_with("HTTP/1.1 413"), "{reply}");
}

#[tokio::test]
async fn a_header_that_does_not_end_ends_the_connection() {
    let limits = Limits { header: SOON, ..Limits::default() };
    let port = Served::clients(&Supervisor::offering(Vec::new()), limits).await;
    let begun = send(&port, "GET / HTTP/1.1\r\nHost: x\r\nX: ").await;
    assert!(!rest(begun).await.contains("200"));
    let idle = send(&port, "").await;
    assert_eq!(rest(idle).await, "");
    let kept = send(&port, "GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert!(rest(kept).await.starts_with("HTTP/1.1 200"), "answered, then closed when idle");
}

#[tokio::test]
async fn a_long_body_may_come_over_a_slow_line() {
    let limits = Limits { body: SOON, ..Limits::default() };
    let port = Served::clients(&Supervisor::offering(Vec::new()), limits).await;
    let length = 64 << 10;
    let head = format!(
        "POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\
         Content-Type: application/x-mplane+json\r\nContent-Length: {length}\r\n\r\n"
    );
    let mut stream = send(&port, &head).await;
    tokio::time::sleep(2 * SOON).await;
    stream.write_all(&vec![b' '; length]).await.unwrap();
    let reply = rest(stream).await;
    assert!(reply.starts_with("HTTP/1.1 ") && !reply.starts_with("HTTP/1.1 408"), "{reply}");
}

#[tokio::test]
async fn a_body_that_does_not_end_is_refused() {
    let limits = Limits { body: SOON, ..Limits::default() };
    let port = Served::clients(&Supervisor::offering(Vec::new()), limits).await;
    let request = "POST / HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-mplane+json\r\n\
                   Content-Length: 10\r\n\r\n{";
    let reply = rest(send(&port, request).await).await;
    assert!(reply.starts_with("HTTP/1.1 408"), "{reply}");
}

#[tokio::test]
async fn bodies_that_are_not_finished_take_no_more_memory_than_they_may() {
    let limits = Limits { bodies_octets: 4000, ..Limits::default() };
    let port = Served::clients(&Supervisor::offering(Vec::new()), limits).await;
    let head = "POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\
                Content-Type: application/x-mplane+json\r\nContent-Length: 900\r\n\r\n";
    let begun = send(&port, &format!("{head}{}", "x".repeat(800))).await;
    // A quarter is for one address.
    let refused = async {
        loop {
            let reply = rest(send(&port, &format!("{head}{}", "x".repeat(900))).await).await;
            if reply.starts_with("HTTP/1.1 503") {
                return reply;
            }
        }
    };
    let reply = tokio::time::timeout(Duration::from_secs(10), refused).await.unwrap();
    assert!(reply.contains("too many large bodies"), "{reply}");
    drop(begun);
    let taken = async {
        while !rest(send(&port, &format!("{head}{}", "x".repeat(900))).await).await.contains("200")
        {
        }
    };
    tokio::time::timeout(Duration::from_secs(10), taken).await.unwrap();
}

#[tokio::test]
async fn one_peer_has_no_more_connections_than_it_may() {
    let limits = Limits { connections_per_peer: 2, ..Limits::default() };
    let port = Served::clients(&Supervisor::offering(Vec::new()), limits).await;
    let ask = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";
    let mut answered = Vec::new();
    for _ in 0..2 {
        let mut stream = send(&port, ask).await;
        let mut octets = [0; 12];
        stream.read_exact(&mut octets).await.unwrap();
        assert_eq!(&octets, b"HTTP/1.1 200");
        answered.push(stream);
    }
    assert_eq!(rest(send(&port, ask).await).await, "");
}

#[tokio::test]
async fn who_asks_and_does_not_read_keeps_no_connection() {
    let limits = Limits { write: SOON, connections_per_peer: 1, ..Limits::default() };
    let page = Capability::build("long", "now ... future").finish(&Registries::built_in());
    let mut page = page.unwrap();
    // More than the buffers of both ends hold.
    page.head.label = Some("x".repeat(32 << 20));
    let port = Served::clients(&Supervisor::offering(vec![page]), limits).await;
    let unread = send(&port, "GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
    let ask = "GET /x HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    let answered = async { while !rest(send(&port, ask).await).await.contains("404") {} };
    tokio::time::timeout(Duration::from_secs(10), answered).await.unwrap();
    drop(unread);
}

#[tokio::test]
async fn long_answers_that_are_not_read_take_no_more_memory_than_they_may() {
    let limits = Limits { bodies_octets: 160 << 20, ..Limits::default() };
    let page = Capability::build("long", "now ... future").finish(&Registries::built_in());
    let mut page = page.unwrap();
    // More than the buffers of both ends hold.
    page.head.label = Some("x".repeat(32 << 20));
    let port = Served::clients(&Supervisor::offering(vec![page]), limits).await;
    let ask = "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    let mut unread = send(&port, ask).await;
    let mut octets = [0; 12];
    unread.read_exact(&mut octets).await.unwrap();
    assert_eq!(&octets, b"HTTP/1.1 200");
    let refused = rest(send(&port, ask).await).await;
    assert!(refused.starts_with("HTTP/1.1 503"), "{} octets", refused.len());
    drop(unread);
    let answered = async { while rest(send(&port, ask).await).await.len() < 32 << 20 {} };
    tokio::time::timeout(Duration::from_secs(10), answered).await.unwrap();
}

#[tokio::test]
async fn one_peer_has_no_more_requests_than_it_may() {
    let limits = Limits { requests_per_second: 1, request_burst: 3, ..Limits::default() };
    let port = Served::clients(&Supervisor::offering(Vec::new()), limits).await;
    let mut statuses = Vec::new();
    for _ in 0..5 {
        let ask = "GET /x HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
        let reply = rest(send(&port, ask).await).await;
        statuses.push(reply[9..12].to_owned());
    }
    assert_eq!(statuses[..3], ["404", "404", "404"]);
    assert!(statuses[3..].contains(&"429".to_owned()), "{statuses:?}");
}

#[tokio::test]
async fn a_shutdown_waits_for_the_reply_that_is_under_way() {
    let mut port = Served::clients(&Supervisor::offering(Vec::new()), Limits::default()).await;
    let request = "POST / HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-mplane+json\r\n\
                   Expect: 100-continue\r\nContent-Length: 2\r\n\r\n";
    let mut stream = send(&port, request).await;
    let mut octets = [0; 12];
    stream.read_exact(&mut octets).await.unwrap();
    assert_eq!(&octets, b"HTTP/1.1 100", "the handler reads the body");
    port.stop.take().unwrap().send(()).unwrap();
    stream.write_all(b"{}").await.unwrap();
    let reply = rest(stream).await;
    assert!(reply.contains("HTTP/1.1 200") && reply.contains("is no message"), "{reply}");
    port.task.await.unwrap();
}
