//! Options in the IPv4 header of the SYN: does a server, and the path to it, take them?
//!
//! Source: Medina, Allman, Floyd 2005, section 4.3; RFC 791 (record route, timestamps), RFC 4782 (quick
//! start).

use sonde_plugin_api::{
    packet::ip_option::{self, IpOption, TimestampForm},
    prelude::*,
    tcp::Segment,
};

use crate::params::TbitParams;

const TIMESTAMPS: &str = "ipts-syn";
const RECORD_ROUTE: &str = "iprr-syn";
const QUICK_START: &str = "ipqs-syn";

/// Number and octets of the quick start option, and the rate that it asks for: 80 kbit/s, the lowest.
const QUICK_START_KIND: u8 = 25;
const QUICK_START_OCTETS: u8 = 8;
const QUICK_START_RATE: u8 = 1;

/// What of the IP layer is asked for and cannot be.
///
/// # Errors
///
/// Names the element, the value and what is accepted.
pub(crate) fn check(params: &TbitParams) -> Result<(), Fail> {
    let asked = [TIMESTAMPS, RECORD_ROUTE, QUICK_START].into_iter().filter(|it| params.has(it));
    let asked: Vec<&str> = asked.collect();
    if asked.len() > 1 {
        let asked = asked.join(", ");
        return Err(Fail::bad_params(format!(
            "scamper.tbit.option has {asked}, accepted: one of them"
        )));
    }
    if let (Some(option), IpAddr::V6(_)) = (asked.first(), params.destination) {
        return Err(Fail::bad_params(format!(
            "scamper.tbit.option has {option} for {}, accepted: with an IPv4 address",
            params.destination
        )));
    }
    match params.ptbsrc {
        Some(source) if source.is_ipv4() != params.destination.is_ipv4() => {
            Err(Fail::bad_params(format!(
                "scamper.tbit.ptbsrc is {source}, accepted: an address of the family of {}",
                params.destination
            )))
        }
        _ => Ok(()),
    }
}

/// The option of the SYN, or nothing.
pub(crate) fn octets(params: &TbitParams) -> Vec<u8> {
    if params.has(TIMESTAMPS) {
        ip_option::timestamps(TimestampForm::WithAddress, &[])
    } else if params.has(RECORD_ROUTE) {
        ip_option::record_route()
    } else if params.has(QUICK_START) {
        vec![QUICK_START_KIND, QUICK_START_OCTETS, QUICK_START_RATE, params.ttl, 0, 0, 0, 0]
    } else {
        Vec::new()
    }
}

/// Whether the answer bears the option of the SYN, and what that gathered.
pub(crate) fn read(sent: &[u8], answer: &Segment) -> (Option<bool>, Vec<String>) {
    let kind = sent.first().copied().unwrap_or_default();
    let recorded =
        ip_option::parse(&answer.ip_options).into_iter().flat_map(|option| match option {
            IpOption::RecordRoute(route) => route.iter().map(ToString::to_string).collect(),
            IpOption::Timestamps { stamps, .. } => stamps
                .iter()
                .map(|(address, stamp)| match address {
                    Some(address) => format!("{address} {stamp}"),
                    None => stamp.to_string(),
                })
                .collect::<Vec<_>>(),
        });
    (Some(ip_option::list(&answer.ip_options).any(|it| it[0] == kind)), recorded.collect())
}
