//! Panics of a task become its failure, with file and line.
//!
//! In a shared library the hook belongs to the library's own copy of `std` and never touches the
//! host's. Linked into a test it is the test's own: panics outside of tasks go on to the hook that
//! was there before.

use std::{
    cell::{Cell, RefCell},
    panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind},
    sync::Once,
};

/// Of the text of a panic; the rest is cut.
const MOST_TEXT: usize = 1024;

thread_local! {
    static GUARDED: Cell<bool> = const { Cell::new(false) };
    static LAST: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// While it lives, panics on this thread are kept for [`caught`] rather than printed.
pub(super) struct Guard {
    before: bool,
}

impl Guard {
    pub(super) fn new() -> Self {
        Self { before: GUARDED.replace(true) }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        GUARDED.set(self.before);
    }
}

/// Runs `f`; a panic inside becomes its text and place. A [`Guard`] must be there.
#[inline]
pub(super) fn caught<T>(f: impl FnOnce() -> T) -> Result<T, String> {
    // What `f` has half done is dropped or leaked by the callers, never used again.
    catch_unwind(AssertUnwindSafe(f)).map_err(|payload| {
        // A payload of another kind is forgotten: its destructor may panic as well.
        if !payload.is::<String>() && !payload.is::<&str>() {
            std::mem::forget(payload);
        }
        LAST.take().unwrap_or_else(|| "panic".to_owned())
    })
}

/// As [`caught`], with a guard of its own.
pub(super) fn guarded<T>(f: impl FnOnce() -> T) -> Result<T, String> {
    let _guard = Guard::new();
    caught(f)
}

pub(super) fn install_hook() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let previous = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if GUARDED.try_with(Cell::get).unwrap_or(false) {
                keep(info);
            } else {
                previous(info);
            }
        }));
    });
}

fn keep(info: &PanicHookInfo<'_>) {
    let said: String = info.payload_as_str().unwrap_or("panic").chars().take(MOST_TEXT).collect();
    let text = match info.location() {
        Some(place) => format!("{said} at {}:{}", place.file(), place.line()),
        None => said,
    };
    // A panic inside of this borrow cannot be: nothing in it panics.
    let _ = LAST.try_with(|last| {
        if let Ok(mut last) = last.try_borrow_mut() {
            *last = Some(text);
        }
    });
}
