//! Pages and texts for a person with a browser, in the form that the RI's discovery scans.
//!
//! The RI takes a page for discovery if its type is exactly `text/html`, and follows `<a href='...'>`.

use std::fmt::{self, Write};

use axum::http::StatusCode;
use axum::response::Response;
use sonde_mplane::{Capability, Message};

use crate::body::typed;
use crate::serve::Peer;

/// What went wrong, as text.
pub(crate) fn problem(status: StatusCode, text: &str) -> Response {
    typed(status, "text/plain", format!("{text}\n"))
}

/// Of the port for clients: one link for the RI, the capabilities as text.
pub(crate) fn front(peer: &Peer, capabilities: &[&Capability]) -> Response {
    let mut body = String::from(
        "<h1>mPlane</h1>\
         <p>POST specifications, redemptions and interrupts here. \
         <a href='/capability'>Capabilities</a></p>",
    );
    put(&mut body, format_args!("<p>You are {}.</p>", escape(peer.identity.as_str())));
    if capabilities.is_empty() {
        body += "<p>No capability is offered to you.</p>";
    }
    for capability in capabilities {
        let text = Message::Capability((*capability).clone()).layout();
        put(&mut body, format_args!("<pre>{}</pre>", escape(&text)));
    }
    html("mPlane", &body)
}

/// One link for each capability.
pub(crate) fn links(capabilities: &[&Capability]) -> Response {
    let mut body = String::new();
    for capability in capabilities {
        let token = capability.token();
        let href = percent(&token);
        put(&mut body, format_args!("<a href='/capability/{href}'>{}</a><br/>", escape(&token)));
    }
    html("Capabilities", &body)
}

/// Of the port for components.
pub(crate) fn components(register: &str, poll: &str, deliver: &str) -> Response {
    let rows = [
        ("POST", register, "an envelope of capabilities or withdrawals"),
        ("GET", poll, "an envelope of specifications and interrupts"),
        ("POST", deliver, "a receipt, a result, an exception or an envelope of results"),
    ];
    let mut body = String::from("<h1>mPlane</h1><p>Components register here.</p><table>");
    for (method, path, what) in rows {
        let path = escape(path);
        put(&mut body, format_args!("<tr><td>{method}</td><td>{path}</td><td>{what}</td></tr>"));
    }
    body += "</table>";
    html("mPlane components", &body)
}

fn put(page: &mut String, text: fmt::Arguments<'_>) {
    page.write_fmt(text).expect("writing into a text cannot fail");
}

fn html(title: &str, body: &str) -> Response {
    let page = format!(
        "<!DOCTYPE html><html><head><meta charset='utf-8'><title>{title}</title></head>\
         <body>{body}</body></html>"
    );
    typed(StatusCode::OK, "text/html", page)
}

/// For text and attributes in either kind of quotes.
fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            other => safe.push(other),
        }
    }
    safe
}

/// A token as one segment of a path; tokens may be any text.
pub(crate) fn percent(text: &str) -> String {
    let mut path = String::with_capacity(text.len());
    for octet in text.bytes() {
        if octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'_' | b'~' | b'.') {
            path.push(char::from(octet));
        } else {
            put(&mut path, format_args!("%{octet:02X}"));
        }
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hostile_token_ends_neither_attribute_nor_path() {
        assert_eq!(percent("a/../b'?#%\u{e9}"), "a%2F..%2Fb%27%3F%23%25%C3%A9");
        assert_eq!(escape("'><script>"), "&#39;&gt;&lt;script&gt;");
    }
}
