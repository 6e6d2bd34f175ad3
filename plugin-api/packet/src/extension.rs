//! Objects behind the quote of an ICMP error.
//!
//! Source: RFC 4884 (structure), RFC 4950 (MPLS), RFC 5837 (interface information).

use std::net::IpAddr;

use crate::{checksum, long, unmapped, word};

/// One object.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Extension {
    /// The label stack that the packet came in with, outermost first.
    Mpls(Vec<MplsEntry>),
    /// An interface of the router.
    Interface(InterfaceInformation),
    /// Any other.
    Unknown {
        /// Class number.
        class: u8,
        /// Subtype.
        subtype: u8,
        /// Behind the object's header.
        payload: Vec<u8>,
    },
}

/// One entry of a label stack.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct MplsEntry {
    /// 20 bits.
    pub label: u32,
    /// Traffic class, 3 bits.
    pub traffic_class: u8,
    /// The last of the stack.
    pub bottom: bool,
    /// Of the label.
    pub ttl: u8,
}

/// What a router says of one of its interfaces.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct InterfaceInformation {
    /// What the packet had to do with it.
    pub role: InterfaceRole,
    /// As in SNMP.
    pub index: Option<u32>,
    /// An address of it.
    pub address: Option<IpAddr>,
    /// At most 63 octets.
    pub name: Option<String>,
    /// Octets.
    pub mtu: Option<u32>,
}

/// Part that an interface played.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum InterfaceRole {
    /// The packet came in by it.
    #[default]
    Incoming,
    /// A part of a bundle that it came in by.
    SubIncoming,
    /// It would have gone out by it.
    Outgoing,
    /// The next hop's.
    NextHop,
}

/// Reads an extension structure that begins with its header.
///
/// `None` where it is none: a version other than 2, a wrong checksum, or none at all with objects
/// that do not end exactly with the data. An object that makes no sense ends the list.
#[must_use]
pub fn parse(structure: &[u8]) -> Option<Vec<Extension>> {
    if structure.len() < 4 || structure[0] >> 4 != 2 {
        return None;
    }
    let computed = word(structure, 2)? != 0;
    if computed && checksum::finish(checksum::sum(structure, 0)) != 0 {
        return None;
    }
    let mut found = Vec::new();
    let mut rest = &structure[4..];
    while let (Some(octets), Some(&[class, subtype])) =
        (word(rest, 0), rest.get(2..4).and_then(|two| two.first_chunk::<2>()))
    {
        let octets = usize::from(octets);
        if octets < 4 || octets > rest.len() {
            break;
        }
        found.push(object(class, subtype, &rest[4..octets]));
        rest = &rest[octets..];
    }
    (computed || rest.is_empty()).then_some(found)
}

fn object(class: u8, subtype: u8, payload: &[u8]) -> Extension {
    match (class, subtype) {
        (1, 1) if payload.len().is_multiple_of(4) => {
            Extension::Mpls(payload.chunks_exact(4).map(mpls_entry).collect())
        }
        (2, bits) => interface(bits, payload).map_or_else(
            || Extension::Unknown { class, subtype, payload: payload.to_vec() },
            Extension::Interface,
        ),
        _ => Extension::Unknown { class, subtype, payload: payload.to_vec() },
    }
}

fn mpls_entry(octets: &[u8]) -> MplsEntry {
    let entry = long(octets, 0).unwrap_or_default();
    MplsEntry {
        label: entry >> 12,
        traffic_class: (entry >> 9) as u8 & 7,
        bottom: entry & 0x100 != 0,
        ttl: entry as u8,
    }
}

fn interface(bits: u8, mut payload: &[u8]) -> Option<InterfaceInformation> {
    fn take<'a>(payload: &mut &'a [u8], octets: usize) -> Option<&'a [u8]> {
        let (taken, rest) = payload.split_at_checked(octets)?;
        *payload = rest;
        Some(taken)
    }
    let mut found = InterfaceInformation {
        role: match bits >> 6 {
            0 => InterfaceRole::Incoming,
            1 => InterfaceRole::SubIncoming,
            2 => InterfaceRole::Outgoing,
            _ => InterfaceRole::NextHop,
        },
        ..InterfaceInformation::default()
    };
    if bits & 8 != 0 {
        found.index = long(take(&mut payload, 4)?, 0);
    }
    if bits & 4 != 0 {
        found.address = Some(match word(take(&mut payload, 4)?, 0)? {
            1 => IpAddr::from(*take(&mut payload, 4)?.first_chunk::<4>()?),
            2 => IpAddr::from(*take(&mut payload, 16)?.first_chunk::<16>()?),
            _ => return None,
        });
    }
    if bits & 2 != 0 {
        let octets = usize::from(*payload.first()?);
        let name = take(&mut payload, octets.clamp(1, 64))?.get(1..)?;
        let end = name.iter().position(|octet| *octet == 0).unwrap_or(name.len());
        found.name = Some(String::from_utf8_lossy(&name[..end]).into_owned());
    }
    if bits & 1 != 0 {
        found.mtu = long(take(&mut payload, 4)?, 0);
    }
    Some(found)
}

/// An extension structure that holds `objects`, with its checksum.
#[must_use]
pub fn emit(objects: &[Extension]) -> Vec<u8> {
    let mut out = vec![0x20, 0, 0, 0];
    for object in objects {
        let (class, subtype, payload) = match object {
            Extension::Mpls(stack) => (1, 1, stack.iter().flat_map(mpls_octets).collect()),
            Extension::Interface(interface) => {
                let (bits, payload) = interface_octets(interface);
                (2, bits, payload)
            }
            Extension::Unknown { class, subtype, payload } => (*class, *subtype, payload.clone()),
        };
        out.extend((payload.len() as u16 + 4).to_be_bytes());
        out.extend([class, subtype]);
        out.extend(payload);
    }
    let checksum = checksum::finish(checksum::sum(&out, 0));
    out[2..4].copy_from_slice(&checksum.to_be_bytes());
    out
}

fn mpls_octets(entry: &MplsEntry) -> [u8; 4] {
    let bottom = u32::from(entry.bottom);
    let bits = u32::from(entry.traffic_class & 7) << 9 | bottom << 8 | u32::from(entry.ttl);
    (entry.label << 12 | bits).to_be_bytes()
}

fn interface_octets(interface: &InterfaceInformation) -> (u8, Vec<u8>) {
    let mut bits = (interface.role as u8) << 6;
    let mut out = Vec::new();
    if let Some(index) = interface.index {
        bits |= 8;
        out.extend(index.to_be_bytes());
    }
    if let Some(address) = interface.address {
        bits |= 4;
        match unmapped(crate::mapped(address)) {
            IpAddr::V4(address) => {
                out.extend([0, 1, 0, 0]);
                out.extend(address.octets());
            }
            IpAddr::V6(address) => {
                out.extend([0, 2, 0, 0]);
                out.extend(address.octets());
            }
        }
    }
    if let Some(name) = &interface.name {
        bits |= 2;
        let mut field = vec![0];
        field.extend(name.bytes().take(62));
        field.resize(field.len().next_multiple_of(4), 0);
        field[0] = field.len() as u8;
        out.extend(field);
    }
    if let Some(mtu) = interface.mtu {
        bits |= 1;
        out.extend(mtu.to_be_bytes());
    }
    (bits, out)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn objects() -> Vec<Extension> {
        let entry = MplsEntry { label: 0x1_2345, traffic_class: 5, bottom: true, ttl: 3 };
        vec![
            Extension::Mpls(vec![MplsEntry { bottom: false, ..entry }, entry]),
            Extension::Interface(InterfaceInformation {
                role: InterfaceRole::Outgoing,
                index: Some(7),
                address: Some("2001:db8::7".parse().unwrap()),
                name: Some("eth7".to_owned()),
                mtu: Some(1500),
            }),
            Extension::Unknown { class: 9, subtype: 1, payload: vec![1, 2, 3, 4] },
        ]
    }

    #[test]
    fn objects_read_back_as_they_were_written() {
        assert_eq!(parse(&emit(&objects())), Some(objects()));
    }

    #[test]
    fn a_structure_without_checksum_counts_only_when_its_objects_fill_it() {
        let mut octets = emit(&objects());
        octets[2..4].fill(0);
        assert_eq!(parse(&octets), Some(objects()));
        octets.push(0);
        assert_eq!(parse(&octets), None);
    }

    #[test]
    fn an_object_beyond_the_end_ends_the_list_and_keeps_what_came_before() {
        let mut octets = emit(&objects()[..1]);
        octets.extend([0xff, 0xff, 1, 1]);
        octets[2..4].fill(0);
        let checksum = checksum::finish(checksum::sum(&octets, 0));
        octets[2..4].copy_from_slice(&checksum.to_be_bytes());
        assert_eq!(parse(&octets), Some(objects()[..1].to_vec()));
    }

    proptest! {
        #[test]
        fn arbitrary_octets_never_panic(mut octets in prop::collection::vec(any::<u8>(), 0..200)) {
            if octets.len() > 3 {
                octets[0] = 0x20;
                octets[2..4].fill(0);
            }
            let _ = parse(&octets);
        }
    }
}
