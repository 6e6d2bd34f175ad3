//! Where futures wait for the event of a probe, timer or flow.
//!
//! The first slot is part of the head, so one thing at a time costs no further allocation.

use std::{cell::Cell, task::Waker};

use super::{Fail, head::Head};
use crate::abi::NO_TOKEN;

/// Probes, timers and flows that one task can wait for at the same time.
const MOST_WAITING: usize = 1 << 16;

/// In [`Slot::state`]: somebody waits for the event of this slot. Other values are the number of
/// the next free slot, 0 for none.
const LIVE: u32 = u32::MAX;

/// Where an event is waited for. Its token is `generation << 16 | number`, below
/// [`crate::abi::LABEL_TOKEN`]: an event for an earlier generation finds nobody.
pub(super) struct Slot {
    /// INVARIANT: empty while the slot is free.
    waker: Cell<Option<Waker>>,
    token: Cell<u32>,
    state: Cell<u32>,
}

impl Slot {
    pub(super) fn numbered(number: u32) -> Self {
        Self { waker: Cell::new(None), token: Cell::new(number), state: Cell::new(0) }
    }

    fn occupy(&self, waker: Option<Waker>) -> u32 {
        self.state.set(LIVE);
        self.waker.set(waker);
        self.token.get()
    }
}

/// All slots of a task but the first.
#[derive(Default)]
pub(super) struct Slots {
    /// INVARIANT: slot `n` of the task is `list[n - 1]`.
    list: Vec<Slot>,
    /// Number of the first free one of `list`, 0 for none.
    free: u32,
}

impl Head {
    #[inline]
    fn slot<T>(&self, token: u32, f: impl FnOnce(&Slot) -> T) -> Option<T> {
        match token as usize & 0xffff {
            _ if token == NO_TOKEN => None,
            0 => Some(f(&self.first)),
            number => self.rare.borrow().as_ref()?.slots.list.get(number - 1).map(f),
        }
    }

    /// A token to wait with. `None` once the task has too many: it is about to fail.
    pub(super) fn reserve(&self, waker: &Waker) -> Option<u32> {
        let kept = unless_root(waker);
        if self.first.state.get() != LIVE {
            return Some(self.first.occupy(kept));
        }
        let token = self.rare(move |rare| {
            let slots = &mut rare.slots;
            let number = match slots.free {
                0 if slots.list.len() + 1 >= MOST_WAITING => return Err(kept),
                0 => {
                    // In range: checked against MOST_WAITING.
                    let number = slots.list.len() as u32 + 1;
                    slots.list.push(Slot::numbered(number));
                    number
                }
                number => number,
            };
            let slot = &slots.list[number as usize - 1];
            slots.free = slot.state.get();
            Ok(slot.occupy(kept))
        });
        if token.is_err() {
            let text =
                format!("more than {MOST_WAITING} probes, timers and flows at the same time");
            self.doom(Fail::new(text));
        }
        token.ok()
    }

    /// `waker` is to be woken when the event for `token` comes.
    #[inline]
    pub(super) fn park(&self, token: u32, waker: &Waker) {
        let kept = unless_root(waker);
        // The old waker goes outside of the borrow: its destructor is foreign.
        let _old = self.slot(token, |slot| slot.waker.replace(kept));
    }

    /// Nobody waits with `token` any more; events for it are ignored from here on.
    #[inline]
    pub(super) fn release(&self, token: u32) {
        let number = token & 0xffff;
        let retire = |slot: &Slot, next_free: u32| {
            slot.state.set(next_free);
            slot.token.set(token.wrapping_add(1 << 16) & 0x7fff_ffff);
            slot.waker.take()
        };
        let _old = if number == 0 {
            retire(&self.first, 0)
        } else {
            self.if_rare(|rare| {
                let slots = &mut rare.slots;
                let waker = retire(slots.list.get(number as usize - 1)?, slots.free);
                slots.free = number;
                waker
            })
        };
    }

    /// Somebody waits with `token`.
    #[inline]
    pub(super) fn is_live(&self, token: u32) -> bool {
        let is_live = |slot: &Slot| slot.state.get() == LIVE && slot.token.get() == token;
        self.slot(token, is_live) == Some(true)
    }

    #[inline]
    pub(super) fn wake(&self, token: u32) {
        if let Some(waker) = self.slot(token, |slot| slot.waker.take()).flatten() {
            waker.wake();
        }
    }
}

/// The executor's, which wakes nobody: it polls the method's future at every event.
///
/// One place in memory: every use of `Waker::noop()` may have a table of functions of its own, and wakers
/// with different ones count as different.
pub(super) static ROOT: &Waker = Waker::noop();

/// Only a waker that somebody put between (`FuturesUnordered` does) has to be kept.
#[inline]
pub(super) fn unless_root(waker: &Waker) -> Option<Waker> {
    if waker.will_wake(ROOT) { None } else { Some(waker.clone()) }
}
