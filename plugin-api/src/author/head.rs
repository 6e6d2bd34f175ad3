//! The head of a task: what its future and the futures inside it share.
//!
//! A task is one allocation: this head, and right behind it the future of the method (`task.rs`).
//! The head holds the event that is being delivered, so that the future which waits for it takes
//! it in place, while the packet still lies in the host's receive buffer; only what nobody took
//! is copied. What few need is in [`Listening`] and [`Rare`], made on demand.
#![allow(unsafe_code)]

use std::{
    cell::{Cell, RefCell},
    convert::Infallible,
    ptr::NonNull,
    rc::Rc,
    task::Waker,
};

use super::{
    Fail,
    interfaces::Interfaces,
    queue::Queue,
    reply::NotSent,
    slots::{Slot, Slots, unless_root},
};
use crate::{
    abi::{Action, ActionKind, Event, NO_TOKEN, Out},
    schema::Arena,
};

/// What one task may ask for while it handles one event: a task that loops without awaiting
/// fails, rather than taking the host's memory with it.
pub(crate) const MOST_OUTPUT_OCTETS: usize = 16 << 20;

/// Bits of [`Head::state`].
mod bit {
    /// The method looks after interrupts itself.
    pub(super) const ASKED: u8 = 1;
    /// The host wants the task to finish.
    pub(super) const INTERRUPTED: u8 = 2;
    /// The task went beyond a limit; why is in [`super::Rare::doom`].
    pub(super) const DOOMED: u8 = 4;
}

/// An event that nobody took when it came.
pub(super) struct Aside {
    pub(super) event: Event,
    pub(super) payload: Box<[u8]>,
}

/// Only tasks that listen need this.
#[derive(Default)]
pub(super) struct Listening {
    pub(super) queues: Vec<Queue>,
    /// Somebody awaits what any queue hears; the waker only of futures between them and the executor.
    pub(super) any: Option<Option<Waker>>,
}

/// Only tasks that do several things at once need this, and such as go wrong.
#[derive(Default)]
pub(super) struct Rare {
    /// All but the first.
    pub(super) slots: Slots,
    aside: Vec<Aside>,
    waiting_for_interrupt: Vec<Waker>,
    stop: Option<Box<str>>,
    doom: Option<Box<Fail>>,
    /// Why the first packet was refused that nobody waits for.
    pub(super) refused: Option<NotSent>,
}

/// The event being delivered.
#[derive(Clone, Copy)]
struct Current {
    event: NonNull<Event>,
    payload: NonNull<u8>,
    octets: u32,
    /// It is for the queue of its flow, not for a slot.
    queued: bool,
}

/// See the module.
pub(crate) struct Head {
    references: Cell<u32>,
    task: u32,
    /// Null but while the task is polled, and while it is in use.
    out: Cell<*mut Out>,
    /// How much `out` may hold before this task has asked for too much.
    ceiling: Cell<usize>,
    now: Cell<u64>,
    wall: Cell<u64>,
    current: Cell<Option<Current>>,
    random: Cell<u64>,
    interfaces: Interfaces,
    pub(super) first: Slot,
    listening: RefCell<Option<Box<Listening>>>,
    pub(super) rare: RefCell<Option<Box<Rare>>>,
    free: unsafe fn(NonNull<Self>),
    state: Cell<u8>,
}

/// Counted reference to a task's head.
pub(crate) struct Handle(NonNull<Head>);

impl Handle {
    /// Takes over one reference.
    ///
    /// # Safety
    ///
    /// `head` is valid for reading until its last reference is gone, and the caller owns one.
    pub(super) unsafe fn from_raw(head: NonNull<Head>) -> Self {
        Self(head)
    }
}

impl std::ops::Deref for Handle {
    type Target = Head;

    #[inline]
    fn deref(&self) -> &Head {
        // SAFETY: the head lives as long as there is a reference to it, and is only ever shared.
        unsafe { self.0.as_ref() }
    }
}

impl Clone for Handle {
    fn clone(&self) -> Self {
        match self.references.get().checked_add(1) {
            Some(references) => self.references.set(references),
            // As `Rc` does: only leaked clones get here, and a wrapped count would free too early.
            None => std::process::abort(),
        }
        Self(self.0)
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        let references = self.references.get() - 1;
        self.references.set(references);
        if references == 0 {
            let free = self.free;
            // SAFETY: this was the last reference; `free` is the function made for this head.
            unsafe { free(self.0) }
        }
    }
}

/// What a poll of a task is surrounded by.
pub(crate) struct Host<'a> {
    pub(crate) now: u64,
    pub(crate) wall: u64,
    pub(crate) out: &'a mut Out,
    pub(crate) interfaces: &'a Interfaces,
}

/// Ends the delivery of an event, also when the poll unwinds: no pointer outlives it.
pub(super) struct Delivery<'a>(&'a Head);

impl Drop for Delivery<'_> {
    #[inline]
    fn drop(&mut self) {
        self.0.out.set(std::ptr::null_mut());
        self.0.current.set(None);
    }
}

impl Head {
    /// `free` is called with the address of this head when its last reference goes.
    pub(super) fn new(
        task: u32,
        seed: u64,
        host: &Host<'_>,
        free: unsafe fn(NonNull<Self>),
    ) -> Self {
        Self {
            references: Cell::new(1),
            task,
            out: Cell::new(std::ptr::null_mut()),
            ceiling: Cell::new(0),
            now: Cell::new(host.now),
            wall: Cell::new(host.wall),
            current: Cell::new(None),
            random: Cell::new(seed),
            interfaces: host.interfaces.clone(),
            first: Slot::numbered(0),
            listening: RefCell::new(None),
            rare: RefCell::new(None),
            free,
            state: Cell::new(0),
        }
    }

    #[inline]
    pub(super) fn now(&self) -> u64 {
        self.now.get()
    }

    /// Wall time of [`Head::now`].
    #[inline]
    pub(super) fn wall(&self) -> u64 {
        self.wall.get()
    }

    /// SplitMix64: passes the usual tests and needs no more than a word of state.
    #[inline]
    pub(super) fn random(&self) -> u64 {
        let state = self.random.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
        self.random.set(state);
        let mixed = (state ^ state >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    /// Name of the interface with this number.
    pub(super) fn interface(&self, number: u8) -> Option<Rc<str>> {
        self.interfaces.get(number)
    }

    /// Runs `f` with what is needed to listen. As [`Head::rare`].
    pub(super) fn listening<T>(&self, f: impl FnOnce(&mut Listening) -> T) -> T {
        f(self.listening.borrow_mut().get_or_insert_default())
    }

    /// As [`Head::listening`], but where there is nothing it stays so.
    #[inline]
    pub(super) fn if_listening<T>(&self, f: impl FnOnce(&mut Listening) -> Option<T>) -> Option<T> {
        f(self.listening.borrow_mut().as_mut()?)
    }

    /// Runs `f` with what tasks rarely need. It must be short and call nothing foreign: no waker,
    /// no closure and no destructor of a method.
    pub(super) fn rare<T>(&self, f: impl FnOnce(&mut Rare) -> T) -> T {
        f(self.rare.borrow_mut().get_or_insert_default())
    }

    /// As [`Head::rare`], but where there is nothing it stays so.
    #[inline]
    pub(super) fn if_rare<T>(&self, f: impl FnOnce(&mut Rare) -> Option<T>) -> Option<T> {
        f(self.rare.borrow_mut().as_mut()?)
    }

    /// Token of the event being delivered, if it is one that a slot waits for.
    #[inline]
    pub(super) fn current_token(&self) -> u32 {
        match self.current.get() {
            // SAFETY: see `Head::deliver`.
            Some(current) if !current.queued => unsafe { current.event.as_ref() }.token,
            _ => NO_TOKEN,
        }
    }

    /// The event for `token`, if it is the one being delivered or was put aside. With it the
    /// waiting is over.
    #[inline]
    pub(super) fn take<T>(&self, token: u32, f: impl FnOnce(&Event, &[u8]) -> T) -> Option<T> {
        if token == NO_TOKEN {
            return None;
        }
        if self.current_token() == token {
            self.release(token);
            return self.take_current(f);
        }
        let aside = self.if_rare(|rare| {
            let at = rare.aside.iter().position(|aside| aside.event.token == token)?;
            Some(rare.aside.swap_remove(at))
        })?;
        self.release(token);
        Some(f(&aside.event, &aside.payload))
    }

    /// Something lies aside, waiting to be taken.
    #[inline]
    pub(super) fn has_aside(&self) -> bool {
        self.rare.borrow().as_ref().is_some_and(|rare| !rare.aside.is_empty())
    }

    /// Stops waiting with `token`; the host forgets the probe or timer.
    pub(super) fn cancel(&self, token: u32, flow: u32) {
        if !self.is_live(token) {
            return;
        }
        self.release(token);
        self.if_rare(|rare| {
            rare.aside.retain(|aside| aside.event.token != token);
            Some(())
        });
        self.act(Action { kind: ActionKind::Cancel, token, flow, ..Action::ZERO });
    }

    // ---- the event being delivered ----

    /// Lets futures see `event` and write to the host until the returned guard goes.
    #[inline]
    pub(super) fn deliver<'a>(
        &'a self,
        event: Option<(&'a Event, bool)>,
        payload: &'a [u8],
        host: &'a mut Host<'_>,
    ) -> Delivery<'a> {
        // SAFETY of every use of `current` and `out`: both are set here alone and cleared when the
        // guard goes, which borrows what they point to for as long as it lives. A guard that is
        // leaked would break this: `drive`, the only caller, keeps it on its stack.
        self.ceiling.set(used(host.out).saturating_add(MOST_OUTPUT_OCTETS));
        self.out.set(&raw mut *host.out);
        self.current.set(event.map(|(event, queued)| Current {
            event: NonNull::from(event),
            payload: NonNull::from(payload).cast(),
            // In range: lengths of payloads are 32 bit.
            octets: payload.len() as u32,
            queued,
        }));
        Delivery(self)
    }

    /// The clock of the batch.
    #[inline]
    pub(super) fn set_time(&self, host: &Host<'_>) {
        self.now.set(host.now);
        self.wall.set(host.wall);
    }

    #[inline]
    fn take_current<T>(&self, f: impl FnOnce(&Event, &[u8]) -> T) -> Option<T> {
        let current = self.current.take()?;
        // SAFETY: see `Head::deliver`; address and length are those of one slice.
        let (event, payload) = unsafe {
            let payload = std::slice::from_raw_parts(
                current.payload.as_ptr().cast_const(),
                current.octets as usize,
            );
            (current.event.as_ref(), payload)
        };
        Some(f(event, payload))
    }

    /// The flow whose queue the event being delivered is for, if it is for one.
    pub(super) fn queued_flow(&self) -> Option<u32> {
        let current = self.current.get().filter(|current| current.queued)?;
        // SAFETY: see `Head::deliver`.
        Some(unsafe { current.event.as_ref() }.flow)
    }

    /// The event being delivered, if it is for the queue of `flow`.
    #[inline]
    pub(super) fn take_queued<T>(
        &self,
        flow: u32,
        f: impl FnOnce(&Event, &[u8]) -> T,
    ) -> Option<T> {
        let current = self.current.get()?;
        // SAFETY: see `Head::deliver`.
        let is_mine = current.queued && unsafe { current.event.as_ref() }.flow == flow;
        if is_mine { self.take_current(f) } else { None }
    }

    /// What nobody took is kept for later, if somebody waits for it.
    #[inline]
    pub(super) fn put_aside(&self) {
        let Some(current) = self.current.get() else { return };
        self.take_current(|event, payload| {
            if current.queued {
                self.enqueue(event, payload);
            } else if self.is_live(event.token) {
                let aside = Aside { event: *event, payload: payload.into() };
                self.rare(|rare| rare.aside.push(aside));
            }
        });
    }

    // ---- to the host ----

    /// Runs `f` with the host's buffers. Outside of a poll it does not: a handle that escaped is
    /// inert. Nor does it inside of `f`, or once the task has asked for too much.
    #[inline]
    fn with_out(&self, f: impl FnOnce(&mut Out)) {
        let out = self.out.replace(std::ptr::null_mut());
        if out.is_null() {
            return;
        }
        // SAFETY: see `Head::deliver`; being taken out while in use, it is not borrowed twice.
        let buffers = unsafe { &mut *out };
        if used(buffers) < self.ceiling.get() {
            f(buffers);
        } else {
            self.doom_for_output();
        }
        self.out.set(out);
    }

    #[inline]
    pub(super) fn act(&self, action: Action) {
        self.with_out(|out| out.actions.push(Action { task: self.task, ..action }));
    }

    /// One action whose payload is what `f` writes. Where `f` fails there is no action.
    #[inline]
    pub(super) fn try_write<E>(
        &self,
        action: Action,
        f: impl FnOnce(&mut Arena<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut result = Ok(());
        self.with_out(|out| {
            let begin = out.bytes.len();
            let mut arena = Arena::new(&mut out.bytes);
            result = f(&mut arena);
            let end = arena.len();
            drop(arena);
            if result.is_err() {
                out.bytes.truncate(begin);
            } else if end > self.ceiling.get().min(u32::MAX as usize) {
                out.bytes.truncate(begin);
                self.doom_for_output();
            } else {
                // In range: `end` is.
                let (off, len) = (begin as u32, (end - begin) as u32);
                out.actions.push(Action { task: self.task, off, len, ..action });
            }
        });
        result
    }

    /// As [`Head::try_write`].
    #[inline]
    pub(super) fn write(&self, action: Action, f: impl FnOnce(&mut Arena<'_>)) {
        let written: Result<(), Infallible> = self.try_write(action, |arena| {
            f(arena);
            Ok(())
        });
        let Ok(()) = written;
    }

    // ---- the end ----

    /// The task fails with `fail` as soon as its future returns to the executor.
    #[cold]
    pub(super) fn doom(&self, fail: Fail) {
        self.state.set(self.state.get() | bit::DOOMED);
        // What was there goes outside of the borrow.
        let _old = self.rare(|rare| rare.doom.replace(Box::new(fail)));
    }

    #[cold]
    fn doom_for_output(&self) {
        if self.state.get() & bit::DOOMED == 0 {
            let text = format!("more than {MOST_OUTPUT_OCTETS} octets of output in one step");
            self.doom(Fail::new(text));
        }
    }

    /// Why the task must fail, if it must.
    #[inline]
    pub(super) fn take_doom(&self) -> Option<Fail> {
        if self.state.get() & bit::DOOMED == 0 {
            return None;
        }
        self.if_rare(|rare| rare.doom.take()).map(|fail| *fail)
    }

    pub(super) fn set_stop(&self, reason: &str) {
        self.rare(|rare| rare.stop = Some(reason.into()));
    }

    /// Why the method stopped, if it said so or was interrupted.
    pub(super) fn take_stop(&self) -> Option<Box<str>> {
        let said = self.if_rare(|rare| rare.stop.take());
        said.or_else(|| self.is_interrupted().then(|| "interrupted".into()))
    }

    /// The method will look after interrupts.
    pub(super) fn ask_for_interrupts(&self) {
        self.state.set(self.state.get() | bit::ASKED);
    }

    pub(super) fn is_interrupted(&self) -> bool {
        self.state.get() & bit::INTERRUPTED != 0
    }

    pub(super) fn wait_for_interrupt(&self, waker: &Waker) {
        let Some(waker) = unless_root(waker) else { return };
        self.rare(|rare| {
            let waiting = &mut rare.waiting_for_interrupt;
            // Polled again, it waits no more than before.
            if !waiting.iter().any(|other| other.will_wake(&waker)) {
                waiting.push(waker);
            }
        });
    }

    /// False where the method does not look after interrupts.
    pub(super) fn interrupt(&self) -> bool {
        self.state.set(self.state.get() | bit::INTERRUPTED);
        let wakers = self.if_rare(|rare| Some(std::mem::take(&mut rare.waiting_for_interrupt)));
        wakers.unwrap_or_default().into_iter().for_each(Waker::wake);
        self.state.get() & bit::ASKED != 0
    }
}

#[inline]
fn used(out: &Out) -> usize {
    out.bytes.len() + out.actions.len() * size_of::<Action>()
}
