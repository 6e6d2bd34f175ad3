//! Who a peer is.
//!
//! Source: the RI, which joins the values of the certificate's subject by points, in the order of the
//! certificate: `DC=org, DC=mplane, O=SSB, OU=Clients, CN=Client-1` is
//! `org.mplane.SSB.Clients.Client-1`.

use std::fmt;

use x509_parser::prelude::{FromDer, X509Certificate};

/// Who a peer is; roles are given to identities.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Identity(String);

/// Why a certificate names nobody.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum IdentityError {
    /// Not a certificate.
    #[error("no X.509 certificate: {reason}")]
    Form {
        /// What is wrong with it.
        reason: String,
    },
    /// The subject is empty.
    #[error("the certificate has an empty subject")]
    Empty,
    /// A value is no text.
    #[error("a value of the certificate's subject is no text")]
    NoText,
}

impl Identity {
    /// By name, as configuration has it.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self(name.to_owned())
    }

    /// Everybody, where there is no TLS.
    #[must_use]
    pub fn unauthenticated() -> Self {
        Self::new("Identity.Unauthenticated.Default")
    }

    /// Of a certificate in DER; of a name part with several values the first counts.
    ///
    /// # Errors
    ///
    /// [`IdentityError`] for what is no certificate or has no subject in texts.
    pub fn of_certificate(der: &[u8]) -> Result<Self, IdentityError> {
        let (_, certificate) = X509Certificate::from_der(der)
            .map_err(|error| IdentityError::Form { reason: error.to_string() })?;
        let mut names = Vec::new();
        for part in certificate.subject().iter_rdn() {
            let Some(value) = part.iter().next() else { continue };
            let text = value.as_str().map_err(|_| IdentityError::NoText)?;
            if text.chars().any(char::is_control) {
                return Err(IdentityError::NoText);
            }
            names.push(text.to_owned());
        }
        if names.is_empty() { Err(IdentityError::Empty) } else { Ok(Self(names.join("."))) }
    }

    /// As configuration has it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
