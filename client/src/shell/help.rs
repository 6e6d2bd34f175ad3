//! What the commands are, in a line each.

/// Commands, what stands behind them, and what they do.
pub(super) const COMMANDS: &[(&str, &str, &str)] = &[
    ("getcap", "[URL]", "ask what is offered, at the usual place or at URL"),
    ("help", "[COMMAND]", "this list, or one line of it"),
    ("listcap", "", "what is offered"),
    ("listmeas", "", "what was asked for; asks for results first"),
    ("resetclient", "", "forget everything"),
    ("runcap", "LABEL-or-token [LABEL] [NAME=VALUE …]", "measure; asks for what is not known"),
    ("set", "NAME VALUE", "a value that is not to be asked for"),
    ("seturl", "URL", "another usual place"),
    ("show", "[NAME …]", "values that are not asked for"),
    ("showcap", "LABEL-or-token", "a capability in full"),
    ("showmeas", "LABEL-or-token", "a receipt, result or exception in full"),
    ("stopmeas", "LABEL-or-token", "interrupt a measurement"),
    ("tbenable", "", "accepted, does nothing"),
    ("unset", "[NAME …]", "forget values that are not asked for, or all of them"),
    ("wait", "[LABEL-or-token]", "wait for a result and show it; the last one unless said"),
    ("when", "[SCOPE]", "the scope that is not asked for, such as now + 10s / 1s"),
    ("EOF", "", "leave; also quit, exit and Ctrl-D"),
];

/// One command, or all.
pub(super) fn text(topic: Option<&str>) -> String {
    let is_wanted = |name: &str| topic.is_none_or(|topic| topic == name);
    let lines: Vec<String> = COMMANDS
        .iter()
        .filter(|(name, ..)| is_wanted(name))
        .map(|(name, arguments, what)| {
            let usage = format!("{name} {arguments}");
            format!("{:<48} {what}", usage.trim_end())
        })
        .collect();
    match topic {
        Some(topic) if lines.is_empty() => format!("no command {topic}"),
        _ => lines.join("\n"),
    }
}
