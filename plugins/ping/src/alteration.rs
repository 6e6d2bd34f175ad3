//! What of a reply of ICMP is not as its request was. It is an answer all the same: the target, or who answers for it, is
//! there.
//!
//! Source: RFC 792 and RFC 4443 (data and code of a reply); iputils, which shows the same of data.

use sonde_plugin_api::prelude::*;

use crate::{kind::Kind, params::PingParams, rows::Alteration};

/// Octets of a timestamp reply; what is behind them is nobody's.
const TIMESTAMP_OCTETS: usize = 20;
const ECHO_OCTETS: usize = 8;
/// Data that a reply is credited for, so that it is right.
const CREDITED: usize = 8;

/// What is otherwise in `message`, a reply from its ICMP header on, to a request with so much data; and the first octet
/// of the data, where it is that.
pub(crate) fn of(
    params: &PingParams,
    data_octets: usize,
    message: &[u8],
) -> Option<(Alteration, Option<u32>)> {
    let is_echo = params.method == Kind::IcmpEcho;
    let sent = if is_echo { ECHO_OCTETS + data_octets } else { TIMESTAMP_OCTETS };
    if message.len() < sent {
        return Some((Alteration::Truncated, None));
    }
    let data = message.get(ECHO_OCTETS..).filter(|_| is_echo).unwrap_or_default();
    let is_wrong =
        |(at, octet): &(usize, &u8)| *at >= data_octets || **octet != octet_at(params, *at);
    if let Some((at, _)) = data.iter().enumerate().skip(CREDITED.min(data_octets)).find(is_wrong) {
        return Some((Alteration::Data, Some(at as u32)));
    }
    (message.get(1) != Some(&0)).then_some((Alteration::Code, None))
}

/// The data of a request, behind what is random in it.
fn octet_at(params: &PingParams, at: usize) -> u8 {
    let octet = |Hex(octets): &Hex, at: usize| octets.get(at).copied().unwrap_or_default();
    match (&params.payload, &params.pattern) {
        (Some(payload), _) => octet(payload, at),
        (None, Some(pattern)) => octet(pattern, at % pattern.0.len().max(1)),
        (None, None) => 0,
    }
}
