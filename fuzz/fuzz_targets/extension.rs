//! Extension structures; what parses must survive being written and parsed again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sonde_packet::extension;

fuzz_target!(|octets: &[u8]| {
    if let Some(objects) = extension::parse(octets) {
        let again = extension::parse(&extension::emit(&objects)).expect("it has a checksum");
        assert_eq!(objects.len(), again.len());
    }
});
