//! What can be chosen of a sting.

use sonde_plugin_api::prelude::*;

use crate::spacing::Spacing;

params! {
    pub struct StingParams {
        /// Address of the server.
        destination: IpAddr => "destination.{ip}",
        /// Address to send from, one of the host's; the route decides where it is not given.
        source: Option<IpAddr> => "source.{ip}" { short: 'I' },
        /// Samples: octets that are sent one by one.
        count: u16 = 48 => "scamper.sting.count" { range: 2..=65_535, short: 'c' },
        /// Port of the server.
        dport: u16 = 80 => "scamper.sting.dport" {
            range: 1..=65_535, alias: "destination-port", short: 'd'
        },
        /// Source port; 0 lets the host choose.
        sport: u16 = 0 => "scamper.sting.sport" { alias: "source-port", short: 's' },
        /// Gaps between samples: 1 exponential, 2 periodic, 3 uniform from 0 to twice the mean.
        distribution: u8 = 3 => "scamper.sting.distribution" { range: 1..=3, short: 'f' },
        /// Mean gap between two samples.
        mean: u16 = 100 => "scamper.sting.mean" { range: 1..=1000, unit: "ms", short: 'm' },
        /// Pause between the samples and the filling of the hole, at least two round-trip times.
        inter: u16 = 2000 => "scamper.sting.inter" { range: 1..=10_000, unit: "ms", short: 'i' },
        /// Octets that are left out at the beginning.
        hole: u8 = 3 => "scamper.sting.hole" { range: 1..=255, unit: "octets", short: 'H' },
        /// What is sent: text, or 0x and hexadecimal. Unless given a request of HTTP/1.0 that is filled up
        /// to hole and count. As many octets of it are sent, the rest is not.
        request: Option<String> => "scamper.sting.request" { max_length: 131_584 },
        /// TTL or hop limit of what is sent.
        ttl: u8 = 255 => "sonde.sting.ttl" { range: 1..=255, unit: "hops", short: 't' },
        /// Ask for three echoes at the end: a proxy that answers in the server's stead is nearer.
        ping: bool = true => "sonde.sting.ping",
        /// Any number, which is in the record and changes nothing.
        userid: u32 = 0 => "sonde.sting.userid" { short: 'U' },
    }
}

impl StingParams {
    pub(crate) fn spacing(&self) -> Spacing {
        match self.distribution {
            1 => Spacing::Exponential,
            2 => Spacing::Periodic,
            _ => Spacing::Uniform,
        }
    }

    pub(crate) fn flow(&self) -> FlowSpec {
        let spec = FlowSpec::tcp(self.destination).key(Key::None).hear_all().local(self.sport);
        match self.source {
            Some(source) => spec.source(source),
            None => spec,
        }
    }
}
