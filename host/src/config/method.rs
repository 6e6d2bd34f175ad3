//! What an operator says of a method, laid over what its plugin says.
//!
//! A default has to be acceptable to the plugin, a constraint must not be wider than the plugin's own.

use std::{cmp::Ordering, collections::BTreeMap};

use serde_json::Value as Json;
use sonde_config::{Data, Item, Mistake, Table, hint, unknown};
use sonde_plugin_api::{
    descriptor::{MethodDescriptor, Parameter, Type},
    packet::Family,
    schema::Value,
    text::nearest,
};

use super::{Configuration, Method};

impl Configuration {
    /// Makes the descriptor say what the operator says.
    pub(crate) fn apply(&self, method: &mut MethodDescriptor, mistakes: &mut Vec<Mistake>) {
        if let Some(said) = self.methods.get(&method.name) {
            method.packet_budget = self.budget(&method.name, method.packet_budget);
            said.apply(method, mistakes);
        }
    }

    /// Sections of methods that no plugin offers.
    pub(crate) fn missing<'a>(
        &self,
        offered: &(impl Iterator<Item = &'a str> + Clone),
    ) -> Vec<Mistake> {
        let is_missing = |name: &str| !offered.clone().any(|offered| offered == name);
        let missing = self.methods.iter().filter(|(name, it)| it.enabled && is_missing(name));
        let tell = |(name, method): (&String, &Method)| {
            let near = nearest(name, offered.clone());
            let hint = near.map(|near| format!("; did you mean {near}?")).unwrap_or_default();
            let offered = offered.clone().collect::<Vec<_>>().join(", ");
            let problem = format!("no plugin offers this method, installed: {offered}{hint}");
            Mistake::new(&method.place, &format!("methods.{name}"), problem)
        };
        missing.map(tell).collect()
    }
}

impl Method {
    fn apply(&self, method: &mut MethodDescriptor, mistakes: &mut Vec<Mistake>) {
        let name = method.name.clone();
        let mut touched = BTreeMap::new();
        let sections: [(&str, &Table); 2] =
            [("constraints", &self.constraints), ("defaults", &self.defaults)];
        for (section, table) in sections {
            for (key, item) in table {
                let path = format!("methods.{name}.{section}.{key}");
                let Some(index) = index_of(method, key) else {
                    let names = method.parameters.iter().map(|it| it.name.as_str());
                    mistakes.push(Mistake::new(&item.place, &path, unknown(key, names)));
                    continue;
                };
                let parameter = &mut method.parameters[index];
                let result = match section {
                    "defaults" => set_default(parameter, item),
                    _ => constrain(parameter, item),
                };
                match result {
                    Ok(()) => {
                        touched.entry(index).or_insert((path, item));
                    }
                    Err(problem) => mistakes.push(Mistake::new(&item.place, &path, problem)),
                }
            }
        }
        // A constraint may shut out the default that the plugin has.
        for (index, (path, item)) in touched {
            let parameter = &method.parameters[index];
            for family in [Family::V4, Family::V6] {
                let default = parameter.default_for(family);
                if !default.is_none() && parameter.check(&default).is_err() {
                    let accepted = parameter.accepted(None);
                    let problem = format!(
                        "shuts out the default, which is {default}, accepted: {accepted}; set \
                         methods.{name}.defaults.{} too",
                        parameter.name
                    );
                    mistakes.push(Mistake::new(&item.place, &path, problem));
                    break;
                }
            }
        }
    }
}

fn index_of(method: &MethodDescriptor, key: &str) -> Option<usize> {
    let name = method.parameter(key)?.name.clone();
    method.parameters.iter().position(|parameter| parameter.name == name)
}

/// A value that the parameter accepts.
fn acceptable(parameter: &Parameter, item: &Item) -> Result<Json, String> {
    let refused = || {
        let choices = parameter.shape.choices.iter().map(String::as_str);
        let near = match &item.data {
            Data::Scalar(Json::String(text)) => hint(text, choices).unwrap_or_default(),
            _ => String::new(),
        };
        format!("is {}, accepted: {}{near}", item.data.shown(), parameter.accepted(None))
    };
    let json = item.data.to_json().ok_or_else(refused)?;
    let value = parameter.from_json(&json).ok_or_else(refused)?;
    parameter.check(&value).map_err(|_| refused())?;
    Ok(json)
}

fn set_default(parameter: &mut Parameter, item: &Item) -> Result<(), String> {
    let json = acceptable(parameter, item)?;
    parameter.default = Some(json);
    (parameter.default_ip4, parameter.default_ip6) = (None, None);
    Ok(())
}

/// `{ min = …, max = … }`, or a list of the choices that are left.
fn constrain(parameter: &mut Parameter, item: &Item) -> Result<(), String> {
    let kind = parameter.shape.items.unwrap_or(parameter.shape.kind);
    let has_range = matches!(kind, Type::Duration | Type::Integer | Type::Natural | Type::Real);
    if parameter.shape.choices.is_empty() && !has_range {
        let what = parameter.accepted(None);
        return Err(format!("cannot be narrowed, for it is {what}, accepted: numbers and choices"));
    }
    match &item.data {
        Data::List(items) if !parameter.shape.choices.is_empty() && !items.is_empty() => {
            let mut left = Vec::new();
            for item in items {
                match acceptable(parameter, item)? {
                    Json::String(choice) => left.push(choice),
                    other => left.push(other.to_string()),
                }
            }
            parameter
                .shape
                .choices
                .retain(|choice| left.iter().any(|it| it.eq_ignore_ascii_case(choice)));
            Ok(())
        }
        Data::Table(table) if parameter.shape.choices.is_empty() && !table.is_empty() => {
            if let Some(key) = table.keys().find(|key| !["min", "max"].contains(&key.as_str())) {
                return Err(format!("has {}", unknown(key, ["min", "max"].into_iter())));
            }
            let end = |key: &str| {
                let end = table.get(key).map(|item| acceptable(parameter, item));
                end.transpose().map_err(|problem| format!("{key} {problem}"))
            };
            let (min, max) = (end("min")?, end("max")?);
            let value = |json: &Option<Json>| json.as_ref().and_then(|it| parameter.from_json(it));
            if let (Some(low), Some(high)) = (value(&min), value(&max))
                && order(&low, &high) == Some(Ordering::Greater)
            {
                return Err(format!("min is {low}, accepted: at most max, which is {high}"));
            }
            parameter.min = min.or(parameter.min.take());
            parameter.max = max.or(parameter.max.take());
            Ok(())
        }
        data => {
            let form = match parameter.shape.choices.is_empty() {
                true => "{ min = …, max = … }".to_owned(),
                false => format!("a list of {}", parameter.shape.choices.join(", ")),
            };
            Err(format!("is {}, accepted: {form}", data.shown()))
        }
    }
}

fn order(one: &Value, other: &Value) -> Option<Ordering> {
    match (one, other) {
        (Value::U64(one), Value::U64(other)) => Some(one.cmp(other)),
        (Value::I64(one), Value::I64(other)) => Some(one.cmp(other)),
        (Value::F64(one), Value::F64(other)) => one.partial_cmp(other),
        (Value::Duration(one), Value::Duration(other)) => Some(one.cmp(other)),
        _ => None,
    }
}
