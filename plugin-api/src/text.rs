//! How people write values: durations, octets, booleans, numbers; and times for machines.
//!
//! Parsing is of foreign text and refuses what it does not understand; it returns nothing rather
//! than a reason, for only the caller knows which parameter it was.

use std::fmt::Write as _;

const SECOND: u64 = 1_000_000_000;
/// Longest first: the first unit that divides a duration evenly is how it is written.
const UNITS: [(&str, u64); 7] = [
    ("d", 86_400 * SECOND),
    ("h", 3600 * SECOND),
    ("m", 60 * SECOND),
    ("s", SECOND),
    ("ms", 1_000_000),
    ("us", 1000),
    ("ns", 1),
];

/// Nanoseconds as text with the largest unit that gives a whole number: `1s`, `200ms`, `1500us`.
#[must_use]
pub fn duration(ns: u64) -> String {
    if ns == 0 {
        return "0s".to_owned();
    }
    let (unit, size) =
        UNITS.iter().find(|(_, size)| ns.is_multiple_of(*size)).unwrap_or(&("ns", 1));
    format!("{}{unit}", ns / size)
}

/// The reverse of [`duration`], in nanoseconds: numbers with units (`1s`, `200ms`, `1m30s`,
/// `0.5s`, `20µs`), or a bare number of seconds (`1.5`).
#[must_use]
pub fn parse_duration(text: &str) -> Option<u64> {
    let mut rest = text.trim();
    if rest.is_empty() {
        return None;
    }
    let mut total: u64 = 0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (number, behind) = rest.split_at(digits);
        let letters = behind.find(|c: char| c.is_ascii_digit()).unwrap_or(behind.len());
        let (unit, behind) = behind.split_at(letters);
        let size = match unit.trim() {
            // a bare number is seconds, but only by itself: `1m30` is more likely a mistake
            "" if number.len() == text.trim().len() => SECOND,
            "µs" | "μs" => 1000,
            unit => UNITS.iter().find(|(name, _)| *name == unit)?.1,
        };
        total = total.checked_add(times(number, size)?)?;
        rest = behind;
    }
    Some(total)
}

/// A decimal number times `size`; digits below one are dropped.
fn times(number: &str, size: u64) -> Option<u64> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && fraction.is_empty() || fraction.contains('.') {
        return None;
    }
    let whole: u64 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    // 10^18 times the longest unit fits into 128 bits; finer digits are far below a nanosecond
    let (mut part, mut scale) = (0_u128, 1_u128);
    for digit in fraction.bytes().take(18) {
        part = part * 10 + u128::from(digit.checked_sub(b'0')?);
        scale *= 10;
    }
    let part = u64::try_from(part * u128::from(size) / scale).ok()?;
    whole.checked_mul(size)?.checked_add(part)
}

/// Octets as hexadecimal text.
#[must_use]
pub fn hex(octets: &[u8]) -> String {
    octets.iter().fold(String::with_capacity(octets.len() * 2), |mut text, octet| {
        let _ = write!(text, "{octet:02x}"); // writing to a String cannot fail
        text
    })
}

/// The reverse of [`hex`]; `0x` before and blanks, `:` and `-` between the octets are allowed.
#[must_use]
pub fn parse_hex(text: &str) -> Option<Vec<u8>> {
    let text = text.trim();
    let text = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")).unwrap_or(text);
    let mut octets = Vec::with_capacity(text.len() / 2);
    let mut high = None;
    for character in text.chars() {
        if matches!(character, ' ' | ':' | '-') && high.is_none() {
            continue;
        }
        let digit = u8::try_from(character.to_digit(16)?).ok()?;
        match high.take() {
            Some(high) => octets.push(high << 4 | digit),
            None => high = Some(digit),
        }
    }
    high.is_none().then_some(octets)
}

/// Hexadecimal digits with a 0 before the first of them.
#[must_use]
pub fn padded_hex(text: &str) -> String {
    let text = text.trim();
    format!("0{}", text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")).unwrap_or(text))
}

/// `true`, `True`, `yes`, `on`, `1` and their opposites.
#[must_use]
pub fn parse_bool(text: &str) -> Option<bool> {
    match text.trim().to_ascii_lowercase().as_str() {
        "true" | "yes" | "on" | "1" => Some(true),
        "false" | "no" | "off" | "0" => Some(false),
        _ => None,
    }
}

/// A whole number in decimal or `0x` form, or one that other software wrote as a real number
/// (`80.0`, `1e3`).
#[must_use]
pub fn parse_integer(text: &str) -> Option<i128> {
    let text = text.trim();
    if let Some(digits) = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        // from_str_radix takes a sign, which does not belong behind the prefix
        let plain = digits.starts_with(|c: char| c.is_ascii_hexdigit());
        return plain.then(|| u64::from_str_radix(digits, 16).ok().map(i128::from)).flatten();
    }
    if let Ok(number) = text.parse() {
        return Some(number);
    }
    let number = parse_real(text)?;
    // beyond 2^53 a real number does not say which whole number it was
    (number.fract() == 0.0 && number.abs() <= 9_007_199_254_740_992.0).then_some(number as i128)
}

/// A finite real number.
#[must_use]
pub fn parse_real(text: &str) -> Option<f64> {
    let text = text.trim();
    if !text.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '+' | '-' | '.')) {
        return None;
    }
    text.parse().ok().filter(|number: &f64| number.is_finite())
}

/// Nanoseconds since 1970 as RFC 3339 text in UTC, to the microsecond.
#[must_use]
pub fn rfc3339(unix_ns: i128) -> String {
    rfc3339_octets(unix_ns).iter().map(|octet| char::from(*octet)).collect()
}

/// As [`rfc3339`], ASCII.
#[must_use]
pub fn rfc3339_octets(unix_ns: i128) -> [u8; 27] {
    // Every record has some of these, and 128 bits are slow.
    let (seconds, us) = match u64::try_from(unix_ns) {
        Ok(ns) => ((ns / SECOND) as i64, (ns % SECOND / 1000) as u32),
        Err(_) => {
            let us = unix_ns.div_euclid(1000);
            // years beyond 9999 have no RFC 3339 form; clamping also keeps what follows within i64
            let seconds = us.div_euclid(1_000_000).clamp(-62_167_219_200, 253_402_300_799);
            (seconds as i64, us.rem_euclid(1_000_000) as u32)
        }
    };
    let (year, month, day) = civil(seconds.div_euclid(86_400));
    let second = seconds.rem_euclid(86_400) as u32;
    let (year, month, day) = (year as u32, month as u32, day as u32);
    let mut text = *b"0000-00-00T00:00:00.000000Z";
    let pairs = [
        (0, year / 100),
        (2, year % 100),
        (5, month),
        (8, day),
        (11, second / 3600),
        (14, second / 60 % 60),
        (17, second % 60),
        (20, us / 10_000),
        (22, us / 100 % 100),
        (24, us % 100),
    ];
    for (at, pair) in pairs {
        text[at] = b'0' + (pair / 10) as u8;
        text[at + 1] = b'0' + (pair % 10) as u8;
    }
    text
}

/// Year, month and day of a number of days since 1970, by the Gregorian calendar.
///
/// Years are counted from March, so that the leap day is the last of its year, and in eras of 400
/// years, which all have 146 097 days.
fn civil(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468; // since 0000-03-01
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (era * 400 + year_of_era + i64::from(month <= 2), month, day)
}

/// The candidate that a mistyped `word` most likely means, if one is near: at most a third of its
/// letters are wrong. What elements have in common up to a dot does not count.
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // longer texts are no mistyped names, and comparing costs the product of the lengths
    if word.len() > 64 {
        return None;
    }
    let word = word.to_ascii_lowercase();
    let errors = |candidate: &str| {
        let candidate = candidate.to_ascii_lowercase();
        let same = word.bytes().zip(candidate.bytes()).take_while(|(a, b)| a == b).count();
        let prefix = word.as_bytes()[..same].iter().rposition(|octet| *octet == b'.');
        let own = prefix.map_or(0, |dot| dot + 1);
        let (word, candidate) = (&word[own..], &candidate[own..]);
        let most = (word.chars().count() / 3).max(1);
        let distance = distance(word, candidate);
        (distance <= most && distance < candidate.len()).then_some(distance)
    };
    candidates
        .into_iter()
        .filter(|candidate| candidate.len() <= 64)
        .filter_map(|candidate| Some((errors(candidate)?, candidate)))
        .min_by_key(|(errors, _)| *errors)
        .map(|(_, candidate)| candidate)
}

/// Insertions, deletions, substitutions and swaps of neighbours between two words.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut before = vec![0; b.len() + 1];
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i; b.len() + 1];
        for j in 1..=b.len() {
            let change = usize::from(a[i - 1] != b[j - 1]);
            row[j] = (last[j] + 1).min(row[j - 1] + 1).min(last[j - 1] + change);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                row[j] = row[j].min(before[j - 2] + 1);
            }
        }
        before = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests;
