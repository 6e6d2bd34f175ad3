use super::*;
use crate::component::fixture::{ADDRESSES, catalogue, offers};

fn labels(offers: &Offers) -> Vec<&str> {
    offers.offered.iter().map(|offered| offered.capability.head.label()).collect()
}

fn overriding(element: &str, said: Override) -> Offering {
    let parameters = BTreeMap::from([(element.to_owned(), said)]);
    let overrides = BTreeMap::from([("knock".to_owned(), parameters)]);
    Offering { overrides, ..Offering::default() }
}

#[test]
fn every_view_is_offered_for_each_family_of_the_host() {
    let offers = offers(&Offering::default());
    assert_eq!(
        labels(&offers),
        ["knock-average-ip4", "knock-average-ip6", "knock-detail-ip4", "knock-detail-ip6"]
    );
    assert_eq!(offers.problems, [""; 0]);
    let constraint = |index: usize, name: &str| {
        offers.offered[index].capability.parameter(name).unwrap().constraint.to_string()
    };
    assert_eq!(constraint(0, "source.ip4"), "192.0.2.1");
    assert_eq!(constraint(3, "source.ip6"), "2001:db8::1");
}

#[test]
fn all_elements_that_no_registry_has_are_told_at_once() {
    let offering = Offering::default();
    let none = Offers::of(&catalogue(), |_| true, &offering, ADDRESSES, &Registries::empty());
    assert_eq!(none.offered.len(), 0);
    let text = &none.problems[0];
    assert!(text.starts_with("knock-average-ip4 is not offered: in no registry that is loaded: "));
    for element in ["source.ip4", "scamper.ping.ttl", "delay.twoway.icmp.us.min"] {
        assert!(text.contains(element), "{element} is not in {text}");
    }
}

#[test]
fn without_an_address_of_a_family_nothing_is_offered_for_it() {
    let ip6_alone = Addresses { ip4: None, ..ADDRESSES };
    let offers = Offers::of(
        &catalogue(),
        |_| true,
        &Offering::default(),
        ip6_alone,
        &Registries::built_in(),
    );
    assert_eq!(labels(&offers), ["knock-average-ip6", "knock-detail-ip6"]);
}

#[test]
fn the_operator_prefixes_labels_and_names_the_registry() {
    let offering = Offering { label_prefix: "site7-".to_owned(), ..Offering::default() };
    let offers = offers(&offering);
    assert_eq!(labels(&offers)[0], "site7-knock-average-ip4");
    assert_eq!(offers.offered[0].capability.registry, "");
}

#[test]
fn a_method_that_is_not_permitted_is_not_offered() {
    let offering = Offering::default();
    let registries = Registries::built_in();
    let none = Offers::of(&catalogue(), |_| false, &offering, ADDRESSES, &registries);
    assert_eq!((none.offered.len(), none.problems.len()), (0, 0));
    let overrides = BTreeMap::from([("nock".to_owned(), BTreeMap::new())]);
    let misspelt = offers(&Offering { overrides, ..Offering::default() });
    let text = "component.overrides.nock: unknown key, accepted: knock; did you mean knock?";
    assert_eq!(
        misspelt.mistakes.iter().map(ToString::to_string).collect::<Vec<_>>(),
        [format!(": {text}")]
    );
}

#[test]
fn an_override_narrows_a_constraint_and_never_widens_it() {
    let said = |constraint: &str| Override {
        constraint: Some(constraint.to_owned()),
        ..Override::default()
    };
    let narrow = offers(&overriding("scamper.ping.ttl", said("1 ... 30")));
    let parameter = narrow.offered[0].capability.parameter("scamper.ping.ttl").unwrap();
    assert_eq!(parameter.constraint.to_string(), "1 ... 30");
    for wide in ["0 ... 256", "*", "7,300", "a ... b"] {
        let wide = offers(&overriding("scamper.ping.ttl", said(wide)));
        assert_eq!(wide.offered.len(), 0, "{:?}", wide.problems);
        assert_eq!(wide.problems.len(), 4);
    }
    let text = &offers(&overriding("scamper.ping.ttl", said("0 ... 256"))).problems[0];
    assert_eq!(
        text,
        "knock-average-ip4 is not offered: constraint of scamper.ping.ttl is 0 ... 256, accepted: \
         part of 0 ... 255"
    );
    let destination =
        offers(&overriding("destination.{ip}", said("198.51.100.0 ... 198.51.100.99")));
    assert_eq!(labels(&destination), ["knock-average-ip4", "knock-detail-ip4"]);
    let unknown = offers(&overriding("scamper.ping.size", said("84")));
    let [mistake] = &unknown.mistakes[..] else { panic!("{:?}", unknown.mistakes) };
    assert_eq!(mistake.key, "component.overrides.knock.scamper.ping.size");
    assert!(mistake.problem.starts_with("unknown key, accepted: "), "{mistake}");
    assert_eq!(unknown.offered.len(), 0, "what was meant to be narrowed is not offered wide");
}

#[test]
fn a_default_stands_in_for_a_missing_value_and_must_be_allowed() {
    let said =
        |default: &str| Override { default: Some(default.to_owned()), ..Override::default() };
    let offers_of = |default: &str| offers(&overriding("destination.ip4", said(default)));
    let good = offers_of("198.51.100.1");
    let mut specification = crate::component::fixture::specification(
        &good.offered,
        "knock-average-ip4",
        "now + 3s / 1s",
    );
    specification.set("destination.ip4", "*").unwrap();
    let values = good.offered[0].parameters(&specification, Some(3), None).unwrap();
    assert_eq!(values["destination.{ip}"].to_string(), "198.51.100.1");
    assert!(offers_of("nowhere").problems[0].contains("default of destination.ip4"));
}

#[test]
fn a_reload_tells_what_is_new_and_what_is_gone() {
    let before = offers(&Offering::default());
    let said = Override { constraint: Some("1 ... 30".to_owned()), ..Override::default() };
    let after = offers(&overriding("scamper.ping.ttl", said));
    assert_eq!(after.added(&before).count(), 4);
    assert_eq!(before.added(&after).count(), 4);
    assert_eq!(before.added(&before).count(), 0);
}
