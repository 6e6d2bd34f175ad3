//! Pieces of an address space, each with one answer: longest prefix match.
//!
//! A binary trie without one-child nodes. Both families are 128-bit strings, IPv4 in the upper 32.
//! Prefixes are only ever added: one too many makes the pieces smaller than need be, no more.

use std::net::IpAddr;

use super::answer::Answer;

const NONE: u32 = u32::MAX;

/// A prefix of one of the two families.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Prefix {
    /// Left-aligned, zero behind the prefix.
    bits: u128,
    length: u8,
    six: bool,
}

impl Prefix {
    /// The first `length` bits of an address; `None` where it has fewer.
    pub(super) fn new(address: IpAddr, length: u8) -> Option<Self> {
        let (bits, width) = match address {
            IpAddr::V4(_) => (bits_of(address), 32),
            IpAddr::V6(_) => (bits_of(address), 128),
        };
        let prefix = Self { bits: bits & mask(length), length, six: address.is_ipv6() };
        (length <= width).then_some(prefix)
    }

    /// Whether it is of IPv6.
    pub(super) fn is_six(&self) -> bool {
        self.six
    }
}

/// What was found for an address.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Piece {
    node: u32,
    /// Some route to it depends on more than the destination's prefix.
    pub(super) special: bool,
}

/// An answer and when it was given.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cached {
    /// By the state of the tables that it follows from.
    pub(super) generation: u32,
    /// Monotonic nanoseconds.
    pub(super) at: u64,
    pub(super) answer: Answer,
}

/// All prefixes of one family.
#[derive(Debug)]
pub(super) struct Prefixes {
    nodes: Vec<Node>,
    answers: Vec<Cached>,
}

#[derive(Clone, Copy, Debug)]
struct Node {
    bits: u128,
    children: [u32; 2],
    answer: u32,
    length: u8,
    /// A prefix that was added; others only part the way.
    real: bool,
    special: bool,
}

impl Prefixes {
    /// The whole address space in one piece.
    pub(super) fn new() -> Self {
        let root = Node { real: true, ..Node::new(0, 0) };
        Self { nodes: vec![root], answers: Vec::new() }
    }

    /// Adds a prefix; `special` where more than the destination decides on routes in it. True where
    /// it was there already, and special.
    pub(super) fn add(&mut self, prefix: Prefix, special: bool) -> bool {
        let Prefix { bits, length, .. } = prefix;
        let mut at = 0u32;
        loop {
            let node = self.nodes[at as usize];
            // INVARIANT: `node` covers the prefix.
            if node.length == length {
                let node = &mut self.nodes[at as usize];
                let was = node.real && node.special;
                node.real = true;
                node.special |= special;
                return was;
            }
            let side = bit(bits, node.length);
            let child = node.children[side];
            if child == NONE {
                let leaf = self.push(Node { real: true, special, ..Node::new(bits, length) });
                self.nodes[at as usize].children[side] = leaf;
                return false;
            }
            let below = self.nodes[child as usize];
            let common = common(bits, below.bits).min(length).min(below.length);
            if common == below.length {
                at = child;
                continue;
            }
            // The ways part above the child.
            let mut middle = Node::new(bits & mask(common), common);
            middle.children[bit(below.bits, common)] = child;
            if common == length {
                middle.real = true;
                middle.special = special;
            } else {
                let leaf = self.push(Node { real: true, special, ..Node::new(bits, length) });
                middle.children[bit(bits, common)] = leaf;
            }
            let middle = self.push(middle);
            self.nodes[at as usize].children[side] = middle;
            return false;
        }
    }

    /// The smallest piece that an address is in.
    #[inline]
    pub(super) fn find(&self, address: IpAddr) -> Piece {
        let bits = bits_of(address);
        let mut found = Piece { node: 0, special: false };
        let mut at = 0u32;
        loop {
            let node = &self.nodes[at as usize];
            if common(bits, node.bits) < node.length {
                return found;
            }
            if node.real {
                found.node = at;
            }
            found.special |= node.special;
            if node.length == 128 {
                return found;
            }
            at = node.children[bit(bits, node.length)];
            if at == NONE {
                return found;
            }
        }
    }

    /// The answer for a piece, if there is one.
    #[inline]
    pub(super) fn answer(&self, piece: Piece) -> Option<&Cached> {
        self.answers.get(self.nodes[piece.node as usize].answer as usize)
    }

    /// Remembers the answer for a piece.
    pub(super) fn remember(&mut self, piece: Piece, cached: Cached) {
        let node = &mut self.nodes[piece.node as usize];
        if let Some(answer) = self.answers.get_mut(node.answer as usize) {
            *answer = cached;
        } else if let Ok(index) = u32::try_from(self.answers.len()) {
            node.answer = index;
            self.answers.push(cached);
        }
    }

    /// Makes the answers for a prefix and all inside it out of date.
    pub(super) fn forget(&mut self, prefix: Prefix, stale: u32) {
        let mut pending = vec![0u32];
        while let Some(at) = pending.pop() {
            let node = self.nodes[at as usize];
            let shared = common(prefix.bits, node.bits);
            if shared >= prefix.length && node.length >= prefix.length {
                if let Some(cached) = self.answers.get_mut(node.answer as usize) {
                    cached.generation = stale;
                }
            } else if shared < node.length {
                // Neither covers the prefix nor lies in it.
                continue;
            }
            pending.extend(node.children.iter().filter(|child| **child != NONE));
        }
    }

    fn push(&mut self, node: Node) -> u32 {
        self.nodes.push(node);
        u32::try_from(self.nodes.len() - 1).expect("there are fewer routes than that")
    }
}

impl Node {
    fn new(bits: u128, length: u8) -> Self {
        Self { bits, children: [NONE; 2], answer: NONE, length, real: false, special: false }
    }
}

/// An address as a left-aligned string of bits.
#[inline]
fn bits_of(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u128::from(u32::from(address)) << 96,
        IpAddr::V6(address) => u128::from(address),
    }
}

/// The first `length` bits.
fn mask(length: u8) -> u128 {
    !u128::MAX.checked_shr(u32::from(length)).unwrap_or(0)
}

/// The bit behind the first `position`, which are fewer than 128.
#[inline]
fn bit(bits: u128, position: u8) -> usize {
    usize::from(bits & (1 << (127 - position)) != 0)
}

/// How many bits are equal from the left.
#[inline]
fn common(one: u128, other: u128) -> u8 {
    (one ^ other).leading_zeros() as u8
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn prefix(text: &str) -> Prefix {
        let (address, length) = text.split_once('/').unwrap();
        Prefix::new(address.parse().unwrap(), length.parse().unwrap()).unwrap()
    }

    fn refused(errno: i32, generation: u32) -> Cached {
        Cached { generation, at: 0, answer: Answer::Refused(errno) }
    }

    /// The errno that stands for an address, 0 where nothing does.
    fn errno(prefixes: &Prefixes, address: &str) -> i32 {
        match prefixes.answer(prefixes.find(address.parse().unwrap())) {
            Some(Cached { generation: 1, answer: Answer::Refused(errno), .. }) => *errno,
            _ => 0,
        }
    }

    #[test]
    fn an_answer_holds_for_its_piece_alone() {
        let mut prefixes = Prefixes::new();
        for text in ["10.0.0.0/8", "10.1.0.0/16", "10.1.2.3/32", "0.0.0.0/0"] {
            prefixes.add(prefix(text), false);
        }
        for (errno, address) in [(1, "192.0.2.1"), (2, "10.9.9.9"), (3, "10.1.9.9")] {
            let piece = prefixes.find(address.parse().unwrap());
            prefixes.remember(piece, refused(errno, 1));
        }
        assert_eq!(errno(&prefixes, "203.0.113.9"), 1);
        assert_eq!(errno(&prefixes, "10.255.0.1"), 2);
        assert_eq!(errno(&prefixes, "10.1.2.2"), 3);
        assert_eq!(errno(&prefixes, "10.1.2.3"), 0);
    }

    #[test]
    fn forgetting_a_prefix_leaves_what_is_around_it() {
        let mut prefixes = Prefixes::new();
        for text in ["2001:db8::/32", "2001:db8:1::/48", "2001:db8:1:2::/64", "2001:db8:2::/48"] {
            prefixes.add(prefix(text), false);
        }
        let addresses = ["2001:db8:ffff::1", "2001:db8:1::1", "2001:db8:1:2::1", "2001:db8:2::1"];
        for address in addresses {
            let piece = prefixes.find(address.parse().unwrap());
            prefixes.remember(piece, refused(7, 1));
        }
        prefixes.forget(prefix("2001:db8:1::/48"), 0);
        assert_eq!(addresses.map(|address| errno(&prefixes, address)), [7, 0, 0, 7]);
    }

    #[test]
    fn everything_inside_a_special_prefix_is_special() {
        let mut prefixes = Prefixes::new();
        assert!(!prefixes.add(prefix("10.0.0.0/8"), true));
        assert!(!prefixes.add(prefix("10.1.0.0/16"), false));
        assert!(prefixes.add(prefix("10.0.0.0/8"), false));
        assert!(prefixes.find("10.1.2.3".parse().unwrap()).special);
        assert!(!prefixes.find("11.1.2.3".parse().unwrap()).special);
    }

    proptest! {
        #[test]
        fn the_longest_prefix_is_found(
            list in prop::collection::vec((any::<u32>(), 0u8..=32), 1..60),
            wanted in any::<u32>(),
            near in any::<prop::sample::Index>(),
            flip in 0u32..32,
        ) {
            let mut prefixes = Prefixes::new();
            for (bits, length) in &list {
                let address = IpAddr::V4((*bits).into());
                let prefix = Prefix::new(address, *length).unwrap();
                prefixes.add(prefix, false);
                let node = prefixes.find(IpAddr::V4((prefix.bits >> 96).try_into().map(u32::into).unwrap()));
                prop_assert!(prefixes.nodes[node.node as usize].length >= *length);
            }
            for wanted in [wanted, list[near.index(list.len())].0 ^ (1 << flip)] {
                let found = prefixes.nodes[prefixes.find(IpAddr::V4(wanted.into())).node as usize];
                let wide = u128::from(wanted) << 96;
                let best = list
                    .iter()
                    .map(|(bits, length)| (u128::from(*bits) << 96, *length))
                    .filter(|(bits, length)| (bits ^ wide) & mask(*length) == 0)
                    .map(|(_, length)| length)
                    .max();
                prop_assert_eq!(found.length, best.unwrap_or(0));
            }
        }
    }
}
