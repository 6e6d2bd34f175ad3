//! Network namespaces for tests: real kernels that nothing leaves, removed at the end.

use std::{
    io::{Read, Write},
    os::fd::AsRawFd,
    process::Command,
    sync::atomic::{AtomicU32, Ordering},
    thread,
    time::{Duration, Instant},
};

use super::{
    fd::{bind, checked, socket},
    ring::link_address,
};

/// Two namespaces, `near` and `far`, joined by a virtual Ethernet pair of devices with these names.
///
/// near is 198.51.100.1/24 and 2001:db8::1/64, far is `.2` and `::2`; far also has all of
/// 198.18.0.0/15 and 2001:db8:1::/64, to which near has routes by it.
pub(crate) struct Pair {
    pub(crate) near: String,
    pub(crate) far: String,
}

impl Pair {
    pub(crate) fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let [near, far] = ["a", "b"].map(|end| format!("snde{}-{number}{end}", std::process::id()));
        let pair = Self { near, far };
        for name in [&pair.near, &pair.far] {
            run("ip", &["netns", "add", name]);
            run("ip", &["-n", name, "link", "set", "lo", "up"]);
            pair.shell(
                name,
                "sysctl -qw net.ipv4.icmp_ratelimit=0 net.ipv4.icmp_ratemask=0 \
                 net.ipv6.icmp.ratelimit=0 net.ipv4.icmp_msgs_per_sec=10000000 \
                 net.ipv4.icmp_msgs_burst=1000000 net.ipv4.conf.all.rp_filter=0 \
                 net.ipv4.conf.default.rp_filter=0 net.ipv6.conf.all.accept_dad=0 \
                 net.ipv6.conf.default.accept_dad=0 net.ipv6.conf.default.addr_gen_mode=0; \
                 printf '' > /proc/sys/net/ipv6/icmp/ratemask || true",
            );
        }
        pair.ip(
            "near",
            &format!(
                "link add near address 02:00:00:00:00:0a type veth peer name far \
                 address 02:00:00:00:00:0b netns {}",
                pair.far
            ),
        );
        for (end, number) in [("near", 1), ("far", 2)] {
            pair.ip(end, &format!("addr add 198.51.100.{number}/24 brd + dev {end}"));
            pair.ip(end, &format!("-6 addr add 2001:db8::{number}/64 dev {end} nodad"));
            pair.ip(end, &format!("link set {end} up"));
        }
        pair.ip("far", "route add local 198.18.0.0/15 dev lo");
        pair.ip("far", "-6 route add local 2001:db8:1::/64 dev lo");
        pair.ip("near", "route add 198.18.0.0/15 via 198.51.100.2");
        pair.ip("near", "-6 route add 2001:db8:1::/64 via 2001:db8::2");
        // Links come up when the kernel gets round to it.
        for target in ["198.18.0.1", "2001:db8:1::1"] {
            let ping = format!("ping -q -c 1 -W 1 {target} > /dev/null && printf answered || true");
            wait_until("the link", || pair.shell("near", &ping) == "answered");
        }
        pair
    }

    /// `ip ARGUMENTS` in `near` or `far`.
    pub(crate) fn ip(&self, end: &str, arguments: &str) {
        let mut all = vec!["-n", self.name(end)];
        all.extend(arguments.split_whitespace());
        run("ip", &all);
    }

    /// A line of shell in `near` or `far`; what it printed.
    pub(crate) fn shell(&self, end: &str, line: &str) -> String {
        run("ip", &["netns", "exec", self.name(end), "sh", "-c", line])
    }

    /// Runs `body` in a thread of its own inside `near` or `far`.
    pub(crate) fn inside<T: Send>(&self, end: &str, body: impl FnOnce() -> T + Send) -> T {
        let path = format!("/run/netns/{}", self.name(end));
        thread::scope(|scope| {
            let thread = scope.spawn(move || {
                let namespace = std::fs::File::open(path).unwrap();
                // SAFETY: takes integers only, and moves this thread alone.
                let moved = unsafe { libc::setns(namespace.as_raw_fd(), libc::CLONE_NEWNET) };
                checked(moved).unwrap();
                body()
            });
            match thread.join() {
                Ok(value) => value,
                Err(panic) => std::panic::resume_unwind(panic),
            }
        })
    }

    fn name<'a>(&'a self, end: &'a str) -> &'a str {
        match end {
            "near" => &self.near,
            "far" => &self.far,
            name => name,
        }
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        for name in [&self.near, &self.far] {
            let _ = Command::new("ip").args(["netns", "del", name]).output();
        }
    }
}

/// Index of a device in the calling thread's namespace.
pub(crate) fn index(device: &str) -> u32 {
    let name = std::ffi::CString::new(device).unwrap();
    // SAFETY: a string that ends with a zero.
    let index = unsafe { libc::if_nametoindex(name.as_ptr()) };
    assert!(index > 0, "no device {device}");
    index
}

/// A device without link addresses whose far end is this program.
pub(crate) struct Tunnel(std::fs::File);

impl Tunnel {
    /// Makes it in the calling thread's namespace.
    pub(crate) fn new(name: &str) -> Self {
        const TUNSETIFF: libc::c_ulong = 0x4004_54ca;
        const FLAGS: u16 = 0x1001; // No header before packets.
        let options = std::fs::OpenOptions::new().read(true).write(true).open("/dev/net/tun");
        let file = options.unwrap();
        let mut request = [0u8; 40];
        request[..name.len()].copy_from_slice(name.as_bytes());
        request[16..18].copy_from_slice(&FLAGS.to_ne_bytes());
        // SAFETY: the request is of the size that the kernel reads and writes.
        checked(unsafe { libc::ioctl(file.as_raw_fd(), TUNSETIFF, request.as_mut_ptr()) }).unwrap();
        Self(file)
    }

    /// The next packet that was sent into it.
    pub(crate) fn take(&mut self) -> Vec<u8> {
        let mut octets = vec![0; 2000];
        let length = self.0.read(&mut octets).unwrap();
        octets.truncate(length);
        octets
    }

    /// Lets the device receive a packet.
    pub(crate) fn give(&mut self, packet: &[u8]) {
        self.0.write_all(packet).unwrap();
    }
}

/// Sends a whole Ethernet frame by a device of the calling thread's namespace.
pub(crate) fn send_frame(device: &str, frame: &[u8]) {
    let all = (libc::ETH_P_ALL as u16).to_be();
    let fd = socket(libc::AF_PACKET, libc::SOCK_RAW, 0).unwrap();
    bind(&fd, &link_address(index(device), all)).unwrap();
    // SAFETY: reads `frame`.
    let sent = unsafe { libc::send(fd.as_raw_fd(), frame.as_ptr().cast(), frame.len(), 0) };
    assert_eq!(sent, frame.len() as isize);
}

/// Waits until `done` says so; kernels do what they are told a little later.
pub(crate) fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(5);
    while !done() {
        assert!(Instant::now() < end, "{what} did not happen within five seconds");
        thread::sleep(Duration::from_millis(2));
    }
}

/// CPU time of the calling thread.
pub(crate) fn cpu_time() -> u64 {
    super::read_clock(libc::CLOCK_THREAD_CPUTIME_ID)
}

fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {said}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}
