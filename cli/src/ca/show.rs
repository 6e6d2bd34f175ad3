//! `sonde ca show`: what a certificate says, and whether an authority signed it.

use std::{
    fs,
    net::IpAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use sonde_mplane_http::Identity;
use sonde_plugin_api::text_form::harmless;
use x509_parser::{
    pem::Pem,
    prelude::{ASN1Time, GeneralName, X509Certificate},
};

use crate::{Exit, Stop, console::say};

/// Prints it; [`Exit::NoAnswer`] where a named authority did not sign it, or it is out of date.
pub(super) fn show(file: &Path, authority: Option<&PathBuf>, now: Duration) -> Result<Exit, Stop> {
    let read = read(file)?;
    let certificate = parse(file, &read)?;
    let identity = Identity::of_certificate(&read.contents)
        .map_err(|error| Stop::usage(format!("{}: {error}", file.display())))?;
    let now = ASN1Time::from_timestamp(i64::try_from(now.as_secs()).unwrap_or(i64::MAX));
    let now = now.map_err(|error| Stop::usage(format!("the clock: {error}")))?;
    let validity = certificate.validity();
    let state = match (now < validity.not_before, now > validity.not_after) {
        (true, _) => "not yet valid",
        (_, true) => "expired",
        _ => "valid",
    };
    say!("{}", facts(&identity, &certificate, state));
    let Some(authority) = authority else { return Ok(Exit::Done) };
    let signer = self::read(authority)?;
    let signer = parse(authority, &signer)?;
    let is_signed = certificate.issuer().as_raw() == signer.subject().as_raw()
        && certificate.verify_signature(Some(signer.public_key())).is_ok();
    say!("signed by  {}{}", if is_signed { "" } else { "not " }, authority.display());
    Ok(if is_signed && state == "valid" { Exit::Done } else { Exit::NoAnswer })
}

/// One fact a line. The certificate may be a stranger's.
fn facts(identity: &Identity, certificate: &X509Certificate<'_>, state: &str) -> String {
    let validity = certificate.validity();
    let facts = [
        format!("identity   {identity}"),
        format!("subject    {}", certificate.subject()),
        format!("issuer     {}", certificate.issuer()),
        format!("from       {}", validity.not_before),
        format!("until      {} ({state})", validity.not_after),
        format!("addresses  {}", addresses(certificate).join(", ")),
    ];
    facts.map(|fact| harmless(&fact)).join("\n")
}

fn read(file: &Path) -> Result<Pem, Stop> {
    let octets =
        fs::read(file).map_err(|error| Stop::usage(format!("{}: {error}", file.display())))?;
    let pem = x509_parser::pem::parse_x509_pem(&octets);
    pem.map(|(_, pem)| pem).map_err(|error| Stop::usage(format!("{}: {error}", file.display())))
}

fn parse<'a>(file: &Path, pem: &'a Pem) -> Result<X509Certificate<'a>, Stop> {
    pem.parse_x509()
        .map_err(|error| Stop::usage(format!("{}: no certificate: {error}", file.display())))
}

fn addresses(certificate: &X509Certificate<'_>) -> Vec<String> {
    let Ok(Some(names)) = certificate.subject_alternative_name() else { return Vec::new() };
    let text = |name: &GeneralName<'_>| match name {
        GeneralName::DNSName(name) => (*name).to_owned(),
        GeneralName::IPAddress(octets) => address(octets),
        other => other.to_string(),
    };
    names.value.general_names.iter().map(text).collect()
}

fn address(octets: &[u8]) -> String {
    if let Ok(four) = <[u8; 4]>::try_from(octets) {
        return IpAddr::from(four).to_string();
    }
    match <[u8; 16]>::try_from(octets) {
        Ok(sixteen) => IpAddr::from(sixteen).to_string(),
        Err(_) => format!("an address of {} octets", octets.len()),
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, Issuer, KeyPair, SanType};

    use super::*;

    #[test]
    fn what_a_stranger_wrote_into_a_certificate_steers_no_terminal() {
        let params = |name: &str| {
            let mut params = CertificateParams::default();
            params.distinguished_name.push(rcgen::DnType::CommonName, name);
            params
        };
        let mut own = params("host-1");
        own.subject_alt_names = vec![SanType::DnsName("a\u{1b}[2J".try_into().unwrap())];
        let key = KeyPair::generate().unwrap();
        let issuer = Issuer::new(params("\u{9b}2J\nsubject    forged"), &key);
        let der = own.signed_by(&key, &issuer).unwrap();
        let (_, certificate) = x509_parser::parse_x509_certificate(der.der()).unwrap();
        let shown = facts(&Identity::of_certificate(der.der()).unwrap(), &certificate, "valid");
        assert!(shown.lines().count() == 6 && !shown.contains(['\u{1b}', '\u{9b}']), "{shown:?}");
        assert!(shown.ends_with("addresses  a[2J"), "{shown:?}");
    }
}
