//! The two phases of a conversation: samples behind a hole, and the filling of the hole.
//!
//! Source: Savage 1999, section 3.1.

use std::{cell::RefCell, pin::pin};

use sonde_plugin_api::{
    packet::tcp::flags,
    prelude::*,
    tcp::{Connection, Segment, distance},
};

use crate::{
    hole::{Hole, Step},
    rows::{Ending, StingRow},
    tally::{Departure, Tally},
};

/// From the acknowledgement of the handshake to the first sample.
const SETTLING: Duration = Duration::from_millis(50);
/// How long the server's window may stay shut.
const SHUT: Duration = Duration::from_secs(10);
/// How long it is waited for before it is asked for.
const ASK: Duration = Duration::from_secs(1);
/// Acknowledgements that count, for each octet that is sent.
const KEPT: usize = 4;
/// How long a filling waits for its acknowledgement, and how often it is sent.
const FILL_WAIT: Duration = Duration::from_secs(2);
const FILL_TRIES: u8 = 5;

/// Why a phase ended before its time.
pub(crate) enum Early {
    Ending(Ending),
    Failed(Fail),
}

/// What a conversation is about; its numbers stay the same.
pub(crate) struct Wire<'a> {
    pub(crate) flow: &'a Flow,
    pub(crate) port: u16,
    pub(crate) ttl: u8,
    /// Number of the first octet of the request, which is left out.
    pub(crate) first: u32,
    /// What is acknowledged all the time: the server's first octet, which it may not send.
    pub(crate) theirs: u32,
    pub(crate) request: &'a [u8],
    pub(crate) hole: u8,
}

impl Wire<'_> {
    /// The octets at `offsets` of the request, in a window of 0.
    fn octets(&self, offsets: std::ops::Range<usize>) -> Probe {
        let sequence = self.first.wrapping_add(offsets.start as u32);
        Probe::tcp_ack(self.port, sequence, self.theirs)
            .flags(flags::PSH | flags::ACK)
            .window(0)
            .ttl(self.ttl)
            .payload(&self.request[offsets])
    }

    /// Whether a segment without data acknowledges a sample. What is before all that the server said asks whether our
    /// window is still shut.
    fn is_sample(&self, segment: &Segment) -> bool {
        distance(self.theirs, segment.sequence) >= 0
    }

    /// Whether the last samples lie behind a window, which begins with the hole.
    pub(crate) fn is_behind(&self, window: u32) -> bool {
        self.request.len() > window as usize
    }

    /// An acknowledgement of a sample came. False where more came than anybody needs: a server may send them without end.
    fn acknowledge(&self, segment: &Segment, tally: &mut Tally) -> bool {
        let has_room = tally.acks.len() < KEPT * self.request.len();
        if has_room {
            tally.acks.push(segment.at);
            tally.identifications.extend(segment.identification.map(|number| number as u16));
        }
        has_room
    }

    /// The last word, at the number that the server expects.
    pub(crate) fn reset(&self, sequence: u32) -> Probe {
        Probe::tcp_rst(self.port, sequence)
            .flags(flags::RST | flags::ACK)
            .acknowledgement(self.theirs)
            .window(0)
            .ttl(self.ttl)
            .immediate()
    }
}

/// Waits until the server takes data: somebody who answers in its stead may not have reached it yet.
pub(crate) async fn open(
    ctx: &Ctx<StingRow>,
    connection: &mut Connection<'_, StingRow>,
) -> Result<(), Early> {
    let end = ctx.now() + SHUT;
    while connection.peer_window() == 0 {
        let left = end.since(ctx.now());
        let Some(segment) = connection.next(left.min(ASK)).await else {
            if left <= ASK {
                return Err(Early::Ending(Ending::ZeroWindow));
            }
            connection.ask_for_window();
            continue;
        };
        if connection.is_reset() {
            return Err(Early::Ending(Ending::Reset));
        }
        if segment.has(flags::FIN) {
            return Err(Early::Ending(Ending::Fin));
        }
        if segment.has(flags::SYN) {
            connection.acknowledge();
        }
    }
    Ok(())
}

/// Sends a sample after each of `gaps` and counts what is acknowledged, up to `pause` after the last.
/// What left is in `samples`, even where this is dropped on the way.
pub(crate) async fn seed(
    ctx: &Ctx<StingRow>,
    wire: &Wire<'_>,
    connection: &mut Connection<'_, StingRow>,
    gaps: impl Iterator<Item = Duration>,
    pause: Duration,
    (samples, tally): (&RefCell<Vec<Departure>>, &mut Tally),
) -> Result<(), Early> {
    let sending = async {
        ctx.sleep(SETTLING).await;
        let mut due = ctx.now();
        for (number, gap) in gaps.enumerate() {
            due = due + gap;
            ctx.sleep_until(due).await;
            let at = usize::from(wire.hole) + number;
            samples.borrow_mut().push(Departure::at(None));
            let sent = match wire.flow.send_stamped(wire.octets(at..at + 1)).await {
                Ok(departure) => Some(departure.at),
                Err(reason) if reason.refused_by_policy => return Err(Fail::from(reason)),
                Err(reason) => {
                    ctx.warn(&format!("sample {}: {reason}", number + 1));
                    None
                }
            };
            samples.borrow_mut()[number] = Departure::at(sent);
        }
        ctx.sleep(pause).await;
        Ok(())
    };
    let mut sending = pin!(sending);
    loop {
        match select(&mut sending, connection.next(Duration::MAX)).await {
            Either::First(Ok(())) => return Ok(()),
            Either::First(Err(fail)) => return Err(Early::Failed(fail)),
            Either::Second(Some(segment)) => {
                // What comes before the first tells a window.
                let is_sample = !samples.borrow().is_empty() && wire.is_sample(&segment);
                count(wire, connection, (&segment, is_sample), tally).map_err(Early::Ending)?;
            }
            Either::Second(None) => {}
        }
    }
}

/// A segment among the samples, and whether it acknowledges one.
fn count(
    wire: &Wire<'_>,
    connection: &Connection<'_, StingRow>,
    (segment, is_sample): (&Segment, bool),
    tally: &mut Tally,
) -> Result<(), Ending> {
    if segment.has(flags::RST) {
        return if connection.is_reset() { Err(Ending::Reset) } else { Ok(()) };
    }
    if segment.has(flags::SYN) {
        // Our acknowledgement of the handshake was lost: the server asks for it again.
        connection.acknowledge();
        return Ok(());
    }
    if segment.has(flags::FIN) {
        return Err(Ending::Fin);
    }
    if !segment.has(flags::ACK) {
        return Ok(());
    }
    if segment.acknowledgement != wire.first {
        return Err(Ending::UnexpectedAck);
    }
    tally.is_cut &= wire.is_behind(connection.peer_window());
    if segment.has_data() {
        tally.data += 1;
    } else if is_sample {
        wire.acknowledge(segment, tally);
    }
    Ok(())
}

/// Fills the hole, and then whatever the server says is missing.
pub(crate) async fn fill(
    ctx: &Ctx<StingRow>,
    wire: &Wire<'_>,
    connection: &mut Connection<'_, StingRow>,
    hole: &mut Hole,
    tally: &mut Tally,
) -> Result<(), Ending> {
    let mut tries = 0;
    loop {
        if tries == FILL_TRIES {
            return Err(Ending::Timeout);
        }
        tally.retransmissions += u32::from(tries > 0);
        tries += 1;
        wire.flow.send(wire.octets(hole.missing()).immediate());
        let end = ctx.now() + FILL_WAIT;
        while let Some(segment) = connection.next(end.since(ctx.now())).await {
            if segment.has(flags::RST) {
                if connection.is_reset() {
                    return Err(Ending::Reset);
                }
                continue;
            }
            if segment.has(flags::SYN) || !segment.has(flags::ACK) {
                continue;
            }
            tally.data += u32::from(segment.has_data());
            match hole.acknowledged(segment.acknowledgement) {
                Step::Full => return Ok(()),
                _ if segment.has(flags::FIN) => return Err(Ending::Fin),
                Step::Absurd => return Err(Ending::UnexpectedAck),
                Step::Missing => {
                    wire.flow.last_word(Some(wire.reset(hole.edge())));
                    tries = 0;
                    break;
                }
                Step::Old => {
                    let is_sample = segment.acknowledgement == wire.first
                        && wire.is_sample(&segment)
                        && !segment.has_data();
                    if is_sample {
                        tally.late += u32::from(wire.acknowledge(&segment, tally));
                    }
                }
            }
        }
    }
}
