//! Temporal scopes from their text.
//!
//! Separators are literal, blanks included. A duration never fails: what is not recognised counts as
//! nothing, as in the RI.

use std::str::FromStr;
use std::time::Duration;

use super::{Cron, Inner, Repeat, When, WhenError};
use crate::time::Moment;

const LONGEST: u64 = 999_999_999 * 86_400 + 86_399;

impl FromStr for When {
    type Err = WhenError;

    fn from_str(text: &str) -> Result<Self, WhenError> {
        Context { text, is_strict: false }.whole()
    }
}

impl When {
    /// Of a text that a person typed: what the RI passes over, such as the `200ms` that it takes for 200 minutes, is a
    /// mistake.
    ///
    /// # Errors
    ///
    /// Where it is no scope, or a duration cannot be read to its end.
    pub fn typed(text: &str) -> Result<Self, WhenError> {
        Context { text, is_strict: true }.whole()
    }
}

/// The whole text, for errors.
struct Context<'a> {
    text: &'a str,
    /// What does not belong to a duration is a mistake, and not passed over.
    is_strict: bool,
}

impl Context<'_> {
    fn whole(&self) -> Result<When, WhenError> {
        match self.text.strip_prefix("repeat ") {
            None => self.simple(self.text),
            Some(rest) => self.repeated(rest),
        }
    }

    fn own(&self) -> String {
        crate::excerpt(self.text)
    }

    fn repeated(&self, rest: &str) -> Result<When, WhenError> {
        let (outer, inner) = self.halves(rest, " { ")?;
        let (outer, cron) = self.halves(outer, " cron ")?;
        let mut when = self.simple(outer)?;
        let cron = cron
            .map(|fields| {
                Cron::parse(fields).map_err(|field| WhenError::Cron {
                    text: self.own(),
                    field: crate::excerpt(&field),
                })
            })
            .transpose()?;
        if when.period.is_some() == cron.is_some() {
            return Err(WhenError::Repeat { text: self.own() });
        }
        let inner = inner.map(|inner| self.inner(inner)).transpose()?.flatten();
        when.repeat = Some(Repeat { cron, inner });
        Ok(when)
    }

    /// What is repeated; nothing where it has no duration, for then it is not printed either.
    fn inner(&self, text: &str) -> Result<Option<Inner>, WhenError> {
        let text = text.split(" }").next().unwrap_or(text);
        if !text.starts_with("now") {
            return Err(WhenError::Inner { text: self.own() });
        }
        let (text, period) = self.halves(text, " / ")?;
        let (_, duration) = self.halves(text, " + ")?;
        let period = period.map(|period| self.duration(period)).transpose()?;
        let duration = duration.map(|duration| self.duration(duration)).transpose()?;
        Ok(duration.map(|duration| Inner { duration, period }))
    }

    fn simple(&self, text: &str) -> Result<When, WhenError> {
        let (text, period) = self.halves(text, " / ")?;
        let period = period.map(|period| self.duration(period)).transpose()?;
        // A duration goes first: in `now + inf ... future` the end is part of the duration's text,
        // and so nothing.
        let mut when = if let (start, Some(duration)) = self.halves(text, " + ")? {
            When { duration: Some(self.duration(duration)?), ..When::at(self.moment(start)?) }
        } else if let (start, Some(end)) = self.halves(text, " ... ")? {
            When::between(self.moment(start)?, self.moment(end)?)
        } else {
            When::at(self.moment(text)?)
        };
        when.period = period;
        Ok(when)
    }

    /// What stands before and after a separator that may stand once.
    fn halves<'t>(
        &self,
        text: &'t str,
        separator: &'static str,
    ) -> Result<(&'t str, Option<&'t str>), WhenError> {
        let mut parts = text.split(separator);
        let first = parts.next().unwrap_or_default();
        let second = parts.next();
        if parts.next().is_some() {
            return Err(WhenError::Separator { text: self.own(), separator: separator.trim() });
        }
        Ok((first, second))
    }

    fn moment(&self, text: &str) -> Result<Moment, WhenError> {
        text.parse().map_err(|reason| WhenError::Time { text: self.own(), reason })
    }

    fn duration(&self, text: &str) -> Result<Duration, WhenError> {
        if text == "inf" {
            return Ok(When::INFINITE);
        }
        let mut rest = text;
        let mut seconds = 0_u64;
        for (unit, factor) in [('d', 86_400), ('h', 3600), ('m', 60), ('s', 1)] {
            let end = rest.bytes().take_while(u8::is_ascii_digit).count();
            if end == 0 || !rest[end..].starts_with(unit) {
                continue;
            }
            let number: Option<u64> = rest[..end].parse().ok();
            seconds = number
                .and_then(|number| number.checked_mul(factor))
                .and_then(|number| number.checked_add(seconds))
                .filter(|seconds| *seconds <= LONGEST)
                .ok_or_else(|| WhenError::Duration { text: self.own() })?;
            rest = &rest[end + 1..];
        }
        if self.is_strict && (!rest.is_empty() || text.is_empty()) {
            return Err(WhenError::Unread { text: self.own(), part: crate::excerpt(text) });
        }
        Ok(Duration::from_secs(seconds))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_person_is_told_of_what_the_ri_passes_over() {
        for (text, part) in [
            ("now + 3s / 200ms", "200ms"),
            ("now + 0.5s", "0.5s"),
            ("now + 3s / 1xyz", "1xyz"),
            ("now + 3", "3"),
            ("repeat now + 1h / 10s { now + 1s / x }", "x"),
            ("repeat now + 1h / 10 s { now + 1s }", "10 s"),
        ] {
            assert!(text.parse::<When>().is_ok(), "{text}");
            let told = When::typed(text).unwrap_err();
            assert!(
                matches!(&told, WhenError::Unread { part: found, .. } if found == part),
                "{told}"
            );
        }
        for text in
            ["now + 1d2h3m4s / 1s", "now ... future", "repeat now + inf / 1h { now + 5s / 1s }"]
        {
            assert_eq!(When::typed(text), text.parse(), "{text}");
        }
    }
}
