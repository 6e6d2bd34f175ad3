//! What the reference implementation (RI) says and does, against what we read and print.
//!
//! The data under `data/` were made by calling the RI 0.9.0 (vectors) and by recording its traffic
//! (samples). They cover the checklist of the protocol reference, section 17:
//!
//! | line | test |
//! |---|---|
//! | 1 | `every_primitive_is_read_and_printed_as_the_ri_does` |
//! | 2 | `every_constraint_is_read_printed_and_evaluated_as_the_ri_does` |
//! | 3 | `every_scope_is_read_and_printed_as_the_ri_does`, `every_scope_starts_and_stops_when_the_ri_does` |
//! | 4 | `every_pair_of_scopes_follows_as_the_ri_says` |
//! | 5 | `every_token_and_schema_hash_is_that_of_the_ri`, `computed_tokens_are_those_in_captured_messages` |
//! | 6 | `every_captured_message_is_written_again_byte_for_byte` |
//! | 7 | `unknown_keys_are_ignored_and_versions_up_to_one_accepted` |
//! | 8 | `numbers_booleans_and_null_are_accepted_where_texts_are_usual` |
//! | 9 | `a_missing_time_is_read_in_every_spelling_and_written_as_null` |
//! | 10 | `text_after_a_timestamp_does_not_fail_a_message` |
//! | 12, 14 | `seed_capabilities_have_their_tokens`, `a_definite_specification_without_a_token_gets_the_computed_one` |
//! | 19 of 3.9 | `registration_replies_are_read_and_written` |

#![expect(clippy::unwrap_used, reason = "helpers of tests are tests too")]

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value as Json;
use sonde_mplane::{
    CORE_URI, Capability, Constraint, Message, Moment, Outcome, Outcomes, Primitive, Registries,
    Registry, Specification, Time, Value, When,
};

fn lines(text: &str) -> Vec<Json> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn samples() -> BTreeMap<String, String> {
    let text = |json: &Json| json.as_str().unwrap().to_owned();
    let rows = lines(include_str!("data/samples.jsonl"));
    rows.iter().map(|row| (text(&row["name"]), text(&row["body"]))).collect()
}

fn sample(name: &str) -> String {
    samples().remove(name).unwrap()
}

/// Ours, with the types that the recorded components used.
fn registries() -> Registries {
    let mut registries = Registries::built_in();
    let theirs = include_bytes!("data/registry-of-samples.json");
    registries.load(&Registry::from_json(theirs).unwrap()).unwrap();
    registries
}

fn read(text: &str) -> Message {
    Message::from_json(text.as_bytes(), &registries()).unwrap()
}

fn primitive(row: &Json) -> Primitive {
    row["prim"].as_str().unwrap().parse().unwrap()
}

fn printed(value: &Value, primitive: Primitive) -> String {
    match (value.is_missing(), primitive) {
        // The RI prints None and cannot read it; we write null (checklist, line 9).
        (true, Primitive::Time) => "None".to_owned(),
        _ => value.to_string(),
    }
}

#[test]
fn every_primitive_is_read_and_printed_as_the_ri_does() {
    let rows = lines(include_str!("data/primitives.jsonl"));
    assert_eq!(rows.len(), 75);
    for row in rows {
        let primitive = primitive(&row);
        let json = row.get("in_json").or_else(|| row.get("in")).unwrap();
        let value = Value::from_json(json, primitive);
        // Line 9: what the RI refuses as a time, we take as missing.
        let lenient =
            primitive == Primitive::Time && ["*", "None"].contains(&json.as_str().unwrap_or(""));
        match row["printed"].as_str() {
            Some(expected) => {
                let value = value.unwrap_or_else(|error| panic!("{row}: {error}"));
                assert_eq!(printed(&value, primitive), expected, "{row}");
                if let Some(missing) = row["missing"].as_bool() {
                    assert_eq!(value.is_missing(), missing, "{row}");
                }
            }
            None if lenient => assert!(value.unwrap().is_missing(), "{row}"),
            None => assert!(value.is_err(), "{row}"),
        }
    }
}

#[test]
fn every_constraint_is_read_printed_and_evaluated_as_the_ri_does() {
    let rows = lines(include_str!("data/constraints.jsonl"));
    assert_eq!(rows.len(), 24);
    for row in rows {
        let primitive = primitive(&row);
        let constraint = Constraint::parse(row["in"].as_str().unwrap(), primitive);
        let Some(expected) = row["printed"].as_str() else {
            assert!(constraint.is_err(), "{row}");
            continue;
        };
        let constraint = constraint.unwrap_or_else(|error| panic!("{row}: {error}"));
        assert_eq!(unordered(&constraint.to_string()), unordered(expected), "{row}");
        let single = constraint.single_value().map(Value::to_string);
        assert_eq!(single.as_deref(), row["single_value"].as_str(), "{row}");
        for (text, met) in row["met_by"].as_object().unwrap() {
            let value = Value::parse(text, primitive).unwrap();
            assert_eq!(Some(constraint.is_met_by(&value)), met.as_bool(), "{row} {text}");
        }
    }
}

fn unordered(constraint: &str) -> Vec<String> {
    let mut items: Vec<_> = constraint.split(',').map(str::to_owned).collect();
    items.sort();
    items
}

#[test]
fn every_scope_is_read_and_printed_as_the_ri_does() {
    let rows = lines(include_str!("data/when.jsonl"));
    assert_eq!(rows.len(), 66);
    for row in rows {
        let when = row["in"].as_str().unwrap().parse::<When>();
        let Some(expected) = row["printed"].as_str() else {
            assert!(when.is_err(), "{row}");
            continue;
        };
        let when = when.unwrap_or_else(|error| panic!("{row}: {error}"));
        assert_eq!(when.to_string(), expected);
        let seconds = |duration: Option<Duration>| duration.map(|duration| duration.as_secs_f64());
        let text = |moment: Option<Moment>| moment.map(|moment| moment.to_string());
        assert_eq!(when.start.to_string(), row["a"].as_str().unwrap(), "{row}");
        assert_eq!(text(when.end).as_deref(), row["b"].as_str(), "{row}");
        assert_eq!(seconds(when.duration), row["duration_s"].as_f64(), "{row}");
        assert_eq!(seconds(when.period), row["period_s"].as_f64(), "{row}");
        assert_eq!(when.is_repeated(), row["repeated"].as_bool().unwrap(), "{row}");
        let inner = when.inner();
        assert_eq!(seconds(inner.map(|inner| inner.duration)), row["inner_duration_s"].as_f64());
        assert_eq!(seconds(inner.and_then(|inner| inner.period)), row["inner_period_s"].as_f64());
        assert_eq!(when.is_definite(), row["definite"].as_bool().unwrap(), "{row}");
        assert_eq!(expected.parse::<When>().unwrap(), when, "{row}: not what it is printed as");
    }
}

#[test]
fn every_scope_starts_and_stops_when_the_ri_does() {
    let now: Time = "2015-07-01 12:00:00".parse().unwrap();
    let mut compared = 0;
    for row in lines(include_str!("data/when.jsonl")) {
        let Some([start, end]) =
            row["timer_delays_s_at_2015-07-01_12:00:00"].as_array().map(Vec::as_slice)
        else {
            continue;
        };
        let when: When = row["in"].as_str().unwrap().parse().unwrap();
        let timers = when.timers(now);
        assert_eq!(timers.map(|timers| timers.start.as_secs_f64()), start.as_f64(), "{row}");
        let stop = timers.and_then(|timers| timers.end);
        assert_eq!(stop.map(|stop| stop.as_secs_f64()), end.as_f64(), "{row}");
        compared += 1;
    }
    assert!(compared > 40, "{compared}");
}

#[test]
fn every_pair_of_scopes_follows_as_the_ri_says() {
    let now: Time = "2015-07-01 12:00:00".parse().unwrap();
    let rows = lines(include_str!("data/when-follows.jsonl"));
    let mut compared = 0;
    for row in &rows {
        let scope = |key: &str| row[key].as_str().unwrap().parse::<When>().unwrap();
        let follows = scope("specification_when").follows(&scope("capability_when"), now);
        // Where the RI fails with an error we say no.
        assert_eq!(follows, row["follows"].as_bool().unwrap_or(false), "{row}");
        compared += 1;
    }
    assert!(compared > 100, "{compared}");
}

#[test]
fn every_token_and_schema_hash_is_that_of_the_ri() {
    let rows = lines(include_str!("data/tokens.jsonl"));
    assert_eq!(rows.len(), 12);
    for row in rows {
        let (token, schema) =
            match Message::from_value(&row["message_without_token"], &registries()) {
                Ok(Message::Capability(body)) => (body.computed_token(), body.schema_hash()),
                Ok(Message::Specification(body)) => (body.computed_token(), body.schema_hash()),
                other => panic!("{row}: {other:?}"),
            };
        assert_eq!(token, row["token"].as_str().unwrap(), "{row}");
        assert_eq!(schema, row["schema_hash"].as_str().unwrap(), "{row}");
    }
}

fn seed(row: &Json) -> Capability {
    let text = |key: &str| row[key].as_str().unwrap();
    let mut builder =
        Capability::build(text("label"), text("when")).verb(text("verb")).registry("");
    for (name, constraint) in row["parameters"].as_object().unwrap() {
        builder = builder.parameter(name, constraint.as_str().unwrap());
    }
    for (name, value) in row["metadata"].as_object().unwrap() {
        builder = builder.metadata(name, value.as_str().unwrap());
    }
    for name in row["results"].as_array().unwrap() {
        builder = builder.result(name.as_str().unwrap());
    }
    builder.finish(&Registries::built_in()).unwrap()
}

#[test]
fn seed_capabilities_have_their_tokens() {
    let rows = lines(include_str!("data/seed-capabilities.jsonl"));
    assert_eq!(rows.len(), 14);
    for row in rows {
        let capability = seed(&row);
        assert_eq!(capability.head.token.as_deref(), row["token"].as_str(), "{}", row["label"]);
        assert_eq!(
            capability.schema_hash(),
            row["schema_hash"].as_str().unwrap(),
            "{}",
            row["label"]
        );
        let again = Message::from(capability.clone()).to_json();
        let again = Message::from_json(again.as_bytes(), &Registries::built_in()).unwrap();
        let Message::Capability(again) = again else { panic!("{again:?}") };
        assert_eq!(again.computed_token(), capability.token(), "{}", row["label"]);
    }
}

/// A set of several texts is hashed in the sender's own order, which is not that on the wire.
fn has_set_of_texts(capability: &Capability) -> bool {
    capability.parameters.iter().any(|parameter| match &parameter.constraint {
        Constraint::Set(items) => {
            items.len() > 1 && items.iter().all(|item| item.as_text().is_some())
        }
        _ => false,
    })
}

#[test]
fn computed_tokens_are_those_in_captured_messages() {
    let mut compared = 0;
    for (name, body) in samples() {
        let Ok(message) = Message::from_json(body.as_bytes(), &registries()) else { continue };
        let messages = match message {
            Message::Envelope(envelope) => envelope.contents,
            other => vec![other],
        };
        for message in messages {
            let (computed, token) = match &message {
                Message::Capability(body) if !has_set_of_texts(body) => {
                    (body.computed_token(), body.head.token.clone())
                }
                Message::Specification(body) if body.when.is_definite() => {
                    (body.computed_token(), body.head.token.clone())
                }
                _ => continue,
            };
            // Others were named by hand or at random.
            if let Some(token) = token.filter(|token| token.len() == 32) {
                assert_eq!(computed, token, "{name}: {:?}", message.label());
                compared += 1;
            }
        }
    }
    assert!(compared >= 20, "{compared}");
}

/// Not messages, or no longer what the RI itself would print.
const REPLIES: [&str; 3] =
    ["02-registration-reply", "53-sdk-withdrawal-reply", "54-withdrawal-reply-0.9.0"];

/// Made by hand, or with a missing time, which the RI writes as text and we as null.
const NOT_NORMAL: [&str; 9] = [
    "29-result-with-missing-time",
    "30-direct-specification-types",
    "31-direct-result-types",
    "34-direct-no-token",
    "36-direct-no-token-definite",
    "44-result-json-numbers",
    "45-result-json-numbers-relayed",
    "52-sdk-withdrawal",
    "61-callback-absolute",
];

#[test]
fn every_captured_message_is_written_again_byte_for_byte() {
    let mut exact = 0;
    for (name, body) in samples() {
        if REPLIES.contains(&name.as_str()) {
            continue;
        }
        let message = read(&body);
        let written = message.to_json();
        // A natural number received as the JSON number 3.5 loses its fraction as a text.
        if name != "44-result-json-numbers" {
            assert_eq!(read(&written), message, "{name}: not what it is written as");
        }
        if NOT_NORMAL.contains(&name.as_str()) {
            continue;
        }
        assert_eq!(written, body, "{name}");
        exact += 1;
    }
    assert!(exact >= 45, "{exact}");
}

#[test]
fn unknown_keys_are_ignored_and_versions_up_to_one_accepted() {
    let body = sample("13-capability");
    let plain = read(&body);
    let mut json: Json = serde_json::from_str(&body).unwrap();
    json["weather"] = serde_json::json!({ "sky": ["blue"] });
    json["export"] = "udp://192.0.2.1:1".into();
    for version in
        [Json::Null, 0.into(), 1.into(), "1".into(), 1.9.into(), true.into(), (-4).into()]
    {
        json["version"] = version.clone();
        assert_eq!(Message::from_value(&json, &registries()).as_ref(), Ok(&plain), "{version}");
    }
    json.as_object_mut().unwrap().remove("version");
    assert_eq!(Message::from_value(&json, &registries()).as_ref(), Ok(&plain));
    for version in [2.into(), "2".into(), "one".into(), serde_json::json!([1]), 1e300.into()] {
        json["version"] = version;
        let error = Message::from_value(&json, &registries()).unwrap_err();
        assert_eq!(error.path, "version");
    }
}

#[test]
fn numbers_booleans_and_null_are_accepted_where_texts_are_usual() {
    let Message::Result(result) = read(&sample("44-result-json-numbers")) else { panic!() };
    let texts: Vec<_> = result.rows.iter().map(|row| row[0].to_string()).collect();
    assert_eq!(texts, ["1", "2", "*", "True", "3.5"]);
    let Message::Result(relayed) = read(&sample("45-result-json-numbers-relayed")) else {
        panic!()
    };
    let relayed: Vec<_> = relayed.rows.iter().map(|row| row[0].to_string()).collect();
    // Received as text, a natural number loses its fraction.
    assert_eq!(relayed, ["1", "2", "*", "True", "3"]);
}

#[test]
fn a_missing_time_is_read_in_every_spelling_and_written_as_null() {
    let Message::Result(result) = read(&sample("29-result-with-missing-time")) else { panic!() };
    assert!(result.rows[2][0].is_missing());
    assert!(result.rows[3][0].is_missing());
    let json = Message::from(result).to_value();
    assert_eq!(json["resultvalues"][2][0], Json::Null);
    assert_eq!(json["resultvalues"][3][0], Json::Null);
    assert_eq!(json["resultvalues"][3][2], Json::from("*"));
}

#[test]
fn text_after_a_timestamp_does_not_fail_a_message() {
    let mut json: Json = serde_json::from_str(&sample("06-result-aggregate")).unwrap();
    json["when"] = "2015-07-01 10:59:29Z ... 2015-07-01T11:00:00+00:00".into();
    let message = Message::from_value(&json, &registries()).unwrap();
    let when = message.when().unwrap().to_string();
    assert_eq!(when, "2015-07-01 10:59:29.000000 ... 2015-07-01 00:00:00.000000");
}

#[test]
fn a_definite_specification_without_a_token_gets_the_computed_one() {
    let Message::Envelope(envelope) = read(&sample("43-specification-definite-no-token")) else {
        panic!()
    };
    let [Message::Specification(specification)] = envelope.contents.as_slice() else { panic!() };
    assert_eq!(specification.head.token, None);
    let receipt = specification.receipt();
    assert_eq!(receipt.token(), Some(specification.computed_token().as_str()));

    let direct: Specification = match read(&sample("36-direct-no-token-definite")) {
        Message::Specification(specification) => specification,
        other => panic!("{other:?}"),
    };
    let reply = read(&sample("37-direct-no-token-definite-reply"));
    assert_eq!(Some(direct.token().as_str()), reply.token());
}

#[test]
fn registration_replies_are_read_and_written() {
    let accepted = Outcomes::from_json(sample("02-registration-reply").as_bytes()).unwrap();
    assert!(accepted.0.len() > 3);
    assert!(accepted.0.iter().all(|(_, outcome)| *outcome == Outcome::Registered));
    let withdrawn = Outcomes::from_json(sample("53-sdk-withdrawal-reply").as_bytes()).unwrap();
    let refused = Outcome::Refused { reason: "Withdrawn".to_owned() };
    assert_eq!(withdrawn.0.iter().map(|(_, outcome)| outcome).collect::<Vec<_>>(), [&refused]);
    assert_eq!(Outcomes::from_json(withdrawn.to_json().as_bytes()), Ok(withdrawn));
}

#[test]
fn our_registry_has_the_uri_of_the_core_one_and_describes_every_element() {
    let registries = Registries::built_in();
    let ours = registries.registry(CORE_URI).unwrap();
    assert!(std::ptr::eq(ours, registries.registry("").unwrap()));
    for element in ours.elements() {
        assert!(!ours.description(element.name()).is_empty(), "{element}");
    }
}
