//! `sonde check`: is the configuration fit to be used, and what is wrong with it.

use std::{path::PathBuf, sync::Arc};

use sonde_host::{Catalogue, Configuration, Mistake, Settings};

use crate::{Exit, Stop, arguments::Common};

/// Where the configuration is where nothing is said.
const USUAL: &str = "/etc/sonde/host.toml";

/// The operator's file, where one is named; `check` looks in the usual place too.
pub(crate) fn file(common: &Common) -> Option<PathBuf> {
    let usual = || common.is_check().then(|| PathBuf::from(USUAL));
    common.config.as_ref().map(PathBuf::from).or_else(usual)
}

/// Reads it.
///
/// # Errors
///
/// With every mistake in it, one a line.
pub(crate) fn read(file: &std::path::Path) -> Result<Arc<Configuration>, Stop> {
    let text = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
        Some((name.into_string().ok()?, value.into_string().ok()?))
    };
    let variables = std::env::vars_os().filter_map(text);
    Configuration::read(file, variables).map(Arc::new).map_err(|mistakes| stop_of(&mistakes))
}

/// Whether what the file says of methods fits the plugins that are installed.
///
/// # Errors
///
/// As [`read`].
pub(crate) fn fits(catalogue: &Catalogue) -> Result<(), Stop> {
    let mistakes = catalogue.mistakes();
    if mistakes.is_empty() { Ok(()) } else { Err(stop_of(mistakes)) }
}

/// The command.
pub(crate) fn check(settings: &Settings, catalogue: &Catalogue) -> Result<Exit, Stop> {
    for refusal in catalogue.refusals() {
        eprintln!("sonde: {}: {}", refusal.path.display(), refusal.reason);
    }
    fits(catalogue)?;
    if let Some(configuration) = &settings.configuration {
        println!("{}: no mistakes", configuration.file().display());
        for offer in catalogue.offers() {
            match offer.forbidden(settings) {
                Some(reason) => println!("  {reason}"),
                None => println!("  {} is enabled", offer.method().name),
            }
        }
    }
    Ok(Exit::Done)
}

fn stop_of(mistakes: &[Mistake]) -> Stop {
    let lines: Vec<String> = mistakes.iter().map(ToString::to_string).collect();
    Stop::usage(lines.join("\nsonde: "))
}
