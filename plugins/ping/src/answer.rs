//! What was heard of a probe, read while the packet is there.

use sonde_plugin_api::{
    packet::{
        IpHeader,
        ip_option::{self, IpOption},
        tcp::TcpView,
    },
    prelude::*,
};

use crate::{plan::Plan, rows::ReplyRow};

/// What became of a probe, or one more packet about it.
#[derive(Debug)]
pub(crate) enum Answer {
    /// A packet. Its row says whether it is an answer.
    Packet(ReplyRow),
    /// No answer came in time.
    Timeout {
        /// When the probe left.
        sent: Time,
    },
    /// It never left.
    Unsent(NotSent),
}

/// Reads what a flow heard; `None` for a packet that is about no probe.
pub(crate) fn read(plan: &Plan, heard: &Heard, packet: &[u8]) -> Option<(u32, Answer)> {
    let number = heard.label?;
    let answer = match &heard.outcome {
        Outcome::Reply(reply) => Answer::Packet(row(plan, number, reply, packet)),
        Outcome::Timeout { sent } => Answer::Timeout { sent: *sent },
        Outcome::Unsent(reason) => Answer::Unsent(*reason),
    };
    Some((number, answer))
}

fn row(plan: &Plan, number: u32, reply: &Reply, packet: &[u8]) -> ReplyRow {
    let params = &plan.params;
    let header = IpHeader::parse(packet).ok();
    let is_tcp = reply.class() == Class::Tcp;
    let segment = header.as_ref().filter(|_| is_tcp).map(|header| header.transport(packet));
    let tcp_flags = segment.and_then(|segment| TcpView::new(segment).flags());
    let is_icmp = !is_tcp && reply.class() != Class::Udp;
    let is_damaged = reply.bad_checksum();
    let is_answer =
        params.method.is_answer(reply, tcp_flags.unwrap_or_default(), params.destination);
    let route = match &header {
        Some(header) if params.rr => route(reply, header, packet),
        _ => Vec::new(),
    };
    ReplyRow {
        addr: Some(reply.from()),
        rtt_us: Some(reply.rtt_us()),
        rtt_ns: u64::try_from(reply.rtt().as_nanos()).ok(),
        ttl: Some(reply.ttl()),
        tos: header.as_ref().map(|header| header.tos),
        size: u32::try_from(reply.octets()).ok(),
        icmp_type: is_icmp.then(|| reply.icmp_type()),
        icmp_code: is_icmp.then(|| reply.icmp_code()),
        tcp_flags,
        answered: is_answer && !is_damaged,
        duplicate: reply.is_duplicate(),
        late: reply.is_late(),
        rr: route,
        tx: Some(reply.sent_by().into()),
        rx: Some(reply.received_by().into()),
        uncertainty_us: u64::try_from(reply.uncertainty().as_nanos().div_ceil(1000)).ok(),
        error: is_damaged.then(|| "wrong checksum".to_owned()),
        ..ReplyRow::new(number, reply.at(), params.ttl())
    }
}

/// What routers recorded: in the answer itself, or in the probe that an error quotes.
fn route(reply: &Reply, header: &IpHeader, packet: &[u8]) -> Vec<IpAddr> {
    let of = |header: &IpHeader, octets: &[u8]| {
        let options = octets.get(header.options.clone()).unwrap_or_default();
        ip_option::parse(options).into_iter().find_map(|option| match option {
            IpOption::RecordRoute(route) => Some(route.into_iter().map(IpAddr::V4).collect()),
            IpOption::Timestamps { .. } => None,
        })
    };
    match reply.quoted(packet) {
        Some(quoted) => IpHeader::parse(quoted).ok().and_then(|header| of(&header, quoted)),
        None => of(header, packet),
    }
    .unwrap_or_default()
}
