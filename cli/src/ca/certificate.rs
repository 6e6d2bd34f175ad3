//! Certificates as mPlane peers know each other by: an authority, and what it signs.
//!
//! The subject is `DC=org, DC=mplane, O=…, OU=Components|Supervisors|Clients, CN=…`, so the identity is
//! `org.mplane.ORGANISATION.UNIT.NAME`. Every certificate serves both sides of a connection, since each
//! program is a server here and a client there. Texts only: files are in `mod.rs`.
//!
//! Source: the public key infrastructure that the Python reference implementation (RI) comes with.

use std::{net::IpAddr, time::Duration};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, PublicKeyData, SanType,
};

use super::subject::{Part, TwiceTheDomain, after};

/// Clocks differ: a certificate counts from an hour before it was made.
const EARLIER: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(86_400);

/// What a certificate is for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Unit {
    Components,
    Supervisors,
    Clients,
}

impl Unit {
    /// By the word on the command line.
    pub(crate) fn of(role: &str) -> Option<Self> {
        match role {
            "host" => Some(Self::Components),
            "supervisor" => Some(Self::Supervisors),
            "client" => Some(Self::Clients),
            _ => None,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Components => "Components",
            Self::Supervisors => "Supervisors",
            Self::Clients => "Clients",
        }
    }
}

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CertificateError {
    /// It would not be a part of an identity.
    #[error("{what} is {value:?}, accepted: {accepted}")]
    Name { what: &'static str, value: String, accepted: &'static str },
    /// Neither an address nor a name of a host.
    #[error("{0:?} is neither an IP address nor a DNS name")]
    Address(String),
    /// Certificate and key of the authority do not fit.
    #[error("the authority's key is not that of its certificate")]
    OtherKey,
    /// The library cannot write such a subject.
    #[error("the authority's subject has a kind of part twice, which cannot be signed for")]
    Subject,
    /// What the library says.
    #[error("the certificate cannot be made: {0}")]
    Made(#[from] rcgen::Error),
}

/// Certificate and key, both in PEM; before the certificate's PEM its subject as text.
pub(crate) struct Pair {
    pub(crate) certificate: String,
    pub(crate) key: String,
}

/// What signs.
pub(crate) struct Authority {
    issuer: Issuer<'static, TwiceTheDomain>,
    /// Of its subject, DER.
    subject: Vec<u8>,
    organisation: String,
}

/// What is asked for.
pub(crate) struct Wanted<'a> {
    pub(crate) unit: Unit,
    pub(crate) name: &'a str,
    /// Addresses and names of the machine, which peers that connect to it check.
    pub(crate) addresses: &'a [String],
    pub(crate) days: u32,
}

impl Authority {
    /// A new one; `now` is the time since 1970.
    pub(crate) fn new(
        organisation: &str,
        days: u32,
        now: Duration,
    ) -> Result<(Self, Pair), CertificateError> {
        check_organisation(organisation)?;
        // Nobody is called so: its parts need not be those of an identity.
        let subject = [(Part::Organisation, organisation), (Part::Name, "mPlane authority")];
        let mut params = params(&subject, days, now);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate()?;
        let certificate = params.self_signed(&key)?;
        let pair = pair(&subject, certificate.der(), &key);
        let authority = Self::of(&pair.certificate, &pair.key)?;
        Ok((authority, pair))
    }

    /// One that was made before, from its PEM texts.
    pub(crate) fn of(certificate: &str, key: &str) -> Result<Self, CertificateError> {
        let key = KeyPair::from_pem(key)?;
        let unreadable = || CertificateError::Made(rcgen::Error::CouldNotParseCertificate);
        let (_, pem) =
            x509_parser::pem::parse_x509_pem(certificate.as_bytes()).map_err(|_| unreadable())?;
        let parsed = pem.parse_x509().map_err(|_| unreadable())?;
        if *parsed.public_key().raw != *key.subject_public_key_info() {
            return Err(CertificateError::OtherKey);
        }
        let organisation = parsed.subject().iter_organization().next();
        let organisation = organisation.and_then(|it| it.as_str().ok()).unwrap_or_default();
        let (organisation, subject) = (organisation.to_owned(), parsed.subject().as_raw().to_vec());
        let issuer = Issuer::from_ca_cert_pem(certificate, TwiceTheDomain(key))?;
        Ok(Self { issuer, subject, organisation })
    }

    /// Of its subject.
    pub(crate) fn organisation(&self) -> &str {
        &self.organisation
    }

    /// Signs a new certificate; `organisation` in place of the authority's own.
    pub(crate) fn issue(
        &self,
        wanted: &Wanted<'_>,
        organisation: Option<&str>,
        now: Duration,
    ) -> Result<Pair, CertificateError> {
        let organisation = organisation.unwrap_or(&self.organisation);
        check_organisation(organisation)?;
        check_name(wanted.name)?;
        let subject = [
            (Part::Domain, "org"),
            (Part::DomainAgain, "mplane"),
            (Part::Organisation, organisation),
            (Part::Unit, wanted.unit.name()),
            (Part::Name, wanted.name),
        ];
        let mut params = params(&subject, wanted.days, now);
        params.is_ca = IsCa::ExplicitNoCa;
        params.use_authority_key_identifier_extension = true;
        params.key_usages =
            vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        for address in wanted.addresses {
            params.subject_alt_names.push(alternative(address)?);
        }
        let key = KeyPair::generate()?;
        let certificate = after(params.signed_by(&key, &self.issuer)?.der());
        let issuer = x509_parser::parse_x509_certificate(&certificate);
        let is_ours = issuer.is_ok_and(|(_, made)| made.issuer().as_raw() == self.subject);
        if !is_ours {
            return Err(CertificateError::Subject);
        }
        Ok(pair(&subject, &certificate, &key))
    }
}

/// Identity of a certificate with this subject.
pub(crate) fn identity(organisation: &str, unit: Unit, name: &str) -> String {
    format!("org.mplane.{organisation}.{}.{name}", unit.name())
}

fn alternative(address: &str) -> Result<SanType, CertificateError> {
    if let Ok(address) = address.parse::<IpAddr>() {
        return Ok(SanType::IpAddress(address));
    }
    let refused = || CertificateError::Address(address.to_owned());
    let part = |part: &str| {
        let plain = |letter: char| letter.is_ascii_alphanumeric() || letter == '-';
        !part.is_empty() && part.len() < 64 && part.chars().all(plain) && !part.starts_with('-')
    };
    let name = address.strip_prefix("*.").unwrap_or(address);
    // Four numbers that are no address would be a name that nobody has.
    let looks_numeric = name.chars().all(|letter| letter.is_ascii_digit() || letter == '.');
    if name.len() > 253 || looks_numeric || !name.split('.').all(part) {
        return Err(refused());
    }
    Ok(SanType::DnsName(address.try_into().map_err(|_| refused())?))
}

/// A part of an identity: a point in it would make two subjects look the same.
fn check_organisation(organisation: &str) -> Result<(), CertificateError> {
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "-_ ".contains(letter);
    let length = organisation.len();
    if (1..=64).contains(&length)
        && organisation.chars().all(plain)
        && organisation.trim() == organisation
    {
        return Ok(());
    }
    let accepted = "1 to 64 letters, digits, - _ and blanks within";
    let value = organisation.to_owned();
    Err(CertificateError::Name { what: "the organisation", value, accepted })
}

/// The last part of an identity, and the name of two files.
fn check_name(name: &str) -> Result<(), CertificateError> {
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "-_.".contains(letter);
    let is_usable = name.starts_with(|letter: char| letter.is_ascii_alphanumeric()) && name != "ca";
    if (1..=64).contains(&name.len()) && name.chars().all(plain) && is_usable {
        return Ok(());
    }
    let accepted = "1 to 64 letters, digits, - _ . that begin with a letter or digit, not ca";
    Err(CertificateError::Name { what: "NAME", value: name.to_owned(), accepted })
}

fn params(subject: &[(Part, &str)], days: u32, now: Duration) -> CertificateParams {
    let mut name = DistinguishedName::new();
    for (part, value) in subject {
        name.push(part.kind(), part.value(value));
    }
    let mut params = CertificateParams::default();
    params.distinguished_name = name;
    let begin = rcgen::date_time_ymd(1970, 1, 1) + now;
    params.not_before = begin - EARLIER;
    params.not_after = begin + DAY * days;
    params
}

fn pair(subject: &[(Part, &str)], certificate: &[u8], key: &KeyPair) -> Pair {
    let parts: Vec<String> =
        subject.iter().map(|(part, value)| format!("{}={value}", part.letters())).collect();
    let pem = pem::Pem::new("CERTIFICATE", certificate);
    let unix = pem::EncodeConfig::new().set_line_ending(pem::LineEnding::LF);
    let pem = pem::encode_config(&pem, unix);
    // The RI takes its own identity from this line.
    let certificate = format!("Certificate:\n    Subject: {}\n{pem}", parts.join(", "));
    Pair { certificate, key: key.serialize_pem() }
}

#[cfg(test)]
mod tests {
    use sonde_mplane_http::Identity;

    use super::*;

    const NOW: Duration = Duration::from_secs(1_800_000_000);

    fn wanted(name: &str) -> Wanted<'_> {
        Wanted { unit: Unit::Components, name, addresses: &[], days: 30 }
    }

    fn der(pair: &Pair) -> Vec<u8> {
        pem::parse(&pair.certificate).unwrap().into_contents()
    }

    #[test]
    fn the_subject_has_two_domain_components_and_the_signature_covers_them() {
        let (authority, root) = Authority::new("SSB", 30, NOW).unwrap();
        let addresses = ["localhost".to_owned(), "::1".to_owned()];
        let wanted = Wanted { addresses: &addresses, ..wanted("Component-1") };
        let pair = authority.issue(&wanted, None, NOW).unwrap();
        let der = der(&pair);
        let identity = Identity::of_certificate(&der).unwrap();
        assert_eq!(identity.as_str(), "org.mplane.SSB.Components.Component-1");
        assert_eq!(identity.as_str(), super::identity("SSB", Unit::Components, "Component-1"));
        let (_, parsed) = x509_parser::parse_x509_certificate(&der).unwrap();
        let text = parsed.subject().to_string();
        assert_eq!(text, "DC=org, DC=mplane, O=SSB, OU=Components, CN=Component-1");
        assert!(pair.certificate.contains(&format!("Subject: {text}\n-----BEGIN")));
        let root = pem::parse(&root.certificate).unwrap().into_contents();
        let (_, root) = x509_parser::parse_x509_certificate(&root).unwrap();
        parsed.verify_signature(Some(root.public_key())).unwrap();
        assert_eq!(parsed.validity().not_after.timestamp(), 1_800_000_000 + 30 * 86_400);
    }

    #[test]
    fn an_authority_that_is_read_again_signs_as_before() {
        let (_, root) = Authority::new("SSB", 30, NOW).unwrap();
        let authority = Authority::of(&root.certificate, &root.key).unwrap();
        let pair = authority.issue(&wanted("a"), Some("Other"), NOW).unwrap();
        let identity = Identity::of_certificate(&der(&pair)).unwrap();
        assert_eq!(identity.as_str(), "org.mplane.Other.Components.a");
        let (_, other) = Authority::new("SSB", 30, NOW).unwrap();
        let error = Authority::of(&root.certificate, &other.key).err().unwrap();
        assert!(matches!(error, CertificateError::OtherKey), "{error}");
    }

    #[test]
    fn names_that_would_blur_an_identity_or_leave_the_folder_are_refused() {
        let (authority, _) = Authority::new("SSB", 30, NOW).unwrap();
        for name in ["", "../up", "a/b", "ca", ".hidden", "a b", "a\nb", &"x".repeat(65)] {
            let error = authority.issue(&wanted(name), None, NOW).err().unwrap();
            assert!(error.to_string().starts_with("NAME is"), "{name:?}: {error}");
        }
        for organisation in ["", "a.Components", " a", "a\u{0}"] {
            assert!(authority.issue(&wanted("a"), Some(organisation), NOW).is_err());
        }
        for address in ["1.2.3", "1.2.3.4.5", "a b", "", "-a", "a..b", "*.", "http://a"] {
            let addresses = [address.to_owned()];
            let wanted = Wanted { addresses: &addresses, ..wanted("a") };
            let error = authority.issue(&wanted, None, NOW).err().unwrap();
            assert!(matches!(error, CertificateError::Address(_)), "{address:?}: {error}");
        }
    }
}
