//! What a plugin says of a method, as a section of Markdown: the documents are made of it.

use std::fmt::Write as _;

use sonde_host::Offer;
use sonde_plugin_api::{
    descriptor::{MethodDescriptor, Need, Parameter, Table},
    packet::Family,
};

use crate::{
    arguments::called,
    methods::{accepted, default_text},
};

/// The section, with a heading of the second level.
pub(crate) fn page(offer: &Offer) -> String {
    let method = offer.method();
    let mut page = format!("## {}\n\n{}.\n", method.name, escaped(&method.doc));
    let mut say = |line: String| page.extend([line.as_str(), "\n"]);
    if !method.source.is_empty() {
        say(format!("\nSource: {}.", escaped(&method.source)));
    }
    if let Some(grants) = grants(method) {
        say(format!("\nThe operator's word: {grants}."));
    }
    say("\n| parameter | accepted | default | means |\n|---|---|---|---|".to_owned());
    method.parameters.iter().for_each(|parameter| say(parameter_line(parameter)));
    for table in &method.tables {
        say(format!(
            "\nTable `{}`: {}\n\n| column | means |\n|---|---|",
            table.name,
            summary(table)
        ));
        for column in &table.columns {
            let unit =
                if column.unit.is_empty() { String::new() } else { format!(" ({})", column.unit) };
            say(format!("| `{}`{unit} | {} |", column.name, escaped(&column.doc)));
        }
    }
    let labels: Vec<String> =
        method.capabilities.iter().map(|view| format!("`{}`", view.label)).collect();
    say(format!("\nCapabilities for mPlane: {}.", labels.join(", ")));
    page
}

fn summary(table: &Table) -> String {
    let may_be_missing = table.columns.iter().filter(|column| column.nullable).count();
    match may_be_missing {
        0 => format!("{} columns.", table.columns.len()),
        some => format!("{} columns, {some} of which may be null.", table.columns.len()),
    }
}

/// What has to be permitted, and what for some parameters.
fn grants(method: &MethodDescriptor) -> Option<String> {
    // The kernel keeps silent on every host; nobody has to permit it.
    let list = |needs: &[Need]| {
        let asked = needs.iter().filter(|need| **need != Need::QuietKernel);
        asked.map(|need| format!("`{need}`")).collect::<Vec<_>>().join(", ")
    };
    let (needs, wants) = (list(&method.needs), list(&method.wants));
    match (needs.is_empty(), wants.is_empty()) {
        (true, true) => None,
        (false, true) => Some(format!("needs {needs}")),
        (true, false) => Some(format!("wants {wants} for some parameters")),
        (false, false) => Some(format!("needs {needs}, wants {wants} for some parameters")),
    }
}

fn parameter_line(parameter: &Parameter) -> String {
    let mut flags = format!("`{}`", called(parameter));
    if let Some(short) = parameter.short {
        let _ = write!(flags, ", `-{short}`");
    }
    let accepted = escaped(&accepted(parameter));
    let [four, six] = [Family::V4, Family::V6].map(|family| {
        default_text(parameter, family)
            .map_or(String::new(), |text| format!("`{}`", text.replace('|', "\\|")))
    });
    let default = match (parameter.required, four == six) {
        (true, _) => "must be given".to_owned(),
        (false, true) => four,
        (false, false) => format!("{four}, with IPv6 {six}"),
    };
    format!("| {flags} | {accepted} | {default} | {} |", escaped(&parameter.doc))
}

/// As Markdown shows it in a table.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for one in text.trim_end_matches('.').chars() {
        match one {
            '|' | '*' | '_' | '<' | '>' | '\\' | '`' | '[' | ']' => escaped.extend(['\\', one]),
            '\n' => escaped.push(' '),
            _ => escaped.push(one),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_markdown_takes_for_its_own_is_shown_as_it_is() {
        assert_eq!(escaped(r"EXPECT|SEND \n *x* <y>"), r"EXPECT\|SEND \\n \*x\* \<y\>");
        assert_eq!(escaped("One line.\nAnother."), "One line. Another");
    }

    #[test]
    fn what_has_to_be_permitted_is_told_apart_from_what_may_be() {
        let method = |needs: &[Need], wants: &[Need]| {
            grants(&MethodDescriptor {
                needs: needs.to_vec(),
                wants: wants.to_vec(),
                ..MethodDescriptor::default()
            })
        };
        assert_eq!(method(&[Need::QuietKernel], &[]), None);
        let both = method(&[Need::RealConnections], &[Need::Spoof]).unwrap();
        assert_eq!(both, "needs `real_connections`, wants `spoof` for some parameters");
    }
}
