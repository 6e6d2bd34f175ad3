//! How a person reads a measurement: lines with gaps, filled from rows.
//!
//! A method says once what its rows look like on a terminal, so that no program that shows them
//! has to know the method. A gap is `{column}` or `{column|form}`:
//!
//! | form | of | gives |
//! |---|---|---|
//! | `ms` | microseconds | milliseconds with three decimals |
//! | `%` | a ratio | per cent, at most two decimals |
//! | `hex` | a natural number | hexadecimal, with 0x |
//! | a number, such as `3` | anything | at least so many characters, filled up in front |
//!
//! Lists are joined by spaces, each item in the form, what is there of a row in a row by `=`; what is missing reads `*`.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// The text of a whole measurement.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct TextForm {
    /// Before the first row; its gaps are the parameters by flag name, `target` (as it was typed), `destination`.
    #[serde(default)]
    pub head: String,
    /// For every row the first line that fits; no line where none does.
    #[serde(default)]
    pub lines: Vec<TextLine>,
}

/// The text of one kind of row.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct TextLine {
    /// Rows of this table.
    pub table: String,
    /// What must hold of the row: `column` (there, and neither false nor 0), `!column`, or
    /// `column=value`.
    #[serde(default)]
    pub when: Vec<String>,
    /// Text with gaps; may hold several lines.
    pub text: String,
    /// Columns that must be as in the row shown before, of the same table; then the text goes on in
    /// the line of that row. Empty: a line of its own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub continues: Vec<String>,
}

/// The text of a row, and where it goes.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RowText {
    /// Without the line end.
    pub text: String,
    /// It goes on in the line of the row before.
    pub continues: bool,
}

impl TextForm {
    /// Text before the first row.
    #[must_use]
    pub fn new(head: &str) -> Self {
        Self { head: head.to_owned(), lines: Vec::new() }
    }

    /// One more kind of row; `when` is separated by spaces.
    #[must_use]
    pub fn line(mut self, table: &str, when: &str, text: &str) -> Self {
        let when = when.split_whitespace().map(str::to_owned).collect();
        let (table, text) = (table.to_owned(), text.to_owned());
        self.lines.push(TextLine { table, when, text, continues: Vec::new() });
        self
    }

    /// The kind of row added last goes on in the line of the row before, where these columns,
    /// separated by spaces, are the same: several probes of one hop in one line.
    ///
    /// # Panics
    ///
    /// If no kind of row was added before.
    #[must_use]
    pub fn continues(mut self, columns: &str) -> Self {
        let line = self.lines.last_mut().expect("what continues a line follows it");
        line.continues = columns.split_whitespace().map(str::to_owned).collect();
        self
    }

    /// The text of one row, if it has one. `before` is the table and the row shown before it.
    #[must_use]
    pub fn row(
        &self,
        table: &str,
        row: &Map<String, Value>,
        before: Option<(&str, &Map<String, Value>)>,
    ) -> Option<RowText> {
        let before = before.filter(|(of, _)| *of == table).map(|(_, before)| before);
        let is_same = |column: &String| before.is_some_and(|it| it.get(column) == row.get(column));
        let fits = |line: &&TextLine| {
            line.table == table
                && line.continues.iter().all(is_same)
                && line.when.iter().all(|condition| holds(condition, row))
        };
        self.lines.iter().find(fits).map(|line| RowText {
            text: fill(&line.text, row),
            continues: !line.continues.is_empty(),
        })
    }
}

fn holds(condition: &str, row: &Map<String, Value>) -> bool {
    if let Some((column, wanted)) = condition.split_once('=') {
        return row.get(column).is_some_and(|value| plain(value) == wanted);
    }
    let (column, wanted) = match condition.strip_prefix('!') {
        Some(column) => (column, false),
        None => (condition, true),
    };
    let is_set = match row.get(column) {
        None | Some(Value::Null | Value::Bool(false)) => false,
        Some(Value::Number(number)) => number.as_f64() != Some(0.0),
        Some(Value::Array(items)) => !items.is_empty(),
        Some(_) => true,
    };
    is_set == wanted
}

/// `text` with its gaps filled from `values`; control characters are left out, but for line ends of the text itself,
/// for the values come from the network and the text from a plugin.
#[must_use]
pub fn fill(text: &str, values: &Map<String, Value>) -> String {
    let mut filled = String::with_capacity(text.len() + 32);
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('{') {
        push(&mut filled, before);
        let Some((gap, behind)) = after.split_once('}') else {
            filled.push('{');
            rest = after;
            continue;
        };
        let (column, form) = gap.split_once('|').unwrap_or((gap, ""));
        filled.push_str(&formed(values.get(column).unwrap_or(&Value::Null), form));
        rest = behind;
    }
    push(&mut filled, rest);
    filled
}

/// Text of a plugin.
fn push(filled: &mut String, text: &str) {
    filled.extend(text.chars().filter(|letter| *letter == '\n' || is_harmless(*letter)));
}

/// What is left of a text of the network without what ends a line, steers a terminal, or turns the way that others read.
#[must_use]
pub fn harmless(text: &str) -> String {
    text.chars().filter(|letter| is_harmless(*letter)).collect()
}

fn is_harmless(letter: char) -> bool {
    let turns = matches!(letter, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    !letter.is_control() && !turns
}

fn formed(value: &Value, form: &str) -> String {
    if let (Value::Array(items), "ms" | "%" | "hex") = (value, form) {
        let items: Vec<String> = items.iter().map(|item| formed(item, form)).collect();
        return items.join(" ");
    }
    match (form, value.as_f64()) {
        ("ms", Some(us)) => format!("{:.3}", us / 1000.0),
        ("%", Some(ratio)) => {
            let text = format!("{:.2}", ratio * 100.0);
            format!("{}%", text.trim_end_matches('0').trim_end_matches('.'))
        }
        ("hex", _) => value.as_u64().map_or_else(|| plain(value), |number| format!("{number:#x}")),
        (width, _) => match width.parse::<u8>() {
            Ok(width) => format!("{:>width$}", plain(value), width = usize::from(width)),
            Err(_) => plain(value),
        },
    }
}

fn plain(value: &Value) -> String {
    match value {
        Value::Null => "*".to_owned(),
        Value::String(text) => harmless(text),
        Value::Array(items) => items.iter().map(plain).collect::<Vec<_>>().join(" "),
        Value::Object(members) => {
            let there = members.values().filter(|value| !value.is_null());
            there.map(plain).collect::<Vec<_>>().join("=")
        }
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn row(value: Value) -> Map<String, Value> {
        match value {
            Value::Object(members) => members,
            _ => Map::new(),
        }
    }

    #[test]
    fn the_first_line_whose_conditions_hold_is_taken() {
        let form = TextForm::new("")
            .line("replies", "rtt_us !late", "{addr}: {rtt_us|ms} ms")
            .line("replies", "kind=late", "{addr} was late")
            .line("replies", "", "no answer");
        let answer = row(json!({"addr": "192.0.2.1", "rtt_us": 1500, "late": false}));
        let text =
            |table: &str, row: &Map<String, Value>| form.row(table, row, None).map(|row| row.text);
        assert_eq!(text("replies", &answer).as_deref(), Some("192.0.2.1: 1.500 ms"));
        let late = row(json!({"addr": "192.0.2.1", "rtt_us": 1500, "late": true, "kind": "late"}));
        assert_eq!(text("replies", &late).as_deref(), Some("192.0.2.1 was late"));
        assert_eq!(text("replies", &row(json!({}))).as_deref(), Some("no answer"));
        assert_eq!(text("summary", &answer), None);
    }

    #[test]
    fn values_forge_no_lines() {
        let hostile = row(json!({"text": "a\n--- 4 sent\u{1b}[2J\u{202e}b", "more": ["c\rd"]}));
        assert_eq!(fill("{text}\n{more}", &hostile), "a--- 4 sent[2Jb\ncd");
    }

    #[test]
    fn a_row_goes_on_in_the_line_of_the_row_before_where_the_columns_are_the_same() {
        let form = TextForm::new("")
            .line("hops", "addr", "  {rtt_us|ms} ms")
            .continues("ttl addr")
            .line("hops", "", "  {addr}")
            .continues("ttl")
            .line("hops", "", "{ttl|3}  {addr}");
        let rows = [(1, "a"), (1, "a"), (1, "b"), (2, "b")]
            .map(|(ttl, addr)| row(json!({"ttl": ttl, "addr": addr, "rtt_us": 1500})));
        let mut shown = String::new();
        let mut before = None;
        for row in &rows {
            let text = form.row("hops", row, before).unwrap();
            shown.push_str(if text.continues { "" } else { "\n" });
            shown.push_str(&text.text);
            before = Some(("hops", row));
        }
        assert_eq!(shown, "\n  1  a  1.500 ms  b\n  2  b");
        let other = form.row("hops", &rows[1], Some(("other", &rows[0]))).unwrap();
        assert!(!other.continues);
    }

    #[test]
    fn a_ratio_is_not_truncated_to_a_whole_number() {
        let values = row(json!({"loss": 0.3333, "none": 0.0, "all": 1.0}));
        assert_eq!(fill("{loss|%} {none|%} {all|%}", &values), "33.33% 0% 100%");
        let interval = row(json!({"ci95": [0.0, 0.0741]}));
        assert_eq!(fill("{ci95|%}", &interval), "0% 7.41%");
    }

    #[test]
    fn rows_in_a_list_are_read_without_what_is_missing() {
        let stamps = json!([{"addr": "192.0.2.1", "ms": 5}, {"addr": null, "ms": 6}]);
        assert_eq!(fill("{ts}", &row(json!({"ts": stamps}))), "192.0.2.1=5 6");
    }

    #[test]
    fn text_from_the_network_cannot_steer_a_terminal() {
        let values = row(json!({"name": "a\u{1b}[2Jb\r"}));
        assert_eq!(fill("{name}{gone} {open", &values), "a[2Jb* {open");
    }
}
