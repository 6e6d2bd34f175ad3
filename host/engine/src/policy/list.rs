//! Lists of prefixes, as operators keep them for zmap and other scanners.
//!
//! One prefix or address a line, IPv4 or IPv6; `#` begins a comment. Host bits of a prefix are
//! ignored, as zmap does. A list is made once, as disjoint ranges in order, and then only looked up.

mod ranges;

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    path::{Path, PathBuf},
};

use self::ranges::Ranges;

/// Octets of a file; the largest lists in use have some tens of MB.
const MAX_OCTETS: u64 = 1 << 30;
/// Characters of a line that an error repeats.
const SHOWN: usize = 64;

/// Why a list of prefixes cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ListError {
    /// It is not there, not to be read, or too long.
    #[error("{}: cannot read the list of prefixes: {reason}", file.display())]
    Unreadable {
        /// The list.
        file: PathBuf,
        /// What the system said.
        reason: String,
    },
    /// A line is neither a prefix nor an address.
    #[error(
        "{}:{line}: \"{text}\" is no prefix, accepted: an address or prefix such as 192.0.2.0/24 or \
         2001:db8::/32, # begins a comment", file.display()
    )]
    Line {
        /// The list.
        file: PathBuf,
        /// Counted from 1.
        line: usize,
        /// What stands there.
        text: String,
    },
}

/// Addresses of both families.
#[derive(Clone, Debug, Default)]
pub struct Prefixes {
    v4: Ranges<u32>,
    v6: Ranges<u128>,
}

impl Prefixes {
    /// Reads files in the format of zmap's blocklist, all into one.
    ///
    /// # Errors
    ///
    /// [`ListError`] for the first file or line that cannot be used.
    pub fn read<P: AsRef<Path>>(files: &[P]) -> Result<Self, ListError> {
        let mut builder = Builder::default();
        for file in files.iter().map(AsRef::as_ref) {
            builder.parse(file, &read(file)?)?;
        }
        Ok(builder.build())
    }

    /// Everything for which `file` cannot be used, `most` lines at most; nothing where it can.
    #[must_use]
    pub fn mistakes(file: &Path, most: usize) -> Vec<ListError> {
        match read(file) {
            Ok(text) => Builder::default().add_all(file, &text).take(most).collect(),
            Err(error) => vec![error],
        }
    }

    /// From text, as if it were read from `file`.
    ///
    /// # Errors
    ///
    /// [`ListError::Line`] for the first line that is not acceptable.
    pub fn parse(text: &str, file: &Path) -> Result<Self, ListError> {
        let mut builder = Builder::default();
        builder.parse(file, text)?;
        Ok(builder.build())
    }

    /// What is in one of both lists.
    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        Self { v4: self.v4.union(&other.v4), v6: self.v6.union(&other.v6) }
    }

    /// What is in both lists.
    #[must_use]
    pub fn intersection(&self, other: &Self) -> Self {
        Self { v4: self.v4.intersection(&other.v4), v6: self.v6.intersection(&other.v6) }
    }

    /// Whether the address is in one of them.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        match address {
            IpAddr::V4(address) => self.v4.contains(address.to_bits()),
            IpAddr::V6(address) => self.v6.contains(address.to_bits()),
        }
    }

    /// Ranges that are left when prefixes that touch are joined.
    #[must_use]
    pub fn len(&self) -> usize {
        self.v4.len() + self.v6.len()
    }

    /// Whether nothing is in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

fn read(file: &Path) -> Result<String, ListError> {
    let fail = |reason: String| ListError::Unreadable { file: file.to_path_buf(), reason };
    let metadata = std::fs::metadata(file).map_err(|error| fail(error.to_string()))?;
    if !metadata.is_file() {
        return Err(fail("it is no file".to_owned()));
    }
    if metadata.len() > MAX_OCTETS {
        return Err(fail(format!("{} octets, at most {MAX_OCTETS}", metadata.len())));
    }
    std::fs::read_to_string(file).map_err(|error| fail(error.to_string()))
}

#[derive(Default)]
struct Builder {
    v4: Vec<(u32, u32)>,
    v6: Vec<(u128, u128)>,
}

impl Builder {
    fn parse(&mut self, file: &Path, text: &str) -> Result<(), ListError> {
        self.add_all(file, text).next().map_or(Ok(()), Err)
    }

    /// Adds line after line; those that are not acceptable come out.
    fn add_all<'a>(
        &'a mut self,
        file: &'a Path,
        text: &'a str,
    ) -> impl Iterator<Item = ListError> + 'a {
        text.lines().enumerate().filter_map(move |(number, line)| {
            let entry = line.split('#').next().unwrap_or_default().trim();
            let is_wrong = !entry.is_empty() && self.add(entry).is_none();
            is_wrong.then(|| ListError::Line {
                file: file.to_path_buf(),
                line: number + 1,
                text: entry.chars().filter(|it| !it.is_control()).take(SHOWN).collect(),
            })
        })
    }

    fn add(&mut self, entry: &str) -> Option<()> {
        let (address, length) = match entry.split_once('/') {
            Some((address, length)) => (address.trim(), Some(length.trim())),
            None => (entry, None),
        };
        let is_number = |text: &str| text.bytes().all(|octet| octet.is_ascii_digit());
        let length = match length {
            Some(text) if !is_number(text) => return None,
            Some(text) => Some(text.parse::<u32>().ok()?),
            None => None,
        };
        // Peers are looked up by what their packets are: an IPv4-mapped address is one of IPv4.
        let (address, length) = match (address.parse().ok()?, length.unwrap_or(128)) {
            (IpAddr::V6(six), 97..=128) if six.to_ipv4_mapped().is_some() => {
                (six.to_canonical(), length.map(|length| length - 96))
            }
            (address, _) => (address, length),
        };
        match address {
            IpAddr::V4(address) => {
                let host = 32u32.checked_sub(length.unwrap_or(32))?;
                let mask = u32::MAX.checked_shr(32 - host).unwrap_or(0);
                let first = Ipv4Addr::to_bits(address) & !mask;
                self.v4.push((first, first | mask));
            }
            IpAddr::V6(address) => {
                let host = 128u32.checked_sub(length.unwrap_or(128))?;
                let mask = u128::MAX.checked_shr(128 - host).unwrap_or(0);
                let first = Ipv6Addr::to_bits(address) & !mask;
                self.v6.push((first, first | mask));
            }
        }
        Some(())
    }

    fn build(self) -> Prefixes {
        Prefixes { v4: Ranges::new(self.v4), v6: Ranges::new(self.v6) }
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, fmt::Write, time::Instant};

    use proptest::prelude::*;

    use super::*;
    use crate::sys::lab::cpu_time;

    fn list(text: &str) -> Result<Prefixes, ListError> {
        Prefixes::parse(text, Path::new("deny.txt"))
    }

    fn has(list: &Prefixes, address: &str) -> bool {
        list.contains(address.parse().unwrap())
    }

    #[test]
    fn a_list_of_zmap_is_read_as_it_is() {
        let text = "# From IANA\n0.0.0.0/8   # this network\n\n192.0.2.7\n 10.1.2.3/8\t#x\n2001:db8::/32\n";
        let list = list(text).unwrap();
        for inside in ["0.0.0.0", "0.255.255.255", "192.0.2.7", "10.0.0.0", "2001:db8:ffff::1"] {
            assert!(has(&list, inside), "{inside}");
        }
        for outside in ["1.0.0.0", "192.0.2.6", "192.0.2.8", "11.0.0.0", "2001:db9::", "::"] {
            assert!(!has(&list, outside), "{outside}");
        }
    }

    proptest! {
        #[test]
        fn crowded_prefixes_far_from_each_other_are_told_from_what_lies_between(
            crowds in prop::collection::vec((any::<u128>(), 0u32..128, 1u128..60), 1..6),
        ) {
            let members: BTreeSet<u128> = crowds
                .iter()
                .flat_map(|(base, shift, count)| {
                    (0..*count).map(move |it| base.wrapping_add(it.wrapping_mul(3) << shift))
                })
                .collect();
            let text: String =
                members.iter().map(|it| format!("{}\n", Ipv6Addr::from_bits(*it))).collect();
            let list = list(&text).unwrap();
            for member in &members {
                for near in [member.wrapping_sub(1), *member, member.wrapping_add(1)] {
                    let address = IpAddr::from(Ipv6Addr::from_bits(near));
                    prop_assert_eq!(list.contains(address), members.contains(&near), "{}", address);
                }
            }
        }
    }

    #[test]
    fn everything_and_nothing_can_be_said() {
        let all = list("0.0.0.0/0\n::/0").unwrap();
        assert!(has(&all, "0.0.0.0") && has(&all, "255.255.255.255"));
        assert!(has(&all, "::") && has(&all, "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"));
        let none = list("# nothing\n").unwrap();
        assert!(none.is_empty() && !has(&none, "192.0.2.1") && !has(&none, "::1"));
    }

    #[test]
    fn a_line_that_is_no_prefix_is_refused_with_its_number() {
        for bad in ["192.0.2.0/33", "192.0.2", "example.net", "::/129", "1.2.3.4/+8", "1.2.3.4/"] {
            let error = list(&format!("192.0.2.1\n\n{bad}\n")).unwrap_err().to_string();
            let wanted = format!("deny.txt:3: \"{bad}\" is no prefix, accepted: ");
            assert!(error.starts_with(&wanted), "{error}");
        }
    }

    #[test]
    fn a_list_that_is_not_there_is_refused_by_name() {
        let error = Prefixes::read(&[Path::new("/nowhere/deny.txt")]).unwrap_err().to_string();
        assert!(error.starts_with("/nowhere/deny.txt: cannot read"), "{error}");
    }

    proptest! {
        #[test]
        fn two_lists_are_joined_and_what_they_share_is_found(
            lists in prop::collection::vec(
                prop::collection::vec((any::<u8>(), 24u32..=32), 0..20), 2
            ),
        ) {
            let [one, other] = [0, 1].map(|index| {
                let lines = |(low, length)| {
                    format!("192.0.2.{low}/{length}\n2001:db8::{low:x}/{}\n", length + 96)
                };
                list(&lists[index].iter().map(|it| lines(*it)).collect::<String>()).unwrap()
            });
            let (union, shared) = (one.union(&other), one.intersection(&other));
            for low in 0..=255u8 {
                let six = Ipv6Addr::from_bits(0x2001_0db8 << 96 | u128::from(low));
                for address in [IpAddr::from([192, 0, 2, low]), six.into()] {
                    let is_in = [one.contains(address), other.contains(address)];
                    prop_assert_eq!(union.contains(address), is_in[0] || is_in[1], "{}", address);
                    prop_assert_eq!(shared.contains(address), is_in[0] && is_in[1], "{}", address);
                }
            }
        }

        #[test]
        fn an_address_is_inside_exactly_if_a_prefix_holds_it(
            prefixes in prop::collection::vec((any::<u8>(), 24u32..=32), 0..40),
        ) {
            let text: String = prefixes
                .iter()
                .map(|(low, length)| format!("192.0.2.{low}/{length}\n"))
                .collect();
            let list = list(&text).unwrap();
            let inside: BTreeSet<u8> = prefixes
                .iter()
                .flat_map(|(low, length)| {
                    (0..=255u8).filter(move |it| (it ^ low) as u32 >> (32 - length) == 0)
                })
                .collect();
            for low in 0..=255 {
                let address = IpAddr::from([192, 0, 2, low]);
                prop_assert_eq!(list.contains(address), inside.contains(&low), "{}", address);
            }
            prop_assert!(!list.contains([192, 0, 1, 255].into()));
            prop_assert!(!list.contains([192, 0, 3, 0].into()));
        }
    }

    /// Run with `cargo test --release -p sonde-engine --lib costs -- --ignored --nocapture`.
    #[test]
    #[ignore = "needs root: a measurement, run by hand"]
    fn costs_of_a_million_prefixes() {
        let mut random = 42u64;
        let mut draw = || {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            random
        };
        let mut text = String::new();
        let mut members: Vec<IpAddr> = Vec::new();
        while members.len() < 1_000_000 {
            if members.len().is_multiple_of(2) {
                let address = Ipv4Addr::from_bits(draw() as u32 & !0xff);
                writeln!(text, "{address}/28").unwrap();
                members.push(Ipv4Addr::from_bits(address.to_bits() | 9).into());
            } else {
                let bits = 0x2000u128 << 112 | u128::from(draw()) << 48;
                writeln!(text, "{}/80", Ipv6Addr::from_bits(bits)).unwrap();
                members.push(Ipv6Addr::from_bits(bits | 77).into());
            }
        }
        let begin = Instant::now();
        let list = list(&text).unwrap();
        let loaded = begin.elapsed();
        let leaks = members.iter().filter(|member| !list.contains(**member)).count();
        assert_eq!(leaks, 0);
        for family in [4, 6] {
            let asked: Vec<IpAddr> = (0..1_000_000)
                .map(|_| match family {
                    4 => Ipv4Addr::from_bits(draw() as u32).into(),
                    _ => Ipv6Addr::from_bits(0x2000u128 << 112 | u128::from(draw()) << 48).into(),
                })
                .collect();
            let (mut each, mut found) = (u64::MAX, 0);
            for _ in 0..5 {
                let begin = cpu_time();
                found = asked.iter().filter(|address| list.contains(**address)).count();
                each = each.min((cpu_time() - begin) / asked.len() as u64);
            }
            println!("IPv{family}: {each} ns a lookup, {found} found, {} ranges", list.len());
        }
        println!("loaded in {loaded:?}, {leaks} leaks of {}", members.len());
    }
}
