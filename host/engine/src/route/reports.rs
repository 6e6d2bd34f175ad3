//! What the kernel's messages mean for what we know.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use netlink_packet_route::{
    AddressFamily, RouteNetlinkMessage,
    address::AddressMessage,
    addrlabel::{AddrLabelAttribute, AddrLabelMessage},
    link::{LinkAttribute, LinkExtentMask, LinkMessage},
    neighbour::NeighbourMessage,
    route::{RouteAttribute, RouteFlags, RouteMessage},
    rule::{RuleAction, RuleAttribute, RuleMessage},
};

use super::{
    Query, REREAD_NS, RETRY_NS, Router, STALE,
    answer::{Answer, Told, question, read, read_address},
    interfaces::Interfaces,
    netlink::{Message, Netlink, Progress},
    prefixes::{Prefix, Prefixes},
};

/// After so many changed routes at once all answers are thrown away instead of one by one.
const MANY: usize = 64;

/// Destinations that IPv6 chooses the source address by, where the operator has said nothing else.
///
/// Source: RFC 6724, section 2.1, and the scopes of RFC 4291.
const LABELS: [(Ipv6Addr, u8); 9] = [
    (Ipv6Addr::LOCALHOST, 128),
    (Ipv6Addr::UNSPECIFIED, 96),
    (Ipv6Addr::new(0, 0, 0, 0, 0, 0xffff, 0, 0), 96),
    (Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16),
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 32),
    (Ipv6Addr::new(0xfc00, 0, 0, 0, 0, 0, 0, 0), 7),
    (Ipv6Addr::new(0xfec0, 0, 0, 0, 0, 0, 0, 0), 10),
    (Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0), 10),
    (Ipv6Addr::new(0x3ffe, 0, 0, 0, 0, 0, 0, 0), 16),
];

/// Tables of the rules that every system has.
const USUAL_TABLES: [u8; 3] = [libc::RT_TABLE_LOCAL, libc::RT_TABLE_MAIN, libc::RT_TABLE_DEFAULT];

/// `RTM_NEWNEXTHOP` and `RTM_DELNEXTHOP` of the kernel's header.
const NEXT_HOP_MESSAGES: [u16; 2] = [104, 105];
/// What makes pieces.
const ROUTE_MESSAGES: [u16; 4] =
    [libc::RTM_NEWROUTE, libc::RTM_DELROUTE, libc::RTM_NEWRULE, libc::RTM_DELRULE];

/// What the kernel's tables say, but for neighbours.
#[derive(Debug)]
pub(super) struct Tables {
    pub(super) interfaces: Interfaces,
    /// IPv4 and IPv6.
    pub(super) prefixes: [Prefixes; 2],
    /// Routing rules beside those that every system has, of IPv4 and IPv6.
    pub(super) rules: [usize; 2],
    /// Kinds of messages that the library could not read since the tables were last read.
    missed: Vec<u16>,
}

/// Tables that are not complete yet.
#[derive(Debug)]
pub(super) struct Reading {
    tables: Tables,
    neighbours: Vec<NeighbourMessage>,
}

/// What a message does to our answers.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Effect {
    /// Nothing.
    None,
    /// Routes in a prefix are new or gone; `true` where the prefix was special before.
    Prefix(Prefix, bool),
    /// Any may be wrong.
    All,
}

impl Router {
    /// Begins to read all tables.
    pub(super) fn read_all(&mut self, now: u64) {
        self.netlink.discard_reports();
        (self.read_at, self.reread) = (now, None);
        self.reading = Some(Box::new(Reading { tables: Tables::new(), neighbours: Vec::new() }));
        self.invalidate();
        let mut links = LinkMessage::default();
        // Counters are long, and of no interest.
        links.attributes.push(LinkAttribute::ExtMask(vec![LinkExtentMask::SkipStats]));
        let mut labels = AddrLabelMessage::default();
        labels.header.family = AddressFamily::Inet6;
        self.netlink.want(vec![
            RouteNetlinkMessage::GetLink(links),
            RouteNetlinkMessage::GetAddress(AddressMessage::default()),
            rules(AddressFamily::Inet),
            rules(AddressFamily::Inet6),
            RouteNetlinkMessage::GetAddrLabel(labels),
            routes(AddressFamily::Inet),
            routes(AddressFamily::Inet6),
            RouteNetlinkMessage::GetNeighbour(NeighbourMessage::default()),
        ]);
    }

    /// Takes in a bite of the tables that are being read. True where that completed them.
    pub(super) fn take_bite(&mut self, now: u64) -> bool {
        let Some(reading) = &mut self.reading else { return false };
        let progress = self.netlink.dump(|message| match message {
            Message::Known(RouteNetlinkMessage::NewNeighbour(neighbour)) => {
                reading.neighbours.push(neighbour);
            }
            Message::Known(message) => {
                reading.tables.take(&message);
            }
            Message::Unknown(kind) => {
                reading.tables.miss(kind);
            }
        });
        match (progress, self.reading.take()) {
            (Progress::Complete, Some(reading)) => {
                self.tables = reading.tables;
                self.tables.add_source_pieces();
                self.neighbours.begin_again();
                for neighbour in &reading.neighbours {
                    self.neighbours.report(now, neighbour, false);
                }
                self.invalidate();
                if self.netlink.has_torn {
                    self.reread = Some(now + REREAD_NS);
                }
                true
            }
            (Progress::Lost, _) => {
                // Those before are better than half of the next ones.
                self.reread = Some(now + RETRY_NS);
                false
            }
            (_, reading) => {
                self.reading = reading;
                false
            }
        }
    }

    /// Takes in a datagram of reports; also whether they matter.
    pub(super) fn take_reports(&mut self, now: u64) -> (Progress, bool) {
        let (mut changed, mut all, mut read_all) = (false, false, false);
        let mut prefixes = Vec::new();
        let progress = self.netlink.reports(|message| match message {
            Message::Known(RouteNetlinkMessage::NewRule(_) | RouteNetlinkMessage::DelRule(_)) => {
                // Until they are counted again every destination is asked for.
                self.tables.rules = [1, 1];
                (all, read_all) = (true, true);
            }
            Message::Known(RouteNetlinkMessage::NewNeighbour(neighbour)) => {
                changed |= self.neighbours.report(now, &neighbour, false);
            }
            Message::Known(RouteNetlinkMessage::DelNeighbour(neighbour)) => {
                changed |= self.neighbours.report(now, &neighbour, true);
            }
            Message::Known(message) => match self.tables.take(&message) {
                Effect::None => {}
                Effect::Prefix(prefix, was_special) => {
                    // It may be an ordinary one now, which only the whole table tells.
                    if was_special {
                        self.reread.get_or_insert(self.read_at + REREAD_NS);
                    }
                    prefixes.push(prefix);
                }
                Effect::All => all = true,
            },
            Message::Unknown(kind) => all |= self.tables.miss(kind) == Effect::All,
        });
        if read_all {
            self.read_all(now);
        } else if all || prefixes.len() > MANY {
            self.invalidate();
        } else if !prefixes.is_empty() {
            self.destinations.clear();
            for prefix in &prefixes {
                self.tables.prefixes[usize::from(prefix.is_six())].forget(*prefix, STALE);
            }
        }
        (progress, changed || all || !prefixes.is_empty())
    }

    fn invalidate(&mut self) {
        self.generation = self.generation.checked_add(1).unwrap_or(STALE + 1);
        self.destinations.clear();
    }
}

impl Tables {
    /// Of a machine without devices.
    pub(super) fn new() -> Self {
        let prefixes = [Prefixes::new(), Prefixes::new()];
        let interfaces = Interfaces::default();
        let mut tables = Self { interfaces, prefixes, rules: [0, 0], missed: Vec::new() };
        for (address, length) in LABELS {
            tables.add_prefix(Prefix::new(address.into(), length), false);
        }
        tables
    }

    fn take(&mut self, message: &RouteNetlinkMessage) -> Effect {
        let changed = match message {
            RouteNetlinkMessage::NewLink(link) => self.interfaces.link_report(link, false),
            RouteNetlinkMessage::DelLink(link) => self.interfaces.link_report(link, true),
            RouteNetlinkMessage::NewAddress(address) => {
                let changed = self.interfaces.address_report(address, false);
                if changed {
                    self.add_source_pieces();
                }
                changed
            }
            RouteNetlinkMessage::DelAddress(address) => {
                self.interfaces.address_report(address, true)
            }
            RouteNetlinkMessage::NewRoute(route) | RouteNetlinkMessage::DelRoute(route) => {
                return self.take_route(route).unwrap_or(Effect::None);
            }
            RouteNetlinkMessage::NewRule(rule) => {
                let six = rule.header.family == AddressFamily::Inet6;
                self.rules[usize::from(six)] += usize::from(!is_usual(rule));
                !is_usual(rule)
            }
            RouteNetlinkMessage::NewAddrLabel(label) => {
                let address = label.attributes.iter().find_map(|attribute| match attribute {
                    AddrLabelAttribute::Address(address) => Some(*address),
                    _ => None,
                });
                if let Some(address) = address {
                    self.add_prefix(Prefix::new(address, label.header.prefix_len), false);
                }
                false
            }
            _ => false,
        };
        if changed { Effect::All } else { Effect::None }
    }

    /// A message that the library cannot read. Where it may be about a piece that we do not know, every destination is asked
    /// for until the tables are read again.
    fn miss(&mut self, kind: u16) -> Effect {
        let is_new = !self.missed.contains(&kind);
        if is_new {
            self.missed.push(kind);
        }
        if ROUTE_MESSAGES.contains(&kind) {
            self.rules = [1, 1];
            if is_new {
                tracing::warn!(
                    kind,
                    "a message about routes is of no known form: the kernel is asked for each destination"
                );
            }
        } else if !NEXT_HOP_MESSAGES.contains(&kind) {
            if is_new {
                tracing::warn!(
                    kind,
                    "a message about devices, addresses or neighbours is of no known form"
                );
            }
            return Effect::None;
        }
        Effect::All
    }

    /// A route that is there, is new, or is gone: its prefix is a piece in each case.
    fn take_route(&mut self, route: &RouteMessage) -> Option<Effect> {
        // What the kernel learned about single destinations is not part of the table.
        if route.header.flags.contains(RouteFlags::Cloned) {
            return None;
        }
        let (mut destination, mut special) = (None, route.header.tos != 0);
        for attribute in &route.attributes {
            match attribute {
                RouteAttribute::Destination(address) => destination = read_address(address),
                RouteAttribute::MultiPath(_) | RouteAttribute::NhId(_) => special = true,
                RouteAttribute::Source(_) => special |= route.header.source_prefix_length > 0,
                _ => {}
            }
        }
        let any = match route.header.address_family {
            AddressFamily::Inet => IpAddr::from(Ipv4Addr::UNSPECIFIED),
            AddressFamily::Inet6 => IpAddr::from(Ipv6Addr::UNSPECIFIED),
            _ => return None,
        };
        let length = route.header.destination_prefix_length;
        let prefix = Prefix::new(destination.unwrap_or(any), length)?;
        Some(Effect::Prefix(prefix, self.add_prefix(Some(prefix), special)))
    }

    /// True where the prefix was known, and special.
    fn add_prefix(&mut self, prefix: Option<Prefix>, special: bool) -> bool {
        let Some(prefix) = prefix else { return false };
        self.prefixes[usize::from(prefix.is_six())].add(prefix, special)
    }

    /// The source of an IPv6 packet depends on how many bits its destination shares with each of
    /// our addresses (RFC 6724, section 5, rule 8), so that each number of bits is a piece.
    fn add_source_pieces(&mut self) {
        let sources: Vec<_> = self.interfaces.sources6().collect();
        if sources.len() > 1 {
            for (address, length) in sources {
                for length in 1..=length {
                    self.add_prefix(Prefix::new(address.into(), length), false);
                }
            }
        }
    }
}

impl Netlink {
    /// Asks the kernel for a route.
    pub(super) fn route(&mut self, query: &Query) -> Told {
        let all = |answer| Told { answer, for_one: false };
        match self.ask(RouteNetlinkMessage::GetRoute(question(query))) {
            Ok(Ok(RouteNetlinkMessage::NewRoute(message))) => read(query, &message),
            Ok(Ok(_)) => all(Answer::Refused(libc::ENETUNREACH)),
            Err(_) | Ok(Err(libc::ENOMEM | libc::ENOBUFS | libc::EAGAIN | libc::EINTR)) => {
                all(Answer::Unknown)
            }
            Ok(Err(errno)) => all(Answer::Refused(errno)),
        }
    }
}

fn rules(family: AddressFamily) -> RouteNetlinkMessage {
    let mut message = RuleMessage::default();
    message.header.family = family;
    RouteNetlinkMessage::GetRule(message)
}

fn routes(family: AddressFamily) -> RouteNetlinkMessage {
    let mut message = RouteMessage::default();
    message.header.address_family = family;
    RouteNetlinkMessage::GetRoute(message)
}

/// Whether a rule is one that every system has: all packets, to one of the usual tables.
fn is_usual(rule: &RuleMessage) -> bool {
    let header = &rule.header;
    let everything = header.dst_len == 0 && header.src_len == 0 && header.tos == 0;
    let harmless = |attribute: &RuleAttribute| {
        matches!(
            attribute,
            RuleAttribute::Priority(_)
                | RuleAttribute::Table(_)
                | RuleAttribute::Protocol(_)
                | RuleAttribute::SuppressPrefixLen(u32::MAX)
                | RuleAttribute::SuppressIfGroup(u32::MAX)
        )
    };
    everything
        && header.action == RuleAction::ToTable
        && USUAL_TABLES.contains(&header.table)
        && rule.attributes.iter().all(harmless)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_that_cannot_be_read_makes_every_destination_be_asked_for() {
        for (kind, effect, rules) in [
            (libc::RTM_NEWROUTE, Effect::All, [1, 1]),
            (NEXT_HOP_MESSAGES[0], Effect::All, [0, 0]),
            (libc::RTM_NEWLINK, Effect::None, [0, 0]),
        ] {
            let mut tables = Tables::new();
            for _ in 0..2 {
                assert_eq!((tables.miss(kind), tables.rules), (effect, rules), "{kind}");
            }
            assert_eq!(tables.missed, [kind]);
        }
    }
}
