//! Texts into values, values into tasks, and descriptors that no plugin should give.

use std::net::IpAddr;
use std::time::Duration;

use proptest::prelude::*;
use serde_json::{Value as Json, json};

use super::*;
use crate::capability::{Capability, IpVersion};
use crate::params::Params;
use crate::row::Rows;
use crate::schema::{Hex, Reader};
use crate::{choices, params, row};

choices! {
    enum Kind { IcmpEcho = "icmp-echo", IcmpTime = "icmp-time", Udp = "udp" }
}
choices! { enum TcpOption { Blackhole = "blackhole", Sack = "sack" } }

params! {
    struct ProbeParams {
        /// Address to probe.
        destination: IpAddr => "destination.{ip}",
        source: Option<IpAddr> => "source.{ip}",
        count: u32 = 4 => "when.count" { range: 1..=65_535, short: 'c' },
        period: Duration = Duration::from_secs(1) => "when.period" {
            range: Duration::from_millis(1)..=Duration::from_secs(20)
        },
        kind: Kind = Kind::IcmpEcho => "scamper.ping.method",
        size: u16 = 84 => "scamper.ping.size" { range: 28..=65_535, alias: "bytes", default_ip6: 56 },
        rr: bool = false => "scamper.ping.rr",
        payload: Option<Hex> => "scamper.ping.payload" { max_length: 4 },
        checksum: Option<u16> => "scamper.ping.icmp.checksum",
        confidence: u8 = 0 => "scamper.trace.confidence" { one_of: &[0, 95, 99] },
        gss: Vec<IpAddr> = Vec::new() => "scamper.trace.gssentry" { max_length: 2 },
        options: Vec<TcpOption> = Vec::new() => "scamper.tbit.option",
        offset: i64 = 10 => "scamper.tbit.offset" { range: -70_000..=70_000 },
        share: f64 = 0.5 => "sonde.ping.share",
        url: String = "/".to_owned() => "scamper.tbit.url",
    }
}
row! {
    struct ReplyRow = "replies" {
        seq: u32,
        /// Of the reply.
        rtt_us: Option<u64>,
        kind: Option<Kind>,
        inner: Vec<Inner>,
    }
}
row! { struct Inner { label: u32, at: crate::schema::Time } }

fn method() -> MethodDescriptor {
    MethodDescriptor {
        name: "probe".to_owned(),
        doc: "Probes.".to_owned(),
        needs: vec![Need::QuietKernel],
        wants: vec![Need::Spoof],
        parameters: ProbeParams::parameters(),
        tables: ReplyRow::tables(),
        capabilities: vec![
            Capability::new("probe-{ip}")
                .parameter("source.{ip}", Constraint::LocalAddress)
                .parameter("destination.{ip}", Constraint::Any)
                .parameter("scamper.ping.size", Constraint::range(84, 140).ip6(56, 140))
                .default_value(85)
                .preset("scamper.ping.rr", true)
                .only(IpVersion::Ip4)
                .table("replies")
                .present("rtt_us")
                .aggregate("delay.twoway.icmp.us.min", Aggregate::Min, "rtt_us"),
        ],
        ..MethodDescriptor::default()
    }
}

fn descriptor() -> Descriptor {
    Descriptor::new("sonde-probe", "0.1.0", vec![method()])
}

fn parse(key: &str, text: &str) -> Result<Value, String> {
    let method = method();
    let parameter = method.parameter(key).unwrap();
    parameter.parse(text, Family::V4).map_err(|error| error.to_string())
}

fn address(text: &str) -> Value {
    Value::Ip(text.parse().unwrap())
}

fn given(values: &[(&str, Value)]) -> BTreeMap<String, Value> {
    values.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect()
}

#[test]
fn texts_become_values() {
    let cases = [
        ("count", "7", Value::U64(7)),
        ("count", "7.0", Value::U64(7)),
        ("period", "200ms", Value::Duration(200_000_000)),
        ("period", "1.5", Value::Duration(1_500_000_000)),
        ("method", "ICMP-Time", Value::Text("icmp-time".to_owned())),
        ("rr", "False", Value::Bool(false)),
        ("rr", "1", Value::Bool(true)),
        ("payload", "0xC0ffee", Value::Bytes(vec![0xc0, 0xff, 0xee])),
        ("icmp-checksum", "0xbeef", Value::U64(0xbeef)),
        ("confidence", "95.0", Value::U64(95)),
        ("offset", "-70000", Value::I64(-70_000)),
        ("share", "1", Value::F64(1.0)),
        ("url", " /a b ", Value::Text(" /a b ".to_owned())),
        ("destination", "192.0.2.1", address("192.0.2.1")),
        ("gssentry", "::1, 192.0.2.1", Value::List(vec![address("::1"), address("192.0.2.1")])),
        ("option", "SACK", Value::List(vec![Value::Text("sack".to_owned())])),
    ];
    for (key, text, value) in cases {
        assert_eq!(parse(key, text), Ok(value), "{key} {text:?}");
    }
}

#[test]
fn texts_for_nothing_mean_the_default() {
    for (key, text) in [
        ("payload", "*"),
        ("payload", ""),
        ("count", "*"),
        ("gssentry", "*"),
        ("source", "0.0.0.0"),
        ("source", "::"),
    ] {
        assert_eq!(parse(key, text), Ok(Value::None), "{key} {text:?}");
    }
    assert_eq!(parse("destination", "*"), Err("destination.ip4 is required".to_owned()));
}

#[test]
fn refused_text_is_told_with_what_is_accepted() {
    let cases = [
        (
            "method",
            "icmp-ecko",
            "scamper.ping.method is \"icmp-ecko\", accepted: icmp-echo, icmp-time, udp (did you mean icmp-echo?)",
        ),
        ("size", "27", "scamper.ping.size is 27, accepted: 28 ... 65535"),
        ("size", "many", "scamper.ping.size is many, accepted: 28 ... 65535"),
        ("size", "-1", "scamper.ping.size is -1, accepted: 28 ... 65535"),
        ("period", "21s", "when.period is 21s, accepted: 1ms ... 20s"),
        ("confidence", "96", "scamper.trace.confidence is 96, accepted: 0, 95, 99"),
        ("rr", "maybe", "scamper.ping.rr is maybe, accepted: true or false"),
        ("icmp-checksum", "65536", "scamper.ping.icmp.checksum is 65536, accepted: 0 ... 65535"),
        (
            "payload",
            "0102030405",
            "scamper.ping.payload is \"0102030405\", accepted: octets in hexadecimal, at most 4 octets",
        ),
        ("destination", "::1", "destination.ip4 is \"::1\", accepted: an IPv4 address"),
        ("destination", "0.0.0.0.0", "destination.ip4 is \"0.0.0.0.0\", accepted: an IPv4 address"),
        (
            "gssentry",
            "::1,::2,::3",
            "scamper.trace.gssentry is \"::1,::2,::3\", accepted: at most 2 of an IPv4 or IPv6 address, separated by commas",
        ),
        (
            "option",
            "sack,black-hole",
            "scamper.tbit.option is \"sack,black-hole\", accepted: blackhole, sack, separated by commas",
        ),
        ("count", "\u{1b}[2J", "when.count is [2J, accepted: 1 ... 65535"),
    ];
    for (key, text, error) in cases {
        assert_eq!(parse(key, text), Err(error.to_owned()));
    }
    let long = parse("count", &"9".repeat(10_000)).unwrap_err();
    assert!(long.len() < 150, "{long}");
}

#[test]
fn measurement_has_defaults_of_its_family() {
    let decode = |values: &[(&str, Value)], family| {
        let octets = method().encode(&given(values), family).unwrap();
        ProbeParams::decode(&octets).unwrap()
    };
    let four = decode(&[("destination.ip4", address("192.0.2.1"))], Family::V4);
    assert_eq!(four, ProbeParams::with("192.0.2.1".parse().unwrap()));
    let six = decode(
        &[
            ("destination.{ip}", address("::1")),
            ("bytes", Value::None),
            ("when.count", Value::U64(9)),
        ],
        Family::V6,
    );
    assert_eq!(six, ProbeParams { count: 9, ..ProbeParams::with("::1".parse().unwrap()) });
    assert_eq!((four.size, six.size), (84, 56));
}

#[test]
fn values_of_neighbouring_types_are_taken_for_what_they_mean() {
    let values = given(&[
        ("destination", Value::Text("192.0.2.1".to_owned())),
        ("source", address("0.0.0.0")),
        ("size", Value::F64(100.0)),
        ("confidence", Value::F64(95.0)),
        ("offset", Value::U64(5)),
        ("share", Value::U64(1)),
        ("rr", Value::Text("True".to_owned())),
        ("gssentry", address("192.0.2.9")),
        ("url", Value::Text("*".to_owned())),
    ]);
    let octets = method().encode(&values, Family::V4).unwrap();
    let params = ProbeParams::decode(&octets).unwrap();
    let expected = ProbeParams {
        size: 100,
        confidence: 95,
        offset: 5,
        share: 1.0,
        rr: true,
        gss: vec!["192.0.2.9".parse().unwrap()],
        url: "*".to_owned(),
        ..ProbeParams::with("192.0.2.1".parse().unwrap())
    };
    assert_eq!(params, expected);
}

#[test]
fn given_parameters_that_make_no_sense_are_refused() {
    let refused = |values: &[(&str, Value)]| {
        method().encode(&given(values), Family::V4).unwrap_err().to_string()
    };
    assert_eq!(refused(&[]), "destination.ip4 is required");
    assert_eq!(
        refused(&[("sise", Value::U64(1))]),
        "sise is no parameter of probe (did you mean size?)"
    );
    assert_eq!(
        refused(&[("size", Value::U64(100)), ("scamper.ping.size", Value::U64(100))]),
        "size is given twice, also as scamper.ping.size",
    );
    assert_eq!(
        refused(&[("size", Value::U64(1))]),
        "scamper.ping.size is 1, accepted: 28 ... 65535"
    );
    assert_eq!(
        refused(&[("size", Value::F64(84.5))]),
        "scamper.ping.size is 84.5, accepted: 28 ... 65535"
    );
    assert_eq!(refused(&[("rr", Value::U64(2))]), "scamper.ping.rr is 2, accepted: true or false");
    assert_eq!(
        refused(&[("destination", address("::1"))]),
        "destination.ip4 is \"::1\", accepted: an IPv4 address",
    );
}

#[test]
fn parameter_offers_what_it_accepts() {
    let method = method();
    let text = |key: &str| method.parameter(key).unwrap().constraint().to_string();
    assert_eq!(text("destination"), "*");
    assert_eq!(text("count"), "1 ... 65535");
    assert_eq!(text("period"), "*");
    assert_eq!(text("method"), "icmp-echo,icmp-time,udp");
    assert_eq!(text("rr"), "False,True");
    assert_eq!(text("confidence"), "0,95,99");
    assert_eq!(text("option"), "*");
}

#[test]
fn specification_has_defaults_and_presets_of_its_view() {
    let method = method();
    let view = &method.capabilities[0];
    let destination = ("destination.ip4", address("192.0.2.1"));
    let params = |values: &[(&str, Value)]| {
        let values = method.specified(view, &given(values), Family::V4).unwrap();
        ProbeParams::decode(&method.encode(&values, Family::V4).unwrap()).unwrap()
    };
    let whole = params(&[destination.clone(), ("scamper.ping.size", Value::Text("99".to_owned()))]);
    assert_eq!((whole.size, whole.rr), (99, true));
    let bare = params(&[destination.clone(), ("scamper.ping.size", Value::Text("*".to_owned()))]);
    assert_eq!((bare.size, bare.rr), (85, true));

    let error = method
        .specified(view, &given(&[("scamper.ping.rr", Value::Bool(false))]), Family::V4)
        .unwrap_err();
    assert_eq!(error.to_string(), "scamper.ping.rr is no parameter of probe-ip4");
    let mut sourceless = method.clone();
    sourceless.parameters.retain(|parameter| parameter.element != "source.{ip}");
    let values = given(&[destination, ("source.ip4", address("192.0.2.2"))]);
    let values = sourceless.specified(view, &values, Family::V4).unwrap();
    assert!(sourceless.encode(&values, Family::V4).is_ok());
}

#[test]
fn flags_are_elements_without_their_prefix() {
    let cases = [
        ("scamper.ping.icmp.checksum", "icmp-checksum"),
        ("scamper.trace.M", "M"),
        ("sonde.ping.wait", "wait"),
        ("when.count", "count"),
        ("destination.{ip}", "destination"),
        ("bin", "bin"),
    ];
    for (element, flag) in cases {
        assert_eq!(Parameter::flag_of(element), flag);
    }
}

#[test]
fn descriptor_comes_back_from_its_json() {
    let descriptor = descriptor();
    assert_eq!(Descriptor::from_json(&descriptor.to_json()), Ok(descriptor.clone()));
    assert_eq!(descriptor.api, "1.0.0");
    assert_eq!(descriptor.method("probe").map(|(index, _)| index), Some(0));
    assert_eq!(method().table("replies").map(|(index, _)| index), Some(0));
}

#[test]
fn members_that_a_host_does_not_know_are_ignored() {
    let mut json: Json = serde_json::from_str(&descriptor().to_json()).unwrap();
    json["colour"] = json!("red");
    json["methods"][0]["parameters"][2]["smell"] = json!({"of": ["roses"]});
    json["methods"][0]["capabilities"][0]["results"][0]["weight"] = json!(1);
    assert_eq!(Descriptor::from_json(&json.to_string()), Ok(descriptor()));
}

/// The error after a change of the good descriptor.
fn refusal(pointer: &str, value: Json) -> String {
    let mut json: Json = serde_json::from_str(&descriptor().to_json()).unwrap();
    match json.pointer_mut(pointer) {
        Some(place) => *place = value,
        None => {
            let (parent, member) = pointer.rsplit_once('/').unwrap();
            json.pointer_mut(parent).unwrap()[member] = value;
        }
    }
    Descriptor::from_json(&json.to_string()).expect_err(pointer).to_string()
}

#[test]
fn descriptors_that_make_no_sense_are_refused_by_name() {
    let parameter = "/methods/0/parameters";
    let view = "/methods/0/capabilities/0";
    let method_twice = json!([method(), method()]);
    let twin = |index: usize| serde_json::to_value(&method().parameters[index]).unwrap();
    let cases = [
        ("/descriptor".to_owned(), json!(2), "descriptor version 2, this host knows 1"),
        ("/plugin".to_owned(), json!("../etc"), "plugin: \"../etc\" is no name"),
        ("/version".to_owned(), json!(""), "version: \"\" is no version"),
        ("/methods".to_owned(), json!([]), "methods: 0 entries, accepted: 1 to 64"),
        ("/methods".to_owned(), method_twice, "methods: \"probe\" is there twice"),
        ("/methods/0/name".to_owned(), json!("Probe"), "Probe: a method's name is in lower case"),
        (
            "/methods/0/doc".to_owned(),
            json!("a\u{1b}[2J"),
            "probe: a text holds a control character",
        ),
        (format!("{parameter}/3"), twin(2), "probe.parameters: \"when.count\" is there twice"),
        (
            format!("{parameter}/3/name"),
            json!("count"),
            "probe.parameters: \"count\" is there twice",
        ),
        (
            format!("{parameter}/3/alias"),
            json!("count"),
            "probe.parameters: \"count\" is there twice",
        ),
        (format!("{parameter}/3/short"), json!("c"), "probe.parameters: \"c\" is there twice"),
        (
            format!("{parameter}/3/element"),
            json!("a..b"),
            "probe.parameters.period: \"a..b\" is no element",
        ),
        (
            format!("{parameter}/2/min"),
            json!("x"),
            "probe.parameters.count: min \"x\" is no natural",
        ),
        (
            format!("{parameter}/2/min"),
            json!(65_536),
            "probe.parameters.count: min 65536 is more than max 65535",
        ),
        (
            format!("{parameter}/2/default"),
            json!(0),
            "probe.parameters.count: default: is 0, accepted: 1 ... 65535",
        ),
        (
            format!("{parameter}/2/default_ip6"),
            json!([1]),
            "probe.parameters.count: default_ip6 [1] is no natural",
        ),
        (
            format!("{parameter}/4/default"),
            json!("icmp"),
            "probe.parameters.method: default \"icmp\" is no string",
        ),
        (
            format!("{parameter}/2/type"),
            json!("time"),
            "probe.parameters.count: a parameter cannot be a time",
        ),
        (
            "/methods/0/tables/0/columns/1/name".to_owned(),
            json!("seq"),
            "probe.tables.replies: \"seq\" is there twice",
        ),
        (
            "/methods/0/tables/0/columns/0/items".to_owned(),
            json!("natural"),
            "probe.tables.replies.seq: has items but is no list",
        ),
        (
            "/methods/0/text".to_owned(),
            json!({"head": "to {nosuch|ms}"}),
            "probe.text: probe has no parameter \"nosuch\"",
        ),
        (
            "/methods/0/text".to_owned(),
            json!({"lines": [{"table": "replies", "when": ["!nosuch=1"], "text": ""}]}),
            "probe.text: replies has no column \"nosuch\"",
        ),
        (
            "/methods/0/text".to_owned(),
            json!({"lines": [{"table": "replies", "text": "{seq} {nosuch}"}]}),
            "probe.text: replies has no column \"nosuch\"",
        ),
        (
            format!("{view}/table"),
            json!("x"),
            "probe.capabilities.probe-{ip}: probe has no table \"x\"",
        ),
        (
            format!("{view}/results/0/column"),
            json!("x"),
            "probe.capabilities.probe-{ip}.delay.twoway.icmp.us.min: replies has no column \"x\"",
        ),
        (
            format!("{view}/conditions/0/column"),
            json!("x"),
            "probe.capabilities.probe-{ip}: replies has no column \"x\"",
        ),
        (
            format!("{view}/parameters/1/element"),
            json!("bin"),
            "probe.capabilities.probe-{ip}.bin: probe has no such parameter",
        ),
        (
            format!("{view}/parameters/2/default"),
            json!(1),
            "probe.capabilities.probe-{ip}.scamper.ping.size: default: is 1, accepted: 28 ... 65535",
        ),
        (
            format!("{view}/presets/0/value"),
            json!("x"),
            "probe.capabilities.probe-{ip}: preset \"x\" is no boolean",
        ),
        (
            format!("{view}/parameters/1/constraint"),
            json!({"range": [2, 1]}),
            "probe.capabilities.probe-{ip}.destination.{ip}: a range is of two numbers, the smaller one first",
        ),
        (
            format!("{view}/parameters/1/constraint"),
            json!({"set": ["a,b"]}),
            "probe.capabilities.probe-{ip}.destination.{ip}: an item of a set is empty or holds a comma",
        ),
        (
            format!("{view}/results/0/divisor"),
            json!(0),
            "probe.capabilities.probe-{ip}.delay.twoway.icmp.us.min: is divided by 0",
        ),
        (
            "/methods/0/text".to_owned(),
            json!({"lines": [{"table": "x", "text": ""}]}),
            "probe.text: probe has no table \"x\"",
        ),
    ];
    for (pointer, value, error) in cases {
        assert_eq!(refusal(&pointer, value), error, "{pointer}");
    }
    assert!(
        refusal("/methods/0/needs/0", json!("teleport"))
            .starts_with("descriptor: unknown variant `teleport`")
    );
}

#[test]
fn a_want_that_the_host_does_not_know_is_not_granted_and_harms_nobody() {
    let mut json = serde_json::to_value(Descriptor::new("p", "1.0.0", vec![method()])).unwrap();
    json["methods"][0]["wants"] = json!(["teleport", "ip_options"]);
    let descriptor = Descriptor::from_json(&json.to_string()).unwrap();
    assert_eq!(descriptor.methods[0].wants, [Need::IpOptions]);
    json["methods"][0].as_object_mut().unwrap().remove("wants");
    let descriptor = Descriptor::from_json(&json.to_string()).unwrap();
    assert_eq!(descriptor.methods[0].wants, []);
}

#[test]
fn descriptor_that_is_too_large_is_not_read() {
    let json = " ".repeat(MAX_DESCRIPTOR_OCTETS + 1);
    assert_eq!(
        Descriptor::from_json(&json),
        Err(DescriptorError::TooLong(MAX_DESCRIPTOR_OCTETS + 1)),
    );
    let parameters: Vec<Json> = (0..300)
        .map(|index| {
            json!({"name": format!("p{index}"), "element": format!("p{index}"), "type": "natural"})
        })
        .collect();
    assert_eq!(
        refusal("/methods/0/parameters", json!(parameters)),
        "probe.parameters: 300 entries, accepted: 0 to 256",
    );
    let mut deep = json!({"name": "x", "type": "natural"});
    for _ in 0..12 {
        deep = json!({"name": "x", "type": "map", "fields": [deep]});
    }
    assert!(refusal("/methods/0/tables/0/columns/0", deep).ends_with(": nested too deep"));
    let brackets = format!("{{\"descriptor\":{}", "[".repeat(100_000));
    assert!(matches!(Descriptor::from_json(&brackets), Err(DescriptorError::Form(_))));
}

#[test]
fn record_schema_has_every_parameter_and_column() {
    let schema = method().record_schema();
    let at = |pointer: &str| schema.pointer(pointer).cloned().unwrap_or_default();
    assert_eq!(at("/properties/method"), json!({"const": "probe"}));
    let parameters = "/properties/parameters/properties";
    assert_eq!(
        at(&format!("{parameters}/size")),
        json!({"type": "integer", "minimum": 28, "maximum": 65535, "default": 84}),
    );
    assert_eq!(at(&format!("{parameters}/confidence/enum")), json!([0, 95, 99]));
    assert_eq!(at(&format!("{parameters}/gssentry/items")), json!({"type": "string"}));
    let columns = "/properties/tables/properties/replies/items";
    assert_eq!(at(&format!("{columns}/required")), json!(["seq", "rtt_us", "kind", "inner"]));
    assert_eq!(
        at(&format!("{columns}/properties/rtt_us")),
        json!({"type": ["integer", "null"], "minimum": 0, "description": "Of the reply. In us."}),
    );
    assert_eq!(
        at(&format!("{columns}/properties/kind")),
        json!({"type": ["string", "null"], "enum": ["icmp-echo", "icmp-time", "udp", null]}),
    );
    assert_eq!(
        at(&format!("{columns}/properties/inner/items/properties/at")),
        json!({"type": "string", "format": "date-time"}),
    );
}

proptest! {
    #[test]
    fn no_text_makes_a_parameter_panic(
        index in 0..15_usize,
        text in "\\PC{0,16}|[0-9a-fx.,:*es -]{0,24}",
    ) {
        let method = method();
        let parameter = &method.parameters[index];
        if let Ok(value) = parameter.parse(&text, None) {
            // what was accepted is accepted again in its own form
            prop_assert_eq!(parameter.check(&value).is_ok(), !(parameter.required && value.is_none()));
            let json = parameter.from_json(&value.to_json());
            prop_assert_eq!(json, (!value.is_none()).then_some(value));
        }
    }

    #[test]
    fn damaged_descriptors_are_read_without_panic(
        place in any::<prop::sample::Index>(),
        text in "[\\[\\]{}\",:0-9a-z.-]{0,3}",
    ) {
        let mut json = descriptor().to_json();
        let place = place.index(json.len());
        json.replace_range(place..place + 1, &text);
        if let Ok(descriptor) = Descriptor::from_json(&json) {
            for method in &descriptor.methods {
                let _ = method.record_schema();
                for view in &method.capabilities {
                    let _ = view.evaluate(&method.tables[0], &[]);
                }
            }
        }
    }

    #[test]
    fn octets_are_read_as_rows_without_panic(octets: Vec<u8>) {
        let _ = Reader::all(&octets);
        let _ = method().tables[0].decode_row(&octets);
        let _ = ProbeParams::decode(&octets);
    }
}

#[test]
fn a_plugin_that_panics_in_place_of_describing_itself_is_told_with_its_words() {
    let words = "no such table at src/lib.rs:37\n".to_owned();
    let text = InPlaceOfOne { error: words }.to_json();
    let error = Descriptor::from_json(&text).unwrap_err();
    assert_eq!(error.to_string(), "it panicked: no such table at src/lib.rs:37");
}
