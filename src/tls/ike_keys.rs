//! Keys of certificates for IKEv1, where signatures are over a hash that IKE makes: taken out of
//! PKCS #8 (RFC 5958) and of certificates (RFC 5280 section 4.1.2.7).

use x509_parser::asn1_rs::{Any, FromDer, Tag};
use zeroize::Zeroizing;

use crate::ike::v1::signature::{PrivateKey, PublicKey, RsaPublic};

// Object identifiers without tag and length.
const RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 1];
const EC: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1];
const P256: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7];
const P384: &[u8] = &[0x2b, 0x81, 4, 0, 0x22];

enum Kind {
    Rsa,
    P256,
    P384,
}

/// What is inside the value of this tag that `der` begins with.
fn content(der: &[u8], tag: Tag) -> Option<&[u8]> {
    let (_, any) = Any::from_der(der).ok()?;
    (any.header.tag() == tag).then_some(any.data)
}

/// The values in the sequence that `der` begins with.
fn sequence(der: &[u8]) -> Option<Vec<Any<'_>>> {
    let mut rest = content(der, Tag::Sequence)?;
    let mut values = Vec::new();
    while !rest.is_empty() {
        let (next, value) = Any::from_der(rest).ok()?;
        values.push(value);
        rest = next;
    }
    Some(values)
}

/// A number that is not negative, without the zero that may stand before it.
fn number(value: &Any<'_>) -> Vec<u8> {
    let digits = value.data.iter().skip_while(|digit| **digit == 0);
    digits.copied().collect()
}

/// The kind of key that an algorithm identifier's content names.
fn kind(algorithm: &Any<'_>) -> Option<Kind> {
    let (rest, name) = Any::from_der(algorithm.data).ok()?;
    match name.data {
        RSA => Some(Kind::Rsa),
        EC => match content(rest, Tag::Oid)? {
            P256 => Some(Kind::P256),
            P384 => Some(Kind::P384),
            _ => None,
        },
        _ => None,
    }
}

/// The private key in PKCS #8, if IKEv1 has signatures with it.
pub fn private_key(pkcs8: &[u8]) -> Option<PrivateKey> {
    let outer = sequence(pkcs8)?;
    let [_, algorithm, key, ..] = outer.as_slice() else {
        return None;
    };
    let inner = sequence(key.data)?;
    let secret = inner.get(1)?.data;
    match kind(algorithm)? {
        Kind::P256 => Some(PrivateKey::P256(
            p256::ecdsa::SigningKey::from_slice(secret).ok()?,
        )),
        Kind::P384 => Some(PrivateKey::P384(
            p384::ecdsa::SigningKey::from_slice(secret).ok()?,
        )),
        Kind::Rsa => {
            let [_, modulus, exponent, private, ..] = inner.as_slice() else {
                return None;
            };
            let public = RsaPublic {
                modulus: number(modulus),
                exponent: number(exponent),
            };
            Some(PrivateKey::Rsa(public, Zeroizing::new(number(private))))
        }
    }
}

/// The public key of a certificate, from its subject public key info.
pub fn public_key(info: &[u8]) -> Option<PublicKey> {
    let outer = sequence(info)?;
    let [algorithm, key] = outer.as_slice() else {
        return None;
    };
    // A bit string, all of whose bits are used.
    let key = key.data.strip_prefix(&[0])?;
    match kind(algorithm)? {
        Kind::P256 => Some(PublicKey::P256(
            p256::ecdsa::VerifyingKey::from_sec1_bytes(key).ok()?,
        )),
        Kind::P384 => Some(PublicKey::P384(
            p384::ecdsa::VerifyingKey::from_sec1_bytes(key).ok()?,
        )),
        Kind::Rsa => {
            let numbers = sequence(key)?;
            let [modulus, exponent] = numbers.as_slice() else {
                return None;
            };
            Some(PublicKey::Rsa(RsaPublic {
                modulus: number(modulus),
                exponent: number(exponent),
            }))
        }
    }
}
