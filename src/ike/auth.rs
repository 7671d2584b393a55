//! Authentication with a shared key (RFC 7296 section 2.15).

use subtle::ConstantTimeEq;

use super::keys::{Key, prf};
use super::suite::Prf;
use crate::wire::isakmp::{Auth, Identification, auth::SHARED_KEY};

const KEY_PAD: &[u8] = b"Key Pad for IKEv2";

/// What one side signs.
pub struct Signed<'a> {
    /// The PRF of the IKE SA.
    pub prf: Prf,
    /// Its own IKE_SA_INIT message, whole.
    pub message: &'a [u8],
    /// The other side's nonce.
    pub nonce: &'a [u8],
    /// Its own SK_p.
    pub sk_p: &'a [u8],
    /// Its own identity.
    pub id: &'a Identification,
    /// What authenticates the IKE_INTERMEDIATE exchanges; empty without (RFC 9242).
    pub int_auth: &'a [u8],
}

impl Signed<'_> {
    fn mic(&self, key: &[u8]) -> Key {
        let mut id = Vec::new();
        self.id.encode(&mut id);
        let maced_id = prf(self.prf, self.sk_p, &[&id]);
        prf(
            self.prf,
            &prf(self.prf, key, &[KEY_PAD]),
            &[self.message, self.nonce, &maced_id, self.int_auth],
        )
    }

    /// The AUTH payload.
    pub fn prove(&self, key: &[u8]) -> Auth {
        Auth {
            method: SHARED_KEY,
            data: self.mic(key).to_vec(),
        }
    }

    /// Whether `auth` proves that the sender has `key`; in constant time.
    pub fn verify(&self, key: &[u8], auth: &Auth) -> bool {
        let expected = self.mic(key);
        auth.method == SHARED_KEY && bool::from(expected.as_slice().ct_eq(&auth.data))
    }
}
