//! Floating point numbers as text, as Python writes and reads them.
//!
//! Source: Python's `repr` and `float`, which the RI uses for the primitive `real`.

/// Shortest digits that read back, with `.0` or an exponent.
///
/// The exponent form stands below 10⁻⁴ and from 10¹⁶ on: `1e-05`, `1e+16`.
pub(crate) fn print(number: f64) -> String {
    if number.is_nan() {
        return "nan".to_owned();
    }
    if number.is_infinite() {
        return if number > 0.0 { "inf" } else { "-inf" }.to_owned();
    }
    let scientific = format!("{number:e}");
    let (digits, exponent) = scientific.split_once('e').expect("the form has an exponent");
    let exponent: i32 = exponent.parse().expect("the exponent is a small integer");
    if (-4..16).contains(&exponent) {
        fixed(number)
    } else {
        let sign = if exponent < 0 { '-' } else { '+' };
        format!("{digits}e{sign}{:02}", exponent.unsigned_abs())
    }
}

/// Without exponent, with at least one digit after the point.
fn fixed(number: f64) -> String {
    let text = format!("{number}");
    if text.contains('.') { text } else { text + ".0" }
}

/// What Python's `float` takes: blanks around, `_` between digits, `inf`, `nan`, no hexadecimal.
pub(crate) fn parse(text: &str) -> Option<f64> {
    let text = text.trim();
    if !text.contains('_') {
        return text.parse().ok();
    }
    let octets = text.as_bytes();
    let between_digits = |at: usize| {
        at > 0
            && octets[at - 1].is_ascii_digit()
            && octets.get(at + 1).is_some_and(u8::is_ascii_digit)
    };
    let tidy = (0..octets.len()).all(|at| octets[at] != b'_' || between_digits(at));
    if tidy { text.replace('_', "").parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exponent_form_begins_where_python_begins_it() {
        for (number, text) in [
            (0.0001, "0.0001"),
            (0.00001, "1e-05"),
            (1e15, "1000000000000000.0"),
            (1e16, "1e+16"),
            (-0.0, "-0.0"),
            (1.5e-300, "1.5e-300"),
            (33435.0, "33435.0"),
        ] {
            assert_eq!(print(number), text);
        }
    }

    #[test]
    fn an_underscore_stands_between_digits_only() {
        assert_eq!(parse("1_000.5"), Some(1000.5));
        for text in ["_1", "1_", "1__0", "1_.5", "_", ""] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
