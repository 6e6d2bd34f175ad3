//! What probes look like on the wire.

use sonde_packet::{IpHeader, Verdict, tcp::TcpView, verify};

use super::*;
use crate::Probe;

/// Packets that a flow of `spec` makes of probes.
fn packets(spec: FlowSpec, source: &str, probes: Vec<Probe>) -> Vec<Vec<u8>> {
    use std::cell::RefCell;
    thread_local!(static ORDER: RefCell<Option<(FlowSpec, Vec<Probe>)>> = const { RefCell::new(None) });
    method!(Sends, ctx {
        let (spec, probes) = ORDER.take().expect("set below");
        let flow = ctx.open(spec).await?;
        probes.into_iter().for_each(|probe| flow.send(probe));
        ctx.sleep(ms(1)).await;
        Ok(())
    });
    ORDER.set(Some((spec, probes)));
    let (mut driver, did) = Driver::started::<Sends>();
    let source = mapped(source.parse().unwrap());
    let info = FlowInfo { source, local: 40_000, reserved: 0, mtu: 1500 };
    let token = did[0].action.token;
    let event = Event { kind: EventKind::FlowOpen, token, flow: 5, ..Event::ZERO };
    let did = driver.with_payload(event, &info.to_octets());
    of_kind(&did, ActionKind::Send).into_iter().map(|did| did.octets.clone()).collect()
}

fn four(probes: Vec<Probe>) -> Vec<Vec<u8>> {
    packets(FlowSpec::icmp(peer()), "192.0.2.1", probes)
}

fn six(probes: Vec<Probe>) -> Vec<Vec<u8>> {
    packets(FlowSpec::icmp("2001:db8::9".parse().unwrap()), "2001:db8::1", probes)
}

fn header(packet: &[u8]) -> IpHeader {
    let header = IpHeader::parse(packet).unwrap();
    assert_eq!(verify(packet, &header), Verdict::Good);
    assert_eq!(header.total_octets, packet.len());
    header
}

#[test]
fn an_echo_has_the_usual_size_and_a_payload_nobody_can_guess() {
    let probes = vec![Probe::echo(513), Probe::echo(514)];
    for (sent, octets) in [(four(probes.clone()), 84), (six(probes), 104)] {
        let front = header(&sent[0]);
        assert_eq!((front.ttl, front.tos, sent[0].len()), (64, 0, octets));
        let echo = front.transport(&sent[0]);
        assert_eq!(&echo[4..8], &[156, 64, 2, 1]);
        assert_ne!(echo[8..16], [0; 8]);
        assert_ne!(echo[8..16], header(&sent[1]).transport(&sent[1])[8..16]);
        assert_eq!(echo[16..], [0; 48]);
    }
}

#[test]
fn a_payload_of_nothing_is_none() {
    let probes = vec![Probe::echo(1).payload(&[]), Probe::echo(2).payload(&[]).size(40)];
    let octets: Vec<usize> = four(probes).iter().map(Vec::len).collect();
    assert_eq!(octets, [28, 40]);
    let sent = packets(FlowSpec::udp(peer()), "192.0.2.1", vec![Probe::udp(1).payload(&[])]);
    assert_eq!(sent[0].len(), 28);
}

#[test]
fn identification_is_never_0_and_differs_from_probe_to_probe() {
    let sent = packets(FlowSpec::udp(peer()), "192.0.2.1", vec![Probe::udp(1); 70_000]);
    let mut seen = vec![0; 65_536];
    for packet in &sent[..65_535] {
        seen[header(packet).identification.unwrap() as usize] += 1;
    }
    assert_eq!(seen[0], 0);
    assert!(seen[1..].iter().all(|count| *count == 1));
}

#[test]
fn what_is_chosen_is_what_goes_out() {
    let probe =
        Probe::udp(33_435).ttl(3).tos(0x2e).ip_id(0).dont_fragment(false).checksum(9).size(44);
    let sent = packets(FlowSpec::udp(peer()).tos(7), "192.0.2.1", vec![probe, Probe::udp(1)]);
    let front = header(&sent[0]);
    assert_eq!((front.ttl, front.tos, front.identification), (3, 0x2e, Some(0)));
    assert_eq!((front.dont_fragment, sent[0].len()), (false, 44));
    assert_eq!(front.transport(&sent[0])[..8], [156, 64, 130, 155, 0, 24, 0, 9]);
    let front = header(&sent[1]);
    assert_eq!((front.tos, front.dont_fragment, sent[1].len()), (7, true, 40));
}

#[test]
fn payloads_are_what_they_are_said_to_be() {
    let sent = four(vec![
        Probe::echo(0).payload(b"abc"),
        Probe::echo(0).payload(b"abc").pattern(b"xy").payload_octets(8),
        Probe::echo(0).payload(b"abc").payload_octets(2),
        Probe::echo(0).pattern(b"xyz").size(36),
        Probe::echo(0).zeros(9),
        Probe::echo(0).payload_octets(3),
    ]);
    let payload = |index: usize| header(&sent[index]).transport(&sent[index])[8..].to_vec();
    assert_eq!(payload(0), b"abc");
    assert_eq!(payload(1), b"abcxyxyx");
    assert_eq!(payload(2), b"ab");
    assert_eq!(payload(3), b"xyzxyzxy");
    assert_eq!(payload(4), [0; 9]);
    assert_eq!(payload(5).len(), 3);
}

#[test]
fn a_tcp_segment_has_its_options_and_numbers() {
    let options = [2, 4, 5, 180, 1];
    let probe = Probe::tcp_syn(80, 0x0102_0304).window(1024).tcp_options(&options).urgent(3);
    for (spec, source) in [
        (FlowSpec::tcp(peer()), "192.0.2.1"),
        (FlowSpec::tcp("2001:db8::9".parse().unwrap()), "2001:db8::1"),
    ] {
        let probes = vec![probe.clone(), Probe::tcp(80), Probe::tcp(80)];
        let sent = packets(spec, source, probes);
        let front = header(&sent[0]);
        let view = TcpView::new(front.transport(&sent[0]));
        assert_eq!((view.source_port(), view.destination_port()), (Some(40_000), Some(80)));
        assert_eq!((view.sequence(), view.acknowledgement()), (Some(0x0102_0304), Some(0)));
        assert_eq!((view.flags(), view.window(), view.urgent()), (Some(2), Some(1024), Some(3)));
        assert_eq!(front.transport(&sent[0]).len(), 28);
        // What is not chosen cannot be guessed.
        let number = |index: usize| {
            let front = header(&sent[index]);
            let view = TcpView::new(front.transport(&sent[index]));
            (view.sequence(), view.acknowledgement())
        };
        assert_ne!(number(1), number(2));
        assert_eq!(sent[1].len(), sent[0].len() - 8);
    }
}

#[test]
fn rare_parts_reach_the_wire() {
    let sent = four(vec![
        Probe::timestamp(4),
        Probe::timestamp(4).originate_ms(5),
        Probe::icmp(17, 0, [1, 2, 3, 4]),
        Probe::echo(1).ip_options(&[7, 3, 4]),
        Probe::other(89).payload(b"hello"),
        Probe::raw(&[0x45; 20]),
    ]);
    // 03:04:05 of the day.
    let originate = 11_045_000_u32.to_be_bytes();
    assert_eq!(header(&sent[0]).transport(&sent[0])[8..12], originate);
    assert_eq!(sent[0].len(), 84);
    assert_eq!(header(&sent[1]).transport(&sent[1])[8..12], [0, 0, 0, 5]);
    assert_eq!(header(&sent[2]).transport(&sent[2])[4..], [1, 2, 3, 4]);
    assert_eq!(sent[3][20..24], [7, 3, 4, 0]);
    assert_eq!((sent[4][9], &sent[4][20..]), (89, &b"hello"[..]));
    assert_eq!(sent[5], [0x45; 20]);
    let sent = six(vec![
        Probe::echo(1).flow_label(0xf_1234).tos(0x15),
        Probe::echo(1).extension_headers(60, &[58, 0, 1, 4, 0, 0, 0, 0]),
    ]);
    assert_eq!(sent[0][..4], [0x61, 0x5f, 0x12, 0x34]);
    assert_eq!((sent[1][6], sent[1].len()), (60, 112));
    assert_eq!(header(&sent[1]).protocol, 58);
}

#[test]
fn a_probe_that_cannot_be_is_not_sent() {
    let sent = four(vec![
        Probe::echo(1).size(27),
        Probe::echo(1).payload_octets(70_000),
        Probe::echo(1).payload_octets(usize::MAX),
        Probe::echo(1).checksum(1).payload_octets(1),
        Probe::echo(1).ip_options(&[1; 41]),
        Probe::raw(&[]),
        Probe::echo(2).size(28),
    ]);
    assert_eq!(sent.len(), 1);
    assert_eq!(six(vec![Probe::timestamp(1)]).len(), 0);
}
