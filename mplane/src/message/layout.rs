//! Messages as the RI's client shell prints them.
//!
//! Source: the RI's `showcap` and `showmeas`.

use std::fmt::{self, Write};

use super::{Field, Head, Message, Parameter};

impl Message {
    /// Lines as of `showcap` and `showmeas`, without the empty line after them.
    ///
    /// Parameters and metadata stand in the order of their names.
    #[must_use]
    pub fn layout(&self) -> String {
        let mut lines = Lines::default();
        match self {
            Self::Exception(exception) => {
                lines.0 = format!("exception: {}\n", exception.token.as_deref().unwrap_or("None"));
                lines.entry("message", &exception.message);
            }
            Self::Envelope(envelope) => {
                "envelope: message\n".clone_into(&mut lines.0);
                lines.some("label", envelope.label.as_deref());
                lines.some("token", envelope.token.as_deref());
                lines.some("when", envelope.when.as_ref().map(ToString::to_string).as_deref());
                lines.line(format_args!("    {:<12}({:>2}):", "contents", envelope.contents.len()));
                for message in &envelope.contents {
                    for line in message.layout().lines() {
                        lines.line(format_args!("        {line}"));
                    }
                }
            }
            other => {
                if let Some(head) = other.head() {
                    other.head_lines(head, &mut lines);
                }
            }
        }
        lines.0
    }

    fn head_lines(&self, head: &Head, lines: &mut Lines) {
        lines.0 = format!("{}: {}\n", self.kind(), head.verb);
        lines.some("label", head.label.as_deref());
        lines.some("link", head.link());
        lines.some("token", head.token.as_deref());
        lines.some("when", self.when().map(ToString::to_string).as_deref());
        match self {
            Self::Capability(body) | Self::Withdrawal(body) => {
                lines.some("registry", Some(&body.registry));
                lines.named("parameters", body.parameters.iter().map(constraint));
            }
            Self::Specification(body) => {
                lines.some("registry", Some(&body.registry));
                lines.named("parameters", body.parameters.iter().map(value));
            }
            Self::Receipt(body) | Self::Redemption(body) | Self::Interrupt(body) => {
                lines.some("registry", body.registry.as_deref());
                lines.named("parameters", body.parameters.iter().map(value));
            }
            Self::Result(body) => {
                lines.some("registry", Some(&body.registry));
                lines.named("parameters", body.parameters.iter().map(value));
            }
            Self::Exception(_) | Self::Envelope(_) => {}
        }
        lines.named("metadata", head.metadata.iter().map(value));
        match self {
            Self::Result(body) if !body.rows.is_empty() => {
                lines.line(format_args!("    {:<12}({:>2}):", "resultvalues", body.rows.len()));
                for (number, row) in body.rows.iter().enumerate() {
                    lines.line(format_args!("          result {number}:"));
                    for (element, value) in body.cells(row) {
                        lines.line(format_args!("            {:>32}: {value}", element.name()));
                    }
                }
            }
            _ if head.results.is_empty() => {}
            _ => {
                lines.line(format_args!("    {:<12}({:>2}):", "results", head.results.len()));
                for element in &head.results {
                    lines.line(format_args!("        {element}"));
                }
            }
        }
    }
}

fn value(field: &Field) -> (&str, String) {
    (field.element.name(), field.value.to_string())
}

fn constraint(parameter: &Parameter) -> (&str, String) {
    (parameter.element.name(), parameter.constraint.to_string())
}

#[derive(Default)]
struct Lines(String);

impl Lines {
    fn line(&mut self, line: fmt::Arguments<'_>) {
        writeln!(self.0, "{line}").expect("writing into a text cannot fail");
    }

    fn entry(&mut self, key: &str, text: &str) {
        self.line(format_args!("    {key:<12}: {text}"));
    }

    fn some(&mut self, key: &str, text: Option<&str>) {
        if let Some(text) = text {
            self.entry(key, text);
        }
    }

    fn named<'a>(&mut self, key: &str, entries: impl Iterator<Item = (&'a str, String)>) {
        let mut entries: Vec<_> = entries.collect();
        if entries.is_empty() {
            return;
        }
        entries.sort();
        self.line(format_args!("    {key:<12}({:>2}): ", entries.len()));
        for (name, text) in entries {
            self.line(format_args!("        {name:>32}: {text}"));
        }
    }
}
