//! What a peer sends: read, written and read again, the message stays the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sonde_mplane::{Message, Registries, Unknown};

fuzz_target!(|octets: &[u8]| {
    let registries = Registries::built_in().with_unknown(Unknown::AsText);
    let Ok(message) = Message::from_json(octets, &registries) else { return };
    let text = message.to_json();
    let again = Message::from_json(text.as_bytes(), &registries).expect("what we write we read");
    assert_eq!(again.kind(), message.kind());
    let _ = again.layout();
    if let Message::Capability(capability) = again {
        let _ = (capability.computed_token(), capability.schema_hash(), capability.questions().len());
    }
});
