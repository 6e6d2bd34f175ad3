//! A running measurement: the head and the method's future in one allocation, and the executor.
//!
//! Whose event it is decides the token: a slot of the head (a probe, timer or flow that a future
//! waits for), or the queue of a flow (labels, unsolicited packets). The future is polled once
//! per event that somebody waits for.
#![allow(unsafe_code)]

use std::{
    future::Future,
    marker::PhantomData,
    mem::MaybeUninit,
    pin::Pin,
    ptr::NonNull,
    task::{Context, Poll},
};

use super::{
    Fail,
    context::Ctx,
    head::{Handle, Head, Host},
    queue::Arrival,
    slots::ROOT,
};
use crate::{
    abi::{Action, ActionKind, Event, EventKind, FailKind, LABEL_TOKEN, flags},
    row::Rows,
};

/// How a task ended: why it stopped, if it said so, or why it failed.
pub(crate) type End = Result<Option<Box<str>>, Fail>;

/// A task with its type erased. Dropping it drops the future; the head stays for as long as
/// somebody has a handle to it.
pub(crate) struct Task {
    node: NonNull<Head>,
    table: &'static Table,
}

struct Table {
    /// Of the node.
    octets: usize,
    poll: unsafe fn(NonNull<Head>, &Event, &[u8], &mut Host<'_>) -> Poll<End>,
    drop: unsafe fn(NonNull<Head>),
}

/// The one allocation of a task. Only ever used through raw pointers: the head is shared while
/// the future is borrowed for polling.
#[repr(C)]
struct Node<F> {
    head: Head,
    future: MaybeUninit<F>,
}

struct TableOf<F>(PhantomData<F>);

impl<F: Future<Output = Result<(), Fail>> + 'static> TableOf<F> {
    const TABLE: &'static Table =
        &Table { octets: size_of::<Node<F>>(), poll: poll::<F>, drop: finish::<F> };
}

impl Task {
    /// Makes a task of a method's future. It is polled first when the task gets its `Start`.
    pub(crate) fn spawn<R: Rows, F: Future<Output = Result<(), Fail>> + 'static>(
        task: u32,
        seed: u64,
        host: &Host<'_>,
        run: impl FnOnce(Ctx<R>) -> F,
    ) -> Self {
        let head = Head::new(task, seed, host, free::<F>);
        let node = Box::into_raw(Box::new(Node { head, future: MaybeUninit::<F>::uninit() }));
        // SAFETY: `into_raw` never gives null. `Node` is `repr(C)`, so its head is at its address.
        let pointer = unsafe { NonNull::new_unchecked(node) }.cast::<Head>();
        // SAFETY: a new head has one reference, which `mine` takes over; it is freed by `free`
        // alone. Until the future is written, unwinding frees the head and nothing else.
        let mine = unsafe { Handle::from_raw(pointer) };
        let future = run(Ctx::new(mine.clone()));
        // SAFETY: the node is alive, and nobody else knows of its future yet.
        unsafe { (&raw mut (*node).future).cast::<F>().write(future) };
        // The task owns this reference from here on.
        std::mem::forget(mine);
        Self { node: pointer, table: TableOf::<F>::TABLE }
    }

    /// Hands `event` to the task. Afterwards, where it is over, nothing but dropping is left.
    #[inline]
    pub(crate) fn on_event(
        &mut self,
        event: &Event,
        payload: &[u8],
        host: &mut Host<'_>,
    ) -> Poll<End> {
        // SAFETY: `node` and `table` were made for each other, and `&mut self` is exclusive.
        unsafe { (self.table.poll)(self.node, event, payload, host) }
    }

    /// Where it is in memory, and how long, to be fetched ahead.
    #[inline]
    pub(crate) fn extent(&self) -> (*const u8, usize) {
        (self.node.as_ptr().cast_const().cast(), self.table.octets)
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        // SAFETY: as in `on_event`; a task is dropped once.
        unsafe { (self.table.drop)(self.node) }
    }
}

/// Called by the last handle.
///
/// # Safety
///
/// `head` is the head of a `Node<F>` made by [`Task::spawn`] whose future is gone, or never was.
unsafe fn free<F>(head: NonNull<Head>) {
    // SAFETY: as above; `MaybeUninit` does not drop the future again.
    drop(unsafe { Box::from_raw(head.cast::<Node<F>>().as_ptr()) });
}

/// Drops the future of a task, and the task's own reference to the head.
///
/// # Safety
///
/// `head` is the head of a live `Node<F>` made by [`Task::spawn`]; it is called once for a node.
unsafe fn finish<F>(head: NonNull<Head>) {
    // SAFETY: the reference that `Task::spawn` forgot. It goes last, also when a destructor of the
    // future panics.
    let _mine = unsafe { Handle::from_raw(head) };
    // SAFETY: the future was written by `Task::spawn` and is dropped here alone.
    unsafe { (&raw mut (*head.cast::<Node<F>>().as_ptr()).future).cast::<F>().drop_in_place() };
}

/// # Safety
///
/// `head` is the head of a live `Node<F>` made by [`Task::spawn`], not being polled already.
unsafe fn poll<F: Future<Output = Result<(), Fail>>>(
    head: NonNull<Head>,
    event: &Event,
    payload: &[u8],
    host: &mut Host<'_>,
) -> Poll<End> {
    // SAFETY: the node is alive. Head and future are disjoint; the future is borrowed by nobody
    // else, initialised, and never moves.
    let (head, future) = unsafe {
        let future = (&raw mut (*head.cast::<Node<F>>().as_ptr()).future).cast::<F>();
        (head.as_ref(), Pin::new_unchecked(&mut *future))
    };
    drive(head, future, event, payload, host)
}

/// What is to be done with an event.
enum Route {
    /// The task does not want it.
    Ignore,
    /// Poll; the event is a sign, and nobody takes it.
    Sign,
    /// Poll with the event in place, for a slot.
    Slot,
    /// Poll with the event in place, for the queue of its flow.
    Queue,
    /// The method does not look after interrupts.
    Interrupted,
}

#[inline]
fn route(head: &Head, event: &Event, payload: &[u8], host: &mut Host<'_>) -> Route {
    let for_slot = event.token & LABEL_TOKEN == 0;
    match event.kind {
        EventKind::Start => Route::Sign,
        EventKind::Interrupt if head.interrupt() => Route::Sign,
        EventKind::Interrupt => Route::Interrupted,
        EventKind::Packet | EventKind::Timeout | EventKind::SendError | EventKind::Sent => {
            let again = event.flags & (flags::LATE | flags::DUPLICATE) != 0;
            if for_slot && !again && head.is_live(event.token) {
                head.wake(event.token);
                return Route::Slot;
            }
            match head.arrive(event, payload) {
                Arrival::Awaited => Route::Queue,
                Arrival::Departed => Route::Sign,
                Arrival::Kept => Route::Ignore,
            }
        }
        EventKind::Timer | EventKind::FlowOpen if for_slot && head.is_live(event.token) => {
            head.wake(event.token);
            Route::Slot
        }
        // Whoever opened it does not wait any more.
        EventKind::FlowOpen if event.code == 0 => {
            let close = Action { kind: ActionKind::CloseFlow, flow: event.flow, ..Action::ZERO };
            let _delivery = head.deliver(None, &[], host);
            head.act(close);
            Route::Ignore
        }
        _ => Route::Ignore,
    }
}

fn drive<F: Future<Output = Result<(), Fail>>>(
    head: &Head,
    future: Pin<&mut F>,
    event: &Event,
    payload: &[u8],
    host: &mut Host<'_>,
) -> Poll<End> {
    head.set_time(host);
    let current = match route(head, event, payload, host) {
        Route::Ignore => return Poll::Pending,
        Route::Interrupted => {
            let fail = Fail { kind: FailKind::Interrupted, message: "interrupted".into() };
            return Poll::Ready(Err(fail));
        }
        Route::Sign => None,
        Route::Slot => Some((event, false)),
        Route::Queue => Some((event, true)),
    };
    let _delivery = head.deliver(current, payload, host);
    let polled = future.poll(&mut Context::from_waker(ROOT));
    if let Some(fail) = head.take_doom() {
        return Poll::Ready(Err(fail));
    }
    match polled {
        Poll::Pending => {
            head.put_aside();
            Poll::Pending
        }
        Poll::Ready(Ok(())) => Poll::Ready(Ok(head.take_stop())),
        Poll::Ready(Err(fail)) => Poll::Ready(Err(fail)),
    }
}
