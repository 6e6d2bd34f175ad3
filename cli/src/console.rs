//! Lines for whoever reads standard output and standard error. `println!` and `eprintln!` panic
//! where nobody does any more, and where there is no room left.

use std::{
    fmt,
    io::{self, Write},
};

use sonde_plugin_api::text_form::harmless;

use crate::{Exit, Stop};

/// As `println!`; the program ends where the line cannot be written.
macro_rules! say {
    ($($text:tt)*) => { $crate::console::write(format_args!("{}\n", format_args!($($text)*))) };
}

/// As `eprintln!`, with the program's name in front.
macro_rules! complain {
    ($($text:tt)*) => { $crate::console::tell(format_args!($($text)*)) };
}

pub(crate) use {complain, say};

/// Writes text as it is to standard output, or ends the program.
pub(crate) fn write(text: fmt::Arguments<'_>) {
    let mut out = io::stdout().lock();
    if let Err(error) = out.write_fmt(text).and_then(|()| out.flush()) {
        std::process::exit(crate::told(unwritten(&error)) as i32);
    }
}

/// Writes a line to standard error. Where that fails there is nobody to be told.
pub(crate) fn tell(text: fmt::Arguments<'_>) {
    let _ = writeln!(io::stderr().lock(), "sonde: {}", shown(&text.to_string()));
}

/// Lines without what steers a terminal: in a warning may be a name of somebody's list.
pub(crate) fn shown(text: &str) -> String {
    text.split('\n').map(harmless).collect::<Vec<_>>().join("\n")
}

/// How the program ends where its output cannot be written. Where nobody reads any more, as behind
/// `| head`, nothing is left to do; anything else loses results.
pub(crate) fn unwritten(error: &io::Error) -> Result<Exit, Stop> {
    match error.kind() {
        io::ErrorKind::BrokenPipe => Ok(Exit::Done),
        _ => Err(lost(error)),
    }
}

/// As [`unwritten`], where something is kept beside that is not whole without.
pub(crate) fn lost(error: &io::Error) -> Stop {
    Stop::lost(format!("standard output: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_of_a_list_steers_no_terminal() {
        assert_eq!(
            shown("a\u{1b}[2J\u{9b}\r.example: not known\nand"),
            "a[2J.example: not known\nand"
        );
    }
}
