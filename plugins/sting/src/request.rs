//! The octets that the samples are cut from.
//!
//! Source: RFC 1945 (HTTP/1.0); RFC 9110, section 5.4 (what a header line may hold).

use sonde_plugin_api::prelude::*;

use crate::params::StingParams;

/// Octets of a header line that fills up; servers refuse much longer ones.
const LINE: usize = 1000;
const BEGIN: &str = "GET / HTTP/1.0\r\nUser-Agent: sonde\r\nAccept: */*\r\n";
const FILLER: &str = "X-Padding: ";
const END: &str = "\r\n";

/// What is sent: `hole` and `count` octets.
///
/// # Errors
///
/// Where a given request is shorter, or its hexadecimal form is none.
pub(crate) fn octets(params: &StingParams) -> Result<Vec<u8>, Fail> {
    let needed = usize::from(params.hole) + usize::from(params.count);
    let Some(text) = params.request.as_deref().filter(|text| !text.is_empty()) else {
        return Ok(built_in(needed));
    };
    let mut octets = match text.strip_prefix("0x") {
        Some(digits) => hexadecimal(digits).ok_or_else(|| {
            let accepted = "text, or 0x and an even number of hexadecimal digits";
            Fail::bad_params(format!(
                "scamper.sting.request begins with 0x but is no hexadecimal, accepted: {accepted}"
            ))
        })?,
        None => text.as_bytes().to_vec(),
    };
    if octets.len() < needed {
        return Err(Fail::bad_params(format!(
            "scamper.sting.request has {} octets, accepted: at least hole + count, {needed}",
            octets.len()
        )));
    }
    octets.truncate(needed);
    Ok(octets)
}

fn hexadecimal(digits: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u8>> =
        digits.chars().map(|digit| digit.to_digit(16).map(|value| value as u8)).collect();
    let digits = digits.filter(|digits| digits.len().is_multiple_of(2))?;
    Some(digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect())
}

/// A request of exactly so many octets that ends as one should; a shorter one is cut.
fn built_in(octets: usize) -> Vec<u8> {
    let mut request = BEGIN.as_bytes().to_vec();
    let least = FILLER.len() + 1 + END.len();
    loop {
        let room = octets.saturating_sub(request.len() + END.len());
        if room < least {
            break;
        }
        // What is left over must be nothing, or room for one more line.
        let mut line = room.min(LINE);
        if room != line && room - line < least {
            line = room - least;
        }
        request.extend(FILLER.as_bytes());
        request.resize(request.len() + line - FILLER.len() - END.len(), b'a');
        request.extend(END.as_bytes());
    }
    // Less than a line is left: it goes to the name of the program, which may have any length.
    let missing = octets.saturating_sub(request.len() + END.len());
    let at = BEGIN.len() - "\r\nAccept: */*\r\n".len();
    request.splice(at..at, std::iter::repeat_n(b'+', missing));
    request.extend(END.as_bytes());
    request.truncate(octets);
    request
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_request_has_any_length_and_ends_as_a_request_does() {
        let shortest = BEGIN.len() + END.len();
        for octets in (shortest..shortest + 3000).chain(65_700..65_790) {
            let request = String::from_utf8(built_in(octets)).unwrap();
            assert_eq!(request.len(), octets);
            assert!(request.starts_with("GET / HTTP/1.0\r\n") && request.ends_with("\r\n\r\n"));
            let (head, _) = request.split_once("\r\n\r\n").unwrap();
            assert_eq!(head.len() + 4, octets, "nothing lies behind the end");
            let mut lines = head.split("\r\n").skip(1);
            assert!(lines.all(|line| line.len() <= LINE && line.contains(": ")), "{octets}");
        }
        assert_eq!(built_in(5), b"GET /");
    }

    #[test]
    fn a_given_request_is_text_or_hexadecimal_and_long_enough() {
        let with = |request: &str| StingParams {
            request: Some(request.to_owned()),
            count: 3,
            hole: 1,
            ..StingParams::with("192.0.2.1".parse().unwrap())
        };
        assert_eq!(octets(&with("EHLO x")).unwrap(), b"EHLO");
        assert_eq!(octets(&with("0x00ff1a2B99")).unwrap(), [0, 255, 26, 43]);
        let refusal = |request| octets(&with(request)).unwrap_err().message;
        assert!(refusal("abc").contains("has 3 octets, accepted: at least hole + count, 4"));
        assert!(refusal("0x123").contains("accepted: text, or 0x"));
        assert!(refusal("0xgg11").contains("accepted: text, or 0x"));
    }
}
