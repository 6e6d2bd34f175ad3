//! The whole component as a program: from its file to its end.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::Arc,
    thread,
    time::Duration,
};

use sonde_mplane::{Capability, Registries};
use sonde_mplane_http::{
    Access, Attendance, Client, ClientError, ClientTls, ServerTls, Shared, Timeouts, TlsError,
    TlsFiles, client_port, most_descriptors, serve,
};
use sonde_spool::OpenError;
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
    sync::{Notify, oneshot, watch},
    task::JoinSet,
    time::timeout,
};

use super::{
    desk::{Desk, Ledgers},
    file::{ComponentFile, FileError},
    listener::Listener,
    measuring::Measuring,
    offered::{Addresses, Offers},
    reception::{self, Reception, now},
    registrant::Measures,
    request::Request,
};
use crate::{Catalogue, Configuration, Host, HostError, Offer, Settings};

/// How long measurements may take to finish at the end.
const FINISHING: Duration = Duration::from_secs(10);
/// How long results may take to be brought at the end; what is left is brought by the next process.
const LAST_WAY: Duration = Duration::from_secs(5);

/// Why the component cannot work.
#[derive(Debug, thiserror::Error)]
pub enum ComponentError {
    /// There is no file that says for whom it works.
    #[error("a host needs a configuration: --config FILE")]
    NoFile,
    /// Its file.
    #[error(transparent)]
    File(#[from] FileError),
    /// Neither a supervisor nor a port for clients.
    #[error("{}: component has neither supervisors nor listen: nobody could use the host", .0.display())]
    Nobody(PathBuf),
    /// Sockets for packets.
    #[error(transparent)]
    Host(#[from] HostError),
    /// Where results are kept.
    #[error(transparent)]
    Spool(#[from] OpenError),
    /// Certificates.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The way to supervisors.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The port for clients.
    #[error("cannot listen at {address}: {cause}")]
    Listen {
        /// As configured.
        address: std::net::SocketAddr,
        /// The kernel's reason.
        cause: std::io::Error,
    },
    /// Threads or signals.
    #[error("cannot begin: {0}")]
    System(#[from] std::io::Error),
    /// A defect of ours.
    #[error("the engine or the desk ended unexpectedly")]
    Broken,
}

/// What a host with these settings would offer; needs no privilege.
///
/// # Errors
///
/// Where the file cannot be used.
pub fn preview(settings: &Settings) -> Result<Offers, ComponentError> {
    let (_, said) = configured(settings)?;
    let addresses = Addresses::of(&said.offering);
    Ok(offers(&said, &Catalogue::scan(settings), settings, addresses))
}

fn configured(settings: &Settings) -> Result<(PathBuf, ComponentFile), ComponentError> {
    let configuration = settings.configuration.as_ref().ok_or(ComponentError::NoFile)?;
    let file = configuration.file();
    Ok((file.to_owned(), ComponentFile::read(file, configuration.variables())?))
}

/// What is wrong with what the file says of supervisors and clients, and what an operator probably did not mean, a line each,
/// for `sonde check`; nothing where the file does not speak of them.
#[must_use]
pub fn check(settings: &Settings, catalogue: &Catalogue) -> (Vec<String>, Vec<String>) {
    let Some(configuration) = settings.configuration.as_ref().filter(|it| it.has_component())
    else {
        return Default::default();
    };
    let file = configuration.file();
    let (said, mistakes) = ComponentFile::survey(file, configuration.variables());
    let mut wrong: Vec<String> = mistakes.iter().map(ToString::to_string).collect();
    if !mistakes.iter().any(|mistake| mistake.key.contains("tls")) {
        let unusable = said.tls.clone().and_then(|tls| ServerTls::load(tls).err());
        wrong.extend(unusable.map(|error| error.to_string()));
    }
    let offers = offers(&said, catalogue, settings, Addresses::of(&said.offering));
    wrong.extend(offers.mistakes.iter().map(ToString::to_string));
    let labels: Vec<&str> = offers.offered.iter().map(|it| it.capability.head.label()).collect();
    let of_access = said.access.warnings(&labels).into_iter();
    let of_access = of_access.map(|warning| format!("{}: {warning}", file.display()));
    let of_tls = said.tls.iter().flat_map(TlsFiles::warnings);
    // The file may be for `sonde run` alone.
    let is_for_nobody = said.supervisors.is_empty() && said.listen.is_none();
    let nobody = is_for_nobody.then(|| ComponentError::Nobody(file.to_owned()).to_string());
    let warnings = said.ignored.into_iter().chain(offers.problems).chain(of_access);
    (wrong, warnings.chain(of_tls).chain(nobody).collect())
}

fn offers(
    said: &ComponentFile,
    catalogue: &Catalogue,
    settings: &Settings,
    addresses: Addresses,
) -> Offers {
    let permits = |offer: &Offer| {
        let forbidden = offer.forbidden(settings);
        if let Some(reason) = &forbidden {
            tracing::info!(reason, "not offered");
        }
        // What the operator meant to restrict would not be restricted.
        forbidden.is_none() && !catalogue.is_mistaken(&offer.method().name)
    };
    Offers::of(catalogue, permits, &said.offering, addresses, &said.registries)
}

fn report(offers: &Offers, catalogue: &Catalogue) {
    for refusal in catalogue.refusals() {
        tracing::warn!(file = %refusal.path.display(), refusal.reason, "a plugin is left out");
    }
    let mistaken = |offer: &Offer| catalogue.is_mistaken(&offer.method().name);
    for offer in catalogue.offers().filter(mistaken) {
        let method = &offer.method().name;
        tracing::warn!(method, "not offered: what the configuration says of it does not fit");
    }
    let mistakes = catalogue.mistakes().iter().chain(&offers.mistakes).map(ToString::to_string);
    for problem in mistakes.chain(offers.problems.iter().cloned()) {
        tracing::warn!("{problem}");
    }
    tracing::info!(capabilities = offers.offered.len(), "offered");
}

/// Runs until SIGTERM or SIGINT; SIGHUP reads file, plugins and certificates again.
///
/// # Errors
///
/// [`ComponentError`] where it cannot begin, or go on.
pub fn run(settings: Settings) -> Result<(), ComponentError> {
    let (file, said) = configured(&settings)?;
    if said.supervisors.is_empty() && said.listen.is_none() {
        return Err(ComponentError::Nobody(file));
    }
    let catalogue = Catalogue::scan(&settings);
    let addresses = Addresses::of(&said.offering);
    let offers = Arc::new(offers(&said, &catalogue, &settings, addresses));
    if addresses == Addresses::default() {
        tracing::warn!("there is no route to anywhere yet: nothing is offered until there is one");
    }
    report(&offers, &catalogue);
    let of_peers = said.access.warnings(&[]).into_iter();
    let of_peers = of_peers.chain(said.tls.iter().flat_map(TlsFiles::warnings));
    for warning in said.ignored.iter().cloned().chain(of_peers) {
        tracing::warn!("{warning}");
    }
    // Privileges go before any other thread is there.
    let host = Host::open(settings.clone())?;
    let ends: Arc<HashMap<Arc<str>, Arc<Notify>>> = Arc::new(
        said.supervisors.iter().map(|it| (Arc::clone(&it.name), Arc::default())).collect(),
    );
    let told = Arc::clone(&ends);
    let on_end = move |peer: &str| {
        if let Some(notify) = told.get(peer) {
            notify.notify_one();
        }
    };
    let names: Vec<Arc<str>> = said.supervisors.iter().map(|it| Arc::clone(&it.name)).collect();
    let (measuring, limits) = (Measuring::new(host), said.limits);
    let (spool, options) = (&said.spool, said.spool_options);
    let registries = &said.registries;
    let ledgers = Ledgers { folder: spool, options, supervisors: &names, registries };
    let mut desk = Desk::open(measuring, limits, &ledgers, now(), Box::new(on_end))?;
    let (reception, requests) = Reception::new();
    reception.tell(Request::Offer(Arc::clone(&offers)));
    let (ending, ended) = oneshot::channel();
    let worker = thread::Builder::new().name("desk".to_owned()).spawn(move || {
        // Dropped at the end, in a panic too.
        let _ending = ending;
        reception::serve(&mut desk, &requests);
    })?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let component = Component::new(&file, settings, said, catalogue, addresses, offers, reception)?;
    let result = runtime.block_on(component.work(&ends, ended));
    drop(runtime);
    // A panic was printed when it happened.
    let _ = worker.join();
    result
}

/// What the engine was given when it began, and is not told again.
fn engine_settings(settings: &Settings) -> String {
    let Settings { isolation, stamps, packets_per_second, most_per_address, limits, .. } = settings;
    format!("{isolation:?} {stamps:?} {packets_per_second} {most_per_address} {limits:?}")
}

/// From one look at the host's addresses to the next.
const LOOK: Duration = Duration::from_secs(10);

struct Component {
    file: PathBuf,
    settings: Settings,
    said: ComponentFile,
    catalogue: Catalogue,
    addresses: Addresses,
    offers: watch::Sender<Arc<Offers>>,
    /// How often something else was offered.
    changes: watch::Sender<u64>,
    capabilities: Arc<Shared<Vec<Capability>>>,
    access: Arc<Shared<Access>>,
    registries: Arc<Shared<Registries>>,
    client: Arc<Client>,
    server_tls: Option<Arc<ServerTls>>,
    reception: Reception,
}

impl Component {
    fn new(
        file: &Path,
        settings: Settings,
        said: ComponentFile,
        catalogue: Catalogue,
        addresses: Addresses,
        offers: Arc<Offers>,
        reception: Reception,
    ) -> Result<Self, ComponentError> {
        let registries = Shared::new(said.registries.clone());
        let client_tls = said.tls.clone().map(ClientTls::load).transpose()?;
        let server_tls = said.tls.clone().map(ServerTls::load).transpose()?;
        let client = Client::new(client_tls, Arc::clone(&registries), Timeouts::default())?;
        Ok(Self {
            file: file.to_owned(),
            settings,
            capabilities: Shared::new(capabilities(&offers)),
            access: Shared::new(said.access.clone()),
            said,
            catalogue,
            addresses,
            offers: watch::Sender::new(offers),
            changes: watch::Sender::default(),
            registries,
            client: Arc::new(client),
            server_tls,
            reception,
        })
    }

    /// `ended` is closed when the desk's thread ends.
    async fn work(
        mut self,
        ends: &HashMap<Arc<str>, Arc<Notify>>,
        mut ended: oneshot::Receiver<()>,
    ) -> Result<(), ComponentError> {
        let mut reload = signal(SignalKind::hangup())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let stop = watch::Sender::new(false);
        let mut tasks = JoinSet::new();
        let registrant = Arc::new(Measures {
            reception: self.reception.clone(),
            offers: self.offers.subscribe(),
            access: Arc::clone(&self.access),
            registries: Arc::clone(&self.registries),
            folder: self.said.spool.clone(),
        });
        for supervisor in &self.said.supervisors {
            let attendance = Attendance {
                supervisor: supervisor.clone(),
                client: Arc::clone(&self.client),
                registrant: Arc::clone(&registrant),
                registries: Arc::clone(&self.registries),
                changes: self.changes.subscribe(),
                ends: ends.get(&supervisor.name).cloned().unwrap_or_default(),
                clock: now,
                stop: stop.subscribe(),
            };
            tasks.spawn(attendance.run());
        }
        if let Some(address) = self.said.listen {
            let listener = TcpListener::bind(address).await;
            let listener = listener.map_err(|cause| ComponentError::Listen { address, cause })?;
            tasks.spawn(self.listen(listener, stop.subscribe()));
        }
        let mut look = tokio::time::interval(LOOK);
        let result = loop {
            tokio::select! {
                _ = look.tick() => self.look_at_addresses(),
                _ = reload.recv() => self.reload(),
                _ = terminate.recv() => break Ok(()),
                _ = interrupt.recv() => break Ok(()),
                _ = &mut ended => break Err(ComponentError::Broken),
            }
        };
        tracing::info!("finishing");
        let over = self.reception.ask(Request::Stop);
        if timeout(FINISHING, over).await.is_err() {
            tracing::warn!("measurements did not finish in time");
        }
        let _ = stop.send(true);
        if timeout(LAST_WAY, async { while tasks.join_next().await.is_some() {} }).await.is_err() {
            tracing::info!("results that were not brought stay in the spool");
        }
        tasks.shutdown().await;
        result
    }

    fn listen(
        &self,
        listener: TcpListener,
        mut stop: watch::Receiver<bool>,
    ) -> impl Future<Output = ()> + Send + 'static {
        let handler = Listener {
            reception: self.reception.clone(),
            capabilities: Arc::clone(&self.capabilities),
            registries: Arc::clone(&self.registries),
            immediate: self.said.immediate,
        };
        let router = client_port(Arc::new(handler), Arc::clone(&self.registries));
        // Ports that measurements hold take up to three quarters.
        let limits = sonde_mplane_http::Limits::default().within(most_descriptors() / 4);
        let (tls, access) = (self.server_tls.clone(), Arc::clone(&self.access));
        async move {
            let stopped = async move { drop(stop.wait_for(|stop| *stop).await) };
            serve(listener, router, tls, access, limits, stopped).await;
        }
    }

    /// What cannot be used is told, and what was before stays in force.
    fn reload(&mut self) {
        let variables = self.settings.configuration.as_ref().map(|it| it.variables().to_vec());
        let variables = variables.unwrap_or_default();
        let configuration = match Configuration::read(&self.file, variables.iter().cloned()) {
            Ok(configuration) => Arc::new(configuration),
            Err(mistakes) => {
                for mistake in mistakes {
                    tracing::error!("not reloaded: {mistake}");
                }
                return;
            }
        };
        let said = match ComponentFile::read(&self.file, &variables) {
            Ok(said) => said,
            Err(error) => {
                tracing::error!(%error, "not reloaded");
                return;
            }
        };
        if said.tls.is_some() != self.said.tls.is_some() {
            // Roles without certificates would open everything to everybody.
            tracing::error!("not reloaded: tls begins or ends with the next start");
            return;
        }
        let before = engine_settings(&self.settings);
        self.settings.obey(Arc::clone(&configuration));
        if engine_settings(&self.settings) != before {
            tracing::warn!("host and limits change with the next start");
        }
        if said.supervisors != self.said.supervisors
            || said.listen != self.said.listen
            || said.spool != self.said.spool
            || said.tls != self.said.tls
        {
            tracing::warn!("supervisors, listen, spool and tls change with the next start");
        }
        self.reception.tell(Request::Obey(configuration));
        // Asked again, for the operator may say something else of a plugin that is the same.
        self.catalogue = Catalogue::scan(&self.settings);
        self.addresses = Addresses::of(&said.offering);
        let offers = Arc::new(offers(&said, &self.catalogue, &self.settings, self.addresses));
        report(&offers, &self.catalogue);
        if let Some(tls) = &self.server_tls
            && let Err(error) = tls.reload()
        {
            tracing::error!(%error, "certificates are not reloaded");
        }
        if let Err(error) = self.client.reload() {
            tracing::error!(%error, "certificates are not reloaded");
        }
        self.access.set(said.access.clone());
        self.registries.set(said.registries.clone());
        (self.said.offering, self.said.registries) = (said.offering, said.registries);
        self.offer(offers);
    }

    /// A service may start before its network, and addresses change. A family whose route is gone may come back, and is
    /// offered all the same.
    fn look_at_addresses(&mut self) {
        let found = Addresses::of(&self.said.offering).or(self.addresses);
        if found == self.addresses {
            return;
        }
        self.addresses = found;
        let Addresses { ip4, ip6 } = found;
        let offers = Arc::new(offers(&self.said, &self.catalogue, &self.settings, found));
        tracing::info!(
            ?ip4,
            ?ip6,
            capabilities = offers.offered.len(),
            "other addresses are offered"
        );
        self.offer(offers);
    }

    fn offer(&mut self, offers: Arc<Offers>) {
        self.capabilities.set(capabilities(&offers));
        self.reception.tell(Request::Offer(Arc::clone(&offers)));
        self.offers.send_replace(offers);
        self.changes.send_modify(|change| *change += 1);
    }
}

fn capabilities(offers: &Offers) -> Vec<Capability> {
    offers.offered.iter().map(|offered| offered.capability.clone()).collect()
}

#[cfg(test)]
mod tests;
