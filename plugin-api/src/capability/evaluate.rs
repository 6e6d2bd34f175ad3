//! From the rows of a table to the rows of a result.

use std::cmp::Ordering;

use serde_json::Value as Json;

use super::aggregate::total_order;
use super::{Aggregate, Condition, View, ViewColumn};
use crate::descriptor::Table;
use crate::schema::Value;

type RowValues = Vec<Value>;

impl View {
    /// The result's rows, their values in the order of [`View::results`].
    ///
    /// Without aggregates and groups every row that meets the conditions gives one; with groups
    /// every group; with aggregates alone there is exactly one row, even if nothing was measured:
    /// counts are 0 then and everything else is missing. Columns that the table does not have, and
    /// rows that are too short, count as missing values.
    #[must_use]
    pub fn evaluate(&self, table: &Table, rows: &[RowValues]) -> Vec<RowValues> {
        let mut kept: Vec<&RowValues> =
            rows.iter().filter(|row| all_hold(&self.conditions, table, row)).collect();
        if !self.order.is_empty() {
            kept.sort_by(|a, b| {
                total_order(cell(table, a, &self.order), cell(table, b, &self.order))
            });
        }
        let is_whole = self.results.iter().any(|column| column.aggregate.is_some());
        let groups: Vec<Vec<&RowValues>> = if !self.groups.is_empty() {
            self.grouped(table, &kept)
        } else if is_whole {
            vec![kept]
        } else {
            kept.into_iter().map(|row| vec![row]).collect()
        };
        groups
            .iter()
            .map(|group| self.results.iter().map(|column| of_group(column, table, group)).collect())
            .collect()
    }

    /// Rows with equal keys together; groups in the order of their keys.
    fn grouped<'a>(&self, table: &Table, rows: &[&'a RowValues]) -> Vec<Vec<&'a RowValues>> {
        let by_key = |a: &RowValues, b: &RowValues| {
            let mut orders = self
                .groups
                .iter()
                .map(|name| total_order(cell(table, a, name), cell(table, b, name)));
            orders.find(|order| order.is_ne()).unwrap_or(Ordering::Equal)
        };
        let mut sorted = rows.to_vec();
        sorted.sort_by(|a, b| by_key(a, b));
        sorted.chunk_by(|a, b| by_key(a, b).is_eq()).map(<[_]>::to_vec).collect()
    }
}

fn of_group(column: &ViewColumn, table: &Table, group: &[&RowValues]) -> Value {
    let counts = |row: &&&RowValues| all_hold(&column.conditions, table, row);
    let values: Vec<&Value> = group
        .iter()
        .filter(counts)
        .map(|row| cell(table, row, &column.column))
        .filter(|value| !value.is_none())
        .collect();
    let value = column.aggregate.unwrap_or(Aggregate::First).of(&values);
    match column.divisor {
        Some(divisor) => divided(value, divisor),
        None => value,
    }
}

/// Whole numbers lose their fraction.
fn divided(value: Value, divisor: u64) -> Value {
    match value {
        _ if divisor == 0 => Value::None,
        Value::U64(number) => Value::U64(number / divisor),
        Value::Duration(number) => Value::Duration(number / divisor),
        Value::F64(number) => Value::F64(number / divisor as f64),
        Value::I64(number) => {
            let quotient = i128::from(number) / i128::from(divisor);
            Value::I64(i64::try_from(quotient).unwrap_or_default())
        }
        other => other,
    }
}

fn cell<'a>(table: &Table, row: &'a RowValues, column: &str) -> &'a Value {
    table.column(column).and_then(|index| row.get(index)).unwrap_or(&Value::None)
}

fn all_hold(conditions: &[Condition], table: &Table, row: &RowValues) -> bool {
    conditions.iter().all(|condition| {
        let value = cell(table, row, &condition.column);
        condition.values.iter().any(|wanted| is_same(value, wanted)) != condition.negated
    })
}

fn is_same(value: &Value, wanted: &Json) -> bool {
    match (value, wanted) {
        (Value::None, wanted) => wanted.is_null(),
        (Value::Bool(value), Json::Bool(wanted)) => value == wanted,
        (Value::U64(value), Json::Number(wanted)) => wanted.as_u64() == Some(*value),
        (Value::I64(value), Json::Number(wanted)) => wanted.as_i64() == Some(*value),
        (Value::F64(value), Json::Number(wanted)) => wanted.as_f64() == Some(*value),
        (Value::Text(value), Json::String(wanted)) => value == wanted,
        (Value::Ip(value), Json::String(wanted)) => wanted.parse() == Ok(*value),
        _ => false,
    }
}
