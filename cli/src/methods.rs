//! `sonde methods`: what the plugins offer.

use clap::ArgMatches;
use serde_json::Value as Json;
use sonde_host::{Catalogue, Offer};
use sonde_plugin_api::{descriptor::Parameter, packet::Family};

use crate::{
    Exit, Stop,
    arguments::called,
    console::{self, complain, say},
};

pub(crate) fn show(matches: &ArgMatches, catalogue: &Catalogue) -> Result<Exit, Stop> {
    let Some(name) = matches.get_one::<String>("name") else {
        for offer in catalogue.offers() {
            say!("{:<12} {:<8} {}", offer.method().name, offer.version(), offer.method().doc);
        }
        for refusal in catalogue.refusals() {
            complain!("{}: {}", refusal.path.display(), refusal.reason);
        }
        return Ok(Exit::Done);
    };
    let offer = catalogue.find(name).ok_or_else(|| {
        let known: Vec<String> =
            catalogue.offers().map(|offer| offer.method().name.clone()).collect();
        Stop::usage(format!("no method {name}, there are: {}", known.join(", ")))
    })?;
    if matches.get_flag("schema") {
        say!("{:#}", offer.method().record_schema());
    } else if matches.get_flag("json") {
        say!("{:#}", serde_json::to_value(offer.method()).map_err(Stop::usage)?);
    } else if matches.get_flag("markdown") {
        console::write(format_args!("{}", crate::method_page::page(&offer)));
    } else {
        describe(&offer);
    }
    Ok(Exit::Done)
}

fn describe(offer: &Offer) {
    let method = offer.method();
    say!("{} {}: {}", method.name, offer.version(), method.doc);
    if !method.source.is_empty() {
        say!("source: {}", method.source);
    }
    say!("plugin: {}", offer.path().display());
    if !method.needs.is_empty() {
        let needs: Vec<String> = method.needs.iter().map(ToString::to_string).collect();
        say!("needs: {}", needs.join(", "));
    }
    if !method.wants.is_empty() {
        let wants: Vec<String> = method.wants.iter().map(ToString::to_string).collect();
        say!("wants: {}", wants.join(", "));
    }
    say!("\nparameters");
    for parameter in &method.parameters {
        say!("  {:<20} {}", called(parameter), parameter.doc);
        say!("  {:<20} {}", "", facts(parameter));
    }
    for table in &method.tables {
        say!("\ntable {}", table.name);
        for column in &table.columns {
            say!("  {:<20} {}", column.name, column.doc);
        }
    }
    say!("\ncapabilities");
    for view in &method.capabilities {
        let elements: Vec<&str> =
            view.results.iter().map(|result| result.element.as_str()).collect();
        say!("  {:<20} {}", view.label, elements.join(", "));
    }
}

fn facts(parameter: &Parameter) -> String {
    let mut facts = vec![parameter.element.clone(), accepted(parameter)];
    match (default_text(parameter, Family::V4), default_text(parameter, Family::V6)) {
        (Some(default), Some(other)) if default != other => {
            facts.push(format!("default {default}, with IPv6 {other}"));
        }
        (Some(default), _) => facts.push(format!("default {default}")),
        (None, _) => {}
    }
    if parameter.required {
        facts.push("required".to_owned());
    }
    facts.join("; ")
}

/// What is accepted in words, and in which unit.
pub(crate) fn accepted(parameter: &Parameter) -> String {
    let accepted = parameter.accepted(None);
    match parameter.unit.as_str() {
        "" => accepted,
        unit => format!("{accepted}, in {unit}"),
    }
}

/// The default as a person would write it.
pub(crate) fn default_text(parameter: &Parameter, family: Family) -> Option<String> {
    match parameter.default_for(family).to_json() {
        Json::Null => None,
        Json::String(text) => Some(text),
        other => Some(other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_asked_for_in_its_unit() {
        let json = serde_json::json!({
            "name": "mean", "element": "m.mean", "type": "natural", "unit": "ms", "min": 1, "max": 1000,
        });
        let parameter: Parameter = serde_json::from_value(json).unwrap();
        assert_eq!(accepted(&parameter), "1 ... 1000, in ms");
        assert_eq!(facts(&parameter), "m.mean; 1 ... 1000, in ms");
    }
}
