//! What tbit does below TCP: options of IP on the SYN, and packets too big in a router's name.

use super::*;

fn params(option: &str) -> TbitParams {
    let option = Some(option.to_owned());
    TbitParams { option, ..TbitParams::with(TARGET.parse().unwrap()) }
}

fn sim(behaviour: Behaviour) -> Sim {
    let net = Net::draw(
        "vantage - r1 - r2 - target
         r1 192.0.2.254
         r2 203.0.113.2
         target 198.51.100.9",
    );
    Sim::new(net.host("target", PageServer::new(behaviour)), 1)
}

fn summary(run: &Run) -> SummaryRow {
    run.expect_done();
    run.typed::<SummaryRow>("summary").remove(0)
}

/// Numbers of the IP options of each packet that was sent.
fn options_sent(run: &Run) -> Vec<Vec<u8>> {
    let kinds = |packet: &[u8]| {
        let header = IpHeader::parse(packet).unwrap();
        sonde_plugin_api::packet::ip_option::list(&packet[20..header.header_octets])
            .map(|option| option[0])
            .collect()
    };
    run.exchange().sent().map(kinds).collect()
}

#[test]
fn an_option_of_ip_stands_on_the_syn_alone_and_what_came_of_it_is_told() {
    for (name, kind) in [("ipts-syn", 68), ("iprr-syn", 7), ("ipqs-syn", 25)] {
        let run = sim(LINUX).run::<Tbit>(params(name));
        let row = summary(&run);
        assert_eq!((row.result, row.ip_option_back), (Verdict::NullSuccess, Some(true)), "{run}");
        let sent = options_sent(&run);
        assert_eq!(sent[0], [kind], "{run}");
        assert!(sent.len() > 3 && sent[1..].iter().all(Vec::is_empty), "{run}");
        let row = summary(
            &sim(Behaviour { ip_options: IpOptions::Strips, ..LINUX }).run::<Tbit>(params(name)),
        );
        assert_eq!((row.result, row.ip_option_back), (Verdict::NullSuccess, Some(false)));
        let run =
            sim(Behaviour { ip_options: IpOptions::Drops, ..LINUX }).run::<Tbit>(params(name));
        let row = summary(&run);
        assert_eq!((row.result, row.ip_option_back), (Verdict::NoConnection, None), "{run}");
    }
    let row = summary(&sim(LINUX).run::<Tbit>(params("sack")));
    assert_eq!((row.ip_option_back, row.ip_recorded), (None, Vec::new()));
}

#[test]
fn a_route_that_is_recorded_there_and_back_is_told() {
    let row = summary(&sim(LINUX).run::<Tbit>(params("iprr-syn")));
    assert!(row.ip_recorded.len() >= 2, "{:?}", row.ip_recorded);
}

#[test]
fn one_option_of_ip_is_accepted_and_in_ipv4_alone() {
    let refusal = |params| format!("{:?}", sim(LINUX).run::<Tbit>(params).status);
    let refused = refusal(params("ipts-syn,iprr-syn"));
    assert!(refused.contains("has ipts-syn, iprr-syn, accepted: one of them"), "{refused}");
    let six = TbitParams { destination: "2001:db8::9".parse().unwrap(), ..params("iprr-syn") };
    let refused = refusal(six);
    assert!(refused.contains("iprr-syn for 2001:db8::9, accepted: with an IPv4"), "{refused}");
    let mixed = TbitParams { ptbsrc: Some("2001:db8::5".parse().unwrap()), ..params("") };
    let refused = refusal(mixed);
    assert!(refused.contains("scamper.tbit.ptbsrc is 2001:db8::5, accepted: "), "{refused}");
}

#[test]
fn packets_too_big_come_from_the_router_that_is_named_where_the_operator_permits_it() {
    let ptbsrc: IpAddr = "203.0.113.2".parse().unwrap();
    let params = || TbitParams { test: Test::Pmtud, ptbsrc: Some(ptbsrc), ..params("") };
    let errors = |run: &Run| -> Vec<IpAddr> {
        let headers = run.exchange().sent().map(|packet| IpHeader::parse(packet).unwrap());
        headers.filter(|it| it.protocol == protocol::ICMP).map(|it| it.source).collect()
    };
    let run = sim(LINUX).run::<Tbit>(params());
    assert_eq!(summary(&run).result, Verdict::PmtudSuccess, "{run}");
    assert_eq!(errors(&run), [ptbsrc]);
    let run = sim(LINUX).forbid(Need::Spoof).run::<Tbit>(params());
    assert!(matches!(run.status, sonde_testkit::Status::Failed { .. }), "{run}");
    let row = run.typed::<SummaryRow>("summary").remove(0);
    let found = (row.result, row.scope, row.ptb_sent);
    assert_eq!(found, (Verdict::LocalError, Scope::Local, None), "{run}");
    assert_eq!(errors(&run), [] as [IpAddr; 0]);
    assert!(run.logs.iter().any(|line| line.text.contains("has to permit spoof")), "{run}");
}
