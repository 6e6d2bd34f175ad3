//! Clients and components that know each other without a supervisor.

use serde_json::json;

use crate::{
    LONG, PINGS, REPEATED, THREE, assert_average,
    ours::{Place, Transport},
    ping,
    ri::Ri,
};

/// Once in each family, by repetition, against the policy, with an interrupt; the first of their tokens.
fn measures_in_every_way(client: &mut Ri) -> String {
    client.capabilities(&PINGS);
    let ip4 = client.invoke("ping-average-ip4", THREE, &ping("127.0.0.1"));
    let ip6 = client.invoke("ping-average-ip6", THREE, &ping("::1"));
    let repeated = client.invoke("ping-average-ip4", REPEATED, &ping("127.0.0.1"));
    let denied = client.invoke("ping-average-ip4", THREE, &ping("192.0.2.1"));
    let long = client.invoke("ping-detail-ip4", LONG, &ping("127.0.0.1"));
    assert!(client.end_of(&denied)["message"].as_str().unwrap().contains("192.0.2.1"));
    for token in [&ip4, &ip6] {
        let result = client.end_of(token);
        assert_average(&result, "3");
        assert_eq!(&result["token"], token.as_str());
    }
    client.interrupt(&long);
    let rows = client.end_of(&long)["resultvalues"].as_array().unwrap().len();
    assert!((1..60).contains(&rows), "{rows} rows");
    let messages = client.repetitions_of(&repeated, 2);
    messages.iter().for_each(|message| assert_average(message, "1"));
    ip4
}

fn measures(transport: Transport) {
    let place = Place::new(transport);
    let host = place.listening_host();
    let mut client = place.ri_client();
    let answered = measures_in_every_way(&mut client);
    let again = client.post(&json!({"redemption": "measure", "token": answered}));
    assert_eq!(again["body"]["message"], "Unknown job", "{again}");
    // Their client does not ask for what the capability refuses.
    let mut wrong = ping("127.0.0.1");
    wrong["scamper.ping.size"] = "9000".into();
    let refused = client.refuses("ping-average-ip4", THREE, &wrong);
    assert!(refused.contains("9000"), "{refused}");
    host.change("[methods.ping]\nenabled = true", "[methods.ping]\nenabled = false");
    host.logs("capabilities=0");
    assert_eq!(client.listed(), Vec::<String>::new());
}

#[test]
#[ignore = "needs root: packet sockets"]
fn their_client_measures_with_our_host_that_listens() {
    measures(Transport::Plain);
}

#[test]
#[ignore = "needs root: packet sockets"]
fn their_client_measures_with_our_host_that_listens_over_mutual_tls() {
    measures(Transport::MutualTls);
}

fn measures_where_it_registers(transport: Transport) {
    let place = Place::new(transport);
    let mut client = place.ri_listening_client();
    let _host = place.registering_host("");
    measures_in_every_way(&mut client);
}

#[test]
#[ignore = "needs root: packet sockets"]
fn our_host_registers_with_their_client_that_listens() {
    measures_where_it_registers(Transport::Plain);
}

#[test]
#[ignore = "needs root: packet sockets"]
fn our_host_registers_with_their_client_that_listens_over_mutual_tls() {
    measures_where_it_registers(Transport::MutualTls);
}

#[test]
#[ignore = "needs root: packet sockets"]
fn our_shell_has_all_results_of_a_repetition_of_our_host_that_listens() {
    let place = Place::new(Transport::Plain);
    let _host = place.listening_host();
    place.ri_client().capabilities(&PINGS);
    let said = ping("127.0.0.1");
    let said = said.as_object().unwrap().iter().map(|(element, value)| {
        // A star stands for what the method takes unless something is said.
        let value = Some(value.as_str().unwrap()).filter(|text| !text.is_empty()).unwrap_or("*");
        format!("{element}={value}")
    });
    let said = said.collect::<Vec<_>>().join(" ");
    let run = place.shell(&[&format!("runcap ping-average-ip4 when={REPEATED} {said}")]);
    assert_eq!(run.code, 0, "{} {}", run.output, run.errors);
    let records = run.records();
    let end = records.last().unwrap();
    assert_eq!(end["envelope"], "message", "{}", run.output);
    let messages = end["contents"].as_array().unwrap();
    // At the beginning, after three seconds, and with the end.
    assert_eq!(messages.len(), 3, "{end}");
    messages.iter().for_each(|message| assert_average(message, "1"));
    let begins = |message: &serde_json::Value| message["when"].as_str().unwrap()[..26].to_owned();
    assert!(messages.windows(2).all(|pair| begins(&pair[0]) < begins(&pair[1])), "{end}");
}

#[test]
fn our_shell_measures_with_their_component_that_listens() {
    let place = Place::new(Transport::Plain);
    let _component = place.ri_listening_component();
    let run = place.shell(&["runcap sim-average-ip4 when=now + 3s / 1s destination.ip4=127.0.0.2"]);
    assert_eq!(run.code, 0, "{} {}", run.output, run.errors);
    assert_average(&run.records()[0], "3");
}
