//! Completions and manual, from the definitions that the parser itself uses.

use std::io::{self, Write};

use clap::ArgMatches;
use clap_complete::Shell;
use sonde_host::Catalogue;

use crate::{Exit, Stop, arguments};

pub(crate) fn completions(matches: &ArgMatches, catalogue: &Catalogue) -> Exit {
    if let Some(shell) = matches.get_one::<Shell>("shell") {
        let mut command = arguments::command(catalogue);
        clap_complete::generate(*shell, &mut command, "sonde", &mut io::stdout());
    }
    Exit::Done
}

/// The program and every command of it, one page.
pub(crate) fn manual(catalogue: &Catalogue) -> Result<Exit, Stop> {
    let mut command = arguments::command(catalogue);
    command.build();
    let mut page = Vec::new();
    clap_mangen::Man::new(command.clone()).render(&mut page).map_err(Stop::usage)?;
    for method in
        command.find_subcommand("run").into_iter().flat_map(clap::Command::get_subcommands)
    {
        let man = clap_mangen::Man::new(
            method.clone().display_name(format!("sonde run {}", method.get_name())),
        );
        man.render_options_section(&mut page).map_err(Stop::usage)?;
    }
    io::stdout().write_all(&page).map_err(Stop::usage)?;
    Ok(Exit::Done)
}
