//! Completions and manual, from the definitions that the parser itself uses.

use std::io::Write;

use clap::ArgMatches;
use clap_complete::Shell;
use sonde_host::Catalogue;

use crate::{Exit, Stop, arguments, console::write};

pub(crate) fn completions(matches: &ArgMatches, catalogue: &Catalogue) -> Exit {
    if let Some(shell) = matches.get_one::<Shell>("shell") {
        let mut command = arguments::command(catalogue);
        let mut page = Vec::new();
        clap_complete::generate(*shell, &mut command, "sonde", &mut page);
        write(format_args!("{}", String::from_utf8_lossy(&page)));
    }
    Exit::Done
}

/// The program and every command of it, one page.
pub(crate) fn manual(catalogue: &Catalogue) -> Result<Exit, Stop> {
    let mut command = arguments::command(catalogue);
    command.build();
    let mut page = Vec::new();
    clap_mangen::Man::new(command.clone()).render(&mut page).map_err(Stop::usage)?;
    let run = command.find_subcommand("run");
    for method in run.into_iter().flat_map(clap::Command::get_subcommands) {
        let name = method.get_name();
        let about = method.get_about().map(ToString::to_string).unwrap_or_default();
        writeln!(page, ".SH SONDE RUN {}\n\\fBsonde run {name}\\fR: {about}", name.to_uppercase())
            .map_err(Stop::usage)?;
        clap_mangen::Man::new(method.clone())
            .render_options_section(&mut page)
            .map_err(Stop::usage)?;
    }
    write(format_args!("{}", String::from_utf8_lossy(&page)));
    Ok(Exit::Done)
}
