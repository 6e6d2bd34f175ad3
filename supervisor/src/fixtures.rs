//! What the tests of several modules need: a capability of a host, and a client's specification for it.

use sonde_mplane::{Capability, Registries, Specification, Time};

/// Wall time of the tests: 2026-01-02 03:04:05.
pub(crate) fn at(seconds: i64) -> Time {
    Time::from_unix_us((1_767_323_045 + seconds) * 1_000_000)
}

pub(crate) fn registries() -> Registries {
    Registries::built_in()
}

/// Average delay from an address; `*` for one that says nothing of itself.
pub(crate) fn average(source: &str) -> Capability {
    Capability::build("ping-average-ip4", "now ... future / 1s")
        .registry("")
        .parameter("source.ip4", source)
        .parameter("destination.ip4", "*")
        .result("delay.twoway.icmp.us.min")
        .finish(&registries())
        .unwrap()
}

/// A specification for [`average`], as a client of the RI makes it.
pub(crate) fn wanted(source: &str, token: &str) -> Specification {
    let when = "now + 3s / 1s".parse().unwrap();
    let mut specification = average("*").specification("ping-average-ip4-0", when);
    specification.set("source.ip4", source).unwrap();
    specification.set("destination.ip4", "198.51.100.9").unwrap();
    specification.head.token = Some(token.to_owned());
    specification
}
