//! The command line: what is fixed, and what comes from the descriptors of the plugins.

use std::path::PathBuf;

use clap::{Arg, ArgAction, ArgGroup, Command, builder::PossibleValuesParser, value_parser};
use sonde_host::{Catalogue, Offer};
use sonde_plugin_api::{
    descriptor::{Parameter, Type},
    packet::Family,
};

use crate::console::complain;

/// The hidden command that begins a worker process.
pub(crate) const WORKER: &str = "worker";

/// What counts before the plugins are known.
#[derive(Debug, Default)]
pub(crate) struct Common {
    /// Folders of `--plugins`.
    pub(crate) plugins: Vec<String>,
    /// File of `--config`.
    pub(crate) config: Option<String>,
    /// The first word that is no option.
    command: String,
}

impl Common {
    /// Whether it runs until it is told to end.
    pub(crate) fn is_daemon(&self) -> bool {
        ["host", "supervisor"].contains(&self.command.as_str())
    }

    /// Finds it wherever it stands; the real parser checks the rest later.
    pub(crate) fn peek(arguments: &[String]) -> Self {
        let mut common = Self::default();
        let mut rest = arguments.iter().skip(1);
        while let Some(word) = rest.next() {
            if word == "--plugins" {
                common.plugins.extend(rest.next().cloned());
            } else if let Some(folder) = word.strip_prefix("--plugins=") {
                common.plugins.push(folder.to_owned());
            } else if word == "--config" {
                common.config = rest.next().cloned();
            } else if let Some(file) = word.strip_prefix("--config=") {
                common.config = Some(file.to_owned());
            } else if common.command.is_empty() && !word.starts_with('-') {
                common.command.clone_from(word);
            }
        }
        common
    }

    /// Whether the configuration is to be checked.
    pub(crate) fn is_check(&self) -> bool {
        self.command == "check"
    }

    /// The file of `--config`.
    pub(crate) fn file(&self) -> Option<PathBuf> {
        self.config.as_ref().map(PathBuf::from)
    }

    /// Whether `--config` names a file of the host, and not one of another program.
    pub(crate) fn is_of_host(&self) -> bool {
        !["supervisor", "shell", "demo", "ca"].contains(&self.command.as_str())
    }

    /// False where no plugin has to be asked, which takes some milliseconds each.
    pub(crate) fn needs_catalogue(&self) -> bool {
        ["run", "methods", "check", "completions", "man", "help"].contains(&self.command.as_str())
    }
}

/// The whole command line.
pub(crate) fn command(catalogue: &Catalogue) -> Command {
    let plugins = Arg::new("plugins")
        .long("plugins")
        .value_name("DIR")
        .action(ArgAction::Append)
        .global(true)
        .value_parser(value_parser!(PathBuf))
        .help("Folder with plugins, instead of the usual ones; may be repeated");
    Command::new("sonde")
        .version(env!("CARGO_PKG_VERSION"))
        .about("Active network measurement; methods are plugins")
        .after_help(
            "Exit codes: 0 done, 1 nothing answered, 2 usage or configuration, 3 not permitted, \
             4 refused by policy, 5 a measurement failed or cannot be written, 130 a campaign was interrupted.",
        )
        .subcommand_required(true)
        .arg_required_else_help(true)
        .arg(plugins)
        .arg(
            Arg::new("config")
                .long("config")
                .value_name("FILE")
                .global(true)
                .value_parser(value_parser!(PathBuf))
                .help("The program's file: of the host, also for run, else of the supervisor or the shell"),
        )
        .subcommand(run(catalogue))
        .subcommand(crate::ca::command())
        .subcommand(crate::demo::command())
        .subcommand(crate::shell::command())
        .subcommand(crate::supervisor::command())
        .subcommand(Command::new("check").about(
            "Find all mistakes in a file of the host, supervisor or client: that of --config, or else those in /etc/sonde",
        ))
        .subcommand(crate::host::command())
        .subcommand(
            Command::new("methods")
                .about("Show what the plugins offer")
                .arg(Arg::new("name").value_name("NAME").help("One method, in full"))
                .arg(switch("schema", "JSON Schema of the method's result record").requires("name"))
                .arg(switch("json", "The descriptor as the plugin gives it").requires("name"))
                .arg(switch("markdown", "The same as a section of a document").requires("name")),
        )
        .subcommand(
            Command::new("plugin")
                .about("Work on plugins")
                .subcommand_required(true)
                .arg_required_else_help(true)
                .subcommand(
                    Command::new("new")
                        .about("Begin a new method: a crate that builds and passes its test")
                        .arg(
                            Arg::new("path")
                                .value_name("NAME")
                                .required(true)
                                .help("Folder to make"),
                        )
                        .arg(
                            Arg::new("api")
                                .long("api")
                                .value_name("DIR")
                                .value_parser(value_parser!(PathBuf))
                                .help("Folder of sonde-plugin-api, instead of the published one"),
                        ),
                ),
        )
        .subcommand(Command::new("completions").about("Print completions for a shell").arg(
            Arg::new("shell").required(true).value_parser(value_parser!(clap_complete::Shell)),
        ))
        .subcommand(Command::new("man").about("Print the manual page"))
}

fn switch(name: &'static str, help: &'static str) -> Arg {
    Arg::new(name).long(name).action(ArgAction::SetTrue).help(help)
}

fn file(name: &'static str, help: &'static str) -> Arg {
    Arg::new(name).long(name).value_name("FILE").value_parser(value_parser!(PathBuf)).help(help)
}

fn run(catalogue: &Catalogue) -> Command {
    let mut command = Command::new("run")
        .about("Measure one or many targets")
        .subcommand_value_name("METHOD")
        .subcommand_help_heading("Methods")
        .arg_required_else_help(true)
        .subcommand_required(true);
    for offer in catalogue.offers() {
        command = command.subcommand(method(&offer));
    }
    command
}

fn method(offer: &Offer) -> Command {
    let method = offer.method();
    let mut command = Command::new(method.name.clone())
        .about(method.doc.clone())
        .arg_required_else_help(true)
        .next_help_heading("Parameters");
    if !method.source.is_empty() {
        command = command.after_help(format!("Source: {}", method.source));
    }
    for parameter in own_parameters(offer) {
        command = command.arg(flag(parameter));
    }
    let taken =
        |letter: char| own_parameters(offer).any(|parameter| parameter.short == Some(letter));
    command
        .next_help_heading("Targets")
        .arg(Arg::new("target").value_name("TARGET").num_args(0..).help("Addresses or names"))
        .arg(
            Arg::new("targets")
                .long("targets")
                .value_name("FILE")
                .value_parser(value_parser!(PathBuf))
                .help("One target a line; # begins a comment, - is standard input"),
        )
        .group(ArgGroup::new("whom").args(["target", "targets"]).multiple(true).required(true))
        .arg(
            short_unless(taken('4'), switch("ipv4", "IPv4 addresses of names"), '4')
                .conflicts_with("ipv6"),
        )
        .arg(short_unless(taken('6'), switch("ipv6", "IPv6 addresses of names"), '6'))
        .next_help_heading("How")
        .arg(
            Arg::new("pps")
                .long("pps")
                .value_name("N")
                .value_parser(value_parser!(f64))
                .help("Packets per second, of all targets together [default: 20]"),
        )
        .arg(
            Arg::new("destination-pps")
                .long("destination-pps")
                .value_name("N")
                .value_parser(value_parser!(f64))
                .help("Packets per second to one address [default: 2 after the first 20, or as --pps says]"),
        )
        .arg(
            Arg::new("window")
                .long("window")
                .value_name("N")
                .value_parser(value_parser!(u32).range(1..))
                .help("Targets measured at the same time [default: two seconds' worth of --pps]"),
        )
        .arg(
            Arg::new("format")
                .long("format")
                .value_parser(PossibleValuesParser::new(["text", "json"]))
                .help("Text for people, or a JSON record a line [default: text on a terminal]"),
        )
        .arg(
            file("resume", "Note which targets of the list have ended, and leave those out: go on after an interrupt")
        )
        .arg(switch("dns", "Show names of addresses, looked up beside the measurement"))
        .arg(file("dot", "Draw the graph that is found, for Graphviz"))
        .arg(file("svg", "Draw the graph that is found, as a picture"))
        .arg(file("pcap", "Record probes and what belongs to them, for tcpdump and Wireshark"))
        .arg(
            Arg::new("isolation")
                .long("isolation")
                .value_parser(PossibleValuesParser::new(["process", "inline"]))
                .help("The plugin in a jailed process of its own, or in the engine's thread [default: process]"),
        )
        .arg(
            Arg::new("stamps")
                .long("stamps")
                .value_parser(PossibleValuesParser::new(["auto", "precise", "interpolated"]))
                .help("Who stamps departures: the kernel at low rates, always, or never [default: auto]"),
        )
}

fn short_unless(taken: bool, arg: Arg, letter: char) -> Arg {
    if taken { arg } else { arg.short(letter) }
}

/// All but the one that TARGET stands for.
pub(crate) fn own_parameters(offer: &Offer) -> impl Iterator<Item = &Parameter> {
    let target = offer.target().map(|target| &target.name);
    offer.method().parameters.iter().filter(move |parameter| Some(&parameter.name) != target)
}

/// Names of the options above, which no parameter may take.
const TAKEN: &[&str] = &[
    "target",
    "targets",
    "ipv4",
    "ipv6",
    "pps",
    "destination-pps",
    "window",
    "format",
    "resume",
    "dns",
    "dot",
    "svg",
    "pcap",
    "isolation",
    "stamps",
    "plugins",
    "config",
    "help",
];

/// What a parameter is called on the command line: its option, or `TARGET`.
pub(crate) fn called(parameter: &Parameter) -> String {
    match parameter.element.as_str() {
        "destination.{ip}" => "TARGET".to_owned(),
        _ => format!("--{}", option(parameter)),
    }
}

/// A parameter of the same name as an option of ours is reached by its whole element.
fn option(parameter: &Parameter) -> String {
    match TAKEN.contains(&parameter.name.as_str()) {
        true => parameter.element.replace('.', "-"),
        false => parameter.name.clone(),
    }
}

fn flag(parameter: &Parameter) -> Arg {
    let default = |family| crate::methods::default_text(parameter, family);
    let default = match (default(Family::V4), default(Family::V6)) {
        (Some(default), Some(other)) if default != other => {
            format!(" [default: {default}, IPv6: {other}]")
        }
        (Some(default), _) => format!(" [default: {default}]"),
        (None, _) => String::new(),
    };
    let doc = parameter.doc.trim_end_matches('.');
    let help = format!("{doc} ({}){default}", crate::methods::accepted(parameter));
    let mut arg = Arg::new(format!("parameter {}", parameter.name))
        .long(option(parameter))
        .help(help)
        .value_name(parameter.name.to_ascii_uppercase())
        .allow_hyphen_values(true)
        .required(parameter.required);
    if let Some(letter) = parameter.short.filter(|letter| !['h', 'V'].contains(letter)) {
        arg = arg.short(letter);
    }
    if !parameter.alias.is_empty() {
        arg = arg.visible_alias(parameter.alias.clone());
    }
    arg
}

/// Adds the `true` that options of the method which are true or false may leave out. The parser
/// would take the next word for their value, which may be a target.
pub(crate) fn with_bare_switches(arguments: &[String], catalogue: &Catalogue) -> Vec<String> {
    let mut words = arguments.iter().skip_while(|word| *word != "run").skip(1);
    let Some(offer) = words.find_map(|word| catalogue.find(word)) else {
        return arguments.to_vec();
    };
    let switch = |word: &String| {
        own_parameters(&offer).filter(|it| it.shape.kind == Type::Boolean).find(|parameter| {
            let names = [&parameter.name, &parameter.alias];
            match word.strip_prefix("--") {
                Some(name) => !name.is_empty() && names.iter().any(|known| *known == name),
                None => parameter.short.is_some_and(|letter| *word == format!("-{letter}")),
            }
        })
    };
    let options = arguments.iter().position(|word| word == "--").unwrap_or(arguments.len());
    let mut complete = Vec::with_capacity(arguments.len());
    for (place, word) in arguments.iter().enumerate() {
        complete.push(word.clone());
        let is_value = |parameter: &Parameter| {
            arguments.get(place + 1).is_some_and(|next| parameter.parse(next, None).is_ok())
        };
        if place < options && switch(word).is_some_and(|parameter| !is_value(parameter)) {
            complete.push("true".to_owned());
        }
    }
    complete
}

/// After a mistake in `run METHOD`: which files were refused, for one of them may be what was meant.
pub(crate) fn explain_missing_method(arguments: &[String], catalogue: &Catalogue) {
    if arguments.iter().any(|word| word == "run") {
        for refusal in catalogue.refusals() {
            complain!("{}: {}", refusal.path.display(), refusal.reason);
        }
        if catalogue.offers().next().is_none() {
            complain!("no plugin was found; see --plugins and SONDE_PLUGINS");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parameter_is_called_as_it_is_typed() {
        for (name, element, expected) in [
            ("ttl", "sonde.x.ttl", "--ttl"),
            ("window", "sonde.x.window", "--sonde-x-window"),
            ("destination", "destination.{ip}", "TARGET"),
        ] {
            let json = serde_json::json!({"name": name, "element": element, "type": "natural"});
            assert_eq!(called(&serde_json::from_value(json).unwrap()), expected);
        }
    }
}
