//! What the parameters put on the wire.

use super::*;

#[test]
fn ports_ttl_hole_and_request_are_on_the_wire_and_nobody_is_asked_for_an_echo_who_does_not_want_it()
{
    let params = StingParams {
        sport: 40_001,
        dport: 8080,
        ttl: 33,
        hole: 5,
        ping: false,
        request: Some("HELLO WORLD!".to_owned()),
        ..sting(TARGET4, 6)
    };
    let run = run_in(net(), params);
    assert_eq!(summary(&run).result, Ending::Completed, "{run}");
    assert_eq!(request(&run), b"HELLO WORLD");
    let syn = run.exchange().sent().next().unwrap();
    let mut offered = TcpView::new(IpHeader::parse(syn).unwrap().transport(syn)).options();
    assert!(!offered.any(|option| option == TcpOption::SackPermitted), "{run}");
    let mut data = Vec::new();
    for packet in run.exchange().sent() {
        let header = IpHeader::parse(packet).unwrap();
        assert_eq!((header.ttl, header.protocol), (33, protocol::TCP), "{run}");
        let view = TcpView::new(header.transport(packet));
        assert_eq!((view.source_port(), view.destination_port()), (Some(40_001), Some(8080)));
        if !view.payload().is_empty() {
            data.push(view.payload().len());
        }
    }
    assert_eq!(data, [1, 1, 1, 1, 1, 1, 5], "samples, then the hole");
    let asks = run_in(net(), sting(TARGET4, 6));
    let headers = asks.exchange().sent().map(|packet| IpHeader::parse(packet).unwrap());
    assert_eq!(headers.filter(|header| header.protocol == protocol::ICMP).count(), 3);
}
