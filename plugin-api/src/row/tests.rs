//! Tables as declared, and rows of foreign origin.

use std::net::IpAddr;

use super::*;
use crate::descriptor::{RowError, Type};
use crate::schema::{Field, Time, Value, to_vec};
use crate::{choices, row, tables};

choices! { enum Match { Exact = "exact", Weak = "weak" } }

row! {
    /// A label
    /// of MPLS.
    #[derive(Eq)]
    struct Label { label: u32, ttl: u8 }
}
row! {
    struct HopRow = "hops" {
        ttl: u8 => "hops.ttl" { unit: "hops" },
        addr: Option<IpAddr> => "scamper.trace.hop.{ip}",
        /// Null without an answer.
        rtt_us: Option<u64>,
        quality: Match,
        mpls: Vec<Label>,
    }
}
row! { struct MtuRow { pmtu_octets: u16, at: Time } }
tables! {
    /// Rows of a trace.
    enum TraceTables {
        Hops(HopRow) = "hops",
        Mtu(MtuRow) = "pmtu",
    }
}

fn hop() -> HopRow {
    HopRow { ttl: 3, addr: None, rtt_us: Some(412), quality: Match::Weak, mpls: Vec::new() }
}

fn octets(row: &impl Rows) -> Vec<u8> {
    to_vec(|arena| row.encode(arena))
}

#[test]
fn tables_are_described_as_declared() {
    let tables = TraceTables::tables();
    assert_eq!(
        serde_json::to_string(&tables[0]).unwrap(),
        concat!(
            r#"{"name":"hops","columns":["#,
            r#"{"name":"ttl","element":"hops.ttl","type":"natural","unit":"hops","nullable":false},"#,
            r#"{"name":"addr","element":"scamper.trace.hop.{ip}","type":"address","nullable":true},"#,
            r#"{"name":"rtt_us","type":"natural","unit":"us","nullable":true,"doc":"Null without an answer."},"#,
            r#"{"name":"quality","type":"string","choices":["exact","weak"],"nullable":false},"#,
            r#"{"name":"mpls","type":"list","items":"map","fields":["#,
            r#"{"name":"label","type":"natural","nullable":false},{"name":"ttl","type":"natural","nullable":false}"#,
            r#"],"nullable":false}]}"#,
        ),
    );
    assert_eq!(tables[1].name, "pmtu");
    assert_eq!(tables[1].columns[0].unit, "octets");
    assert_eq!(
        (MtuRow::tables()[0].name.as_str(), Label::tables()[0].doc.as_str()),
        ("rows", "A label of MPLS.")
    );
    assert_eq!(<Vec<Vec<u8>>>::shape().items, Some(Type::List));
}

#[test]
fn row_knows_its_table() {
    let mtu = MtuRow { pmtu_octets: 1480, at: Time(9) };
    assert_eq!(TraceTables::from(hop()).table(), 0);
    let row = TraceTables::from(mtu);
    assert_eq!(row.table(), 1);
    let values = TraceTables::tables()[1].decode_row(&octets(&row)).unwrap();
    assert_eq!(values, [Value::U64(1480), Value::Time(9)]);
}

#[test]
fn row_of_another_form_is_refused() {
    let table = &HopRow::tables()[0];
    let good = octets(&hop());
    assert!(table.decode_row(&good).is_ok());
    let error = table.decode_row(&good[..good.len() - 1]).unwrap_err();
    assert_eq!(error.to_string(), "row of hops: ends inside a value");
    let longer = [&good[..], &[0]].concat();
    let error = table.decode_row(&longer).unwrap_err();
    assert_eq!(error.to_string(), "row of hops: goes on behind the last value");
    let error = table.decode_row(&octets(&MtuRow { pmtu_octets: 1, at: Time(1) })).unwrap_err();
    assert_eq!(error.to_string(), "row of hops: addr is not address");
}

#[test]
fn value_that_its_column_does_not_declare_is_refused() {
    let table = &HopRow::tables()[0];
    let with = |column: usize, value: Value| {
        let mut values = table.decode_row(&octets(&hop())).unwrap();
        values[column] = value;
        table.decode_row(&to_vec(|arena| values.iter().for_each(|value| value.encode(arena))))
    };
    let refused = |column: usize, value: Value| match with(column, value) {
        Err(RowError::Column { column, .. }) => column,
        other => panic!("{other:?}"),
    };
    assert_eq!(refused(0, Value::None), "ttl");
    assert_eq!(refused(0, Value::I64(3)), "ttl");
    assert_eq!(refused(3, Value::Text("good".to_owned())), "quality");
    assert_eq!(refused(4, Value::List(vec![Value::U64(1)])), "mpls");
    let entry = |name: &str| {
        Value::Map(vec![(name.to_owned(), Value::U64(1)), ("ttl".to_owned(), Value::U64(1))])
    };
    assert_eq!(refused(4, Value::List(vec![entry("label"), entry("x")])), "mpls");
    assert!(with(4, Value::List(vec![entry("label")])).is_ok());
}

row! { struct Keywords { r#match: Option<u64> } }

#[test]
fn a_column_may_be_called_like_a_keyword() {
    let table = &Keywords::tables()[0];
    assert_eq!(table.columns[0].name, "match");
    let row = Keywords { r#match: Some(7) };
    assert_eq!(Keywords::from_value(&row.to_value()), Some(row.clone()));
    let values = table.decode_row(&octets(&row)).unwrap();
    assert_eq!(serde_json::Value::Object(table.row_json(&values, 0)).to_string(), r#"{"match":7}"#);
}
