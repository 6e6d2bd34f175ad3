//! Values there and back, and octets that are none.

use std::net::IpAddr;
use std::time::Duration;

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::row;
use crate::row::Row;

row! {
    /// Every type that a column may have.
    struct Everything {
        flag: bool,
        small: u8,
        large: u64,
        signed: i16,
        real: f64,
        text: String,
        name: &'static str,
        four: IpAddr,
        six: Option<IpAddr>,
        at: Time,
        wait: Duration,
        octets: Hex,
        inner: Vec<Inner>,
        nothing: Option<u32>,
    }
}
row! { struct Inner { a: u32, b: Vec<u8> } }

fn everything() -> Everything {
    Everything {
        flag: true,
        small: 7,
        large: u64::MAX,
        signed: -2,
        real: 0.25,
        text: "é".to_owned(),
        name: "exact",
        four: IpAddr::from([192, 0, 2, 1]),
        six: Some("2001:db8::1".parse().unwrap()),
        at: Time(1_500),
        wait: Duration::from_millis(200),
        octets: Hex(vec![0, 255]),
        inner: vec![Inner { a: 1, b: vec![] }, Inner { a: 2, b: vec![3] }],
        nothing: None,
    }
}

#[test]
fn row_writes_the_same_as_its_values() {
    let row = everything();
    let Value::Map(entries) = row.to_value() else { panic!("a row is a map") };
    let by_values = to_vec(|arena| entries.iter().for_each(|(_, value)| value.encode(arena)));
    assert_eq!(to_vec(|arena| Row::encode(&row, arena)), by_values);
    let values: Vec<Value> = entries.into_iter().map(|(_, value)| value).collect();
    assert_eq!(Reader::all(&by_values), Ok(values));
}

#[test]
fn nested_rows_come_back() {
    let inner = everything().inner;
    assert_eq!(Vec::from_value(&inner.to_value()), Some(inner));
    let renamed = Value::Map(vec![("b".to_owned(), Value::U64(1))]);
    assert_eq!(Inner::from_value(&renamed), None);
    let mut longer = Inner { a: 1, b: vec![] }.to_value();
    if let Value::Map(entries) = &mut longer {
        entries.push(("c".to_owned(), Value::None));
    }
    assert_eq!(Inner::from_value(&longer), None);
}

#[test]
fn json_has_the_forms_of_the_result_record() {
    let json = everything().to_value().to_json_at(1_767_323_045_678_900_000);
    assert_eq!(
        json,
        json!({
            "flag": true, "small": 7, "large": u64::MAX, "signed": -2, "real": 0.25, "text": "é",
            "name": "exact", "four": "192.0.2.1", "six": "2001:db8::1",
            "at": "2026-01-02T03:04:05.678901Z", "wait": "200ms", "octets": "00ff",
            "inner": [{"a": 1, "b": []}, {"a": 2, "b": [3]}], "nothing": null,
        }),
    );
    assert_eq!(Value::Time(5).to_json(), json!(5));
    assert_eq!(Value::F64(f64::NAN).to_json(), json!(null));
}

#[test]
fn time_saturates_instead_of_overflowing() {
    assert_eq!(Time(5) + Duration::MAX, Time(u64::MAX));
    assert_eq!(Time(5) - Duration::from_secs(1), Time(0));
    assert_eq!(Time(5) - Time(7), Duration::ZERO);
    assert_eq!(Time(7).since(Time(5)), Duration::from_nanos(2));
}

#[test]
fn nesting_is_bounded() {
    let nested = |depth: usize| {
        let mut octets = [tag::LIST, 1, 0, 0, 0].repeat(depth - 1);
        octets.push(tag::NONE);
        octets
    };
    assert!(Reader::all(&nested(MAX_DEPTH)).is_ok());
    assert_eq!(Reader::all(&nested(MAX_DEPTH + 1)), Err(DecodeError::TooDeep));
    assert_eq!(Reader::all(&nested(50_000)), Err(DecodeError::TooDeep));
}

#[test]
fn number_of_values_is_bounded() {
    assert!(Reader::all(&vec![tag::NONE; MAX_VALUES]).is_ok());
    assert_eq!(Reader::all(&vec![tag::NONE; MAX_VALUES + 1]), Err(DecodeError::TooMany));
    assert_eq!(Reader::all(&vec![tag::NONE; MAX_OCTETS + 1]), Err(DecodeError::TooLong));
}

#[test]
fn length_that_the_octets_cannot_hold_is_not_believed() {
    for tag in [tag::TEXT, tag::BYTES, tag::LIST, tag::MAP] {
        let mut octets = vec![tag];
        octets.extend(60_000_u32.to_le_bytes());
        octets.extend([0; 100]);
        assert_eq!(Reader::all(&octets), Err(DecodeError::Truncated), "tag {tag}");
    }
    assert_eq!(Reader::all(&[tag::LIST, 255, 255, 255, 255]), Err(DecodeError::TooMany));
}

#[test]
fn octets_that_mean_nothing_are_refused() {
    assert_eq!(Reader::all(&[99]), Err(DecodeError::Unknown(99)));
    assert_eq!(Reader::all(&[tag::BOOL, 2]), Err(DecodeError::Unknown(2)));
    assert_eq!(Reader::all(&[tag::TEXT, 1, 0, 0, 0, 255]), Err(DecodeError::NotUtf8));
    assert_eq!(Reader::all(&[tag::U64, 1]), Err(DecodeError::Truncated));
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::None),
        any::<bool>().prop_map(Value::Bool),
        any::<u64>().prop_map(Value::U64),
        any::<i64>().prop_map(Value::I64),
        (-1e9..1e9).prop_map(Value::F64),
        "\\PC{0,8}".prop_map(Value::Text),
        any::<IpAddr>().prop_map(Value::Ip),
        any::<u64>().prop_map(Value::Time),
        any::<u64>().prop_map(Value::Duration),
        any::<Vec<u8>>().prop_map(Value::Bytes),
    ];
    leaf.prop_recursive(4, 32, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::List),
            prop::collection::vec(("[a-z]{1,4}", inner), 0..4).prop_map(Value::Map),
        ]
    })
}

proptest! {
    #[test]
    fn every_value_comes_back(values in prop::collection::vec(value(), 0..4)) {
        let octets = to_vec(|arena| values.iter().for_each(|value| value.encode(arena)));
        prop_assert_eq!(Reader::all(&octets), Ok(values));
    }

    #[test]
    fn damaged_octets_are_read_without_panic(
        values in prop::collection::vec(value(), 1..4),
        place in any::<prop::sample::Index>(),
        octet in any::<u8>(),
    ) {
        let mut octets = to_vec(|arena| values.iter().for_each(|value| value.encode(arena)));
        let place = place.index(octets.len());
        octets[place] = octet;
        let _ = Reader::all(&octets);
        octets.truncate(place);
        let _ = Reader::all(&octets);
    }
}
