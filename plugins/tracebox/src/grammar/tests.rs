use super::*;

fn parse(text: &str, is_udp: bool, is_v4: bool) -> Result<Spec, String> {
    let parsed = Spec::parse(Some(text), is_udp, is_v4, 0x0102_0304, &mut || 0x0102_0304);
    parsed.map_err(|error| error.to_string())
}

#[test]
fn the_probe_of_the_seed_system_is_understood() {
    let spec = parse("IP/TCP/MSS(1460)/ECE/CE/MPCAPABLE", false, true).unwrap();
    assert_eq!((spec.tos, spec.flags), (1, flags::SYN | flags::ECE | flags::CWR));
    assert_eq!(spec.options, [2, 4, 5, 180, 30, 12, 0, 0x81, 1, 2, 3, 4, 1, 2, 3, 4]);
}

#[test]
fn names_are_whole_and_in_any_case() {
    assert_eq!(parse("ip/tcp/Mss(9)", false, true).unwrap().options, [2, 4, 0, 9]);
    assert_eq!(parse("IPV6/UDP/IPFLOW(5)", true, false).unwrap().flow_label, 5);
    assert_eq!(parse("IP/TCP/TCPAO", false, true).unwrap().options[..2], [29, 20]);
    assert_eq!(parse("IP/TCP(18)", false, true).unwrap().flags, 18);
    assert_eq!(parse("IP/UDP/DSCP(46)/ECT", true, true).unwrap().tos, 46 << 2 | 2);
    assert_eq!(parse("IP/TCP/WSCALE(7)", false, true).unwrap().options, [3, 3, 7, 1]);
    assert_eq!(parse("IP/UDP/IPID(7)", true, true).unwrap().ip_id, Some(7));
}

#[test]
fn payload_window_and_flags_of_the_network_layer_can_be_chosen() {
    let spec = parse("IP/TCP/DF/WINDOW(1024)/TFO/RAW(00fF)", false, true).unwrap();
    assert_eq!((spec.dont_fragment, spec.window), (true, Some(1024)));
    assert_eq!(spec.options, [34, 2, 1, 1]);
    assert_eq!(spec.payload.unwrap(), [0, 0xff]);
    assert_eq!(parse("IPV6/UDP/raw(01)", true, false).unwrap().payload.unwrap(), [1]);
    for text in ["IP/TCP/RAW", "IP/TCP/RAW()", "IP/TCP/RAW(1)", "IP/TCP/RAW(0g)", "IP/TCP/RAW(00"] {
        assert!(parse(text, false, true).unwrap_err().contains("token 3, \"RAW"), "{text}");
    }
    assert!(parse("IPV6/TCP/DF", false, false).unwrap_err().contains("is not of"));
}

#[test]
fn what_is_written_is_sent_or_refused() {
    let ecn = |text| parse(text, false, true).unwrap().flags;
    assert_eq!(ecn("IP/ECE/TCP"), ecn("IP/TCP/ECE"));
    assert_eq!(ecn("IP/ECE/TCP(2)"), ecn("IP/TCP(2)/ECE"));
    for (text, problem) in [
        ("IP/TCP/MSS(1)/MSS(2)", "token 4, \"MSS(2)\": stands twice"),
        ("IP/TCP/RAW(00)/raw(01)", "token 4, \"raw(01)\": stands twice"),
        ("IP/TCP/DSCP(1)/CE/DSCP(2)", "token 5, \"DSCP(2)\": stands twice"),
        ("IP/TCP/TS/TIMESTAMP", "token 4, \"TIMESTAMP\": stands twice"),
    ] {
        assert!(parse(text, false, true).unwrap_err().ends_with(problem), "{text}");
    }
    assert!(parse("IP/TCP/OPTION(9)/OPTION(9)", false, true).is_ok());
}

#[test]
fn values_can_be_given_by_their_names() {
    let keyed =
        parse("IP(tos=0x2e,id=9,df=1)/TCP(flags=0x10,window=5,seq=7,ack=6,urgent=1)", false, true);
    let Spec {
        tos, ip_id, dont_fragment, flags, window, sequence, acknowledgement, urgent, ..
    } = keyed.unwrap();
    assert_eq!((tos, ip_id, dont_fragment), (0x2e, Some(9), true));
    assert_eq!((flags, window, sequence, acknowledgement, urgent), (16, Some(5), Some(7), 6, 1));
    for (one, other) in [
        ("IP/TCP/MSS(1460)", "IP/TCP/mss( Size = 1460 )"),
        ("IP/TCP/WSCALE(7)", "IP/TCP/WINDOWSCALE(shift=7)"),
        ("IP/TCP/TS(value=16909060)", "IP/TCP/TS(echo=16909060,value=0x1020304)"),
        ("IP/TCP/OPTION(kind=254,data=01:02)", "IP/TCP/OPTION(data=0102,kind=0xfe)"),
    ] {
        assert_eq!(parse(one, false, true), parse(other, false, true), "{one} {other}");
    }
    for (token, octets) in [
        ("SACK(left=1,right=2)", "050a00000001000000020101"),
        (
            "AO(key=1,next=2,mac=000102030405060708090a0b0c0d0e0f)",
            "1d140102000102030405060708090a0b0c0d0e0f",
        ),
        ("TFO(cookie=00112233)", "2206001122330101"),
        ("MPCAPABLE(version=1,flags=1,key=0011223344556677)", "1e0c01010011223344556677"),
        ("MPJOIN(address=3,token=00112233,nonce=44556677)", "1e0c10030011223344556677"),
        ("OPTION(kind=253,data=f9)/OPTION(254)", "fd03f9fe02010101"),
    ] {
        let spec = parse(&format!("IP/TCP/{token}"), false, true).unwrap();
        assert_eq!(sonde_plugin_api::text::hex(&spec.options), octets, "{token}");
    }
}

#[test]
fn options_of_ip_are_written_out_in_both_families() {
    for (text, octets) in [
        ("IP/TCP/RR(2)", "070b040000000000000000"),
        ("IP/UDP/IPTS(slots=1,form=1)", "440c05010000000000000000"),
        ("IP/TCP/RTRALERT", "94040000"),
        ("IP/TCP/IPOPTION(kind=30,data=0102)/RR(1)", "1e04010207070400000000"),
    ] {
        let spec = parse(text, text.contains("UDP"), true).unwrap();
        assert_eq!(sonde_plugin_api::text::hex(&spec.ip_options), octets, "{text}");
        assert_eq!(spec.extension_headers, None);
    }
    assert_eq!(parse("IP/TCP/RR", false, true).unwrap().ip_options.len(), 39);
    for (text, first, octets) in [
        ("IPV6/TCP/HOPOPT", 0, "0600010400000000"),
        ("IPV6/UDP/DSTOPT(kind=0x1e,data=0102030405)", 60, "11011e05010203040501050000000000"),
        ("IPV6/TCP/DSTOPT/RTRALERT", 0, "3c000502000001000600010400000000"),
    ] {
        let spec = parse(text, text.contains("UDP"), false).unwrap();
        let (number, headers) = spec.extension_headers.unwrap();
        assert_eq!(
            (number, sonde_plugin_api::text::hex(&headers).as_str()),
            (first, octets),
            "{text}"
        );
    }
}

#[test]
fn a_mistake_is_named_with_its_token() {
    for (text, is_udp, is_v4, expected) in [
        ("IP/TCP/FOO", false, true, "token 3, \"FOO\": is unknown"),
        ("IP/TCP/MSS(70000)", false, true, "token 3, \"MSS(70000)\": size: accepted: 0 ... 65535"),
        ("IP/TCP/MSS(1", false, true, "token 3, \"MSS(1\": a closing"),
        ("IP/TCP/MSS()", false, true, "token 3, \"MSS()\": a value belongs"),
        ("IP/TCP/MSS(-1)", false, true, "token 3, \"MSS(-1)\": size: accepted: 0 ... 65535"),
        ("IP/TCP/ECE(1)", false, true, "token 3, \"ECE(1)\": takes no value"),
        ("IPV6/TCP", false, true, "token 1, \"IPV6\": accepted for this destination: IP"),
        ("IP/UDP", false, true, "token 2, \"UDP\": contradicts"),
        ("IP/UDP/MSS", true, true, "token 3, \"MSS\": is of TCP alone"),
        ("IP/TCP/TCP", false, true, "token 3, \"TCP\": there is"),
        ("TCP/IP", false, true, "token 2, \"IP\": the network layer"),
        ("IP//TCP", false, true, "token 2, \"\": is unknown"),
        ("IP/TCP/MD5/AO/TS", false, true, "token 5, \"TS\": makes 48 octets"),
        ("IP/TCP/IPID(0)", false, true, "token 3, \"IPID(0)\": value: accepted: 1"),
        ("IP/TCP/IPFLOW", false, true, "token 3, \"IPFLOW\": is not of"),
        ("IP/TCP/MSS(1,2)", false, true, "token 3, \"MSS(1,2)\": a second value"),
        ("IP/TCP/MSS(1,size=2)", false, true, "token 3, \"MSS(1,size=2)\": each key"),
        (
            "IP/TCP/TS(ttl=2)",
            false,
            true,
            "token 3, \"TS(ttl=2)\": \"ttl\" is unknown, accepted: value, echo",
        ),
        ("IP/TCP/MD5(01)", false, true, "token 3, \"MD5(01)\": digest: accepted: 16 octets"),
        ("IP/TCP/OPTION(data=00)", false, true, "token 3, \"OPTION(data=00)\": kind is missing"),
        ("IP/TCP/RR/RR(1)", false, true, "token 4, \"RR(1)\": makes 46 octets of IP options"),
        (
            "IP/TCP/IPOPTION(131)",
            false,
            true,
            "token 3, \"IPOPTION(131)\": kind: 131 and 137 are source routes",
        ),
        ("IP/TCP/HOPOPT", false, true, "token 3, \"HOPOPT\": is not of"),
        ("IPV6/TCP/RR", false, false, "token 3, \"RR\": is not of"),
        ("IPV6(id=1)/TCP", false, false, "token 1, \"IPV6(id=1)\": \"id\" is unknown"),
    ] {
        let error = parse(text, is_udp, is_v4).unwrap_err();
        let begin = format!("scamper.tracebox.probe: {expected}");
        assert!(error.starts_with(&begin), "{text}: {error}");
    }
}

#[test]
fn nothing_is_the_usual_probe() {
    for text in [None, Some(""), Some("  ")] {
        let spec = Spec::parse(text, false, true, 0, &mut || 0).unwrap();
        assert_eq!((spec.flags, spec.options.len(), spec.tos), (flags::SYN, 0, 0));
    }
}

#[test]
fn fields_that_no_host_chooses_can_be() {
    let chosen = |text, is_udp| parse(text, is_udp, true).map(|spec| spec.unusual);
    let expected =
        Unusual { ip_reserved: true, tcp_reserved: 5, checksum: Some(0), udp_length: None };
    assert_eq!(chosen("IP(reserved=1)/TCP(reserved=5,checksum=0)", false), Ok(expected));
    let expected = Unusual { udp_length: Some(8), checksum: Some(0xffff), ..Unusual::default() };
    assert_eq!(chosen("IP/UDP(length=8,checksum=0xffff)", true), Ok(expected));
    assert_eq!(
        chosen("IP/UDP(0)", true),
        Ok(Unusual { udp_length: Some(0), ..Unusual::default() })
    );
    for (text, is_udp) in
        [("IP/TCP(reserved=16)", false), ("IP/UDP(reserved=1)", true), ("IP/TCP(length=8)", false)]
    {
        assert!(chosen(text, is_udp).is_err(), "{text}");
    }
    assert!(parse("IPV6(reserved=1)/TCP", false, false).is_err());
}
