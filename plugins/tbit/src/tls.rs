//! The client side of TLS: octets in, octets out, over the same TCP as everything else.
//!
//! The certificate is not verified, for it is the TCP that is looked at; the record says so. Keys come
//! from the system's random numbers, so two runs of one seed differ in them.

use std::{
    io::{Read as _, Write as _},
    sync::Arc,
};

use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, Error, SignatureScheme,
    client::{
        Resumption,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{CryptoProvider, ring},
    pki_types::{CertificateDer, ServerName, UnixTime},
    time_provider::TimeProvider,
};
use sonde_plugin_api::prelude::Fail;

use crate::{application::Turn, params::TbitParams};

/// One connection's TLS.
pub(crate) struct Tls {
    connection: ClientConnection,
    /// Until it is said.
    request: Option<Vec<u8>>,
    error: Option<String>,
    /// The server said goodbye.
    is_closed: bool,
}

impl Tls {
    /// The name of the URL goes with the first message, where it has one.
    ///
    /// # Errors
    ///
    /// Where the URL has no host that TLS could name.
    pub(crate) fn of(params: &TbitParams) -> Result<Self, Fail> {
        let name = match params.host() {
            None => ServerName::from(params.destination),
            Some(host) => ServerName::try_from(host.to_owned()).map_err(|_| {
                Fail::bad_params(format!(
                    "scamper.tbit.url has the host {host:?}, accepted: a name or an address"
                ))
            })?,
        };
        let provider = Arc::new(ring::default_provider());
        let trusting = Trusting(Arc::clone(&provider));
        let mut config = ClientConfig::builder_with_details(provider, Arc::new(NoClock))
            .with_safe_default_protocol_versions()?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(trusting))
            .with_no_client_auth();
        config.resumption = Resumption::disabled();
        let connection = ClientConnection::new(Arc::new(config), name)?;
        Ok(Self { connection, request: Some(params.page()), error: None, is_closed: false })
    }

    /// Takes what the server said.
    pub(crate) fn hear(&mut self, mut octets: &[u8]) -> Turn {
        let mut text = Vec::new();
        while !octets.is_empty() && self.error.is_none() {
            let taken = self.connection.read_tls(&mut octets);
            if !matches!(taken, Ok(1..)) {
                // The server said its goodbye: what follows is no TLS.
                break;
            }
            match self.connection.process_new_packets() {
                Ok(state) => {
                    self.is_closed = state.peer_has_closed();
                    let mut plain = vec![0; state.plaintext_bytes_to_read()];
                    let read = self.connection.reader().read(&mut plain).unwrap_or(0);
                    text.extend(&plain[..read]);
                }
                Err(error) => self.error = Some(error.to_string()),
            }
        }
        Turn { say: self.said(), text }
    }

    /// The request, once keys are agreed on; nothing where it was said before.
    pub(crate) fn last(&mut self) -> Option<Vec<u8>> {
        if self.request.is_none() {
            return Some(Vec::new());
        }
        if self.connection.is_handshaking() || self.error.is_some() {
            return None;
        }
        let request = self.request.take()?;
        if let Err(error) = self.connection.writer().write_all(&request) {
            self.error = Some(error.to_string());
        }
        Some(self.said())
    }

    /// The server's answer is whole, though it may not have closed the connection.
    pub(crate) fn is_complete(&self) -> bool {
        self.is_closed
    }

    pub(crate) fn error(&self) -> Option<&str> {
        self.error.as_deref()
    }

    pub(crate) fn version(&self) -> Option<String> {
        let version = self.connection.protocol_version()?;
        Some(version.as_str().unwrap_or("unknown").replace('_', "."))
    }

    fn said(&mut self) -> Vec<u8> {
        let mut octets = Vec::new();
        while self.connection.wants_write() {
            if !matches!(self.connection.write_tls(&mut octets), Ok(1..)) {
                break;
            }
        }
        octets
    }
}

/// No time is needed where nothing is verified or kept.
#[derive(Debug)]
struct NoClock;

impl TimeProvider for NoClock {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(std::time::Duration::ZERO))
    }
}

/// Takes any certificate and signature.
#[derive(Debug)]
struct Trusting(Arc<CryptoProvider>);

impl ServerCertVerifier for Trusting {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
