//! What people write, and how it is written back.

use proptest::prelude::*;

use super::*;

const MS: u64 = 1_000_000;

#[test]
fn durations_are_read_with_their_units() {
    let cases = [
        ("1s", Some(1000 * MS)),
        ("200ms", Some(200 * MS)),
        ("1.5", Some(1500 * MS)),
        ("5", Some(5000 * MS)),
        ("0", Some(0)),
        (" 0.5s ", Some(500 * MS)),
        ("1m30s", Some(90_000 * MS)),
        ("20us", Some(20_000)),
        ("20µs", Some(20_000)),
        ("7 ms", Some(7 * MS)),
        (".25s", Some(250 * MS)),
        ("0.0000000019s", Some(1)),
        ("2d", Some(172_800_000 * MS)),
        ("", None),
        ("s", None),
        (".", None),
        ("1.2.3", None),
        ("1 parsec", None),
        ("-1s", None),
        ("1m30", None),
        ("1e3", None),
        ("30000000000", None),
        ("18446744073709551616ns", None),
        ("213504d", None),
    ];
    for (text, ns) in cases {
        assert_eq!(parse_duration(text), ns, "{text:?}");
    }
}

#[test]
fn durations_are_written_with_the_largest_unit_that_fits() {
    let cases = [(0, "0s"), (1500 * MS, "1500ms"), (90_000 * MS, "90s"), (60_000 * MS, "1m")];
    for (ns, text) in cases {
        assert_eq!(duration(ns), text);
    }
    assert_eq!(duration(u64::MAX), "18446744073709551615ns");
}

#[test]
fn octets_are_read_in_the_forms_that_people_use() {
    assert_eq!(parse_hex("00fF"), Some(vec![0, 255]));
    assert_eq!(parse_hex("0xdead"), Some(vec![0xde, 0xad]));
    assert_eq!(parse_hex("de:ad-be ef"), Some(vec![0xde, 0xad, 0xbe, 0xef]));
    assert_eq!(parse_hex(""), Some(vec![]));
    for wrong in ["0", "0g", "d:e", "é1"] {
        assert_eq!(parse_hex(wrong), None, "{wrong:?}");
    }
}

#[test]
fn booleans_have_several_words() {
    for word in ["True", "true", "yes", "on", "1"] {
        assert_eq!(parse_bool(word), Some(true), "{word}");
    }
    for word in ["False", "no", "OFF", "0"] {
        assert_eq!(parse_bool(word), Some(false), "{word}");
    }
    assert_eq!(parse_bool("maybe"), None);
}

#[test]
fn whole_numbers_are_read_even_where_they_look_real() {
    let cases = [
        ("80", Some(80)),
        ("-3", Some(-3)),
        ("80.0", Some(80)),
        ("10E2", Some(1000)),
        ("0xBEEF", Some(0xbeef)),
        ("9007199254740993", Some(9_007_199_254_740_993)),
        ("4.9", None),
        ("0x-1", None),
        ("0x+1", None),
        ("inf", None),
        ("NaN", None),
        ("1e300", None),
        ("", None),
    ];
    for (text, number) in cases {
        assert_eq!(parse_integer(text), number, "{text:?}");
    }
    assert_eq!(parse_real("infinity"), None);
    assert_eq!(parse_real("1e999"), None);
    assert_eq!(parse_real("-.5"), Some(-0.5));
}

#[test]
fn times_are_written_in_utc() {
    let cases = [
        (0, "1970-01-01T00:00:00.000000Z"),
        (-1, "1969-12-31T23:59:59.999999Z"),
        (951_782_400_000_001_999, "2000-02-29T00:00:00.000001Z"),
        (1_767_323_045_678_901_000, "2026-01-02T03:04:05.678901Z"),
        (4_107_542_399_000_000_000, "2100-02-28T23:59:59.000000Z"),
        (4_107_542_400_000_000_000, "2100-03-01T00:00:00.000000Z"),
    ];
    for (ns, text) in cases {
        assert_eq!(rfc3339(ns), text);
    }
    assert!(rfc3339(i128::MAX).starts_with("9999-12-31T23:59:59."));
    assert!(rfc3339(i128::MIN).starts_with("0000-01-01T00:00:00."));
}

#[test]
fn a_near_miss_finds_what_was_meant() {
    let names = ["icmp-echo", "icmp-time", "tcp-ack", "udp"];
    assert_eq!(nearest("icmp-ecko", names), Some("icmp-echo"));
    assert_eq!(nearest("ICMP_ECHO", names), Some("icmp-echo"));
    assert_eq!(nearest("upd", names), Some("udp"));
    assert_eq!(nearest("tcp", names), None);
    assert_eq!(nearest("scamper.ping.rr", ["scamper.ping.size"]), None);
    assert_eq!(nearest("scamper.ping.sise", ["scamper.ping.size"]), Some("scamper.ping.size"));
    assert_eq!(nearest("", names), None);
    assert_eq!(nearest(&"x".repeat(100_000), names), None);
}

proptest! {
    #[test]
    fn what_is_written_is_read_back(ns: u64, octets: Vec<u8>) {
        prop_assert_eq!(parse_duration(&duration(ns)), Some(ns));
        prop_assert_eq!(parse_hex(&hex(&octets)), Some(octets));
    }

    #[test]
    fn no_text_makes_a_parser_panic(text in "\\PC{0,24}|[0-9.eEx+a-f:-]{0,24}") {
        let _ = (parse_duration(&text), parse_hex(&text), parse_integer(&text), parse_bool(&text));
        let _ = nearest(&text, ["icmp-echo", "é"]);
    }
}
