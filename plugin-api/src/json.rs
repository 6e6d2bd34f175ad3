//! JSON written straight into octets, without a tree.

use std::{io::Write, net::IpAddr};

use crate::text::rfc3339_octets;

/// Appends anything that `serde` can write as JSON.
///
/// # Panics
///
/// Where a map has keys that are no text.
pub fn put<T: serde::Serialize + ?Sized>(value: &T, out: &mut Vec<u8>) {
    serde_json::to_writer(out, value).expect("a vector takes everything");
}

/// Appends a text with its quotes.
pub fn put_text(text: &str, out: &mut Vec<u8>) {
    let is_plain = |octet: u8| octet >= 0x20 && octet != b'"' && octet != b'\\';
    if !text.bytes().all(is_plain) {
        return put(text, out);
    }
    out.push(b'"');
    out.extend_from_slice(text.as_bytes());
    out.push(b'"');
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
