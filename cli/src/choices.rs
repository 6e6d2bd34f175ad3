//! What the command line chooses for `sonde run`: parameters of the method, rates, where the plugin runs.

use std::collections::BTreeMap;

use clap::ArgMatches;
use sonde_host::{Isolation, Offer, Rate, Settings, Stamps};
use sonde_plugin_api::{descriptor::ParamError, schema::Value};

use crate::{Stop, arguments, console::complain};

/// Packets that may leave at once to a destination whose rate was given.
const DESTINATION_BURST: f64 = 20.0;

/// Parameters from the command line, by name, checked.
pub(crate) fn parameters(
    offer: &Offer,
    matches: &ArgMatches,
) -> Result<BTreeMap<String, Value>, Stop> {
    let mut values = BTreeMap::new();
    for parameter in arguments::own_parameters(offer) {
        if let Some(text) = matches.get_one::<String>(&format!("parameter {}", parameter.name)) {
            let refused =
                |error: ParamError| format!("{} {}", arguments::called(parameter), error.problem);
            let value = parameter.parse(text, None).map_err(|error| Stop::usage(refused(error)))?;
            values.insert(parameter.name.clone(), value);
        }
    }
    Ok(values)
}

/// Changes settings as the command line says.
pub(crate) fn choose(settings: &mut Settings, matches: &ArgMatches) -> Result<(), Stop> {
    if let Some(pps) = rate(matches, "pps")? {
        settings.packets_per_second = capped(pps, settings.most_packets_per_second, "pps");
        // Who says how fast means each target too, unless that is said as well.
        let most = settings.most_per_address;
        settings.limits.address = (pps > most).then(|| per_address(most));
    }
    if let Some(pps) = rate(matches, "destination-pps")? {
        let pps = capped(pps, settings.most_per_address, "destination-pps");
        settings.limits.address = Some(per_address(pps));
    }
    let is =
        |name: &str, word: &str| matches.get_one::<String>(name).is_some_and(|given| given == word);
    if is("isolation", "inline") {
        settings.isolation = Isolation::Inline;
    } else if is("isolation", "process") {
        settings.isolation = Isolation::Process;
    }
    if is("stamps", "precise") {
        settings.stamps = Stamps::Precise;
    } else if is("stamps", "interpolated") {
        settings.stamps = Stamps::Interpolated;
    } else if is("stamps", "auto") {
        settings.stamps = Stamps::Auto;
    }
    Ok(())
}

/// What the operator allows of a rate.
fn capped(wanted: f64, most: f64, name: &str) -> f64 {
    if wanted > most {
        complain!("--{name} is {wanted}, the configuration allows {most}");
    }
    wanted.min(most)
}

fn per_address(packets_per_second: f64) -> Rate {
    Rate { packets_per_second, burst: packets_per_second.clamp(1.0, DESTINATION_BURST) }
}

/// A rate from the command line.
fn rate(matches: &ArgMatches, name: &str) -> Result<Option<f64>, Stop> {
    match matches.get_one::<f64>(name) {
        Some(rate) if !(0.001..=100e6).contains(rate) => {
            Err(Stop::usage(format!("--{name} is {rate}, accepted: 0.001 to 100000000")))
        }
        rate => Ok(rate.copied()),
    }
}
