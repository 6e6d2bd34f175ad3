//! What supervisors and people see.

use super::*;

#[test]
fn the_average_is_over_answers_of_the_target_in_time() {
    let net = net()
        .and("link r1 <- target drop 3 duplicate 1 reorder 2 by 1500ms")
        .and("link vantage <- r1 reorder 4 by 7ms");
    let run = run_in(net, ping(TARGET4, 5));
    assert_eq!(summary(&run).late, 1, "{run}");
    assert_eq!(view(&run, "ping-average-{ip}"), [[4000, 6333, 11_000, 3].map(Value::U64)]);
}

#[test]
fn an_average_of_no_answers_counts_0_and_has_no_delays() {
    for net in [net().silent("target"), net().attributes("target", "no-echo")] {
        let run = run_in(net, ping(TARGET4, 3));
        let expected = [Value::None, Value::None, Value::None, Value::U64(0)];
        assert_eq!(view(&run, "ping-average-{ip}"), [expected]);
        assert_eq!(view(&run, "ping-detail-{ip}"), Vec::<Vec<Value>>::new());
    }
    let errors = run_in(net(), PingParams { ttl: 1, ..ping(TARGET4, 3) });
    assert_eq!(view(&errors, "ping-average-{ip}")[0][3], Value::U64(0));
}

#[test]
fn the_detail_is_in_the_order_of_the_probes() {
    let params = PingParams { period: ms(10), ..ping(TARGET4, 3) };
    let run = run_in(net().and("link r1 <- target reorder 1 by 25ms"), params);
    let delays: Vec<Value> =
        view(&run, "ping-detail-{ip}").into_iter().map(|row| row[1].clone()).collect();
    assert_eq!(delays, [29_000, 4000, 4000].map(Value::U64));
}

#[test]
fn the_descriptor_is_acceptable() {
    let descriptor = Descriptor::from_json(&describe_json("sonde-ping", "0.1.0", METHODS)).unwrap();
    let (_, method) = descriptor.method("ping").unwrap();
    let labels: Vec<&str> = method.capabilities.iter().map(|view| view.label.as_str()).collect();
    assert_eq!(labels, ["ping-average-{ip}", "ping-detail-{ip}", "ping-full-{ip}"]);
}

#[test]
fn a_person_reads_percentiles_and_the_interval_of_the_loss() {
    let run = run_in(net().drop("target", [2]), PingParams { every: 5, ..ping(TARGET4, 5) });
    let form = describe_method::<Ping>().text;
    let text = |table: &str| -> Vec<String> {
        let rows = run.table(table);
        rows.iter().filter_map(|row| Some(form.row(table, row, None)?.text)).collect()
    };
    let replies = text("replies");
    assert_eq!(replies[0], "84 octets from 198.51.100.9: seq=0 ttl=63 time=4.000 ms");
    assert_eq!(replies[1], "seq=1: no answer");
    assert_eq!(
        text("interim"),
        ["[5 sent, 4 answered, 20% loss, min/mean/median/max = 4.000/4.000/4.000/4.000 ms]"]
    );
    let summary = &text("summary")[0];
    let expected = "--- statistics ---\n\
                    5 probes sent, 4 answered, 20% loss (95% interval 3.62% to 62.45%), 0 errors, \
                    0 duplicates, 0 reordered, 0 late\n\
                    round-trip min/mean/max/stddev = 4.000/4.000/4.000/0.000 ms, jitter 0.000 ms\n\
                    round-trip median/95%/99% = 4.000/4.000/4.000 ms";
    assert_eq!(summary, expected);
}
