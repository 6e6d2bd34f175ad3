//! What the parameters put on the wire.

use sonde_plugin_api::{packet::tcp::TcpView, tcp::Options};

use super::*;

fn run_with(params: TbitParams, behaviour: Behaviour) -> (Run, SummaryRow) {
    let net = Net::draw("vantage - target\n target 198.51.100.9");
    let run = Sim::new(net.host("target", PageServer::new(behaviour)), 1).run::<Tbit>(params);
    let row = run.typed::<SummaryRow>("summary").remove(0);
    (run, row)
}

fn plain(test: Test) -> TbitParams {
    TbitParams { test, ..TbitParams::with(TARGET.parse().unwrap()) }
}

#[test]
fn ports_ttl_and_largest_segment_are_on_the_wire() {
    let params = TbitParams {
        sport: 40_001,
        dport: 8080,
        ttl: 33,
        mss: 600,
        wscale: 3,
        ..plain(Test::Null)
    };
    let (run, _) = run_with(params, LINUX);
    for (number, packet) in run.exchange().sent().enumerate() {
        let header = IpHeader::parse(packet).unwrap();
        let transport = header.transport(packet);
        let view = TcpView::new(transport);
        assert_eq!(header.ttl, 33, "{run}");
        assert_eq!((view.source_port(), view.destination_port()), (Some(40_001), Some(8080)));
        if number == 0 {
            let offered = Options::parse(&transport[20..view.header_octets().unwrap()]);
            assert_eq!((offered.mss, offered.window_scale), (Some(600), Some(3)));
        }
    }
}

#[test]
fn packets_too_big_tell_the_mtu_and_are_as_many_as_may_be() {
    let params = || TbitParams { mtu: 1000, attempts: 2, ..plain(Test::Pmtud) };
    let (run, row) = run_with(params(), LINUX);
    assert_eq!((row.result, row.size_after), (Verdict::PmtudSuccess, Some(1000)), "{run}");
    let (run, row) = run_with(params(), Behaviour { obeys_too_big: false, ..LINUX });
    assert_eq!((row.result, row.ptb_sent), (Verdict::PmtudFail, Some(2)), "{run}");
    let told = run.exchange().sent().filter_map(|packet| {
        let header = IpHeader::parse(packet).unwrap();
        let message = header.transport(packet);
        (header.protocol == protocol::ICMP).then(|| u16::from_be_bytes([message[6], message[7]]))
    });
    assert_eq!(told.collect::<Vec<_>>(), [1000, 1000], "{run}");
}

#[test]
fn blind_segments_are_as_many_and_as_far_off_as_is_said() {
    let ignores = Behaviour { blind: Blind::Ignores, ..LINUX };
    let (run, row) =
        run_with(TbitParams { offset: 25, attempts: 1, ..plain(Test::BlindRst) }, ignores);
    assert_eq!((row.result, row.blind_sent), (Verdict::BlindIgnored, Some(1)), "{run}");
    let rows = run.table("packets");
    let sent = |bits: &str, key: &str| -> Vec<i64> {
        let rows = rows.iter().filter(|row| row["way"] == "tx" && row["flags"] == bits);
        rows.map(|row| row[key].as_i64().unwrap()).collect()
    };
    assert_eq!(sent("RST", "seq"), [1 + sent("PSH|ACK", "octets")[0] + 25], "{run}");
    let params = TbitParams { offset: -80_000, attempts: 1, ..plain(Test::BlindData) };
    let (run, _) = run_with(params, ignores);
    let rows = run.table("packets");
    assert_eq!(rows.iter().filter(|row| row["ack"] == 1 - 80_000).count(), 1, "{run}");
}

#[test]
fn over_ipv6_a_path_mtu_is_told_with_as_much_of_the_packet_as_every_link_takes() {
    let verdict = |behaviour| {
        let net = Net::draw("vantage - target\n target 2001:db8:9::9");
        let params =
            TbitParams { test: Test::Pmtud, ..TbitParams::with("2001:db8:9::9".parse().unwrap()) };
        let server = PageServer::new(Behaviour { mss: 1440, ..behaviour });
        let run = Sim::new(net.host("target", server), 1).run::<Tbit>(params);
        for packet in run.exchange().sent() {
            let header = IpHeader::parse(packet).unwrap();
            if header.protocol == protocol::ICMPV6 {
                assert_eq!((packet.len(), &packet[44..48]), (1280, &1280_u32.to_be_bytes()[..]));
            }
        }
        run.typed::<SummaryRow>("summary")[0].result
    };
    let deaf = Behaviour { obeys_too_big: false, ..LINUX };
    assert_eq!(verdict(LINUX), Verdict::PmtudSuccess);
    assert_eq!(verdict(deaf), Verdict::PmtudFail);
    assert_eq!(verdict(Behaviour { cuts: true, ..deaf }), Verdict::PmtudSuccess);
}

#[test]
fn a_server_sends_no_larger_segments_than_it_is_offered_and_its_window_is_counted_in_them() {
    for (mss, segments) in [(600, 10), (64, 10), (1, 10)] {
        let (run, row) = run_with(TbitParams { mss, ..plain(Test::Icw) }, LINUX);
        let found = (row.result, row.icw_segments, row.icw_octets);
        let octets = u32::from(mss) * segments;
        assert_eq!(found, (Verdict::IcwSuccess, Some(segments), Some(octets)), "{run}");
    }
}
