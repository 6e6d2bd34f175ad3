//! A `params!` block with everything that the six methods need.

use std::net::IpAddr;
use std::time::Duration;

use super::*;
use crate::descriptor::Type;
use crate::schema::{Hex, Value};
use crate::{choices, params};

choices! {
    /// What a probe is made of.
    pub enum Kind {
        /// An ICMP echo request.
        IcmpEcho = "icmp-echo",
        IcmpTime = "icmp-time",
        Udp = "udp",
    }
}

params! {
    /// All kinds of parameters.
    struct Everything {
        /// Address to probe.
        destination: IpAddr => "destination.{ip}",
        source: Option<IpAddr> => "source.{ip}",
        /// Probes
        /// to send.
        count: u32 = 4 => "when.count" { range: 1..=65_535, short: 'c' },
        period: Duration = Duration::from_secs(1) => "when.period" {
            range: Duration::from_millis(1)..=Duration::from_secs(20),
            short: 'i',
        },
        kind: Kind = Kind::IcmpEcho => "scamper.ping.method",
        size: u16 = 84 => "scamper.ping.size" {
            range: 28..=65_535, unit: "octets", short: 's', default_ip6: 56
        },
        rr: bool = false => "scamper.ping.rr",
        payload: Option<Hex> => "scamper.ping.payload" { max_length: 1000 },
        checksum: Option<u16> => "scamper.ping.icmp.checksum" { range: 1..=65_535 },
        confidence: u8 = 0 => "scamper.trace.confidence" { one_of: &[0, 95, 99] },
        gss: Vec<IpAddr> = Vec::new() => "scamper.trace.gssentry" { max_length: 3 },
        options: Option<Vec<Kind>> => "scamper.tbit.option",
        offset: i64 = -70_000 => "scamper.tbit.offset" { range: -2_147_483_647..=2_147_483_647 },
        share: f64 = 0.5 => "sonde.ping.share" { range: 0.0..=1.0 },
        url: String = "/".to_owned() => "scamper.tbit.url" { alias: "uri" },
        m: bool = false => "scamper.trace.M" { name: "pmtud" },
    }
}

params! { struct Nothing {} }

fn destination(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn four() -> Everything {
    Everything::with(destination("192.0.2.1"))
}

fn refusal(everything: &Everything) -> String {
    Everything::decode(&everything.to_bytes()).unwrap_err().to_string()
}

#[test]
fn what_was_encoded_is_decoded() {
    let mut everything = four();
    everything.source = Some(destination("192.0.2.2"));
    everything.payload = Some(Hex(vec![1, 2]));
    everything.options = Some(vec![Kind::Udp, Kind::IcmpTime]);
    everything.gss = vec![destination("::1"), destination("192.0.2.9")];
    everything.confidence = 99;
    assert_eq!(Everything::decode(&everything.to_bytes()), Ok(everything));
    assert_eq!(Nothing::decode(&Nothing::with().to_bytes()), Ok(Nothing {}));
}

#[test]
fn defaults_are_those_of_the_family_of_the_first_address() {
    assert_eq!(four().size, 84);
    assert_eq!(Everything::with(destination("2001:db8::1")).size, 56);
    let only = |address: &str| to_vec(|arena| Value::Ip(destination(address)).encode(arena));
    assert_eq!(Everything::decode(&only("192.0.2.1")), Ok(four()));
    assert_eq!(Everything::decode(&only("2001:db8::1")).unwrap().size, 56);
}

#[test]
fn missing_required_parameter_is_named() {
    let error = Everything::decode(&[]).unwrap_err();
    assert_eq!(error.to_string(), "destination.{ip} is required");
    assert_eq!(error.flag_text(), "--destination is required");
}

#[test]
fn value_outside_its_range_is_refused_with_what_is_accepted() {
    let everything = Everything { size: 27, ..four() };
    assert_eq!(refusal(&everything), "scamper.ping.size is 27, accepted: 28 ... 65535",);
    let everything = Everything { period: Duration::from_secs(21), ..four() };
    assert_eq!(refusal(&everything), "when.period is 21s, accepted: 1ms ... 20s",);
    let everything = Everything { confidence: 96, ..four() };
    assert_eq!(refusal(&everything), "scamper.trace.confidence is 96, accepted: 0, 95, 99",);
    let everything = Everything { checksum: Some(0), ..four() };
    assert!(refusal(&everything).starts_with("scamper.ping.icmp.checksum is 0, accepted: 1 "));
    let everything = Everything { share: f64::NAN, ..four() };
    assert!(refusal(&everything).starts_with("sonde.ping.share is NaN, accepted: 0.0 ... 1.0"));
    let everything = Everything { gss: vec![destination("::1"); 4], ..four() };
    assert!(refusal(&everything).contains("at most 3 of an IPv4 or IPv6 address"));
    let everything = Everything { payload: Some(Hex(vec![0; 1001])), ..four() };
    assert!(refusal(&everything).contains("octets in hexadecimal, at most 1000 octets"));
}

#[test]
fn octets_that_are_no_parameters_are_refused() {
    let mut octets = four().to_bytes();
    octets.push(0);
    let error = Everything::decode(&octets).unwrap_err();
    assert_eq!(error.to_string(), "parameters cannot be read: goes on behind the last value");
    octets.truncate(3);
    let error = Everything::decode(&octets).unwrap_err();
    assert_eq!(error.to_string(), "destination.{ip} cannot be read: ends inside a value");
    assert!(Everything::decode(&[99]).is_err());
    assert!(<()>::decode(&[0]).is_err());
}

#[test]
fn number_too_large_for_its_field_is_refused() {
    params! { struct One { ttl: u8 = 64 => "scamper.ping.ttl" } }
    let octets = to_vec(|arena| Value::U64(256).encode(arena));
    let error = One::decode(&octets).unwrap_err();
    assert!(error.to_string().starts_with("scamper.ping.ttl is 256, accepted: 0 ... 255"));
}

#[test]
fn descriptor_says_what_was_declared() {
    let parameters = Everything::parameters();
    let names: Vec<&str> = parameters.iter().map(|parameter| parameter.name.as_str()).collect();
    assert_eq!(
        names,
        [
            "destination",
            "source",
            "count",
            "period",
            "method",
            "size",
            "rr",
            "payload",
            "icmp-checksum",
            "confidence",
            "gssentry",
            "option",
            "offset",
            "share",
            "url",
            "pmtud",
        ],
    );
    let required: Vec<bool> = parameters.iter().map(|parameter| parameter.required).collect();
    assert_eq!(required.iter().filter(|required| **required).count(), 1);
    let json = |index: usize| serde_json::to_string(&parameters[index]).unwrap();
    assert_eq!(
        json(2),
        r#"{"name":"count","element":"when.count","type":"natural","default":4,"min":1,"max":65535,"required":false,"short":"c","doc":"Probes to send."}"#,
    );
    assert_eq!(
        json(5),
        r#"{"name":"size","element":"scamper.ping.size","type":"natural","unit":"octets","default":84,"default_ip6":56,"min":28,"max":65535,"required":false,"short":"s"}"#,
    );
    assert_eq!(
        json(3),
        r#"{"name":"period","element":"when.period","type":"duration","default":"1s","min":"1ms","max":"20s","required":false,"short":"i"}"#,
    );
    assert_eq!(parameters[4].shape.choices, ["icmp-echo", "icmp-time", "udp"]);
    assert_eq!(parameters[11].shape.items, Some(Type::String));
}
