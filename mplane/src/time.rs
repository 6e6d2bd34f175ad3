//! Points in time and their spellings.
//!
//! UTC without zone, microseconds. Text after the recognised part of a timestamp is ignored, as the
//! RI does: a zone letter is harmless, but `2015-07-01T10:59:29` means midnight.
//!
//! Source: the RI's `when` and `time` texts.

use std::fmt;
use std::str::FromStr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jiff::civil::{Date, DateTime};
use jiff::tz::Offset;

/// Microseconds since 1970 in UTC, within the years 1 to 9999.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Time(i64);

/// Why a text is no time.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum TimeError {
    /// It begins with nothing that is known.
    #[error("{text:?} is no time, accepted: now, past, future, YYYY-MM-DD [HH:MM[:SS[.ffffff]]]")]
    Form {
        /// As received.
        text: String,
    },
    /// There is no such day or hour.
    #[error("{text:?} is not in the calendar")]
    Calendar {
        /// As received.
        text: String,
    },
    /// More fraction digits than microseconds have.
    #[error("{text:?} has more than six digits after the point")]
    Fraction {
        /// As received.
        text: String,
    },
}

impl Time {
    /// 0001-01-01 00:00:00.
    pub const MIN: Self = Self(-62_135_596_800_000_000);
    /// 9999-12-31 23:59:59.999999.
    pub const MAX: Self = Self(253_402_300_799_999_999);

    /// From microseconds since 1970; held within [`Time::MIN`] and [`Time::MAX`].
    #[must_use]
    pub fn from_unix_us(unix_us: i64) -> Self {
        Self(unix_us.clamp(Self::MIN.0, Self::MAX.0))
    }

    /// Microseconds since 1970.
    #[must_use]
    pub fn unix_us(self) -> i64 {
        self.0
    }

    /// Time from `earlier` until `self`; zero if `earlier` is later.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    /// Later by `duration`, at most [`Time::MAX`].
    #[must_use]
    pub fn plus(self, duration: Duration) -> Self {
        let step = i64::try_from(duration.as_micros()).unwrap_or(i64::MAX);
        Self::from_unix_us(self.0.saturating_add(step))
    }

    /// Earlier by `duration`, at least [`Time::MIN`].
    #[must_use]
    pub fn minus(self, duration: Duration) -> Self {
        let step = i64::try_from(duration.as_micros()).unwrap_or(i64::MAX);
        Self::from_unix_us(self.0.saturating_sub(step))
    }

    /// Without the part below a second.
    pub(crate) fn whole_second(self) -> Self {
        Self(self.0.div_euclid(1_000_000) * 1_000_000)
    }

    pub(crate) fn civil(self) -> DateTime {
        let timestamp = jiff::Timestamp::from_microsecond(self.0)
            .expect("the years 1 to 9999 are within jiff's");
        Offset::UTC.to_datetime(timestamp)
    }

    pub(crate) fn from_civil(civil: DateTime) -> Option<Self> {
        let timestamp = Offset::UTC.to_timestamp(civil).ok()?;
        let unix_us = timestamp.as_microsecond();
        (Self::MIN.0..=Self::MAX.0).contains(&unix_us).then_some(Self(unix_us))
    }
}

impl From<SystemTime> for Time {
    fn from(time: SystemTime) -> Self {
        let unix_us = match time.duration_since(UNIX_EPOCH) {
            Ok(after) => i64::try_from(after.as_micros()).unwrap_or(i64::MAX),
            Err(before) => -i64::try_from(before.duration().as_micros()).unwrap_or(i64::MAX),
        };
        Self::from_unix_us(unix_us)
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = self.civil();
        write!(f, "{:04}-{:02}-{:02} ", at.year(), at.month(), at.day())?;
        write!(f, "{:02}:{:02}:{:02}.", at.hour(), at.minute(), at.second())?;
        write!(f, "{:06}", at.subsec_nanosecond() / 1_000)
    }
}

impl FromStr for Time {
    type Err = TimeError;

    fn from_str(text: &str) -> Result<Self, TimeError> {
        let form = || TimeError::Form { text: crate::excerpt(text) };
        let calendar = || TimeError::Calendar { text: crate::excerpt(text) };
        let mut rest = Scanner(text);
        let (year, month, day) = rest.date().ok_or_else(form)?;
        let (hour, minute, second) = rest.clock().unwrap_or((0, 0, None));
        if second.is_none() && rest.0.starts_with('.') {
            return Err(form());
        }
        let second = second.unwrap_or(0);
        let fraction =
            rest.fraction().map_err(|()| TimeError::Fraction { text: crate::excerpt(text) })?;
        let narrow = |number: i64| i8::try_from(number).map_err(|_| calendar());
        let year = i16::try_from(year).map_err(|_| calendar())?;
        let day = Date::new(year, narrow(month)?, narrow(day)?).map_err(|_| calendar())?;
        let clock = jiff::civil::Time::new(
            narrow(hour)?,
            narrow(minute)?,
            narrow(second)?,
            fraction * 1_000,
        )
        .map_err(|_| calendar())?;
        Self::from_civil(DateTime::from_parts(day, clock)).ok_or_else(calendar)
    }
}

/// What is left of a timestamp.
struct Scanner<'a>(&'a str);

impl Scanner<'_> {
    fn number(&mut self) -> Option<i64> {
        let end = self.0.bytes().take_while(u8::is_ascii_digit).count();
        let number = self.0[..end].parse().ok()?;
        self.0 = &self.0[end..];
        Some(number)
    }

    fn then(&mut self, separator: char) -> Option<i64> {
        self.0 = self.0.strip_prefix(separator)?;
        self.number()
    }

    /// A year has four digits.
    fn date(&mut self) -> Option<(i64, i64, i64)> {
        let four = self.0.find('-') == Some(4);
        let date = (self.number()?, self.then('-')?, self.then('-')?);
        four.then_some(date)
    }

    /// Hour, minute and second after blanks; nothing is taken where there is no minute.
    fn clock(&mut self) -> Option<(i64, i64, Option<i64>)> {
        let blanks = self.0.trim_start();
        if blanks.len() == self.0.len() {
            return None;
        }
        let mut rest = Scanner(blanks);
        let (hour, minute) = (rest.number()?, rest.then(':')?);
        self.0 = rest.0;
        let second = rest.then(':');
        if second.is_some() {
            self.0 = rest.0;
        }
        Some((hour, minute, second))
    }

    /// Microseconds after a point.
    fn fraction(&mut self) -> Result<i32, ()> {
        let Some(rest) = self.0.strip_prefix('.') else {
            return Ok(0);
        };
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        if digits > 6 {
            return Err(());
        }
        let padded = format!("{:0<6}", &rest[..digits]);
        padded.parse().map_err(|_| ())
    }
}

/// A point of a time scope.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Moment {
    /// When it is looked at.
    Now,
    /// As far back as there is anything.
    Past,
    /// For ever.
    Future,
    /// Then.
    At(Time),
}

impl Moment {
    /// The time, if it is absolute.
    #[must_use]
    pub fn time(self) -> Option<Time> {
        match self {
            Self::At(time) => Some(time),
            Self::Now | Self::Past | Self::Future => None,
        }
    }

    /// With `now` in place of [`Moment::Now`]; open ends stay.
    #[must_use]
    pub fn resolved(self, now: Time) -> Self {
        if self == Self::Now { Self::At(now) } else { self }
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Now => f.write_str("now"),
            Self::Past => f.write_str("past"),
            Self::Future => f.write_str("future"),
            Self::At(time) => time.fmt(f),
        }
    }
}

impl FromStr for Moment {
    type Err = TimeError;

    fn from_str(text: &str) -> Result<Self, TimeError> {
        match text {
            "now" => Ok(Self::Now),
            "past" => Ok(Self::Past),
            "future" => Ok(Self::Future),
            _ => text.parse().map(Self::At),
        }
    }
}
