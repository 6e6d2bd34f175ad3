//! A supervisor from its start to its end: both ports, the store, signals.

use std::{future::Future, io, net::SocketAddr, sync::Arc, time::Duration};

use sonde_config::Mistake;
use sonde_mplane::Time;
use sonde_mplane_http::{
    Access, Attendance, Client, ClientError, ClientTls, Limits, Router, ServerTls, Shared,
    Timeouts, TlsError, TlsFiles, client_port, component_port, most_descriptors, serve,
};
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
    sync::watch,
    task::JoinSet,
    time::{Instant, MissedTickBehavior, interval_at, timeout},
};

use crate::{
    above::{Below, count_changes},
    service::{OpenError, Service},
    settings::Settings,
    store::{Sqlite, StoreError},
};

/// From one look for outcomes that nobody asked for to the next.
const SWEEP: Duration = Duration::from_secs(600);
/// How long outcomes may take to be brought to supervisors above at the end.
const LAST_WAY: Duration = Duration::from_secs(5);

/// Why a supervisor cannot begin.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// Its file; one mistake a line.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Configuration(Vec<Mistake>),
    /// Its database.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// What is in its database.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// Certificates.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The way to supervisors above.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// A port.
    #[error("cannot listen at {address}: {cause}")]
    Listen {
        /// As configured.
        address: SocketAddr,
        /// The kernel's reason.
        cause: io::Error,
    },
    /// Threads or signals.
    #[error("cannot begin: {0}")]
    System(#[from] io::Error),
}

/// Where a supervisor listens, once it does: ports that were 0 are those that the kernel chose.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Listening {
    /// Where clients connect to.
    pub clients: SocketAddr,
    /// Where hosts connect to.
    pub hosts: SocketAddr,
}

/// Runs until SIGTERM or SIGINT; SIGHUP reads file and certificates again. `variables` are those of the
/// environment, `clock` the wall clock; `on_listening` is told where clients and hosts may connect.
///
/// # Errors
///
/// [`RunError`] where it cannot begin.
pub fn run(
    settings: Settings,
    variables: fn() -> Vec<(String, String)>,
    clock: fn() -> Time,
    on_listening: impl FnOnce(Listening),
) -> Result<(), RunError> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let clients = runtime.block_on(listen(settings.clients))?;
    let hosts = runtime.block_on(listen(settings.hosts))?;
    let listening = Listening { clients: clients.local_addr()?, hosts: hosts.local_addr()? };
    let supervisor = Supervisor::open(settings, variables, clock, listening)?;
    runtime.block_on(supervisor.work(clients, hosts, on_listening))
}

struct Supervisor {
    settings: Settings,
    variables: fn() -> Vec<(String, String)>,
    service: Arc<Service>,
    tls: Option<Arc<ServerTls>>,
    access: Arc<Shared<Access>>,
    registries: Arc<Shared<sonde_mplane::Registries>>,
    clock: fn() -> Time,
    /// Towards supervisors above.
    client: Arc<Client>,
    /// That the process may have.
    descriptors: usize,
    listening: Listening,
}

impl Supervisor {
    fn open(
        settings: Settings,
        variables: fn() -> Vec<(String, String)>,
        clock: fn() -> Time,
        listening: Listening,
    ) -> Result<Self, RunError> {
        let descriptors = most_descriptors();
        for line in &settings.ignored {
            tracing::warn!("{line}");
        }
        let of_tls = settings.peers.tls.iter().flat_map(TlsFiles::warnings);
        for warning in settings.peers.access.warnings(&[]).into_iter().chain(of_tls) {
            tracing::warn!("{}: {warning}", settings.file.display());
        }
        let tls = settings.peers.tls.clone().map(ServerTls::load).transpose()?;
        let registries = Shared::new(settings.registries.clone());
        let store = Sqlite::open(&settings.store)?;
        let policy = settings.policy_at(listening.hosts.port());
        let known = Arc::clone(&registries);
        let service = Service::open(Box::new(store), policy, known, clock)?;
        let access = Shared::new(settings.peers.access.clone());
        let client = settings.peers.tls.clone().map(ClientTls::load).transpose()?;
        let client = Arc::new(Client::new(client, Arc::clone(&registries), Timeouts::default())?);
        let service = Arc::new(service);
        Ok(Self {
            settings,
            variables,
            service,
            tls,
            access,
            registries,
            clock,
            client,
            descriptors,
            listening,
        })
    }

    async fn work(
        mut self,
        clients: TcpListener,
        hosts: TcpListener,
        on_listening: impl FnOnce(Listening),
    ) -> Result<(), RunError> {
        let mut reload = signal(SignalKind::hangup())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let listening = self.listening;
        tracing::info!(clients = %listening.clients, hosts = %listening.hosts, "listening");
        let stop = watch::Sender::new(false);
        let clients_router = client_port(Arc::clone(&self.service), Arc::clone(&self.registries));
        let hosts_router = component_port(
            Arc::clone(&self.service),
            Arc::clone(&self.registries),
            self.settings.paths.clone(),
        );
        let each = self.descriptors / 2;
        let Settings { limits, of_hosts, .. } = &self.settings;
        let served = [
            tokio::spawn(self.serve(clients, clients_router, limits.within(each), &stop)),
            tokio::spawn(self.serve(hosts, hosts_router, of_hosts.within(each), &stop)),
        ];
        let mut above = self.register_above(&stop);
        on_listening(listening);
        // Not at once: a machine without a clock of its own sets it soon after its start.
        let mut sweep = interval_at(Instant::now() + SWEEP, SWEEP);
        sweep.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = reload.recv() => self.reload(),
                _ = sweep.tick() => {
                    if let Err(error) = self.service.sweep().await {
                        tracing::error!(%error, "old outcomes stay");
                    }
                }
                _ = terminate.recv() => break,
                _ = interrupt.recv() => break,
            }
        }
        tracing::info!("finishing");
        let _ = stop.send(true);
        if timeout(LAST_WAY, async { while above.join_next().await.is_some() {} }).await.is_err() {
            tracing::info!("outcomes that were not brought to supervisors above stay in the store");
        }
        above.shutdown().await;
        for port in served {
            if let Err(error) = port.await {
                tracing::error!(%error, "a port ended unexpectedly");
            }
        }
        Ok(())
    }

    /// Registers with every supervisor above.
    fn register_above(&self, stop: &watch::Sender<bool>) -> JoinSet<()> {
        let mut tasks = JoinSet::new();
        if self.settings.above.is_empty() {
            return tasks;
        }
        let changes = watch::Sender::new(0);
        let below = Below::new(Arc::clone(&self.service), Arc::clone(&self.access));
        let below = below.noting(&self.settings.store, Arc::clone(&self.registries));
        let below = Arc::new(below);
        for supervisor in &self.settings.above {
            let attendance = Attendance {
                supervisor: supervisor.clone(),
                client: Arc::clone(&self.client),
                registrant: Arc::clone(&below),
                registries: Arc::clone(&self.registries),
                changes: changes.subscribe(),
                ends: self.service.ends_of(&supervisor.name),
                clock: self.clock,
                stop: stop.subscribe(),
            };
            tasks.spawn(attendance.run());
        }
        tokio::spawn(count_changes(Arc::downgrade(&self.service), changes));
        tasks
    }

    fn serve(
        &self,
        listener: TcpListener,
        router: Router,
        limits: Limits,
        stop: &watch::Sender<bool>,
    ) -> impl Future<Output = ()> + Send + 'static {
        let (tls, access) = (self.tls.clone(), Arc::clone(&self.access));
        let mut stop = stop.subscribe();
        async move {
            let stopped = async move { drop(stop.wait_for(|stop| *stop).await) };
            serve(listener, router, tls, access, limits, stopped).await;
        }
    }

    /// What cannot be used is told, and what was before stays in force.
    fn reload(&mut self) {
        let said = match Settings::read(&self.settings.file, (self.variables)().into_iter()) {
            Ok(said) => said,
            Err(mistakes) => {
                for mistake in mistakes {
                    tracing::error!("not reloaded: {mistake}");
                }
                return;
            }
        };
        if said.peers.tls.is_some() != self.settings.peers.tls.is_some() {
            // Roles without certificates would open everything to everybody.
            tracing::error!("not reloaded: tls begins or ends with the next start");
            return;
        }
        if said.clients != self.settings.clients
            || said.hosts != self.settings.hosts
            || said.paths != self.settings.paths
            || said.store != self.settings.store
            || said.policy != self.settings.policy
            || said.limits != self.settings.limits
            || said.of_hosts != self.settings.of_hosts
            || said.above != self.settings.above
            || said.peers.tls != self.settings.peers.tls
        {
            tracing::warn!(
                "ports, paths, store, limits, rules for hosts, supervisors and names of certificates change with \
                 the next start"
            );
        }
        if let Some(tls) = &self.tls
            && let Err(error) = tls.reload()
        {
            tracing::error!(%error, "not reloaded: certificates");
            return;
        }
        if let Err(error) = self.client.reload() {
            tracing::error!(%error, "certificates towards supervisors are not reloaded");
        }
        self.access.set(said.peers.access.clone());
        self.registries.set(said.registries);
        self.settings.peers.access = said.peers.access;
        tracing::info!("roles and certificates are read again");
    }
}

async fn listen(address: SocketAddr) -> Result<TcpListener, RunError> {
    TcpListener::bind(address).await.map_err(|cause| RunError::Listen { address, cause })
}
