//! What an operator may give wrongly, and the field that says so.

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, ExtendedKeyUsagePurpose,
    IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams, SanType, SerialNumber,
    date_time_ymd,
};
use zeroize::Zeroizing;

use super::*;

const LOCAL: &str = "192.0.2.11";

struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

fn authority() -> Authority {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let pem = params.self_signed(&key).unwrap().pem();
    Authority {
        issuer: Issuer::new(params, key),
        pem,
    }
}

impl Authority {
    fn issue(&self, change: impl FnOnce(&mut CertificateParams)) -> Pem {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.subject_alt_names = vec![SanType::IpAddress(LOCAL.parse().unwrap())];
        params.serial_number = Some(SerialNumber::from(7u64));
        change(&mut params);
        Pem {
            certificate: params.signed_by(&key, &self.issuer).unwrap().pem(),
            key: Zeroizing::new(key.serialize_pem()),
            authorities: self.pem.clone(),
            revocation_lists: String::new(),
        }
    }

    fn list(&self, serial: u64, until: i32) -> String {
        let revoked = RevokedCertParams {
            serial_number: SerialNumber::from(serial),
            revocation_time: date_time_ymd(2024, 1, 1),
            reason_code: None,
            invalidity_date: None,
        };
        let params = CertificateRevocationListParams {
            this_update: date_time_ymd(2024, 1, 1),
            next_update: date_time_ymd(until, 1, 1),
            crl_number: SerialNumber::from(1u64),
            issuing_distribution_point: None,
            revoked_certs: vec![revoked],
            key_identifier_method: KeyIdMethod::Sha256,
        };
        params.signed_by(&self.issuer).unwrap().pem().unwrap()
    }
}

fn wrong(pem: &Pem) -> (Field, String) {
    let problem = examine(pem, Some(LOCAL.parse().unwrap())).unwrap_err();
    (problem.field, problem.message)
}

#[track_caller]
fn says(pem: &Pem, field: Field, words: &str) {
    let (told, message) = wrong(pem);
    assert!(
        told == field && message.contains(words),
        "{told:?}: {message}"
    );
}

#[test]
fn a_good_set_is_taken_and_summed_up() {
    let authority = authority();
    let mut pem = authority.issue(|_| {});
    pem.revocation_lists = authority.list(8, 2049);
    let taken = examine(&pem, Some(LOCAL.parse().unwrap())).unwrap();
    let summary = summary(&taken.unwrap());
    assert_eq!((summary.authorities, summary.revocation_lists), (1, 1));
    assert!(!summary.valid_until.is_empty());
    assert!(matches!(examine(&Pem::default(), None), Ok(None)));
}

#[test]
fn texts_of_another_kind_are_refused_beside_their_field() {
    let good = authority().issue(|_| {});
    let with = |change: fn(&mut Pem)| {
        let mut pem = good.clone();
        change(&mut pem);
        pem
    };
    let pem = with(|pem| pem.certificate = "nonsense".into());
    says(&pem, Field::Certificate, "BEGIN CERTIFICATE");
    let pem = with(|pem| pem.authorities = pem.key.to_string());
    says(&pem, Field::Authorities, "BEGIN CERTIFICATE");
    let pem = with(|pem| pem.revocation_lists = pem.certificate.clone());
    says(&pem, Field::RevocationLists, "BEGIN X509 CRL");
    let pem = with(|pem| pem.key = Zeroizing::new(pem.certificate.clone()));
    says(&pem, Field::CertificateKey, "BEGIN PRIVATE KEY");
    let rename = |pem: &mut Pem, kind: &str| {
        let kind = format!("{kind} PRIVATE KEY");
        pem.key = Zeroizing::new(pem.key.replace("PRIVATE KEY", &kind));
    };
    let mut pem = good.clone();
    rename(&mut pem, "EC");
    says(&pem, Field::CertificateKey, "openssl pkcs8 -topk8");
    let mut pem = good.clone();
    rename(&mut pem, "ENCRYPTED");
    says(&pem, Field::CertificateKey, "is encrypted");
}

#[test]
fn a_set_that_no_peer_would_take_is_refused_before_it_is_saved() {
    let (authority, other) = (authority(), authority());
    let mut pem = authority.issue(|_| {});
    pem.key = other.issue(|_| {}).key;
    says(&pem, Field::CertificateKey, "does not belong");
    let mut pem = authority.issue(|_| {});
    pem.authorities = other.pem.clone();
    says(&pem, Field::Certificate, "trusted authority");
    let expired = authority.issue(|params| params.not_after = date_time_ymd(2024, 1, 2));
    says(&expired, Field::Certificate, "expired on 2024-01-02");
    let named = authority.issue(|params| params.subject_alt_names.clear());
    says(&named, Field::Certificate, "this system's address");
    let web = authority.issue(|params| {
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    });
    says(&web, Field::Certificate, "not meant for IKE");
    let mut revoked = authority.issue(|_| {});
    revoked.revocation_lists = authority.list(7, 2049);
    says(&revoked, Field::RevocationLists, "revoked");
    revoked.revocation_lists = authority.list(8, 2025);
    says(
        &revoked,
        Field::RevocationLists,
        "no current revocation list",
    );
}
