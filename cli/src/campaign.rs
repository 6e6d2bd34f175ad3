//! `sonde run`: one target or a million, a window of them at a time.
//!
//! Memory grows with the window, not with the number of targets.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use clap::ArgMatches;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use sonde_host::{
    Catalogue, Host, HostError, Isolation, Notice, Offer, Prepared, Rate, Settings, Stamps, Status,
};
use sonde_plugin_api::schema::Value;

use crate::{
    Exit, Stop, arguments, check,
    output::{Form, Printer},
    targets::{Targets, Wanted},
};

/// Most measurements at the same time where nothing is said.
const MAX_WINDOW: f64 = 32_768.0;

/// Packets that may leave at once to a destination whose rate was given.
const DESTINATION_BURST: f64 = 20.0;

/// How long to wait for news before looking whether the user wants something.
const PATIENCE: Duration = Duration::from_millis(100);
/// As [`PATIENCE`], where measurements wait for others to leave.
const LITTLE_PATIENCE: Duration = Duration::from_millis(4);

/// What the user said since it was last looked at.
#[derive(Debug, Default)]
struct Signals {
    /// SIGINT or SIGTERM: the first asks politely, the second at once.
    stop: Arc<AtomicBool>,
    /// SIGHUP: the lists of prefixes are read again.
    reload: Arc<AtomicBool>,
}

impl Signals {
    /// Where there are no lists SIGHUP means that the terminal is gone.
    fn catch(has_lists: bool) -> std::io::Result<Self> {
        let signals = Self::default();
        let hangup = if has_lists { &signals.reload } else { &signals.stop };
        for (signal, flag) in [(SIGINT, &signals.stop), (SIGTERM, &signals.stop), (SIGHUP, hangup)]
        {
            signal_hook::flag::register(signal, Arc::clone(flag))?;
        }
        Ok(signals)
    }
}

/// What came of the measurements so far.
#[derive(Debug, Default)]
struct Tally {
    answered: u64,
    done: u64,
    failed: u64,
    refused: u64,
    not_resolved: u64,
}

/// Runs `method` as the command line says.
pub(crate) fn run(
    method: &str,
    matches: &ArgMatches,
    mut settings: Settings,
    catalogue: &Catalogue,
) -> Result<Exit, Stop> {
    let offer = catalogue
        .find(method)
        .ok_or_else(|| Stop::usage(format!("no method {method}; `sonde methods` lists them")))?;
    check::fits(catalogue)?;
    if let Some(reason) = offer.forbidden(&settings) {
        return Err(Stop { exit: Exit::Refused, text: reason });
    }
    let parameters = parameters(&offer, matches)?;
    choose(&mut settings, matches)?;
    let window = matches.get_one::<u32>("window").map_or_else(
        || (settings.packets_per_second * 2.0).clamp(16.0, MAX_WINDOW) as usize,
        |window| *window as usize,
    );
    let mut targets = targets(matches)?;
    let form = Form::chosen(matches.get_one::<String>("format").map(String::as_str));
    // Several targets at once: their rows would be shuffled, so each is shown when it has ended.
    let many = matches.contains_id("targets")
        || matches.get_many::<String>("target").is_some_and(|targets| targets.len() > 1);
    let mut printer = Printer::new(form, many, &offer);
    let has_lists = !settings.lists.deny.is_empty() || !settings.lists.allow.is_empty();
    // First the host: privileges are given up before there is another thread.
    let mut host = Host::open(settings).map_err(|error| stop_of(&error))?;
    let signals = Signals::catch(has_lists).map_err(Stop::usage)?;
    if printer.is_live() {
        host.tell_rows();
    }
    let mut prepared = Prepared::new(offer, parameters);
    let mut names = HashMap::new();
    let mut tally = Tally::default();
    let mut interrupts = 0;
    loop {
        if signals.stop.swap(false, Ordering::Relaxed) {
            interrupts += 1;
            if interrupts == 1 { host.interrupt_all() } else { host.cancel_all() }
        }
        if signals.reload.swap(false, Ordering::Relaxed) {
            host.reload_lists();
        }
        while interrupts == 0 && host.running() < window && host.has_room() {
            let target = match targets.next() {
                Some(Ok(target)) => target,
                Some(Err(error)) => {
                    printer.complain(&error);
                    tally.not_resolved += 1;
                    continue;
                }
                None => break,
            };
            let run = host.start(&mut prepared, target.address).map_err(|error| stop_of(&error))?;
            if printer.names_targets() {
                names.insert(run, target);
            }
        }
        if host.running() == 0 {
            break;
        }
        let limit = if host.has_room() { PATIENCE } else { LITTLE_PATIENCE };
        for notice in host.notices(limit) {
            match notice {
                Notice::Row { run, table, row } => printer.row(names.get(&run), &table, &row),
                Notice::Log { text, .. } => printer.complain(&text),
                Notice::Ended { run, status, record } => {
                    let target = names.remove(&run);
                    tally.count(status, record.answered());
                    printer.ended(target.as_ref(), &record);
                }
            }
        }
        printer.flush();
        printer.progress(
            tally.done + tally.failed + tally.refused,
            tally.answered,
            &host.statistics(),
        );
    }
    printer.finish();
    Ok(tally.exit())
}

impl Tally {
    fn count(&mut self, status: Status, answered: u64) {
        self.answered += answered;
        match status {
            Status::Done | Status::Interrupted => self.done += 1,
            Status::Failed => self.failed += 1,
            Status::Refused => self.refused += 1,
        }
    }

    fn exit(&self) -> Exit {
        match self {
            Self { failed: 1.., .. } => Exit::Failed,
            Self { done: 0, refused: 1.., .. } => Exit::Refused,
            Self { done: 0, not_resolved: 1.., .. } => Exit::Usage,
            Self { answered: 0, .. } => Exit::NoAnswer,
            _ => Exit::Done,
        }
    }
}

/// Parameters from the command line, by name, checked.
fn parameters(offer: &Offer, matches: &ArgMatches) -> Result<BTreeMap<String, Value>, Stop> {
    let mut values = BTreeMap::new();
    for parameter in arguments::own_parameters(offer) {
        if let Some(text) = matches.get_one::<String>(&format!("parameter {}", parameter.name)) {
            let value =
                parameter.parse(text, None).map_err(|error| Stop::usage(error.flag_text()))?;
            values.insert(parameter.name.clone(), value);
        }
    }
    Ok(values)
}

fn choose(settings: &mut Settings, matches: &ArgMatches) -> Result<(), Stop> {
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
        eprintln!("sonde: --{name} is {wanted}, the configuration allows {most}");
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

fn targets(matches: &ArgMatches) -> Result<Targets, Stop> {
    let wanted = match (matches.get_flag("ipv4"), matches.get_flag("ipv6")) {
        (true, _) => Wanted::V4,
        (_, true) => Wanted::V6,
        _ => Wanted::Any,
    };
    let named = matches.get_many::<String>("target").into_iter().flatten().cloned().collect();
    let list = matches.get_one::<std::path::PathBuf>("targets").cloned();
    Targets::open(named, list, wanted).map_err(Stop::usage)
}

fn stop_of(error: &HostError) -> Stop {
    let exit = if error.is_not_permitted() { Exit::NotPermitted } else { Exit::Usage };
    let text = match error {
        HostError::Parameter(error) => error.flag_text(),
        error => error.to_string(),
    };
    Stop { exit, text }
}
