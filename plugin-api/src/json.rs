//! JSON written straight into octets, without a tree.

use std::{
    io::{self, Write},
    net::IpAddr,
};

use crate::text::rfc3339_octets;

/// Appends anything that `serde` can write as JSON. DEL and the controls of C1 are escaped as those of C0 are:
/// texts come from the network, and some terminals obey them.
///
/// # Panics
///
/// Where a map has keys that are no text.
pub fn put<T: serde::Serialize + ?Sized>(value: &T, out: &mut Vec<u8>) {
    let mut writer = serde_json::Serializer::with_formatter(out, Harmless);
    value.serialize(&mut writer).expect("a vector takes everything");
}

/// Appends a text with its quotes.
pub fn put_text(text: &str, out: &mut Vec<u8>) {
    // In UTF-8 a control of C1 begins with 0xc2, and so do some letters.
    let is_plain = |octet: u8| !matches!(octet, ..0x20 | b'"' | b'\\' | 0x7f | 0xc2);
    if !text.bytes().all(is_plain) {
        return put(text, out);
    }
    out.push(b'"');
    out.extend_from_slice(text.as_bytes());
    out.push(b'"');
}

/// Without spaces, and without what RFC 8259, section 7, lets stand in a text and a terminal obeys.
struct Harmless;

impl serde_json::ser::Formatter for Harmless {
    /// What is escaped anyway is in no fragment.
    fn write_string_fragment<W>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()>
    where
        W: Write + ?Sized,
    {
        let mut rest = fragment;
        while let Some(at) = rest.find(char::is_control) {
            let (plain, behind) = rest.split_at(at);
            let mut letters = behind.chars();
            let control = letters.next().map_or(0, u32::from);
            write!(writer, "{plain}\\u{control:04x}")?;
            rest = letters.as_str();
        }
        writer.write_all(rest.as_bytes())
    }
}

/// Appends an address as text.
pub fn put_address(address: IpAddr, out: &mut Vec<u8>) {
    out.push(b'"');
    match address {
        IpAddr::V4(address) => {
            for (index, octet) in address.octets().into_iter().enumerate() {
                if index > 0 {
                    out.push(b'.');
                }
                put(&octet, out);
            }
        }
        IpAddr::V6(address) => {
            write!(out, "{address}").expect("a vector takes everything");
        }
    }
    out.push(b'"');
}

/// Appends a wall time, ns since 1970, as RFC 3339 text.
pub fn put_time(unix_ns: i128, out: &mut Vec<u8>) {
    out.push(b'"');
    out.extend_from_slice(&rfc3339_octets(unix_ns));
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_control_of_a_stranger_reaches_a_terminal_and_each_is_read_as_it_was() {
        let text = "\u{9b}2J\u{7f} \u{1b}[2J \u{e9}\u{a9} \\ \" \u{80}\u{9f}\u{a0}";
        let (mut alone, mut inside) = (Vec::new(), Vec::new());
        put_text(text, &mut alone);
        put(&serde_json::json!({ text: [text] }), &mut inside);
        let alone = String::from_utf8(alone).unwrap();
        let inside = String::from_utf8(inside).unwrap();
        assert!(!alone.chars().any(char::is_control), "{alone:?}");
        assert_eq!(inside, format!("{{{alone}:[{alone}]}}"));
        assert!(alone.starts_with(r#""\u009b2J\u007f \u001b[2J é©"#), "{alone}");
        assert_eq!(serde_json::from_str::<String>(&alone).unwrap(), text);
    }
}
