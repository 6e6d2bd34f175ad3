//! `sonde shell`: the mPlane client, for people and scripts.

use std::path::PathBuf;

use clap::{Arg, ArgAction, ArgMatches, Command, builder::PossibleValuesParser};
use sonde_client::{Ended, Options, Settings, shell::Form};

use crate::{Exit, Stop, surroundings};

pub(crate) fn command() -> Command {
    Command::new("shell")
        .about("Ask a supervisor, or a host that listens, over mPlane")
        .after_help(
            "With -c the shell waits for the result of each runcap. Exit codes: 0 done, 1 a result \
             without values, 2 usage, 4 no role for it, 5 failed; of several commands the highest.",
        )
        .arg(
            Arg::new("url")
                .value_name("URL")
                .help("Whom to ask [default: as --config FILE says, else http://127.0.0.1:1228/]"),
        )
        .arg(
            Arg::new("command")
                .short('c')
                .long("command")
                .value_name("COMMAND")
                .action(ArgAction::Append)
                .help("A command instead of a dialogue; may be repeated"),
        )
        .arg(
            Arg::new("format")
                .long("format")
                .default_value("text")
                .value_parser(PossibleValuesParser::new(["text", "json"]))
                .help("Text for people, or a JSON value for each command"),
        )
}

pub(crate) fn run(matches: &ArgMatches, file: Option<PathBuf>) -> Result<Exit, Stop> {
    let mut settings = match file {
        Some(file) => Settings::read(&file, surroundings::variables().into_iter())
            .map_err(|mistakes| Stop::mistakes(&mistakes))?,
        None => Settings::default(),
    };
    if let Some(url) = matches.get_one::<String>("url") {
        settings.url.clone_from(url);
        settings.capability_url = None;
    }
    let format = matches.get_one::<String>("format").map(String::as_str);
    let options = Options {
        commands: matches.get_many::<String>("command").into_iter().flatten().cloned().collect(),
        form: if format == Some("json") { Form::Json } else { Form::Text },
        history: std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".sonde-history")),
    };
    let ended = sonde_client::run(settings, options, surroundings::now).map_err(Stop::usage)?;
    Ok(match ended {
        Ended::Done => Exit::Done,
        Ended::NoAnswer => Exit::NoAnswer,
        Ended::Usage => Exit::Usage,
        Ended::Refused => Exit::Refused,
        Ended::Failed => Exit::Failed,
    })
}
