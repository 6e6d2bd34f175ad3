//! `sonde supervisor`: hosts register with it, clients ask it.

use std::{io::Write, path::PathBuf};

use clap::Command;
use sonde_supervisor::{Listening, RunError, Settings};

use crate::{Exit, Stop, surroundings};

pub(crate) fn command() -> Command {
    Command::new("supervisor")
        .about("Relay between clients and hosts, over mPlane, as --config FILE says")
        .after_help(
            "Prints where it listens, then runs until SIGTERM; SIGHUP reads certificates, roles and \
             authorizations again.",
        )
}

pub(crate) fn run(file: Option<PathBuf>) -> Result<Exit, Stop> {
    let file = file.ok_or_else(|| Stop::usage("sonde supervisor --config FILE"))?;
    let settings = Settings::read(&file, surroundings::variables().into_iter())
        .map_err(RunError::Configuration)
        .map_err(Stop::usage)?;
    let scheme = if settings.peers.tls.is_some() { "https" } else { "http" };
    let tell = |listening: Listening| {
        // Whoever started it may wait for these two lines, or not want them.
        let Listening { clients, hosts } = listening;
        let mut output = std::io::stdout().lock();
        let _ = writeln!(output, "clients {scheme}://{clients}/\nhosts {scheme}://{hosts}/")
            .and_then(|()| output.flush());
    };
    sonde_supervisor::run(settings, surroundings::variables, surroundings::now, tell)
        .map_err(Stop::usage)?;
    Ok(Exit::Done)
}
