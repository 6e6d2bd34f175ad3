//! A supervisor whose store is slow, or refuses what it is told.
#![allow(clippy::unwrap_used, reason = "a test ends with a panic")]

mod common;

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        mpsc::{Receiver, Sender, channel},
    },
};

use common::{average, clock, text, wanted};
use sonde_mplane::{Kind, Message, Outcomes, Reference, Registries, Specification, When};
use sonde_mplane_http::{Access, ClientPort, ComponentPort, Identity, Peer, Refusal, Shared, Work};
use sonde_supervisor::{
    service::{Policy, Service},
    store::{Change, Sqlite, Store, StoreError, Stored},
};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

/// Tells when a commit begins, and does with it what it is told.
struct Gated {
    store: Sqlite,
    begins: UnboundedSender<()>,
    may: Receiver<bool>,
}

impl Store for Gated {
    fn commit(&mut self, changes: &[Change]) -> Result<(), StoreError> {
        let _ = self.begins.send(());
        if self.may.recv() == Ok(true) { self.store.commit(changes) } else { Err(StoreError::Gone) }
    }

    fn load(&mut self) -> Result<Stored, StoreError> {
        self.store.load()
    }

    fn outcome(&mut self, number: u64) -> Result<Option<String>, StoreError> {
        self.store.outcome(number)
    }
}

struct Scene {
    service: Arc<Service>,
    /// One peer for everything, as without certificates.
    peer: Peer,
    begun: UnboundedReceiver<()>,
    let_it: Sender<bool>,
    folder: tempfile::TempDir,
}

impl Scene {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (begins, begun) = unbounded_channel();
        let (let_it, may) = channel();
        let store = Sqlite::open(&folder.path().join("supervisor.db")).unwrap();
        let store = Box::new(Gated { store, begins, may });
        let registries = Shared::new(Registries::built_in());
        let service = Service::open(store, Policy::default(), registries, clock).unwrap();
        let address = SocketAddr::from(([192, 0, 2, 1], 1228));
        let peer = Peer::new(Identity::unauthenticated(), address, Arc::new(Access::open()));
        Self { service: Arc::new(service), peer, begun, let_it, folder }
    }

    /// With a capability and a job, and as the host has it.
    async fn with_a_job() -> (Self, Specification) {
        let mut scene = Self::new();
        for _ in 0..2 {
            scene.let_it.send(true).unwrap();
        }
        scene.register(average()).await.unwrap();
        assert_eq!(text(&scene.ask().await), "receipt");
        let Work::Messages(work) = scene.service.poll(&scene.peer).await else { panic!("428") };
        let [Message::Specification(forwarded)] = &work[..] else { panic!("{work:?}") };
        for _ in 0..2 {
            scene.begun.recv().await.unwrap();
        }
        (scene, forwarded.clone())
    }

    fn ask(&self) -> impl Future<Output = Message> + Send + 'static {
        let (service, peer) = (Arc::clone(&self.service), self.peer.clone());
        async move { service.specification(&peer, wanted("mine"), vec![average()]).await }
    }

    fn deliver(
        &self,
        message: impl Into<Message>,
    ) -> impl Future<Output = Result<(), Refusal>> + Send + 'static {
        let (service, peer, message) =
            (Arc::clone(&self.service), self.peer.clone(), message.into());
        async move { service.deliver(&peer, message).await }
    }

    async fn register(&self, message: impl Into<Message>) -> Result<Outcomes, Refusal> {
        self.service.register(&self.peer, vec![message.into()]).await
    }

    async fn redeem(&self) -> Message {
        self.service.redemption(&self.peer, Reference::to_token("measure", "mine")).await.unwrap()
    }
}

fn measured(forwarded: &Specification) -> Message {
    forwarded.result(When::measured(clock(), clock()), Vec::new()).into()
}

#[tokio::test]
async fn a_result_is_nobodys_before_it_is_stored() {
    let (mut scene, forwarded) = Scene::with_a_job().await;
    let delivered = tokio::spawn(scene.deliver(measured(&forwarded)));
    scene.begun.recv().await.unwrap();
    let let_it = scene.let_it.clone();
    let refuse = async move { let_it.send(false).unwrap() };
    let (redeemed, ()) = tokio::join!(scene.redeem(), refuse);
    assert_eq!(text(&redeemed), "receipt");
    assert!(matches!(delivered.await.unwrap(), Err(Refusal::Later(_))));
    scene.let_it.send(true).unwrap();
    scene.deliver(measured(&forwarded)).await.unwrap();
    // A client that does not get it to its end may ask again.
    for _ in 0..2 {
        assert_eq!(scene.redeem().await.kind(), Kind::Result);
    }
    scene.let_it.send(true).unwrap();
    scene.service.redeemed(&scene.peer, "mine").await.unwrap();
    assert_eq!(text(&scene.redeem().await), "Unknown job");
}

#[tokio::test]
async fn a_specification_that_nobody_waited_for_is_taken_back_where_it_is_not_stored() {
    let mut scene = Scene::new();
    scene.let_it.send(true).unwrap();
    scene.register(average()).await.unwrap();
    scene.begun.recv().await.unwrap();
    let first = tokio::spawn(scene.ask());
    scene.begun.recv().await.unwrap();
    first.abort();
    assert!(first.await.unwrap_err().is_cancelled());
    // The same one again is answered after the first.
    let again = tokio::spawn(scene.ask());
    tokio::task::yield_now().await;
    scene.let_it.send(false).unwrap();
    assert_eq!(text(&again.await.unwrap()), "it could not be stored; send it again");
    assert_eq!(text(&scene.redeem().await), "Unknown job");
    scene.let_it.send(true).unwrap();
    assert_eq!(text(&scene.ask().await), "receipt");
}

#[tokio::test]
async fn a_result_that_nobody_waited_for_counts_once_it_is_stored() {
    let (mut scene, forwarded) = Scene::with_a_job().await;
    let given_up = tokio::spawn(scene.deliver(measured(&forwarded)));
    scene.begun.recv().await.unwrap();
    given_up.abort();
    assert!(given_up.await.unwrap_err().is_cancelled());
    for _ in 0..2 {
        scene.let_it.send(true).unwrap();
    }
    // The same specification again is answered after what was to be stored before.
    drop(scene.ask().await);
    assert_eq!(scene.redeem().await.kind(), Kind::Result);
}

#[tokio::test]
async fn a_withdrawal_that_was_not_stored_is_stored_when_it_comes_again() {
    let scene = Scene::new();
    for may in [true, false, true] {
        scene.let_it.send(may).unwrap();
    }
    scene.register(average()).await.unwrap();
    let withdrawn = scene.register(average().withdrawal()).await;
    assert!(matches!(withdrawn, Err(Refusal::Later(_))));
    scene.register(average().withdrawal()).await.unwrap();
    let Scene { service, folder, .. } = scene;
    drop(service);
    let mut store = Sqlite::open(&folder.path().join("supervisor.db")).unwrap();
    assert_eq!(store.load().unwrap().capabilities, []);
}
