//! A flow: one local identifier towards one peer. Probes go out on it, what answers comes back.

use std::{
    cell::Cell,
    net::IpAddr,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use sonde_packet::{Key, mapped, unmapped};

use super::{
    Fail,
    answer::ProbeFuture,
    context::{Sleep, at_least_1_ns, log},
    head::Handle,
    probe::{Probe, ProbeError},
    reply::{Departure, Heard, NotSent, Outcome, Reply},
    window::{AsReply, Burst},
};
use crate::{
    abi::{
        Action, ActionKind, Event, EventKind, FlowInfo, FlowSpecRaw, LABEL_TOKEN, NO_TOKEN, Proto,
        flags,
    },
    schema::Time,
};

/// What flow to open, see [`super::Ctx::open`].
#[derive(Clone, Copy, Debug)]
pub struct FlowSpec(FlowSpecRaw);

/// The port `number` behind `first`: behind 65,535 they go on at 1, for 0 is none but where it was chosen as the first.
#[must_use]
pub fn port_behind(first: u16, number: u32) -> u16 {
    match number {
        0 => first,
        _ => among(1, first.max(1), number - u32::from(first == 0)),
    }
}

/// Counts in a circle from `least` to 65,535.
fn among(least: u16, first: u16, number: u32) -> u16 {
    let (least, count) = (u32::from(least), 65_536 - u32::from(least));
    ((u32::from(first) - least + number % count) % count + least) as u16
}

impl FlowSpec {
    fn new(proto: Proto, peer: IpAddr, key: Key) -> Self {
        Self(FlowSpecRaw {
            proto,
            key: key.number().0,
            flags: if proto == Proto::Icmp { 0 } else { flags::QUIET_KERNEL },
            tos: 0,
            local: 0,
            reserved: 0,
            peer: mapped(peer),
            source: [0; 16],
            gateway: [0; 16],
        })
    }

    /// ICMP or ICMPv6 queries; a probe is told by its sequence number.
    #[must_use]
    pub fn icmp(peer: IpAddr) -> Self {
        Self::new(Proto::Icmp, peer, Key::IcmpSequence)
    }

    /// UDP; a probe is told by its identification (IPv4) or its checksum (IPv6), which suits
    /// probes of one flow. Where destination ports differ, [`Key::RemotePort`] is better.
    #[must_use]
    pub fn udp(peer: IpAddr) -> Self {
        Self::new(Proto::Udp, peer, if peer.is_ipv4() { Key::IpId } else { Key::UdpChecksum })
    }

    /// TCP; a probe is told by its sequence number.
    #[must_use]
    pub fn tcp(peer: IpAddr) -> Self {
        Self::new(Proto::Tcp, peer, Key::TcpSequence)
    }

    /// Which field of a probe tells it from the others of this flow.
    #[must_use]
    pub fn key(mut self, key: Key) -> Self {
        (self.0.key, self.0.reserved) = key.number();
        self
    }

    /// Local port or ICMP identifier. 0, the default: the host picks a free one.
    #[must_use]
    pub fn local(mut self, local: u16) -> Self {
        self.0.local = local;
        self
    }

    /// Local port of one of many flows: `number` behind `first`. Behind 65,535 they go on at 1024, where ports that
    /// anybody may have begin, or at 1 if the first is below that. The host picks one where `first` is 0.
    #[must_use]
    pub fn local_behind(self, first: u16, number: u32) -> Self {
        self.local(match first {
            0 => 0,
            1..1024 => port_behind(first, number),
            _ => among(1024, first, number),
        })
    }

    /// Address to send from; the default is the route's.
    #[must_use]
    pub fn source(mut self, source: IpAddr) -> Self {
        self.0.source = mapped(source);
        self
    }

    /// Neighbour to send through; the default is the route's.
    #[must_use]
    pub fn gateway(mut self, gateway: IpAddr) -> Self {
        self.0.gateway = mapped(gateway);
        self
    }

    /// ToS or traffic class that the route is chosen for, and that probes carry which do not say
    /// another.
    #[must_use]
    pub fn tos(mut self, tos: u8) -> Self {
        self.0.tos = tos;
        self
    }

    /// Also hear packets of this flow that answer no probe, see [`Flow::listen`].
    #[must_use]
    pub fn hear_all(mut self) -> Self {
        self.0.flags |= flags::HEAR_ALL;
        self
    }

    /// The kernel may answer what comes for this flow, with a reset or a port unreachable. It does for local ports below 1024,
    /// which are refused without this; harmless where each probe is for itself, the end of a conversation.
    #[must_use]
    pub fn kernel_may_answer(mut self) -> Self {
        self.0.flags &= !flags::QUIET_KERNEL;
        self
    }

    pub(super) fn hears_all(&self) -> bool {
        self.0.flags & flags::HEAR_ALL != 0
    }

    pub(super) fn peer(&self) -> [u8; 16] {
        self.0.peer
    }

    pub(super) fn to_octets(self) -> [u8; 56] {
        self.0.to_octets()
    }
}

/// One local identifier towards one peer. Dropping it closes it; probes in flight are forgotten.
pub struct Flow {
    pub(super) head: Handle,
    pub(super) id: u32,
    /// Address that its probes are sent from.
    pub source: IpAddr,
    /// Address that its probes are for.
    pub peer: IpAddr,
    /// Local port or ICMP identifier.
    pub local: u16,
    /// Of the route, octets.
    pub mtu: u32,
    pub(super) tos: u8,
    /// IPv4 identification of the next probe where that is the key: they must differ.
    pub(super) next_ip_id: Option<Cell<u16>>,
}

impl Flow {
    pub(super) fn new(head: Handle, id: u32, spec: &FlowSpec, info: &FlowInfo) -> Self {
        let numbered = spec.0.key == Key::IpId.number().0;
        let next_ip_id = numbered.then(|| Cell::new(head.random() as u16));
        Self {
            head,
            id,
            source: unmapped(info.source),
            peer: unmapped(spec.0.peer),
            local: info.local,
            mtu: info.mtu,
            tos: spec.0.tos,
            next_ip_id,
        }
    }

    /// Sends a probe when first polled; resolves with its answer, or after the time-out.
    #[inline]
    pub fn probe(
        &self,
        probe: Probe,
    ) -> ProbeFuture<'_, impl FnOnce(&Reply, &[u8]) -> Reply + use<>> {
        ProbeFuture::new(self, probe, |reply: &Reply, _: &[u8]| *reply)
    }

    /// A window: sends all of them at once, resolves when each is answered or timed out, in their
    /// order. An answer costs one poll, whatever the size of the window.
    pub fn burst(&self, probes: impl IntoIterator<Item = Probe>) -> Burst<'_, Reply, AsReply> {
        Burst::new(self, probes.into_iter().collect(), |reply, _| *reply)
    }

    /// Sends a packet, at once, and expects nothing back.
    #[expect(clippy::needless_pass_by_value, reason = "as every way to send one takes a probe")]
    pub fn send(&self, probe: Probe) {
        // Nobody waits for the reason; it is in the log.
        let _ = self.emit(&probe, NO_TOKEN, 0, 0);
    }

    /// What is sent when the flow ends, whoever ends it: the method, an error, a panic, or the end of
    /// the plugin's process. It takes the place of the one before; `None` takes that back.
    ///
    /// For connections, which nobody but the method knows how to close. It counts as one of the
    /// measurement's packets.
    #[expect(clippy::needless_pass_by_value, reason = "as every way to send one takes a probe")]
    pub fn last_word(&self, probe: Option<Probe>) {
        let (kind, flow) = (ActionKind::LastWord, self.id);
        let action = Action { kind, flow, ..Action::ZERO };
        let written = self.head.try_write(action, |arena| match &probe {
            Some(probe) => probe.write(self, arena),
            None => Ok(()),
        });
        // As for `send`.
        let _ = self.log_unbuilt(written);
    }

    /// Sends a packet to which no answer is expected; resolves with when it left.
    pub fn send_stamped(&self, probe: Probe) -> SendStamped<'_> {
        SendStamped { flow: self, probe: Some(probe), token: NO_TOKEN }
    }

    /// Sends a probe, at once, and keeps nothing of it but `label`, below 2^31 - 1: whatever
    /// becomes of it is heard by [`Flow::next`], late answers and duplicates too.
    ///
    /// Labels need not differ, but only probes with different ones can be told apart.
    #[expect(clippy::needless_pass_by_value, reason = "as every way to send one takes a probe")]
    pub fn launch(&self, label: u32, probe: Probe, timeout: Duration) {
        self.launch_with(label, &probe, timeout, 0);
    }

    /// As [`Flow::launch`]; when the probe left is also reported, by [`Flow::next_departure`].
    #[expect(clippy::needless_pass_by_value, reason = "as every way to send one takes a probe")]
    pub fn launch_stamped(&self, label: u32, probe: Probe, timeout: Duration) {
        self.launch_with(label, &probe, timeout, flags::WANT_SENT);
    }

    fn launch_with(&self, label: u32, probe: &Probe, timeout: Duration, action_flags: u16) {
        let token = label | LABEL_TOKEN;
        if label & LABEL_TOKEN != 0 || token == NO_TOKEN {
            self.head.doom(Fail::new(format!("{label} is no label: they end below 2^31 - 1")));
            return;
        }
        self.head.count_launched(self.id);
        let wait = at_least_1_ns(timeout);
        if let Err(NotSent { errno, .. }) = self.emit(probe, token, wait, action_flags) {
            let event = Event {
                kind: EventKind::SendError,
                code: u8::try_from(errno).unwrap_or(u8::MAX),
                token,
                flow: self.id,
                at: self.head.now(),
                ..Event::ZERO
            };
            self.head.enqueue(&event, &[]);
        }
    }

    /// Keeps probes from leaving whose turn has not come; each is heard of as not sent, ECANCELED.
    pub fn withdraw(&self) {
        let (token, flow) = (NO_TOKEN, self.id);
        self.head.act(Action { kind: ActionKind::Cancel, token, flow, ..Action::ZERO });
    }

    /// Launched probes of which it was not heard yet what became of them.
    #[must_use]
    pub fn outstanding(&self) -> u32 {
        self.head.outstanding(self.id)
    }

    /// The next outcome of a launched probe, or packet that answers none ([`FlowSpec::hear_all`]).
    ///
    /// It waits for ever where nothing is outstanding and nothing comes: see [`Flow::outstanding`],
    /// and [`super::select`] with [`super::Ctx::sleep_until`]. At most one future of a flow may
    /// listen at a time.
    pub fn next(&self) -> Next<'_, impl FnOnce(&Heard, &[u8]) -> Heard + use<>> {
        self.next_with(|heard: &Heard, _: &[u8]| heard.clone())
    }

    /// As [`Flow::next`]; `read` is shown the packet where it lies (it is empty where there is none).
    pub fn next_with<T, F: FnOnce(&Heard, &[u8]) -> T>(&self, read: F) -> Next<'_, F> {
        Next { flow: self, read: Some(read) }
    }

    /// Packets of a flow that hears all: for conversations.
    pub fn listen(&self) -> Listener<'_> {
        self.head.open_queue(self.id, true);
        Listener { flow: self }
    }

    /// The next packet that answers no probe, or `None` after `wait`. As [`Listener::recv`].
    pub async fn recv(&self, wait: Duration) -> Option<(Reply, Box<[u8]>)> {
        self.listen().recv(wait).await
    }

    /// The next departure of a probe that went out with [`Flow::launch_stamped`], with its label.
    pub fn next_departure(&self) -> NextDeparture<'_> {
        NextDeparture { flow: self }
    }

    /// Asks the host to send. A probe that cannot be built is logged, once.
    pub(super) fn emit(
        &self,
        probe: &Probe,
        token: u32,
        wait: u64,
        action_flags: u16,
    ) -> Result<(), NotSent> {
        let action = Action {
            kind: ActionKind::Send,
            flags: action_flags | probe.action_flags(),
            token,
            flow: self.id,
            arg: wait,
            ..Action::ZERO
        };
        let written = self.head.try_write(action, |arena| probe.write(self, arena));
        self.log_unbuilt(written)
    }

    fn log_unbuilt(&self, written: Result<(), ProbeError>) -> Result<(), NotSent> {
        written.map_err(|error| {
            log(&self.head, 2, &format!("a probe to {} cannot be built: {error}", self.peer));
            NotSent { errno: error.errno(), refused_by_policy: false }
        })
    }
}

impl Drop for Flow {
    fn drop(&mut self) {
        self.head.close_queue(self.id);
        let flow = self.id;
        self.head.act(Action { kind: ActionKind::CloseFlow, flow, ..Action::ZERO });
    }
}

/// See [`Flow::next`].
#[must_use = "it listens when awaited"]
pub struct Next<'a, F> {
    flow: &'a Flow,
    read: Option<F>,
}

// Nothing in it is pinned.
impl<F> Unpin for Next<'_, F> {}

pub(super) fn heard(event: &Event) -> Heard {
    let is_label = event.token != NO_TOKEN && event.token & LABEL_TOKEN != 0;
    Heard {
        label: is_label.then_some(event.token & !LABEL_TOKEN),
        outcome: outcome(event, |reply| reply),
    }
}

/// What an event says of the probe that it is for.
#[inline]
pub(super) fn outcome<T>(event: &Event, read: impl FnOnce(Reply) -> T) -> Outcome<T> {
    match event.kind {
        EventKind::Packet => Outcome::Reply(read(Reply::of(event))),
        EventKind::SendError => Outcome::Unsent(NotSent::of(event)),
        _ => Outcome::Timeout { sent: Time(event.sent) },
    }
}

impl<T, F: FnOnce(&Heard, &[u8]) -> T> Future for Next<'_, F> {
    type Output = T;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        let this = self.get_mut();
        let (head, id) = (&*this.flow.head, this.flow.id);
        let read = &mut this.read;
        let output = head.hear(id, |event, packet| {
            let read = read.take().expect("a future is not polled after it finished");
            read(&heard(event), packet)
        });
        if output.is_none() {
            head.wait_to_hear(id, context.waker());
        }
        output.map_or(Poll::Pending, Poll::Ready)
    }
}

/// Packets that answer no probe, see [`Flow::listen`].
pub struct Listener<'a> {
    flow: &'a Flow,
}

impl Listener<'_> {
    /// The next packet with a copy of its octets, or `None` after `wait`. Outcomes of launched
    /// probes are passed over where they are no packets.
    pub async fn recv(&self, wait: Duration) -> Option<(Reply, Box<[u8]>)> {
        let mut end = Sleep::at(&self.flow.head, wait);
        loop {
            let packet = self.flow.next_with(|heard, packet| {
                heard.outcome.as_reply().map(|reply| (*reply, Box::from(packet)))
            });
            match super::select(packet, &mut end).await {
                super::Either::First(Some(received)) => return Some(received),
                super::Either::First(None) => {}
                super::Either::Second(()) => return None,
            }
        }
    }

    /// As [`Listener::recv`]; waits for as long as it takes.
    pub async fn next(&self) -> (Reply, Box<[u8]>) {
        loop {
            let packet = self.flow.next_with(|heard, packet| {
                heard.outcome.as_reply().map(|reply| (*reply, Box::from(packet)))
            });
            if let Some(received) = packet.await {
                return received;
            }
        }
    }
}

/// See [`Flow::next_departure`].
#[must_use = "it listens when awaited"]
pub struct NextDeparture<'a> {
    flow: &'a Flow,
}

impl Future for NextDeparture<'_> {
    type Output = (u32, Departure);

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let (head, id) = (&*self.flow.head, self.flow.id);
        match head.departed(id) {
            Some(departed) => Poll::Ready(departed),
            None => {
                head.wait_for_departure(id, context.waker());
                Poll::Pending
            }
        }
    }
}

/// See [`Flow::send_stamped`].
#[must_use = "it sends when awaited"]
pub struct SendStamped<'a> {
    flow: &'a Flow,
    probe: Option<Probe>,
    token: u32,
}

impl Future for SendStamped<'_> {
    type Output = Result<Departure, NotSent>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let head = &*self.flow.head;
        if let Some(probe) = self.probe.take() {
            // Without a token the task is about to fail.
            let Some(token) = head.reserve(context.waker()) else { return Poll::Pending };
            if let Err(reason) = self.flow.emit(&probe, token, 0, flags::WANT_SENT) {
                head.release(token);
                return Poll::Ready(Err(reason));
            }
            self.token = token;
            return Poll::Pending;
        }
        let departure = head.take(self.token, |event, _| match event.kind {
            EventKind::SendError => Err(NotSent::of(event)),
            _ => Ok(Departure::of(event)),
        });
        if departure.is_none() {
            head.park(self.token, context.waker());
        }
        departure.map_or(Poll::Pending, Poll::Ready)
    }
}

impl Drop for SendStamped<'_> {
    fn drop(&mut self) {
        // No `Cancel`, which would keep it from being sent: only nobody listens any more.
        if self.flow.head.is_live(self.token) {
            self.flow.head.release(self.token);
        }
    }
}
