//! Link addresses of neighbours, as the kernel found them.
//!
//! The kernel asks for a neighbour's address when it has a packet for it. Ours do not pass through
//! it there, so a datagram of no content to the neighbour's discard port makes it ask; now and then
//! another one makes it check that the address still holds.

use std::{collections::HashMap, net::IpAddr};

use libc::c_int;
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourMessage, NeighbourState,
};

use crate::sys::Nudge;

/// The kernel gives up after three seconds; so do we if it does not say so.
const PATIENCE_NS: u64 = 4_000_000_000;
/// For how long a neighbour that did not answer is not asked again.
const PAUSE_NS: u64 = 1_000_000_000;
/// How often the address of a neighbour in use is checked.
const CHECK_NS: u64 = 30_000_000_000;
/// Neighbours that are kept; the kernel itself keeps 1024 unless told otherwise.
const MOST: usize = 65_536;

/// What is known about a neighbour.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Found {
    /// Its link address.
    Address([u8; 6]),
    /// The kernel is asking.
    Asking,
    /// It was not asked for.
    Unasked,
    /// Nor can it be, errno: the kernel's table is full.
    NoRoom(c_int),
    /// It did not answer.
    Silent,
}

#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
struct Key {
    interface: u32,
    address: IpAddr,
}

#[derive(Clone, Copy, Debug)]
enum Entry {
    Known {
        address: [u8; 6],
        /// Somebody vouches for it: the kernel checked it lately, or the operator wrote it.
        fresh: bool,
        /// When we last made the kernel check it.
        checked: u64,
    },
    Asking {
        since: u64,
    },
    Silent {
        since: u64,
    },
}

/// The neighbours.
#[derive(Debug)]
pub(super) struct Neighbours {
    entries: HashMap<Key, Entry, foldhash::fast::RandomState>,
    nudge: Nudge,
}

impl Neighbours {
    pub(super) fn new(nudge: Nudge) -> Self {
        Self { entries: HashMap::default(), nudge }
    }

    /// Forgets addresses, because all that the kernel knows follow in reports.
    pub(super) fn begin_again(&mut self) {
        self.entries.retain(|_, entry| !matches!(entry, Entry::Known { .. }));
    }

    /// The neighbour's address; makes the kernel ask for it where need be, and `may_ask` lets it.
    #[inline]
    pub(super) fn find(
        &mut self,
        now: u64,
        interface: u32,
        address: IpAddr,
        may_ask: impl FnOnce() -> bool,
    ) -> Found {
        let key = Key { interface, address };
        match self.entries.get_mut(&key) {
            Some(Entry::Known { address, fresh, checked }) => {
                let address = *address;
                if !*fresh && now.saturating_sub(*checked) > CHECK_NS && may_ask() {
                    *checked = now;
                    // It holds until the kernel says otherwise.
                    let _ = self.nudge.send(key.interface, key.address);
                }
                Found::Address(address)
            }
            Some(Entry::Asking { since }) if now.saturating_sub(*since) < PATIENCE_NS => {
                Found::Asking
            }
            Some(entry @ Entry::Asking { .. }) => {
                *entry = Entry::Silent { since: now };
                Found::Silent
            }
            Some(Entry::Silent { since }) if now.saturating_sub(*since) < PAUSE_NS => Found::Silent,
            _ if may_ask() => self.ask(now, key),
            _ => Found::Unasked,
        }
    }

    /// An interface on which the address is a known neighbour.
    pub(super) fn interface_of(&self, wanted: IpAddr) -> Option<u32> {
        let known = |(key, entry): (&Key, &Entry)| {
            let fits = key.address == wanted && matches!(entry, Entry::Known { .. });
            fits.then_some(key.interface)
        };
        self.entries.iter().filter_map(known).min()
    }

    /// Takes in a report. True where a lookup may answer differently.
    pub(super) fn report(&mut self, now: u64, message: &NeighbourMessage, gone: bool) -> bool {
        let (mut address, mut link) = (None, None);
        for attribute in &message.attributes {
            match attribute {
                NeighbourAttribute::Destination(NeighbourAddress::Inet(ip)) => {
                    address = Some(IpAddr::from(*ip));
                }
                NeighbourAttribute::Destination(NeighbourAddress::Inet6(ip)) => {
                    address = Some(IpAddr::from(*ip));
                }
                NeighbourAttribute::LinkLayerAddress(octets) => {
                    link = <[u8; 6]>::try_from(octets.as_slice()).ok();
                }
                _ => {}
            }
        }
        // Bridges report on theirs in messages of the same kind, without an IP address.
        let Some(address) = address else { return false };
        let key = Key { interface: message.header.ifindex, address };
        if gone {
            return self.entries.remove(&key).is_some();
        }
        let entry = match (message.header.state, link) {
            (NeighbourState::Incomplete, _) => return false,
            (NeighbourState::Failed, _) => Entry::Silent { since: now },
            (NeighbourState::Other(_) | NeighbourState::None, _)
            | (NeighbourState::Noarp, None) => {
                return self.entries.remove(&key).is_some();
            }
            (state, Some(address)) => {
                // Nobody is asked for what an operator, or a routing daemon, has entered.
                let fresh = matches!(
                    state,
                    NeighbourState::Reachable | NeighbourState::Permanent | NeighbourState::Noarp
                );
                let before = match self.entries.get(&key) {
                    Some(Entry::Known { checked, .. }) => *checked,
                    _ => 0,
                };
                let checked = if fresh { now } else { before };
                Entry::Known { address, fresh, checked }
            }
            (_, None) => return false,
        };
        // Failing is news only for those who wait; others would fill the table.
        if matches!(entry, Entry::Silent { .. }) && !self.entries.contains_key(&key) {
            return false;
        }
        self.make_room();
        self.entries.insert(key, entry);
        true
    }

    fn ask(&mut self, now: u64, key: Key) -> Found {
        let asked = self.nudge.send(key.interface, key.address);
        match asked.err().and_then(|error| error.raw_os_error()) {
            // As many are asked for as the socket has room for; each has an end.
            Some(libc::EAGAIN) => Found::Unasked,
            Some(errno @ (libc::ENOBUFS | libc::ENOMEM)) => Found::NoRoom(errno),
            // What else fails counts as silent in the end.
            _ => {
                self.make_room();
                self.entries.insert(key, Entry::Asking { since: now });
                Found::Asking
            }
        }
    }

    fn make_room(&mut self) {
        if self.entries.len() >= MOST {
            self.entries.retain(|_, entry| matches!(entry, Entry::Known { .. }));
        }
        if self.entries.len() >= MOST {
            // They are asked for again, one by one.
            self.entries.clear();
        }
    }
}
