//! The fields that are compared, in the order in which results name them.

/// A field of a header: where it is, and which bits of the octets there.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Field {
    pub(crate) name: &'static str,
    /// Of its first octet in the header.
    pub(crate) at: usize,
    /// At most 16.
    pub(crate) octets: usize,
    /// Of the octets as one number.
    pub(crate) mask: u128,
    /// It changes at every hop, by nature.
    pub(crate) is_expected: bool,
    /// But no router raises it.
    pub(crate) only_falls: bool,
}

const fn field(name: &'static str, at: usize, octets: usize, mask: u128) -> Field {
    Field { name, at, octets, mask, is_expected: false, only_falls: false }
}

const fn expected(name: &'static str, at: usize, octets: usize) -> Field {
    Field { is_expected: true, ..field(name, at, octets, ALL) }
}

const fn falling(name: &'static str, at: usize) -> Field {
    Field { only_falls: true, ..expected(name, at, 1) }
}

const ALL: u128 = u128::MAX;

/// Of TCP, those that a quote of 8 octets does not hold.
pub(crate) const TCP_BEHIND: &[Field] = &[
    field("TCP::AckNumber", 8, 4, ALL),
    field("TCP::Offset", 12, 1, 0xf0),
    field("TCP::Reserved", 12, 1, 0x0f),
    field("TCP::Flags", 13, 1, ALL),
    field("TCP::Window", 14, 2, ALL),
    field("TCP::Checksum", 16, 2, ALL),
    field("TCP::UrgentPtr", 18, 2, ALL),
];

/// Of TCP, the first 8 octets.
pub(crate) const TCP_FIRST: &[Field] = &[
    field("TCP::SPort", 0, 2, ALL),
    field("TCP::DPort", 2, 2, ALL),
    field("TCP::SeqNumber", 4, 4, ALL),
];

/// Of UDP.
pub(crate) const UDP: &[Field] = &[
    field("UDP::SPort", 0, 2, ALL),
    field("UDP::DPort", 2, 2, ALL),
    field("UDP::Length", 4, 2, ALL),
    field("UDP::Checksum", 6, 2, ALL),
];

/// Of IPv6.
pub(crate) const IPV6: &[Field] = &[
    field("IPv6::Version", 0, 1, 0xf0),
    field("IPv6::DiffServicesCP", 0, 2, 0x0fc0),
    field("IPv6::ECN", 1, 1, 0x30),
    field("IPv6::FlowLabel", 1, 3, 0x0f_ffff),
    field("IPv6::PayloadLength", 4, 2, ALL),
    field("IPv6::NextHeader", 6, 1, ALL),
    falling("IPv6::HopLimit", 7),
    field("IPv6::SourceAddr", 8, 16, ALL),
    field("IPv6::DestAddr", 24, 16, ALL),
];

/// Of IPv4.
pub(crate) const IPV4: &[Field] = &[
    field("IP::Version", 0, 1, 0xf0),
    field("IP::IHL", 0, 1, 0x0f),
    field("IP::DiffServicesCP", 1, 1, 0xfc),
    field("IP::Length", 2, 2, ALL),
    field("IP::ID", 4, 2, ALL),
    field("IP::Flags", 6, 1, 0xe0),
    field("IP::FragmentOffset", 6, 2, 0x1fff),
    falling("IP::TTL", 8),
    field("IP::Protocol", 9, 1, ALL),
    expected("IP::Checksum", 10, 2),
    field("IP::SourceAddr", 12, 4, ALL),
    field("IP::DestAddr", 16, 4, ALL),
    field("IP::ECT", 1, 1, 2),
    field("IP::CE", 1, 1, 1),
];

impl Field {
    /// Its bits in a header; `None` where not all of its octets are there.
    pub(crate) fn read(&self, header: &[u8]) -> Option<u128> {
        let octets = header.get(self.at..self.at + self.octets)?;
        let number = octets.iter().fold(0, |number, octet| number << 8 | u128::from(*octet));
        Some((number & self.mask) >> self.shift())
    }

    fn shift(&self) -> u32 {
        if self.mask == ALL { 0 } else { self.mask.trailing_zeros() }
    }

    /// A value of it in hexadecimal, as wide as the field.
    pub(crate) fn shown(&self, value: u128) -> String {
        let bits = if self.mask == ALL { self.octets as u32 * 8 } else { self.mask.count_ones() };
        format!("{value:0width$x}", width = bits.div_ceil(4) as usize)
    }
}
