//! Authentication by certificates: two systems key AH with each kind of key, and everything that
//! is wrong with a certificate is named and keys nothing.

#![allow(clippy::unwrap_used)]

// Each of the tests that share it uses a part of it.
#[allow(dead_code)]
mod sim_ike_world;

use std::net::IpAddr;

use rcgen::{
    BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, KeyUsagePurpose,
    PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_ED25519, SanType, date_time_ymd,
};
use sim_ike_world::authority::{Authority, key, rsa_key};
use sim_ike_world::{Net, World, address};
use tutti::ike::Certified;
use tutti::ike::certificate::{CertificateError, Claim, HASHES, Proof};
use tutti::tls::{IkeCertificates, TlsError};
use tutti::tunnel::message::{Certificates, TunnelState};
use tutti::wire::isakmp::Identification;

fn world(certificates: [Option<Certificates>; 2], key: &[u8]) -> World {
    let mut world = World::new(21, Net::perfect());
    world.certificates = certificates;
    world.start(0, key);
    world.start(1, key);
    world.run(30_000);
    world
}

#[test]
fn each_kind_of_key_authenticates_a_tunnel() {
    let authority = Authority::new("authority");
    let kinds = [
        key(&PKCS_ECDSA_P256_SHA256),
        key(&PKCS_ECDSA_P384_SHA384),
        key(&PKCS_ED25519),
        rsa_key(),
    ];
    for (n, own) in kinds.iter().enumerate() {
        let other = &kinds[(n + 1) % kinds.len()];
        let certificates = [
            Some(authority.issue(0, own, |_| {})),
            Some(authority.issue(1, other, |_| {})),
        ];
        // No key at all: it is not needed.
        let world = world(certificates, b"");
        world.assert_one_pair();
    }
}

/// What `certificate` proves to one who trusts `authority`, as a peer at 10.0.0.1.
fn judge(verifier: &Certificates, certificate: &Certificates) -> Result<(), CertificateError> {
    judge_as(verifier, certificate, &Identification::address(address(0)))
}

fn judge_as(
    verifier: &Certificates,
    certificate: &Certificates,
    id: &Identification,
) -> Result<(), CertificateError> {
    let signer = IkeCertificates::new(certificate).unwrap();
    let data = signer.sign(b"octets", &HASHES).unwrap();
    let chain: Vec<&[u8]> = certificate.chain.iter().map(Vec::as_slice).collect();
    let claim = Claim {
        chain: &chain,
        address: address(0),
        id,
        proof: Proof::Octets {
            octets: b"octets",
            data: &data,
        },
    };
    IkeCertificates::new(verifier).unwrap().verify(&claim)
}

#[test]
fn what_is_wrong_with_a_certificate_is_named() {
    let authority = Authority::new("authority");
    let verifier = authority.issue(1, &key(&PKCS_ED25519), |_| {});
    let own = key(&PKCS_ECDSA_P256_SHA256);
    let judged =
        |change: fn(&mut CertificateParams)| judge(&verifier, &authority.issue(0, &own, change));
    assert_eq!(judged(|_| {}), Ok(()));
    let ike = |p: &mut CertificateParams| {
        let oid = vec![1, 3, 6, 1, 5, 5, 7, 3, 17];
        p.extended_key_usages = vec![ExtendedKeyUsagePurpose::Other(oid)];
        p.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    };
    assert_eq!(judged(ike), Ok(()));
    let expired = judged(|p| {
        p.not_before = date_time_ymd(2020, 1, 1);
        p.not_after = date_time_ymd(2021, 2, 3);
    });
    assert_eq!(expired, Err(CertificateError::Expired("2021-02-03".into())));
    let error = expired.unwrap_err().to_string();
    assert_eq!(error, "certificate expired on 2021-02-03");
    let early = judged(|p| {
        p.not_before = date_time_ymd(2048, 1, 1);
        p.not_after = date_time_ymd(2049, 1, 1);
    });
    assert_eq!(
        early,
        Err(CertificateError::NotYetValid("2048-01-01".into()))
    );
    let server = |p: &mut CertificateParams| {
        p.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    };
    assert_eq!(judged(server), Err(CertificateError::Usage));
    let no_signatures = |p: &mut CertificateParams| {
        p.key_usages = vec![KeyUsagePurpose::KeyEncipherment];
    };
    assert_eq!(judged(no_signatures), Err(CertificateError::Usage));
    let authority_itself = |p: &mut CertificateParams| {
        p.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    };
    assert_eq!(judged(authority_itself), Err(CertificateError::Usage));
    // Trusted, but somebody else's: the other listed peer cannot pose as this one.
    let other = |p: &mut CertificateParams| {
        p.subject_alt_names = vec![SanType::IpAddress(address(1))];
    };
    assert_eq!(judged(other), Err(CertificateError::Name(address(0))));
    let nameless = |p: &mut CertificateParams| p.subject_alt_names.clear();
    assert_eq!(judged(nameless), Err(CertificateError::Name(address(0))));
    let stranger = Authority::new("authority").issue(0, &own, |_| {});
    assert_eq!(
        judge(&verifier, &stranger),
        Err(CertificateError::Untrusted)
    );
}

#[test]
fn a_name_counts_only_where_it_is_configured() {
    let authority = Authority::new("authority");
    let mut verifier = authority.issue(1, &key(&PKCS_ED25519), |_| {});
    let named = authority.issue(0, &key(&PKCS_ED25519), |p| {
        let name = "peer.example.org".try_into().unwrap();
        p.subject_alt_names = vec![SanType::DnsName(name)];
    });
    let id = Identification::name("peer.example.org");
    let wrong: Result<(), _> = Err(CertificateError::Name(address(0)));
    assert_eq!(judge_as(&verifier, &named, &id), wrong);
    let configure = |address: IpAddr, name: &str| vec![(address, name.to_owned())];
    verifier.names = configure(address(0), "peer.example.org");
    assert_eq!(judge_as(&verifier, &named, &id), Ok(()));
    assert_eq!(judge(&verifier, &named), wrong);
    verifier.names = configure(address(1), "peer.example.org");
    assert_eq!(judge_as(&verifier, &named, &id), wrong);
    verifier.names = configure(address(0), "other.example.org");
    assert_eq!(judge_as(&verifier, &named, &id), wrong);
}

#[test]
fn revocation_lists_are_obeyed_when_given() {
    let authority = Authority::new("authority");
    let mut verifier = authority.issue(1, &key(&PKCS_ED25519), |_| {});
    let peer = authority.issue(0, &key(&PKCS_ED25519), |_| {});
    verifier.revoked = vec![authority.revoke(&[7], 2049)];
    assert_eq!(judge(&verifier, &peer), Ok(()));
    verifier.revoked = vec![authority.revoke(&[7, 1], 2049)];
    assert_eq!(judge(&verifier, &peer), Err(CertificateError::Revoked));
    // Over, or another authority's: then nobody knows.
    let unknown = Err(CertificateError::RevocationUnknown);
    verifier.revoked = vec![authority.revoke(&[7], 2025)];
    assert_eq!(judge(&verifier, &peer), unknown);
    verifier.revoked = vec![Authority::new("other").revoke(&[], 2049)];
    assert_eq!(judge(&verifier, &peer), unknown);
}

#[test]
fn an_altered_or_foreign_signature_does_not_verify() {
    let authority = Authority::new("authority");
    let given = authority.issue(0, &key(&PKCS_ECDSA_P256_SHA256), |_| {});
    let certificates = IkeCertificates::new(&given).unwrap();
    let data = certificates.sign(b"octets", &HASHES).unwrap();
    let chain: Vec<&[u8]> = given.chain.iter().map(Vec::as_slice).collect();
    let verify = |chain: &[&[u8]], data: &[u8], octets: &[u8]| {
        certificates.verify(&Claim {
            chain,
            address: address(0),
            id: &Identification::address(address(0)),
            proof: Proof::Octets { octets, data },
        })
    };
    assert_eq!(verify(&chain, &data, b"octets"), Ok(()));
    let wrong = Err(CertificateError::Signature);
    assert_eq!(verify(&chain, &data, b"other"), wrong);
    for at in 0..data.len() {
        let mut altered = data.clone();
        altered[at] ^= 1;
        assert_eq!(verify(&chain, &altered, b"octets"), wrong, "byte {at}");
        assert_eq!(verify(&chain, &data[..at], b"octets"), wrong, "cut at {at}");
    }
    assert_eq!(
        verify(&[], &data, b"octets"),
        Err(CertificateError::Missing)
    );
    for at in 0..chain[0].len() {
        let mut altered = chain[0].to_vec();
        altered[at] ^= 0x20;
        assert!(verify(&[&altered], &data, b"octets").is_err(), "byte {at}");
        assert!(verify(&[&chain[0][..at]], &data, b"octets").is_err());
    }
    // Without a common hash algorithm there is no signature.
    assert_eq!(certificates.sign(b"octets", &[1, 4, 5]), None);
}

#[test]
fn a_key_of_another_certificate_is_refused_at_once() {
    let authority = Authority::new("authority");
    let mut given = authority.issue(0, &key(&PKCS_ED25519), |_| {});
    given.key = authority.issue(0, &key(&PKCS_ED25519), |_| {}).key;
    assert!(matches!(
        IkeCertificates::new(&given),
        Err(TlsError::Mismatch)
    ));
}

#[test]
fn an_expired_certificate_shows_as_such_and_keys_nothing() {
    let authority = Authority::new("authority");
    let expired = authority.issue(0, &key(&PKCS_ED25519), |p| {
        p.not_before = date_time_ymd(2020, 1, 1);
        p.not_after = date_time_ymd(2021, 2, 3);
    });
    let good = authority.issue(1, &key(&PKCS_ED25519), |_| {});
    let world = world([Some(expired), Some(good)], b"key");
    let failed = |text: &str| TunnelState::CertificateRefused(text.into());
    assert_eq!(world.state(1), failed("certificate expired on 2021-02-03"));
    assert_eq!(world.state(0), failed("the peer refused our certificate"));
    // The other side proved itself, so the first installs its SAs until it hears of the refusal.
    assert_eq!(world.installs(1), 0);
    assert_eq!(world.sas_installed_now(0), 0);
}

#[test]
fn a_peer_with_the_key_instead_of_a_certificate_keys_nothing() {
    let authority = Authority::new("authority");
    let certified = authority.issue(0, &key(&PKCS_ED25519), |_| {});
    let world = world([Some(certified), None], b"key");
    assert_eq!((world.installs(0), world.installs(1)), (0, 0));
    for side in 0..2 {
        assert!(!matches!(world.state(side), TunnelState::Up { .. }));
    }
}
