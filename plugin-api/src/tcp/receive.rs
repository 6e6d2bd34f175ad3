//! What came from the peer, put in order.
//!
//! Source: RFC 9293, section 3.10.7.4; RFC 2018, section 4 (the latest block first).

use super::sequence::distance;

/// Octets of the peer in order, and those beyond a hole.
///
/// The first copy of an octet counts; one that comes again, even with another value, changes nothing.
#[derive(Clone, Debug)]
pub struct ReceiveQueue {
    /// The next octet that is missing.
    expected: u32,
    /// Octets beyond `expected` that are taken.
    window: u32,
    /// In order, and not yet read.
    ready: Vec<u8>,
    /// Beyond a hole, by distance, disjoint and not touching each other.
    held: Vec<Piece>,
    /// Number of the FIN, once it was seen.
    end: Option<u32>,
    is_finished: bool,
    count: u64,
}

#[derive(Clone, Debug)]
struct Piece {
    first: u32,
    data: Vec<u8>,
    /// The larger, the later something was added.
    touched: u64,
}

/// What a segment was for the queue.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Arrival {
    /// It held nothing: no data and no end.
    Empty,
    /// The next octet that is missing is another one.
    Advanced,
    /// Something new beyond a hole.
    Held,
    /// Nothing new.
    Duplicate,
    /// Outside of the window.
    Outside,
}

impl ReceiveQueue {
    /// Of a peer whose first octet of data is `first`. `window` is how many octets beyond the next
    /// missing one are taken, at most 2^30.
    #[must_use]
    pub fn new(first: u32, window: u32) -> Self {
        Self {
            expected: first,
            window: window.min(1 << 30),
            ready: Vec::new(),
            held: Vec::new(),
            end: None,
            is_finished: false,
            count: 0,
        }
    }

    /// The next number that is missing: what a cumulative acknowledgement says.
    #[must_use]
    pub fn expected(&self) -> u32 {
        self.expected
    }

    /// Octets beyond the next missing one that are taken.
    #[must_use]
    pub fn window(&self) -> u32 {
        self.window
    }

    /// The peer's FIN and all before it are here.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.is_finished
    }

    /// Something beyond a hole is here.
    #[must_use]
    pub fn has_hole(&self) -> bool {
        !self.held.is_empty()
    }

    /// What is in order and was not read before.
    pub fn read(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.ready)
    }

    /// Blocks for a selective acknowledgement, first octet and the one behind the last, the latest
    /// first.
    #[must_use]
    pub fn blocks(&self, most: usize) -> Vec<(u32, u32)> {
        let mut pieces: Vec<&Piece> = self.held.iter().collect();
        pieces.sort_by_key(|piece| std::cmp::Reverse(piece.touched));
        pieces.iter().take(most).map(|piece| (piece.first, piece.behind())).collect()
    }

    /// Takes the data of a segment, and its end where `fin` says so. What lies outside of the window or
    /// behind an end that is known is cut off.
    pub fn insert(&mut self, sequence: u32, data: &[u8], fin: bool) -> Arrival {
        if data.is_empty() && !fin {
            return Arrival::Empty;
        }
        let offset = i64::from(distance(self.expected, sequence));
        let length = data.len() as i64;
        let limit = match self.end {
            Some(end) => i64::from(distance(self.expected, end)).max(0),
            None => i64::from(self.window),
        };
        if self.is_finished || offset + length + i64::from(fin) <= 0 {
            return Arrival::Duplicate;
        }
        if offset > i64::from(self.window) {
            return Arrival::Outside;
        }
        let before = self.expected;
        if fin && self.end.is_none() && offset + length <= i64::from(self.window) {
            let end = sequence.wrapping_add(data.len() as u32);
            // An end before what is already here is a lie.
            let beyond = self.held.last().is_some_and(|last| distance(end, last.behind()) > 0);
            self.end = (!beyond).then_some(end);
        }
        let from = (-offset).clamp(0, length) as usize;
        let to = (limit - offset).clamp(from as i64, length) as usize;
        let is_new = self.hold(sequence.wrapping_add(from as u32), &data[from..to]);
        self.advance();
        if self.expected != before {
            Arrival::Advanced
        } else if is_new {
            Arrival::Held
        } else if offset >= i64::from(self.window) {
            Arrival::Outside
        } else {
            Arrival::Duplicate
        }
    }

    /// Adds octets to those that are held; true where some of them are new.
    fn hold(&mut self, first: u32, data: &[u8]) -> bool {
        if data.is_empty() {
            return false;
        }
        self.count += 1;
        let base = self.expected;
        let at = |number: u32| distance(base, number);
        let (mut low, mut high) = (at(first), at(first) + data.len() as i32);
        // Mostly it is the next of a long run: that is not copied each time.
        let behind = self.held.partition_point(|piece| at(piece.first) <= low);
        let is_free = self.held.get(behind).is_none_or(|piece| at(piece.first) > high);
        if let Some(piece) = behind.checked_sub(1).and_then(|before| self.held.get_mut(before))
            && piece.behind() == first
            && is_free
        {
            piece.data.extend(data);
            piece.touched = self.count;
            return true;
        }
        let touches =
            |piece: &Piece| at(piece.first) <= high && at(piece.first) + piece.octets() >= low;
        let (old, mut kept): (Vec<Piece>, Vec<Piece>) =
            std::mem::take(&mut self.held).into_iter().partition(touches);
        let known: i32 = old.iter().map(Piece::octets).sum();
        for piece in &old {
            low = low.min(at(piece.first));
            high = high.max(at(piece.first) + piece.octets());
        }
        let mut merged = vec![0; (high - low) as usize];
        let mut write = |number: u32, octets: &[u8]| {
            let begin = (at(number) - low) as usize;
            merged[begin..begin + octets.len()].copy_from_slice(octets);
        };
        write(first, data);
        for piece in &old {
            write(piece.first, &piece.data);
        }
        let is_new = merged.len() > known as usize;
        let first = base.wrapping_add(low as u32);
        let place = kept.partition_point(|piece| at(piece.first) < low);
        kept.insert(place, Piece { first, data: merged, touched: self.count });
        self.held = kept;
        is_new
    }

    fn advance(&mut self) {
        if self.held.first().is_some_and(|piece| piece.first == self.expected) {
            let piece = self.held.remove(0);
            self.expected = piece.behind();
            self.ready.extend(piece.data);
        }
        if self.end == Some(self.expected) && !self.is_finished {
            self.expected = self.expected.wrapping_add(1);
            self.is_finished = true;
        }
    }
}

impl Piece {
    fn octets(&self) -> i32 {
        self.data.len() as i32
    }

    fn behind(&self) -> u32 {
        self.first.wrapping_add(self.data.len() as u32)
    }
}
