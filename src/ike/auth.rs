//! Authentication with a shared key (RFC 7296 section 2.15) or a signature (RFC 7427).

use std::net::IpAddr;

use subtle::ConstantTimeEq;

use super::certificate::{Claim, MAX_CHAIN, Proof, Proven};
use super::exchange::Parts;
use super::keys::{Key, prf};
use super::suite::Prf;
use super::{Credentials, Refusal};
use crate::wire::isakmp::auth::{DIGITAL_SIGNATURE, SHARED_KEY};
use crate::wire::isakmp::certificate::X509_SIGNATURE;
use crate::wire::isakmp::{Auth, Certificate, Identification, Payload};

const KEY_PAD: &[u8] = b"Key Pad for IKEv2";

/// What one side signs.
pub(crate) struct Signed<'a> {
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
    /// What a signature is made over: the same octets as of the shared key's code.
    fn octets(&self) -> Vec<u8> {
        let mut id = Vec::new();
        self.id.encode(&mut id);
        let maced_id = prf(self.prf, self.sk_p, &[&id]);
        [self.message, self.nonce, &maced_id, self.int_auth].concat()
    }

    fn mic(&self, key: &[u8]) -> Key {
        let key = prf(self.prf, key, &[KEY_PAD]);
        prf(self.prf, &key, &[&self.octets()])
    }

    /// The AUTH payload, and the certificates before it. `hashes` are those the peer accepts in
    /// signatures; `None` if there is none that our certificate can use.
    pub fn prove(&self, credentials: &Credentials, hashes: &[u16]) -> Option<Vec<Payload>> {
        let Some(certified) = &credentials.certified else {
            let data = self.mic(&credentials.key).to_vec();
            return Some(vec![Payload::Auth(Auth {
                method: SHARED_KEY,
                data,
            })]);
        };
        let data = certified.sign(&self.octets(), hashes)?;
        let chain = certified.chain().iter().cloned();
        let mut payloads: Vec<_> = chain.map(|c| Payload::Cert(Certificate::x509(c))).collect();
        payloads.push(Payload::Auth(Auth {
            method: DIGITAL_SIGNATURE,
            data,
        }));
        Some(payloads)
    }

    /// Whether `auth` proves that the sender, at `address`, is who it says it is, and by which
    /// certificate; a code by the shared key is compared in constant time.
    ///
    /// # Errors
    /// Why not.
    pub fn verify(
        &self,
        credentials: &Credentials,
        address: IpAddr,
        parts: &Parts<'_>,
    ) -> Result<Option<Proven>, Refusal> {
        let auth = parts.auth.ok_or(Refusal::AuthenticationFailed)?;
        match (&credentials.certified, auth.method) {
            (None, SHARED_KEY) => {
                let named = *self.id == Identification::address(address);
                let expected = self.mic(&credentials.key);
                let same = bool::from(expected.as_slice().ct_eq(&auth.data));
                let proven = named && same;
                proven.then_some(None).ok_or(Refusal::AuthenticationFailed)
            }
            (Some(certified), DIGITAL_SIGNATURE) => {
                let x509 = parts.certs.iter().filter(|c| c.encoding == X509_SIGNATURE);
                let chain: Vec<&[u8]> = x509.take(MAX_CHAIN).map(|c| c.data.as_slice()).collect();
                let claim = Claim {
                    chain: &chain,
                    address,
                    id: self.id,
                    proof: Proof::Octets {
                        octets: &self.octets(),
                        data: &auth.data,
                    },
                };
                certified.verify(&claim)?;
                Ok(Some(Proven::of(&claim)))
            }
            _ => Err(Refusal::OtherMethod),
        }
    }
}
