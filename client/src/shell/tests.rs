use std::collections::VecDeque;

use sonde_mplane::{Exception, Kind, Registries, When};

use super::*;
use crate::run::{Ended, script};

fn now() -> Time {
    Time::from_unix_us(1_767_323_045_000_000)
}

fn average() -> Capability {
    Capability::build("ping-average-ip4", "now ... future / 1s")
        .parameter("source.ip4", "192.0.2.1")
        .parameter("destination.ip4", "*")
        .parameter("scamper.ping.ttl", "0 ... 255")
        .metadata("System_type", "sonde")
        .result("delay.twoway.icmp.us.min")
        .finish(&Registries::built_in())
        .unwrap()
}

/// The label of what fails.
const LOST: &str = "lost";

/// A server in memory: a result is there at the second redemption.
#[derive(Default)]
struct Server {
    sent: Vec<(Option<String>, Message)>,
    refuses: bool,
    redemptions: usize,
    /// Redemptions that find nobody.
    away: usize,
}

impl Carrier for Server {
    async fn discover(&mut self, _: Option<&str>) -> Result<Vec<Capability>, CarryError> {
        Ok(vec![average()])
    }

    async fn send(&mut self, link: Option<&str>, message: &Message) -> Result<Message, CarryError> {
        self.sent.push((link.map(str::to_owned), message.clone()));
        let specification = self.sent.iter().find_map(|(_, message)| match message {
            Message::Specification(specification) => Some(specification.clone()),
            _ => None,
        });
        let Some(specification) = specification else { panic!("nothing was asked for") };
        self.redemptions += usize::from(message.kind() == Kind::Redemption);
        if message.kind() == Kind::Redemption && self.away > 0 {
            self.away -= 1;
            let (url, cause) = ("http://supervisor/".to_owned(), "refused".to_owned());
            return Err(CarryError::Failed { url, cause });
        }
        Ok(match message {
            Message::Specification(specification) if specification.head.label() == LOST => {
                let token = Some(specification.token());
                Exception { token, message: "no route".to_owned() }.into()
            }
            _ if self.refuses => {
                let token = Some(specification.token());
                Exception { token, message: "no route".to_owned() }.into()
            }
            Message::Redemption(_) if self.redemptions > 1 => {
                let when = When::measured(now(), now());
                specification.result(when, Vec::new()).into()
            }
            _ => specification.receipt(),
        })
    }

    fn set_url(&mut self, url: &str) -> Result<(), CarryError> {
        match url.starts_with("http") {
            true => Ok(()),
            false => Err(CarryError::Url { url: url.to_owned() }),
        }
    }
}

/// Somebody with answers ready.
#[derive(Default)]
struct Scripted {
    answers: VecDeque<&'static str>,
    heard: Vec<String>,
}

impl Person for Scripted {
    fn ask(&mut self, question: &str) -> Option<String> {
        self.heard.push(question.to_owned());
        self.answers.pop_front().map(str::to_owned)
    }

    fn tell(&mut self, text: &str) {
        self.heard.push(text.to_owned());
    }

    fn wait(&mut self, label: &str, _: Duration) {
        self.heard.push(format!("waiting for {label}"));
    }

    fn waited(&mut self) {}
}

type Scene = Shell<Server, Scripted>;

async fn scene(answers: &[&'static str]) -> Scene {
    let person = Scripted { answers: answers.iter().copied().collect(), heard: Vec::new() };
    let mut shell = Shell::new(Session::default(), Server::default(), person, now);
    shell.execute("getcap").await.unwrap();
    shell
}

async fn said(shell: &mut Scene, line: &str) -> String {
    match shell.execute(line).await {
        Ok(said) => said.text,
        Err(error) => format!("error: {error}"),
    }
}

#[tokio::test(start_paused = true)]
async fn lists_look_as_those_of_the_reference_implementation() {
    let mut shell = scene(&[]).await;
    let token = average().token();
    assert_eq!(
        said(&mut shell, "listcap").await,
        format!("Capability ping-average-ip4 (token {token})\n")
    );
    let shown = said(&mut shell, "showcap ping-average-ip4").await;
    assert!(
        shown.starts_with("capability: measure\n    label       : ping-average-ip4\n"),
        "{shown}"
    );
    assert!(
        shown.contains("    parameters  ( 3): \n                         destination.ip4: *\n")
    );
    assert!(shown.ends_with("        delay.twoway.icmp.us.min\n\n"), "{shown}");
    assert_eq!(shown, said(&mut shell, &format!("showcap {token}")).await);
    assert_eq!(said(&mut shell, "when now + 3s / 1s").await, "when = now + 3s / 1s\n");
    assert_eq!(
        said(&mut shell, "set destination.ip4 198.51.100.9").await,
        "destination.ip4 = 198.51.100.9\n"
    );
    assert_eq!(said(&mut shell, "show").await, "   1 defaults\ndestination.ip4 = 198.51.100.9\n");
    assert_eq!(said(&mut shell, "unset destination.ip4").await, "ok\n");
    assert_eq!(said(&mut shell, "show").await, "   0 defaults\n");
}

#[tokio::test(start_paused = true)]
async fn runcap_asks_until_the_answers_fit_and_only_for_what_it_does_not_know() {
    let mut shell =
        scene(&["nonsense", "now + 3s / 1s", "1.2.3.4.5", "198.51.100.9", "300", ""]).await;
    shell.session.proposals.insert("scamper.ping.ttl".to_owned(), "64".to_owned());
    assert_eq!(said(&mut shell, "runcap ping-average-ip4").await, "source.ip4 = 192.0.2.1\nok\n");
    let heard = shell.person.heard.clone();
    assert_eq!(
        heard,
        [
            "|when| = ",
            "when is \"nonsense\", accepted: now ... future / 1s",
            "|when| = ",
            "destination.ip4 = ",
            "destination.ip4 is \"1.2.3.4.5\", accepted: an IPv4 or IPv6 address, not a name",
            "destination.ip4 = ",
            "scamper.ping.ttl [64] = ",
            "scamper.ping.ttl is \"300\", accepted: 0 ... 255",
            "scamper.ping.ttl [64] = ",
        ]
    );
    let Message::Specification(sent) = &shell.carrier.sent[0].1 else { panic!("not sent") };
    assert_eq!(sent.head.label(), "ping-average-ip4-0");
    let values: Vec<String> = sent.parameters.iter().map(|it| it.value.to_string()).collect();
    assert_eq!(values, ["198.51.100.9", "64", "192.0.2.1"]);
    // What was answered is not asked for again.
    assert_eq!(
        said(&mut shell, "runcap ping-average-ip4 mine").await,
        "source.ip4 = 192.0.2.1\nok\n"
    );
    assert_eq!(shell.person.heard.len(), heard.len());
}

#[tokio::test(start_paused = true)]
async fn a_measurement_is_a_receipt_until_there_is_a_result() {
    let mut shell = scene(&[]).await;
    let line = "runcap ping-average-ip4 mine when=now + 3s / 1s destination.ip4=198.51.100.9 scamper.ping.ttl=9";
    said(&mut shell, line).await;
    let token = shell.session.measurement("mine").unwrap().token.clone();
    assert_eq!(
        said(&mut shell, "listmeas").await,
        format!("Receipt mine (token {token}): now + 3s / 1s\n")
    );
    let when = "2026-01-02 03:04:05.000000 ... 2026-01-02 03:04:05.000000";
    assert_eq!(
        said(&mut shell, "listmeas").await,
        format!("Result  mine (token {token}): {when}\n")
    );
    assert!(
        said(&mut shell, "showmeas mine")
            .await
            .starts_with("result: measure\n    label       : mine\n")
    );
    let sent = shell.carrier.sent.len();
    said(&mut shell, "listmeas").await;
    assert_eq!(shell.carrier.sent.len(), sent, "what is over is not asked for again");
}

#[tokio::test(start_paused = true)]
async fn a_script_waits_for_the_result_and_needs_nobody() {
    let mut shell = scene(&[]).await;
    shell.wait_for_results();
    shell.session.proposals.insert("scamper.ping.ttl".to_owned(), "64".to_owned());
    let line = "runcap ping-average-ip4 when=now + 3s / 1s destination.ip4=198.51.100.9";
    let result = shell.execute(line).await.unwrap();
    assert_eq!(result.json.unwrap()["result"], "measure");
    assert_eq!(shell.person.heard.last().unwrap(), "waiting for ping-average-ip4-0");
    let missing = said(&mut shell, "runcap ping-average-ip4 when=now + 3s / 1s").await;
    assert_eq!(missing, "error: destination.ip4 (*) is missing, and nobody is there to be asked");
}

#[tokio::test(start_paused = true)]
async fn a_wait_outlives_a_restart_of_the_server_and_leaves_the_token_where_that_takes_long() {
    for (away, is_there) in [(20, true), (1000, false)] {
        let mut shell = scene(&[]).await;
        shell.wait_for_results();
        shell.carrier.away = away;
        let line = "runcap ping-average-ip4 mine when=now + 3s / 1s destination.ip4=198.51.100.9 scamper.ping.ttl=9";
        match shell.execute(line).await {
            Ok(result) => assert!(is_there && result.json.unwrap()["result"] == "measure"),
            Err(error) => {
                let token = &shell.session.measurement("mine").unwrap().token;
                let told = format!(
                    "http://supervisor/: refused; the measurement goes on, its token is {token}"
                );
                assert!(!is_there && error.to_string() == told, "{error}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_exception_is_shown_and_makes_a_script_fail() {
    let mut shell = scene(&[]).await;
    shell.carrier.refuses = true;
    shell.wait_for_results();
    let line = "runcap ping-average-ip4 mine when=now + 3s / 1s destination.ip4=198.51.100.9 scamper.ping.ttl=9";
    let failed = shell.execute(line).await.unwrap();
    assert!(failed.json.unwrap().get("exception").is_some());
    let token = shell.session.measurement("mine").unwrap().token.clone();
    assert_eq!(said(&mut shell, "listmeas").await, format!("<Exception: {token} no route>\n"));
}

#[tokio::test(start_paused = true)]
async fn a_script_ends_as_the_command_that_went_worst() {
    let values = "when=now + 3s / 1s destination.ip4=198.51.100.9 scamper.ping.ttl=9";
    let empty = format!("runcap ping-average-ip4 empty {values}");
    let lost = format!("runcap ping-average-ip4 {LOST} {values}");
    let wrong = "frobnicate".to_owned();
    for (commands, expected) in [
        (vec![empty.clone()], Ended::NoAnswer),
        (vec![empty.clone(), lost.clone()], Ended::Failed),
        (vec![empty, wrong.clone()], Ended::Usage),
        (vec![lost, wrong], Ended::Failed),
    ] {
        let mut shell = scene(&[]).await;
        shell.wait_for_results();
        let ended = script(&mut shell, &commands, Form::Text).await;
        assert_eq!(ended, expected, "{commands:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_interrupt_names_the_measurement() {
    let mut shell = scene(&[]).await;
    let line = "runcap ping-average-ip4 mine when=now + 3s / 1s destination.ip4=198.51.100.9 scamper.ping.ttl=9";
    said(&mut shell, line).await;
    assert_eq!(said(&mut shell, "stopmeas mine").await, "");
    let (link, sent) = shell.carrier.sent.last().unwrap();
    assert_eq!((link, sent.kind()), (&None, Kind::Interrupt));
    assert_eq!(sent.token(), Some(shell.session.measurement("mine").unwrap().token.as_str()));
}

#[tokio::test(start_paused = true)]
async fn a_mistake_is_told_with_what_would_be_accepted() {
    let mut shell = scene(&[]).await;
    for (line, expected) in [
        ("frobnicate", "error: no command frobnicate, see help"),
        ("showcap nothing", "error: no such token or label nothing"),
        ("showcap", "error: usage: showcap LABEL-or-token"),
        (
            "seturl ftp://x",
            "error: \"ftp://x\" is no address, accepted: http://HOST:PORT/ or https://HOST:PORT/",
        ),
        (
            "runcap ping-average-ip4 when=now + 3s / 1s destination.ip6=::1",
            "error: ping-average-ip4 has no parameter destination.ip6, accepted: destination.ip4 \
             scamper.ping.ttl source.ip4",
        ),
        (
            "runcap ping-average-ip4 when=now + 3s",
            "error: when is \"now + 3s\", accepted: now ... future / 1s",
        ),
    ] {
        assert_eq!(said(&mut shell, line).await, expected);
    }
    assert!(shell.carrier.sent.is_empty());
    assert!(shell.execute("EOF").await.unwrap().is_end);
    assert!(said(&mut shell, "help runcap").await.starts_with("runcap LABEL-or-token"));
}
