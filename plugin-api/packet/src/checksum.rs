//! The Internet checksum (RFC 1071) and how to make it come out as wanted.

use std::net::IpAddr;

/// One's complement sum of `octets` as big-endian words, not yet inverted, on top of `initial`.
#[inline]
#[must_use]
pub fn sum(octets: &[u8], initial: u32) -> u32 {
    let mut total = u64::from(initial);
    let mut chunks = octets.chunks_exact(4);
    for chunk in &mut chunks {
        total += u64::from(u32::from_be_bytes([chunk[0], chunk[1], chunk[2], chunk[3]]));
    }
    let mut last = [0; 4];
    let rest = chunks.remainder();
    last[..rest.len()].copy_from_slice(rest);
    total += u64::from(u32::from_be_bytes(last));
    let mut folded = (total >> 32) + (total & 0xffff_ffff);
    folded = (folded >> 16) + (folded & 0xffff);
    folded = (folded >> 16) + (folded & 0xffff);
    ((folded >> 16) + (folded & 0xffff)) as u32
}

/// The checksum of what was summed up.
#[inline]
#[must_use]
pub fn finish(mut total: u32) -> u16 {
    while total > 0xffff {
        total = (total >> 16) + (total & 0xffff);
    }
    !(total as u16)
}

/// Sum of the pseudo-header of TCP, UDP and ICMPv6 (RFC 793, RFC 8200 section 8.1).
#[inline]
#[must_use]
pub fn pseudo_header(source: IpAddr, destination: IpAddr, protocol: u8, octets: usize) -> u32 {
    let base = u32::from(protocol) + octets as u32;
    match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            sum(&destination.octets(), sum(&source.octets(), base))
        }
        _ => {
            let (source, destination) = (crate::mapped(source), crate::mapped(destination));
            sum(&destination, sum(&source, base))
        }
    }
}

/// What a free word must hold so that the checksum becomes `wanted`, where the checksum would be
/// `natural` with that word 0.
///
/// Checksum and word trade places, so the packet still verifies. 0x0000 and 0xffff are one number
/// in this arithmetic: never use 0xffff as an identifier.
#[inline]
#[must_use]
pub fn steer(wanted: u16, natural: u16) -> u16 {
    let (difference, borrow) = (!wanted).overflowing_sub(!natural);
    difference.wrapping_sub(u16::from(borrow))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_example_of_rfc_1071_comes_out() {
        let octets = [0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7];
        assert_eq!(sum(&octets, 0), 0xddf2);
        assert_eq!(finish(0xddf2), 0x220d);
    }

    proptest! {
        #[test]
        fn a_steered_checksum_still_verifies(mut octets in prop::collection::vec(any::<u8>(), 4..200), wanted in 1u16..0xffff) {
            octets[..4].fill(0);
            let natural = finish(sum(&octets, 0));
            octets[2..4].copy_from_slice(&steer(wanted, natural).to_be_bytes());
            prop_assert_eq!(finish(sum(&octets, 0)) % 0xffff, wanted % 0xffff);
            octets[..2].copy_from_slice(&wanted.to_be_bytes());
            prop_assert_eq!(finish(sum(&octets, 0)), 0);
        }

        #[test]
        fn the_fast_sum_is_the_plain_sum(octets in prop::collection::vec(any::<u8>(), 0..3000), initial in 0u32..0x3ffff) {
            let mut plain = initial;
            for pair in octets.chunks(2) {
                plain += u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0));
                plain = (plain >> 16) + (plain & 0xffff);
            }
            prop_assert_eq!(finish(sum(&octets, initial)), finish(plain));
        }
    }
}
