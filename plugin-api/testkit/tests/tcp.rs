//! `sonde_plugin_api::tcp` through a network that loses, doubles and reorders.

use sonde_plugin_api::{
    prelude::*,
    tcp::{Connection, Offer, Opening},
};
use sonde_testkit::{Net, Sim};

params! {
    /// Whom to talk to.
    pub struct TalkParams { destination: IpAddr => "destination.{ip}" }
}

row! {
    /// What became of it.
    pub struct TalkRow = "talk" {
        is_acknowledged: bool,
        is_closed: bool,
        is_reset: bool,
        number: u32,
    }
}

/// Sends 20,000 octets and closes.
pub struct Talk;

impl Method for Talk {
    const NAME: &'static str = "talk";
    const DOC: &'static str = "talks to who listens";
    type Params = TalkParams;
    type Row = TalkRow;

    async fn run(ctx: Ctx<TalkRow>, params: TalkParams) -> Result<(), Fail> {
        let spec = FlowSpec::tcp(params.destination).key(Key::None).hear_all();
        let flow = ctx.open(spec).await?;
        let offer = Offer { mss: Some(1200), sack: true, ..Offer::default() };
        // Its numbers wrap around on the way.
        let opening = Opening { offer, sequence: Some(u32::MAX - 5000), ..Opening::to(80) };
        let opened = Connection::open(&ctx, &flow, &opening, None).await;
        let mut connection = opened.map_err(|refusal| Fail::new(format!("{refusal:?}")))?;
        connection.most_repeats = 8;
        connection.write(&[7; 20_000]);
        while connection.sending.is_outstanding() && !connection.is_given_up() {
            connection.receive(Duration::from_secs(120)).await;
        }
        let is_acknowledged = !connection.is_given_up() && connection.sending.waiting() == 0;
        let number = connection.sending.acknowledged();
        connection.close(Duration::from_secs(60)).await;
        ctx.emit(TalkRow {
            is_acknowledged,
            is_closed: connection.sending.is_finished() && connection.received.is_finished(),
            is_reset: connection.is_reset(),
            number,
        });
        Ok(())
    }
}

#[test]
fn all_octets_arrive_and_both_ends_close_whatever_the_network_does() {
    for (target, seeds) in [("198.51.100.9", 1..=15), ("2001:db8:9::9", 1..=15)] {
        for seed in seeds {
            let net = Net::draw(
                "vantage - r1 - target
                 target 198.51.100.9 2001:db8:9::9 tcp 80
                 link r1 target loss 8% duplicate 8% reorder 15% by 7ms corrupt 2%",
            );
            let params = TalkParams::with(target.parse().unwrap());
            let run = Sim::new(net, seed).run::<Talk>(params);
            let row = &run.typed::<TalkRow>("talk")[0];
            assert!(row.is_acknowledged, "{run}");
            assert_eq!(row.number, (u32::MAX - 5000).wrapping_add(20_001), "{run}");
        }
    }
}

#[test]
fn without_losses_the_connection_is_closed_by_both_and_never_reset() {
    let net = Net::draw("vantage - r1 - target\n target 198.51.100.9 tcp 80");
    let run = Sim::new(net, 1).run::<Talk>(TalkParams::with("198.51.100.9".parse().unwrap()));
    let row = &run.typed::<TalkRow>("talk")[0];
    assert!(row.is_closed && !row.is_reset, "{run}");
}

#[test]
fn a_peer_that_stops_acknowledging_is_given_up_and_reset() {
    let net = Net::draw("vantage - target\n target 198.51.100.9 tcp 80");
    let run = Sim::new(net.drop("target", 5..500), 1)
        .run::<Talk>(TalkParams::with("198.51.100.9".parse().unwrap()));
    let row = &run.typed::<TalkRow>("talk")[0];
    assert!(!row.is_acknowledged && !row.is_closed && row.is_reset, "{run}");
}
