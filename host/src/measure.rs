//! Runs measurements: plugins to the engine, rows and ends back to who asked.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    path::Path,
    sync::Arc,
    time::Duration,
};

use serde_json::{Map, Value as Json};
use slotmap::{DefaultKey, Key, KeyData, SlotMap};
use sonde_engine::{
    CANCELED, Config, End, Ended, Engine, FORBIDDEN, Handle, ListError, NO_BUDGET, News, OpenError,
    Output, PortId, Rate, RunId, Start, Statistics, Tap,
};
use sonde_plugin_api::{
    abi::FailKind,
    descriptor::ParamError,
    port::{Lost, Port},
};
use sonde_worker::{InlinePort, ProcessPort, Spawn};

use crate::{
    Configuration, Isolation, Offer, Settings,
    catalogue::PluginFile,
    config::Method,
    identities::Identities,
    lists::{Lists, Looking, Watch},
    prepared::{Plan, Prepared},
    record::{Record, Rows, WITHDRAWN},
};

/// Why something cannot be measured.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// Sockets.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// A list of prefixes that cannot be used: nothing is measured without it.
    #[error(transparent)]
    List(#[from] ListError),
    /// A parameter.
    #[error(transparent)]
    Parameter(#[from] ParamError),
}

impl HostError {
    /// Whether the operator has to grant something first.
    #[must_use]
    pub fn is_not_permitted(&self) -> bool {
        matches!(self, Self::Open(OpenError::NotPermitted(_)))
    }
}

/// How a measurement ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Status {
    /// By itself.
    Done,
    /// Because somebody said so; what was known is there.
    Interrupted,
    /// It could not measure.
    Failed,
    /// As [`Status::Failed`], and for all that is known by this host: it had no way out, or no means.
    Unable,
    /// As [`Status::Failed`]: its worker died of it, or nobody knows of what.
    Crashed,
    /// As [`Status::Failed`]: its worker died of another measurement.
    Beside,
    /// It did not begin: its plugin is kept down for a while, after too many crashes.
    NotBegun,
    /// Its parameters contradict each other, or do not go with the target.
    Unfit,
    /// Policy forbade it.
    Refused,
}

/// News of a measurement.
#[derive(Clone, Debug)]
pub enum Notice {
    /// A row, as soon as the method knows it.
    Row {
        /// Which measurement.
        run: RunId,
        /// Name of its table.
        table: String,
        /// Values by column.
        row: Map<String, Json>,
    },
    /// What the method says beside its rows.
    Log {
        /// Which measurement.
        run: RunId,
        /// 1 (error) to 5 (trace).
        level: u8,
        /// One line.
        text: String,
    },
    /// It is over. This comes exactly once for each.
    Ended {
        /// Which measurement.
        run: RunId,
        /// How.
        status: Status,
        /// All about it.
        record: Box<Record>,
    },
}

/// Measurements that wait for their turn: as many as begin within this time.
const ROOM_SECONDS: f64 = 0.02;
/// As [`ROOM_SECONDS`], whatever the rate.
const LEAST_ROOM: u64 = 64;
const MOST_ROOM: u64 = 2048;

/// The client of measurements that nobody asked for over mPlane.
const NOBODY: u64 = 0;

/// A host that measures.
pub struct Host {
    settings: Settings,
    engine: Handle,
    /// Of the lists of prefixes; none where there are none.
    watch: Option<Watch>,
    /// Plugins in use; the number of one is its place.
    ports: Vec<InUse>,
    running: SlotMap<DefaultKey, Running>,
    identities: Identities,
    /// Measurements that the engine was told of.
    told: u64,
    /// Whether rows are told as they come.
    tells_rows: bool,
    keeps_rows: bool,
    /// So many measurements may begin before anybody has to ask the engine.
    room: u64,
}

/// A plugin in use, and what its port was made of.
struct InUse {
    file: Arc<PluginFile>,
    isolation: Isolation,
    rate: Option<Rate>,
    port: PortId,
    is_gone: bool,
}

/// A measurement on its way.
struct Running {
    plan: Arc<Plan>,
    destination: IpAddr,
    rows: Rows,
    /// What is wrong with a row of it: it has failed, whatever else it says.
    broken: Option<String>,
}

impl Host {
    /// Opens the sockets, gives up every privilege, and starts the engine.
    ///
    /// # Errors
    ///
    /// Where the sockets cannot be had; [`OpenError::NotPermitted`] says what to do.
    pub fn open(settings: Settings) -> Result<Self, HostError> {
        Self::open_with(settings, None)
    }

    /// As [`Host::open`]; `tap` is shown what leaves and what belongs to a measurement.
    ///
    /// # Errors
    ///
    /// As [`Host::open`].
    pub fn open_with(settings: Settings, tap: Option<Tap>) -> Result<Self, HostError> {
        let config = Config {
            packets_per_second: settings.packets_per_second,
            limits: settings.limits,
            stamps: settings.stamps,
        };
        let mut engine = Engine::open(config)?;
        if let Some(tap) = tap {
            engine.show_packets(tap);
        }
        sonde_engine::drop_capabilities()?;
        let engine = engine.start()?;
        let watch = Looking::at(settings.lists.clone())?.enforce(engine.policy_setter())?;
        Ok(Self {
            settings,
            engine,
            watch,
            ports: Vec::new(),
            running: SlotMap::new(),
            identities: Identities::new(),
            told: 0,
            tells_rows: false,
            keeps_rows: true,
            room: 0,
        })
    }

    /// Tells rows as they come, not only in the record at the end.
    pub fn tell_rows(&mut self) {
        self.tells_rows = true;
    }

    /// Tells rows as they come, and keeps none for the record but what says how many probes were answered: a measurement
    /// may go on for ever.
    pub fn only_tell_rows(&mut self) {
        self.tells_rows = true;
        self.keeps_rows = false;
    }

    /// Reads the lists of prefixes again, although they seem unchanged.
    pub fn reload_lists(&self) {
        if let Some(watch) = &self.watch {
            watch.reload();
        }
    }

    /// Obeys what this says of methods from the next measurement on, and puts its lists in force in place of those
    /// before, running measurements included. The rest of it is for the next start.
    ///
    /// # Errors
    ///
    /// Where a list cannot be read; then those that were in force stay so.
    pub fn obey(&mut self, configuration: Arc<Configuration>) -> Result<(), ListError> {
        let lists = Looking::at(Lists::of(&configuration))?;
        self.settings.configuration = Some(configuration);
        if let Some(watch) = self.watch.take() {
            watch.end();
        }
        self.watch = lists.enforce(self.engine.policy_setter())?;
        Ok(())
    }

    /// Begins a measurement for nobody in particular.
    ///
    /// # Errors
    ///
    /// Where a parameter is unknown or not acceptable.
    pub fn start(
        &mut self,
        prepared: &mut Prepared,
        destination: IpAddr,
    ) -> Result<RunId, HostError> {
        self.start_for(NOBODY, prepared, destination)
    }

    /// Begins a measurement for a client; those with the same number share the client's rate.
    ///
    /// # Errors
    ///
    /// Where a parameter is unknown or not acceptable.
    pub fn start_for(
        &mut self,
        client: u64,
        prepared: &mut Prepared,
        destination: IpAddr,
    ) -> Result<RunId, HostError> {
        // Packets to it are of IPv4.
        let destination = destination.to_canonical();
        let plan = Arc::clone(prepared.plan(destination)?);
        let method = plan.offer.method();
        self.told += 1;
        self.room = self.room.saturating_sub(1);
        let port = self.port(&plan.offer);
        let running =
            Running { plan: Arc::clone(&plan), destination, rows: Rows::default(), broken: None };
        let run = run_of(self.running.insert(running));
        self.engine.start(Start {
            run,
            port,
            method: plan.offer.index as u16,
            params: plan.params(destination),
            parting_packets: method.parting_packets,
            client,
            packet_budget: method.packet_budget,
            permits: plan.offer.permits(&self.settings),
            keeps_rows: self.keeps_rows,
        });
        Ok(run)
    }

    /// The record of a target of which nothing can be measured, because of `error`, at a wall time in ns since 1970: a name that
    /// is not known has no destination. `None` where these parameters are for no target.
    pub fn unmeasured(
        &mut self,
        prepared: &mut Prepared,
        destination: Option<IpAddr>,
        now_ns: u64,
        error: String,
    ) -> Option<Record> {
        let families = [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
        let plan = families.iter().find_map(|it| prepared.plan(*it).ok().cloned())?;
        let id = self.identities.next(now_ns);
        Some(Record::unmeasured(plan, id, destination, now_ns, error))
    }

    /// Asks a measurement to finish with what it knows.
    pub fn interrupt(&mut self, run: RunId) {
        self.engine.interrupt(run);
    }

    /// Asks all of them.
    pub fn interrupt_all(&mut self) {
        for key in self.running.keys() {
            self.engine.interrupt(run_of(key));
        }
    }

    /// Ends all of them at once.
    pub fn cancel_all(&mut self) {
        self.engine.stop_all();
    }

    /// How many are on their way.
    #[must_use]
    pub fn running(&self) -> usize {
        self.running.len()
    }

    /// False where the engine has ended, which is a defect of ours.
    #[must_use]
    pub fn is_able(&self) -> bool {
        self.engine.is_running()
    }

    /// Whether one more measurement would begin soon. What is started while there is no room waits
    /// for its turn in the engine, where it takes more memory than an address in a list.
    #[must_use]
    pub fn has_room(&mut self) -> bool {
        if self.room > 0 {
            return true;
        }
        let statistics = self.engine.statistics();
        let waiting = self.told.saturating_sub(statistics.started) + statistics.waiting;
        let soon = (self.settings.packets_per_second * ROOM_SECONDS) as u64;
        self.room = soon.clamp(LEAST_ROOM, MOST_ROOM).saturating_sub(waiting);
        self.room > 0
    }

    /// Who is measured, while that goes on.
    #[must_use]
    pub fn destination(&self, run: RunId) -> Option<IpAddr> {
        self.running.get(key_of(run)).map(|running| running.destination)
    }

    /// Counters of the engine.
    #[must_use]
    pub fn statistics(&self) -> Statistics {
        self.engine.statistics()
    }

    /// What has happened, waiting up to `limit` for it.
    pub fn notices(&mut self, limit: Duration) -> Vec<Notice> {
        let mut notices = Vec::new();
        let portions = self.engine.outputs(limit);
        if portions.is_empty() && !self.engine.is_running() {
            self.lose_engine(&mut notices);
        }
        for mut news in portions {
            for output in std::mem::take(&mut news.outputs) {
                self.handle_output(output, &news, &mut notices);
            }
        }
        notices
    }

    /// A defect of ours: nothing is measured any more, and nobody waits for it in vain.
    fn lose_engine(&mut self, notices: &mut Vec<Notice>) {
        for (key, running) in std::mem::take(&mut self.running) {
            let run = run_of(key);
            let text = "the engine ended unexpectedly".to_owned();
            let ended = Ended {
                run,
                end: End::Failed { kind: FailKind::Crashed, text, refused: false },
                counters: Default::default(),
                not_sent_errno: Vec::new(),
                stamps: ("none", "none"),
                source: None,
                unable: false,
                started_wall_ns: 0,
                ended_wall_ns: 0,
                clock_steps: Vec::new(),
                host_drops: 0,
            };
            let (status, record) = conclude(running, ended, &mut self.identities);
            notices.push(Notice::Ended { run, status, record: Box::new(record) });
        }
    }

    fn port(&mut self, offer: &Offer) -> PortId {
        let (settings, file) = (&self.settings, &offer.plugin);
        let (isolation, rate) = (isolation(settings, file), rate(settings, file));
        let number = self.ports.iter().position(|known| known.file.path == file.path);
        if let Some(known) = number.and_then(|number| self.ports.get(number)) {
            if known.is_made_of(file, isolation, rate) {
                return known.port;
            }
            // It gets nothing new and leaves when it has finished.
            self.engine.remove_port(known.port);
        }
        let number = number.unwrap_or(self.ports.len());
        let port = self.engine.add_port(number as u32, maker(settings, isolation, file), rate);
        let made = InUse { file: Arc::clone(file), isolation, rate, port, is_gone: false };
        match self.ports.get_mut(number) {
            Some(known) => *known = made,
            None => self.ports.push(made),
        }
        port
    }

    /// Fails a measurement for a row of it; its task may have ended in the meantime.
    fn break_off(&mut self, run: RunId, text: String) {
        self.engine.fail(run, &text);
        if let Some(running) = self.running.get_mut(key_of(run)) {
            running.broken.get_or_insert(text);
        }
    }

    fn handle_output(&mut self, output: Output, news: &News, notices: &mut Vec<Notice>) {
        match output {
            Output::Row { run, table, values, wall_offset_ns } => {
                let Some(running) = self.running.get_mut(key_of(run)) else { return };
                let octets = news.values(&values);
                let Some(writer) = running.plan.writers.get(usize::from(table)) else {
                    let text = format!("a row for table {table}, which is not declared");
                    return self.break_off(run, text);
                };
                let described = writer.table();
                if let Err(error) = described.check_row(octets) {
                    let text = format!("a row of table {} is not valid: {error}", described.name);
                    return self.break_off(run, text);
                }
                if self.tells_rows
                    && let Ok(values) = described.decode_row(octets)
                {
                    let row = described.row_json(&values, wall_offset_ns);
                    notices.push(Notice::Row { run, table: described.name.clone(), row });
                }
                let counts = running.plan.answered.is_some_and(|(of, _)| of == table);
                if self.keeps_rows || counts && running.rows.is_empty() {
                    running.rows.push(table, octets, wall_offset_ns);
                }
            }
            Output::Log { run, level, text } => notices.push(Notice::Log { run, level, text }),
            Output::Progress { .. } => {}
            Output::PortLost { reason, .. } => tracing::warn!(reason, "plugin lost"),
            Output::PortGone(port) => {
                let gone = self.ports.iter_mut().find(|known| known.port == port);
                gone.into_iter().for_each(|known| known.is_gone = true);
            }
            Output::Ended(ended) => {
                let run = ended.run;
                if let Some(mut running) = self.running.remove(key_of(run)) {
                    let mut ended = ended;
                    if let (Some(text), End::Finished { .. }) = (running.broken.take(), &ended.end)
                    {
                        ended.end = End::Failed { kind: FailKind::Error, text, refused: false };
                    }
                    let (status, record) = conclude(running, *ended, &mut self.identities);
                    notices.push(Notice::Ended { run, status, record: Box::new(record) });
                }
            }
        }
    }
}

impl InUse {
    /// Whether another port would be the same: a catalogue that was read again brings new offers of what has not changed, and a
    /// new port forgets how often the plugin has crashed, and what it keeps. One that is gone is the same for its offers alone.
    fn is_made_of(&self, file: &Arc<PluginFile>, isolation: Isolation, rate: Option<Rate>) -> bool {
        let is_same = self.file.kept == file.kept && !self.is_gone;
        (is_same || Arc::ptr_eq(&self.file, file))
            && (self.isolation, self.rate) == (isolation, rate)
    }
}

/// Makes the port on the engine's thread.
fn maker(
    settings: &Settings,
    isolation: Isolation,
    plugin: &PluginFile,
) -> sonde_engine::PortMaker {
    let name = plugin.descriptor.plugin.clone();
    let (path, kept) = (plugin.path.clone(), plugin.kept.clone());
    let store = plugin.kept.path.parent().map(Path::to_path_buf).unwrap_or_default();
    let program = settings.worker.clone();
    match isolation {
        Isolation::Process => Box::new(move || {
            let kept = Some(kept);
            let spawn = Spawn { name, program, plugin: path, store, kept, ..Spawn::default() };
            ProcessPort::spawn(spawn).map(|port| Box::new(port) as Box<dyn Port>)
        }),
        // Anybody may run such a program, with a plugin of his own: it would have the sockets.
        Isolation::Inline if sonde_engine::has_lent_rights() => {
            let reason = format!(
                "{name}: isolation is inline, accepted: process, since the rights are those of the \
                 program's file and not the user's"
            );
            Box::new(move || Err(Lost { reason }))
        }
        Isolation::Inline => Box::new(move || {
            let lost = |error: &dyn std::fmt::Display| Lost { reason: format!("{name}: {error}") };
            // What was described, whatever the file is now; nothing is read and copied on the engine's thread.
            let loaded = sonde_worker::load_kept(&kept).map_err(|error| lost(&error))?;
            let port = InlinePort::new(loaded).map_err(|error| lost(&error))?;
            Ok(Box::new(port) as Box<dyn Port>)
        }),
    }
}

/// Where a plugin runs: as the section of one of its methods says, else as all do.
fn isolation(settings: &Settings, plugin: &PluginFile) -> Isolation {
    said(settings, plugin).find_map(|method| method.isolation).unwrap_or(settings.isolation)
}

/// The plugin's own rate: the least that is said of its methods.
fn rate(settings: &Settings, plugin: &PluginFile) -> Option<Rate> {
    let rates = said(settings, plugin).filter_map(|method| method.rate);
    rates.min_by(|one, other| one.packets_per_second.total_cmp(&other.packets_per_second))
}

/// What the operator says of the methods of a plugin.
fn said<'a>(settings: &'a Settings, plugin: &'a PluginFile) -> impl Iterator<Item = &'a Method> {
    let configuration = settings.configuration.as_ref();
    let methods = plugin.descriptor.methods.iter();
    methods.filter_map(move |method| configuration?.methods.get(&method.name))
}

/// The number of a measurement is its place, and which use of that it is.
fn run_of(key: DefaultKey) -> RunId {
    RunId(key.data().as_ffi())
}

fn key_of(run: RunId) -> DefaultKey {
    KeyData::from_ffi(run.0).into()
}

fn conclude(running: Running, ended: Ended, identities: &mut Identities) -> (Status, Record) {
    let (status, stop, error) = match ended.end {
        End::Finished { stop, interrupted: false } => (Status::Done, stop, None),
        End::Finished { stop, interrupted: true } => (Status::Interrupted, stop, None),
        End::Failed { kind: FailKind::Interrupted, .. } => {
            (Status::Interrupted, Some("interrupted".to_owned()), None)
        }
        End::NotBegun { text } => (Status::NotBegun, None, Some(text)),
        End::Failed { refused: true, text, .. } => (Status::Refused, None, Some(text)),
        End::Failed { kind: FailKind::BadParams, text, .. } => (Status::Unfit, None, Some(text)),
        End::Failed { kind: FailKind::Crashed, text, .. } if ended.unable => {
            (Status::Beside, None, Some(text))
        }
        End::Failed { kind: FailKind::Crashed, text, .. } => (Status::Crashed, None, Some(text)),
        End::Failed { kind: FailKind::Error, text, .. } if ended.unable => {
            (Status::Unable, None, Some(text))
        }
        End::Failed { text, .. } => (Status::Failed, None, Some(text)),
    };
    let reason = |(errno, count): &(i32, u64)| {
        let reason = match *errno {
            CANCELED => WITHDRAWN.to_owned(),
            FORBIDDEN => "not permitted by a list of prefixes".to_owned(),
            // Not of a disk, as the system's text has it.
            NO_BUDGET => "the measurement's budget of packets is used up".to_owned(),
            errno => std::io::Error::from_raw_os_error(errno).to_string(),
        };
        (reason, *count)
    };
    let record = Record {
        plan: running.plan,
        id: identities.next(ended.started_wall_ns),
        source: ended.source,
        destination: Some(running.destination),
        start_ns: ended.started_wall_ns,
        end_ns: ended.ended_wall_ns,
        status: match status {
            Status::Done => "done",
            Status::Interrupted => "interrupted",
            Status::Refused => "refused",
            _ => "failed",
        },
        stop,
        error,
        counters: ended.counters,
        not_sent: ended.not_sent_errno.iter().map(reason).collect(),
        clock: ended.stamps,
        clock_steps: ended.clock_steps,
        host_drops: ended.host_drops,
        rows: running.rows,
    };
    (status, record)
}
