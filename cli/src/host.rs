//! `sonde host`: the host as a component of mPlane.

use clap::{Arg, ArgAction, ArgMatches, Command};
use sonde_host::{Settings, component};

use crate::{
    Exit, Stop,
    console::{complain, say},
};

pub(crate) fn command() -> Command {
    Command::new("host")
        .about("Measure for supervisors and clients, over mPlane: those of --config FILE")
        .arg(
            Arg::new("capabilities")
                .long("capabilities")
                .action(ArgAction::SetTrue)
                .help("Print what would be offered, as an mPlane envelope, and end"),
        )
}

pub(crate) fn run(matches: &ArgMatches, settings: Settings) -> Result<Exit, Stop> {
    if matches.get_flag("capabilities") {
        let offers = component::preview(&settings).map_err(Stop::usage)?;
        for mistake in &offers.mistakes {
            complain!("{mistake}");
        }
        for problem in &offers.problems {
            complain!("{problem}");
        }
        say!("{}", offers.to_json());
        return Ok(Exit::Done);
    }
    component::run(settings).map_err(|error| match &error {
        component::ComponentError::Host(cause) if cause.is_not_permitted() => {
            Stop { exit: Exit::NotPermitted, text: error.to_string() }
        }
        component::ComponentError::Broken => Stop::lost(error),
        _ => Stop::usage(error),
    })?;
    Ok(Exit::Done)
}
