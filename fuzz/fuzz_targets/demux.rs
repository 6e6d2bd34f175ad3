//! A matcher with a few probes outstanding, and anything at all arriving.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sonde_packet::{
    FlowKey, Ip, Key, Packet, Payload, Transport,
    demux::{Demux, Departure},
};

fuzz_target!(|octets: &[u8]| {
    let mut demux = Demux::new(7);
    let ip = Ip::plain("192.0.2.1".parse().unwrap(), "198.51.100.9".parse().unwrap());
    for (number, key) in [Key::IcmpSequence, Key::IpId].into_iter().enumerate() {
        let transport = match key {
            Key::IcmpSequence => Transport::Echo { identifier: 7, sequence: 1 },
            _ => Transport::Udp { source_port: 7, destination_port: 33_435 },
        };
        let packet = Packet { ip, transport, payload: Payload::Zeros(16), checksum: None };
        let packet = packet.to_vec().unwrap();
        let flow = FlowKey::of_probe(&packet).unwrap();
        let flow = demux.open(flow, key, number as u32, true).unwrap();
        let _ = demux.sent(flow, 1, &packet, Departure::default());
    }
    for packet in octets.chunks(96) {
        let _ = demux.receive(packet);
    }
});
