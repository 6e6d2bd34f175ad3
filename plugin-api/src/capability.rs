//! Capabilities: how a method is offered to supervisors.
//!
//! A capability is a view: a label, some of the method's parameters with constraints of their own,
//! and columns of one table, as they are or aggregated. A richer view costs no code. The family is
//! data: `{ip}` in labels and elements stands for `ip4` and `ip6`.

mod aggregate;
mod constraint;
mod evaluate;

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use sonde_packet::Family;

pub use self::aggregate::{Aggregate, compare};
pub use self::constraint::Constraint;
use crate::descriptor::expand;

/// What an author calls a [`View`].
pub type Capability = View;

/// A method as supervisors see it.
///
/// ```
/// use sonde_plugin_api::capability::{Aggregate, Capability, Constraint};
///
/// let view = Capability::new("ping-average-{ip}")
///     .when("now ... future / 1s")
///     .parameter("source.{ip}", Constraint::LocalAddress)
///     .parameter("destination.{ip}", Constraint::Any)
///     .parameter("scamper.ping.size", Constraint::range(84, 140).ip6(56, 140))
///     .table("replies")
///     .present("rtt_us")
///     .aggregate("delay.twoway.icmp.us.min", Aggregate::Min, "rtt_us")
///     .aggregate("delay.twoway.icmp.count", Aggregate::Count, "rtt_us")
///     .metadata("System_type", "Scamper");
/// assert_eq!(view.label, "ping-average-{ip}");
/// ```
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct View {
    /// May hold `{ip}`.
    pub label: String,
    /// `measure`, mostly.
    pub verb: String,
    /// Temporal scope in mPlane's words.
    pub when: String,
    /// The only family it is for; both if missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub only: Option<IpVersion>,
    /// In declared order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parameters: Vec<ViewParameter>,
    /// Parameters that are not offered and have another value than their default.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub presets: Vec<Preset>,
    /// The table that the columns are of.
    pub table: String,
    /// Rows that count; all if empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
    /// Column whose value, ascending, gives the order of the rows; as emitted if empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub order: String,
    /// Columns whose values make rows belong together; each group becomes one row.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<String>,
    /// In declared order.
    pub results: Vec<ViewColumn>,
    /// Names and texts in declared order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub metadata: Vec<(String, String)>,
}

/// A family as data.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum IpVersion {
    /// IPv4.
    Ip4,
    /// IPv6.
    Ip6,
}

/// A parameter that a view offers.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct ViewParameter {
    /// Of a parameter of the method, or `source.{ip}`.
    pub element: String,
    /// What a specification may say.
    pub constraint: Constraint,
    /// Taken where a specification gives no value, in place of the method's own default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default: Option<Json>,
}

/// A value that a view sets and a specification cannot.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Preset {
    /// Of a parameter of the method.
    pub element: String,
    /// In the JSON form of the parameter.
    pub value: Json,
}

/// A result column of a view.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct ViewColumn {
    /// What the result calls it; may hold `{ip}`.
    pub element: String,
    /// The column of the table.
    pub column: String,
    /// What is made of several rows; none: each row for itself, or the first of a group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub aggregate: Option<Aggregate>,
    /// Rows that count for this column, beside the conditions of the view.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
    /// The result is divided by it; a natural number loses its fraction.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub divisor: Option<u64>,
}

/// What must hold of a row.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Condition {
    /// The column that is looked at.
    pub column: String,
    /// In JSON form; null for a missing value.
    pub values: Vec<Json>,
    /// Whether the column must have none of the values rather than one of them.
    #[serde(default)]
    pub negated: bool,
}

impl Condition {
    fn new(column: &str, values: Vec<Json>, negated: bool) -> Self {
        Self { column: column.to_owned(), values, negated }
    }

    /// The column has a value.
    #[must_use]
    pub fn present(column: &str) -> Self {
        Self::new(column, vec![Json::Null], true)
    }

    /// The column has this value.
    #[must_use]
    pub fn is(column: &str, value: impl Into<Json>) -> Self {
        Self::new(column, vec![value.into()], false)
    }

    /// The column has another value or none.
    #[must_use]
    pub fn is_not(column: &str, value: impl Into<Json>) -> Self {
        Self::new(column, vec![value.into()], true)
    }

    /// The column has one of these values.
    #[must_use]
    pub fn is_one_of<V: Into<Json>>(column: &str, values: impl IntoIterator<Item = V>) -> Self {
        Self::new(column, values.into_iter().map(Into::into).collect(), false)
    }
}

impl View {
    /// A view that measures from now on, until told what else.
    #[must_use]
    pub fn new(label: &str) -> Self {
        Self {
            label: label.to_owned(),
            verb: "measure".to_owned(),
            when: "now ... future".to_owned(),
            ..Self::default()
        }
    }

    /// Temporal scope in mPlane's words.
    #[must_use]
    pub fn when(mut self, when: &str) -> Self {
        when.clone_into(&mut self.when);
        self
    }

    /// Another verb than `measure`.
    #[must_use]
    pub fn verb(mut self, verb: &str) -> Self {
        verb.clone_into(&mut self.verb);
        self
    }

    /// For one family alone.
    #[must_use]
    pub fn only(mut self, version: IpVersion) -> Self {
        self.only = Some(version);
        self
    }

    /// Offers a parameter.
    #[must_use]
    pub fn parameter(mut self, element: &str, constraint: Constraint) -> Self {
        let element = element.to_owned();
        self.parameters.push(ViewParameter { element, constraint, default: None });
        self
    }

    /// Default of the parameter offered last, where it is not the method's.
    ///
    /// # Panics
    ///
    /// If no parameter was offered before.
    #[must_use]
    pub fn default_value(mut self, value: impl Into<Json>) -> Self {
        self.parameters.last_mut().expect("a default follows its parameter").default =
            Some(value.into());
        self
    }

    /// Sets a parameter that is not offered.
    #[must_use]
    pub fn preset(mut self, element: &str, value: impl Into<Json>) -> Self {
        self.presets.push(Preset { element: element.to_owned(), value: value.into() });
        self
    }

    /// The table that the columns are of.
    #[must_use]
    pub fn table(mut self, table: &str) -> Self {
        table.clone_into(&mut self.table);
        self
    }

    /// Only rows that meet the condition.
    #[must_use]
    pub fn filter(mut self, condition: Condition) -> Self {
        self.conditions.push(condition);
        self
    }

    /// Only rows where the column has a value.
    #[must_use]
    pub fn present(self, column: &str) -> Self {
        self.filter(Condition::present(column))
    }

    /// Rows in ascending order of a column.
    #[must_use]
    pub fn order(mut self, column: &str) -> Self {
        column.clone_into(&mut self.order);
        self
    }

    /// One row for each value of a column (of several columns, if called again).
    #[must_use]
    pub fn group(mut self, column: &str) -> Self {
        self.groups.push(column.to_owned());
        self
    }

    /// A column as it is; of a group the first value that there is.
    #[must_use]
    pub fn column(mut self, element: &str, column: &str) -> Self {
        self.results.push(ViewColumn {
            element: element.to_owned(),
            column: column.to_owned(),
            aggregate: None,
            conditions: Vec::new(),
            divisor: None,
        });
        self
    }

    /// One value made of a column of all rows, or of every group.
    #[must_use]
    pub fn aggregate(self, element: &str, aggregate: Aggregate, column: &str) -> Self {
        let mut view = self.column(element, column);
        view.last_column().aggregate = Some(aggregate);
        view
    }

    /// Only rows that meet the condition count for the column added last.
    ///
    /// # Panics
    ///
    /// If no column was added before.
    #[must_use]
    pub fn given(mut self, condition: Condition) -> Self {
        self.last_column().conditions.push(condition);
        self
    }

    /// Divides the column added last: 1000 makes milliseconds of microseconds.
    ///
    /// # Panics
    ///
    /// If no column was added before.
    #[must_use]
    pub fn divided_by(mut self, divisor: u64) -> Self {
        self.last_column().divisor = Some(divisor);
        self
    }

    /// A text about the system that measures.
    #[must_use]
    pub fn metadata(mut self, name: &str, value: &str) -> Self {
        self.metadata.push((name.to_owned(), value.to_owned()));
        self
    }

    fn last_column(&mut self) -> &mut ViewColumn {
        self.results.last_mut().expect("there is a column that this can be said of")
    }

    /// The view for one family, with `{ip}` filled in and constraints of that family; nothing if it
    /// is not for that family.
    #[must_use]
    pub fn for_family(&self, family: Family) -> Option<Self> {
        let other = match family {
            Family::V4 => IpVersion::Ip6,
            Family::V6 => IpVersion::Ip4,
        };
        if self.only == Some(other) {
            return None;
        }
        let mut view = self.clone();
        view.label = expand(&view.label, family);
        for parameter in &mut view.parameters {
            parameter.element = expand(&parameter.element, family);
            parameter.constraint = parameter.constraint.for_family(family).clone();
        }
        for preset in &mut view.presets {
            preset.element = expand(&preset.element, family);
        }
        for column in &mut view.results {
            column.element = expand(&column.element, family);
        }
        Some(view)
    }

    /// Whether it is the same for both families, so that [`View::for_family`] gives twice the same.
    #[must_use]
    pub fn is_for_any_family(&self) -> bool {
        !self.label.contains("{ip}") && self.only.is_none()
    }
}

#[cfg(test)]
mod tests;
