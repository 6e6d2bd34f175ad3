//! The layout of the binary interface, frozen for this major version.
//!
//! Where it changes on purpose (a new major version, or one of the additions that
//! `docs/plugin-abi.md` allows), run with `SONDE_BLESS=1` and look at the difference.

use std::{collections::BTreeSet, fmt::Write};

use abi_stable::{
    StableAbi,
    type_layout::{TLData, TypeLayout},
};
use sonde_plugin_api::abi::PluginRef;

/// One type.
fn describe(layout: &TypeLayout, text: &mut String) {
    let name = layout.full_type();
    let kind = match layout.data() {
        TLData::Primitive(_) => "primitive",
        TLData::Opaque => "opaque",
        TLData::Struct { .. } => "struct",
        TLData::Union { .. } => "union",
        TLData::Enum(_) => "enum",
        TLData::PrefixType(_) => "prefix type",
    };
    let (size, align) = (layout.size(), layout.alignment());
    writeln!(text, "{kind} {name} size {size} align {align}").expect("a string takes everything");
    let fields: Vec<_> = layout.get_fields().into_iter().flatten().collect();
    for field in &fields {
        let of = field.layout().full_type();
        writeln!(text, "    {}: {of} size {}", field.name(), field.layout().size())
            .expect("a string takes everything");
        for function in field.function_range().iter() {
            let function = function.to_string();
            let signature = function.lines().next().unwrap_or_default();
            writeln!(text, "        {signature}").expect("a string takes everything");
        }
    }
}

/// Every type that crosses, with size, alignment and fields, in the order in which they are met.
fn dump(layout: &'static TypeLayout, seen: &mut BTreeSet<String>, text: &mut String) {
    if !seen.insert(format!("{:?}", layout.get_utypeid())) {
        return;
    }
    if !matches!(layout.data(), TLData::Primitive(_)) {
        describe(layout, text);
    }
    for next in layout.shared_vars().type_layouts() {
        dump(next(), seen, text);
    }
}

#[test]
fn layout_is_that_of_version_1() {
    let mut text = String::new();
    dump(<PluginRef as StableAbi>::LAYOUT, &mut BTreeSet::new(), &mut text);
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/layout.txt");
    if std::env::var_os("SONDE_BLESS").is_some() {
        std::fs::write(path, &text).unwrap();
    }
    let golden = std::fs::read_to_string(path).unwrap();
    for (line, (wanted, got)) in golden.lines().zip(text.lines()).enumerate() {
        assert_eq!(wanted, got, "line {}", line + 1);
    }
    assert_eq!(golden.lines().count(), text.lines().count());
}
