//! Subjects with two domain components, which the library does not write.
//!
//! Its names hold each kind of part once. So the second `DC` is given to it as another kind, whose object
//! identifier is as long as that of `DC` and differs in its last octet alone. That octet is put right before
//! the certificate is signed, and in the certificate itself.

use rcgen::{DnType, DnValue, KeyPair, PublicKeyData, SignatureAlgorithm, SigningKey};

/// `domainComponent`, RFC 4519; the last number is the octet that differs.
const DOMAIN: [u64; 7] = [0, 9, 2342, 19_200_300, 100, 1, 25];
const PLACEHOLDER: u8 = 0x7f;

/// The identifier of the placeholder in DER, but for its last octet.
const BEFORE: [u8; 11] = [0x06, 0x0a, 0x09, 0x92, 0x26, 0x89, 0x93, 0xf2, 0x2c, 0x64, 0x01];

/// A part of a subject.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Part {
    Domain,
    DomainAgain,
    Organisation,
    Unit,
    Name,
}

impl Part {
    pub(super) fn kind(self) -> DnType {
        match self {
            Self::Domain => DnType::CustomDnType(DOMAIN.to_vec()),
            Self::DomainAgain => {
                let mut other = DOMAIN.to_vec();
                other[6] = PLACEHOLDER.into();
                DnType::CustomDnType(other)
            }
            Self::Organisation => DnType::OrganizationName,
            Self::Unit => DnType::OrganizationalUnitName,
            Self::Name => DnType::CommonName,
        }
    }

    /// Domain components are ASCII by their definition.
    pub(super) fn value(self, text: &str) -> DnValue {
        match (self, text.try_into()) {
            (Self::Domain | Self::DomainAgain, Ok(text)) => DnValue::Ia5String(text),
            _ => DnValue::Utf8String(text.to_owned()),
        }
    }

    pub(super) fn letters(self) -> &'static str {
        match self {
            Self::Domain | Self::DomainAgain => "DC",
            Self::Organisation => "O",
            Self::Unit => "OU",
            Self::Name => "CN",
        }
    }
}

/// Puts the placeholder right. Elsewhere twelve such octets stand by chance once in 2^96.
pub(super) fn after(der: &[u8]) -> Vec<u8> {
    let mut der = der.to_vec();
    let length = BEFORE.len();
    let found: Vec<usize> = (0..der.len().saturating_sub(length))
        .filter(|at| der[*at..].starts_with(&BEFORE) && der[at + length] == PLACEHOLDER)
        .collect();
    for at in found {
        der[at + length] = DOMAIN[6] as u8;
    }
    der
}

/// A key that signs what the certificate will be.
pub(super) struct TwiceTheDomain(pub(super) KeyPair);

impl PublicKeyData for TwiceTheDomain {
    fn der_bytes(&self) -> &[u8] {
        self.0.der_bytes()
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        self.0.algorithm()
    }
}

impl SigningKey for TwiceTheDomain {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        self.0.sign(&after(message))
    }
}
