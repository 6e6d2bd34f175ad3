//! A box that moves TCP sequence numbers, as some firewalls do.

use std::time::Duration;

use sonde_packet::{IpHeader, protocol, tcp::flags};

use crate::{
    edit::edit,
    middlebox::{Middlebox, Verdict, Way},
    raw_option::options,
};

/// Adds so much to sequence numbers on the way there and takes it off acknowledgements, selective
/// ones too, on the way back.
pub(crate) struct SequenceShift(pub(crate) u32);

impl Middlebox for SequenceShift {
    fn forward(&mut self, packet: &mut Vec<u8>, way: Way, _: Duration) -> Verdict {
        let Ok(header) = IpHeader::parse(packet) else { return Verdict::Pass };
        let at = header.header_octets;
        if header.protocol != protocol::TCP || packet.len() < at + 20 {
            return Verdict::Pass;
        }
        edit(packet, |packet| match way {
            Way::There => add(packet, at + 4, self.0),
            Way::Back => {
                let by = self.0.wrapping_neg();
                if packet[at + 13] & flags::ACK != 0 {
                    add(packet, at + 8, by);
                }
                let mut option_at = at + 20;
                for option in options(header.transport(packet)) {
                    if option.kind == 5 {
                        for edge in (2..option.octets.len()).step_by(4) {
                            add(packet, option_at + edge, by);
                        }
                    }
                    option_at += option.octets.len();
                }
            }
        });
        Verdict::Pass
    }
}

fn add(packet: &mut [u8], at: usize, by: u32) {
    if let Some(field) = packet.get_mut(at..at + 4).and_then(|four| four.first_chunk_mut::<4>()) {
        *field = u32::from_be_bytes(*field).wrapping_add(by).to_be_bytes();
    }
}

#[cfg(test)]
mod tests {
    use sonde_packet::{
        Ip, Packet, Payload, TcpSegment, Transport,
        tcp::{TcpOption, TcpView},
    };

    use super::*;

    #[test]
    fn shifted_sequence_numbers_are_shifted_back_in_acknowledgements() {
        let block = [5_500u32.to_be_bytes(), 5_600u32.to_be_bytes()].concat();
        let passed = |way| {
            let packet = Packet {
                ip: Ip::plain("192.0.2.1".parse().unwrap(), "192.0.2.2".parse().unwrap()),
                transport: Transport::Tcp(TcpSegment {
                    sequence: 1_000,
                    acknowledgement: 5_000,
                    flags: flags::ACK,
                    options: &TcpOption::list(&[TcpOption::NoOperation, TcpOption::Sack(&block)]),
                    ..TcpSegment::default()
                }),
                payload: Payload::Zeros(0),
                checksum: None,
            };
            let mut packet = packet.to_vec().unwrap();
            SequenceShift(77).forward(&mut packet, way, Duration::ZERO);
            let view = TcpView::new(&packet[20..]);
            let edge = u32::from_be_bytes(packet[43..47].try_into().unwrap());
            (view.sequence(), view.acknowledgement(), edge)
        };
        assert_eq!(passed(Way::There), (Some(1_077), Some(5_000), 5_500));
        assert_eq!(passed(Way::Back), (Some(1_000), Some(4_923), 5_423));
    }
}
