//! Certificates: ours, and whose we accept.
//!
//! Authentication is mutual: a server refuses a client without a certificate of its authority, a
//! client checks chain and host name. A reload takes effect for new connections; those that exist go on.
//!
//! Source: the RI's `[TLS]` section: certificate, key and authority in PEM files; text before the PEM
//! is skipped.

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use x509_parser::prelude::{ASN1Time, FromDer, X509Certificate, X509Version};

/// A certificate that ends within that time is worth a word, seconds.
const SOON_S: i64 = 14 * DAY_S;
const DAY_S: i64 = 86_400;

/// Where the PEM files are.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct TlsFiles {
    /// Our certificate, and those between it and the authority.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
    /// Certificates of the authorities whose peers we accept.
    pub authority: PathBuf,
}

/// Why TLS cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// Not readable, or no PEM.
    #[error("{}: cannot be read as PEM: {cause}", file.display())]
    File {
        /// Which file.
        file: PathBuf,
        /// What is wrong with it.
        cause: pem::Error,
    },
    /// There is no key in it that can be used as it is.
    #[error("{}: has no private key, accepted: one that is not encrypted", file.display())]
    Key {
        /// Which file.
        file: PathBuf,
    },
    /// There is no certificate in it.
    #[error("{}: has no certificate", file.display())]
    Empty {
        /// Which file.
        file: PathBuf,
    },
    /// An authority that is no certificate.
    #[error("{}: has a certificate that cannot be used: {cause}", file.display())]
    Authority {
        /// Which file.
        file: PathBuf,
        /// What is wrong with it.
        cause: rustls::Error,
    },
    /// Certificate and key do not fit each other, or cannot be used.
    #[error("{} and {}: cannot be used together: {cause}", certificate.display(), key.display())]
    Pair {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's file.
        key: PathBuf,
        /// What is wrong with them.
        cause: rustls::Error,
    },
    /// Clients could not be verified.
    #[error("{}: cannot verify clients: {cause}", file.display())]
    Verifier {
        /// The authority's file.
        file: PathBuf,
        /// What is wrong with it.
        cause: rustls::server::VerifierBuilderError,
    },
}

/// TLS of a server, which can be read again.
#[derive(Debug)]
pub struct ServerTls {
    files: TlsFiles,
    current: RwLock<Arc<ServerConfig>>,
}

/// TLS of a client, which can be read again.
#[derive(Debug)]
pub struct ClientTls {
    files: TlsFiles,
    current: RwLock<Arc<ClientConfig>>,
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

/// The parts of a configuration, as read.
struct Parts {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    roots: Arc<RootCertStore>,
}

impl TlsFiles {
    fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
        let fail = |cause| TlsError::File { file: file.to_owned(), cause };
        let certificates = CertificateDer::pem_file_iter(file).map_err(fail)?;
        let certificates = certificates.collect::<Result<Vec<_>, _>>().map_err(fail)?;
        if certificates.is_empty() {
            return Err(TlsError::Empty { file: file.to_owned() });
        }
        Ok(certificates)
    }

    /// Certificates in them that nobody accepts now, or not for much longer, or not as what they stand there for, one a line.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        for file in [&self.certificate, &self.authority] {
            for certificate in Self::certificates(file).unwrap_or_default() {
                let Ok((_, certificate)) = X509Certificate::from_der(&certificate) else {
                    continue;
                };
                let mut warn = |what: &str| {
                    let (file, subject) = (file.display(), certificate.subject());
                    warnings.push(format!("{file}: the certificate of {subject}: {what}"));
                };
                let constraints = certificate.basic_constraints().ok().flatten();
                let is_authority = constraints.is_some_and(|it| it.value.ca);
                // Older ones do not say (RFC 5280, section 4.2.1.9).
                let says_so = certificate.version() == X509Version::V3;
                if file == &self.authority && says_so && !is_authority {
                    warn("it is none of an authority");
                }
                let validity = certificate.validity();
                let (from, until) = (validity.not_before, validity.not_after);
                let left = until.timestamp() - ASN1Time::now().timestamp();
                let what = match validity.is_valid() {
                    true if left > SOON_S => continue,
                    true if left < 2 * DAY_S => {
                        format!("it is valid until {until}, for {} hours", left / 3600)
                    }
                    true => format!("it is valid until {until}, for {} days", left / DAY_S),
                    false => format!("it is valid from {from} to {until}, not now"),
                };
                warn(&what);
            }
        }
        warnings
    }

    fn read(&self) -> Result<Parts, TlsError> {
        let mut roots = RootCertStore::empty();
        for certificate in Self::certificates(&self.authority)? {
            let fail = |cause| TlsError::Authority { file: self.authority.clone(), cause };
            roots.add(certificate).map_err(fail)?;
        }
        let file = self.key.clone();
        let key = PrivateKeyDer::from_pem_file(&self.key).map_err(|cause| match cause {
            pem::Error::NoItemsFound => TlsError::Key { file },
            cause => TlsError::File { file, cause },
        })?;
        Ok(Parts { chain: Self::certificates(&self.certificate)?, key, roots: Arc::new(roots) })
    }

    fn pair(&self, cause: rustls::Error) -> TlsError {
        TlsError::Pair { certificate: self.certificate.clone(), key: self.key.clone(), cause }
    }

    fn server(&self) -> Result<ServerConfig, TlsError> {
        let parts = self.read()?;
        let verifier = WebPkiClientVerifier::builder_with_provider(parts.roots, provider())
            .build()
            .map_err(|cause| TlsError::Verifier { file: self.authority.clone(), cause })?;
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(|cause| self.pair(cause))?
            .with_client_cert_verifier(verifier)
            .with_single_cert(parts.chain, parts.key)
            .map_err(|cause| self.pair(cause))?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(config)
    }

    fn client(&self) -> Result<ClientConfig, TlsError> {
        let parts = self.read()?;
        ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(|cause| self.pair(cause))?
            .with_root_certificates(parts.roots)
            .with_client_auth_cert(parts.chain, parts.key)
            .map_err(|cause| self.pair(cause))
    }
}

macro_rules! reloadable {
    ($tls:ident, $config:ident, $read:ident) => {
        impl $tls {
            /// Reads the files.
            ///
            /// # Errors
            ///
            /// [`TlsError`] names the file.
            pub fn load(files: TlsFiles) -> Result<Arc<Self>, TlsError> {
                let current = RwLock::new(Arc::new(files.$read()?));
                Ok(Arc::new(Self { files, current }))
            }

            /// Reads the files again, for new connections.
            ///
            /// # Errors
            ///
            /// [`TlsError`] names the file; what was read before stays in use.
            pub fn reload(&self) -> Result<(), TlsError> {
                let config = Arc::new(self.files.$read()?);
                *self.current.write().unwrap_or_else(PoisonError::into_inner) = config;
                Ok(())
            }

            pub(crate) fn config(&self) -> Arc<$config> {
                Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
            }
        }
    };
}

reloadable!(ServerTls, ServerConfig, server);
reloadable!(ClientTls, ClientConfig, client);

/// For a client without TLS: it trusts no server.
pub(crate) fn nobody() -> ClientConfig {
    ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .expect("the provider has both versions")
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth()
}
