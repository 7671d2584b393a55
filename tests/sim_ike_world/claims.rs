//! What somebody claims by certificates, altered anywhere.

use std::sync::OnceLock;

use rcgen::{PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_ED25519};
use tutti::ike::Certified;
use tutti::ike::certificate::{Claim, HASHES, Proof, Proven};
use tutti::ike::v1::signature::Scheme;
use tutti::tls::IkeCertificates;
use tutti::wire::isakmp::Identification;

use super::address;
use super::authority::{Authority, key, rsa_key};

/// HASH_I or HASH_R, or the octets of IKEv2.
const SIGNED: [u8; 32] = [7; 32];

/// What convinces as it stands.
struct Sound {
    judge: IkeCertificates,
    /// The certificate, and that of its authority, which nobody asked for.
    chain: [Vec<u8>; 2],
    /// Of IKEv2, and of IKEv1 where that has the kind of key.
    data: Vec<u8>,
    signature: Option<(Scheme, Vec<u8>)>,
}

/// One of each kind of key.
fn sound() -> &'static [Sound; 4] {
    static SOUND: OnceLock<[Sound; 4]> = OnceLock::new();
    SOUND.get_or_init(|| {
        let authority = Authority::new("authority");
        let kinds = [
            key(&PKCS_ECDSA_P256_SHA256),
            key(&PKCS_ECDSA_P384_SHA384),
            key(&PKCS_ED25519),
            rsa_key(),
        ];
        kinds.map(|key| {
            let given = authority.issue(0, &key, |_| {});
            let judge = IkeCertificates::new(&given).expect("usable certificates");
            Sound {
                chain: [given.chain[0].clone(), given.authorities[0].clone()],
                data: judge.sign(&SIGNED, &HASHES).expect("a signature"),
                signature: judge
                    .scheme()
                    .and_then(|s| Some((s, judge.sign_hash(&SIGNED)?))),
                judge,
            }
        })
    })
}

/// A claim in two octets and edits: which kind of key, whether for IKEv1, and edits of certificate,
/// the other one, identity and signature, each which of them, where and what. It holds exactly where
/// nothing was changed that counts; whether it does.
pub fn judged(input: &[u8]) -> Option<bool> {
    let (&[kind, version], edits) = input.split_first_chunk()?;
    let sound = &sound()[usize::from(kind & 3)];
    let v1 = sound.signature.as_ref().filter(|_| version & 1 == 1);
    let id = Identification::address(address(0));
    let signature = v1.map_or(&sound.data, |(_, signature)| signature);
    let [own, other] = &sound.chain;
    let whole = [own, other, &id.data, signature].map(Clone::clone);
    let mut parts = whole.clone();
    let (edits, _) = edits.as_chunks::<5>();
    for [which, how, high, low, value] in edits {
        let part = &mut parts[usize::from(which & 3)];
        let at = usize::from(u16::from_be_bytes([*high, *low])) % part.len().max(1);
        match how & 3 {
            0 => part.insert(at.min(part.len()), *value),
            1 if !part.is_empty() => drop(part.remove(at)),
            2 => part.truncate(at),
            _ if !part.is_empty() => part[at] ^= value,
            _ => {}
        }
    }
    let changed = (0..4).any(|n| n != 1 && parts[n] != whole[n]);
    let [own, other, data, signature] = &parts;
    let proof = match v1 {
        Some((scheme, _)) => Proof::Hash {
            scheme: *scheme,
            hash: &SIGNED,
            signature,
        },
        None => Proof::Octets {
            octets: &SIGNED,
            data: signature,
        },
    };
    let claim = Claim {
        chain: &[own, other],
        address: address(0),
        id: &Identification {
            kind: id.kind,
            data: data.clone(),
        },
        proof,
    };
    let proven = Proven {
        chain: vec![own.clone(), other.clone()],
        id: claim.id.clone(),
    };
    let still = sound.judge.holds(&proven, address(0));
    let same = (own, data) == (&whole[0], &whole[2]);
    assert_eq!(still.is_ok(), same, "{still:?}");
    let verdict = sound.judge.verify(&claim);
    assert_eq!(verdict.is_ok(), !changed, "{verdict:?}");
    Some(verdict.is_ok())
}
