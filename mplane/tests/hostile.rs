//! Messages that nobody should send, and messages that anybody may.
//!
//! Refusals are typed, name the path, and cost neither time nor memory; what was built or read is the
//! same after it was written and read again.

#![expect(clippy::unwrap_used, reason = "helpers of tests are tests too")]

use proptest::prelude::*;
use serde_json::json;
use sonde_mplane::{
    CORE_URI, Capability, Constraint, Envelope, JsonError, MAX_KEYS, MAX_NAME_OCTETS, MAX_OCTETS,
    MAX_VALUES, Message, MessageError, Moment, Primitive, Problem, Registries, Registry,
    RegistryError, Strictness, Time, Unknown, Value, When,
};

fn refuse(octets: &[u8]) -> MessageError {
    Message::from_json(octets, &Registries::built_in()).unwrap_err()
}

fn json_error(octets: &[u8]) -> JsonError {
    match refuse(octets).problem {
        Problem::Json(error) => error,
        other => panic!("{other:?}"),
    }
}

#[test]
fn depth_size_and_number_of_keys_and_values_are_limited() {
    let deep = "{\"a\":".repeat(10_000);
    assert!(matches!(json_error(deep.as_bytes()), JsonError::TooDeep { .. }));
    let long = vec![b' '; MAX_OCTETS + 1];
    assert_eq!(json_error(&long), JsonError::TooLong { octets: MAX_OCTETS + 1 });
    let keys: String = (0..=MAX_KEYS).map(|number| format!("\"{number}\":0,")).collect();
    let keys = format!("{{{keys}\"last\":0}}");
    assert!(matches!(json_error(keys.as_bytes()), JsonError::TooManyKeys { .. }));
    let values = format!("[{}0]", "0,".repeat(MAX_VALUES + 1));
    assert!(matches!(json_error(values.as_bytes()), JsonError::TooManyValues { .. }));
}

#[test]
fn a_supervisor_may_say_everything_that_waits_at_once() {
    let specification = json!({
        "specification": "measure", "registry": "", "when": "now + 3s / 1s",
        "parameters": { "source.ip4": "192.0.2.1", "destination.ip4": "198.51.100.9" },
    });
    let waiting = vec![specification; MAX_KEYS / 6 + 1];
    let envelope = json!({ "envelope": "message", "contents": waiting }).to_string();
    assert!(matches!(json_error(envelope.as_bytes()), JsonError::TooManyKeys { .. }));
    let read = Envelope::contents_from_json(envelope.as_bytes(), &Registries::built_in()).unwrap();
    assert!(read.len() == MAX_KEYS / 6 + 1 && read.iter().all(Result::is_ok));
}

#[test]
fn what_is_no_json_is_refused_with_its_place() {
    assert!(matches!(json_error(br#"{"version":NaN}"#), JsonError::Syntax { .. }));
    assert!(matches!(json_error(br#"{"version":-Infinity}"#), JsonError::Syntax { .. }));
    assert!(matches!(json_error(b""), JsonError::Syntax { .. }));
    assert!(matches!(json_error(br#"{"a":1}{"b":2}"#), JsonError::Syntax { .. }));
    assert_eq!(json_error(b"{\"a\":\"\xff\"}"), JsonError::NotUtf8 { offset: 6 });
    assert_eq!(
        json_error(br#"{"capability":"measure","capability":"query"}"#),
        JsonError::DuplicateKey { key: "capability".to_owned() }
    );
    assert!(matches!(json_error(br#"{"a":"\ud800"}"#), JsonError::Syntax { .. }));
}

/// A valid message, then with one field replaced.
fn with(path: &[&str], replacement: serde_json::Value) -> MessageError {
    let mut json = json!({
        "envelope": "message",
        "contents": [{
            "result": "measure",
            "registry": "",
            "label": "a-0",
            "token": "t",
            "when": "2015-07-01 ... 2015-07-02",
            "parameters": { "destination.ip4": "192.0.2.1" },
            "metadata": { "System_type": "x" },
            "results": ["time", "rtt.us"],
            "resultvalues": [["2015-07-01", "5"], []],
        }],
    });
    assert!(Message::from_value(&json, &Registries::built_in()).is_ok());
    let mut place = &mut json;
    for key in path {
        place = match key.parse::<usize>() {
            Ok(index) => &mut place[index],
            Err(_) => &mut place[*key],
        };
    }
    *place = replacement;
    Message::from_value(&json, &Registries::built_in()).unwrap_err()
}

#[test]
fn an_error_names_the_path_to_the_field() {
    for (path, replacement, expected) in [
        (&["contents"][..], json!(3), "contents: is number, accepted: array"),
        (&["contents", "0"], json!("x"), "contents[0]: is string, accepted: object"),
        (
            &["contents", "0", "when"],
            json!("now"),
            "contents[0].when: is \"now\", accepted: absolute times",
        ),
        (
            &["contents", "0", "registry"],
            json!("http://example.net/r"),
            "contents[0].registry: is \"http://example.net/r\", which is not loaded; \
             loaded: http://ict-mplane.eu/registry/core",
        ),
        (
            &["contents", "0", "label"],
            json!(["x"]),
            "contents[0].label: is array, accepted: string",
        ),
        (&["contents", "0", "token"], json!(7), "contents[0].token: is number, accepted: string"),
        (
            &["contents", "0", "parameters", "destination.ip4"],
            json!("192.0.2.0/24"),
            "contents[0].parameters.destination.ip4: \"192.0.2.0/24\" is no address, \
             accepted: one IPv4 or IPv6 address",
        ),
        (
            &["contents", "0", "parameters", "weather"],
            json!("1"),
            "contents[0].parameters.weather: \"weather\" is in no registry that is loaded",
        ),
        (
            &["contents", "0", "metadata", "System_type"],
            json!({}),
            "contents[0].metadata.System_type: a JSON object is no string",
        ),
        (
            &["contents", "0", "results", "1"],
            json!("time"),
            "contents[0].results[1]: \"time\" stands twice",
        ),
        (
            &["contents", "0", "resultvalues", "1"],
            json!([null, 1, 2]),
            "contents[0].resultvalues[1]: has 3 values, accepted: at most 2, as in results",
        ),
        (
            &["contents", "0", "resultvalues", "0", "1"],
            json!("soon"),
            "contents[0].resultvalues[0].rtt.us: \"soon\" is no natural, accepted: a decimal number",
        ),
        (
            &["contents", "0"],
            json!({ "envelope": "message", "contents": [] }),
            "contents[0]: is an envelope within an envelope",
        ),
        (
            &["contents", "0"],
            json!({ "indirection": "x" }),
            "contents[0]: is an indirection, which is not supported; ask for the result itself",
        ),
        (
            &["contents", "0"],
            json!({ "result": "measure", "interrupt": "measure" }),
            "contents[0]: is both result and interrupt, accepted: one kind",
        ),
    ] {
        assert_eq!(with(path, replacement).to_string(), expected);
    }
}

#[test]
fn a_long_text_does_not_make_a_long_error() {
    let text = "x".repeat(1 << 20);
    for message in [
        json!({ "redemption": "measure", "when": text }),
        json!({ "redemption": "measure", "registry": text }),
        json!({ "redemption": "measure", "parameters": { "rtt.us": text } }),
        json!({ "redemption": "measure", "parameters": { text.clone(): 1 } }),
        json!({ "redemption": "measure", "results": [text] }),
        json!({ "redemption": "measure", "version": text }),
    ] {
        let error = Message::from_value(&message, &Registries::built_in()).unwrap_err();
        assert!(error.to_string().len() < 600, "{}", error.to_string().len());
    }
}

#[test]
fn labels_and_tokens_are_no_longer_than_names_are() {
    for key in ["label", "token"] {
        let read = |octets: usize| {
            let mut redemption = json!({ "redemption": "measure" });
            redemption[key] = json!("x".repeat(octets));
            Message::from_value(&redemption, &Registries::built_in())
        };
        assert!(read(MAX_NAME_OCTETS).is_ok());
        let error = read(MAX_NAME_OCTETS + 1).unwrap_err().to_string();
        assert_eq!(error, format!("{key}: has 1025 octets, accepted: at most 1024"));
    }
}

#[test]
fn names_that_no_registry_knows_pass_as_texts_where_that_is_wanted() {
    let body = json!({
        "capability": "measure", "registry": "http://example.net/r", "when": "now ... future",
        "parameters": { "weather": "rain,sun" }, "results": ["temperature"],
    });
    assert!(Message::from_value(&body, &Registries::built_in()).is_err());
    let lenient = Registries::built_in().with_unknown(Unknown::AsText);
    let message = Message::from_value(&body, &lenient).unwrap();
    let Message::Capability(capability) = &message else { panic!("{message:?}") };
    assert_eq!(capability.parameters[0].constraint.to_string(), "rain,sun");
    assert_eq!(message.to_value()["registry"], "http://example.net/r");
}

#[test]
fn what_is_within_a_range_of_an_unknown_element_is_not_judged() {
    let lenient = Registries::built_in().with_unknown(Unknown::AsText);
    let read = |kind: &str, when: &str, parameters: serde_json::Value| {
        let body =
            json!({ kind: "measure", "registry": "", "when": when, "parameters": parameters });
        Message::from_value(&body, &lenient).unwrap()
    };
    let offered = json!({ "x.count": "2 ... 10", "x.site": "rome,oslo", "x.level": 3 });
    let Message::Capability(capability) = read("capability", "now ... future", offered) else {
        panic!("no capability")
    };
    let count = capability.parameter("x.count").unwrap().constraint.to_string();
    assert_eq!(count, "2 ... 10", "as received");
    for (count, site, level, is_met) in [
        (json!("5"), "rome", json!("3"), true),
        (json!(5), "oslo", json!(3), true),
        (json!("5"), "paris", json!("3"), false),
        (json!("5"), "rome", json!("4"), false),
    ] {
        let wanted = json!({ "x.count": count, "x.site": site, "x.level": level });
        let Message::Specification(specification) = read("specification", "now", wanted) else {
            panic!("no specification")
        };
        let now = Time::from_unix_us(0);
        let fulfils = specification.fulfils(&capability, Strictness::Constraints, now);
        assert_eq!(fulfils.is_ok(), is_met, "{fulfils:?}");
        assert_eq!(specification.fits(&capability, now), is_met);
    }
}

#[test]
fn a_registry_replaces_what_it_includes_and_what_stands_before() {
    let file = json!({
        "registry-format": "mplane-0", "registry-revision": 3, "registry-uri": "http://example.net/r",
        "includes": [CORE_URI],
        "elements": [
            "COMMENT: twice",
            { "name": "duration.ms", "prim": "natural" },
            { "name": "duration.ms", "prim": "time", "units": "ms" },
            { "name": "up", "prim": "bool", "desc": "Whether it runs" },
        ],
    });
    let file = Registry::from_json(file.to_string().as_bytes()).unwrap();
    let mut empty = Registries::empty();
    assert!(matches!(empty.load(&file), Err(RegistryError::Include { .. })));
    let mut registries = Registries::built_in();
    registries.load(&file).unwrap();
    let theirs = registries.registry("http://example.net/r").unwrap();
    assert_eq!(theirs.element("duration.ms").unwrap().primitive(), Primitive::Time);
    assert_eq!(theirs.element("up").unwrap().primitive(), Primitive::Boolean);
    assert_eq!(theirs.description("up"), "Whether it runs");
    assert_eq!(theirs.element("rtt.us").unwrap().primitive(), Primitive::Natural);
    // As the RI, which preloads an operator's; the URI of a message decides nothing.
    assert_eq!(registries.element("duration.ms").unwrap().primitive(), Primitive::Time);
}

#[test]
fn what_an_operator_says_of_an_element_counts_before_the_built_in_registry() {
    let registry = |uri: &str, primitive: &str| {
        let text = format!(
            r#"{{"registry-format": "mplane-0", "registry-revision": 0, "registry-uri": "{uri}",
                "includes": ["{CORE_URI}"], "elements": [{{"name": "duration.ms", "prim": "{primitive}"}}]}}"#
        );
        Registry::from_json(text.as_bytes()).unwrap()
    };
    let mut registries = Registries::built_in();
    registries.load(&registry("http://example.net/a", "real")).unwrap();
    registries.load(&registry("http://example.net/b", "string")).unwrap();
    assert_eq!(registries.element("duration.ms").unwrap().primitive(), Primitive::Real);
    assert_eq!(registries.registry("").unwrap().uri(), CORE_URI);
}

#[test]
fn a_registry_is_refused_with_the_key_that_is_wrong() {
    for (file, expected) in [
        (json!({}), "registry: registry-format must be a string"),
        (
            json!({ "registry-format": "mplane-1" }),
            "registry: registry-format is \"mplane-1\", accepted: \"mplane-0\"",
        ),
        (
            json!({
                "registry-format": "mplane-0", "registry-uri": "u", "registry-revision": 0,
                "elements": [{ "name": "a", "prim": "float" }],
            }),
            "registry: elements[0].prim of a is \"float\", accepted: \
             string, natural, real, boolean, time, address, url",
        ),
        (
            json!({
                "registry-format": "mplane-0", "registry-uri": "u", "registry-revision": 0,
                "includes": "core", "elements": [],
            }),
            "registry: includes must be an array of strings",
        ),
    ] {
        let error = Registry::from_json(file.to_string().as_bytes()).unwrap_err();
        assert_eq!(error.to_string(), expected);
    }
}

fn ping(source: &str, size: &str) -> Capability {
    Capability::build("ping-detail-ip4", "now ... future / 1s")
        .parameter("source.ip4", source)
        .parameter("destination.ip4", "*")
        .parameter("scamper.ping.size", size)
        .result("time")
        .result("delay.twoway.icmp.us")
        .finish(&Registries::built_in())
        .unwrap()
}

#[test]
fn a_specification_is_refused_with_parameter_value_and_constraint() {
    let capability = ping("192.0.2.1", "84 ... 140");
    let now: Time = "2015-07-01".parse().unwrap();
    let asked: Vec<_> = capability.questions().iter().map(|it| it.element.name()).collect();
    assert_eq!(asked, ["destination.ip4", "scamper.ping.size"]);
    let mut specification = capability.specification("p-0", "now + 30s / 1s".parse().unwrap());
    let refusal = |specification: &sonde_mplane::Specification| {
        specification.fulfils(&capability, Strictness::Constraints, now).unwrap_err().to_string()
    };
    specification.set("destination.ip4", "198.51.100.7").unwrap();
    assert_eq!(refusal(&specification), "scamper.ping.size is missing, accepted: 84 ... 140");
    specification.set("scamper.ping.size", "9000").unwrap();
    assert_eq!(refusal(&specification), "scamper.ping.size is 9000, accepted: 84 ... 140");
    assert!(specification.fulfils(&capability, Strictness::Schema, now).is_ok());
    specification.set("scamper.ping.size", "100").unwrap();
    assert_eq!(specification.fulfils(&capability, Strictness::Constraints, now), Ok(()));
    specification.when = "now + 30s".parse().unwrap();
    assert_eq!(
        refusal(&specification),
        "temporal scope \"now + 30s\" does not follow \"now ... future / 1s\""
    );
    assert!(specification.set("rtt.us", "1").is_err());
}

#[test]
fn capabilities_of_two_hosts_become_one_that_says_no_more_than_both() {
    let here = ping("192.0.2.1", "84 ... 140");
    let there = ping("198.51.100.1", "84 ... 140");
    let both = here.merged(&there).unwrap();
    assert_eq!(
        both.parameter("source.ip4").unwrap().constraint.to_string(),
        "192.0.2.1,198.51.100.1"
    );
    assert_ne!(both.token(), here.token());
    assert_eq!(both.token(), both.computed_token());
    // 198.51.100.1 with 200 octets is offered by nobody.
    assert!(here.merged(&ping("198.51.100.1", "84 ... 200")).is_err());
}

#[test]
fn repetitions_begin_at_every_period_until_and_with_the_end() {
    let now: Time = "2015-07-01 12:00:00".parse().unwrap();
    let starts = |text: &str, count: usize| -> Vec<String> {
        let when: When = text.parse().unwrap();
        when.occurrences(now).take(count).map(|when| when.to_string()).collect()
    };
    assert_eq!(
        starts("repeat now + 6s / 3s { now + 1s / 1s }", 9),
        [
            "2015-07-01 12:00:00.000000 + 1s / 1s",
            "2015-07-01 12:00:03.000000 + 1s / 1s",
            "2015-07-01 12:00:06.000000 + 1s / 1s",
        ]
    );
    assert_eq!(
        starts("repeat now ... future cron 0 0 1 * * *", 2),
        ["2015-07-02 01:00:00.000000", "2015-07-03 01:00:00.000000"]
    );
    assert_eq!(starts("repeat now ... future / 0s", 9), ["2015-07-01 12:00:00.000000"]);
    assert_eq!(starts("now + 6s / 3s", 9), [""; 0]);
    let seed: When = "now + 30s / 5s".parse().unwrap();
    assert_eq!(seed.samples(), 6);
}

#[test]
fn a_capability_with_a_label_that_breaks_the_reply_to_its_registration_is_not_made() {
    let built = Capability::build("a\"b", "now").finish(&Registries::built_in());
    assert_eq!(built.unwrap_err().path, "label");
}

fn moments() -> impl Strategy<Value = Moment> {
    prop_oneof![
        Just(Moment::Now),
        Just(Moment::Past),
        Just(Moment::Future),
        (Time::MIN.unix_us()..=Time::MAX.unix_us())
            .prop_map(|us| Moment::At(Time::from_unix_us(us))),
    ]
}

fn values(primitive: Primitive) -> BoxedStrategy<Value> {
    match primitive {
        Primitive::String | Primitive::Url => {
            ".*".prop_filter("means missing", |text| text != "*").prop_map(Value::Text).boxed()
        }
        Primitive::Natural => (-(1_i64 << 53)..=1 << 53).prop_map(Value::from).boxed(),
        Primitive::Real => any::<f64>().prop_map(Value::Real).boxed(),
        Primitive::Boolean => any::<bool>().prop_map(Value::Boolean).boxed(),
        Primitive::Time => moments().prop_map(Value::Time).boxed(),
        Primitive::Address => any::<std::net::IpAddr>().prop_map(Value::from).boxed(),
    }
}

fn any_value() -> impl Strategy<Value = (Primitive, Value)> {
    prop::sample::select(Primitive::ALL.to_vec()).prop_flat_map(|primitive| {
        (Just(primitive), prop_oneof![9 => values(primitive), 1 => Just(Value::Missing)])
    })
}

/// Texts that are almost scopes.
fn scope_texts() -> impl Strategy<Value = String> {
    let part = prop::sample::select(vec![
        "now",
        "past",
        "future",
        "repeat ",
        " ... ",
        " + ",
        " / ",
        " cron ",
        " { ",
        " } ",
        "5s",
        "1d2h",
        "inf",
        "2015-07-01",
        " 10:59:29",
        ".5",
        "* ",
        "0,30 ",
        "1-5 ",
        "7",
    ]);
    prop::collection::vec(part, 1..14).prop_map(|parts| parts.concat())
}

proptest! {
    #[test]
    fn values_survive_writing_and_reading((primitive, value) in any_value()) {
        let again = Value::from_json(&value.to_json(primitive), primitive).unwrap();
        prop_assert_eq!(again.to_string(), value.to_string());
        prop_assert_eq!(again, value);
    }

    #[test]
    fn constraints_survive_printing_and_reading(
        first in any::<i32>(), second in any::<i32>(), set in prop::collection::vec(any::<i32>(), 1..9),
    ) {
        let value = |number: i32| Value::from(i64::from(number));
        let range = Constraint::range(value(first), value(second)).unwrap();
        let set = Constraint::set(set.into_iter().map(value));
        for constraint in [range, set, Constraint::Any] {
            let again = Constraint::parse(&constraint.to_string(), Primitive::Natural).unwrap();
            prop_assert_eq!(again.to_string(), constraint.to_string());
            prop_assert_eq!(again, constraint);
        }
    }

    #[test]
    fn a_scope_that_is_read_is_read_alike_from_what_is_printed(text in scope_texts()) {
        if let Ok(when) = text.parse::<When>() {
            let printed = when.to_string();
            let again: When = printed.parse().unwrap();
            prop_assert_eq!(again.to_string(), printed);
            prop_assert_eq!(&again, &when);
            let now = Time::from_unix_us(1_435_752_000_000_000);
            let _ = (when.timers(now), when.end_time(now), when.follows(&again, now));
            prop_assert!(when.occurrences(now).take(5).count() <= 5);
        }
    }

    #[test]
    fn no_text_makes_a_scope_panic(text in ".*") {
        let _ = text.parse::<When>();
    }

    #[test]
    fn a_capability_survives_writing_and_reading_with_its_token(
        low in 0_u16.., high in 0_u16.., address in any::<std::net::Ipv4Addr>(), reverse in any::<bool>(),
    ) {
        let mut builder = Capability::build("x", "now ... future / 1s").result("rtt.us");
        let parameters =
            [("source.ip4", address.to_string()), ("scamper.ping.dport", format!("{low} ... {high}"))];
        let order: Vec<_> = if reverse { parameters.iter().rev().collect() } else { parameters.iter().collect() };
        for (name, constraint) in order {
            builder = builder.parameter(name, constraint);
        }
        let capability = builder.finish(&Registries::built_in()).unwrap();
        let text = Message::from(capability.clone()).to_json();
        let Message::Capability(again) = Message::from_json(text.as_bytes(), &Registries::built_in()).unwrap()
        else { return Err(TestCaseError::fail("another kind")) };
        prop_assert_eq!(again.computed_token(), capability.token());
    }

    #[test]
    fn octets_that_are_almost_a_message_never_panic(
        cut in 0_usize.., flip in 0_usize.., bit in 0_u8..8,
    ) {
        let sample = include_str!("data/samples.jsonl").lines().nth(cut % 50).unwrap();
        let json: serde_json::Value = serde_json::from_str(sample).unwrap();
        let mut octets = json["body"].as_str().unwrap().as_bytes().to_vec();
        let place = flip % octets.len();
        octets[place] ^= 1 << bit;
        if cut % 3 == 0 {
            octets.truncate(cut % octets.len());
        }
        if let Ok(message) = Message::from_json(&octets, &Registries::built_in()) {
            let _ = (message.to_json(), message.layout());
        }
    }
}
