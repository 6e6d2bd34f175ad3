//! Where a packet has to go: device, neighbour, source address and size, from the kernel's tables.
//!
//! The kernel decides every route; this module asks it over netlink and remembers what it said,
//! for a whole prefix where one answer holds for all of it. Nothing here waits: what is not known
//! yet is [`Lookup::Pending`], and [`Router::poll`] takes in what the kernel reports.

mod answer;
mod interfaces;
mod neighbours;
mod netlink;
mod prefixes;
mod reports;

use std::{collections::HashMap, io, net::IpAddr, os::fd::RawFd};

use libc::c_int;
use sonde_packet::Protocol;

use self::{
    answer::{Answer, Told, Way},
    neighbours::{Found, Neighbours},
    netlink::{Netlink, Progress},
    prefixes::Cached,
    reports::{Reading, Tables},
};
use crate::sys::{Egress, Nudge};

/// Answers are asked for anew after this time: the kernel does not report all that it learns.
const ANSWER_AGE_NS: u64 = 10_000_000_000;
/// Answers kept for single destinations.
const MOST_DESTINATIONS: usize = 65_536;
/// Reports are looked for at most so often while there are none.
const QUIET_NS: u64 = 1_000_000;
/// Datagrams of reports, or bites of a dump, that are taken in at a time.
const BITES: usize = 16;
/// Tables are read again at most so often only to find out that pieces may be larger.
const REREAD_NS: u64 = 60_000_000_000;
/// Tables that could not be read are tried again after this time.
const RETRY_NS: u64 = 1_000_000_000;
/// So often at the start, when there are none before.
const FIRST_TRIES: usize = 5;
/// A generation that no answer is of.
const STALE: u32 = 0;

/// What a route is looked for.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(crate) struct Query {
    /// Where the packet goes.
    pub(crate) destination: IpAddr,
    /// The source address, where it is not for the route to choose.
    pub(crate) source: Option<IpAddr>,
    /// The neighbour to send through, where it is not for the route to choose.
    pub(crate) gateway: Option<IpAddr>,
    /// ToS or traffic class that the packet carries.
    pub(crate) tos: u8,
    /// What it carries, for rules that ask.
    pub(crate) protocol: Option<Protocol>,
}

impl Query {
    /// For a destination, all else as the kernel chooses.
    pub(crate) fn to(destination: IpAddr) -> Self {
        Self { destination, source: None, gateway: None, tos: 0, protocol: None }
    }
}

/// The way to a destination.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Route {
    /// Device that the packet leaves by.
    pub(crate) interface: u32,
    /// Address that packets have to come from.
    pub(crate) source: IpAddr,
    /// Who gets the packet first: a router, or the destination itself.
    pub(crate) next_hop: IpAddr,
    /// Largest packet, octets.
    pub(crate) mtu: u32,
    /// For `Sockets::queue`.
    pub(crate) egress: Egress,
}

/// What is known about the way to a destination.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Lookup {
    /// Send. Ask again for every packet, or at least every second: it is cheap, and keeps the
    /// neighbour's address fresh.
    Ready(Route),
    /// The kernel is asking the neighbour for its link address, or could not answer; ask again after [`Router::poll`].
    Pending,
    /// The neighbour is not known and was not asked for: it may not be now, or others take all the room. Ask again.
    Unasked,
    /// There is no way: an errno such as `ENETUNREACH` or `EHOSTUNREACH`.
    Unreachable(c_int),
}

/// Addresses of this machine that others can answer to, IPv4 first: none of loopback, none
/// link-local. Needs no privilege.
///
/// # Errors
///
/// The kernel's.
pub fn local_addresses() -> io::Result<Vec<IpAddr>> {
    Ok(Router::open(false)?.tables.interfaces.addresses())
}

/// The kernel's tables as far as we know them.
#[derive(Debug)]
pub(crate) struct Router {
    netlink: Netlink,
    tables: Tables,
    neighbours: Neighbours,
    /// The tables that take the place of ours when they are complete.
    reading: Option<Box<Reading>>,
    /// Where more decides than the destination's prefix.
    destinations: HashMap<Query, Cached, foldhash::fast::RandomState>,
    /// Grows with every change that can make any answer wrong.
    generation: u32,
    raw_only: bool,
    /// When reports were looked for last, and there were none.
    quiet_since: u64,
    /// When all tables were read last, and when they are to be read again, if they are.
    read_at: u64,
    reread: Option<u64>,
}

impl Router {
    /// Reads the tables of the network namespace that the calling thread is in. `raw_only` sends
    /// everything through the kernel's own output path, past its firewall and policies.
    ///
    /// # Errors
    ///
    /// The kernel's.
    pub(crate) fn open(raw_only: bool) -> io::Result<Self> {
        let mut router = Self {
            netlink: Netlink::open()?,
            tables: Tables::new(),
            neighbours: Neighbours::new(Nudge::open()?),
            reading: None,
            destinations: HashMap::default(),
            generation: STALE + 1,
            raw_only,
            quiet_since: 0,
            read_at: 0,
            reread: None,
        };
        for _ in 0..FIRST_TRIES {
            router.read_all(0);
            while router.reading.is_some() {
                router.take_bite(0);
            }
            if router.reread.is_none() {
                return Ok(router);
            }
        }
        Err(io::Error::other("the kernel does not say them"))
    }

    /// Becomes readable when the kernel reports a change; then [`Router::poll`] is due.
    pub(crate) fn fd(&self) -> RawFd {
        self.netlink.fd()
    }

    /// Takes in what the kernel reported. True where something changed that a lookup, or
    /// [`Router::enslaved`], may answer differently; to be called at least once a second.
    pub(crate) fn poll(&mut self, now: u64) -> bool {
        let mut changed = false;
        for _ in 0..BITES {
            if self.reading.is_some() {
                // Reports wait: they may be newer than what is being read.
                changed |= self.take_bite(now);
            } else if now.saturating_sub(self.quiet_since) < QUIET_NS {
                break;
            } else {
                match self.take_reports(now) {
                    (Progress::More, matters) => changed |= matters,
                    (Progress::Lost, _) => self.read_all(now),
                    _ => {
                        self.quiet_since = now;
                        break;
                    }
                }
            }
        }
        if self.reading.is_none() && self.reread.is_some_and(|at| now > at) {
            self.read_all(now);
        }
        changed
    }

    /// Whether tables are being read, for which [`Router::poll`] is due soon.
    pub(crate) fn is_reading(&self) -> bool {
        self.reading.is_some()
    }

    /// The way for a packet. Never waits; asks the kernel at most twice. `may_ask` says whether a neighbour may be asked for that
    /// somebody chose; a router of the kernel's own always is.
    pub(crate) fn lookup(
        &mut self,
        now: u64,
        query: &Query,
        may_ask: &mut dyn FnMut() -> bool,
    ) -> Lookup {
        let six = query.destination.is_ipv6();
        if query.source.is_some_and(|source| source.is_ipv6() != six) {
            return Lookup::Unreachable(libc::EAFNOSUPPORT);
        }
        let answer = match query.gateway {
            None => self.answer(now, query),
            Some(gateway) => self.through(now, query, gateway),
        };
        match answer {
            Answer::Refused(errno) => Lookup::Unreachable(errno),
            Answer::Unknown => Lookup::Pending,
            Answer::Way(way) => {
                let is_chosen = way.gateway.is_none() || query.gateway.is_some();
                self.complete(now, query.destination, way, || !is_chosen || may_ask())
            }
        }
    }

    /// Whether this machine has `address`.
    pub(crate) fn is_local(&self, address: IpAddr) -> bool {
        self.tables.interfaces.is_local(address)
    }

    /// Whether `address` is a broadcast address of a network that this machine is in (or of all).
    pub(crate) fn is_broadcast(&self, address: IpAddr) -> bool {
        self.tables.interfaces.is_broadcast(address)
    }

    /// Devices whose packets show up again on a master, for `Sockets::ignore`.
    pub(crate) fn enslaved(&self) -> Vec<u32> {
        self.tables.interfaces.enslaved()
    }

    /// Devices with their names.
    pub(crate) fn interface_names(&self) -> impl Iterator<Item = (u32, &str)> {
        self.tables.interfaces.names()
    }

    /// Adds device and neighbour to a way.
    #[inline]
    fn complete(
        &mut self,
        now: u64,
        destination: IpAddr,
        way: Way,
        may_ask: impl FnOnce() -> bool,
    ) -> Lookup {
        let Some(link) = self.tables.interfaces.link(way.interface).filter(|link| link.up) else {
            return Lookup::Unreachable(libc::ENETDOWN);
        };
        let most = link.mtu(destination.is_ipv6());
        let mtu = way.mtu.map_or(most, |mtu| mtu.min(most));
        let next_hop = way.gateway.unwrap_or(destination);
        let Way { interface, source, .. } = way;
        let egress = if self.raw_only || way.local || !link.ethernet {
            Egress::Raw { interface }
        } else {
            match self.neighbours.find(now, interface, next_hop, may_ask) {
                Found::Address(address) => Egress::Ethernet { interface, address },
                Found::Asking => return Lookup::Pending,
                Found::Unasked => return Lookup::Unasked,
                Found::NoRoom(errno) => return Lookup::Unreachable(errno),
                Found::Silent => return Lookup::Unreachable(libc::EHOSTUNREACH),
            }
        };
        Lookup::Ready(Route { interface, source, next_hop, mtu, egress })
    }

    /// The kernel's answer for a query without a gateway: a remembered one or a new one.
    #[inline]
    fn answer(&mut self, now: u64, query: &Query) -> Answer {
        let family = usize::from(query.destination.is_ipv6());
        let piece = self.tables.prefixes[family].find(query.destination);
        if piece.special || self.tables.rules[family] > 0 {
            return self.answer_for_one(now, query);
        }
        let known = self.tables.prefixes[family].answer(piece).copied();
        let known = known.filter(|cached| self.is_fresh(now, cached));
        let answer = match known {
            Some(cached) => cached.answer,
            None => {
                let told = self.ask(&Query::to(query.destination));
                if told.for_one {
                    return self.keep_for_one(now, query, told.answer);
                }
                let (generation, answer) = (self.generation, told.answer);
                if answer != Answer::Unknown {
                    self.tables.prefixes[family]
                        .remember(piece, Cached { generation, at: now, answer });
                }
                answer
            }
        };
        // Without rules the source decides nothing.
        match (answer, query.source) {
            (Answer::Way(way), Some(source)) => Answer::Way(Way { source, ..way }),
            _ => answer,
        }
    }

    fn answer_for_one(&mut self, now: u64, query: &Query) -> Answer {
        match self.destinations.get(query).filter(|cached| self.is_fresh(now, cached)) {
            Some(cached) => cached.answer,
            None => {
                let told = self.ask(query);
                self.keep_for_one(now, query, told.answer)
            }
        }
    }

    fn keep_for_one(&mut self, now: u64, query: &Query, answer: Answer) -> Answer {
        if answer == Answer::Unknown {
            return answer;
        }
        if self.destinations.len() >= MOST_DESTINATIONS {
            self.destinations.clear();
        }
        let cached = Cached { generation: self.generation, at: now, answer };
        self.destinations.insert(*query, cached);
        answer
    }

    #[inline]
    fn is_fresh(&self, now: u64, cached: &Cached) -> bool {
        cached.generation == self.generation && now.saturating_sub(cached.at) < ANSWER_AGE_NS
    }

    /// The way through a neighbour that the caller chose.
    fn through(&mut self, now: u64, query: &Query, gateway: IpAddr) -> Answer {
        let direct = self.answer(now, &Query { gateway: None, ..*query });
        let to_gateway = Query { source: query.source, ..Query::to(gateway) };
        if direct == Answer::Unknown {
            return direct;
        }
        let interface = match (gateway, direct) {
            // Such an address says nothing about where: there, or wherever the route leads.
            (IpAddr::V6(address), _) if address.is_unicast_link_local() => {
                let known = self.neighbours.interface_of(gateway);
                match direct {
                    Answer::Way(way) => Some(way.interface),
                    _ => known,
                }
            }
            _ => match self.answer(now, &to_gateway) {
                // Where rules know a default route alone, a neighbour is reached by way of itself.
                Answer::Way(way) if way.gateway.is_none_or(|it| it == gateway) && !way.local => {
                    Some(way.interface)
                }
                Answer::Unknown => return Answer::Unknown,
                _ => None,
            },
        };
        let Some(interface) = interface else { return Answer::Refused(libc::EHOSTUNREACH) };
        // There the kernel chooses the way, by the destination alone.
        if !self.tables.interfaces.link(interface).is_some_and(|link| link.ethernet) {
            return Answer::Refused(libc::EOPNOTSUPP);
        }
        let source = match (query.source, direct) {
            (Some(source), _) => Some(source),
            (None, Answer::Way(way)) if way.interface == interface => Some(way.source),
            _ => match self.answer(now, &to_gateway) {
                Answer::Way(way) if gateway.is_ipv6() == query.destination.is_ipv6() => {
                    Some(way.source)
                }
                _ => None,
            },
        };
        match source {
            Some(source) => Answer::Way(Way {
                interface,
                gateway: Some(gateway),
                source,
                mtu: None,
                local: false,
            }),
            None => Answer::Refused(libc::EADDRNOTAVAIL),
        }
    }

    fn ask(&mut self, query: &Query) -> Told {
        // The kernel looks up routes for its own addresses only.
        let source = query.source.filter(|source| self.tables.interfaces.is_local(*source));
        let asked = Query { source, ..*query };
        let mut told = self.netlink.route(&asked);
        if let (Answer::Way(way), Some(source)) = (&mut told.answer, query.source) {
            way.source = source;
        }
        told
    }
}

#[cfg(test)]
mod tests;
