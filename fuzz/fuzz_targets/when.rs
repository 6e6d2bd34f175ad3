//! Temporal scopes: printed and read again they are the same, and their repetitions come one by one.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sonde_mplane::{Time, When};

fuzz_target!(|text: &str| {
    let Ok(when) = text.parse::<When>() else { return };
    let printed = when.to_string();
    let again: When = printed.parse().expect("what we print we read");
    assert_eq!(again, when);
    let now = Time::from_unix_us(1_435_752_000_000_000);
    let _ = (when.timers(now), when.end_time(now), when.follows(&again, now), when.samples());
    for repetition in when.occurrences(now).take(3) {
        assert!(repetition.is_definite());
    }
});
