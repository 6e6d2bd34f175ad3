//! Where encoded values go: the end of a vector that the host owns.
//!
//! Growth goes through the vector's own table of functions, that is to its owner's allocator.
//! Pointer, length and capacity are kept here, because every small append through the vector
//! itself costs a call; that is what the `unsafe` is for.
#![allow(unsafe_code)]

use abi_stable::std_types::RVec;

/// The end of a vector, written in place with one capacity check per field.
///
/// The vector has its new length when the arena is dropped. If the arena is forgotten instead,
/// what was written since the last growth is lost.
#[derive(Debug)]
pub struct Arena<'a> {
    vector: &'a mut RVec<u8>,
    // INVARIANT: `start` and `capacity` are the vector's, and the first `length` octets at `start`
    // are initialised, `length <= capacity`. The vector is not touched but in `grow` and `drop`.
    start: *mut u8,
    length: usize,
    capacity: usize,
}

impl<'a> Arena<'a> {
    /// Writes behind what `vector` holds.
    #[inline]
    pub fn new(vector: &'a mut RVec<u8>) -> Self {
        let (start, length, capacity) = (vector.as_mut_ptr(), vector.len(), vector.capacity());
        Self { vector, start, length, capacity }
    }

    /// Octets in the vector, with those that were there before.
    #[inline]
    #[must_use]
    pub fn len(&self) -> usize {
        self.length
    }

    /// Whether the vector holds nothing at all.
    #[inline]
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// All that is in the vector, to patch what was written before.
    #[inline]
    pub fn written(&mut self) -> &mut [u8] {
        // SAFETY: the first `length` octets are initialised and `self` is borrowed exclusively.
        unsafe { std::slice::from_raw_parts_mut(self.start, self.length) }
    }

    /// Forgets what was written behind `length`; more than there is changes nothing.
    #[inline]
    pub fn truncate(&mut self, length: usize) {
        self.length = self.length.min(length);
    }

    #[cold]
    #[inline(never)]
    fn grow(&mut self, octets: usize) {
        // SAFETY: `length` octets are initialised and within the capacity.
        unsafe { self.vector.set_len(self.length) }
        let needed = self.length.checked_add(octets).expect("capacity overflow");
        let wanted = needed.max(self.capacity.saturating_mul(2)).max(4096);
        self.vector.reserve(wanted - self.length);
        (self.start, self.capacity) = (self.vector.as_mut_ptr(), self.vector.capacity());
        assert!(self.capacity >= needed, "a vector that did not grow");
    }

    /// Where the next `octets` go; they are within the capacity.
    #[inline]
    fn room(&mut self, octets: usize) -> *mut u8 {
        if self.capacity - self.length < octets {
            self.grow(octets);
        }
        // SAFETY: `length <= capacity`, so this is inside the allocation or at its end.
        unsafe { self.start.add(self.length) }
    }

    /// `octets` zeros to fill in.
    #[inline]
    pub fn take(&mut self, octets: usize) -> &mut [u8] {
        let to = self.room(octets);
        self.length += octets;
        // SAFETY: `room` made place for `octets` at `to`; they are initialised before the slice
        // is made, and `self` stays borrowed as long as it lives.
        unsafe {
            std::ptr::write_bytes(to, 0, octets);
            std::slice::from_raw_parts_mut(to, octets)
        }
    }

    /// Appends octets whose number is known at compile time.
    #[inline]
    pub fn fixed<const N: usize>(&mut self, octets: [u8; N]) {
        let to = self.room(N);
        // SAFETY: `room` made place for N octets at `to`.
        unsafe { to.cast::<[u8; N]>().write_unaligned(octets) }
        self.length += N;
    }

    /// Appends octets.
    #[inline]
    pub fn put(&mut self, octets: &[u8]) {
        let to = self.room(octets.len());
        // SAFETY: `room` made place at `to`; `octets` cannot overlap with it, for the arena
        // borrows the vector exclusively.
        unsafe { std::ptr::copy_nonoverlapping(octets.as_ptr(), to, octets.len()) }
        self.length += octets.len();
    }

    /// Appends a tag and its content with one check.
    #[inline]
    pub fn tagged<const N: usize>(&mut self, tag: u8, content: [u8; N]) {
        let to = self.room(N + 1);
        // SAFETY: `room` made place for N + 1 octets at `to`.
        unsafe {
            to.write(tag);
            to.add(1).cast::<[u8; N]>().write_unaligned(content);
        }
        self.length += N + 1;
    }

    /// Appends a tag, a length and that many octets with one check. What is longer than 4 GiB is
    /// cut, and refused by whoever reads it.
    #[inline]
    pub fn counted(&mut self, tag: u8, content: &[u8]) {
        let content = &content[..content.len().min(u32::MAX as usize)];
        let to = self.room(content.len().saturating_add(5));
        let length = (content.len() as u32).to_le_bytes();
        // SAFETY: `room` made place for 5 octets and the content at `to`; the content is borrowed
        // from elsewhere.
        unsafe {
            to.write(tag);
            to.add(1).cast::<[u8; 4]>().write_unaligned(length);
            std::ptr::copy_nonoverlapping(content.as_ptr(), to.add(5), content.len());
        }
        self.length += content.len() + 5;
    }
}

impl Arena<'_> {
    /// Appends a text value.
    #[inline]
    pub fn text(&mut self, text: &str) {
        self.counted(super::tag::TEXT, text.as_bytes());
    }
}

impl Drop for Arena<'_> {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: `length` octets are initialised and within the capacity.
        unsafe { self.vector.set_len(self.length) }
    }
}

/// What `write` writes, in a vector of its own; for parameters and tests.
pub fn to_vec(write: impl FnOnce(&mut Arena<'_>)) -> Vec<u8> {
    let mut vector = RVec::new();
    write(&mut Arena::new(&mut vector));
    vector.into_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn growth_keeps_what_was_written() {
        let mut vector = RVec::from(vec![7]);
        let mut arena = Arena::new(&mut vector);
        for number in 0..10_000_u32 {
            arena.tagged(1, number.to_le_bytes());
            arena.put(b"ab");
        }
        assert_eq!(arena.take(3), [0, 0, 0]);
        drop(arena);
        assert_eq!(vector.len(), 1 + 10_000 * 7 + 3);
        assert_eq!(vector[..8], [7, 1, 0, 0, 0, 0, b'a', b'b']);
        assert_eq!(vector[1 + 9_999 * 7..1 + 9_999 * 7 + 5], [1, 0x0f, 0x27, 0, 0]);
    }

    #[test]
    fn nothing_is_lost_by_truncating_behind_the_end() {
        let octets = to_vec(|arena| {
            arena.fixed(*b"packet");
            arena.truncate(100);
            arena.truncate(4);
            arena.written()[0] = b'P';
        });
        assert_eq!(octets, b"Pack");
    }
}
