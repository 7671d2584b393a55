//! Main mode with signatures (RFC 2409 section 5.1, RFC 4754): two systems key AH with each kind of
//! key, and what does not convince is named as with IKEv2 and keys nothing.

#![allow(clippy::unwrap_used)]

// Each of the tests that share it uses a part of it.
#[allow(dead_code)]
mod sim_ike_world;

use rcgen::{
    CertificateParams, ExtendedKeyUsagePurpose, KeyPair, PKCS_ECDSA_P256_SHA256,
    PKCS_ECDSA_P384_SHA384, PKCS_ED25519, SanType, date_time_ymd,
};
use sim_ike_world::authority::{Authority, key, rsa_key};
use sim_ike_world::{Net, World, address};
use tutti::ike::suite::Profile;
use tutti::tunnel::message::{Certificates, TunnelState};

fn profile(suite: &str) -> Profile {
    Profile {
        ike: vec![suite.parse().unwrap()],
        ..Profile::guide_era()
    }
}

/// Both sides with IKEv1 after half a minute.
fn world(seed: u64, suite: &str, certificates: [Option<Certificates>; 2]) -> World {
    let mut world = World::new(seed, Net::perfect());
    world.profiles = [profile(suite), profile(suite)];
    world.certificates = certificates;
    world.start(0, b"key");
    world.start(1, b"key");
    world.run(30_000);
    world
}

const SUITE: &str = "aes256-sha256-ecp256";

fn pair(authority: &Authority, key: &KeyPair) -> [Option<Certificates>; 2] {
    [0, 1].map(|side| Some(authority.issue(side, key, |_| {})))
}

fn failed(text: &str) -> TunnelState {
    TunnelState::CertificateRefused(text.into())
}

#[test]
fn each_kind_of_key_authenticates_whatever_the_hash_of_the_sa() {
    let authority = Authority::new("authority");
    let kinds = [
        key(&PKCS_ECDSA_P256_SHA256),
        key(&PKCS_ECDSA_P384_SHA384),
        rsa_key(),
    ];
    for (n, key) in kinds.iter().enumerate() {
        for hash in ["sha256", "sha384", "sha512"] {
            let suite = format!("aes256-{hash}-ecp256");
            let mut world = world(n as u64, &suite, pair(&authority, key));
            world.assert_one_pair();
            world.rekey(n % 2);
            world.run(20_000);
            world.assert_one_pair();
            assert_eq!(world.rekeys(0), (1, 1));
        }
    }
}

#[test]
fn signatures_survive_loss_duplication_and_reordering() {
    let authority = Authority::new("authority");
    let key = key(&PKCS_ECDSA_P256_SHA256);
    for seed in 0..10 {
        let mut world = World::new(seed, Net::bad());
        world.profiles = [profile(SUITE), profile(SUITE)];
        world.certificates = pair(&authority, &key);
        world.start(0, b"");
        world.start(1, b"");
        world.run_until_up(180_000);
        world.net = Net::perfect();
        world.run(60_000);
        world.assert_one_pair();
    }
}

/// What side 1 says of a certificate of side 0 that is changed so, and side 0 of the refusal.
fn judged(change: fn(&mut CertificateParams)) -> [TunnelState; 2] {
    let authority = Authority::new("authority");
    let own = key(&PKCS_ECDSA_P256_SHA256);
    let certificates = [
        Some(authority.issue(0, &own, change)),
        Some(authority.issue(1, &own, |_| {})),
    ];
    let world = world(3, SUITE, certificates);
    for side in 0..2 {
        assert_eq!(world.installs(side), 0);
    }
    [1, 0].map(|side| world.state(side))
}

#[test]
fn what_is_wrong_with_a_certificate_is_named_as_with_ikev2() {
    let refused = || failed("the peer refused our certificate");
    let expired = judged(|p| {
        p.not_before = date_time_ymd(2020, 1, 1);
        p.not_after = date_time_ymd(2021, 2, 3);
    });
    let expected = [failed("certificate expired on 2021-02-03"), refused()];
    assert_eq!(expired, expected);
    let usage = judged(|p| p.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth]);
    let expected = [
        failed("certificate not meant for IKE (key usage)"),
        refused(),
    ];
    assert_eq!(usage, expected);
    // Trusted, but somebody else's.
    let other = judged(|p| p.subject_alt_names = vec![SanType::IpAddress(address(1))]);
    let expected = [failed("certificate does not name 10.0.0.1"), refused()];
    assert_eq!(other, expected);
}

#[test]
fn a_responder_that_does_not_convince_hears_so_and_keys_nothing() {
    let (ours, strangers) = (Authority::new("ours"), Authority::new("strangers"));
    let own = key(&PKCS_ECDSA_P256_SHA256);
    let mut responder = strangers.issue(1, &own, |_| {});
    let initiator = ours.issue(0, &own, |_| {});
    // The responder trusts the initiator's authority, but not the other way round.
    responder.authorities = initiator.authorities.clone();
    let world = world(4, SUITE, [Some(initiator), Some(responder)]);
    let untrusted = failed("certificate not issued by a trusted authority");
    assert_eq!(world.state(0), untrusted);
    assert_eq!(world.state(1), failed("the peer refused our certificate"));
    assert_eq!((world.installs(0), world.installs(1)), (0, 0));
}

#[test]
fn a_revoked_certificate_is_refused() {
    let authority = Authority::new("authority");
    let own = key(&PKCS_ECDSA_P256_SHA256);
    let [revoked, mut verifier] = pair(&authority, &own).map(Option::unwrap);
    verifier.revoked = vec![authority.revoke(&[1], 2049)];
    let world = world(5, SUITE, [Some(revoked), Some(verifier)]);
    assert_eq!(world.state(1), failed("certificate revoked"));
    assert_eq!((world.installs(0), world.installs(1)), (0, 0));
}

#[test]
fn an_address_that_is_not_listed_is_told_so_if_its_certificate_convinces() {
    let (ours, strangers) = (Authority::new("ours"), Authority::new("strangers"));
    let own = key(&PKCS_ECDSA_P256_SHA256);
    let trusted = pair(&ours, &own);
    let mut untrusted = trusted.clone();
    untrusted[0] = Some(strangers.issue(0, &own, |_| {}));
    for (certificates, told) in [(trusted, true), (untrusted, false)] {
        let mut world = World::new(7, Net::perfect());
        world.profiles = [profile(SUITE), profile(SUITE)];
        world.certificates = certificates;
        world.unlisted = Some(1);
        world.start(0, b"");
        world.start(1, b"");
        world.run(30_000);
        assert_eq!(world.state(0) == TunnelState::NotListed, told);
        assert_eq!((world.installs(0), world.installs(1)), (0, 0));
    }
}

#[test]
fn the_key_is_no_way_around_certificates_and_other_kinds_of_key_are_named() {
    let authority = Authority::new("authority");
    let certified = |algorithm| Some(authority.issue(0, &key(algorithm), |_| {}));
    let method = TunnelState::Failed("different authentication".into());
    let unable = "IKEv1 has no signatures with our certificate's kind of key: \
                  it takes RSA, P-256 and P-384";
    let other = Some(authority.issue(1, &key(&PKCS_ECDSA_P384_SHA384), |_| {}));
    let cases = [
        (certified(&PKCS_ECDSA_P256_SHA256), None, method.clone()),
        (certified(&PKCS_ECDSA_P256_SHA256), other.clone(), method),
        (
            certified(&PKCS_ED25519),
            other,
            TunnelState::Failed(unable.into()),
        ),
    ];
    for (ours, theirs, said) in cases {
        let mut world = world(6, SUITE, [ours, theirs]);
        // The lower address listens only between its own attempts.
        world.run(90_000);
        assert_eq!(world.state(0), said);
        for side in 0..2 {
            assert_eq!(world.installs(side), 0);
            assert!(!matches!(world.state(side), TunnelState::Up { .. }));
        }
    }
}

/// Sizes of the six messages of an undisturbed main mode.
fn main_mode_lengths(certificates: &[Option<Certificates>; 2]) -> Vec<usize> {
    let mut world = World::new(8, Net::perfect());
    world.profiles = [profile(SUITE), profile(SUITE)];
    world.certificates = certificates.clone();
    world.record = Some(Vec::new());
    world.start(0, b"");
    world.start(1, b"");
    world.run(1_000);
    let recorded = world.record.take().unwrap();
    let main = recorded.iter().filter(|(_, bytes)| bytes[18] == 2);
    main.map(|(_, bytes)| bytes.len()).collect()
}

#[test]
fn an_altered_byte_anywhere_in_main_mode_keys_nothing_wrong_and_is_got_over() {
    let authority = Authority::new("authority");
    let certificates = pair(&authority, &key(&PKCS_ECDSA_P256_SHA256));
    let lengths = main_mode_lengths(&certificates);
    assert_eq!(lengths.len(), 6);
    for (datagram, length) in lengths.into_iter().enumerate() {
        for at in 0..length {
            let mut world = World::new((datagram * 10_000 + at) as u64, Net::perfect());
            world.profiles = [profile(SUITE), profile(SUITE)];
            world.certificates = certificates.clone();
            world.net.alter = Some((datagram, at));
            world.start(0, b"");
            world.start(1, b"");
            // Whatever is installed meanwhile fits together: the world looks after each step.
            world.run(60_000);
            world.assert_one_pair();
        }
    }
}
