//! Whether a plugin's description of itself makes sense.
//!
//! Everything that a host later relies on is checked here once: sizes, names, types of defaults,
//! and that capabilities speak of what there is.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use sonde_packet::Family;

use super::{
    Column, DESCRIPTOR_VERSION, Descriptor, MethodDescriptor, Parameter, Shape, Table, Type,
};
use crate::capability::{Aggregate, Condition, Constraint, View, compare};
use crate::schema::{MAX_DEPTH, Value};

/// Octets of a descriptor.
pub const MAX_DESCRIPTOR_OCTETS: usize = 1 << 20;
/// Methods of a plugin.
pub const MAX_METHODS: usize = 64;
/// Tables of a method.
pub const MAX_TABLES: usize = 64;
/// Parameters of a method, columns of a table, capabilities of a method, and entries of every other
/// list.
pub const MAX_ENTRIES: usize = 256;
/// Octets of a name and of an element.
const MAX_NAME: usize = 127;
/// Octets of every other text.
const MAX_TEXT: usize = 4096;

/// Why a descriptor was refused.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum DescriptorError {
    /// More than [`MAX_DESCRIPTOR_OCTETS`].
    #[error("descriptor of {0} octets, at most {MAX_DESCRIPTOR_OCTETS}")]
    TooLong(usize),
    /// It is not JSON, or lacks a member, or has one of another type.
    #[error("descriptor: {0}")]
    Form(String),
    /// The plugin panicked in place of describing itself; what it said and where.
    #[error("it panicked: {0}")]
    Panicked(String),
    /// A version that this host does not know.
    #[error("descriptor version {0}, this host knows {DESCRIPTOR_VERSION}")]
    Version(u32),
    /// A member that does not make sense.
    #[error("{at}: {reason}")]
    Invalid {
        /// Where, such as `ping.parameters.size`.
        at: String,
        /// What is wrong.
        reason: String,
    },
}

/// What [`export_methods!`](crate::export_methods) hands over where describing panicked.
#[derive(Deserialize, Serialize)]
pub(crate) struct InPlaceOfOne {
    pub(crate) error: String,
}

impl InPlaceOfOne {
    pub(crate) fn to_json(&self) -> String {
        serde_json::json!(self).to_string()
    }
}

type Checked = Result<(), DescriptorError>;

fn invalid<T>(at: &str, reason: impl Into<String>) -> Result<T, DescriptorError> {
    Err(DescriptorError::Invalid { at: at.to_owned(), reason: reason.into() })
}

fn ensure(holds: bool, at: &str, reason: &str) -> Checked {
    if holds { Ok(()) } else { invalid(at, reason) }
}

pub(super) fn parse(json: &str) -> Result<Descriptor, DescriptorError> {
    if json.len() > MAX_DESCRIPTOR_OCTETS {
        return Err(DescriptorError::TooLong(json.len()));
    }
    // What the plugin wrote, or what may repeat it.
    let short = |text: &str| text.chars().filter(|c| !c.is_control()).take(MAX_TEXT).collect();
    let descriptor: Descriptor =
        serde_json::from_str(json).map_err(|error| match serde_json::from_str(json) {
            Ok(InPlaceOfOne { error }) => DescriptorError::Panicked(short(&error)),
            Err(_) => DescriptorError::Form(short(&error.to_string())),
        })?;
    if descriptor.descriptor != DESCRIPTOR_VERSION {
        return Err(DescriptorError::Version(descriptor.descriptor));
    }
    whole(&descriptor)?;
    Ok(descriptor)
}

fn whole(descriptor: &Descriptor) -> Checked {
    name("plugin", &descriptor.plugin)?;
    version("version", &descriptor.version)?;
    version("api", &descriptor.api)?;
    count("methods", descriptor.methods.len(), 1, MAX_METHODS)?;
    unique("methods", descriptor.methods.iter().map(|method| method.name.as_str()))?;
    let views = descriptor.methods.iter().flat_map(|method| &method.capabilities);
    unique("capabilities", views.map(|view| view.label.as_str()))?;
    descriptor.methods.iter().try_for_each(method)
}

fn method(method: &MethodDescriptor) -> Checked {
    let at = method.name.as_str();
    // the name becomes part of paths and of subcommands
    name("methods", at)?;
    ensure(!at.contains(|c: char| c.is_ascii_uppercase()), at, "a method's name is in lower case")?;
    text(at, &method.doc)?;
    text(at, &method.source)?;
    count(&format!("{at}.needs"), method.needs.len(), 0, MAX_ENTRIES)?;
    count(&format!("{at}.wants"), method.wants.len(), 0, MAX_ENTRIES)?;
    parameters(&format!("{at}.parameters"), &method.parameters)?;
    let tables_at = format!("{at}.tables");
    count(&tables_at, method.tables.len(), 0, MAX_TABLES)?;
    unique(&tables_at, method.tables.iter().map(|table| table.name.as_str()))?;
    for table in &method.tables {
        let at = format!("{tables_at}.{}", table.name);
        name(&tables_at, &table.name)?;
        text(&at, &table.doc)?;
        columns(&at, &table.columns, 1)?;
    }
    let views_at = format!("{at}.capabilities");
    count(&views_at, method.capabilities.len(), 0, MAX_ENTRIES)?;
    text_form(&format!("{at}.text"), method)?;
    graph_form(&format!("{at}.graph"), method)?;
    method.capabilities.iter().try_for_each(|view| self::view(&views_at, method, view))
}

fn parameters(at: &str, parameters: &[Parameter]) -> Checked {
    count(at, parameters.len(), 0, MAX_ENTRIES)?;
    unique(at, parameters.iter().map(|parameter| parameter.element.as_str()))?;
    let aliases = parameters.iter().map(|parameter| parameter.alias.as_str());
    let names = parameters.iter().map(|parameter| parameter.name.as_str());
    unique(at, names.chain(aliases.filter(|alias| !alias.is_empty())))?;
    let letters: Vec<String> =
        parameters.iter().filter_map(|parameter| parameter.short).map(String::from).collect();
    unique(at, letters.iter().map(String::as_str))?;
    parameters.iter().try_for_each(|parameter| self::parameter(at, parameter))
}

fn parameter(at: &str, parameter: &Parameter) -> Checked {
    name(at, &parameter.name)?;
    let at = &format!("{at}.{}", parameter.name);
    element(at, &parameter.element)?;
    if !parameter.alias.is_empty() {
        name(at, &parameter.alias)?;
    }
    let is_letter = parameter.short.is_none_or(|letter| letter.is_ascii_alphanumeric());
    ensure(is_letter, at, "its short form is neither letter nor digit")?;
    text(at, &parameter.unit)?;
    text(at, &parameter.doc)?;
    shape(at, &parameter.shape, 1)?;
    let kind = parameter.shape.items.unwrap_or(parameter.shape.kind);
    let can_be_said = !matches!(kind, Type::Time | Type::List | Type::Map);
    ensure(can_be_said, at, &format!("a parameter cannot be a {kind}"))?;
    let scalar = Parameter {
        shape: parameter.shape.scalar(),
        min: None,
        max: None,
        max_length: None,
        odd_digits: false,
        ..parameter.clone()
    };
    let mut ends = Vec::new();
    for (what, bound) in [("min", &parameter.min), ("max", &parameter.max)] {
        if let Some(json) = bound {
            match scalar.from_json(json).filter(|value| compare(value, value).is_some()) {
                Some(value) => ends.push(value),
                None => return invalid(at, format!("{what} {} is no {kind}", shown(json))),
            }
        }
    }
    if let [min, max] = &ends[..]
        && compare(min, max).is_none_or(std::cmp::Ordering::is_gt)
    {
        return invalid(at, format!("min {min} is more than max {max}"));
    }
    let defaults = [
        ("default", &parameter.default),
        ("default_ip4", &parameter.default_ip4),
        ("default_ip6", &parameter.default_ip6),
    ];
    for (what, default) in defaults {
        if let Some(json) = default {
            acceptable(at, what, parameter, json)?;
        }
    }
    Ok(())
}

fn acceptable(at: &str, what: &str, parameter: &Parameter, json: &Json) -> Checked {
    match parameter.from_json(json) {
        Some(value) => parameter
            .check(&value)
            .or_else(|error| invalid(at, format!("{what}: {}", error.problem))),
        None => invalid(at, format!("{what} {} is no {}", shown(json), parameter.shape.kind)),
    }
}

fn columns(at: &str, columns: &[Column], depth: usize) -> Checked {
    count(at, columns.len(), 1, MAX_ENTRIES)?;
    unique(at, columns.iter().map(|column| column.name.as_str()))?;
    for column in columns {
        name(at, &column.name)?;
        let at = &format!("{at}.{}", column.name);
        if !column.element.is_empty() {
            element(at, &column.element)?;
        }
        text(at, &column.unit)?;
        text(at, &column.doc)?;
        shape(at, &column.shape, depth)?;
    }
    Ok(())
}

fn shape(at: &str, shape: &Shape, depth: usize) -> Checked {
    ensure(depth <= MAX_DEPTH, at, "nested too deep")?;
    let is_list = shape.kind == Type::List;
    ensure(is_list || shape.items.is_none(), at, "has items but is no list")?;
    let has_map = shape.items.unwrap_or(shape.kind) == Type::Map;
    ensure(has_map || shape.fields.is_empty(), at, "has fields but is no map")?;
    count(at, shape.choices.len(), 0, MAX_ENTRIES)?;
    unique(at, shape.choices.iter().map(String::as_str))?;
    let is_item = |choice: &String| !choice.is_empty() && !choice.contains([',', ' ']);
    ensure(shape.choices.iter().all(is_item), at, "a choice is empty or holds a comma or blank")?;
    shape.choices.iter().try_for_each(|choice| text(at, choice))?;
    if has_map { columns(at, &shape.fields, depth + 1) } else { Ok(()) }
}

fn view(at: &str, method: &MethodDescriptor, view: &View) -> Checked {
    placeholders(at, &view.label)?;
    name(at, &view.label.replace("{ip}", "ip4"))?;
    let at = &format!("{at}.{}", view.label);
    text(at, &view.verb)?;
    text(at, &view.when)?;
    ensure(!view.verb.is_empty() && !view.when.is_empty(), at, "verb or when is empty")?;
    count(at, view.parameters.len(), 0, MAX_ENTRIES)?;
    let offered = view.parameters.iter().map(|parameter| parameter.element.as_str());
    let preset = view.presets.iter().map(|preset| preset.element.as_str());
    unique(at, offered.chain(preset))?;
    for offered in &view.parameters {
        let at = &format!("{at}.{}", offered.element);
        element(at, &offered.element)?;
        constraint(at, &offered.constraint, 0)?;
        let parameter = method.parameters.iter().find(|own| own.element == offered.element);
        match (parameter, &offered.default) {
            // the host itself sees to the source where the method does not ask for it
            (None, None) if offered.element.starts_with("source.") => {}
            (None, _) => return invalid(at, format!("{} has no such parameter", method.name)),
            (Some(parameter), Some(json)) => acceptable(at, "default", parameter, json)?,
            (Some(_), None) => {}
        }
    }
    count(at, view.presets.len(), 0, MAX_ENTRIES)?;
    for preset in &view.presets {
        match method.parameters.iter().find(|own| own.element == preset.element) {
            Some(parameter) => acceptable(at, "preset", parameter, &preset.value)?,
            None => {
                return invalid(
                    at,
                    format!("{} has no {}", method.name, shown_text(&preset.element)),
                );
            }
        }
    }
    view_columns(at, method, view)?;
    count(at, view.metadata.len(), 0, MAX_ENTRIES)?;
    for (key, value) in &view.metadata {
        name(at, key)?;
        text(at, value)?;
    }
    unique(at, view.metadata.iter().map(|(key, _)| key.as_str()))
}

fn view_columns(at: &str, method: &MethodDescriptor, view: &View) -> Checked {
    let Some((_, table)) = method.table(&view.table) else {
        return invalid(at, format!("{} has no table {}", method.name, shown_text(&view.table)));
    };
    count(at, view.results.len(), 1, MAX_ENTRIES)?;
    unique(at, view.results.iter().map(|column| column.element.as_str()))?;
    conditions(at, table, &view.conditions)?;
    count(at, view.groups.len(), 0, MAX_ENTRIES)?;
    let order = Some(&view.order).filter(|order| !order.is_empty());
    for name in view.groups.iter().chain(order) {
        has_column(at, table, name)?;
    }
    for column in &view.results {
        let at = &format!("{at}.{}", column.element);
        element(at, &column.element)?;
        has_column(at, table, &column.column)?;
        conditions(at, table, &column.conditions)?;
        ensure(column.divisor != Some(0), at, "is divided by 0")?;
        let is_percentile = !matches!(column.aggregate, Some(Aggregate::Percentile(percent)) if percent == 0 || percent > 100);
        ensure(is_percentile, at, "a percentile is from 1 to 100")?;
    }
    Ok(())
}

fn text_form(at: &str, method: &MethodDescriptor) -> Checked {
    let is_short = |text: &String| text.len() <= MAX_TEXT;
    let form = &method.text;
    ensure(is_short(&form.head), at, "a text is too long")?;
    for gap in gaps(&form.head) {
        let known = gap == "target" || method.parameters.iter().any(|known| known.name == gap);
        if !known {
            return invalid(at, format!("{} has no parameter {}", method.name, shown_text(gap)));
        }
    }
    count(at, form.lines.len(), 0, MAX_ENTRIES)?;
    for line in &form.lines {
        count(at, line.when.len(), 0, MAX_ENTRIES)?;
        count(at, line.continues.len(), 0, MAX_ENTRIES)?;
        let are_short = is_short(&line.text) && line.when.iter().all(is_short);
        ensure(are_short, at, "a text is too long")?;
        let Some((_, table)) = method.table(&line.table) else {
            return invalid(
                at,
                format!("{} has no table {}", method.name, shown_text(&line.table)),
            );
        };
        let conditions = line.when.iter().map(|condition| {
            let column = condition.trim_start_matches('!');
            column.split_once('=').map_or(column, |(column, _)| column)
        });
        for column in conditions.chain(gaps(&line.text)) {
            has_column(at, table, column)?;
        }
        line.continues.iter().try_for_each(|column| has_column(at, table, column))?;
    }
    Ok(())
}

/// What the gaps of a text name.
fn gaps(text: &str) -> impl Iterator<Item = &str> {
    let behind = text.split('{').skip(1);
    let inside = behind.filter_map(|rest| rest.split_once('}').map(|(gap, _)| gap));
    inside.map(|gap| gap.split_once('|').map_or(gap, |(column, _)| column))
}

fn graph_form(at: &str, method: &MethodDescriptor) -> Checked {
    let Some(form) = &method.graph else { return Ok(()) };
    let known = |name: &str| match method.table(name) {
        Some((_, table)) => Ok(table),
        None => invalid(at, format!("{} has no table {}", method.name, shown_text(name))),
    };
    let links = known(&form.links)?;
    let numbers = [&form.from_id, &form.to_id].into_iter().filter(|column| !column.is_empty());
    for column in [&form.from, &form.to].into_iter().chain(numbers) {
        has_column(at, links, column)?;
    }
    ensure(form.label.len() <= MAX_TEXT, at, "a text is too long")?;
    let Some(parts) = &form.parts else { return Ok(()) };
    let table = known(&parts.table)?;
    has_column(at, table, &parts.begin)?;
    has_column(at, table, &parts.end)?;
    ensure(parts.label.len() <= MAX_TEXT, at, "a text is too long")
}

fn conditions(at: &str, table: &Table, conditions: &[Condition]) -> Checked {
    count(at, conditions.len(), 0, MAX_ENTRIES)?;
    for condition in conditions {
        has_column(at, table, &condition.column)?;
        count(at, condition.values.len(), 1, MAX_ENTRIES)?;
        let is_plain = |value: &Json| !value.is_array() && !value.is_object();
        ensure(condition.values.iter().all(is_plain), at, "compares with a list or map")?;
    }
    Ok(())
}

fn has_column(at: &str, table: &Table, column: &str) -> Checked {
    match table.column(column) {
        Some(_) => Ok(()),
        None => invalid(at, format!("{} has no column {}", table.name, shown_text(column))),
    }
}

fn constraint(at: &str, constraint: &Constraint, depth: usize) -> Checked {
    match constraint {
        Constraint::Any | Constraint::LocalAddress => Ok(()),
        Constraint::Range(low, high) => {
            let is_order = match (low.as_f64(), high.as_f64()) {
                (Some(low), Some(high)) => low <= high,
                _ => false,
            };
            ensure(is_order, at, "a range is of two numbers, the smaller one first")
        }
        Constraint::Set(values) => {
            count(at, values.len(), 1, MAX_ENTRIES)?;
            for value in values {
                match value {
                    Json::String(item) if item.is_empty() || item.contains(',') => {
                        return invalid(at, "an item of a set is empty or holds a comma");
                    }
                    Json::String(item) => text(at, item)?,
                    Json::Bool(_) | Json::Number(_) => {}
                    _ => return invalid(at, "a set is of texts, numbers or booleans"),
                }
            }
            Ok(())
        }
        Constraint::PerFamily { ip4, ip6 } => {
            ensure(depth == 0, at, "a constraint of a family is divided by family again")?;
            self::constraint(at, ip4, 1)?;
            self::constraint(at, ip6, 1)
        }
    }
}

fn count(at: &str, number: usize, least: usize, most: usize) -> Checked {
    if (least..=most).contains(&number) {
        Ok(())
    } else {
        invalid(at, format!("{number} entries, accepted: {least} to {most}"))
    }
}

fn unique<'a>(at: &str, names: impl IntoIterator<Item = &'a str>) -> Checked {
    let mut seen = BTreeSet::new();
    for name in names {
        if !seen.insert(name) {
            return invalid(at, format!("{} is there twice", shown_text(name)));
        }
    }
    Ok(())
}

fn name(at: &str, name: &str) -> Checked {
    let is_name = name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name.len() <= MAX_NAME
        && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'));
    if is_name { Ok(()) } else { invalid(at, format!("{} is no name", shown_text(name))) }
}

fn version(at: &str, version: &str) -> Checked {
    let is_version = version.starts_with(|c: char| c.is_ascii_digit())
        && version.len() <= MAX_NAME
        && version.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '+'));
    if is_version { Ok(()) } else { invalid(at, format!("{} is no version", shown_text(version))) }
}

fn element(at: &str, element: &str) -> Checked {
    placeholders(at, element)?;
    let plain = super::expand(element, Family::V4);
    let is_element = plain.len() <= MAX_NAME
        && plain.split('.').all(|part| {
            !part.is_empty()
                && part.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'))
        });
    if is_element { Ok(()) } else { invalid(at, format!("{} is no element", shown_text(element))) }
}

/// `{ip}` once at most; other braces are refused with the characters of names.
fn placeholders(at: &str, text: &str) -> Checked {
    ensure(text.matches("{ip}").count() <= 1, at, "holds {ip} more than once")
}

fn text(at: &str, text: &str) -> Checked {
    ensure(text.len() <= MAX_TEXT, at, "a text is too long")?;
    ensure(!text.contains(char::is_control), at, "a text holds a control character")
}

fn shown(json: &Json) -> String {
    let text = json.to_string();
    text.chars().filter(|c| !c.is_control()).take(64).collect()
}

fn shown_text(text: &str) -> String {
    shown(&Value::Text(text.chars().take(64).collect()).to_json())
}
