//! A certificate authority for simulated peers.

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, IsCa, Issuer,
    KeyIdMethod, KeyPair, KeyUsagePurpose, PKCS_RSA_SHA256, RevokedCertParams, SanType,
    SerialNumber, SignatureAlgorithm, date_time_ymd,
};
use tutti::tunnel::message::Certificates;

use super::address;

const RSA_KEY: &str = include_str!("../vectors/rsa-2048.pem");

/// Issues certificates and revocation lists.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl Authority {
    pub fn new(name: &str) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params
            .distinguished_name
            .push(rcgen::DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let pem = params.self_signed(&key).unwrap().pem();
        let issuer = Issuer::new(params, key);
        Self { issuer, pem }
    }

    /// Certificates of a side, with its own changed by `change`.
    pub fn issue(
        &self,
        side: usize,
        key: &KeyPair,
        change: impl FnOnce(&mut CertificateParams),
    ) -> Certificates {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.subject_alt_names = vec![SanType::IpAddress(address(side))];
        params.serial_number = Some(SerialNumber::from(side as u64 + 1));
        change(&mut params);
        let own = params.signed_by(key, &self.issuer).unwrap().pem();
        let key = key.serialize_pem();
        Certificates::from_pem(
            own.as_bytes(),
            key.as_bytes(),
            self.pem.as_bytes(),
            b"",
            vec![],
        )
        .unwrap()
    }

    pub fn revoke(&self, serials: &[u64], until: i32) -> Vec<u8> {
        let revoked = serials.iter().map(|serial| RevokedCertParams {
            serial_number: SerialNumber::from(*serial),
            revocation_time: date_time_ymd(2024, 1, 1),
            reason_code: None,
            invalidity_date: None,
        });
        let params = CertificateRevocationListParams {
            this_update: date_time_ymd(2024, 1, 1),
            next_update: date_time_ymd(until, 1, 1),
            crl_number: SerialNumber::from(1u64),
            issuing_distribution_point: None,
            revoked_certs: revoked.collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        params.signed_by(&self.issuer).unwrap().der().to_vec()
    }
}

/// A new key.
pub fn key(algorithm: &'static SignatureAlgorithm) -> KeyPair {
    KeyPair::generate_for(algorithm).unwrap()
}

/// An RSA key of 2,048 bits; making one takes long.
pub fn rsa_key() -> KeyPair {
    KeyPair::from_pem_and_sign_algo(RSA_KEY, &PKCS_RSA_SHA256).unwrap()
}
