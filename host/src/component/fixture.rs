//! A method that exists for tests alone, and what a host offers of it.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::Arc,
    time::Duration,
};

use sonde_mplane::{Registries, Specification};
use sonde_plugin_api::{descriptor::Descriptor, glue::describe_method, prelude::*};

use super::{Addresses, Offering, Offers, offered::Offered};
use crate::Catalogue;

params! {
    pub(crate) struct KnockParams {
        /// Whom.
        destination: IpAddr => "destination.{ip}",
        /// How often.
        count: u32 = 4 => "when.count" { range: 1..=1000 },
        /// How far apart.
        period: Duration = Duration::from_secs(1) => "when.period" {
            range: Duration::from_millis(1)..=Duration::from_secs(20)
        },
        /// How far.
        ttl: u8 = 64 => "scamper.ping.ttl",
    }
}

row! {
    pub(crate) struct KnockRow = "replies" {
        seq: u32,
        time: Time => "time",
        /// Null where nobody answered.
        rtt_us: Option<u64> => "delay.twoway.icmp.us" { unit: "us" },
    }
}

pub(crate) struct Knock;

impl Method for Knock {
    const NAME: &'static str = "knock";
    const DOC: &'static str = "is somebody there";
    const SOURCE: &'static str = "RFC 792";
    type Params = KnockParams;
    type Row = KnockRow;

    fn capabilities() -> Vec<Capability> {
        let view = |label: &str| {
            Capability::new(label)
                .when("now ... future / 1s")
                .parameter("source.{ip}", Constraint::LocalAddress)
                .parameter("destination.{ip}", Constraint::Any)
                .parameter("scamper.ping.ttl", Constraint::range(0, 255))
                .table("replies")
                .metadata("System_type", "Scamper")
        };
        vec![
            view("knock-average-{ip}")
                .present("rtt_us")
                .aggregate("delay.twoway.icmp.us.min", Aggregate::Min, "rtt_us")
                .aggregate("delay.twoway.icmp.count", Aggregate::Count, "rtt_us"),
            view("knock-detail-{ip}")
                .column("time", "time")
                .column("delay.twoway.icmp.us", "rtt_us"),
        ]
    }

    async fn run(_: Ctx<KnockRow>, _: KnockParams) -> Result<(), Fail> {
        Ok(())
    }
}

pub(crate) fn catalogue() -> Catalogue {
    Catalogue::of(Descriptor::new("knock", "1.0.0", vec![describe_method::<Knock>()]))
}

pub(crate) const ADDRESSES: Addresses = Addresses {
    ip4: Some(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1))),
    ip6: Some(IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1))),
};

pub(crate) fn offers(offering: &Offering) -> Offers {
    Offers::of(&catalogue(), |_| true, offering, ADDRESSES, &Registries::built_in())
}

/// A specification of one of them as a client makes it.
pub(crate) fn specification(offered: &[Arc<Offered>], label: &str, when: &str) -> Specification {
    let of_label = |it: &&Arc<Offered>| it.capability.head.label() == label;
    let capability = &offered.iter().find(of_label).unwrap().capability;
    let mut made = capability.specification(&format!("{label}-0"), when.parse().unwrap());
    made.set("destination.ip4", "198.51.100.9").unwrap();
    made.set("scamper.ping.ttl", "9").unwrap();
    made.head.token = Some("token".to_owned());
    made
}

/// By name, as the method is given them.
pub(crate) fn texts(values: &BTreeMap<String, sonde_plugin_api::schema::Value>) -> String {
    let texts: Vec<String> = values.iter().map(|(name, value)| format!("{name}={value}")).collect();
    texts.join(" ")
}
