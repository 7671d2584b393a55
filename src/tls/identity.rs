//! This node's own certificate: self-made, ECDSA P-256, valid until replaced.

use rcgen::{CertificateParams, DnType, KeyPair, PKCS_ECDSA_P256_SHA256};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use zeroize::Zeroizing;

use super::{TlsError, digest};
use crate::tunnel::message::CertDigest;

/// A certificate and its private key.
#[derive(Clone)]
pub struct Identity {
    /// The certificate, DER.
    pub certificate: Vec<u8>,
    /// The private key, PKCS #8 DER.
    pub key: Zeroizing<Vec<u8>>,
}

impl Identity {
    /// Makes a new one. `name` is the system name, `alternatives` what browsers may call it.
    pub fn make(name: &str, alternatives: &[String]) -> Result<Self, TlsError> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let mut params = CertificateParams::new(alternatives.to_vec())?;
        params.distinguished_name.push(DnType::CommonName, name);
        // An appliance may be set up before its clock is, so the start lies well in the past;
        // peers go by the pin, never by these dates.
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(2049, 12, 31);
        let certificate = params.self_signed(&key)?;
        Ok(Self {
            certificate: certificate.der().to_vec(),
            key: Zeroizing::new(key.serialize_der()),
        })
    }

    /// The pin by which peers know this node.
    pub fn digest(&self) -> CertDigest {
        digest(&self.certificate)
    }

    pub(super) fn rustls(
        &self,
    ) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), TlsError> {
        if self.key.is_empty() {
            return Err(TlsError::Key);
        }
        let key = PrivatePkcs8KeyDer::from(self.key.to_vec());
        Ok((
            vec![CertificateDer::from(self.certificate.clone())],
            key.into(),
        ))
    }
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Identity({:02x?})", &self.digest()[..4])
    }
}
