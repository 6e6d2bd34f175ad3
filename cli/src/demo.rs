//! `sonde demo`: supervisor, host and client on this machine, over mutual TLS, and a first measurement through all
//! of them.
//!
//! The programs are those of `sonde supervisor` and `sonde host`, started as anybody would start them. What is measured
//! stands in `demo/commands.txt`, for no method has a name here.

use std::{
    fs,
    future::poll_fn,
    io::{self, BufRead, BufReader, Read, Write},
    net::UdpSocket,
    path::{Path, PathBuf},
    process::{Child, Command as Process, Stdio},
    task::{Context, Poll},
    thread,
    time::{Duration, Instant},
};

use clap::{Arg, ArgMatches, Command, value_parser};
use sonde_client::{
    Session,
    shell::{Person, Said, Shell, ShellError},
};
use sonde_host::Settings;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::{
    Exit, Stop,
    ca::{self, Asked, Unit},
    console::complain,
    surroundings,
};

const ORGANISATION: &str = "Demo";
/// Days that the certificates count: a start for whoever keeps them.
const DAYS: u32 = 365;
/// The host opens its sockets, describes its plugins and registers in a second, on a busy machine later.
const PATIENCE: Duration = Duration::from_secs(60);
/// From one look for capabilities to the next.
const LOOK: Duration = Duration::from_millis(200);

const SUPERVISOR: &str = include_str!("../demo/supervisor.toml.in");
const HOST: &str = include_str!("../demo/host.toml.in");
const CLIENT: &str = include_str!("../demo/client.toml.in");
const COMMANDS: &str = include_str!("../demo/commands.txt");

pub(crate) fn command() -> Command {
    Command::new("demo")
        .about("Start a supervisor and a host here, and measure through both of them")
        .arg(
            Arg::new("keep")
                .long("keep")
                .value_name("DIR")
                .value_parser(value_parser!(PathBuf))
                .help("Leave certificates and configuration in this new folder"),
        )
}

pub(crate) fn run(matches: &ArgMatches, settings: &Settings) -> Result<Exit, Stop> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(Stop::usage)?;
    // From here on the folder is cleared away, whoever ends the demo.
    let mut signals = runtime.block_on(async { signals() }).map_err(Stop::usage)?;
    let folder = Folder::new(matches.get_one::<PathBuf>("keep"))?;
    step("certificates", &folder.path.display().to_string());
    certificates(&folder.path)?;

    let any_port = "127.0.0.1:0";
    let supervisor_file = folder.write("supervisor.toml", &supervisor_text(any_port, any_port))?;
    let mut supervisor = Running::start(settings, "supervisor", &supervisor_file)?;
    let clients = supervisor.says("clients ")?;
    let hosts = supervisor.says("hosts ")?;
    // Whoever keeps the files finds it where those of host and client say.
    folder.write("supervisor.toml", &supervisor_text(&clients, &hosts))?;
    step("supervisor", &format!("for clients {clients}, for hosts {hosts}"));

    let text = HOST.replace("@hosts@", &hosts);
    let text = text.replace("@plugins@", &paths(&settings.plugins));
    // Where a machine has no IPv6, nothing is offered for it.
    let has_ip6 = UdpSocket::bind("[::1]:0").is_ok();
    let text = text.replace("@ip6addr@", if has_ip6 { "ip6addr = \"::1\"" } else { "" });
    let host_file = folder.write("host.toml", &text)?;
    let mut host = Running::start(settings, "host", &host_file)?;
    step("host", &format!("registers at {hosts}"));

    let client_file = folder.write("client.toml", &CLIENT.replace("@clients@", &clients))?;
    let client = sonde_client::Settings::read(&client_file, std::iter::empty())
        .map_err(|mistakes| Stop::mistakes(&mistakes))?;
    let connection = sonde_client::connect(&client).map_err(Stop::usage)?;
    let mut session = Session::default();
    session.defaults = client.defaults;
    let mut shell = Shell::new(session, connection, Nobody, surroundings::now);
    shell.wait_for_results();
    let exit = runtime.block_on(async {
        tokio::select! {
            exit = measure(&mut shell, &mut supervisor, &mut host) => exit,
            () = asked_to_end(&mut signals) => {
                Err(Stop { exit: Exit::Failed, text: "interrupted".to_owned() })
            }
        }
    });
    drop((host, supervisor));
    let exit = exit?;
    if folder.is_kept {
        say(&format!("\nKept in {}: certificates and configuration.\n", folder.path.display()));
    }
    Ok(exit)
}

/// Listening at these addresses, or at those of these URLs.
fn supervisor_text(clients: &str, hosts: &str) -> String {
    let address = |url: &str| url.trim_start_matches("https://").trim_end_matches('/').to_owned();
    SUPERVISOR.replace("@clients@", &address(clients)).replace("@hosts@", &address(hosts))
}

/// A list in TOML, whose basic texts are those of JSON. Paths in the file would begin beside it.
fn paths(folders: &[PathBuf]) -> String {
    let absolute = |folder: &PathBuf| {
        std::path::absolute(folder).unwrap_or_else(|_| folder.clone()).display().to_string()
    };
    serde_json::Value::from_iter(folders.iter().map(absolute)).to_string()
}

/// Those of Ctrl-C, of a service manager, and of the end of the terminal.
fn signals() -> io::Result<Vec<Signal>> {
    let kinds = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()];
    let wanted = kinds.into_iter().filter(|kind| !surroundings::is_ignored(kind.as_raw_value()));
    wanted.map(signal).collect()
}

/// Until one of them came, also before this was asked.
async fn asked_to_end(signals: &mut [Signal]) {
    let came = |context: &mut Context<'_>| match signals
        .iter_mut()
        .any(|signal| signal.poll_recv(context).is_ready())
    {
        true => Poll::Ready(()),
        false => Poll::Pending,
    };
    poll_fn(came).await;
}

type Client = Shell<sonde_client::Http, Nobody>;

/// Everything that the commands ask for; the first one must have a result.
async fn measure(
    shell: &mut Client,
    supervisor: &mut Running,
    host: &mut Running,
) -> Result<Exit, Stop> {
    let begin = Instant::now();
    loop {
        supervisor.must_run()?;
        host.must_run()?;
        shell.execute("getcap").await.map_err(failed)?;
        if !shell.session.capabilities().is_empty() {
            break;
        }
        if begin.elapsed() > PATIENCE {
            let text = format!("no capabilities after {} s", PATIENCE.as_secs());
            return Err(Stop { exit: Exit::Failed, text });
        }
        tokio::time::sleep(LOOK).await;
    }
    step("client", "sees these capabilities");
    say(&shell.execute("listcap").await.map_err(failed)?.text);
    let commands = COMMANDS.lines().filter(|line| !line.starts_with('#'));
    let mut results = 0;
    for (label, command) in commands.filter_map(|line| line.split_once(' ')) {
        if shell.session.capability(label).is_err() {
            step(label, "is not offered here: the machine has no address of its family");
            continue;
        }
        step("client", command);
        let said: Said = tokio::select! {
            said = shell.execute(command) => said.map_err(failed)?,
            () = tokio::time::sleep(PATIENCE) => {
                let text = format!("{label}: no result after {} s", PATIENCE.as_secs());
                return Err(Stop { exit: Exit::Failed, text });
            }
        };
        say(&said.text);
        match sonde_client::judged(&said) {
            sonde_client::Ended::Done => results += 1,
            _ => return Err(Stop { exit: Exit::Failed, text: format!("{label}: no result") }),
        }
    }
    let plural = if results == 1 { "" } else { "s" };
    say(&format!(
        "{results} measurement{plural} from client to supervisor to host to plugin and back.\n"
    ));
    Ok(if results > 0 { Exit::Done } else { Exit::Failed })
}

fn step(who: &str, what: &str) {
    say(&format!("* {who}: {what}\n"));
}

/// What nobody reads any more ends nothing: programs and folder are cleared away as always.
fn say(text: &str) {
    let mut output = io::stdout().lock();
    let _ = output.write_all(text.as_bytes()).and_then(|()| output.flush());
}

#[expect(clippy::needless_pass_by_value, reason = "so that it fits `map_err`")]
fn failed(error: ShellError) -> Stop {
    Stop { exit: Exit::Failed, text: error.to_string() }
}

fn certificates(folder: &Path) -> Result<(), Stop> {
    let folder = folder.join("certificates");
    ca::init(&folder, ORGANISATION, DAYS)?;
    for (unit, name) in [
        (Unit::Supervisors, "supervisor-1"),
        (Unit::Components, "host-1"),
        (Unit::Clients, "client-1"),
    ] {
        let asked = Asked { unit, name, organisation: None, addresses: Vec::new(), days: DAYS };
        let identity = ca::issue(&folder, asked)?;
        say(&format!("  {identity}\n"));
    }
    Ok(())
}

/// Nobody is there to be asked: every value stands in the command.
struct Nobody;

impl Person for Nobody {
    fn ask(&mut self, _: &str) -> Option<String> {
        None
    }

    fn tell(&mut self, text: &str) {
        say(&format!("{text}\n"));
    }

    fn wait(&mut self, _: &str, _: Duration) {}

    fn waited(&mut self) {}
}

/// Where everything lies; removed at the end unless somebody wants to keep it.
struct Folder {
    path: PathBuf,
    is_kept: bool,
}

impl Folder {
    fn new(keep: Option<&PathBuf>) -> Result<Self, Stop> {
        use std::os::unix::fs::DirBuilderExt;
        let path = match keep {
            Some(folder) => folder.clone(),
            None => std::env::temp_dir().join(format!("sonde-demo-{}", std::process::id())),
        };
        // Never one that is there: somebody else might own it.
        fs::DirBuilder::new()
            .mode(0o700)
            .create(&path)
            .map_err(|error| Stop::usage(format!("{}: {error}", path.display())))?;
        let path = path.canonicalize().map_err(Stop::usage)?;
        Ok(Self { path, is_kept: keep.is_some() })
    }

    fn write(&self, name: &str, text: &str) -> Result<PathBuf, Stop> {
        let file = self.path.join(name);
        fs::write(&file, text)
            .map_err(|error| Stop::usage(format!("{}: {error}", file.display())))?;
        Ok(file)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if !self.is_kept
            && let Err(error) = fs::remove_dir_all(&self.path)
        {
            complain!("{}: {error}", self.path.display());
        }
    }
}

/// A program of ours; ended with the demo.
struct Running {
    name: &'static str,
    child: Child,
    output: Box<dyn BufRead>,
}

impl Running {
    fn start(settings: &Settings, name: &'static str, file: &Path) -> Result<Self, Stop> {
        let mut child = Process::new(&settings.program)
            .arg(name)
            .arg("--config")
            .arg(file)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| Stop::usage(format!("sonde {name}: {error}")))?;
        let output: Box<dyn BufRead> = match child.stdout.take() {
            Some(output) => Box::new(BufReader::new(output)),
            None => Box::new(io::empty()),
        };
        Ok(Self { name, child, output })
    }

    /// The rest of the next line, which begins so.
    fn says(&mut self, begin: &str) -> Result<String, Stop> {
        let mut line = String::new();
        let read = self.output.by_ref().take(4096).read_line(&mut line);
        match line.trim_end().strip_prefix(begin) {
            Some(rest) if read.is_ok() => Ok(rest.to_owned()),
            _ => {
                self.must_run()?;
                Err(Stop::usage(format!("sonde {} says {line:?}, not {begin}…", self.name)))
            }
        }
    }

    /// It told the reason itself, on standard error; its exit code is ours.
    fn must_run(&mut self) -> Result<(), Stop> {
        let Some(status) = self.child.try_wait().map_err(Stop::usage)? else { return Ok(()) };
        let exit = match status.code() {
            Some(2) => Exit::Usage,
            Some(3) => Exit::NotPermitted,
            _ => Exit::Failed,
        };
        Err(Stop { exit, text: format!("sonde {} has ended: {status}", self.name) })
    }
}

impl Drop for Running {
    /// Politely, then not.
    fn drop(&mut self) {
        let Ok(id) = i32::try_from(self.child.id()) else { return };
        if let Ok(None) = self.child.try_wait() {
            terminate(id);
        }
        let begin = Instant::now();
        while let Ok(None) = self.child.try_wait() {
            if begin.elapsed() > PATIENCE / 3 {
                // It may have ended in this moment.
                let _ = self.child.kill();
                let _ = self.child.wait();
                return;
            }
            thread::sleep(Duration::from_millis(20));
        }
    }
}

fn terminate(id: i32) {
    use rustix::process::{Pid, Signal, kill_process};
    if let Some(process) = Pid::from_raw(id) {
        // It may have ended in this moment.
        let _ = kill_process(process, Signal::TERM);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_of_plugins_are_those_that_were_meant_where_the_demo_was_started() {
        let here = std::env::current_dir().unwrap();
        let accent = "/tmp/a\u{301}\t\"";
        let text = paths(&["target/debug".into(), accent.into()]);
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("host.toml");
        fs::write(&file, format!("[host]\nplugins = {text}\n")).unwrap();
        let mut settings = Settings::beside(Path::new("sonde"));
        settings.obey(crate::check::read(&file).unwrap());
        assert_eq!(settings.plugins, [here.join("target/debug"), accent.into()]);
    }
}
