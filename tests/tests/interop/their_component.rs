//! Their component, our supervisor, and clients of both.

use serde_json::{Value, json};

use crate::{
    LONG, PINGS, REPEATED, THREE, assert_average,
    ours::{Place, Transport},
    ping,
};

const OFFERED: [&str; 4] = ["sim-average-ip4", "sim-detail-ip4", "sim-echo-ip4", "sim-fail-ip4"];

fn destination() -> Value {
    json!({"destination.ip4": "127.0.0.2"})
}

fn measures(transport: Transport) {
    let place = Place::new(transport);
    let _supervisor = place.supervisor();
    let _component = place.ri_component();
    let mut client = place.ri_client();
    let labels = client.capabilities(&OFFERED);
    let mut labels: Vec<&str> = labels.iter().map(|it| it["label"].as_str().unwrap()).collect();
    labels.sort_unstable();
    assert_eq!(labels, OFFERED, "and no callback");
    // Everything at once: a component of the RI looks every five seconds for work.
    let average = client.invoke("sim-average-ip4", THREE, &destination());
    let repeated = client.invoke("sim-average-ip4", REPEATED, &destination());
    let failed = client.invoke("sim-fail-ip4", "now", &destination());
    let parameters =
        json!({"destination.ip4": "127.0.0.2", "source.port": "0", "connectivity.ip": "False"});
    let echo = client.invoke("sim-echo-ip4", "now + 1s", &parameters);
    let long = client.invoke("sim-detail-ip4", LONG, &destination());

    let result = client.end_of(&average);
    assert_average(&result, "3");
    assert_eq!(result["token"], average.as_str());
    let end = client.end_of(&failed);
    assert_eq!((&end["message"], &end["exception"]), (&json!("simulated failure"), &json!(failed)));
    let result = client.end_of(&echo);
    assert_eq!(result["resultvalues"], json!([["0", "False"]]), "0 and False arrive");
    // The long one runs, since others that were fetched with it have ended.
    client.interrupt(&long);
    let rows = client.end_of(&long)["resultvalues"].as_array().unwrap().len();
    assert!((1..60).contains(&rows), "{rows} rows");
    let messages = client.repetitions_of(&repeated, 2);
    messages.iter().for_each(|message| assert_average(message, "1"));
    // What was taken is gone, as with the RI.
    let again = client.post(&json!({"redemption": "measure", "token": average}));
    assert_eq!(again["body"]["message"], "Unknown job", "{again}");
}

#[test]
fn their_client_measures_with_their_component_through_our_supervisor() {
    measures(Transport::Plain);
}

#[test]
fn their_client_measures_with_their_component_through_our_supervisor_over_mutual_tls() {
    measures(Transport::MutualTls);
}

fn from_our_shell(transport: Transport) {
    let place = Place::new(transport);
    let _supervisor = place.supervisor();
    let _component = place.ri_component();
    place.ri_client().capabilities(&OFFERED);
    let run = place.shell(&["runcap sim-average-ip4 when=now + 3s / 1s destination.ip4=127.0.0.2"]);
    assert_eq!(run.code, 0, "{} {}", run.output, run.errors);
    assert_average(&run.records()[0], "3");
    let run = place.shell(&["runcap sim-fail-ip4 when=now destination.ip4=127.0.0.2"]);
    assert_eq!(run.code, 5, "{} {}", run.output, run.errors);
    assert!(run.output.contains("simulated failure"), "{}", run.output);
}

#[test]
fn our_shell_measures_with_their_component_through_our_supervisor() {
    from_our_shell(Transport::Plain);
}

#[test]
fn our_shell_measures_with_their_component_through_our_supervisor_over_mutual_tls() {
    from_our_shell(Transport::MutualTls);
}

#[test]
#[ignore = "needs root: packet sockets"]
fn what_their_client_is_promised_is_redeemed_after_a_restart_of_our_supervisor() {
    let place = Place::new(Transport::MutualTls);
    let supervisor = place.supervisor();
    let _host = place.registering_host("");
    let mut client = place.ri_client();
    client.capabilities(&PINGS);
    let first = client.invoke("ping-average-ip4", "now + 1s / 1s", &ping("127.0.0.1"));
    let second = client.invoke("ping-average-ip6", THREE, &ping("::1"));
    let long = client.invoke("ping-detail-ip4", "now + 9s / 1s", &ping("127.0.0.1"));
    // Results come in their order, so the first one is there as well.
    assert_average(&client.end_of(&second), "3");
    drop(supervisor);
    let _supervisor = place.supervisor();
    assert_average(&client.end_of(&first), "1");
    assert_eq!(client.end_of(&long)["resultvalues"].as_array().unwrap().len(), 9);
}

#[test]
#[ignore = "needs root: packet sockets"]
fn our_supervisor_shows_their_client_no_more_what_our_host_withdraws() {
    let place = Place::new(Transport::Plain);
    let _supervisor = place.supervisor();
    let host = place.registering_host("");
    let mut client = place.ri_client();
    client.capabilities(&PINGS);
    host.change("[methods.ping]\nenabled = true", "[methods.ping]\nenabled = false");
    host.logs("count=0");
    assert_eq!(client.listed(), Vec::<String>::new());
}

#[test]
fn a_client_of_theirs_without_a_role_sees_nothing_and_may_do_nothing() {
    let place = Place::new(Transport::MutualTls);
    let _supervisor = place.supervisor();
    let _component = place.ri_component();
    let mut client = place.ri_client();
    let seen = client.capabilities(&OFFERED);
    let mut stranger = place.ri_client_named("stranger-1");
    assert_eq!(stranger.listed(), Vec::<String>::new());
    let mut specification = seen[0].clone();
    let object = specification.as_object_mut().unwrap();
    object.remove("capability");
    object.insert("specification".into(), "measure".into());
    object.insert("when".into(), THREE.into());
    object.insert("token".into(), "of-a-stranger".into());
    object["parameters"]["destination.ip4"] = "127.0.0.2".into();
    let answer = stranger.post(&specification);
    assert_eq!(answer["status"], 200, "{answer}");
    assert_eq!(answer["type"], "application/x-mplane+json");
    let said = answer["body"]["message"].as_str().unwrap();
    assert!(said.contains("no permission"), "{said}");
}
