//! Replication's TLS: 1.3 only, both sides present a certificate, and each takes only one whose
//! SHA-256 IKE reported: the peer's, and while that is renewed the other one too. The handshake
//! signature is verified with that certificate's key, so a copied certificate without its key is of
//! no use.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, DistinguishedName, Error,
    PeerIncompatible, ServerConfig, SignatureScheme,
};
use subtle::ConstantTimeEq;

use super::{Identity, TlsError, digest, provider};
use crate::tunnel::message::Presented;

/// The dialling side.
pub fn dial_config(
    identity: &Identity,
    pins: impl Into<Presented>,
) -> Result<Arc<ClientConfig>, TlsError> {
    let (chain, key) = identity.rustls()?;
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Pinned::new(pins.into())))
        .with_client_auth_cert(chain, key)?;
    // A resumed session would skip the certificate; every link proves itself anew.
    config.resumption = rustls::client::Resumption::disabled();
    config.enable_sni = false;
    Ok(Arc::new(config))
}

/// The accepting side.
pub fn accept_config(
    identity: &Identity,
    pins: impl Into<Presented>,
) -> Result<Arc<ServerConfig>, TlsError> {
    let (chain, key) = identity.rustls()?;
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_client_cert_verifier(Arc::new(Pinned::new(pins.into())))
        .with_single_cert(chain, key)?;
    config.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(Arc::new(config))
}

#[derive(Debug)]
struct Pinned {
    pins: Presented,
    algorithms: WebPkiSupportedAlgorithms,
}

impl Pinned {
    fn new(pins: Presented) -> Self {
        let algorithms = provider().signature_verification_algorithms;
        Self { pins, algorithms }
    }

    fn check(&self, certificate: &CertificateDer<'_>) -> Result<(), Error> {
        let presented = digest(certificate);
        if self.pins.digests().any(|pin| presented.ct_eq(pin).into()) {
            return Ok(());
        }
        Err(Error::InvalidCertificate(
            CertificateError::ApplicationVerificationFailure,
        ))
    }
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.check(end_entity)
            .map(|()| ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(PeerIncompatible::Tls12NotOfferedOrEnabled.into())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

impl ClientCertVerifier for Pinned {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.check(end_entity)
            .map(|()| ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(PeerIncompatible::Tls12NotOfferedOrEnabled.into())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustls::{ClientConnection, ServerConnection};

    fn identity(name: &str) -> Identity {
        Identity::make(name, &[]).unwrap()
    }

    /// Runs a handshake in memory; both ends must be content.
    fn handshake(dial: Arc<ClientConfig>, accept: Arc<ServerConfig>) -> Result<(), Error> {
        let name = ServerName::try_from("peer").unwrap();
        let mut client = ClientConnection::new(dial, name).unwrap();
        let mut server = ServerConnection::new(accept).unwrap();
        for _ in 0..8 {
            let mut bytes = Vec::new();
            while client.wants_write() {
                client.write_tls(&mut bytes).unwrap();
            }
            let mut input = &bytes[..];
            while !input.is_empty() {
                server.read_tls(&mut input).unwrap();
                server.process_new_packets()?;
            }
            let mut bytes = Vec::new();
            while server.wants_write() {
                server.write_tls(&mut bytes).unwrap();
            }
            let mut input = &bytes[..];
            while !input.is_empty() {
                client.read_tls(&mut input).unwrap();
                client.process_new_packets()?;
            }
        }
        assert!(!client.is_handshaking() && !server.is_handshaking());
        Ok(())
    }

    #[test]
    fn two_nodes_that_know_each_other_meet() {
        let (a, b) = (identity("a"), identity("b"));
        let dial = dial_config(&a, b.digest()).unwrap();
        let accept = accept_config(&b, a.digest()).unwrap();
        handshake(dial, accept).unwrap();
    }

    #[test]
    fn a_wrong_pin_on_either_side_is_refused() {
        let (a, b, c) = (identity("a"), identity("b"), identity("c"));
        let wrong_server = dial_config(&a, c.digest()).unwrap();
        let accept = accept_config(&b, a.digest()).unwrap();
        assert!(handshake(wrong_server, accept).is_err());
        let dial = dial_config(&a, b.digest()).unwrap();
        let wrong_client = accept_config(&b, c.digest()).unwrap();
        assert!(handshake(dial, wrong_client).is_err());
    }

    #[test]
    fn while_a_certificate_is_renewed_the_old_and_the_new_one_are_taken_and_no_third() {
        let (a, b, c) = (identity("a"), identity("b"), identity("c"));
        let new = identity("b");
        let pins = Presented {
            now: b.digest(),
            also: Some(new.digest()),
        };
        for (presents, taken) in [(&b, true), (&new, true), (&c, false)] {
            let dial = dial_config(&a, pins).unwrap();
            let accept = accept_config(presents, a.digest()).unwrap();
            assert_eq!(handshake(dial, accept).is_ok(), taken);
            let dial = dial_config(presents, a.digest()).unwrap();
            let accept = accept_config(&a, pins).unwrap();
            assert_eq!(handshake(dial, accept).is_ok(), taken);
        }
    }

    #[test]
    fn a_copied_certificate_without_its_key_is_refused() {
        let (a, b, thief) = (identity("a"), identity("b"), identity("thief"));
        let stolen = Identity {
            certificate: a.certificate.clone(),
            key: thief.key.clone(),
        };
        // rustls may notice the mismatch itself when the configuration is made; that is as good.
        if let Ok(dial) = dial_config(&stolen, b.digest()) {
            let accept = accept_config(&b, a.digest()).unwrap();
            assert!(handshake(dial, accept).is_err());
        }
    }
}
