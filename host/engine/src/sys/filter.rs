//! The kernel's filter on the receiving socket: passes only what can answer a probe.
//!
//! Answers are ICMP errors and replies, and segments and datagrams for the local ports that flows
//! hold. Later fragments do not tell whose they are: they pass where an answer could be of their
//! protocol, and are sorted out by their sender. Requests, frames that come again without their VLAN
//! tag, frames for other machines and all the host's own traffic stay in the kernel.
//!
//! A program of classic BPF. Loads relative to the network header see only the part of a packet
//! that lies in one piece, which for some cards ends before the ICMP header; so on Ethernet and
//! loopback, where the header's place is known, it is loaded from there.
//!
//! Source: Linux, Documentation/networking/filter.rst.

use std::ops::RangeInclusive;

use libc::sock_filter;

/// Octets to take of a packet that passes: all.
const ALL: u32 = 0x4_0000;
/// How many IPv6 extension headers are walked; a packet with more is not for us. RFC 8200, section 4.1, has a place for five
/// that can be read.
const EXTENSIONS: usize = 8;

const ICMP4_TYPES: [u32; 7] = [0, 3, 4, 5, 11, 12, 14];
const ICMP6_TYPES: [u32; 5] = [1, 2, 3, 4, 129];

/// Local ports whose traffic passes; each list sorted and without overlaps.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Ports {
    pub(super) tcp: Vec<RangeInclusive<u16>>,
    pub(super) udp: Vec<RangeInclusive<u16>>,
}

/// The number of the VLAN in a tag.
pub(super) const VLAN: u32 = 0x0fff;

/// What lets a packet of no protocol through.
pub(super) fn nothing() -> Vec<sock_filter> {
    vec![instruction(libc::BPF_RET | libc::BPF_K, 0)]
}

/// Passes ICMP that can answer a probe, and TCP and UDP for `ports`.
pub(super) fn answers(ports: &Ports) -> Vec<sock_filter> {
    let mut program = Program::default();
    let [ip6, icmp4, icmp6, tcp, udp, drop, pass] = std::array::from_fn(|_| program.label());
    let [later4, later6] = std::array::from_fn(|_| program.label());

    // Seen again, or not ours at all.
    // A tag of VLAN 0 is a priority alone (IEEE 802.1Q): nobody takes it off and shows the frame again.
    // Where there is none, kernels up to 6.1 show the one that was there.
    let untagged = program.label();
    program.load_ancillary(libc::SKF_AD_VLAN_TAG_PRESENT);
    program.when(0, untagged);
    program.load_ancillary(libc::SKF_AD_VLAN_TAG);
    program.when_any_bit(VLAN, drop);
    program.place(untagged);
    program.load_ancillary(libc::SKF_AD_PKTTYPE);
    program.at_least(u32::from(libc::PACKET_OTHERHOST), drop);

    // X: where the network header begins.
    let [ethernet, found] = std::array::from_fn(|_| program.label());
    program.load_ancillary(libc::SKF_AD_HATYPE);
    program.when(u32::from(libc::ARPHRD_ETHER), ethernet);
    program.when(u32::from(libc::ARPHRD_LOOPBACK), ethernet);
    program.push(libc::BPF_LDX | libc::BPF_IMM, libc::SKF_NET_OFF as u32);
    program.jump(found);
    program.place(ethernet);
    program.push(libc::BPF_LDX | libc::BPF_IMM, 14);
    program.place(found);

    program.load_ancillary(libc::SKF_AD_PROTOCOL);
    program.when(libc::ETH_P_IPV6 as u32, ip6);
    program.unless(libc::ETH_P_IP as u32, drop);

    // IPv4: perhaps a later fragment; else X: where the transport header begins.
    program.load_short(6);
    program.when_any_bit(0x1fff, later4);
    program.load_octet(0);
    program.push(libc::BPF_ALU | libc::BPF_AND | libc::BPF_K, 0xf);
    program.push(libc::BPF_ALU | libc::BPF_LSH | libc::BPF_K, 2);
    program.store(1);
    program.load_octet(9);
    program.store(0);
    program.recall(1);
    program.advance_by_accumulator();
    program.recall(0);
    program.when(libc::IPPROTO_ICMP as u32, icmp4);
    program.when(libc::IPPROTO_TCP as u32, tcp);
    program.when(libc::IPPROTO_UDP as u32, udp);
    program.jump(drop);

    program.place(ip6);
    program.load_octet(6);
    program.store(0);
    program.push(libc::BPF_LD | libc::BPF_IMM, 40);
    program.advance_by_accumulator();
    for _ in 0..=EXTENSIONS {
        let [options, fragment, authentication, next] = std::array::from_fn(|_| program.label());
        program.recall(0);
        program.when(libc::IPPROTO_ICMPV6 as u32, icmp6);
        program.when(libc::IPPROTO_TCP as u32, tcp);
        program.when(libc::IPPROTO_UDP as u32, udp);
        program.when(libc::IPPROTO_FRAGMENT as u32, fragment);
        program.when(libc::IPPROTO_AH as u32, authentication);
        for protocol in [libc::IPPROTO_HOPOPTS, libc::IPPROTO_ROUTING, libc::IPPROTO_DSTOPTS] {
            program.when(protocol as u32, options);
        }
        program.jump(drop);
        program.place(fragment);
        program.load_short(2);
        program.when_any_bit(0xfff8, later6);
        program.load_octet(0);
        program.store(0);
        program.push(libc::BPF_LD | libc::BPF_IMM, 8);
        program.jump(next);
        // Without its first 8 octets a header has so many eights, and that of authentication fours (RFC 4302).
        for (label, less, shift) in [(authentication, 2, 2), (options, 1, 3)] {
            program.place(label);
            program.load_octet(0);
            program.store(0);
            program.load_octet(1);
            program.push(libc::BPF_ALU | libc::BPF_ADD | libc::BPF_K, less);
            program.push(libc::BPF_ALU | libc::BPF_LSH | libc::BPF_K, shift);
            program.jump(next);
        }
        program.place(next);
        program.advance_by_accumulator();
    }
    program.jump(drop);

    // Later fragments, by what follows the IP header or the fragment header.
    for (label, at, icmp) in [(later4, 9, libc::IPPROTO_ICMP), (later6, 0, libc::IPPROTO_ICMPV6)] {
        program.place(label);
        program.load_octet(at);
        program.when(icmp as u32, pass);
        if at == 0 {
            // What is behind these is in the first fragment.
            for header in [libc::IPPROTO_ROUTING, libc::IPPROTO_AH, libc::IPPROTO_DSTOPTS] {
                program.when(header as u32, pass);
            }
        }
        for (protocol, ranges) in [(libc::IPPROTO_TCP, &ports.tcp), (libc::IPPROTO_UDP, &ports.udp)]
        {
            if !ranges.is_empty() {
                program.when(protocol as u32, pass);
            }
        }
        program.jump(drop);
    }

    program.place(icmp4);
    program.load_octet(0);
    for kind in ICMP4_TYPES {
        program.when(kind, pass);
    }
    program.jump(drop);
    program.place(icmp6);
    program.load_octet(0);
    for kind in ICMP6_TYPES {
        program.when(kind, pass);
    }
    program.jump(drop);

    // The destination port is the third and fourth octet of both.
    for (label, ranges) in [(tcp, &ports.tcp), (udp, &ports.udp)] {
        program.place(label);
        program.load_short(2);
        program.search(ranges, pass, drop);
    }
    program.place(drop);
    program.push(libc::BPF_RET | libc::BPF_K, 0);
    program.place(pass);
    program.push(libc::BPF_RET | libc::BPF_K, ALL);
    program.finish()
}

#[derive(Clone, Copy)]
struct Label(usize);

/// A program under construction. Conditional jumps reach 255 instructions only, so each is made of
/// a test and an unconditional jump.
#[derive(Default)]
struct Program {
    instructions: Vec<sock_filter>,
    /// Instruction, its label.
    jumps: Vec<(usize, Label)>,
    /// Where each label stands.
    places: Vec<Option<usize>>,
}

impl Program {
    fn label(&mut self) -> Label {
        self.places.push(None);
        Label(self.places.len() - 1)
    }

    fn place(&mut self, label: Label) {
        self.places[label.0] = Some(self.instructions.len());
    }

    fn push(&mut self, code: u32, k: u32) {
        self.instructions.push(instruction(code, k));
    }

    fn jump(&mut self, label: Label) {
        self.jumps.push((self.instructions.len(), label));
        self.push(libc::BPF_JMP | libc::BPF_JA, 0);
    }

    /// Jumps where the accumulator passes (or, `inverted`, fails) the test.
    fn test(&mut self, test: u32, k: u32, inverted: bool, label: Label) {
        let (jt, jf) = if inverted { (1, 0) } else { (0, 1) };
        let code = code(libc::BPF_JMP | test | libc::BPF_K);
        self.instructions.push(sock_filter { code, jt, jf, k });
        self.jump(label);
    }

    fn when(&mut self, value: u32, label: Label) {
        self.test(libc::BPF_JEQ, value, false, label);
    }

    fn unless(&mut self, value: u32, label: Label) {
        self.test(libc::BPF_JEQ, value, true, label);
    }

    fn at_least(&mut self, value: u32, label: Label) {
        self.test(libc::BPF_JGE, value, false, label);
    }

    fn when_any_bit(&mut self, mask: u32, label: Label) {
        self.test(libc::BPF_JSET, mask, false, label);
    }

    fn load_ancillary(&mut self, what: libc::c_int) {
        self.push(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, (libc::SKF_AD_OFF + what) as u32);
    }

    /// The octet at X + `offset`.
    fn load_octet(&mut self, offset: u32) {
        self.push(libc::BPF_LD | libc::BPF_B | libc::BPF_IND, offset);
    }

    /// The two octets at X + `offset`.
    fn load_short(&mut self, offset: u32) {
        self.push(libc::BPF_LD | libc::BPF_H | libc::BPF_IND, offset);
    }

    fn store(&mut self, cell: u32) {
        self.push(libc::BPF_ST, cell);
    }

    fn recall(&mut self, cell: u32) {
        self.push(libc::BPF_LD | libc::BPF_MEM, cell);
    }

    fn advance_by_accumulator(&mut self) {
        self.push(libc::BPF_ALU | libc::BPF_ADD | libc::BPF_X, 0);
        self.push(libc::BPF_MISC | libc::BPF_TAX, 0);
    }

    /// Jumps to `inside` where the accumulator lies in one of the sorted ranges, else to `outside`.
    fn search(&mut self, ranges: &[RangeInclusive<u16>], inside: Label, outside: Label) {
        match ranges {
            [] => self.jump(outside),
            [range] => {
                let [low, high] = [*range.start(), *range.end()].map(u32::from);
                self.test(libc::BPF_JGE, low, true, outside);
                self.test(libc::BPF_JGT, high, false, outside);
                self.jump(inside);
            }
            _ => {
                let (lower, upper) = ranges.split_at(ranges.len() / 2);
                let right = self.label();
                self.at_least(u32::from(*upper[0].start()), right);
                self.search(lower, inside, outside);
                self.place(right);
                self.search(upper, inside, outside);
            }
        }
    }

    fn finish(mut self) -> Vec<sock_filter> {
        for (from, label) in self.jumps {
            let to = self.places[label.0].expect("every label that is used is placed");
            // Counted from the next instruction; the kernel knows forward jumps only.
            self.instructions[from].k = u32::try_from(to - from - 1).expect("programs are short");
        }
        self.instructions
    }
}

fn instruction(operation: u32, k: u32) -> sock_filter {
    sock_filter { code: code(operation), jt: 0, jf: 0, k }
}

fn code(operation: u32) -> u16 {
    u16::try_from(operation).expect("operations of classic BPF have 16 bits")
}

#[cfg(test)]
mod tests;
