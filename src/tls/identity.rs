//! This node's own certificate: self-made, ECDSA P-256, valid until replaced.

use rcgen::{CertificateParams, DnType, KeyPair, PKCS_ECDSA_P256_SHA256};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use serde::Serialize;
use x509_parser::extensions::GeneralName;
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
        Self::make_at(name, alternatives, 0)
    }

    /// The same at a time, in seconds since 1970: it is valid to the end of 2049, or for 20 years
    /// if that is longer.
    pub fn make_at(name: &str, alternatives: &[String], now_s: u64) -> Result<Self, TlsError> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let mut params = CertificateParams::new(alternatives.to_vec())?;
        params.distinguished_name.push(DnType::CommonName, name);
        // An appliance may be set up before its clock is, so the start lies well in the past;
        // peers go by the pin, never by these dates.
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        let year = 1970 + i32::try_from(now_s / 31_556_952).unwrap_or(0).min(8_000);
        params.not_after = rcgen::date_time_ymd(2049.max(year + 20), 12, 31);
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

/// What a certificate says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[schema(as = Certificate)]
pub struct Facts {
    /// Whose it is.
    pub subject: String,
    /// Who made it.
    pub issuer: String,
    /// What browsers may call it.
    pub names: Vec<String>,
    /// Its serial number.
    pub serial: String,
    /// From when, seconds since 1970.
    pub not_before: i64,
    /// Until when, seconds since 1970.
    pub not_after: i64,
    /// SHA-256 of it, in pairs of hexadecimal digits.
    pub fingerprint: String,
    /// It, in PEM form.
    pub pem: String,
}

impl Identity {
    /// What its certificate says, for people.
    pub fn facts(&self) -> Option<Facts> {
        let (_, parsed) = x509_parser::parse_x509_certificate(&self.certificate).ok()?;
        let names = parsed.subject_alternative_name().ok().flatten();
        let names = names.iter().flat_map(|names| &names.value.general_names);
        let pairs: Vec<String> = self.digest().iter().map(|b| format!("{b:02X}")).collect();
        Some(Facts {
            subject: parsed.subject().to_string(),
            issuer: parsed.issuer().to_string(),
            names: names.map(plain_name).collect(),
            serial: parsed.raw_serial_as_string(),
            not_before: parsed.validity().not_before.timestamp(),
            not_after: parsed.validity().not_after.timestamp(),
            fingerprint: pairs.join(":"),
            pem: pem_text(&self.certificate),
        })
    }
}

fn plain_name(name: &GeneralName<'_>) -> String {
    match name {
        GeneralName::DNSName(name) => (*name).to_owned(),
        GeneralName::IPAddress(bytes) => match (<[u8; 4]>::try_from(*bytes), *bytes) {
            (Ok(four), _) => std::net::Ipv4Addr::from(four).to_string(),
            (_, sixteen) => <[u8; 16]>::try_from(sixteen).map_or_else(
                |_| "an unreadable address".into(),
                |bytes| std::net::Ipv6Addr::from(bytes).to_string(),
            ),
        },
        other => other.to_string(),
    }
}

/// PEM form (RFC 7468) of a certificate.
fn pem_text(der: &[u8]) -> String {
    pem::encode(&pem::Pem::new("CERTIFICATE", der))
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Identity({:02x?})", &self.digest()[..4])
    }
}
