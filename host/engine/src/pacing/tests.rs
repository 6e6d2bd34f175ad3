use proptest::prelude::*;

use super::*;

const SCOPE: Scope =
    Scope { plugin: 0, client: 0, destination: IpAddr::V4(std::net::Ipv4Addr::LOCALHOST) };
const LANE: Lane = Lane { flow: 0, serial: 0, class: Class::Probe };

fn takes(pacer: &mut Pacer, now: u64) -> bool {
    pacer.take(now, &SCOPE, LANE, false) == Verdict::Go
}

proptest! {
    #[test]
    fn no_window_of_a_second_holds_more_than_the_rate_and_a_burst(
        rate in 1.0f64..50_000.0, steps in prop::collection::vec(1u64..30_000_000, 10..400),
    ) {
        let mut pacer = Pacer::new(rate, &Limits::NONE, 0);
        let (mut now, mut sent) = (0, Vec::new());
        for step in steps {
            now += step;
            while takes(&mut pacer, now) {
                sent.push(now);
            }
        }
        let most = (rate * 1.01 + rate * 0.006 + 2.0) as usize;
        let mut end = 0;
        for (from, begin) in sent.iter().enumerate() {
            while sent.get(end).is_some_and(|time| *time < begin + 1_000_000_000) {
                end += 1;
            }
            prop_assert!(end - from <= most);
        }
    }
}

#[test]
fn the_rate_is_kept_although_the_engine_wakes_late_now_and_then() {
    let mut pacer = Pacer::new(20_000.0, &Limits::NONE, 0);
    let (mut now, mut sent) = (0u64, 0);
    while now < 1_000_000_000 {
        now += if now.is_multiple_of(50) { 1_050_000 } else { 5_000_001 };
        while takes(&mut pacer, now) {
            sent += 1;
        }
    }
    assert!((19_800..=20_200).contains(&sent), "{sent}");
}

#[test]
fn a_million_addresses_leave_behind_only_the_buckets_that_are_not_full() {
    let rate = Rate { packets_per_second: 2.0, burst: 20.0 };
    let limits = Limits { address: Some(rate), ..Limits::NONE };
    let mut pacer = Pacer::new(1e9, &limits, 0);
    let (start, mut most) = (1_000_000_000_000, 0);
    // In the half second that a bucket takes to fill up again 50,000 are used.
    for number in 0..1_000_000u32 {
        let destination = std::net::Ipv4Addr::from(number).into();
        let now = start + u64::from(number) * 10_000;
        assert_eq!(pacer.take(now, &Scope { destination, ..SCOPE }, LANE, false), Verdict::Go);
        if number % 4096 == 0 {
            most = most.max(pacer.nests[Class::Probe as usize].levels[0].1.len());
        }
    }
    assert!((50_000..=120_000).contains(&most), "{most} buckets");
}

#[test]
fn a_bucket_that_is_not_full_is_never_forgotten() {
    let limits =
        Limits { address: Some(Rate { packets_per_second: 0.1, burst: 1.0 }), ..Limits::NONE };
    let mut pacer = Pacer::new(1e9, &limits, 0);
    let scope =
        |number: u32| Scope { destination: std::net::Ipv4Addr::from(number).into(), ..SCOPE };
    let start = 100_000_000_000;
    for number in 0..100_000 {
        let now = start + u64::from(number);
        assert_eq!(pacer.take(now, &scope(number), LANE, false), Verdict::Go);
    }
    let now = start + 9_999_000_000;
    let held = |number| matches!(pacer.take(now, &scope(number), LANE, false), Verdict::Held(_));
    assert!((0..100_000).all(held));
}

/// Cap, burst, and what tells one bucket of the scope from the next.
type Cap = (f64, f64, fn(&Scope) -> u128);

/// A moment of a schedule: how long after the last, and what wants to leave then.
type Moment = (u64, Vec<Wish>);

/// Plugin, client, address, whether that is of another prefix, and whether it waits at no gate.
type Wish = (u8, u8, u8, bool, bool);

fn moments() -> impl Strategy<Value = Vec<Moment>> {
    let rare = || prop::bool::weighted(0.2);
    let wish = (0u8..3, 0u8..3, any::<u8>(), rare(), rare());
    let moment = (1u64..60_000_000, prop::collection::vec(wish, 0..12));
    prop::collection::vec(moment, 20..120)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]
    #[test]
    fn in_every_second_each_scope_keeps_to_its_cap_and_burst(
        rates in prop::array::uniform5((1.0f64..200.0, 1.0f64..10.0)), moments in moments(),
    ) {
        let [host, plugin, client, prefix, address] = rates;
        let rate = |(packets_per_second, burst)| Some(Rate { packets_per_second, burst });
        let limits = Limits {
            plugin: rate(plugin),
            client: rate(client),
            prefix: rate(prefix),
            address: rate(address),
            ..Limits::NONE
        };
        let mut now = 1_000_000_000_000;
        let mut pacer = Pacer::new(host.0, &limits, now);
        let mut scopes: Vec<Scope> = Vec::new();
        let (mut sent, mut openings): (Vec<(u64, Scope)>, Vec<Opening>) = (Vec::new(), Vec::new());
        for (pause, wishes) in moments {
            now += pause;
            let mut asked: Vec<(u32, bool)> = Vec::new();
            for opening in std::mem::take(&mut openings) {
                if opening.at > now {
                    openings.push(opening);
                    continue;
                }
                let released = |lane: Lane| asked.push((lane.flow, true));
                openings.extend(pacer.open(opening, now, |_| true, released));
            }
            for (plugin, client, low, is_far, is_word) in wishes {
                let destination = IpAddr::from([198, 51, if is_far { 101 } else { 100 }, low % 5]);
                let scope = Scope { plugin: plugin.into(), client: client.into(), destination };
                if !is_word {
                    scopes.push(scope);
                    asked.push((scopes.len() as u32 - 1, false));
                } else if pacer.take_at_once(now, &scope, LANE.class) == Verdict::Go {
                    sent.push((now, scope));
                }
            }
            for (flow, is_released) in asked {
                let scope = scopes[flow as usize];
                match pacer.take(now, &scope, Lane { flow, ..LANE }, is_released) {
                    Verdict::Go => sent.push((now, scope)),
                    Verdict::Held(opening) => openings.extend(opening),
                    Verdict::Full => {}
                }
            }
        }
        let caps: [Cap; 5] = [
            (host.0, host.0 * 0.006 + 1.0, |_| 0),
            (plugin.0, plugin.1, |scope| scope.plugin.into()),
            (client.0, client.1, |scope| scope.client.into()),
            (prefix.0, prefix.1, |scope| Level::Prefix.key(scope)),
            (address.0, address.1, |scope| Level::Address.key(scope)),
        ];
        for (cap, burst, key) in caps {
            for (from, (begin, scope)) in sent.iter().enumerate() {
                let within = sent[from..].iter().take_while(|it| it.0 < begin + 1_000_000_000);
                let count = within.filter(|(_, other)| key(other) == key(scope)).count();
                prop_assert!(count as f64 <= 1.01 * cap + burst, "{count} of {cap} + {burst}");
            }
        }
    }
}

/// Run with `cargo test --release -p sonde-engine --lib costs -- --ignored --nocapture`.
#[test]
#[ignore = "needs root: a measurement, run by hand"]
fn costs_of_a_packet_in_one_scope_and_in_five() {
    let rate = Some(Rate { packets_per_second: 1e8, burst: 1e6 });
    let all = Limits { plugin: rate, client: rate, prefix: rate, address: rate, ..Limits::NONE };
    for (name, limits) in [("the host", Limits::NONE), ("all five", all)] {
        let mut best = u64::MAX;
        for _ in 0..5 {
            let mut pacer = Pacer::new(1e8, &limits, 0);
            let begin = crate::sys::lab::cpu_time();
            for number in 0..1_000_000u32 {
                let destination = std::net::Ipv4Addr::from(number % 65_536).into();
                let now = 1_000_000_000_000 + u64::from(number) * 1000;
                let verdict = pacer.take(now, &Scope { destination, ..SCOPE }, LANE, false);
                assert_eq!(verdict, Verdict::Go);
            }
            best = best.min((crate::sys::lab::cpu_time() - begin) / 1_000_000);
        }
        println!("pacing, {name}: {best} ns a packet");
    }
}
