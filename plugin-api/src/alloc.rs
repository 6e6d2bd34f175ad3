//! The allocator of a plugin: the system's, which counts.
//!
//! Every plugin has its own copy, set by [`crate::export_methods!`]; so the host learns what a
//! plugin holds and can name the one that leaks. It is not a limit: the worker process has that.
#![allow(unsafe_code)]

use std::{
    alloc::{GlobalAlloc, Layout, System},
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
};

static HELD: AtomicUsize = AtomicUsize::new(0);

/// Heap that is held by now, in octets; 0 where [`Counted`] is not the allocator.
#[must_use]
pub fn octets() -> u64 {
    HELD.load(Relaxed) as u64
}

/// The system's allocator with a count of what is held.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counted;

// SAFETY: every call goes to the system's allocator as it is. The count wraps but in sum never
// goes below zero; failed allocations are not counted.
unsafe impl GlobalAlloc for Counted {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promises are passed on.
        let pointer = unsafe { System.alloc(layout) };
        count(pointer, layout.size());
        pointer
    }

    #[inline]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promises are passed on.
        let pointer = unsafe { System.alloc_zeroed(layout) };
        count(pointer, layout.size());
        pointer
    }

    #[inline]
    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        HELD.fetch_sub(layout.size(), Relaxed);
        // SAFETY: the caller's promises are passed on.
        unsafe { System.dealloc(pointer, layout) }
    }

    #[inline]
    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller's promises are passed on.
        let moved = unsafe { System.realloc(pointer, layout, size) };
        count(moved, size.wrapping_sub(layout.size()));
        moved
    }
}

#[inline]
fn count(pointer: *mut u8, octets: usize) {
    if !pointer.is_null() {
        HELD.fetch_add(octets, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_given_back_is_not_held() {
        let layout = Layout::from_size_align(1000, 8).unwrap();
        let before = octets();
        // SAFETY: the layout has a size, and is the one that the memory is given back with.
        unsafe {
            let pointer = Counted.alloc(layout);
            assert_eq!(octets(), before + 1000);
            let pointer = Counted.realloc(pointer, layout, 400);
            assert_eq!(octets(), before + 400);
            Counted.dealloc(pointer, Layout::from_size_align(400, 8).unwrap());
        }
        assert_eq!(octets(), before);
    }
}
