//! Segments whose departure is waited for: what comes of one is looked for from then on, however long the limits of this
//! host held it back.

use super::{Connection, Passage};
use crate::{
    author::{Departure, NotSent, Probe},
    packet::tcp::flags,
    row::Rows,
};

impl<R: Rows> Connection<'_, R> {
    /// As [`Connection::send`]; resolves with when the segment left.
    ///
    /// # Errors
    ///
    /// Why it did not leave.
    pub async fn send_stamped(
        &self,
        probe: Probe,
        bits: u8,
        sequence: u32,
        octets: usize,
    ) -> Result<Departure, NotSent> {
        self.leave(probe, bits, (sequence, self.known()), octets).await
    }

    /// As [`Connection::send_acknowledging`]; resolves with when the segment left.
    ///
    /// # Errors
    ///
    /// Why it did not leave.
    pub async fn send_acknowledging_stamped(
        &self,
        number: u32,
        bits: u8,
        sequence: u32,
        data: &[u8],
    ) -> Result<Departure, NotSent> {
        let probe = self.probe(bits, sequence, data).acknowledgement(number);
        self.leave(probe, bits, (sequence, number), data.len()).await
    }

    /// As [`Connection::acknowledge_to`]; resolves with when the acknowledgement left.
    ///
    /// # Errors
    ///
    /// Why it did not leave.
    pub async fn acknowledge_to_stamped(&self, number: u32) -> Result<Departure, NotSent> {
        self.send_acknowledging_stamped(number, flags::ACK, self.sending.next(), &[]).await
    }

    async fn leave(
        &self,
        probe: Probe,
        bits: u8,
        numbers: (u32, u32),
        octets: usize,
    ) -> Result<Departure, NotSent> {
        let departure = self.flow.send_stamped(probe.immediate()).await?;
        if let Some(record) = self.record {
            record(Passage::Sent {
                at: departure.at,
                sequence: numbers.0,
                acknowledgement: numbers.1,
                flags: bits | self.extra_flags,
                octets,
                tos: 0,
                blocks: &self.blocks(octets),
            });
        }
        Ok(departure)
    }
}
