//! What answers say, and which ones are not believed.

use super::*;

/// Makes what the second router says an error of this type and code.
struct Other(u8, u8);

impl Middlebox for Other {
    fn forward(&mut self, packet: &mut Vec<u8>, _: Way, _: Duration) -> Verdict {
        let header = packet::IpHeader::parse(packet).unwrap();
        if header.source.to_string().ends_with('2') && header.protocol != packet::protocol::UDP {
            edit::edit(packet, |packet| {
                packet[header.header_octets] = self.0;
                packet[header.header_octets + 1] = self.1;
            });
        }
        Verdict::Pass
    }
}

#[test]
fn an_error_that_says_nothing_of_the_way_behind_it_is_no_end() {
    let text = "vantage - 1 - 2 - 3 - target";
    for (target, kind, code) in
        [(TARGET4, 11, 1), (TARGET4, 12, 0), (TARGET6, 3, 1), (TARGET6, 4, 0)]
    {
        let first = if target == TARGET4 { "10.0.0.1" } else { "fd00::1" };
        let net = Net::draw(&drawn(text, target)).middlebox(first, Other(kind, code));
        let run = Sim::new(net, 3).run::<Tracelb>(towards(target));
        run.expect(
            short(&run) == set("1-2 2-3 3-9"),
            "the way behind the second router is not there",
        );
        run.expect(run.stop == "reached", "not reached");
    }
}

#[test]
fn a_probe_cannot_be_answered_by_who_has_seen_another_run() {
    for target in [TARGET4, TARGET6] {
        for method in Kind::ALL.iter().copied() {
            let first = if target == TARGET6 { 40 } else { 20 };
            // What every router quotes.
            let evidence = |packet: &[u8]| packet[first..first + 8].to_vec();
            let sent = |seed| -> BTreeSet<Vec<u8>> {
                let run =
                    explore(UNIFORM, target, seed, TracelbParams { method, ..towards(target) });
                run.exchange().sent().map(evidence).collect()
            };
            let both = sent(1).intersection(&sent(2)).count();
            assert_eq!(both, 0, "{method} to {target}");
        }
    }
}

#[test]
fn an_error_with_a_wrong_checksum_is_no_answer() {
    let text = "vantage - 1 - 2 - 3 - target\n 2 bad-checksum";
    let run = explore(text, TARGET4, 1, towards(TARGET4));
    run.expect(short(&run) == set("1-* *-3 3-9"), "a router that cannot be believed is there");
}

#[test]
fn answers_that_come_twice_or_late_make_no_links() {
    for algorithm in Algorithm::ALL.iter().copied() {
        let params = TracelbParams { algorithm, confidence: 99, ..towards(TARGET4) };
        let net = Net::draw(&drawn(UNIFORM, TARGET4)).duplicate_back("10.0.0.1", 1..=1_000);
        let run = Sim::new(net, 1).run::<Tracelb>(params.clone());
        run.expect(short(&run) == set(UNIFORM_LINKS), "twice");
        run.expect(run.counters.duplicates > 20, "nothing came twice");
        let run = explore(&format!("{UNIFORM}\n 3 slow 1500ms"), TARGET4, 1, params);
        let expected = UNIFORM_LINKS.replace("2-3", "2-*").replace("3-6", "*-6");
        run.expect(short(&run) == set(&expected), "late");
        run.expect(run.counters.late > 0, "nothing came late");
    }
}
