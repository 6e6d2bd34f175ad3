//! Supervisors in the test's process, over real connections and with real stores, and who talks to them.
#![allow(dead_code, reason = "each test has its part of it")]

use std::{net::SocketAddr, path::Path, sync::Arc, time::Duration};

use sonde_mplane::{Capability, Message, Reference, Registries, Specification, Time, Unknown};
use sonde_mplane_http::{
    Access, Client, ComponentPaths, Limits, Polled, Shared, Timeouts, client_port, component_port,
    serve,
};
use sonde_supervisor::{
    service::{Policy, Service},
    store::Sqlite,
};
use tokio::{net::TcpListener, sync::oneshot, task::JoinHandle};

pub(crate) fn clock() -> Time {
    Time::from(std::time::SystemTime::now())
}

/// A supervisor in this process; ends its connections when it is stopped.
pub(crate) struct Running {
    pub(crate) service: Arc<Service>,
    pub(crate) components: SocketAddr,
    pub(crate) clients: SocketAddr,
    stops: Vec<oneshot::Sender<()>>,
    tasks: Vec<JoinHandle<()>>,
}

impl Running {
    pub(crate) async fn start(store: &Path) -> Self {
        Self::with(store, Policy::default()).await
    }

    pub(crate) async fn with(store: &Path, policy: Policy) -> Self {
        // As a supervisor's settings say.
        let registries = Shared::new(Registries::built_in().with_unknown(Unknown::AsText));
        let store = Box::new(Sqlite::open(store).unwrap());
        let listeners = [
            TcpListener::bind("127.0.0.1:0").await.unwrap(),
            TcpListener::bind("127.0.0.1:0").await.unwrap(),
        ];
        let [components, clients] = [0, 1].map(|at: usize| listeners[at].local_addr().unwrap());
        let result_link = format!("http://{components}/register/result");
        let policy = Policy { result_link, ..policy };
        let service = Arc::new(Service::open(store, policy, registries.clone(), clock).unwrap());
        let routers = [
            component_port(service.clone(), registries.clone(), ComponentPaths::default()),
            client_port(service.clone(), registries),
        ];
        let (mut stops, mut tasks) = (Vec::new(), Vec::new());
        for (listener, router) in listeners.into_iter().zip(routers) {
            let (stop, stopped) = oneshot::channel::<()>();
            let access = Shared::new(Access::open());
            let shutdown = async move { drop(stopped.await) };
            let limits = Limits::default();
            tasks.push(tokio::spawn(serve(listener, router, None, access, limits, shutdown)));
            stops.push(stop);
        }
        Self { service, components, clients, stops, tasks }
    }

    pub(crate) async fn stop(self) {
        drop(self.stops);
        for task in self.tasks {
            task.await.unwrap();
        }
        // The store is free when nobody has the service any more.
        while Arc::strong_count(&self.service) > 1 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    pub(crate) fn client_url(&self) -> String {
        format!("http://{}/", self.clients)
    }

    pub(crate) fn component_url(&self, path: &str) -> String {
        format!("http://{}{path}", self.components)
    }
}

pub(crate) fn connection() -> Client {
    let registries = Shared::new(Registries::built_in());
    Client::new(None, registries, Timeouts::default()).unwrap()
}

pub(crate) fn average() -> Capability {
    average_from("192.0.2.1")
}

pub(crate) fn average_from(source: &str) -> Capability {
    Capability::build("ping-average-ip4", "now ... future / 1s")
        .parameter("source.ip4", source)
        .parameter("destination.ip4", "*")
        .result("delay.twoway.icmp.us.min")
        .finish(&Registries::built_in())
        .unwrap()
}

pub(crate) fn wanted(token: &str) -> Specification {
    let when = "now + 3s / 1s".parse().unwrap();
    let mut specification = average().specification("ping-average-ip4-0", when);
    specification.set("destination.ip4", "198.51.100.9").unwrap();
    specification.head.token = Some(token.to_owned());
    specification
}

pub(crate) async fn poll(host: &Client, supervisor: &Running) -> Vec<Message> {
    let url = supervisor.component_url("/show/specification");
    match host.poll(&url).await.unwrap() {
        Polled::Messages(messages) => messages.into_iter().map(Result::unwrap).collect(),
        Polled::Register => panic!("not registered"),
    }
}

pub(crate) async fn redeem(client: &Client, supervisor: &Running, token: &str) -> Message {
    let redemption = Message::Redemption(Reference::to_token("measure", token));
    client.post(&supervisor.client_url(), &redemption).await.unwrap()
}

pub(crate) fn text(message: &Message) -> String {
    match message {
        Message::Exception(exception) => exception.message.clone(),
        other => other.kind().to_string(),
    }
}
