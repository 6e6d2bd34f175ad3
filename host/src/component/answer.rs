//! From the rows of a measurement to the rows of a result, in mPlane's types.

use sonde_mplane::{Element, Moment, Primitive, Time, Value as Wire};
use sonde_plugin_api::schema::Value;

use super::offered::Offered;
use crate::record::Record;

/// The rows of a result, columns in the order of the capability.
pub(crate) fn rows(offered: &Offered, record: &Record) -> Vec<Vec<Wire>> {
    let view = &offered.view;
    let Some((index, table)) = offered.offer.method().table(&view.table) else {
        return Vec::new();
    };
    // One offset from the monotonic clock to wall time for all rows: the times of a result must not
    // move against each other where the wall clock is set meanwhile.
    let (values, offset_ns) = record.values_of(usize::from(index));
    let elements = &offered.capability.head.results;
    let evaluated = view.evaluate(table, &values);
    evaluated
        .iter()
        .map(|row| {
            let cells = elements.iter().zip(row);
            cells.map(|(element, value)| convert(element, value, offset_ns)).collect()
        })
        .collect()
}

fn convert(element: &Element, value: &Value, offset_ns: i64) -> Wire {
    match (element.primitive(), value) {
        (_, Value::None) => Wire::Missing,
        (Primitive::Time, Value::Time(monotonic_ns)) => {
            let wall_ns = i128::from(*monotonic_ns) + i128::from(offset_ns);
            Wire::Time(Moment::At(time_of(wall_ns)))
        }
        (Primitive::Natural, Value::F64(number)) if !number.is_finite() => Wire::Missing,
        (Primitive::Boolean, Value::Bool(value)) => Wire::Boolean(*value),
        (Primitive::Real, Value::F64(number)) => Wire::Real(*number),
        (Primitive::Real, Value::U64(number)) => Wire::Real(*number as f64),
        (Primitive::Natural, Value::Bool(value)) => Wire::Natural(i128::from(*value)),
        (Primitive::Natural, Value::Time(number) | Value::Duration(number)) => {
            Wire::Natural(i128::from(*number))
        }
        (Primitive::String | Primitive::Url, Value::Bool(value)) => {
            Wire::Text(Wire::Boolean(*value).to_string())
        }
        (primitive, value) => {
            let text = value.to_string();
            Wire::parse(&text, primitive).unwrap_or_else(|error| {
                let element = element.name();
                tracing::warn!(element, %error, "a column has another type than its element");
                Wire::Missing
            })
        }
    }
}

/// From when to when it was measured.
pub(crate) fn span(record: &Record) -> (Time, Time) {
    (time_of(i128::from(record.start_ns)), time_of(i128::from(record.end_ns)))
}

fn time_of(wall_ns: i128) -> Time {
    Time::from_unix_us(i64::try_from(wall_ns.div_euclid(1000)).unwrap_or(i64::MAX))
}
