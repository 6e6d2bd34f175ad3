//! Devices of this machine and their addresses.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use netlink_packet_route::{
    AddressFamily,
    address::{AddressAttribute, AddressFlags, AddressMessage},
    link::{
        AfSpecInet6, AfSpecUnspec, InfoPortKind, LinkAttribute, LinkFlags, LinkInfo, LinkLayerType,
        LinkMessage,
    },
};

/// What IPv6 asks of every link; a smaller value in a report is none.
const MIN_MTU6: u32 = 1280;

/// A device.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Link {
    pub(super) up: bool,
    /// Its neighbours have Ethernet addresses and are found by asking.
    pub(super) ethernet: bool,
    /// Octets of a packet.
    mtu: u32,
    /// Octets of an IPv6 packet, where routers said less than `mtu`.
    mtu6: u32,
    /// What it receives is received again by its master.
    enslaved: bool,
    /// As the kernel keeps it: with zeros behind.
    name: [u8; libc::IFNAMSIZ],
}

impl Link {
    fn read(message: &LinkMessage) -> Self {
        let flags = message.header.flags;
        let ethernet = message.header.link_layer_type == LinkLayerType::Ether
            && !flags.intersects(LinkFlags::Noarp | LinkFlags::Loopback);
        // Without a carrier the kernel drops what is sent to a neighbour that is noted for good, and says that it was sent.
        let has_carrier = !ethernet || flags.contains(LinkFlags::LowerUp);
        let up = flags.contains(LinkFlags::Up) && has_carrier;
        let mut link = Self { up, ethernet, ..Self::default() };
        let (mut master, mut virtual_routing) = (false, false);
        for attribute in &message.attributes {
            match attribute {
                LinkAttribute::IfName(name) => {
                    let octets = name.len().min(link.name.len());
                    link.name[..octets].copy_from_slice(&name.as_bytes()[..octets]);
                }
                LinkAttribute::Mtu(mtu) => link.mtu = *mtu,
                LinkAttribute::Controller(index) => master = *index != 0,
                LinkAttribute::LinkInfo(infos) => {
                    virtual_routing = infos
                        .iter()
                        .any(|info| matches!(info, LinkInfo::PortKind(InfoPortKind::Vrf)));
                }
                LinkAttribute::AfSpecUnspec(families) => {
                    link.mtu6 = mtu6(families).unwrap_or(0);
                }
                _ => {}
            }
        }
        // Devices in a virtual routing domain have a master too, but that does not receive.
        link.enslaved = master && !virtual_routing;
        link
    }

    /// Largest packet of a family, octets.
    pub(super) fn mtu(&self, six: bool) -> u32 {
        if six && (MIN_MTU6..self.mtu).contains(&self.mtu6) { self.mtu6 } else { self.mtu }
    }
}

fn mtu6(families: &[AfSpecUnspec]) -> Option<u32> {
    families.iter().find_map(|family| match family {
        AfSpecUnspec::Inet6(values) => values.iter().find_map(|value| match value {
            AfSpecInet6::DevConf(configuration) => u32::try_from(configuration.mtu6).ok(),
            _ => None,
        }),
        _ => None,
    })
}

/// An address of a device.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Address {
    prefix_length: u8,
    broadcast: Option<Ipv4Addr>,
    /// Not yet to be used, or no longer.
    idle: bool,
}

/// All devices and addresses.
#[derive(Debug, Default)]
pub(super) struct Interfaces {
    links: HashMap<u32, Link>,
    /// In the order of capabilities and defaults: by device, then by address.
    addresses: BTreeMap<(u32, IpAddr), Address>,
    local: HashSet<IpAddr>,
    broadcasts: HashSet<Ipv4Addr>,
}

impl Interfaces {
    /// A device, if there is one.
    pub(super) fn link(&self, index: u32) -> Option<&Link> {
        self.links.get(&index)
    }

    /// All devices with their names.
    pub(super) fn names(&self) -> impl Iterator<Item = (u32, &str)> {
        self.links.iter().filter_map(|(index, link)| {
            let name = link.name.split(|octet| *octet == 0).next()?;
            Some((*index, std::str::from_utf8(name).ok()?))
        })
    }

    /// Devices whose packets are received again by their master.
    pub(super) fn enslaved(&self) -> Vec<u32> {
        let enslaved = self.links.iter().filter(|(_, link)| link.enslaved);
        enslaved.map(|(index, _)| *index).collect()
    }

    /// Whether this machine has the address.
    pub(super) fn is_local(&self, address: IpAddr) -> bool {
        match address {
            // All of 127/8 is this machine.
            IpAddr::V4(address) if address.is_loopback() => true,
            _ => self.local.contains(&address),
        }
    }

    /// Whether a packet to the address goes to everybody on some network.
    pub(super) fn is_broadcast(&self, address: IpAddr) -> bool {
        match address {
            IpAddr::V4(address) => address.is_broadcast() || self.broadcasts.contains(&address),
            IpAddr::V6(_) => false,
        }
    }

    /// Addresses that others can answer to, IPv4 first.
    pub(super) fn addresses(&self) -> Vec<IpAddr> {
        let reachable = |address: &IpAddr| match address {
            IpAddr::V4(address) => !address.is_loopback() && !address.is_link_local(),
            IpAddr::V6(address) => !address.is_loopback() && !address.is_unicast_link_local(),
        };
        let idle = |address: &Address| address.idle;
        let of_family = |six: bool| {
            let entries = self.addresses.iter().filter(move |(_, address)| !idle(address));
            entries.map(|((_, address), _)| *address).filter(move |ip| ip.is_ipv6() == six)
        };
        let mut list: Vec<IpAddr> =
            of_family(false).chain(of_family(true)).filter(reachable).collect();
        let mut seen = HashSet::new();
        list.retain(|address| seen.insert(*address));
        list
    }

    /// IPv6 addresses that can be a source, with the length of their prefix.
    pub(super) fn sources6(&self) -> impl Iterator<Item = (Ipv6Addr, u8)> {
        self.addresses.iter().filter_map(|((_, ip), address)| match ip {
            IpAddr::V6(ip) if !ip.is_unicast_link_local() && !ip.is_loopback() => {
                Some((*ip, address.prefix_length))
            }
            _ => None,
        })
    }

    /// Takes in a report about a device. True where it matters.
    pub(super) fn link_report(&mut self, message: &LinkMessage, gone: bool) -> bool {
        // Bridges report on their ports in a family of their own, and less.
        if message.header.interface_family != AddressFamily::Unspec {
            return false;
        }
        let index = message.header.index;
        if gone {
            self.addresses.retain(|(owner, _), _| *owner != index);
            self.index_addresses();
            return self.links.remove(&index).is_some();
        }
        // Wireless drivers report a scan with the name and the flags alone.
        let is_whole = |attribute: &LinkAttribute| matches!(attribute, LinkAttribute::Mtu(_));
        if !message.attributes.iter().any(is_whole) {
            return false;
        }
        let mut link = Link::read(message);
        let before = self.links.get(&index).copied();
        // Not every report says it.
        if link.mtu6 == 0 {
            link.mtu6 = before.map_or(0, |before| before.mtu6);
        }
        self.links.insert(index, link);
        before != Some(link)
    }

    /// Takes in a report about an address. True where it matters.
    pub(super) fn address_report(&mut self, message: &AddressMessage, gone: bool) -> bool {
        let header = &message.header;
        let mut flags = AddressFlags::from_bits_retain(u32::from(header.flags.bits()));
        let (mut local, mut peer, mut broadcast) = (None, None, None);
        for attribute in &message.attributes {
            match attribute {
                AddressAttribute::Local(address) => local = Some(*address),
                AddressAttribute::Address(address) => peer = Some(*address),
                AddressAttribute::Broadcast(address) => broadcast = Some(*address),
                AddressAttribute::Flags(all) => flags = *all,
                _ => {}
            }
        }
        let Some(ip) = local.or(peer) else { return false };
        let key = (header.index, ip);
        let changed = if gone {
            self.addresses.remove(&key).is_some()
        } else {
            let unproven = flags.contains(AddressFlags::Tentative)
                && !flags.contains(AddressFlags::Optimistic);
            let idle = unproven || flags.contains(AddressFlags::Dadfailed);
            let address = Address { prefix_length: header.prefix_len, broadcast, idle };
            self.addresses.insert(key, address) != Some(address)
        };
        if changed {
            self.index_addresses();
        }
        changed
    }

    fn index_addresses(&mut self) {
        let used = self.addresses.iter().filter(|(_, address)| !address.idle);
        self.local = used.map(|((_, ip), _)| *ip).collect();
        self.broadcasts.clear();
        for ((_, ip), address) in &self.addresses {
            self.broadcasts.extend(address.broadcast);
            if let IpAddr::V4(ip) = ip
                && address.prefix_length < 31
            {
                let host = u32::MAX.checked_shr(u32::from(address.prefix_length)).unwrap_or(0);
                // The first address of a network was once its broadcast address, and still is for
                // some machines.
                self.broadcasts
                    .extend([u32::from(*ip) | host, u32::from(*ip) & !host].map(Ipv4Addr::from));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ethernet_without_a_carrier_is_down_and_a_tunnel_that_nobody_reads_is_not() {
        let is_up = |flags: LinkFlags, link_layer_type| {
            let mut report = LinkMessage::default();
            report.header.link_layer_type = link_layer_type;
            report.header.flags = flags;
            Link::read(&report).up
        };
        assert!(is_up(LinkFlags::Up | LinkFlags::LowerUp, LinkLayerType::Ether));
        assert!(!is_up(LinkFlags::Up, LinkLayerType::Ether));
        assert!(is_up(LinkFlags::Up, LinkLayerType::None));
        assert!(!is_up(LinkFlags::LowerUp, LinkLayerType::Ether));
    }

    #[test]
    fn a_report_without_an_mtu_changes_nothing() {
        let mut interfaces = Interfaces::default();
        let mut report = LinkMessage::default();
        report.header.index = 3;
        report.header.link_layer_type = LinkLayerType::Ether;
        report.header.flags = LinkFlags::Up;
        report.attributes = vec![LinkAttribute::IfName("wlan0".into()), LinkAttribute::Mtu(1500)];
        assert!(interfaces.link_report(&report, false));
        // As wireless drivers send it after a scan.
        report.attributes.pop();
        assert!(!interfaces.link_report(&report, false));
        assert_eq!(interfaces.link(3).map(|link| link.mtu(false)), Some(1500));
    }
}
