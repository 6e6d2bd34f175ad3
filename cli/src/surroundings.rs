//! What the programs are handed: the wall clock and the variables of the environment.

use std::{
    ffi::OsString,
    time::{SystemTime, UNIX_EPOCH},
};

use sonde_mplane::Time;

/// Wall time.
pub(crate) fn now() -> Time {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Time::from_unix_us(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}

/// Variables that are texts.
pub(crate) fn variables() -> Vec<(String, String)> {
    let text = |(name, value): (OsString, OsString)| {
        Some((name.into_string().ok()?, value.into_string().ok()?))
    };
    std::env::vars_os().filter_map(text).collect()
}
