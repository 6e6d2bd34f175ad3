//! `sonde check`: is the configuration fit to be used, and what is wrong with it.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use sonde_config::Program;
use sonde_host::{Catalogue, Configuration, Mistake, Settings, component};
use sonde_mplane_http::{ClientTls, ServerTls, TlsFiles};

use crate::{
    Exit, Stop,
    arguments::Common,
    console::{complain, say},
    surroundings,
};

/// Where the configuration is where nothing is said.
const USUAL: &str = "/etc/sonde/host.toml";
/// Those of the other programs, checked with it where they are there.
const OTHERS: [&str; 2] = ["/etc/sonde/supervisor.toml", "/etc/sonde/client.toml"];

/// The host's file, where one is named; `check` looks in the usual place too.
pub(crate) fn file(common: &Common) -> Option<PathBuf> {
    if !common.is_of_host() {
        return None;
    }
    match common.file() {
        Some(file) if common.is_check() && Program::of(&file) != Program::Host => None,
        Some(file) => Some(file),
        // On a machine of a supervisor or a client alone there is none.
        None => (common.is_check() && (Path::new(USUAL).is_file() || others(common).is_empty()))
            .then(|| PathBuf::from(USUAL)),
    }
}

/// Files of the other programs that are to be checked.
fn others(common: &Common) -> Vec<PathBuf> {
    match common.file() {
        Some(file) if Program::of(&file) == Program::Host => Vec::new(),
        Some(file) => vec![file],
        None => OTHERS.into_iter().map(PathBuf::from).filter(|file| file.is_file()).collect(),
    }
}

/// Reads it.
///
/// # Errors
///
/// With every mistake in it, one a line.
pub(crate) fn read(file: &Path) -> Result<Arc<Configuration>, Stop> {
    let variables = surroundings::variables().into_iter();
    Configuration::read(file, variables).map(Arc::new).map_err(|mistakes| Stop::mistakes(&mistakes))
}

/// As [`read`], with what is wrong beside.
pub(crate) fn survey(file: &Path) -> (Arc<Configuration>, Vec<Mistake>) {
    let variables = surroundings::variables().into_iter();
    let (configuration, mistakes) = Configuration::survey(file, variables);
    (Arc::new(configuration), mistakes)
}

/// Whether what the file says of `method` fits its plugin; what does not fit others is told.
///
/// # Errors
///
/// As [`read`].
pub(crate) fn fits(catalogue: &Catalogue, method: &str) -> Result<(), Stop> {
    let section = format!("methods.{method}.");
    let is_own = |mistake: &Mistake| mistake.key.starts_with(&section);
    let (own, others): (Vec<_>, Vec<_>) = catalogue.mistakes().iter().cloned().partition(is_own);
    if !own.is_empty() {
        return Err(Stop::mistakes(&own));
    }
    for mistake in others {
        complain!("{mistake}");
    }
    Ok(())
}

/// The command; `mistakes` are those that the host's file has by itself.
pub(crate) fn check(
    common: &Common,
    settings: &Settings,
    catalogue: &Catalogue,
    mistakes: &[Mistake],
) -> Result<Exit, Stop> {
    let others = others(common).into_iter().map(|file| check_other(&file, &labels(catalogue)));
    let wrong: Vec<String> = others.filter_map(|checked| Some(checked.err()?.text)).collect();
    for refusal in catalogue.refusals() {
        complain!("{}: {}", refusal.path.display(), refusal.reason);
    }
    let (of_component, warnings) = component::check(settings, catalogue);
    let mut lines: Vec<String> =
        mistakes.iter().chain(catalogue.mistakes()).map(ToString::to_string).collect();
    lines.splice(..0, wrong);
    for line in of_component {
        // What is wrong with the whole file is found twice.
        if !lines.contains(&line) {
            lines.push(line);
        }
    }
    if !lines.is_empty() {
        return Err(Stop::usage(lines.join("\nsonde: ")));
    }
    if let Some(configuration) = &settings.configuration {
        say!("{}: no mistakes", configuration.file().display());
        for offer in catalogue.offers() {
            match offer.forbidden(settings) {
                Some(reason) => say!("  {reason}"),
                None => say!("  {} is enabled", offer.method().name),
            }
        }
        for warning in warnings {
            say!("  warning: {warning}");
        }
    }
    Ok(Exit::Done)
}

/// A supervisor's or a client's.
fn check_other(file: &Path, labels: &[String]) -> Result<(), Stop> {
    let variables = surroundings::variables().into_iter();
    let (mut warnings, tls, access) = match Program::of(file) {
        Program::Client => {
            let read = sonde_client::Settings::read(file, variables);
            let read = read.map_err(|mistakes| Stop::mistakes(&mistakes))?;
            read.tls.clone().map(ClientTls::load).transpose().map_err(Stop::usage)?;
            (read.ignored, read.tls, None)
        }
        _ => {
            let read = sonde_supervisor::Settings::read(file, variables);
            let read = read.map_err(|mistakes| Stop::mistakes(&mistakes))?;
            read.peers.tls.clone().map(ServerTls::load).transpose().map_err(Stop::usage)?;
            (read.ignored, read.peers.tls, Some(read.peers.access))
        }
    };
    say!("{}: no mistakes", file.display());
    let labels: Vec<&str> = labels.iter().map(String::as_str).collect();
    let of_access = access.iter().flat_map(|access| access.warnings(&labels));
    warnings.extend(of_access.map(|text| format!("{}: {text}", file.display())));
    warnings.extend(tls.iter().flat_map(TlsFiles::warnings));
    for warning in warnings {
        say!("  warning: {warning}");
    }
    Ok(())
}

/// What hosts with the plugins of this machine offer.
fn labels(catalogue: &Catalogue) -> Vec<String> {
    let both = |label: &String| ["ip4", "ip6"].map(|family| label.replace("{ip}", family));
    let mut labels: Vec<String> = catalogue
        .offers()
        .flat_map(|offer| {
            offer.method().capabilities.iter().map(|it| it.label.clone()).collect::<Vec<_>>()
        })
        .flat_map(|label| both(&label))
        .collect();
    labels.sort();
    labels.dedup();
    labels
}
