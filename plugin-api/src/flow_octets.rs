//! The two structures that travel as payload, as octets: what the C layout has in memory.
//!
//! Both sides are on one machine, so numbers are in its byte order.

use crate::abi::{FlowInfo, FlowSpecRaw, Proto};

fn array<const N: usize>(octets: &[u8], at: usize) -> Option<[u8; N]> {
    octets.get(at..)?.first_chunk().copied()
}

impl FlowSpecRaw {
    /// As it stands in the payload of `OpenFlow`.
    #[must_use]
    pub fn to_octets(&self) -> [u8; 56] {
        let mut octets = [0; 56];
        octets[..4].copy_from_slice(&[self.proto.0, self.key, self.flags, self.tos]);
        octets[4..6].copy_from_slice(&self.local.to_ne_bytes());
        octets[6..8].copy_from_slice(&self.reserved.to_ne_bytes());
        octets[8..24].copy_from_slice(&self.peer);
        octets[24..40].copy_from_slice(&self.source);
        octets[40..56].copy_from_slice(&self.gateway);
        octets
    }

    /// Reads the payload of `OpenFlow`; `None` unless its length is right.
    #[must_use]
    pub fn from_octets(octets: &[u8]) -> Option<Self> {
        if octets.len() != size_of::<Self>() {
            return None;
        }
        let [proto, key, flags, tos] = array(octets, 0)?;
        Some(Self {
            proto: Proto(proto),
            key,
            flags,
            tos,
            local: u16::from_ne_bytes(array(octets, 4)?),
            reserved: u16::from_ne_bytes(array(octets, 6)?),
            peer: array(octets, 8)?,
            source: array(octets, 24)?,
            gateway: array(octets, 40)?,
        })
    }
}

impl FlowInfo {
    /// As it stands in the payload of `FlowOpen`.
    #[must_use]
    pub fn to_octets(&self) -> [u8; 24] {
        let mut octets = [0; 24];
        octets[..16].copy_from_slice(&self.source);
        octets[16..18].copy_from_slice(&self.local.to_ne_bytes());
        octets[18..20].copy_from_slice(&self.reserved.to_ne_bytes());
        octets[20..].copy_from_slice(&self.mtu.to_ne_bytes());
        octets
    }

    /// Reads the payload of `FlowOpen`; `None` unless its length is right.
    #[must_use]
    pub fn from_octets(octets: &[u8]) -> Option<Self> {
        if octets.len() != size_of::<Self>() {
            return None;
        }
        Some(Self {
            source: array(octets, 0)?,
            local: u16::from_ne_bytes(array(octets, 16)?),
            reserved: u16::from_ne_bytes(array(octets, 18)?),
            mtu: u32::from_ne_bytes(array(octets, 20)?),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::mem::offset_of;

    use super::*;

    #[test]
    fn octets_are_those_of_the_c_layout() {
        assert_eq!(offset_of!(FlowSpecRaw, local), 4);
        assert_eq!(offset_of!(FlowSpecRaw, peer), 8);
        assert_eq!(offset_of!(FlowSpecRaw, source), 24);
        assert_eq!(offset_of!(FlowSpecRaw, gateway), 40);
        assert_eq!(offset_of!(FlowInfo, local), 16);
        assert_eq!(offset_of!(FlowInfo, mtu), 20);
    }

    #[test]
    fn what_was_written_reads_back_and_other_lengths_do_not() {
        let spec = FlowSpecRaw {
            proto: Proto::Udp,
            key: 4,
            flags: 3,
            tos: 0x2e,
            local: 33_434,
            reserved: 0,
            peer: [1; 16],
            source: [2; 16],
            gateway: [3; 16],
        };
        assert_eq!(FlowSpecRaw::from_octets(&spec.to_octets()), Some(spec));
        assert_eq!(FlowSpecRaw::from_octets(&spec.to_octets()[..55]), None);
        let info = FlowInfo { source: [9; 16], local: 80, reserved: 0, mtu: 70_000 };
        assert_eq!(FlowInfo::from_octets(&info.to_octets()), Some(info));
        assert_eq!(FlowInfo::from_octets(&[0; 25]), None);
    }
}
