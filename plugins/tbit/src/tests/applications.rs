//! Each application against a server that speaks it.

use std::{cell::RefCell, io::Read as _, io::Write as _, rc::Rc, sync::Arc};

use rustls::{ServerConfig, ServerConnection, crypto::ring, pki_types::PrivateKeyDer};

use sonde_testkit::servers::{CLOSE, Talker};

use super::*;
use crate::application::App;

fn plain() -> TbitParams {
    TbitParams::with(TARGET.parse().unwrap())
}

fn speak(params: TbitParams, server: impl Host + 'static) -> (Run, SummaryRow) {
    let net = Net::draw("vantage - target\n target 198.51.100.9");
    let run = Sim::new(net.host("target", server), 1).run::<Tbit>(params);
    run.expect_done();
    let row = run.typed::<SummaryRow>("summary").remove(0);
    (run, row)
}

/// What the server heard, together with the run.
fn heard(
    params: TbitParams,
    greeting: &'static [u8],
    mut talk: impl FnMut(&[u8]) -> Vec<u8> + 'static,
) -> (Vec<u8>, Run, SummaryRow) {
    let all = Rc::new(RefCell::new(Vec::new()));
    let copy = Rc::clone(&all);
    let server = Talker::new(greeting, move |said: &[u8]| {
        copy.borrow_mut().extend(said);
        talk(said)
    });
    let (run, row) = speak(params, server);
    let all = all.borrow().clone();
    (all, run, row)
}

#[test]
fn a_mail_server_is_asked_by_what_it_says_it_is() {
    for (greeting, wanted, count) in [
        (&b"220-two lines\r\n220 a ESMTP Sendmail 8\r\n"[..], "HELP\r\n", 2),
        (b"220 a ESMTP Postfix\r\n", "EHLO sonde.invalid\r\n", 20),
        (b"220 a ESMTP Exim 4\r\n", "sonde.", 80),
        (b"220 a ESMTP\r\n", "HELP", 0),
    ] {
        let params = TbitParams { app: App::Smtp, ..plain() };
        let (said, run, row) = heard(params, greeting, |_| b"221 bye\r\n<close>".to_vec());
        assert_eq!(row.result, Verdict::NullSuccess, "{run}");
        let said = String::from_utf8(said).unwrap();
        assert_eq!(said.matches(wanted).count(), count, "{said}");
        assert!(said.ends_with("QUIT\r\n") && said.lines().all(|line| line.len() <= 510), "{said}");
    }
}

#[test]
fn a_server_that_does_not_greet_is_not_spoken_to() {
    let params = TbitParams { app: App::Ftp, ..plain() };
    let (said, run, row) = heard(params, b"", |_| Vec::new());
    assert_eq!((row.result, row.result_code, said.len()), (Verdict::Aborted, 5, 0), "{run}");
    let params = TbitParams { app: App::Ftp, ..plain() };
    let (said, _, row) = heard(params, b"220 ready\r\n", |_| b"214 help\r\n<close>".to_vec());
    assert_eq!((row.result, row.status.as_deref()), (Verdict::NullSuccess, Some("220 ready")));
    assert!(said.starts_with(b"HELP\r\nHELP\r\n") && said.ends_with(b"QUIT\r\n"));
}

#[test]
fn a_name_is_asked_for_and_the_connection_closed_behind_the_answer() {
    let params = TbitParams { app: App::Dns, url: "/large.example".to_owned(), ..plain() };
    let mut answer = [&300_u16.to_be_bytes()[..], &[7; 300]].concat();
    let answered = answer.clone();
    let (said, run, row) = heard(params, b"", move |_| answered.clone());
    assert_eq!(usize::from(u16::from_be_bytes([said[0], said[1]])), said.len() - 2);
    assert_eq!(&said[14..], b"\x05large\x07example\0\0\x10\0\x01");
    assert_eq!((row.result, row.octets), (Verdict::NullSuccess, 302), "{run}");
    assert!(run.took() < Duration::from_secs(5), "it waited for the server to close: {run}");
    // Half of an answer is none, but data came.
    answer.truncate(100);
    let params = TbitParams { app: App::Dns, ..plain() };
    let (said, run, row) = heard(params, b"", move |_| answer.clone());
    assert_eq!(&said[14..], b"\0\0\x02\0\x01", "the servers of the root");
    assert_eq!(row.octets, 100);
    assert!(run.took() > Duration::from_secs(69), "{run}");
    let long = TbitParams { app: App::Dns, url: format!("/{}", "x".repeat(64)), ..plain() };
    let net = Net::draw("vantage - target\n target 198.51.100.9 open-tcp");
    let refused = format!("{:?}", Sim::new(net, 1).run::<Tbit>(long).status);
    assert!(refused.contains("scamper.tbit.url") && refused.contains("63"), "{refused}");
}

#[test]
fn a_border_router_is_asked_to_open_a_session() {
    let params = TbitParams { app: App::Bgp, asn: 64_512, ..plain() };
    let mut open = vec![0xff; 16];
    open.extend([0, 19, 4]);
    let (said, run, row) = heard(params, b"", move |_| open.clone());
    assert_eq!((&said[16..20], &said[20..22]), (&[0, 29, 1, 4][..], &64_512_u16.to_be_bytes()[..]));
    assert_eq!((said.len(), row.result, row.octets), (29, Verdict::NullSuccess, 19), "{run}");
    assert!(run.took() < Duration::from_secs(5), "{run}");
}

#[test]
fn a_script_waits_and_says_as_it_is_written() {
    let script =
        |script: &str| TbitParams { app: App::Script, script: Some(script.to_owned()), ..plain() };
    let talk = |said: &[u8]| match said {
        b"user a|b\n" => b"password?".to_vec(),
        b"secret\xff\n" => b"welcome, and more".to_vec(),
        _ => b"what?".to_vec(),
    };
    let params = script(r"hello|user a\|b\n|password?|secret\xff\n|welcome");
    let (said, run, row) = heard(params, b"hello, you", talk);
    assert_eq!(said, b"user a|b\nsecret\xff\n");
    assert_eq!((row.result, row.octets), (Verdict::NullSuccess, 36), "{run}");
    assert!(run.took() < Duration::from_secs(5), "{run}");
    for (wrong, part) in
        [(r"a|b\q", r"\\q"), (r"a|\x4", r"\\x4"), ("only", "EXPECT|SEND"), ("", "EXPECT|SEND")]
    {
        let net = Net::draw("vantage - target\n target 198.51.100.9 open-tcp");
        let refused = format!("{:?}", Sim::new(net, 1).run::<Tbit>(script(wrong)).status);
        assert!(refused.contains("scamper.tbit.script") && refused.contains(part), "{refused}");
    }
}

#[test]
fn what_is_too_short_to_be_cut_is_told() {
    let params = TbitParams {
        app: App::Script,
        script: Some("|short".to_owned()),
        test: Test::SackRcvr,
        ..plain()
    };
    let (said, run, row) = heard(params, b"", |_| Vec::new());
    assert_eq!((row.result, row.scope, said.len()), (Verdict::Aborted, Scope::Local, 0), "{run}");
}

/// A server of TLS with a page.
fn secure(page: usize) -> impl Host + 'static {
    let certified = rcgen::generate_simple_self_signed(["other.example".to_owned()]).unwrap();
    let key = PrivateKeyDer::try_from(certified.signing_key.serialize_der()).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certified.cert.der().clone()], key)
        .unwrap();
    let mut tls = ServerConnection::new(Arc::new(config)).unwrap();
    let mut request = Vec::new();
    Talker::new(b"", move |mut said: &[u8]| {
        while !said.is_empty() {
            tls.read_tls(&mut said).unwrap();
            tls.process_new_packets().unwrap();
        }
        let mut plain = [0; 4096];
        if let Ok(octets) = tls.reader().read(&mut plain) {
            request.extend(&plain[..octets]);
        }
        let is_asked = request.ends_with(b"\r\n\r\n");
        if is_asked {
            assert_eq!(tls.server_name(), Some("www.example"));
            tls.writer().write_all(b"HTTP/1.0 200 OK\r\n\r\n").unwrap();
            tls.writer().write_all(&vec![b'x'; page]).unwrap();
            tls.send_close_notify();
        }
        let mut answer = Vec::new();
        while tls.wants_write() {
            tls.write_tls(&mut answer).unwrap();
        }
        if is_asked {
            answer.extend(CLOSE);
        }
        answer
    })
}

#[test]
fn a_page_comes_over_tls_and_the_record_says_that_the_certificate_was_not_verified() {
    let params = TbitParams { url: "https://www.example/page".to_owned(), ..plain() };
    let (run, row) = speak(params, secure(5000));
    assert_eq!(row.result, Verdict::NullSuccess, "{run}");
    assert_eq!(row.status.as_deref(), Some("HTTP/1.0 200 OK"));
    assert_eq!(row.tls_version.as_deref(), Some("TLSv1.3"));
    assert_eq!(row.certificate_verified, Some(false));
    assert!(row.octets > 5000, "{run}");
}

#[test]
fn a_server_without_tls_is_a_protocol_error_and_a_name_that_is_none_is_refused() {
    let params = TbitParams { url: "https://www.example/".to_owned(), ..plain() };
    let (run, row) = speak(params, Talker::new(b"", |_| b"HTTP/1.0 400 Bad Request\r\n".to_vec()));
    assert_eq!((row.result, row.result_code), (Verdict::ProtocolError, 3), "{run}");
    assert_eq!((row.tls_version, row.certificate_verified), (None, None));
    let params = TbitParams { url: "https://not_a..name/".to_owned(), ..plain() };
    let net = Net::draw("vantage - target\n target 198.51.100.9 open-tcp");
    let refused = format!("{:?}", Sim::new(net, 1).run::<Tbit>(params).status);
    assert!(refused.contains("not_a..name"), "{refused}");
}
