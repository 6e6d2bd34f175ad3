//! The program `sonde`: measure from the command line, look at methods, begin a new one.
//!
//! It knows no method: what can be measured, with which parameters, and how the result reads comes
//! from the plugins.
#![warn(clippy::print_stdout, clippy::print_stderr, reason = "they panic; see `console`")]

mod arguments;
mod ca;
mod campaign;
mod check;
mod choices;
mod console;
mod demo;
mod drawing;
mod host;
mod method_page;
mod methods;
mod names;
mod output;
mod outputs;
mod pages;
mod pause;
mod pcap;
mod pool;
mod resume;
mod scaffold;
mod shell;
mod signals;
mod sink;
mod supervisor;
mod surroundings;
mod targets;

use std::{ffi::OsString, io::IsTerminal, path::PathBuf, process::ExitCode, sync::Arc};

use arguments::Common;
use console::complain;
use sonde_host::{Catalogue, Settings};

/// How the program ends; scripts rely on the numbers.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Exit {
    /// All is well.
    Done = 0,
    /// Measured, but nothing answered.
    NoAnswer = 1,
    /// Usage or configuration.
    Usage = 2,
    /// Not permitted on this machine.
    NotPermitted = 3,
    /// Refused by policy.
    Refused = 4,
    /// A measurement failed, or what came of it cannot be written.
    Failed = 5,
    /// A signal ended a campaign before all targets were measured: what shells say of SIGINT.
    Interrupted = 130,
}

/// Why the program ends early: what to say, and how.
#[derive(Debug)]
pub(crate) struct Stop {
    pub(crate) exit: Exit,
    pub(crate) text: String,
}

impl Stop {
    /// For whoever typed the command.
    #[expect(clippy::needless_pass_by_value, reason = "so that it fits `map_err`")]
    pub(crate) fn usage(text: impl ToString) -> Self {
        Self { exit: Exit::Usage, text: text.to_string() }
    }

    /// Something that was measured cannot be kept.
    #[expect(clippy::needless_pass_by_value, reason = "so that it fits `map_err`")]
    pub(crate) fn lost(text: impl ToString) -> Self {
        Self { exit: Exit::Failed, text: text.to_string() }
    }

    /// For whoever wrote a file: one mistake a line.
    pub(crate) fn mistakes(mistakes: &[sonde_host::Mistake]) -> Self {
        let lines: Vec<String> = mistakes.iter().map(ToString::to_string).collect();
        Self::usage(lines.join("\nsonde: "))
    }
}

fn main() -> ExitCode {
    if std::env::args_os().nth(1).is_some_and(|word| word == arguments::WORKER) {
        sonde_host::worker_main(std::env::args_os().skip(2));
    }
    let arguments: Vec<String> = match std::env::args_os().map(OsString::into_string).collect() {
        Ok(arguments) => arguments,
        Err(word) => return finish(Err(Stop::usage(format!("not UTF-8: {}", word.display())))),
    };
    log_to_stderr();
    surroundings::raise_descriptor_limit();
    // A file that may not become longer (`ulimit -f`) is an error of who writes it: without a handler it is the end.
    let _ = signal_hook::flag::register(signal_hook::consts::SIGXFSZ, Arc::default());
    finish(dispatch(&arguments))
}

fn finish(result: Result<Exit, Stop>) -> ExitCode {
    ExitCode::from(told(result) as u8)
}

/// Tells why the program ends early, where it does.
fn told(result: Result<Exit, Stop>) -> Exit {
    result.unwrap_or_else(|stop| {
        complain!("{}", stop.text.trim_end());
        stop.exit
    })
}

/// Warnings for the operator; `SONDE_LOG=debug` and so on for more.
fn log_to_stderr() {
    let filter = tracing_subscriber::EnvFilter::try_from_env("SONDE_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("warn"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false)
        .without_time()
        // It would be told by `eprintln!`, which panics for the same reason.
        .log_internal_errors(false)
        .init();
}

fn dispatch(arguments: &[String]) -> Result<Exit, Stop> {
    // What stands behind `run METHOD` depends on the plugins: find them before reading on.
    let common = Common::peek(arguments);
    if common.is_daemon() {
        // To be read again, however early: without a handler it is the end. One that cannot be set changes nothing.
        let _ = signal_hook::flag::register(signal_hook::consts::SIGHUP, Arc::default());
    }
    let (settings, mistakes) = settings(&common)?;
    let catalogue =
        if common.needs_catalogue() { Catalogue::scan(&settings) } else { Catalogue::default() };
    let arguments = &arguments::with_bare_switches(arguments, &catalogue);
    let matches = match arguments::command(&catalogue).try_get_matches_from(arguments) {
        Ok(matches) => matches,
        Err(error) => {
            // Help goes to standard output and is no mistake.
            let exit = if error.use_stderr() { Exit::Usage } else { Exit::Done };
            if let Err(cause) = error.print()
                && exit == Exit::Done
            {
                return console::unwritten(&cause);
            }
            arguments::explain_missing_method(arguments, &catalogue);
            return Ok(exit);
        }
    };
    match matches.subcommand() {
        Some(("run", matches)) => match matches.subcommand() {
            Some((method, matches)) => campaign::run(method, matches, settings, &catalogue),
            None => Err(Stop::usage("which method? `sonde methods` lists them")),
        },
        Some(("host", matches)) => host::run(matches, settings),
        Some(("methods", matches)) => methods::show(matches, &catalogue),
        Some(("plugin", matches)) => match matches.subcommand() {
            Some(("new", matches)) => scaffold::create(matches),
            _ => Err(Stop::usage("sonde plugin new NAME")),
        },
        Some(("ca", matches)) => ca::run(matches),
        Some(("check", _)) => check::check(&common, &settings, &catalogue, &mistakes),
        Some(("demo", matches)) => demo::run(matches, &settings),
        Some(("shell", matches)) => shell::run(matches, common.file()),
        Some(("supervisor", _)) => supervisor::run(common.file()),
        Some(("completions", matches)) => Ok(pages::completions(matches, &catalogue)),
        Some(("man", _)) => pages::manual(&catalogue),
        _ => Err(Stop::usage("nothing to do; see `sonde --help`")),
    }
}

/// With the mistakes of the operator's file where it is only looked at.
fn settings(common: &Common) -> Result<(Settings, Vec<sonde_host::Mistake>), Stop> {
    let program = std::env::current_exe().map_err(Stop::usage)?;
    let mut settings = Settings::beside(&program);
    settings.worker = "/proc/self/exe".into();
    let mut mistakes = Vec::new();
    match check::file(common) {
        Some(file) if common.is_check() => {
            let (configuration, found) = check::survey(&file);
            settings.obey(configuration);
            mistakes = found;
        }
        Some(file) => settings.obey(check::read(&file)?),
        None => {}
    }
    if !common.plugins.is_empty() {
        settings.plugins = common.plugins.iter().map(PathBuf::from).collect();
        settings.are_plugins_said = true;
    }
    Ok((settings, mistakes))
}
