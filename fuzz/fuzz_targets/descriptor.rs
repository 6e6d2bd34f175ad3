//! What a plugin says of itself and the rows it sends, from a plugin that means ill.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sonde_plugin_api::{descriptor::Descriptor, packet::Family};

fuzz_target!(|octets: &[u8]| {
    let (json, row) = octets.split_at(octets.len() / 2);
    let Ok(json) = std::str::from_utf8(json) else { return };
    let Ok(descriptor) = Descriptor::from_json(json) else { return };
    for method in &descriptor.methods {
        let _ = method.encode(&Default::default(), Family::V4);
        let _ = method.record_schema();
        for table in &method.tables {
            if let Ok(values) = table.decode_row(row) {
                let _ = table.row_json(&values, 0);
            }
        }
    }
});
