//! Devices that act for the destination, or keep account of its connections.
//!
//! A proxy accepts a SYN where a datagram with the same TTL still expires at a router, or beyond it; who
//! refuses one there may be a filter. A device that keeps account lets segments of a connection pass, and
//! stops those that are far outside of its window: where the latter are no longer answered by routers that
//! answer the former, there it is. For such a device the handshake is complete with the first segment that
//! passes it; the destination gets none of them, so the connection stays half open there until it is reset.
//!
//! Source: the modes of that name of the tool tracebox; RFC 5382, section 5.

use sonde_plugin_api::{packet::tcp, prelude::*};

use super::{Answer, Halt, Session, Shape, is_open, segment};
use crate::{
    grammar::Spec,
    rows::{Device, DeviceRow, Verdict},
};

/// Far from every window, half of the way around.
const OUTSIDE: u32 = 1 << 30;

/// Silent hops in a row that end a search where the run itself goes on for as many as there are: each takes as long as all
/// its attempts.
const USUAL_GAP: u8 = 5;

/// Sequence numbers that the probes of all hops take.
pub(super) const NUMBERS: u32 = 256;

/// A hop that answered.
pub(super) type Place = (u8, IpAddr);

pub(super) fn row(device: Device, verdict: Verdict) -> DeviceRow {
    let (after_ttl, after_addr, first_ttl, first_addr) = (None, None, None, None);
    DeviceRow { device, verdict, after_ttl, after_addr, first_ttl, first_addr }
}

pub(super) fn found(device: Device, after: Option<Place>, first: Place) -> DeviceRow {
    DeviceRow {
        after_ttl: Some(after.map_or(0, |place| place.0)),
        after_addr: after.map(|place| place.1),
        first_ttl: Some(first.0),
        first_addr: Some(first.1),
        ..row(device, Verdict::Found)
    }
}

impl Session {
    fn is_gap(&self, silent: u8) -> bool {
        let most = if self.params.gaplimit == 0 { USUAL_GAP } else { self.params.gaplimit };
        silent >= most
    }
}

/// Whether a SYN that was answered at `ttl` with these flags got as far as datagrams do.
///
/// # Errors
///
/// Where probes cannot leave.
pub(super) async fn proxy(
    tcp: &mut Session,
    ttl: Option<u8>,
    flags: Option<u8>,
) -> Result<DeviceRow, Halt> {
    let unknown = row(Device::Proxy, Verdict::Unknown);
    let Some(answered) = ttl else { return Ok(unknown) };
    let after = tcp.nearest_before(answered);
    let spec = Spec { is_udp: true, tos: tcp.spec.tos, ..Spec::default() };
    let mut udp = Session::open(tcp.ctx.clone(), tcp.params.clone(), spec).await?;
    let is_accepted = flags.is_some_and(|flags| flags & tcp::flags::SYN != 0);
    let mut silent = 0;
    let mut result = unknown;
    for ttl in answered..=tcp.last() {
        let probe = udp.packet(ttl)?;
        let (answer, _) = udp.ask(&probe).await?;
        let Some(Answer { reply, .. }) = answer else {
            silent += 1;
            if tcp.is_gap(silent) {
                break;
            }
            continue;
        };
        let is_end = reply.class() == Class::Udp || udp.is_end(&reply);
        result = match reply.class() {
            // Behind silence nothing tells whether it was the end that kept silent.
            _ if is_end && silent == 0 => row(Device::Proxy, Verdict::NotFound),
            Class::TimeExceeded if reply.from() != tcp.flow.peer && is_accepted => {
                found(Device::Proxy, after, (ttl, reply.from()))
            }
            _ => row(Device::Proxy, Verdict::Unknown),
        };
        break;
    }
    tcp.sent += udp.sent;
    Ok(result)
}

/// Whether somebody on the way stops what is no part of the connection that `answer` opens, to the probe with the TTL
/// `opened_at`.
///
/// # Errors
///
/// Where segments cannot leave.
pub(super) async fn stateful(
    session: &mut Session,
    answer: &Answer,
    opened_at: u8,
) -> Result<DeviceRow, Halt> {
    let none = row(Device::Stateful, Verdict::NotFound);
    let unknown = row(Device::Stateful, Verdict::Unknown);
    let segment = segment(&answer.packet).and_then(|it| it.sequence()).filter(|_| is_open(answer));
    let Some(theirs) = segment else { return Ok(unknown) };
    let (sequence, acknowledgement) =
        (session.shape(opened_at).sequence.wrapping_add(1), theirs.wrapping_add(1));
    // The peer goes on saying that it accepts the connection: that is no answer to these.
    session.hears_errors_alone = true;
    let (mut after, mut stopped, mut silent) = (None, None, 0);
    let asked: Vec<u8> = session.told.iter().map(|told| told.ttl).collect();
    for ttl in asked {
        let sequence = sequence.wrapping_add(session.apart(NUMBERS + u32::from(ttl)));
        let inside = Shape { sequence, acknowledgement, flags: tcp::flags::ACK };
        let outside = Shape { sequence: sequence.wrapping_add(OUTSIDE), ..inside };
        let probe = session.bare(ttl, inside, session.ip_id)?;
        let (Some(near), _) = session.ask(&probe).await? else { continue };
        // Another identification, so that no late answer is taken for one to this.
        let probe = session.bare(ttl, outside, (session.ip_id ^ 0x5555).max(1))?;
        let (far, _) = session.ask(&probe).await?;
        let place = (ttl, near.reply.from());
        if far.is_some() {
            // Whoever was passed over before says little, and stops nothing.
            (after, stopped, silent) = (Some(place), None, 0);
            continue;
        }
        stopped = stopped.or(Some((after, place)));
        silent += 1;
        if session.is_gap(silent) {
            break;
        }
    }
    Ok(match stopped {
        Some((after, first)) => found(Device::Stateful, after, first),
        None if after.is_some() => none,
        None => unknown,
    })
}
