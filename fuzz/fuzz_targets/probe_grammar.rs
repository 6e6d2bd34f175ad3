//! Probes as people write them: any text is a probe that fits into a packet, or a mistake with its token.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[allow(dead_code, reason = "the method uses what this does not")]
#[path = "../../plugins/tracebox/src/grammar.rs"]
mod grammar;
#[path = "../../plugins/tracebox/src/token.rs"]
mod token;
#[allow(dead_code, reason = "packets are not written here")]
#[path = "../../plugins/tracebox/src/unusual.rs"]
mod unusual;

fuzz_target!(|data: &[u8]| {
    let [choice, text @ ..] = data else { return };
    let Ok(text) = std::str::from_utf8(text) else { return };
    let mut state = u32::from(*choice);
    let mut random = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state
    };
    match grammar::Spec::parse(Some(text), choice & 1 == 1, choice & 2 == 2, 0, &mut random) {
        Ok(spec) => {
            assert!(spec.options.len() <= 40 && spec.options.len() % 4 == 0);
            assert!(spec.flow_label <= 0xf_ffff);
            assert!(spec.ip_options.len() <= 40);
            let headers = spec.extension_headers.map_or(0, |(_, headers)| headers.len());
            assert!(headers % 8 == 0 && headers <= 1024, "{headers}");
            assert!(spec.payload.is_none_or(|octets| (1..=512).contains(&octets.len())));
        }
        Err(error) => {
            let line = error.to_string();
            assert!(line.contains("token ") && !line.contains('\n'), "{line:?}");
        }
    }
});
