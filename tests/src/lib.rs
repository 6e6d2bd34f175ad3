//! A laboratory of network namespaces for the tests beside this crate: real kernels as routers and
//! hosts, nothing leaves them, everything is removed at the end.
//!
//! Needs root and the tools `ip`, `nft`, `tcpdump`; [`Nginx`] also `nginx` and `openssl`.

use std::{
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};

mod capture;
mod nginx;
mod program;

pub use capture::{Capture, Captured};
pub use nginx::Nginx;
pub use program::{Finished, plugin, sonde, sonde_of_this_build, target_folder};

/// Namespaces with a prefix of their own, removed when this is dropped.
#[derive(Debug)]
pub struct Lab {
    prefix: String,
    nodes: Vec<String>,
}

/// What the far end of a chain answers to.
pub const TARGET4: &str = "203.0.113.80";
/// As [`TARGET4`].
pub const TARGET6: &str = "2001:db8:80::80";
/// Every address in here is the far end's.
pub const MANY4: &str = "198.18.0.0/15";
/// As [`MANY4`].
pub const MANY6: &str = "2001:db8:1::/64";

impl Lab {
    /// No node yet.
    #[must_use]
    pub fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        Self { prefix: format!("snd{}-{number}-", std::process::id()), nodes: Vec::new() }
    }

    /// `src - r1 - … - rN - dst` in both families; [`TARGET4`], [`TARGET6`] and all of [`MANY4`]
    /// and [`MANY6`] are at `dst`.
    ///
    /// Link `n` is 198.51.100.(4n)/30 and 2001:db8:0:n::/64, the near end `.1`, the far end `.2`.
    #[must_use]
    pub fn chain(routers: u8) -> Self {
        let mut lab = Self::new();
        let mut names = vec!["src".to_owned()];
        names.extend((1..=routers).map(|number| format!("r{number}")));
        names.push("dst".to_owned());
        for (number, name) in names.iter().enumerate() {
            lab.node(name, number != 0 && number + 1 != names.len());
        }
        for (number, pair) in names.windows(2).enumerate() {
            lab.link(&pair[0], &pair[1], number);
        }
        let last = names.len() - 1;
        for (number, name) in names.iter().enumerate() {
            if number < last {
                lab.ip(name, &format!("route add default via 198.51.100.{}", 4 * number + 2));
                lab.ip(name, &format!("-6 route add default via 2001:db8:0:{number:x}::2"));
            } else {
                let back = number - 1;
                lab.ip(name, &format!("route add default via 198.51.100.{}", 4 * back + 1));
                lab.ip(name, &format!("-6 route add default via 2001:db8:0:{back:x}::1"));
            }
            // Towards the near links; what lies beyond goes by the default route.
            for link in 0..number.saturating_sub(1) {
                let back = number - 1;
                let near = format!("198.51.100.{}/30 via 198.51.100.{}", 4 * link, 4 * back + 1);
                if number < last {
                    lab.ip(name, &format!("route add {near}"));
                    lab.ip(
                        name,
                        &format!(
                            "-6 route add 2001:db8:0:{link:x}::/64 via 2001:db8:0:{back:x}::1"
                        ),
                    );
                }
            }
        }
        lab.ip("dst", &format!("addr add {TARGET4}/32 dev lo"));
        lab.ip("dst", &format!("-6 addr add {TARGET6}/128 dev lo nodad"));
        lab.ip("dst", &format!("route add local {MANY4} dev lo"));
        lab.ip("dst", &format!("-6 route add local {MANY6} dev lo"));
        lab
    }

    /// One more namespace, with forwarding and without limits on ICMP errors.
    pub fn node(&mut self, name: &str, forwarding: bool) {
        let full = self.namespace(name);
        run(Command::new("ip").args(["netns", "add", &full]));
        self.nodes.push(name.to_owned());
        let forwarding = u8::from(forwarding);
        self.ip(name, "link set lo up");
        self.shell(
            name,
            &format!(
                "sysctl -qw net.ipv4.ip_forward={forwarding} net.ipv6.conf.all.forwarding={forwarding} \
                 net.ipv4.icmp_ratelimit=0 net.ipv4.icmp_ratemask=0 net.ipv6.icmp.ratelimit=0 \
                 net.ipv4.icmp_msgs_per_sec=1000000 net.ipv4.icmp_msgs_burst=100000 \
                 net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.default.rp_filter=0 \
                 net.ipv6.conf.all.accept_dad=0 net.ipv6.conf.default.accept_dad=0; \
                 printf '' > /proc/sys/net/ipv6/icmp/ratemask || true"
            ),
        );
    }

    /// A virtual Ethernet pair between two nodes, numbered as in [`Lab::chain`].
    pub fn link(&self, near: &str, far: &str, number: usize) {
        let (near_device, far_device) = (format!("{near}-{far}"), format!("{far}-{near}"));
        run(Command::new("ip")
            .args(["link", "add", &near_device, "netns", &self.namespace(near)])
            .args(["type", "veth", "peer", "name", &far_device, "netns", &self.namespace(far)]));
        for (node, device, end) in [(near, &near_device, 1), (far, &far_device, 2)] {
            self.ip(node, &format!("link set {device} up"));
            self.ip(node, &format!("addr add 198.51.100.{}/30 dev {device}", 4 * number + end));
            self.ip(
                node,
                &format!("-6 addr add 2001:db8:0:{number:x}::{end}/64 dev {device} nodad"),
            );
        }
    }

    /// Full name of a node's namespace.
    #[must_use]
    pub fn namespace(&self, node: &str) -> String {
        format!("{}{node}", self.prefix)
    }

    /// `program` inside a node, not yet started.
    #[must_use]
    pub fn command(&self, node: &str, program: impl AsRef<Path>) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.namespace(node)]).arg(program.as_ref());
        command
    }

    /// `ip ARGUMENTS` inside a node.
    pub fn ip(&self, node: &str, arguments: &str) {
        let namespace = self.namespace(node);
        run(Command::new("ip").args(["-n", &namespace]).args(arguments.split_whitespace()));
    }

    /// A line of shell inside a node; its standard output.
    pub fn shell(&self, node: &str, line: &str) -> String {
        let output = run(self.command(node, "sh").args(["-c", line]));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Loads rules of nftables in a node.
    pub fn nft(&self, node: &str, rules: &str) {
        let file = tempfile(rules);
        run(self.command(node, "nft").arg("-f").arg(&file));
        std::fs::remove_file(file).expect("it was written just before");
    }

    /// Starts `command` and gives it time to settle.
    #[must_use]
    pub fn background(mut command: Command) -> Background {
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the program is installed");
        Background(child)
    }
}

impl Default for Lab {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        for node in &self.nodes {
            let name = self.namespace(node);
            let _ = Command::new("ip").args(["netns", "del", &name]).output();
        }
    }
}

/// A program that is ended with the test.
#[derive(Debug)]
pub struct Background(Child);

impl Background {
    /// Process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Runs a command that must succeed.
///
/// # Panics
///
/// Where it does not; the text holds its output.
pub fn run(command: &mut Command) -> Output {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(
        output.status.success(),
        "{command:?}: {}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    output
}

/// Waits until `condition` holds.
///
/// # Panics
///
/// When it does not within `limit`.
pub fn wait_until(what: &str, limit: Duration, mut condition: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !condition() {
        assert!(begin.elapsed() < limit, "waited {limit:?} for {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn tempfile(content: &str) -> PathBuf {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    let file = std::env::temp_dir().join(format!("sonde-lab-{}-{number}", std::process::id()));
    std::fs::write(&file, content).expect("the temporary folder can be written");
    file
}
