//! Our host, their supervisor, their client.

use std::fs;

use serde_json::Value;

use crate::{
    LONG, PINGS, REPEATED, THREE, assert_average,
    ours::{Place, Transport},
    ping,
    ri::{Ri, registry},
};

/// A supervisor of the RI drops parameters that are 0, `False` or empty on the way, unless the capability allows
/// nothing else.
const NOTHING_ELSE: &str = "
[component.overrides.ping.'scamper.ping.tos']
constraint = '0'
[component.overrides.ping.'scamper.ping.dport']
constraint = '0'
[component.overrides.ping.'scamper.ping.sport']
constraint = '0'
[component.overrides.ping.'scamper.ping.rr']
constraint = 'False'
[component.overrides.ping.'scamper.ping.payload']
constraint = ''
[component.overrides.ping.'scamper.ping.pattern']
constraint = ''
[component.overrides.ping.'scamper.ping.icmp.checksum']
constraint = ''
";

fn measures(transport: Transport) {
    let place = Place::new(transport);
    let supervisor = place.ri_supervisor();
    let _host = place.registering_host(NOTHING_ELSE);
    measures_at(&place, supervisor, 1);
}

/// `least`: rows of a measurement that was interrupted as soon as the supervisor knew of a receipt.
fn measures_at(place: &Place, mut supervisor: Ri, least: usize) {
    let mut client = place.ri_client();
    let capabilities = client.capabilities(&PINGS);
    let own = capabilities.iter().find(|it| it["label"] == PINGS[0]).unwrap();
    assert_eq!(own["parameters"]["source.ip4"], "127.0.0.1");

    // Only a component whose receipt has come hears of an interrupt.
    let token = client.invoke("ping-detail-ip4", LONG, &ping("127.0.0.1"));
    supervisor.until_it_has("receipt");
    client.interrupt(&token);
    let rows = client.end_of(&token)["resultvalues"].as_array().map_or(0, Vec::len);
    assert!((least..60).contains(&rows), "{rows} rows");

    for (family, address) in [("ip4", "127.0.0.1"), ("ip6", "::1")] {
        let label = format!("ping-average-{family}");
        let token = client.invoke(&label, THREE, &ping(address));
        let result = client.end_of(&token);
        assert_average(&result, "3");
        assert_eq!(result["token"], token.as_str(), "the client's token");
        assert!(result["label"].as_str().unwrap().starts_with(&label), "the client's label");
    }

    // Whom the operator's list protects is not measured, and the client hears why.
    let token = client.invoke("ping-average-ip4", THREE, &ping("192.0.2.1"));
    let end = client.end_of(&token);
    assert!(end["message"].as_str().unwrap().contains("192.0.2.1"), "{end}");
}

#[test]
#[ignore = "needs root: packet sockets"]
fn their_client_measures_with_our_host_through_their_supervisor() {
    measures(Transport::Plain);
}

#[test]
#[ignore = "needs root: packet sockets"]
fn their_client_measures_with_our_host_through_their_supervisor_over_mutual_tls() {
    measures(Transport::MutualTls);
}

/// The receipt is that of our supervisor, and the host may not have begun.
fn measures_below(transport: Transport) {
    let place = Place::new(transport);
    let supervisor = place.ri_supervisor();
    let _below = place.supervisor_below();
    let _host = place.host_below(NOTHING_ELSE);
    measures_at(&place, supervisor, 0);
}

#[test]
#[ignore = "needs root: packet sockets"]
fn their_client_measures_through_their_supervisor_and_ours_below_it() {
    measures_below(Transport::Plain);
}

#[test]
#[ignore = "needs root: packet sockets"]
fn their_client_measures_through_their_supervisor_and_ours_below_it_over_mutual_tls() {
    measures_below(Transport::MutualTls);
}

fn repeats(transport: Transport) {
    let place = Place::new(transport);
    let _supervisor = place.ri_supervisor();
    let _host = place.registering_host(NOTHING_ELSE);
    let mut client = place.ri_client();
    client.capabilities(&PINGS);
    let token = client.invoke("ping-average-ip4", REPEATED, &ping("127.0.0.1"));
    let messages = client.repetitions_of(&token, 2);
    messages.iter().for_each(|message| assert_average(message, "1"));
}

#[test]
#[ignore = "needs root: packet sockets"]
fn a_repeated_measurement_comes_through_their_supervisor_in_one_envelope() {
    repeats(Transport::Plain);
}

#[test]
#[ignore = "needs root: packet sockets"]
fn a_repeated_measurement_comes_through_their_supervisor_over_mutual_tls() {
    repeats(Transport::MutualTls);
}

#[test]
#[ignore = "needs root: packet sockets"]
fn our_host_registers_again_with_their_supervisor_after_its_restart() {
    let place = Place::new(Transport::Plain);
    let supervisor = place.ri_supervisor();
    let host = place.registering_host(NOTHING_ELSE);
    let mut client = place.ri_client();
    client.capabilities(&PINGS);
    drop(supervisor);
    host.logs("not reached");
    let _supervisor = place.ri_supervisor();
    client.capabilities(&PINGS);
    let token = client.invoke("ping-average-ip4", THREE, &ping("127.0.0.1"));
    assert_average(&client.end_of(&token), "3");
}

#[test]
#[ignore = "needs root: packet sockets"]
fn their_supervisor_forgets_what_our_host_withdraws() {
    let place = Place::new(Transport::Plain);
    let mut supervisor = place.ri_supervisor();
    let host = place.registering_host(NOTHING_ELSE);
    let mut client = place.ri_client();
    client.capabilities(&PINGS);
    host.change("[methods.ping]\nenabled = true", "[methods.ping]\nenabled = false");
    supervisor.until_it_has("withdrawal");
    // It goes on listing what it has forgotten.
    let token = client.invoke("ping-average-ip4", THREE, &ping("127.0.0.1"));
    let end = client.end_of(&token);
    assert!(end["message"].as_str().unwrap().contains("no capability for token or label"), "{end}");
}

#[test]
#[ignore = "needs root: packet sockets"]
fn their_supervisor_with_a_registry_of_its_own_offers_what_that_has_the_elements_of() {
    let place = Place::new(Transport::Plain);
    let mut known: Value = serde_json::from_slice(&fs::read(registry()).unwrap()).unwrap();
    let elements = known["elements"].as_array_mut().unwrap();
    elements.retain(|element| !element["name"].as_str().unwrap().starts_with("sonde."));
    let file = place.path().join("registry.json");
    fs::write(&file, known.to_string()).unwrap();
    let _supervisor = place.ri_supervisor_of(&file);
    let _host = place.registering_host(NOTHING_ELSE);
    let mut client = place.ri_client();
    client.capabilities(&PINGS);
    assert!(!client.listed().iter().any(|label| label == "ping-full-ip4"));
    let token = client.invoke("ping-average-ip4", THREE, &ping("127.0.0.1"));
    assert_average(&client.end_of(&token), "3");
}
