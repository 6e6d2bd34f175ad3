//! Local ports and ICMP identifiers: handed out, shared by flows to different peers, and kept from
//! use for a while afterwards, so that what comes late is credited to nobody.
//!
//! Each port costs a descriptor and memory of the kernel, so a plugin has no more than so many, and
//! no more than it leaves to others; then its flows to other peers share those that it has.

use std::{
    collections::{HashMap, VecDeque},
    hash::{BuildHasher, DefaultHasher, Hasher},
};

use foldhash::fast::RandomState;
use hashbrown::HashTable;
use sonde_packet::{FlowKey, Protocol};

use crate::{
    exchange::{MAX_WORK, SOCKET_WORK},
    link::Link,
};

/// How long a measurement key is not used again.
pub(crate) const QUARANTINE_NS: u64 = 5_000_000_000;
/// Most keys of a plugin in quarantine; beyond, its oldest are let go early.
pub(crate) const MAX_QUARANTINE: usize = 1 << 18;

/// Ports of a protocol that are held because of one plugin, those in quarantine included.
const MAX_HELD: usize = 16_384;

/// All identifiers in use.
#[derive(Debug)]
pub(crate) struct Identifiers<H> {
    ports: HashMap<(Protocol, u16), Port<H>, RandomState>,
    /// Ports by the plugin that they are held for.
    owned: HashMap<(u32, Protocol), Owned, RandomState>,
    quarantine: HashTable<Resting>,
    /// In the order of time, by plugin.
    order: Vec<VecDeque<Ending>>,
    state: RandomState,
    seed: u64,
    /// Random numbers so far.
    drawn: u64,
    /// Ports that may be held in all: each is a descriptor, and others need some.
    pub(crate) most: usize,
}

/// A measurement key in quarantine.
#[derive(Debug)]
struct Resting {
    /// Stands for the key, which is four times as long: where another one has the same, that rests as well.
    hash: u64,
    until: u64,
}

/// What ends with a quarantine.
#[derive(Clone, Copy, Debug)]
struct Ending {
    hash: u64,
    until: u64,
    /// Port that the flow held.
    port: Option<(Protocol, u16)>,
}

#[derive(Debug)]
struct Port<H> {
    hold: H,
    flows: u32,
    /// The plugin that it was first held for.
    owner: u32,
}

/// What is held for a plugin.
#[derive(Debug, Default)]
struct Owned {
    held: usize,
    /// In the order in which they are shared; some may have been let go since.
    turn: VecDeque<u16>,
}

impl<H> Identifiers<H> {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            ports: HashMap::default(),
            owned: HashMap::default(),
            quarantine: HashTable::new(),
            order: Vec::new(),
            state: RandomState::default(),
            seed,
            drawn: 0,
            most: usize::MAX,
        }
    }

    /// A number that nobody outside can guess: SipHash over a secret seed. Whoever is probed sees what a method makes of
    /// its number, which must not give those of other measurements away.
    pub(crate) fn random(&mut self) -> u64 {
        self.drawn += 1;
        let mut hasher = DefaultHasher::new();
        hasher.write_u64(self.seed);
        hasher.write_u64(self.drawn);
        hasher.finish()
    }

    /// Until when a key is not to be used; `None` where it is free.
    pub(crate) fn quarantined(&self, key: &FlowKey, now: u64) -> Option<u64> {
        let hash = self.state.hash_one(key);
        let resting = self.quarantine.find(hash, |resting| resting.hash == hash)?;
        (resting.until > now).then_some(resting.until)
    }

    /// Holds a local port for one more flow of a plugin: the given one, or any; `quiet` as for [`Link::hold`].
    pub(crate) fn take_port<L: Link<Hold = H>>(
        &mut self,
        link: &mut L,
        owner: u32,
        protocol: Protocol,
        port: Option<u16>,
        quiet: bool,
    ) -> Result<u16, (i32, String)> {
        if let Some(port) = port
            && let Some(held) = self.ports.get_mut(&(protocol, port))
        {
            link.check_hold(&held.hold, quiet)?;
            held.flows += 1;
            return Ok(port);
        }
        let held = self.owned.get(&(owner, protocol)).map_or(0, |owned| owned.held);
        // Nobody has more than what is left for others.
        let most = MAX_HELD.min(self.most.saturating_sub(self.ports.len()));
        let taken = match held < most {
            true => link.hold(protocol, port, quiet),
            false => {
                Err((libc::EMFILE, format!("its plugin holds {held} ports, and may not have more")))
            }
        };
        let (hold, port) = match taken {
            Ok(taken) => taken,
            Err(_) if port.is_none() && held > 0 => return self.share(owner, protocol),
            Err(error) => return Err(error),
        };
        self.ports.insert((protocol, port), Port { hold, flows: 1, owner });
        let owned = self.owned.entry((owner, protocol)).or_default();
        owned.held += 1;
        owned.turn.push_back(port);
        if owned.turn.len() > 2 * MAX_HELD {
            let ports = &self.ports;
            owned.turn.retain(|port| is_of(ports, owner, protocol, *port));
        }
        Ok(port)
    }

    /// A port that the plugin has, each in turn.
    fn share(&mut self, owner: u32, protocol: Protocol) -> Result<u16, (i32, String)> {
        let owned = self.owned.entry((owner, protocol)).or_default();
        while let Some(port) = owned.turn.pop_front() {
            if is_of(&self.ports, owner, protocol, port)
                && let Some(held) = self.ports.get_mut(&(protocol, port))
            {
                held.flows += 1;
                owned.turn.push_back(port);
                return Ok(port);
            }
        }
        Err((libc::EADDRINUSE, "no local port is left".to_owned()))
    }

    /// The flow of a plugin is over; its key, and the port where it has one, are kept for a while.
    pub(crate) fn retire(&mut self, owner: u32, key: FlowKey, has_port: bool, now: u64) {
        let until = now + QUARANTINE_NS;
        let hash = self.state.hash_one(key);
        let is_it = |resting: &Resting| resting.hash == hash;
        let resting = self.quarantine.entry(hash, is_it, |resting| resting.hash);
        resting.or_insert(Resting { hash, until }).get_mut().until = until;
        let port = has_port.then_some((key.protocol, key.local));
        let owner = owner as usize;
        if self.order.len() <= owner {
            self.order.resize_with(owner + 1, VecDeque::new);
        }
        self.order[owner].push_back(Ending { hash, until, port });
    }

    /// A port that no flow came to use.
    pub(crate) fn give_back<L: Link<Hold = H>>(
        &mut self,
        link: &mut L,
        protocol: Protocol,
        port: u16,
    ) {
        if let Some(held) = self.ports.get_mut(&(protocol, port)) {
            held.flows -= 1;
            if held.flows == 0
                && let Some(gone) = self.ports.remove(&(protocol, port))
            {
                if let Some(owned) = self.owned.get_mut(&(gone.owner, protocol)) {
                    owned.held -= 1;
                }
                link.release(gone.hold);
            }
        }
    }

    /// Lets go what has been kept long enough, of each plugin as much as fits in a turn; whether there is more.
    pub(crate) fn tidy<L: Link<Hold = H>>(&mut self, link: &mut L, now: u64) -> bool {
        let mut is_more = false;
        for owner in 0..self.order.len() {
            is_more |= self.tidy_of(owner, link, now);
        }
        is_more
    }

    fn tidy_of<L: Link<Hold = H>>(&mut self, owner: usize, link: &mut L, now: u64) -> bool {
        let mut work = 0;
        while let Some(Ending { hash, until, port }) = self.order[owner].front().copied() {
            if until > now && self.order[owner].len() <= MAX_QUARANTINE {
                break;
            }
            if work >= MAX_WORK {
                return true;
            }
            self.order[owner].pop_front();
            let is_it = |resting: &Resting| resting.hash == hash && resting.until == until;
            if let Ok(place) = self.quarantine.find_entry(hash, is_it) {
                place.remove();
            }
            work += 1;
            if let Some((protocol, port)) = port {
                work += SOCKET_WORK;
                self.give_back(link, protocol, port);
            }
        }
        false
    }
}

/// Whether a port is held for a plugin.
fn is_of<H>(
    ports: &HashMap<(Protocol, u16), Port<H>, RandomState>,
    owner: u32,
    protocol: Protocol,
    port: u16,
) -> bool {
    ports.get(&(protocol, port)).is_some_and(|held| held.owner == owner)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What came before a step of splitmix64 that ended in this.
    fn before(mixed: u64) -> u64 {
        let mixed = mixed ^ mixed >> 31 ^ mixed >> 62;
        let mixed = mixed.wrapping_mul(0x3196_42b2_d24d_8ec3);
        let mixed = mixed ^ mixed >> 27 ^ mixed >> 54;
        let mixed = mixed.wrapping_mul(0x96de_1b17_3f11_9089);
        mixed ^ mixed >> 30 ^ mixed >> 60
    }

    #[test]
    fn a_number_that_a_target_was_shown_does_not_give_the_next_away() {
        let mut numbers = Identifiers::<()>::new(42);
        let (shown, next) = (numbers.random(), numbers.random());
        assert_ne!(shown, next);
        assert_ne!(before(shown).wrapping_add(0x9e37_79b9_7f4a_7c15), before(next));
    }
}
