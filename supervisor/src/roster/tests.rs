use super::*;
use crate::fixtures::{at, average, registries, wanted};

const ONE: &str = "org.mplane.Components.One";
const TWO: &str = "org.mplane.Components.Two";

fn roster_of(offers: &[(&str, &str)]) -> Roster {
    let mut roster = Roster::new(Some(Duration::from_secs(60)));
    for (host, source) in offers {
        roster.offer(host, average(source), at(0));
    }
    roster
}

fn chosen(roster: &Roster, specification: &Specification) -> Result<String, String> {
    let offer = roster.choose(specification, at(1), |_| true);
    offer.map(|offer| offer.host.clone()).map_err(|error| error.to_string())
}

fn labels(roster: &Roster, now: Time) -> Vec<String> {
    roster.offers(now).map(|offer| offer.published.head.label().to_owned()).collect()
}

#[test]
fn a_host_is_chosen_by_the_source_address_that_its_capability_has() {
    let roster = roster_of(&[(ONE, "192.0.2.1"), (TWO, "192.0.2.2")]);
    assert_eq!(chosen(&roster, &wanted("192.0.2.2", "t")), Ok(TWO.to_owned()));
    assert_eq!(chosen(&roster, &wanted("192.0.2.1", "t")), Ok(ONE.to_owned()));
    let refused = chosen(&roster, &wanted("192.0.2.3", "t")).unwrap_err();
    assert!(refused.contains("source.ip4 is 192.0.2.3, accepted: 192.0.2.1"), "{refused}");
}

#[test]
fn the_same_capability_of_two_hosts_has_two_tokens_and_labels_and_can_be_chosen() {
    let roster = roster_of(&[(ONE, "*"), (TWO, "*")]);
    let tokens: Vec<String> = roster.offers(at(1)).map(|offer| offer.token().to_owned()).collect();
    assert_ne!(tokens[0], tokens[1]);
    assert_eq!(tokens[0], average("*").token());
    let other = format!("ping-average-ip4@{TWO}");
    assert_eq!(labels(&roster, at(1)), ["ping-average-ip4".to_owned(), other.clone()]);
    assert_eq!(roster.find(&tokens[1], at(1)).unwrap().host, TWO);
    let mut specification = wanted("192.0.2.2", "t");
    assert_eq!(chosen(&roster, &specification), Ok(ONE.to_owned()));
    for label in [format!("{other}-7"), format!("mine@{TWO}"), format!("mine@{TWO}-2")] {
        specification.head.label = Some(label);
        assert_eq!(chosen(&roster, &specification), Ok(TWO.to_owned()));
    }
    specification.head.label = Some("mine@nowhere".to_owned());
    assert_eq!(chosen(&roster, &specification), Ok(ONE.to_owned()));
}

#[test]
fn what_is_registered_again_keeps_its_place_token_and_label() {
    let mut roster = roster_of(&[(ONE, "*"), (TWO, "*")]);
    let before: Vec<String> = roster.offers(at(1)).map(|it| it.token().to_owned()).collect();
    roster.offer(TWO, average("*"), at(2));
    roster.offer(ONE, average("*"), at(2));
    let after: Vec<String> = roster.offers(at(3)).map(|it| it.token().to_owned()).collect();
    assert_eq!(before, after);
}

#[test]
fn sets_in_another_order_are_the_same_offer() {
    let roster = roster_of(&[(ONE, "192.0.2.1,192.0.2.2"), (TWO, "192.0.2.1,192.0.2.3")]);
    let again = average("192.0.2.2,192.0.2.1");
    let known = |host| roster.reordered(host, &again).map(|it| it.token());
    assert_eq!(known(ONE), Some(average("192.0.2.1,192.0.2.2").token()));
    assert_eq!(known(TWO), None);
    assert_eq!(roster.reordered(ONE, &average("192.0.2.1,192.0.2.2")), None, "the very same");
}

#[test]
fn a_silent_host_is_hidden_and_its_next_poll_brings_it_back() {
    let mut roster = roster_of(&[(ONE, "*"), (TWO, "192.0.2.2")]);
    roster.hear(TWO, at(50));
    assert_eq!(labels(&roster, at(61)), [format!("ping-average-ip4@{TWO}")]);
    assert!(roster.hear(ONE, at(100)));
    assert_eq!(labels(&roster, at(101)).len(), 2);
    assert!(!roster.hear("somebody else", at(100)));
}

#[test]
fn a_withdrawn_capability_is_gone_and_an_unknown_one_changes_nothing() {
    let mut roster = roster_of(&[(ONE, "192.0.2.1"), (TWO, "192.0.2.2")]);
    roster.withdraw(ONE, &average("192.0.2.2"));
    assert_eq!(labels(&roster, at(1)).len(), 2);
    roster.withdraw(ONE, &average("192.0.2.1"));
    assert_eq!(labels(&roster, at(1)).len(), 1);
    let refused = chosen(&roster, &wanted("192.0.2.1", "t"));
    assert!(refused.unwrap_err().contains("accepted: 192.0.2.2"));
}

#[test]
fn callback_control_is_noted_and_never_offered() {
    let mut roster = roster_of(&[(ONE, "*")]);
    assert!(!roster.has_callback(ONE));
    let callback = Capability::build("callback", "now ... future").finish(&registries()).unwrap();
    roster.offer(ONE, callback, at(0));
    assert!(roster.has_callback(ONE));
    assert_eq!(labels(&roster, at(1)), ["ping-average-ip4"]);
}

#[test]
fn a_clock_that_is_set_hides_no_host_and_keeps_none_that_has_gone() {
    let uptime = Duration::from_secs(10);
    let mut roster = roster_of(&[(ONE, "192.0.2.1")]);
    roster.put_right(Step::between((at(5), uptime), (at(99_999), uptime)).unwrap());
    assert!(roster.is_present(ONE, at(99_999)));
    roster.put_right(Step::between((at(99_999), uptime), (at(5), uptime)).unwrap());
    assert!(roster.is_present(ONE, at(5 + 60)));
    assert!(!roster.is_present(ONE, at(5 + 61)));
}

#[test]
fn a_value_may_be_missing_only_where_the_host_has_defaults() {
    let mut wanted = wanted("192.0.2.1", "t");
    wanted.set("destination.ip4", "*").unwrap();
    let callback = Capability::build("callback", "now ... future").finish(&registries()).unwrap();
    for (token, expected) in [
        (None, "destination.ip4 is missing, and the host has no default for it"),
        (Some("comp-cb0.7".to_owned()), "destination.ip4 is missing"),
        (callback.head.token.clone(), ONE),
    ] {
        let mut roster = roster_of(&[(ONE, "192.0.2.1")]);
        let mut callback = callback.clone();
        callback.head.token = token;
        roster.offer(ONE, callback, at(0));
        let said = chosen(&roster, &wanted).unwrap_or_else(|refusal| refusal);
        assert!(said.starts_with(expected), "{said}");
    }
}

#[test]
fn who_may_not_use_a_capability_does_not_learn_of_it() {
    let roster = roster_of(&[(ONE, "192.0.2.1")]);
    let refused = roster.choose(&wanted("192.0.2.9", "t"), at(1), |_| false).unwrap_err();
    assert_eq!(refused.to_string(), "No service registered for specification ping-average-ip4-0");
}

#[test]
fn a_host_offers_no_more_than_it_may_and_what_it_offers_already_may_come_again() {
    let mut roster = roster_of(&[(ONE, "192.0.2.1"), (ONE, "192.0.2.2")]);
    roster.most_octets = 2 * LEAST_OCTETS;
    let mut offer = |host, source| roster.offer(host, average(source), at(1));
    let Outcome::Refused { reason } = offer(ONE, "192.0.2.3") else { panic!("three of one host") };
    assert!(reason.ends_with("would offer 3072 octets, accepted: at most 2048"), "{reason}");
    assert_eq!(offer(ONE, "192.0.2.2"), Outcome::Registered);
    assert_eq!(offer(TWO, "192.0.2.3"), Outcome::Registered);
    roster.withdraw(ONE, &average("192.0.2.1"));
    assert_eq!(roster.offer(ONE, average("192.0.2.3"), at(1)), Outcome::Registered);
}

#[test]
fn hosts_that_are_there_share_the_polls_and_none_is_hidden_for_it() {
    let mut roster = Roster::new(Some(Duration::from_secs(60)));
    for host in 0..100 {
        roster.offer(&format!("host-{host}"), average("*"), at(0));
    }
    let seconds = |roster: &Roster, polls_per_second, now| {
        roster.poll_interval(polls_per_second, at(now)).as_secs()
    };
    assert_eq!(seconds(&roster, 10.0, 1), 10);
    assert_eq!(seconds(&roster, 1.0, 1), 30, "half of the time until they are hidden");
    roster.hear("host-0", at(99));
    assert_eq!(seconds(&roster, 0.1, 100), 10, "of one that is there");
    roster.expiry = None;
    assert_eq!(seconds(&roster, 1.0, 100), 100);
}
