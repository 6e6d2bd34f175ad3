//! Whatever arrives: classified, verified, its quote and options read, without a panic.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sonde_packet::{FlowKey, IpHeader, Key, classify, extension, ip_option, tcp::TcpView, verify};

fuzz_target!(|octets: &[u8]| {
    if let Ok(header) = IpHeader::parse(octets) {
        let _ = verify(octets, &header);
        let _ = ip_option::parse(&octets[header.options.clone()]);
        let tcp = TcpView::new(header.transport(octets));
        let _ = (tcp.options().count(), tcp.payload().len(), tcp.sequence_octets());
    }
    let _ = FlowKey::of_probe(octets);
    let Some(received) = classify(octets) else { return };
    for number in 0..9 {
        let _ = Key::from_number(number, 0x3fff).of_answer(octets, &received);
    }
    if let Some(quote) = received.quote {
        let quoted = &octets[quote.clone()];
        let _ = FlowKey::of_probe(quoted);
        let _ = extension::parse(&octets[quote.end..]);
    }
});
