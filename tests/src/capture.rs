//! What really was on the wire, as tcpdump saw it.

use std::{
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::Duration,
};

use crate::{Lab, run, wait_until};

/// A running tcpdump; [`Capture::finish`] ends it.
#[derive(Debug)]
pub struct Capture {
    child: Child,
    file: PathBuf,
}

/// One line of `tcpdump -vv` a packet.
#[derive(Debug)]
pub struct Captured {
    /// In the order of their arrival.
    pub lines: Vec<String>,
}

impl Capture {
    /// Begins to record what passes `device` of a node and fits `filter`.
    ///
    /// # Panics
    ///
    /// Where tcpdump does not start.
    #[must_use]
    pub fn start(lab: &Lab, node: &str, device: &str, filter: &str) -> Self {
        let name = format!("sonde-capture-{}-{}.pcap", std::process::id(), lab.namespace(node));
        let file = std::env::temp_dir().join(name);
        let _ = std::fs::remove_file(&file);
        let child = lab
            .command(node, "tcpdump")
            .args(["-i", device, "-U", "--immediate-mode", "-B", "16384", "-w"])
            .arg(&file)
            .args(filter.split_whitespace())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("tcpdump is installed");
        let written = file.clone();
        wait_until("tcpdump", Duration::from_secs(10), || {
            written.metadata().is_ok_and(|metadata| metadata.len() >= 24)
        });
        Self { child, file }
    }

    /// Ends the recording and reads it.
    ///
    /// # Panics
    ///
    /// Where tcpdump cannot read what it wrote.
    #[must_use]
    pub fn finish(mut self) -> Captured {
        std::thread::sleep(Duration::from_millis(300));
        // `ip netns exec` becomes the program, so this is tcpdump itself.
        run(Command::new("kill").args(["-INT", &self.child.id().to_string()]));
        self.child.wait().expect("it was started here");
        let output = run(Command::new("tcpdump").args(["-n", "-tt", "-vv", "-r"]).arg(&self.file));
        let _ = std::fs::remove_file(&self.file);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let mut lines: Vec<String> = Vec::new();
        for line in text.lines() {
            match lines.last_mut() {
                // The second line of a packet is indented.
                Some(last) if line.starts_with(char::is_whitespace) => {
                    last.push(' ');
                    last.push_str(line.trim());
                }
                _ => lines.push(line.to_owned()),
            }
        }
        Captured { lines }
    }
}

impl Captured {
    /// Lines that hold every one of `words`.
    #[must_use]
    pub fn with(&self, words: &[&str]) -> Vec<&str> {
        let fits = |line: &&String| words.iter().all(|word| line.contains(word));
        self.lines.iter().filter(fits).map(String::as_str).collect()
    }

    /// Packets from `source` that tcpdump found something wrong with. Kernels leave checksums to the
    /// network card, so what they send is no measure.
    #[must_use]
    pub fn malformed_from(&self, source: &str) -> Vec<&str> {
        let signs = ["bad cksum", "bad-", "wrong ", "incorrect", "truncated", "[|", "malformed"];
        let wrong = |line: &&String| {
            let from = line.split(" > ").next().unwrap_or_default();
            let is_ours = from.ends_with(source) || from.contains(&format!("{source}."));
            is_ours && signs.iter().any(|sign| line.contains(sign))
        };
        self.lines.iter().filter(wrong).map(String::as_str).collect()
    }

    /// When each packet passed, in seconds since 1970.
    #[must_use]
    pub fn times(&self) -> Vec<f64> {
        self.lines.iter().filter_map(|line| line.split_whitespace().next()?.parse().ok()).collect()
    }
}
