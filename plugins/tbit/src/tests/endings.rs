//! Servers with which a test does not come to what it is about.

use super::*;

/// Answers the SYN, acknowledges data, and sends one more segment behind the handshake.
struct Odd {
    options: &'static [u8],
    window: u16,
    /// Flags of the answer to the SYN beside SYN and ACK.
    synack: u8,
    /// Flags of that segment, if one is sent.
    then: Option<u8>,
}

const PLAIN: Odd = Odd { options: &[], window: 60_000, synack: 0, then: None };

impl Host for Odd {
    fn receive(&mut self, packet: &[u8], _: Duration, net: &mut Outbox<'_>) {
        let header = IpHeader::parse(packet).unwrap();
        let view = TcpView::new(header.transport(packet));
        let is_syn = view.flags().unwrap() & flags::SYN != 0;
        let data = view.payload();
        let behind = view.sequence().unwrap().wrapping_add(data.len() as u32 + u32::from(is_syn));
        let mut answers = Vec::new();
        if is_syn {
            answers.push((flags::SYN | flags::ACK | self.synack, ISN, self.options));
            answers.extend(self.then.map(|bits| (bits, ISN.wrapping_add(1), &[][..])));
        } else if !data.is_empty() {
            answers.push((flags::ACK, ISN.wrapping_add(1), &[]));
        }
        for (flags, sequence, options) in answers {
            let segment = TcpSegment {
                source_port: view.destination_port().unwrap(),
                destination_port: view.source_port().unwrap(),
                sequence,
                acknowledgement: behind,
                flags,
                window: self.window,
                options,
                ..TcpSegment::default()
            };
            let (transport, payload) = (Transport::Tcp(segment), Payload::Octets(&[]));
            let ip = Ip::plain(header.destination, header.source);
            net.send(Packet { ip, transport, payload, checksum: None }.to_vec().unwrap());
        }
    }
}

#[test]
fn a_connection_that_is_of_no_use_has_a_verdict_of_its_own() {
    let malformed = &[2, 1, 0, 0];
    for (test, server, wanted, code) in [
        (Test::Null, Odd { window: 0, ..PLAIN }, Verdict::ZeroWindow, 10),
        (Test::Null, Odd { options: malformed, ..PLAIN }, Verdict::BadOption, 8),
        (Test::Null, Odd { then: Some(flags::FIN | flags::ACK), ..PLAIN }, Verdict::Fin, 9),
        (Test::Null, Odd { then: Some(flags::RST), ..PLAIN }, Verdict::Reset, 2),
        (Test::Null, PLAIN, Verdict::NullNoData, 41),
        (Test::Pmtud, PLAIN, Verdict::PmtudNoData, 21),
        (Test::Ecn, Odd { synack: flags::ECE, ..PLAIN }, Verdict::EcnNoData, 35),
        (Test::Icw, PLAIN, Verdict::None, 0),
        (Test::Abc, PLAIN, Verdict::None, 0),
    ] {
        let params = TbitParams { test, ..TbitParams::with(TARGET.parse().unwrap()) };
        let net = Net::draw("vantage - target\n target 198.51.100.9");
        let run = Sim::new(net.host("target", server), 1).run::<Tbit>(params);
        let row = &run.typed::<SummaryRow>("summary")[0];
        assert_eq!((row.result, row.result_code), (wanted, code), "{test:?} {run}");
    }
}

#[test]
fn every_packet_has_a_row_that_says_what_it_acknowledged() {
    let (run, _) = run(Test::BlindData, LINUX);
    let rows = run.table("packets");
    let wrong = rows.iter().filter(|row| row["way"] == "tx" && row["ack"] == -69_999);
    assert_eq!(wrong.count(), 3, "the blind segments: {run}");
    assert!(rows.iter().next().is_some_and(|row| row["flags"] == "SYN"), "{run}");
    assert!(rows.iter().any(|row| row["way"] == "rx" && row["df"] == true), "{run}");
}

#[test]
fn a_syn_that_cannot_be_sent_is_our_fault_and_fails_the_measurement() {
    const EACCES: i32 = 13;
    let net = Net::draw("vantage - target\n target 198.51.100.9 open-tcp");
    let params = TbitParams::with(TARGET.parse().unwrap());
    let run = Sim::new(net, 1).unsent(EACCES, 1..=3).run::<Tbit>(params);
    assert!(format!("{:?}", run.status).contains("errno 13"), "{run}");
    let row = &run.typed::<SummaryRow>("summary")[0];
    assert_eq!((row.result, row.result_code), (Verdict::LocalError, 4));
    assert_eq!((row.scope, row.answered), (Scope::Local, 0));
}

#[test]
fn who_is_interrupted_says_so_and_closes_with_one_reset() {
    // Before the answer to the SYN, and while the server keeps silent.
    for (ports, at_ms, answered) in [("silent-tcp", 1_000, 0), ("", 1_000, 2)] {
        let net = Net::draw(&format!("vantage - target\n target 198.51.100.9 {ports}"));
        let net = if ports.is_empty() { net.host("target", PLAIN) } else { net };
        let mut sim = Sim::new(net, 1);
        let measurement = sim.start::<Tbit>(TbitParams::with(TARGET.parse().unwrap()));
        sim.run_until(Duration::from_millis(at_ms));
        sim.interrupt(measurement);
        let run = sim.finish(measurement);
        let row = &run.typed::<SummaryRow>("summary")[0];
        assert_eq!((row.result, row.result_code), (Verdict::Halted, 7), "{run}");
        assert_eq!((row.scope, row.answered), (Scope::Local, answered), "{run}");
        let last = run.exchange().sent().last().unwrap().to_vec();
        let bits = TcpView::new(IpHeader::parse(&last).unwrap().transport(&last)).flags();
        assert_eq!(bits.unwrap() & flags::RST, flags::RST, "{run}");
    }
}
