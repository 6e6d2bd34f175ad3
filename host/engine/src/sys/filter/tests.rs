//! The filter, run by an interpreter of classic BPF that knows what this filter uses.

use std::net::IpAddr;

use sonde_packet::{Ip, Packet, Payload, TcpSegment, Transport};

use super::*;

/// A packet as the kernel holds it.
struct Frame {
    octets: Vec<u8>,
    /// Where the network header begins.
    network: usize,
    protocol: u32,
    hardware: u32,
    kind: u32,
    is_tagged: bool,
    tag: u32,
}

impl Frame {
    fn new(packet: &[u8]) -> Self {
        let protocol = if packet[0] >> 4 == 6 { libc::ETH_P_IPV6 } else { libc::ETH_P_IP };
        Self {
            octets: [&[0; 14], packet].concat(),
            network: 14,
            protocol: protocol as u32,
            hardware: u32::from(libc::ARPHRD_ETHER),
            kind: 0,
            is_tagged: false,
            tag: 0,
        }
    }

    fn load(&self, offset: u32, width: usize) -> Option<u32> {
        let offset = i64::from(offset.cast_signed());
        let ancillary = offset - i64::from(libc::SKF_AD_OFF);
        if offset >= 0 || ancillary < 0 {
            let network = if offset < 0 { self.network as i64 } else { 0 };
            let base = if offset < 0 { i64::from(libc::SKF_NET_OFF) } else { 0 };
            let at = usize::try_from(offset - base + network).ok()?;
            let octets = self.octets.get(at..at + width)?;
            return Some(octets.iter().fold(0, |sum, octet| sum << 8 | u32::from(*octet)));
        }
        Some(match i32::try_from(ancillary).ok()? {
            libc::SKF_AD_PROTOCOL => self.protocol,
            libc::SKF_AD_PKTTYPE => self.kind,
            libc::SKF_AD_HATYPE => self.hardware,
            libc::SKF_AD_VLAN_TAG_PRESENT => u32::from(self.is_tagged),
            libc::SKF_AD_VLAN_TAG => self.tag,
            other => panic!("ancillary {other}"),
        })
    }

    /// What the program returns: 0 where a load is out of bounds, as the kernel has it.
    fn passes(&self, program: &[sock_filter]) -> bool {
        let (mut a, mut x, mut cells, mut at) = (0u32, 0u32, [0u32; 16], 0usize);
        loop {
            let sock_filter { code, jt, jf, k } = program[at];
            let code = u32::from(code);
            at += 1;
            let width = match code & 0x18 {
                libc::BPF_W => 4,
                libc::BPF_H => 2,
                _ => 1,
            };
            match code & 7 {
                libc::BPF_RET => return k > 0,
                libc::BPF_LD => match code & 0xe0 {
                    libc::BPF_IMM => a = k,
                    libc::BPF_MEM => a = cells[k as usize],
                    mode => {
                        let base = if mode == libc::BPF_IND { x } else { 0 };
                        let Some(value) = self.load(k.wrapping_add(base), width) else {
                            return false;
                        };
                        a = value;
                    }
                },
                libc::BPF_LDX => x = k,
                libc::BPF_ST => cells[k as usize] = a,
                libc::BPF_ALU => {
                    let operand = if code & 8 == libc::BPF_X { x } else { k };
                    match code & 0xf0 {
                        libc::BPF_ADD => a = a.wrapping_add(operand),
                        libc::BPF_AND => a &= operand,
                        libc::BPF_LSH => a <<= operand,
                        operation => panic!("operation {operation:x}"),
                    }
                }
                libc::BPF_JMP => {
                    let holds = match code & 0xf0 {
                        libc::BPF_JA => {
                            at += k as usize;
                            continue;
                        }
                        libc::BPF_JEQ => a == k,
                        libc::BPF_JGT => a > k,
                        libc::BPF_JGE => a >= k,
                        libc::BPF_JSET => a & k != 0,
                        test => panic!("test {test:x}"),
                    };
                    at += usize::from(if holds { jt } else { jf });
                }
                _ => x = a,
            }
        }
    }
}

fn ports() -> Ports {
    let tcp = vec![33_024..=33_087, 40_000..=40_000, 40_128..=40_191, 50_000..=50_063];
    Ports { tcp, udp: vec![60_000..=60_063] }
}

fn ip(six: bool) -> Ip<'static> {
    let [source, destination]: [IpAddr; 2] =
        if six { ["2001:db8::2", "2001:db8::1"] } else { ["198.51.100.2", "198.51.100.1"] }
            .map(|text| text.parse().unwrap());
    Ip { dont_fragment: false, ..Ip::plain(source, destination) }
}

fn built(ip: Ip<'_>, transport: Transport<'_>) -> Vec<u8> {
    Packet { ip, transport, payload: Payload::Zeros(8), checksum: None }.to_vec().unwrap()
}

fn segment(destination_port: u16) -> Transport<'static> {
    Transport::Tcp(TcpSegment { source_port: 80, destination_port, ..TcpSegment::default() })
}

fn message(kind: u8) -> Transport<'static> {
    Transport::Icmp { kind, code: 0, rest: [0; 4] }
}

/// What passes a filter for [`ports`].
fn passes(packet: &[u8]) -> bool {
    Frame::new(packet).passes(&answers(&ports()))
}

#[test]
fn messages_that_answer_pass_and_requests_do_not() {
    let four: Vec<u8> =
        (0..=255).filter(|kind| passes(&built(ip(false), message(*kind)))).collect();
    assert_eq!(four, [0, 3, 4, 5, 11, 12, 14]);
    let six: Vec<u8> = (0..=255).filter(|kind| passes(&built(ip(true), message(*kind)))).collect();
    assert_eq!(six, [1, 2, 3, 4, 129]);
}

#[test]
fn all_that_the_matcher_can_use_passes() {
    for six in [false, true] {
        for kind in 0..=255 {
            let packet = built(ip(six), message(kind));
            if sonde_packet::classify(&packet).is_some() {
                assert!(passes(&packet), "type {kind}");
            }
        }
    }
}

#[test]
fn segments_and_datagrams_pass_for_held_ports_only() {
    for six in [false, true] {
        for port in 0..=u16::MAX {
            let held =
                |list: &[RangeInclusive<u16>]| list.iter().any(|range| range.contains(&port));
            let datagram = Transport::Udp { source_port: 53, destination_port: port };
            assert_eq!(passes(&built(ip(six), segment(port))), held(&ports().tcp), "{port}");
            assert_eq!(passes(&built(ip(six), datagram)), held(&ports().udp), "{port}");
        }
    }
    let nothing_held = answers(&Ports::default());
    assert!(!Frame::new(&built(ip(false), segment(40_000))).passes(&nothing_held));
}

#[test]
fn options_and_extension_headers_are_walked() {
    let options = [7, 11, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let with_options = Ip { options: &options, ..ip(false) };
    assert!(passes(&built(with_options, segment(40_000))));
    assert!(!passes(&built(with_options, segment(40_001))));
    // Hop-by-hop, destination options of 16 octets, a fragment header.
    let mut extensions = vec![60, 0, 1, 4, 0, 0, 0, 0];
    extensions.extend([44, 1, 1, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    let fragment = extensions.len();
    extensions.extend([6, 0, 0, 1, 0, 0, 0, 9]);
    let with = |extensions: &[u8], port| {
        built(Ip { extension_headers: Some((0, extensions)), ..ip(true) }, segment(port))
    };
    assert!(passes(&with(&extensions, 40_000)));
    assert!(!passes(&with(&extensions, 40_001)));
    // A later fragment shows no port, and a header that is none.
    extensions[fragment + 3] = 0x11;
    assert!(passes(&with(&extensions, 40_001)));
    extensions[0] = 59;
    assert!(!passes(&with(&extensions, 40_000)));
    // The order of RFC 8200, section 4.1: destination options twice, a routing header and a fragment between.
    let mut in_order =
        vec![60, 0, 1, 4, 0, 0, 0, 0, 43, 0, 1, 4, 0, 0, 0, 0, 44, 0, 0, 0, 0, 0, 0, 0];
    in_order.extend([60, 0, 0, 1, 0, 0, 0, 9, 6, 0, 1, 4, 0, 0, 0, 0]);
    assert!(passes(&with(&in_order, 40_000)));
    assert!(!passes(&with(&in_order, 40_001)));
    // With an authentication header of 24 octets, and as many before it as are walked; one more is too many.
    let authentication = [6, 4, 0, 0, 0, 0, 0, 7, 0, 0, 0, 1, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9];
    for headers in [0, 7, 8] {
        let mut all = [60, 0, 1, 4, 0, 0, 0, 0].repeat(headers);
        if let Some(last) = headers.checked_sub(1) {
            all[last * 8] = 51;
        }
        all.extend(authentication);
        let first = if headers == 0 { 51 } else { 60 };
        let ip = || Ip { extension_headers: Some((first, &all)), ..ip(true) };
        assert_eq!(passes(&built(ip(), segment(40_000))), headers < 8);
        assert!(!passes(&built(ip(), segment(40_001))));
    }
}

#[test]
fn later_fragments_pass_where_an_answer_could_be_of_their_protocol() {
    let later = |six: bool, transport: Transport<'_>| {
        if !six {
            let mut packet = built(ip(false), transport);
            packet[6..8].copy_from_slice(&[0x20, 1]);
            return packet;
        }
        let next = if matches!(transport, Transport::Icmp { .. }) { 58 } else { 17 };
        let fragment = [next, 0, 0, 9, 0, 0, 0, 9];
        built(Ip { extension_headers: Some((44, &fragment)), ..ip(true) }, transport)
    };
    let datagram = Transport::Udp { source_port: 1, destination_port: 2 };
    for six in [false, true] {
        // What would be the type stands for data here.
        assert!(passes(&later(six, message(8))));
        assert!(passes(&later(six, datagram)));
        let frame = Frame::new(&later(six, datagram));
        assert!(!frame.passes(&answers(&Ports::default())), "there is no port for an answer");
    }
    let options = [60, 0, 0, 9, 0, 0, 0, 9];
    let behind = Ip { extension_headers: Some((44, &options)), ..ip(true) };
    assert!(passes(&built(behind, message(8))), "the first fragment has more headers");
    let mut first = built(ip(false), message(8));
    first[6] = 0x20;
    assert!(!passes(&first), "the first fragment tells that it is a request");
    let mut other = built(ip(false), message(0));
    other[6..10].copy_from_slice(&[0, 1, 64, 47]);
    assert!(!passes(&other));
}

#[test]
fn frames_that_come_again_or_are_for_others_do_not_pass() {
    let program = answers(&ports());
    let packet = built(ip(false), message(0));
    let frame = Frame::new(&packet);
    let tagged = |tag, is_tagged| Frame { tag, is_tagged, ..Frame::new(&packet) };
    // Priority 5 in VLAN 7, in none, and in VLAN 7 whose device has taken the tag off.
    assert!(!tagged(0xa007, true).passes(&program));
    assert!(tagged(0xa000, true).passes(&program));
    assert!(tagged(0xa007, false).passes(&program));
    for kind in 0..=7 {
        let passed = Frame { kind, ..Frame::new(&packet) }.passes(&program);
        assert_eq!(passed, kind < u32::from(libc::PACKET_OTHERHOST), "kind {kind}");
    }
    assert!(!Frame { protocol: libc::ETH_P_ARP as u32, ..frame }.passes(&program));
}

#[test]
fn devices_without_ethernet_headers_are_heard_too() {
    let program = answers(&ports());
    for six in [false, true] {
        let packet = built(ip(six), segment(40_000));
        for network in [0, 20] {
            let octets = [&vec![0; network][..], &packet].concat();
            let frame = Frame { octets, network, hardware: 0xfffe, ..Frame::new(&packet) };
            assert!(frame.passes(&program));
        }
    }
}

#[test]
fn no_truncated_packet_gets_far() {
    for six in [false, true] {
        let packet = built(ip(six), segment(40_000));
        let headers = if six { 40 } else { 20 };
        for length in 1..headers + 4 {
            assert!(!passes(&packet[..length]), "{length} octets");
        }
        assert!(passes(&packet[..headers + 4]));
    }
}

#[test]
fn as_many_ranges_as_there_may_be_fit_in_a_program() {
    let ranges: Vec<_> = (0..64u16).map(|number| number * 1000..=number * 1000 + 63).collect();
    let program = answers(&Ports { tcp: ranges.clone(), udp: ranges });
    assert!(program.len() < 4096, "{}", program.len());
    let pass = |port| Frame::new(&built(ip(false), segment(port))).passes(&program);
    assert!(pass(63_063) && pass(0) && pass(31_000) && !pass(31_064) && !pass(64_000));
}
