//! Local ports and ICMP identifiers: handed out, shared by flows to different peers, and kept from
//! use for a while afterwards, so that what comes late is credited to nobody.
//!
//! Each port costs a descriptor and memory of the kernel, so a plugin has no more than so many; then
//! its flows to other peers share those that it has.

use std::collections::{HashMap, VecDeque};

use foldhash::fast::RandomState;
use sonde_packet::{FlowKey, Protocol};

use crate::link::Link;

/// How long a measurement key is not used again.
pub(crate) const QUARANTINE_NS: u64 = 5_000_000_000;
/// Most keys in quarantine; beyond, the oldest are let go early.
const MAX_QUARANTINE: usize = 1 << 18;

/// Ports of a protocol that are held because of one plugin, those in quarantine included.
const MAX_HELD: usize = 16_384;

/// All identifiers in use.
#[derive(Debug)]
pub(crate) struct Identifiers<H> {
    ports: HashMap<(Protocol, u16), Port<H>, RandomState>,
    /// Ports by the plugin that they are held for.
    owned: HashMap<(u32, Protocol), Owned, RandomState>,
    quarantine: HashMap<FlowKey, u64, RandomState>,
    order: VecDeque<(u64, FlowKey, bool)>,
    random: u64,
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
            quarantine: HashMap::default(),
            order: VecDeque::new(),
            random: seed | 1,
        }
    }

    /// A number that nobody outside can guess; splitmix64 over a secret seed.
    pub(crate) fn random(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.random;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Until when a key is not to be used; `None` where it is free.
    pub(crate) fn quarantined(&self, key: &FlowKey, now: u64) -> Option<u64> {
        self.quarantine.get(key).copied().filter(|until| *until > now)
    }

    /// Holds a local port for one more flow of a plugin: the given one, or any.
    pub(crate) fn take_port<L: Link<Hold = H>>(
        &mut self,
        link: &mut L,
        owner: u32,
        protocol: Protocol,
        port: Option<u16>,
    ) -> Result<u16, (i32, String)> {
        if let Some(port) = port
            && let Some(held) = self.ports.get_mut(&(protocol, port))
        {
            held.flows += 1;
            return Ok(port);
        }
        let held = self.owned.get(&(owner, protocol)).map_or(0, |owned| owned.held);
        let taken = match held < MAX_HELD {
            true => link.hold(protocol, port),
            false => Err((libc::EMFILE, format!("its plugin holds {MAX_HELD} ports already"))),
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

    /// The flow is over; its key, and the port where it has one, are kept for a while.
    pub(crate) fn retire(&mut self, key: FlowKey, has_port: bool, now: u64) {
        let until = now + QUARANTINE_NS;
        self.quarantine.insert(key, until);
        self.order.push_back((until, key, has_port));
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

    /// Lets go what has been kept long enough.
    pub(crate) fn tidy<L: Link<Hold = H>>(&mut self, link: &mut L, now: u64) {
        while let Some((until, key, has_port)) = self.order.front().copied() {
            if until > now && self.order.len() <= MAX_QUARANTINE {
                break;
            }
            self.order.pop_front();
            if self.quarantine.get(&key) == Some(&until) {
                self.quarantine.remove(&key);
            }
            if has_port {
                self.give_back(link, key.protocol, key.local);
            }
        }
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
