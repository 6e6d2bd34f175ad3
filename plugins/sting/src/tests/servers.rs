//! Receivers and paths that do not do what the method relies on, each written here.

use super::*;

/// What a server does beside receiving.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Fault {
    /// Keeps so many octets out of order.
    Keeps(usize),
    /// Acknowledges every second segment.
    EverySecond,
    /// Sends data, whatever the window is.
    Talks,
    /// Asks after each sample whether the window is still shut.
    AsksForTheWindow,
    /// Resets the connection at its so many-th segment.
    ResetsAt(usize),
    /// Closes it there.
    ClosesAt(usize),
    /// Acknowledges there what it cannot have.
    LiesAt(usize),
    /// Answers the SYN with a wrong number.
    BadSynAck,
    /// The host itself, which answers echoes, is 30 ms farther away.
    IsAProxy,
}

/// A receiver of one connection.
pub(super) struct Server {
    fault: Fault,
    expected: u32,
    held: Vec<u32>,
    segments: usize,
    /// Flags and sequence numbers of what came.
    pub(super) heard: Rc<RefCell<Vec<(u8, u32)>>>,
}

const ISN: u32 = 0xffff_fff0;

impl Server {
    pub(super) fn new(fault: Fault) -> Self {
        Self { fault, expected: 0, held: vec![], segments: 0, heard: Rc::default() }
    }
}

impl Host for Server {
    fn receive(&mut self, packet: &[u8], _: Duration, net: &mut Outbox<'_>) {
        let header = IpHeader::parse(packet).unwrap();
        let view = TcpView::new(header.transport(packet));
        if header.protocol != protocol::TCP {
            let farther = if self.fault == Fault::IsAProxy { 30 } else { 0 };
            net.send_after(Duration::from_millis(farther), echo_reply(packet));
            return;
        }
        let (bits, sequence) = (view.flags().unwrap(), view.sequence().unwrap());
        self.heard.borrow_mut().push((bits, sequence));
        let mut answer = |bits: u8, sequence: u32, acknowledgement: u32, data: &[u8]| {
            let segment = TcpSegment {
                source_port: view.destination_port().unwrap(),
                destination_port: view.source_port().unwrap(),
                sequence,
                acknowledgement,
                flags: bits,
                window: 8000,
                urgent: 0,
                options: &[],
            };
            let packet = Packet {
                ip: Ip::plain(header.destination, header.source),
                transport: Transport::Tcp(segment),
                payload: Payload::Octets(data),
                checksum: None,
            };
            net.send(packet.to_vec().unwrap());
        };
        if bits & flags::SYN != 0 {
            self.expected = sequence.wrapping_add(1);
            let wrong = if self.fault == Fault::BadSynAck { 7 } else { 0 };
            answer(flags::SYN | flags::ACK, ISN, self.expected.wrapping_add(wrong), &[]);
            return;
        }
        if bits & flags::RST != 0 || view.payload().is_empty() {
            return;
        }
        self.segments += 1;
        let theirs = ISN.wrapping_add(1);
        let octets = view.payload().len() as u32;
        if sequence == self.expected {
            self.expected = self.expected.wrapping_add(octets);
            self.held.sort_unstable_by_key(|held| held.wrapping_sub(sequence));
            for held in std::mem::take(&mut self.held) {
                if held == self.expected {
                    self.expected = self.expected.wrapping_add(1);
                } else {
                    self.held.push(held);
                }
            }
        } else {
            let room = if let Fault::Keeps(most) = self.fault { most } else { usize::MAX };
            if self.held.len() < room {
                self.held.push(sequence);
            }
        }
        match self.fault {
            Fault::EverySecond if self.segments % 2 == 1 && !self.held.is_empty() => {}
            Fault::Talks => answer(flags::ACK | flags::PSH, theirs, self.expected, b"hello"),
            Fault::AsksForTheWindow => {
                answer(flags::ACK, theirs, self.expected, &[]);
                answer(flags::ACK, theirs.wrapping_sub(1), self.expected, &[]);
            }
            Fault::ResetsAt(at) if at == self.segments => {
                answer(flags::RST | flags::ACK, theirs, self.expected, &[]);
            }
            Fault::ClosesAt(at) if at == self.segments => {
                answer(flags::FIN | flags::ACK, theirs, self.expected, &[]);
            }
            Fault::LiesAt(at) if at == self.segments => {
                answer(flags::ACK, theirs, self.expected.wrapping_add(500), &[]);
            }
            _ => answer(flags::ACK, theirs, self.expected, &[]),
        }
    }
}

/// The answer to an echo request over IPv4.
fn echo_reply(request: &[u8]) -> Vec<u8> {
    let mut reply = request.to_vec();
    reply[12..20].rotate_left(4);
    let sum = u32::from(u16::from_be_bytes([reply[22], reply[23]])) + 0x0800;
    let sum = (sum + (sum >> 16)) as u16;
    reply[20] = 0;
    reply[22..24].copy_from_slice(&sum.to_be_bytes());
    reply
}

pub(super) fn against(fault: Fault, params: StingParams) -> (Run, Vec<(u8, u32)>) {
    let server = Server::new(fault);
    let heard = server.heard.clone();
    let run = run_in(net().host("target", server), params);
    let heard = heard.borrow().clone();
    (run, heard)
}

#[test]
fn a_receiver_that_keeps_little_out_of_order_is_flagged() {
    let (run, _) = against(Fault::Keeps(30), sting(TARGET4, 48));
    let found = summary(&run);
    assert_eq!((found.result, found.holes), (Ending::Completed, Some(18)), "{run}");
    assert_eq!(found.reverse_lost, Some(0));
    // More acknowledgements than samples that were kept: what is thrown away is acknowledged too.
    assert!(found.flags.contains(&Flag::ReceiverLimited), "{:?}", found.flags);
}

#[test]
fn acknowledgements_for_two_are_flagged_and_those_lost_at_random_are_not() {
    let (run, _) = against(Fault::EverySecond, sting(TARGET4, 48));
    let found = summary(&run);
    assert_eq!((found.holes, found.acks), (Some(0), 24), "{run}");
    assert_eq!(found.flags, [Flag::AckThinning]);
    let half: Vec<u64> = [1, 2, 5, 7, 8, 9, 12, 15, 16, 19, 21, 22, 25, 26, 30, 31].to_vec();
    let found = summary(&run_in(net().drop_back("target", back(&half)), sting(TARGET4, 32)));
    assert_eq!((found.reverse_lost, &found.flags[..]), (Some(16), &[][..]));
}

#[test]
fn data_of_a_server_that_ignores_the_window_is_not_counted_as_an_acknowledgement() {
    let (run, _) = against(Fault::Talks, sting(TARGET4, 8));
    let found = summary(&run);
    assert_eq!((found.result, found.acks), (Ending::Completed, 0), "{run}");
    assert_eq!(found.data_segments, 9);
    assert!(found.flags.contains(&Flag::ServerData));
}

#[test]
fn a_server_that_asks_for_the_window_is_not_counted_twice() {
    let found = summary(&against(Fault::AsksForTheWindow, sting(TARGET4, 8)).0);
    assert_eq!((found.acks, found.reverse_loss), (8, Some(0.0)));
}

#[test]
fn a_handshake_that_is_much_quicker_than_an_echo_is_flagged() {
    let found = summary(&against(Fault::IsAProxy, sting(TARGET4, 8)).0);
    assert_eq!((found.handshake_rtt_us, found.ping_rtt_us), (Some(4000), Some(34_000)));
    assert_eq!(found.flags, [Flag::Proxy]);
}
