//! `sonde run`: one target or a million, a window of them at a time.
//!
//! Memory grows with the window, not with the number of targets; what is drawn grows with the graph.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    path::PathBuf,
    time::{Duration, Instant},
};

use crate::{
    Exit, Stop, check, choices, console,
    drawing::Drawing,
    names::{self, Names},
    output::{Form, Printer, Progress},
    pause::Pause,
    pcap,
    resume::{self, Journal},
    signals::Signals,
    sink::Sink,
    surroundings,
    targets::{self, Next, Target, TargetError, Targets, Wanted},
};
use clap::ArgMatches;
use serde_json::{Map, Value as Json};
use sonde_host::{Catalogue, Host, HostError, Notice, Offer, Prepared, Settings, Status};

/// Most measurements at the same time where nothing is said.
const MAX_WINDOW: f64 = 32_768.0;

/// How long to wait for news before looking whether the user wants something.
const PATIENCE: Duration = Duration::from_millis(100);
/// As [`PATIENCE`], where measurements wait for others to leave, or for their addresses.
const LITTLE_PATIENCE: Duration = Duration::from_millis(4);

/// What came of the measurements so far.
#[derive(Debug, Default)]
struct Tally {
    answered: u64,
    done: u64,
    failed: u64,
    unfit: u64,
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
    check::fits(catalogue, method)?;
    if let Some(reason) = offer.forbidden(&settings) {
        return Err(Stop { exit: Exit::Refused, text: reason });
    }
    let parameters = choices::parameters(&offer, matches)?;
    choices::choose(&mut settings, matches)?;
    let window = matches.get_one::<u32>("window").map_or_else(
        || (settings.packets_per_second * 2.0).clamp(16.0, MAX_WINDOW) as usize,
        |window| *window as usize,
    );
    let mut targets = targets(matches)?;
    let list = matches.get_one::<PathBuf>("targets");
    let survey = list.and_then(|list| targets::survey(list));
    let mut prepared = Prepared::new(offer.clone(), parameters);
    // What was measured otherwise is not measured yet, whoever said how.
    let how = format!("{} {:?} {:?}", offer.version(), used(&mut prepared), wanted(matches));
    let print = survey.map(|(_, print)| targets::printed(print, how.as_bytes()));
    let mut journal = journal(method, matches, print)?;
    if journal.as_ref().is_some_and(|journal| journal.done() > 0) {
        keep_files(matches)?;
    }
    let mut drawing = drawing(&offer, matches)?;
    let form = Form::chosen(matches.get_one::<String>("format").map(String::as_str));
    // Several targets at once: their rows would be shuffled, so each is shown when it has ended.
    let many = matches.contains_id("targets")
        || matches.get_many::<String>("target").is_some_and(|targets| targets.len() > 1);
    let has_lists = !settings.lists.deny.is_empty() || !settings.lists.allow.is_empty();
    let names = matches.get_flag("dns");
    let mut progress = Progress {
        before: journal.as_ref().map_or(0, Journal::done),
        targets: survey.map(|(count, _)| count + named(matches)),
        ..Progress::default()
    };
    let (tap, mut recording) = match matches.get_one::<PathBuf>("pcap") {
        Some(file) => pcap::tap(file).map(|(tap, recording)| (Some(tap), Some(recording)))?,
        None => (None, None),
    };
    // First the host: privileges are given up before there is another thread.
    let mut host = Host::open_with(settings, tap).map_err(|error| stop_of(&error))?;
    if let Some(recording) = &mut recording {
        recording.begin()?;
    }
    if let Some(drawing) = &drawing {
        drawing.begin()?;
    }
    let signals = Signals::catch(has_lists).map_err(Stop::usage)?;
    // Threads come after that.
    let sink = Sink::new(Box::new(std::io::stdout()), names.then(|| Names::new(names::look_up)));
    let mut printer = Printer::new(form, many, offer.method(), sink);
    match (printer.is_live(), drawing.is_some()) {
        (true, false) => host.only_tell_rows(),
        (true, true) => host.tell_rows(),
        (false, _) => {}
    }
    let mut running: HashMap<_, Target> = HashMap::new();
    let mut pause = Pause::default();
    let mut tally = Tally::default();
    // What a method says to those who look for a fault is asked for as all such lines are.
    let loudest = match () {
        () if tracing::enabled!(tracing::Level::TRACE) => 5,
        () if tracing::enabled!(tracing::Level::DEBUG) => 4,
        () => 3,
    };
    let (mut interrupts, mut heard) = (0, 0);
    loop {
        let news = signals.stops() - heard;
        if news > 0 {
            heard += news;
            interrupts += news;
            if interrupts == 1 { host.interrupt_all() } else { host.cancel_all() }
        }
        if signals.wants_reload() {
            host.reload_lists();
        }
        if interrupts > 0 {
            pause.give_up();
        }
        while interrupts == 0
            && host.running() < window
            && host.has_room()
            && pause.may_begin(Instant::now())
        {
            let is_done = |number| journal.as_ref().is_some_and(|journal| journal.is_done(number));
            let waited = pause.next().map(|target| Next::Found((target.number, Ok(target))));
            let target = match waited.unwrap_or_else(|| targets.next(is_done)) {
                Next::Found((_, Ok(target))) => target,
                Next::Found((_, Err(error @ TargetError::List { .. }))) => {
                    // The rest is not measured, whatever there was of it.
                    printer.complain(&error);
                    tally.failed += 1;
                    continue;
                }
                Next::Found((number, Err(error))) => {
                    printer.complain(&error);
                    tally.not_resolved += 1;
                    // A resolver may know the name the next time.
                    let may_pass = matches!(error, TargetError::Name { .. });
                    if may_pass && journal.as_mut().is_some_and(|journal| journal.leave(number)) {
                        continue;
                    }
                    let name = error.name().to_owned();
                    let target = Target { name, address: Ipv4Addr::UNSPECIFIED.into(), number };
                    let text = error.to_string();
                    lose(&mut printer, &mut host, &mut prepared, &target, None, text);
                    continue;
                }
                Next::Later | Next::End => break,
            };
            let run = match host.start(&mut prepared, target.address) {
                Ok(run) => run,
                Err(error) => {
                    let other = of_other_family(target.address);
                    let reason = unfit(&error, || many && prepared.parameters(other).is_ok())?;
                    printer.complain(&format!("{}: {reason}", target.name));
                    tally.unfit += 1;
                    let destination = Some(target.address);
                    lose(&mut printer, &mut host, &mut prepared, &target, destination, reason);
                    continue;
                }
            };
            if printer.is_live() {
                printer.begin(prepared.parameters(target.address).unwrap_or_default());
            }
            if printer.names(&target) || journal.is_some() {
                running.insert(run, target);
            }
        }
        let is_looking = interrupts == 0 && targets.is_looking();
        if host.running() == 0 && !is_looking && !pause.is_waiting() {
            break;
        }
        if host.running() == 0 && !pause.is_waiting() {
            targets.wait(PATIENCE);
        }
        let limit = match host.running() {
            _ if pause.is_waiting() => PATIENCE,
            0 => Duration::ZERO,
            _ if is_looking || !host.has_room() => LITTLE_PATIENCE,
            _ => PATIENCE,
        };
        for notice in host.notices(limit) {
            match notice {
                Notice::Row { run, table, row } => printer.row(running.get(&run), &table, &row),
                Notice::Log { level, .. } if level > loudest => {}
                Notice::Log { run, text, .. } if many => {
                    let name = running.get(&run).map(|target| target.name.clone());
                    let name = name.or_else(|| host.destination(run).map(|it| it.to_string()));
                    printer.complain(&format!("{}: {text}", name.unwrap_or_default()));
                }
                Notice::Log { text, .. } => printer.complain(&text),
                Notice::Ended { run, status: Status::NotBegun, record } if many => {
                    let target = running.remove(&run);
                    let target = target.or_else(|| record.destination.map(Target::from));
                    let is_news = target.is_some_and(|it| pause.put_off(it, Instant::now()));
                    if is_news && let Some(error) = &record.error {
                        printer.complain(&format!("{error}; the other targets wait for it"));
                    }
                }
                Notice::Ended { run, status, record } => {
                    if !matches!(status, Status::Crashed | Status::Beside) {
                        pause.is_answered();
                    }
                    let target = running.remove(&run);
                    tally.count(status, record.answered());
                    // What was interrupted, or failed by this host, is to be measured when it goes on: only then is there a
                    // result, so that none is there twice.
                    let is_left = match (&mut journal, &target) {
                        (Some(journal), Some(target)) => match status {
                            Status::Interrupted => interrupts > 0,
                            Status::Beside => true,
                            Status::Unable => may_pass(journal, target),
                            Status::Crashed => journal.leave(target.number),
                            _ => false,
                        },
                        _ => false,
                    };
                    if let (Some(journal), Some(target)) = (&mut journal, &target)
                        && !is_left
                        && record.counters.sent > 0
                    {
                        journal.measured(target.address);
                    }
                    match (is_left, &target, &record.error) {
                        (false, ..) => printer.ended(target.as_ref(), &record),
                        (true, Some(target), Some(error)) => {
                            printer.complain(&format!("{}: left for later: {error}", target.name));
                        }
                        (true, ..) => {}
                    }
                    if let Some(drawing) = &mut drawing {
                        drawing.add(record.rows());
                    }
                    if let Some(target) = target.filter(|_| !is_left) {
                        printer.is_over(target.number);
                    }
                }
            }
        }
        if pause.is_in_vain() {
            printer.complain(
                &"the plugin does not come back: the rest of the targets is not measured",
            );
            tally.failed += 1;
            interrupts = 1;
            host.interrupt_all();
        }
        note(&mut journal, &printer.flush())?;
        if printer.lost().is_some() {
            if drawing.is_none() {
                break;
            }
            // What runs is drawn as far as it came.
            if interrupts == 0 {
                interrupts = 1;
                host.interrupt_all();
            }
        }
        progress.done = tally.total();
        progress.answered = tally.answered;
        printer.progress(&progress, &host.statistics());
    }
    note(&mut journal, &printer.finish())?;
    let is_kept = journal.is_some() || drawing.is_some() || recording.is_some();
    if let Some(journal) = journal.as_mut().filter(|_| printer.lost().is_none()) {
        journal.close().map_err(Stop::lost)?;
    }
    if let Some(drawing) = drawing {
        drawing.finish()?;
    }
    // What is left of the recording is written when nobody records any more.
    drop(host);
    match printer.lost() {
        // Not all of it was measured.
        Some(error) if is_kept => return Err(console::lost(error)),
        Some(error) => return console::unwritten(error),
        None => {}
    }
    if recording.is_some_and(|recording| recording.is_cut()) {
        return Ok(Exit::Failed);
    }
    // Of one measurement an interrupt may be the only end.
    if many && interrupts > 0 && matches!(tally.exit(), Exit::Done | Exit::NoAnswer) {
        return Ok(Exit::Interrupted);
    }
    if tally.is_nothing() {
        match progress.before {
            0 if interrupts == 0 => return Err(Stop::usage("there are no targets")),
            0 => {}
            // All had ended before.
            _ => return Ok(Exit::Done),
        }
    }
    Ok(tally.exit())
}

impl Tally {
    fn count(&mut self, status: Status, answered: u64) {
        self.answered += answered;
        match status {
            Status::Done | Status::Interrupted => self.done += 1,
            Status::Unfit => self.unfit += 1,
            Status::Refused => self.refused += 1,
            _ => self.failed += 1,
        }
    }

    fn is_nothing(&self) -> bool {
        self.total() == 0
    }

    fn total(&self) -> u64 {
        let Self { answered: _, done, failed, unfit, refused, not_resolved } = self;
        done + failed + unfit + refused + not_resolved
    }

    fn exit(&self) -> Exit {
        match self {
            Self { failed: 1.., .. } => Exit::Failed,
            Self { done: 0, refused: 1.., .. } => Exit::Refused,
            Self { unfit: 1.., .. } | Self { done: 0, not_resolved: 1.., .. } => Exit::Usage,
            Self { answered: 0, .. } => Exit::NoAnswer,
            _ => Exit::Done,
        }
    }
}

/// All that is measured with, defaults included, in each family that it goes with.
fn used(prepared: &mut Prepared) -> [Option<Map<String, Json>>; 2] {
    [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]
        .map(|address| prepared.parameters(address).ok())
}

/// Targets that are named on the command line.
fn named(matches: &ArgMatches) -> u64 {
    matches.get_many::<String>("target").map_or(0, |targets| targets.len() as u64)
}

/// Where it is written down which targets have ended.
fn journal(
    method: &str,
    matches: &ArgMatches,
    print: Option<u64>,
) -> Result<Option<Journal>, Stop> {
    let Some(path) = matches.get_one::<PathBuf>("resume") else { return Ok(None) };
    let print = print.filter(|_| named(matches) == 0).ok_or_else(|| {
        Stop::usage("--resume needs a list that can be read again: --targets FILE, and no TARGET")
    })?;
    if surroundings::is_closed(std::io::stdout()).map_err(Stop::usage)? {
        return Err(Stop::usage("--resume needs a standard output for the results: it is closed"));
    }
    let results = resume::results(std::io::stdout()).map_err(Stop::usage)?;
    Journal::open(path, method, print, results).map(Some).map_err(Stop::usage)
}

/// What a campaign that goes on would write over: recordings and drawings of what was measured before.
fn keep_files(matches: &ArgMatches) -> Result<(), Stop> {
    let named = |name| Some((name, matches.get_one::<PathBuf>(name)?));
    let there =
        ["pcap", "svg", "dot"].into_iter().filter_map(named).find(|(_, file)| file.exists());
    there.map_or(Ok(()), |(name, file)| {
        Err(Stop::usage(format!(
            "--{name} {}: it is of the campaign so far, accepted: another file",
            file.display()
        )))
    })
}

/// The results of these targets are written.
fn note(journal: &mut Option<Journal>, numbers: &[u64]) -> Result<(), Stop> {
    match journal {
        Some(journal) if !numbers.is_empty() || journal.has_news() => {
            journal.note(numbers).map_err(Stop::lost)
        }
        _ => Ok(()),
    }
}

/// What is drawn of a method that says how.
fn drawing(offer: &Offer, matches: &ArgMatches) -> Result<Option<Drawing>, Stop> {
    let file = |name: &str| matches.get_one::<PathBuf>(name).map(PathBuf::as_path);
    if file("dot").is_none() && file("svg").is_none() {
        return Ok(None);
    }
    let method = offer.method();
    let form = method.graph.as_ref().ok_or_else(|| {
        Stop::usage(format!("{} finds no graph: --dot and --svg draw nothing of it", method.name))
    })?;
    Drawing::open(form, file("dot"), file("svg")).map(Some)
}

fn wanted(matches: &ArgMatches) -> Wanted {
    match (matches.get_flag("ipv4"), matches.get_flag("ipv6")) {
        (true, _) => Wanted::V4,
        (_, true) => Wanted::V6,
        _ => Wanted::Any,
    }
}

fn targets(matches: &ArgMatches) -> Result<Targets, Stop> {
    let named = matches.get_many::<String>("target").into_iter().flatten().cloned().collect();
    let list = matches.get_one::<PathBuf>("targets").cloned();
    Targets::open(named, list, wanted(matches)).map_err(Stop::usage)
}

/// One of several targets cannot be measured, as was told: there is a record of it too.
fn lose(
    printer: &mut Printer,
    host: &mut Host,
    prepared: &mut Prepared,
    target: &Target,
    destination: Option<IpAddr>,
    reason: String,
) {
    let now_ns = u64::try_from(surroundings::now().unix_us()).unwrap_or_default() * 1000;
    if let Some(record) = host.unmeasured(prepared, destination, now_ns, reason) {
        printer.unmeasured(target, &record);
    }
    printer.is_over(target.number);
}

/// Whether what failed for want of a way out or of means may be measured later. A family that was measured before comes
/// back; else there is one more go. A family of which no target was ever measured, while there is a way out in the other
/// one alone, is none that the host has.
fn may_pass(journal: &mut Journal, target: &Target) -> bool {
    let is_away = !surroundings::has_way_out(target.address);
    match journal.has_measured(target.address) {
        true if is_away => true,
        false if is_away && surroundings::has_way_out(of_other_family(target.address)) => false,
        _ => journal.leave(target.number),
    }
}

fn of_other_family(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(_) => Ipv6Addr::LOCALHOST.into(),
        IpAddr::V6(_) => Ipv4Addr::LOCALHOST.into(),
    }
}

/// Why one target of several cannot be measured, where `fits_others` says that others can: a source is
/// of one family. Else nothing can be.
fn unfit(error: &HostError, fits_others: impl FnOnce() -> bool) -> Result<String, Stop> {
    match error {
        HostError::Parameter(error) if fits_others() => Ok(error.flag_text()),
        error => Err(stop_of(error)),
    }
}

fn stop_of(error: &HostError) -> Stop {
    let exit = if error.is_not_permitted() { Exit::NotPermitted } else { Exit::Usage };
    let text = match error {
        HostError::Parameter(error) => error.flag_text(),
        error => error.to_string(),
    };
    Stop { exit, text }
}

#[cfg(test)]
mod tests {
    use sonde_plugin_api::{descriptor::MethodDescriptor, packet::Family, schema::Value};

    use super::*;

    fn method() -> MethodDescriptor {
        let method = serde_json::json!({
            "name": "probe",
            "parameters": [
                { "name": "destination", "element": "destination.{ip}", "type": "address", "required": true },
                { "name": "source", "element": "source.{ip}", "type": "address" },
                { "name": "gateway", "element": "probe.gateway.{ip}", "type": "address" },
            ],
        });
        serde_json::from_value(method).unwrap()
    }

    /// What becomes of a target with these sources and gateways.
    fn told(given: &[(&str, &str)], target: &str, many: bool) -> Result<String, Exit> {
        let values = |destination: IpAddr| {
            let given = given.iter().map(|(name, text)| (*name, text.parse::<IpAddr>().unwrap()));
            let given = given.chain([("destination", destination)]);
            let given =
                given.map(|(name, address)| (name.to_owned(), Value::Ip(address))).collect();
            method().values(&given, Family::of(destination))
        };
        let target = target.parse().unwrap();
        let error = HostError::Parameter(values(target).unwrap_err());
        unfit(&error, || many && values(of_other_family(target)).is_ok()).map_err(|stop| stop.exit)
    }

    #[test]
    fn a_target_of_the_other_family_than_the_source_is_unfit_alone_and_only_among_several() {
        let four = [("source", "192.0.2.1")];
        let told_of_six = told(&four, "2001:db8::1", true).unwrap();
        assert_eq!(told_of_six, "--source is \"192.0.2.1\", accepted: an IPv6 address");
        assert!(told(&[("gateway", "2001:db8::2")], "192.0.2.9", true).is_ok());
        assert_eq!(told(&four, "2001:db8::1", false), Err(Exit::Usage));
    }

    #[test]
    fn what_fits_no_target_ends_the_campaign_at_the_first() {
        let both = [("source", "192.0.2.1"), ("gateway", "2001:db8::2")];
        for target in ["192.0.2.9", "2001:db8::1"] {
            assert_eq!(told(&both, target, true), Err(Exit::Usage), "{target}");
        }
    }
}
