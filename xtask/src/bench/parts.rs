//! The parts by themselves: an event across the plugin interface, the engine without the kernel.

use std::process::Command;

use crate::metadata;

/// What to run, and the lines that are shown.
const PARTS: [(&str, &[&str], &str); 3] = [
    ("one event into a plugin and one probe back", &["bench", "-p", "sonde-plugin-api"], "0 "),
    (
        "the engine against a link that is no kernel",
        &["test", "--release", "-p", "sonde-engine", "--lib", "core_costs"],
        "engine without",
    ),
    (
        "the host's side of an event to a worker process",
        &["test", "--release", "-p", "sonde-worker", "--test", "speed"],
        "batch",
    ),
];

/// Prints the lines of each.
pub(super) fn run() -> Result<(), String> {
    for (what, arguments, sign) in PARTS {
        println!("\n{what}: cargo {}\n", arguments.join(" "));
        let mut command = Command::new("cargo");
        command.args(arguments).current_dir(metadata::root());
        if arguments[0] == "test" {
            command.args(["--", "--ignored", "--nocapture", "--test-threads", "1"]);
        }
        let output = command.output().map_err(|error| format!("cargo: {error}"))?;
        let text = String::from_utf8_lossy(&output.stdout);
        if !output.status.success() {
            return Err(format!("{text}{}", String::from_utf8_lossy(&output.stderr)));
        }
        for line in text.lines().filter(|line| line.contains(sign)) {
            println!("    {}", line.trim());
        }
    }
    Ok(())
}
