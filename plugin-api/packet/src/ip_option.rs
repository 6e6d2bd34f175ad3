//! IPv4 options that gather something on the way: record route and timestamps.
//!
//! Source: RFC 791, section 3.1.

use std::net::Ipv4Addr;

use crate::long;

const RECORD_ROUTE: u8 = 7;
const TIMESTAMP: u8 = 68;

/// What an IPv4 option asks of the routers.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum IpOption {
    /// The outgoing addresses of the routers, up to nine.
    RecordRoute(Vec<Ipv4Addr>),
    /// Milliseconds since midnight UTC, with the addresses they are of except in the first form.
    Timestamps {
        /// Which form was asked for.
        form: TimestampForm,
        /// In the order of the slots.
        stamps: Vec<(Option<Ipv4Addr>, u32)>,
        /// Routers that found no room left.
        overflow: u8,
    },
}

/// The three forms of the timestamp option.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum TimestampForm {
    /// Nine timestamps.
    Only,
    /// Four pairs of address and timestamp.
    WithAddress,
    /// Timestamps of up to four given addresses.
    Prespecified,
}

/// A record route option with nine empty slots, 40 octets.
#[must_use]
pub fn record_route() -> Vec<u8> {
    let mut option = vec![RECORD_ROUTE, 39, 4];
    option.resize(40, 0);
    option
}

/// A timestamp option with empty slots; `addresses` count for the third form only, up to four.
#[must_use]
pub fn timestamps(form: TimestampForm, addresses: &[Ipv4Addr]) -> Vec<u8> {
    let (flag, octets) = match form {
        TimestampForm::Only => (0, 40),
        TimestampForm::WithAddress => (1, 36),
        TimestampForm::Prespecified => (3, 4 + 8 * addresses.len().min(4)),
    };
    let mut option = vec![TIMESTAMP, octets as u8, 5, flag];
    if form == TimestampForm::Prespecified {
        for address in addresses.iter().take(4) {
            option.extend(address.octets());
            option.extend([0; 4]);
        }
    }
    option.resize(octets, 0);
    option
}

/// The gathering options among `options`, as far as they make sense.
#[must_use]
pub fn parse(options: &[u8]) -> Vec<IpOption> {
    let mut found = Vec::new();
    for option in list(options).filter(|option| option.len() >= 3) {
        match option[0] {
            RECORD_ROUTE => found.push(route(option)),
            TIMESTAMP => found.extend(stamps(option)),
            _ => {}
        }
    }
    found
}

/// Each option that has a length, its number and length included, up to the first that makes no sense.
pub fn list(mut options: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        loop {
            match options {
                [] | [0, ..] => return None,
                [1, rest @ ..] => options = rest,
                [_, octets, ..] if *octets >= 2 => {
                    let (option, rest) = options.split_at_checked(usize::from(*octets))?;
                    options = rest;
                    return Some(option);
                }
                _ => return None,
            }
        }
    })
}

fn route(option: &[u8]) -> IpOption {
    let filled = usize::from(option[2]).saturating_sub(1).clamp(3, option.len());
    let slots = option[3..filled].chunks_exact(4);
    IpOption::RecordRoute(
        slots.map(|slot| Ipv4Addr::new(slot[0], slot[1], slot[2], slot[3])).collect(),
    )
}

fn stamps(option: &[u8]) -> Option<IpOption> {
    let bits = *option.get(3)?;
    let filled = usize::from(option[2]).saturating_sub(1).clamp(4, option.len());
    let form = match bits & 15 {
        0 => TimestampForm::Only,
        1 => TimestampForm::WithAddress,
        3 => TimestampForm::Prespecified,
        _ => return None,
    };
    let slots = &option[4..filled];
    let stamps = match form {
        TimestampForm::Only => {
            slots.chunks_exact(4).filter_map(|slot| Some((None, long(slot, 0)?))).collect()
        }
        TimestampForm::WithAddress | TimestampForm::Prespecified => slots
            .chunks_exact(8)
            .filter_map(|slot| Some((Some(Ipv4Addr::from(long(slot, 0)?)), long(slot, 4)?)))
            .collect(),
    };
    Some(IpOption::Timestamps { form, stamps, overflow: bits >> 4 })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_half_filled_route_shows_the_filled_half() {
        let mut option = record_route();
        option[3..7].copy_from_slice(&[192, 0, 2, 1]);
        option[2] = 8;
        assert_eq!(parse(&option), [IpOption::RecordRoute(vec![Ipv4Addr::new(192, 0, 2, 1)])]);
    }

    #[test]
    fn an_overflowed_timestamp_option_says_by_how_many() {
        let mut option = timestamps(TimestampForm::WithAddress, &[]);
        option[3] |= 0x20;
        option[2] = 13;
        option[4..12].copy_from_slice(&[192, 0, 2, 1, 0, 0, 1, 0]);
        let stamps = vec![(Some(Ipv4Addr::new(192, 0, 2, 1)), 256)];
        let form = TimestampForm::WithAddress;
        assert_eq!(parse(&option), [IpOption::Timestamps { form, stamps, overflow: 2 }]);
    }

    proptest! {
        #[test]
        fn arbitrary_octets_never_panic(octets in prop::collection::vec(any::<u8>(), 0..60)) {
            let _ = parse(&octets);
        }
    }
}
