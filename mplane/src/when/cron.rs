//! Crontabs: seconds, minutes, hours, days of the month, weekdays, months.
//!
//! `*` in the field of hours means 0 to 59, as in the RI, whose text is part of tokens. Weekday 0 is
//! Sunday and 7 is none.

use std::collections::BTreeSet;
use std::fmt;
use std::ops::RangeInclusive;

use jiff::ToSpan;

use crate::time::Time;

const FULL: [RangeInclusive<u16>; 6] = [0..=59, 0..=59, 0..=59, 1..=31, 0..=6, 1..=12];
const LARGEST: u16 = 9999;
/// Days that are looked through for the next match: the longest time between two 29 February, and as
/// long again for weekdays.
const HORIZON_DAYS: u32 = 40 * 366;

/// At which seconds something is repeated.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Cron {
    fields: [BTreeSet<u16>; 6],
}

impl Cron {
    /// The text of the field that is wrong, else.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let words: Vec<&str> = text.split_whitespace().collect();
        let Ok(words) = <[&str; 6]>::try_from(words) else {
            return Err(text.to_owned());
        };
        let mut fields: [BTreeSet<u16>; 6] = Default::default();
        for ((field, word), full) in fields.iter_mut().zip(words).zip(FULL) {
            *field = parse_field(word, full).ok_or_else(|| word.to_owned())?;
        }
        Ok(Self { fields })
    }

    /// Whether something begins in this second.
    #[must_use]
    pub fn matches(&self, time: Time) -> bool {
        let at = time.civil();
        let clock = [at.second(), at.minute(), at.hour()];
        self.matches_day(at.date())
            && self.fields.iter().zip(clock).all(|(field, part)| holds(field, part))
    }

    fn matches_day(&self, day: jiff::civil::Date) -> bool {
        let parts = [day.day(), day.weekday().to_sunday_zero_offset(), day.month()];
        self.fields[3..].iter().zip(parts).all(|(field, part)| holds(field, part))
    }

    /// The first second that matches, not before `from`; none if there is none for decades.
    #[must_use]
    pub fn next(&self, from: Time) -> Option<Time> {
        let start = match from.whole_second() {
            whole if whole == from => whole,
            whole => whole.plus(std::time::Duration::from_secs(1)),
        };
        let begin = start.civil();
        let mut day = begin.date();
        let mut earliest = [begin.hour(), begin.minute(), begin.second()];
        for _ in 0..HORIZON_DAYS {
            if self.matches_day(day)
                && let Some([hour, minute, second]) = self.first_of_day(earliest)
            {
                return Time::from_civil(day.at(hour, minute, second, 0));
            }
            day = day.checked_add(1.day()).ok()?;
            earliest = [0; 3];
        }
        None
    }

    /// Hour, minute and second of the first match of a day, not before `earliest`.
    fn first_of_day(&self, earliest: [i8; 3]) -> Option<[i8; 3]> {
        let [seconds, minutes, hours, ..] = &self.fields;
        let first = |field: &BTreeSet<u16>, least: i8, limit: u16| {
            let least = u16::try_from(least).unwrap_or(0);
            field
                .range(least..limit.max(least))
                .next()
                .and_then(|number| i8::try_from(*number).ok())
        };
        let [hour, minute, second] = earliest;
        let within_hour = |minute: i8, second: i8| {
            let same = first(seconds, second, 60).filter(|_| holds(minutes, minute));
            match same {
                Some(second) => Some((minute, second)),
                None => Some((first(minutes, minute + 1, 60)?, first(seconds, 0, 60)?)),
            }
        };
        if holds(hours, hour)
            && let Some((minute, second)) = within_hour(minute, second)
        {
            return Some([hour, minute, second]);
        }
        Some([first(hours, hour + 1, 24)?, first(minutes, 0, 60)?, first(seconds, 0, 60)?])
    }
}

fn holds(field: &BTreeSet<u16>, part: i8) -> bool {
    u16::try_from(part).is_ok_and(|part| field.contains(&part))
}

fn parse_field(word: &str, full: RangeInclusive<u16>) -> Option<BTreeSet<u16>> {
    let number = |text: &str| -> Option<u16> {
        let digits = text.bytes().all(|octet| octet.is_ascii_digit());
        text.parse().ok().filter(|number| digits && *number <= LARGEST)
    };
    if word == "*" {
        return Some(full.collect());
    }
    match word.split_once('-') {
        // A range that ends before it begins would be printed as no field at all.
        Some((from, to)) => {
            let (from, to) = (number(from)?, number(to)?);
            (from <= to).then(|| (from..=to).collect())
        }
        None => word.split(',').map(number).collect(),
    }
}

impl fmt::Display for Cron {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        for field in &self.fields {
            for number in field {
                write!(f, "{separator}{number}")?;
                separator = ",";
            }
            separator = " ";
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn next(cron: &str, from: &str) -> Option<String> {
        let cron = Cron::parse(cron).unwrap();
        cron.next(from.parse().unwrap()).map(|time| time.to_string())
    }

    #[test]
    fn the_next_match_is_found_across_minutes_days_and_leap_years() {
        for (cron, from, expected) in [
            ("0,30 * * * * *", "2015-07-01 12:00:01", "2015-07-01 12:00:30.000000"),
            ("0,30 * * * * *", "2015-07-01 12:00:30", "2015-07-01 12:00:30.000000"),
            ("0,30 * * * * *", "2015-07-01 12:00:30.000001", "2015-07-01 12:01:00.000000"),
            ("5 59 23 * * *", "2015-12-31 23:59:06", "2016-01-01 23:59:05.000000"),
            ("0 0 0 * 0 *", "2015-07-01 12:00:00", "2015-07-05 00:00:00.000000"),
            ("0 0 0 29 * 2", "2097-01-01", "2104-02-29 00:00:00.000000"),
        ] {
            assert_eq!(next(cron, from).as_deref(), Some(expected), "{cron} from {from}");
        }
    }

    #[test]
    fn days_that_never_come_end_the_search() {
        assert_eq!(next("0 0 0 30 * 2", "2015-07-01"), None);
        assert_eq!(next("0 0 0 * 7 *", "2015-07-01"), None);
        assert_eq!(next("99 0 0 * * *", "2015-07-01"), None);
    }

    #[test]
    fn whatever_next_finds_matches_and_nothing_before_it_does() {
        let cron = Cron::parse("7,41 3-5 2,13 1,15 * *").unwrap();
        let from: Time = "2015-07-14 23:59:00".parse().unwrap();
        let found = cron.next(from).unwrap();
        assert!(cron.matches(found));
        let mut at = from;
        while at < found {
            assert!(!cron.matches(at), "{at}");
            at = at.plus(std::time::Duration::from_secs(1));
        }
    }
}
