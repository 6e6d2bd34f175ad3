//! `sonde ca`: certificates for hosts, supervisors and clients, without openssl.
//!
//! A folder holds the authority (`ca.crt`, `ca.key`) and what it issued (`NAME.crt`, `NAME.key`). Nothing that
//! is there is written over.

mod certificate;
mod show;
mod subject;

use std::{
    fs::{self, File, OpenOptions},
    io::Write,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use clap::{Arg, ArgAction, ArgMatches, Command, builder::PossibleValuesParser, value_parser};

use self::certificate::{Authority, Pair, Wanted};
pub(crate) use self::certificate::{Unit, identity};
use crate::{Exit, Stop, console::say};

/// What peers connect to, where nothing is said.
const LOCAL: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

pub(crate) fn command() -> Command {
    let folder = Arg::new("folder")
        .long("folder")
        .value_name("DIR")
        .default_value("certificates")
        .value_parser(value_parser!(PathBuf))
        .help("Folder of the authority");
    let days = |usual: &'static str| {
        Arg::new("days")
            .long("days")
            .value_name("N")
            .default_value(usual)
            .value_parser(value_parser!(u32).range(1..=36_500))
            .help("Days that it counts")
    };
    let organisation = Arg::new("organisation").long("organisation").value_name("NAME");
    Command::new("ca")
        .about("Make certificates for hosts, supervisors and clients")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(
            Command::new("init")
                .about("Make a certificate authority: ca.crt for everybody, ca.key for nobody else")
                .arg(folder.clone())
                .arg(
                    organisation
                        .clone()
                        .default_value("Sonde")
                        .help("Third part of the identities: org.mplane.NAME"),
                )
                .arg(days("3650")),
        )
        .subcommand(
            Command::new("issue")
                .about("Make NAME.crt and NAME.key; prints the identity")
                .arg(
                    Arg::new("role")
                        .value_name("ROLE")
                        .required(true)
                        .value_parser(PossibleValuesParser::new(["host", "supervisor", "client"]))
                        .help("What it is for"),
                )
                .arg(Arg::new("name").value_name("NAME").required(true).help("Last part of the identity"))
                .arg(folder)
                .arg(organisation.help("In place of the authority's own"))
                .arg(
                    Arg::new("address")
                        .long("address")
                        .value_name("ADDRESS")
                        .action(ArgAction::Append)
                        .help("IP address or DNS name that others connect to; may be repeated [default: localhost, 127.0.0.1, ::1]"),
                )
                .arg(days("825")),
        )
        .subcommand(
            Command::new("show")
                .about("Print identity, subject, validity and addresses of a certificate")
                .arg(
                    Arg::new("file")
                        .value_name("FILE")
                        .required(true)
                        .value_parser(value_parser!(PathBuf)),
                )
                .arg(
                    Arg::new("ca")
                        .long("ca")
                        .value_name("FILE")
                        .value_parser(value_parser!(PathBuf))
                        .help("Also tell whether this authority signed it; exit code 1 if not, or if it is out of date"),
                ),
        )
}

pub(crate) fn run(matches: &ArgMatches) -> Result<Exit, Stop> {
    match matches.subcommand() {
        Some(("init", matches)) => {
            init(&path(matches, "folder"), text(matches, "organisation"), days(matches))?;
            say!("{}", path(matches, "folder").join("ca.crt").display());
            Ok(Exit::Done)
        }
        Some(("issue", matches)) => {
            let addresses: Vec<String> =
                matches.get_many::<String>("address").into_iter().flatten().cloned().collect();
            let unit = Unit::of(text(matches, "role"))
                .ok_or_else(|| Stop::usage("ROLE is host, supervisor or client"))?;
            let asked = Asked {
                unit,
                name: text(matches, "name"),
                organisation: matches.get_one::<String>("organisation").map(String::as_str),
                addresses,
                days: days(matches),
            };
            let identity = issue(&path(matches, "folder"), asked)?;
            say!("{identity}");
            Ok(Exit::Done)
        }
        Some(("show", matches)) => {
            show::show(&path(matches, "file"), matches.get_one::<PathBuf>("ca"), now())
        }
        _ => Err(Stop::usage("sonde ca init, issue or show")),
    }
}

/// A certificate to be made.
pub(crate) struct Asked<'a> {
    pub(crate) unit: Unit,
    pub(crate) name: &'a str,
    /// The authority's own where it is none.
    pub(crate) organisation: Option<&'a str>,
    /// This machine alone where it is empty.
    pub(crate) addresses: Vec<String>,
    pub(crate) days: u32,
}

/// Makes an authority in a folder, which is made too.
pub(crate) fn init(folder: &Path, organisation: &str, days: u32) -> Result<(), Stop> {
    let (_, pair) = Authority::new(organisation, days, now()).map_err(Stop::usage)?;
    write(folder, "ca", &pair)
}

/// Makes a certificate in the folder of its authority; returns its identity.
pub(crate) fn issue(folder: &Path, asked: Asked<'_>) -> Result<String, Stop> {
    let read = |name: &str| {
        let file = folder.join(name);
        fs::read_to_string(&file).map_err(|error| {
            Stop::usage(format!("{}: {error}; `sonde ca init` makes an authority", file.display()))
        })
    };
    let authority = Authority::of(&read("ca.crt")?, &read("ca.key")?)
        .map_err(|error| Stop::usage(format!("{}: {error}", folder.display())))?;
    let addresses = match asked.addresses.is_empty() {
        true => LOCAL.map(str::to_owned).to_vec(),
        false => asked.addresses,
    };
    let Asked { unit, name, organisation, days, .. } = asked;
    let wanted = Wanted { unit, name, addresses: &addresses, days };
    let pair = authority.issue(&wanted, organisation, now()).map_err(Stop::usage)?;
    write(folder, name, &pair)?;
    Ok(identity(organisation.unwrap_or(authority.organisation()), unit, name))
}

/// Both files or none.
fn write(folder: &Path, name: &str, pair: &Pair) -> Result<(), Stop> {
    let fail = |file: &Path, error: &std::io::Error| {
        let hint = match error.kind() {
            std::io::ErrorKind::AlreadyExists => "; what is there is not written over",
            _ => "",
        };
        Stop::usage(format!("{}: {error}{hint}", file.display()))
    };
    fs::create_dir_all(folder).map_err(|error| fail(folder, &error))?;
    let key = folder.join(format!("{name}.key"));
    let certificate = folder.join(format!("{name}.crt"));
    put(&key, 0o600, &pair.key).map_err(|error| fail(&key, &error))?;
    put(&certificate, 0o644, &pair.certificate).map_err(|error| {
        // It is ours: a moment ago it was not there.
        let _ = fs::remove_file(&key);
        fail(&certificate, &error)
    })
}

fn put(path: &Path, mode: u32, text: &str) -> std::io::Result<()> {
    make(path, mode, |file| file.write_all(text.as_bytes()).and_then(|()| file.sync_all()))
}

/// The whole file or none.
fn make(
    path: &Path,
    mode: u32,
    write: impl FnOnce(&mut File) -> std::io::Result<()>,
) -> std::io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
    // It is ours, and would be in the way of the next try.
    write(&mut file).inspect_err(|_| drop(fs::remove_file(path)))
}

/// Wall time, since 1970.
fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

fn path(matches: &ArgMatches, name: &str) -> PathBuf {
    matches.get_one::<PathBuf>(name).cloned().unwrap_or_default()
}

fn text<'a>(matches: &'a ArgMatches, name: &str) -> &'a str {
    matches.get_one::<String>(name).map(String::as_str).unwrap_or_default()
}

fn days(matches: &ArgMatches) -> u32 {
    matches.get_one::<u32>("days").copied().unwrap_or(30)
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[test]
    fn a_file_that_was_written_in_part_is_not_in_the_way_of_the_next_try() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("ca.key");
        let failed = make(&file, 0o600, |file| {
            file.write_all(b"hal")?;
            Err(io::ErrorKind::StorageFull.into())
        });
        assert!(failed.is_err());
        put(&file, 0o600, "whole").unwrap();
        assert!(put(&file, 0o600, "another").is_err());
        assert_eq!(fs::read_to_string(&file).unwrap(), "whole");
    }
}
