//! What is heard on a connection's flow: segments, and ICMP errors about ours.

use crate::{
    author::{Either, Flow, Outcome, Reply, select},
    packet::{Class, IpHeader, tcp::TcpView},
    tcp::Segment,
};

/// Something about the connection.
pub(super) enum Heard {
    Segment(Segment),
    /// An ICMP error, and the number of the segment that it is about.
    Error {
        from: std::net::IpAddr,
        kind: u8,
        code: u8,
        sequence: u32,
    },
}

/// The next segment or error on the flow; `None` when the timer ran out.
pub(super) async fn hear(
    flow: &Flow,
    mut timer: impl Future<Output = ()> + Unpin,
) -> Option<Heard> {
    loop {
        let next = flow.next_with(|heard, packet| match &heard.outcome {
            Outcome::Reply(reply) => of(reply, packet),
            _ => None,
        });
        match select(next, &mut timer).await {
            Either::First(Some(heard)) => return Some(heard),
            Either::First(None) => {}
            Either::Second(()) => return None,
        }
    }
}

fn of(reply: &Reply, packet: &[u8]) -> Option<Heard> {
    match reply.class() {
        Class::Tcp => Segment::parse(reply, packet).map(Heard::Segment),
        Class::Unreachable => {
            let quoted = reply.quoted(packet)?;
            let header = IpHeader::parse(quoted).ok()?;
            Some(Heard::Error {
                from: reply.from(),
                kind: reply.icmp_type(),
                code: reply.icmp_code(),
                sequence: TcpView::new(header.transport(quoted)).sequence()?,
            })
        }
        _ => None,
    }
}
