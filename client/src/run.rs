//! The shell as a program: at a terminal, or with commands from a script.

use std::{
    collections::BTreeMap,
    io::{ErrorKind, Write},
    path::PathBuf,
    sync::Arc,
};

use serde_json::Value as Json;
use sonde_mplane::{Registries, Time};
use sonde_mplane_http::{Client, ClientError, ClientTls, NOT_PERMITTED, Shared, TlsError};

use crate::{
    connection::CarryError,
    http::Http,
    session::Session,
    settings::Settings,
    shell::{Carrier, Form, Person, Said, Shell, ShellError, Terminal, harmless},
};

/// As the RI greets.
const INTRO: &str = "mPlane client shell\nType help or ? to list commands. ^D to exit.";

/// A value that there is none of.
const MISSING: &str = "*";

/// What is typed on the command line.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Commands; with none somebody types them.
    pub commands: Vec<String>,
    /// How output reads.
    pub form: Form,
    /// Where typed lines are kept, if the settings do not say.
    pub history: Option<PathBuf>,
}

/// How the command that went worst ended; what comes later here is worse.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Ended {
    /// All is well.
    Done,
    /// A result came, and there is nothing in it.
    NoAnswer,
    /// A command was not typed as it has to be, or asks for what cannot be.
    Usage,
    /// The server lets us not use it.
    Refused,
    /// A measurement failed, or the server cannot be reached.
    Failed,
}

/// Why the shell cannot begin.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// Certificates.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The HTTP client.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The address.
    #[error(transparent)]
    Address(#[from] CarryError),
    /// Threads.
    #[error("cannot begin: {0}")]
    System(#[from] std::io::Error),
}

/// A client with its connection, as `settings` say.
///
/// # Errors
///
/// [`RunError`] where certificates or address cannot be used.
pub fn connect(settings: &Settings) -> Result<Http, RunError> {
    let tls = settings.tls.clone().map(ClientTls::load).transpose()?;
    let registries: Arc<Shared<Registries>> = Shared::new(settings.registries.clone());
    let client = Client::new(tls, registries, settings.timeouts)?;
    Ok(Http::new(client, &settings.url)?)
}

/// Values of the file need not be asked for in a script; a person is shown them and takes them with Enter.
fn session(values: BTreeMap<String, String>, is_script: bool) -> Session {
    let mut session = Session::default();
    if is_script {
        session.defaults = values;
    } else {
        session.proposals = values;
    }
    session
}

/// Runs the shell until its commands are done, or somebody leaves it. `clock` is the wall clock.
///
/// # Errors
///
/// [`RunError`] where it cannot begin.
pub fn run(settings: Settings, options: Options, clock: fn() -> Time) -> Result<Ended, RunError> {
    for line in &settings.ignored {
        tracing::warn!("{line}");
    }
    let http = connect(&settings)?;
    let is_script = !options.commands.is_empty();
    let history = settings.history.or(options.history).filter(|_| !is_script);
    let session = session(settings.defaults, is_script);
    let terminal = Terminal::open(history.as_deref(), options.form);
    let is_person = terminal.is_person();
    let mut shell = Shell::new(session, http, terminal, clock);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let ended = runtime.block_on(async {
        let mut ended = Ended::Done;
        if !is_script && options.form == Form::Text {
            say(&format!("{INTRO}\n"));
        }
        // The RI looks for capabilities at its start, too.
        let first = match &settings.capability_url {
            Some(url) => format!("getcap {url}"),
            None => "getcap".to_owned(),
        };
        let found = shell.execute(&first).await;
        if is_script {
            if let Err(error) = found {
                return failure(&error, options.form);
            }
            shell.wait_for_results();
            return script(&mut shell, &options.commands, options.form).await;
        }
        if options.form == Form::Text || found.is_err() {
            ended = ended.max(tell(found, options.form));
        }
        loop {
            let session = std::mem::take(&mut shell.session);
            shell.person().learn(&session);
            shell.session = session;
            let Some(line) = shell.person().command() else {
                if options.form == Form::Text {
                    say("Ciao!\n");
                }
                break;
            };
            let said = tokio::select! {
                said = shell.execute(&line) => said,
                // The wait is given up, not the shell. Whoever pipes commands in ends it with the signal.
                Ok(()) = tokio::signal::ctrl_c(), if is_person => {
                    shell.person().waited();
                    say("\n");
                    continue;
                }
            };
            let is_end = said.as_ref().is_ok_and(|said| said.is_end);
            ended = ended.max(tell(said, options.form));
            if is_end {
                break;
            }
        }
        if is_person { Ended::Done } else { ended }
    });
    shell.person().close(history.as_deref());
    Ok(ended)
}

/// The commands of the command line; an error is the end of it.
pub(crate) async fn script<C: Carrier, P: Person>(
    shell: &mut Shell<C, P>,
    commands: &[String],
    form: Form,
) -> Ended {
    let mut ended = Ended::Done;
    for command in commands {
        match shell.execute(command).await {
            Ok(said) => {
                ended = ended.max(print(&said, form)).max(judged(&said));
                if said.is_end {
                    break;
                }
            }
            Err(error) => return ended.max(failure(&error, form)),
        }
    }
    ended
}

/// For somebody at a terminal, or commands from a pipe: all goes on after an error.
fn tell(said: Result<Said, ShellError>, form: Form) -> Ended {
    match said {
        Ok(said) => print(&said, form).max(judged(&said)),
        Err(error) if form == Form::Json => failure(&error, form),
        Err(error) => {
            say(&harmless(&format!("An exception occurred:\n{error}\nYou can go on.\n")));
            ended_by(&error)
        }
    }
}

fn print(said: &Said, form: Form) -> Ended {
    match form {
        Form::Text => say(&harmless(&said.text)),
        Form::Json => say(&format!("{}\n", said.json.as_ref().unwrap_or(&Json::Null))),
    }
}

/// A pipe that nobody reads any more is no reason to stop measuring; a disk without room is no
/// reason either, but results are lost.
fn say(text: &str) -> Ended {
    let mut output = std::io::stdout().lock();
    match output.write_all(text.as_bytes()).and_then(|()| output.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            complain(&format!("standard output: {error}"));
            Ended::Failed
        }
        _ => Ended::Done,
    }
}

/// A line to standard error; where that fails there is nobody to be told.
fn complain(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "sonde: {}", harmless(text));
}

/// For a script: on standard error, and the exit code.
fn failure(error: &ShellError, form: Form) -> Ended {
    if form == Form::Json {
        say(&format!("{}\n", serde_json::json!({ "error": error.to_string() })));
    }
    complain(&error.to_string());
    ended_by(error)
}

fn ended_by(error: &ShellError) -> Ended {
    match error {
        ShellError::Carry(_) | ShellError::Left { .. } => Ended::Failed,
        _ => Ended::Usage,
    }
}

/// What a message that came says of its measurement.
#[must_use]
pub fn judged(said: &Said) -> Ended {
    said.json.as_ref().map_or(Ended::Done, of_message)
}

fn of_message(json: &Json) -> Ended {
    if json.get("exception").is_some() {
        let message = json["message"].as_str().unwrap_or_default();
        return if message.contains(NOT_PERMITTED) { Ended::Refused } else { Ended::Failed };
    }
    if json.get("envelope").is_some() {
        let contents = json["contents"].as_array().into_iter().flatten();
        let ended: Vec<Ended> = contents.map(of_message).collect();
        let worst = ended.iter().copied().max().unwrap_or(Ended::NoAnswer);
        // One result with values is enough of an answer.
        let is_answer = worst == Ended::NoAnswer && ended.contains(&Ended::Done);
        return if is_answer { Ended::Done } else { worst };
    }
    if json.get("result").is_none() {
        return Ended::Done;
    }
    match json["resultvalues"].as_array() {
        Some(rows) if !rows.iter().all(is_empty) => Ended::Done,
        _ => Ended::NoAnswer,
    }
}

/// Whether a row has no value, or beside missing ones nothing but that there were 0.
fn is_empty(row: &Json) -> bool {
    let cells = row.as_array().map_or(&[][..], Vec::as_slice);
    let is_missing = |cell: &Json| cell.is_null() || cell == MISSING;
    let is_nothing = |cell: &Json| is_missing(cell) || cell == "0" || cell == 0;
    cells.is_empty() || cells.iter().any(is_missing) && cells.iter().all(is_nothing)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn said(json: serde_json::Value) -> Said {
        Said { json: Some(json), ..Said::default() }
    }

    #[test]
    fn the_end_of_a_script_tells_what_came_of_it() {
        let one = json!({"result": "measure", "resultvalues": [["1"]]});
        let none = json!({"result": "measure", "resultvalues": [["*"]]});
        let lost = json!({"exception": "t", "message": "no route"});
        let refused = json!({"exception": "t", "message": NOT_PERMITTED});
        for (json, expected) in [
            (one.clone(), Ended::Done),
            (json!({"result": "measure", "resultvalues": [[null]]}), Ended::NoAnswer),
            (json!({"result": "measure", "resultvalues": []}), Ended::NoAnswer),
            (json!({"result": "measure", "resultvalues": [["*", "*", "0"]]}), Ended::NoAnswer),
            (json!({"result": "measure", "resultvalues": [["0"]]}), Ended::Done),
            (json!({"envelope": "message", "contents": [none, one]}), Ended::Done),
            (json!({"envelope": "message", "contents": [none, none]}), Ended::NoAnswer),
            (json!({"envelope": "message", "contents": [one, lost]}), Ended::Failed),
            (json!({"envelope": "message", "contents": [refused, lost, one]}), Ended::Failed),
            (json!({"envelope": "message", "contents": []}), Ended::NoAnswer),
            (refused, Ended::Refused),
            (lost, Ended::Failed),
            (json!([{"label": "ping"}]), Ended::Done),
        ] {
            assert_eq!(judged(&said(json.clone())), expected, "{json}");
        }
    }

    #[test]
    fn a_server_that_goes_away_during_a_wait_is_a_failure_and_no_matter_of_usage() {
        let (url, cause) = ("http://supervisor/".to_owned(), "refused".to_owned());
        let cause = CarryError::Failed { url, cause };
        assert_eq!(ended_by(&ShellError::Left { token: "t".to_owned(), cause }), Ended::Failed);
        assert_eq!(ended_by(&ShellError::Command("x".to_owned())), Ended::Usage);
    }

    #[test]
    fn values_of_the_file_are_proposed_to_a_person_and_taken_by_a_script() {
        let values = BTreeMap::from([("scamper.ping.ttl".to_owned(), "64".to_owned())]);
        let (person, script) = (session(values.clone(), false), session(values.clone(), true));
        assert_eq!((person.proposals, person.defaults.len()), (values.clone(), 0));
        assert_eq!((script.defaults, script.proposals.len()), (values, 0));
    }
}
