//! Signatures over HASH_I and HASH_R themselves: RSA with the padding of PKCS #1 v1.5 but no
//! algorithm identifier (RFC 2409 section 5.1), ECDSA on P-256 and P-384 (RFC 4754).
//!
//! A private key is used in constant time. Whether a public key is worth anything is for
//! certificates to tell.

use crypto_bigint::modular::{FixedMontyForm, FixedMontyParams};
use crypto_bigint::{Odd, Uint};
use p256::ecdsa::signature::hazmat::{PrehashSigner, PrehashVerifier};
use zeroize::Zeroizing;

use crate::ike::keys::Key;
use crate::ike::suite::Prf;

/// How both sides of a main mode sign; its number is negotiated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// RSA with 2,048, 3,072 or 4,096 bits.
    Rsa,
    /// ECDSA with SHA-256 on P-256.
    EcdsaP256,
    /// ECDSA with SHA-384 on P-384.
    EcdsaP384,
}

impl Scheme {
    /// The authentication method (RFC 2409 appendix A, RFC 4754 section 8).
    pub fn number(self) -> u16 {
        match self {
            Scheme::Rsa => 3,
            Scheme::EcdsaP256 => 9,
            Scheme::EcdsaP384 => 10,
        }
    }

    /// What HASH_I and HASH_R are made with where `negotiated` is the hash of the SA: ECDSA has a
    /// hash of its own (RFC 2409 section 5).
    pub fn prf(self, negotiated: Prf) -> Prf {
        match self {
            Scheme::Rsa => negotiated,
            Scheme::EcdsaP256 => Prf::Sha256,
            Scheme::EcdsaP384 => Prf::Sha384,
        }
    }
}

/// A key to sign with.
pub enum PrivateKey {
    /// Modulus, public and private exponent, big-endian.
    Rsa(RsaPublic, Key),
    /// On P-256.
    P256(p256::ecdsa::SigningKey),
    /// On P-384.
    P384(p384::ecdsa::SigningKey),
}

/// An RSA key's modulus and public exponent, big-endian without leading zeros.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RsaPublic {
    /// The modulus.
    pub modulus: Vec<u8>,
    /// The exponent.
    pub exponent: Vec<u8>,
}

/// A key to verify with.
pub enum PublicKey {
    /// RSA.
    Rsa(RsaPublic),
    /// On P-256.
    P256(p256::ecdsa::VerifyingKey),
    /// On P-384.
    P384(p384::ecdsa::VerifyingKey),
}

impl PrivateKey {
    /// How it signs.
    pub fn scheme(&self) -> Scheme {
        match self {
            PrivateKey::Rsa(..) => Scheme::Rsa,
            PrivateKey::P256(_) => Scheme::EcdsaP256,
            PrivateKey::P384(_) => Scheme::EcdsaP384,
        }
    }

    /// A signature over `hash`; `None` if the key cannot be used.
    pub fn sign(&self, hash: &[u8]) -> Option<Vec<u8>> {
        match self {
            PrivateKey::Rsa(public, private) => {
                let padded = public.padded(hash)?;
                let signature = public.raw(&padded, private, private.len() * 8)?.to_vec();
                // A fault while computing would give the key away.
                public.verify(hash, &signature).then_some(signature)
            }
            PrivateKey::P256(key) => {
                let signature: p256::ecdsa::Signature = key.sign_prehash(hash).ok()?;
                Some(signature.to_bytes().to_vec())
            }
            PrivateKey::P384(key) => {
                let signature: p384::ecdsa::Signature = key.sign_prehash(hash).ok()?;
                Some(signature.to_bytes().to_vec())
            }
        }
    }
}

impl PublicKey {
    /// Which signatures it verifies.
    pub fn scheme(&self) -> Scheme {
        match self {
            PublicKey::Rsa(_) => Scheme::Rsa,
            PublicKey::P256(_) => Scheme::EcdsaP256,
            PublicKey::P384(_) => Scheme::EcdsaP384,
        }
    }

    /// Whether `signature` is one over `hash`.
    pub fn verify(&self, hash: &[u8], signature: &[u8]) -> bool {
        match self {
            PublicKey::Rsa(key) => key.verify(hash, signature),
            PublicKey::P256(key) => p256::ecdsa::Signature::from_slice(signature)
                .is_ok_and(|signature| key.verify_prehash(hash, &signature).is_ok()),
            PublicKey::P384(key) => p384::ecdsa::Signature::from_slice(signature)
                .is_ok_and(|signature| key.verify_prehash(hash, &signature).is_ok()),
        }
    }
}

impl RsaPublic {
    /// The block that is signed: every octet of it follows from `hash`, so nothing of a signature
    /// is left unlooked at (RFC 8017 section 9.2).
    fn padded(&self, hash: &[u8]) -> Option<Vec<u8>> {
        let padding = self.modulus.len().checked_sub(hash.len() + 3)?;
        let ones = vec![0xff; padding];
        (padding >= 8).then(|| [&[0, 1], &ones[..], &[0], hash].concat())
    }

    fn verify(&self, hash: &[u8], signature: &[u8]) -> bool {
        let Some(padded) = self.padded(hash) else {
            return false;
        };
        let bits = self.exponent.len() * 8;
        let opened = self.raw(signature, &self.exponent, bits);
        opened.is_some_and(|opened| *opened == padded)
    }

    /// `base` to the power of `exponent`; `None` for a modulus of another length than we do, or
    /// operands that do not fit it.
    fn raw(&self, base: &[u8], exponent: &[u8], bits: usize) -> Option<Key> {
        match self.modulus.len() {
            256 => power::<32>(&self.modulus, base, exponent, bits),
            384 => power::<48>(&self.modulus, base, exponent, bits),
            512 => power::<64>(&self.modulus, base, exponent, bits),
            _ => None,
        }
    }
}

/// Takes a time that depends on `bits` alone, not on the exponent.
fn power<const LIMBS: usize>(
    modulus: &[u8],
    base: &[u8],
    exponent: &[u8],
    bits: usize,
) -> Option<Key> {
    let len = LIMBS * 8;
    let modulus = Uint::<LIMBS>::from_be_slice(modulus);
    if base.len() != len || exponent.len() > len || modulus.leading_zeros() != 0 {
        return None;
    }
    let base = Zeroizing::new(Uint::from_be_slice(base));
    let mut wide = Zeroizing::new(vec![0; len]);
    wide[len - exponent.len()..].copy_from_slice(exponent);
    let exponent = Zeroizing::new(Uint::<LIMBS>::from_be_slice(&wide));
    if *base >= modulus {
        return None;
    }
    let params = FixedMontyParams::new_vartime(Option::from(Odd::new(modulus))?);
    let power = FixedMontyForm::new(&base, &params)
        .pow_bounded_exp(&exponent, u32::try_from(bits).ok()?)
        .retrieve();
    Some(Zeroizing::new(power.to_be_bytes().as_ref().to_vec()))
}
