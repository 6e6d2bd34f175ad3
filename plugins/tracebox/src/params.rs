//! What can be chosen of a tracebox run. Names are those of the seed system's elements.

use sonde_plugin_api::prelude::*;

params! {
    pub struct TraceboxParams {
        /// Address whose path is looked at.
        destination: IpAddr => "destination.{ip}",
        /// Address to send from, one of the host's; the route decides where it is not given.
        source: Option<IpAddr> => "source.{ip}" { short: 'I' },
        /// UDP probes; TCP SYN unless said.
        udp: bool = false => "scamper.tracebox.udp" { short: 'u' },
        /// Destination port; 0 is 80.
        dport: u16 = 80 => "scamper.tracebox.dport" { alias: "destination-port", short: 'd' },
        /// Source port; 0 lets the host choose.
        sport: u16 = 0 => "scamper.tracebox.sport" { alias: "source-port" },
        /// The probe, such as IP/TCP/MSS(1460)/ECE/TS(value=1,echo=2): the protocols, then what they carry.
        probe: Option<String> => "scamper.tracebox.probe" { max_length: 1200, short: 'p' },
        /// Also say what the changed fields hold.
        values: bool = false => "scamper.tracebox.values" { short: 'v' },
        /// How long to wait for an answer; 0 is 3 s.
        wait: Duration = Duration::from_secs(3) => "scamper.tracebox.wait" {
            range: Duration::ZERO..=Duration::from_secs(255), short: 'w'
        },
        /// Least time from one probe to the next, in units of 10 ms; 0 leaves it to the host's pace.
        waitprobe: u32 = 0 => "scamper.tracebox.waitprobe" {
            range: 0..=2_550_000, unit: "10 ms", short: 'W'
        },
        /// Probes to a hop that does not answer; 0 is 1.
        attempts: u8 = 3 => "scamper.tracebox.attempts" { short: 'q' },
        /// Last TTL; 0 is 255.
        maxttl: u8 = 64 => "scamper.tracebox.maxttl" { unit: "hops", short: 'm' },
        /// Silent hops in a row that end the run; 0 is no limit.
        gaplimit: u8 = 5 => "scamper.tracebox.gaplimit" { unit: "hops", short: 'g' },
        /// The so-many-th router that answers again behind another one ends the run; 0 does not look for loops.
        loops: u8 = 1 => "scamper.tracebox.loops" { short: 'l' },
        /// Look for a proxy: whether datagrams get farther than the answer to a SYN comes from.
        proxy: bool = false => "scamper.tracebox.proxy",
        /// Look for a device that keeps account of connections: open one half, and send along the path what is
        /// part of it and what is not.
        stateful: bool = false => "scamper.tracebox.stateful",
        /// Look for devices that stop fragments or put them together: send a packet of the probe's ports and transport
        /// options along the path, with a payload and without what the probe adds to IP, whole and in two parts.
        fragments: bool = false => "scamper.tracebox.fragments",
    }
}
