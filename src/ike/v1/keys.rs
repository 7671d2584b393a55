//! Keys and encryption of an ISAKMP SA (RFC 2409 section 5 and appendix B): SKEYID and its
//! children, AES-256-CBC whose IV runs on from message to message, and the hashes.

use aes::Aes256;
use aes::cipher::{BlockModeDecrypt, BlockModeEncrypt, KeyIvInit};
use ring::digest;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::ike::keys::{Key, prf};
use crate::ike::suite::Prf;
use crate::wire::isakmp::WireError;
use crate::wire::isakmp::v1::{self, HEADER_LEN, Header, Payload};

const BLOCK_LEN: usize = 16;
const KEY_LEN: usize = 32;

/// An initialization vector.
pub type Iv = [u8; BLOCK_LEN];

/// The keys of an ISAKMP SA.
#[cfg_attr(test, derive(Clone))]
pub struct Keys {
    hash: Prf,
    /// Authenticates main mode.
    pub skeyid: Key,
    d: Key,
    a: Key,
    encryption: Zeroizing<[u8; KEY_LEN]>,
}

/// What main mode brought.
pub struct Seeds<'a> {
    /// The cookies, initiator's first.
    pub cookies: (u64, u64),
    /// The public values, initiator's first.
    pub publics: (&'a [u8], &'a [u8]),
}

impl Keys {
    /// From SKEYID (it depends on how one authenticates) and the shared secret.
    pub fn new(hash: Prf, skeyid: Key, shared: &[u8], cookies: (u64, u64)) -> Option<Self> {
        let (i, r) = (cookies.0.to_be_bytes(), cookies.1.to_be_bytes());
        let d = prf(hash, &skeyid, &[shared, &i, &r, &[0]]);
        let a = prf(hash, &skeyid, &[&d, shared, &i, &r, &[1]]);
        let e = prf(hash, &skeyid, &[&a, shared, &i, &r, &[2]]);
        // Every hash we use is at least as long as the key (appendix B).
        let encryption = Zeroizing::new(e.get(..KEY_LEN)?.try_into().ok()?);
        Some(Self {
            hash,
            skeyid,
            d,
            a,
            encryption,
        })
    }

    /// For tshark: what encrypts messages.
    pub(super) fn encryption(&self) -> &[u8] {
        self.encryption.as_ref()
    }

    /// For messages whose key is known from elsewhere.
    #[cfg(test)]
    pub(super) fn set_encryption(&mut self, key: [u8; KEY_LEN]) {
        self.encryption = Zeroizing::new(key);
    }

    /// HASH_I or HASH_R, made with `hash`: that of the SA, or one that belongs to a signature.
    pub fn authenticator(
        &self,
        hash: Prf,
        seeds: &Seeds<'_>,
        of_initiator: bool,
        sa: &[u8],
        id: &[u8],
    ) -> Key {
        let (i, r) = (seeds.cookies.0.to_be_bytes(), seeds.cookies.1.to_be_bytes());
        let (gi, gr) = seeds.publics;
        let parts = if of_initiator {
            [gi, gr, &i[..], &r[..], sa, id]
        } else {
            [gr, gi, &r[..], &i[..], sa, id]
        };
        prf(hash, &self.skeyid, &parts)
    }

    /// HASH(1), (2) or (3), or that of an Informational exchange.
    pub fn hash(&self, parts: &[&[u8]]) -> Key {
        prf(self.hash, &self.a, parts)
    }

    /// KEYMAT for one AH SA (section 5.5); `shared` only with PFS.
    pub fn keymat(&self, shared: &[u8], spi: u32, nonces: (&[u8], &[u8]), len: usize) -> Key {
        const AH: u8 = 2;
        let spi = spi.to_be_bytes();
        let mut out = Zeroizing::new(Vec::with_capacity(len + self.hash.output_len()));
        let mut last = Key::default();
        while out.len() < len {
            let parts: [&[u8]; 6] = [&last, shared, &[AH], &spi, nonces.0, nonces.1];
            last = prf(self.hash, &self.d, &parts);
            out.extend_from_slice(&last);
        }
        out.truncate(len);
        out
    }

    /// The IV that main mode begins with.
    pub fn first_iv(&self, publics: (&[u8], &[u8])) -> Iv {
        self.iv(&[publics.0, publics.1])
    }

    /// The IV of an exchange after main mode whose last block was `last`.
    pub fn exchange_iv(&self, last: &Iv, id: u32) -> Iv {
        self.iv(&[last, &id.to_be_bytes()])
    }

    fn iv(&self, parts: &[&[u8]]) -> Iv {
        let mut context = digest::Context::new(self.hash.algorithm().digest_algorithm());
        for part in parts {
            context.update(part);
        }
        let mut iv = [0; BLOCK_LEN];
        iv.copy_from_slice(&context.finish().as_ref()[..BLOCK_LEN]);
        iv
    }

    /// The datagram that carries `payloads` encrypted; `iv` becomes that of the next message.
    pub fn seal(&self, header: &Header, payloads: &[Payload], iv: &mut Iv) -> Vec<u8> {
        let mut plain = Zeroizing::new(Vec::new());
        v1::encode_chain(payloads, &mut plain);
        let len = plain.len().next_multiple_of(BLOCK_LEN);
        plain.resize(len, 0);
        let mut cbc = cbc::Encryptor::<Aes256>::new((&*self.encryption).into(), (&*iv).into());
        let (blocks, _) = plain.as_chunks_mut::<BLOCK_LEN>();
        for block in blocks {
            cbc.encrypt_block(block.into());
        }
        let mut out = Vec::with_capacity(HEADER_LEN + len);
        let first = payloads.first().map_or(v1::kind::NONE, |p| p.kind);
        header.encode(first, HEADER_LEN + len, &mut out);
        out.extend_from_slice(&plain);
        if let Some(last) = plain.last_chunk() {
            *iv = *last;
        }
        out
    }

    /// What is inside `datagram`. Not yet authentic: a hash inside tells.
    pub fn open(&self, datagram: &[u8], iv: &Iv) -> Result<Opened, WireError> {
        let (header, first) = Header::parse(datagram)?;
        let sealed = datagram.get(HEADER_LEN..).ok_or(WireError::Length)?;
        let mut plain = Zeroizing::new(sealed.to_vec());
        let next_iv = *sealed.last_chunk().ok_or(WireError::Length)?;
        let (blocks, []) = plain.as_chunks_mut::<BLOCK_LEN>() else {
            return Err(WireError::Length);
        };
        if !header.is_encrypted() {
            return Err(WireError::Length);
        }
        let mut cbc = cbc::Decryptor::<Aes256>::new((&*self.encryption).into(), iv.into());
        for block in blocks {
            cbc.decrypt_block(block.into());
        }
        let (payloads, used) = v1::parse_chain(first, &plain)?;
        plain.truncate(used);
        Ok(Opened {
            payloads,
            plain,
            next_iv,
        })
    }

    /// The datagram of a message that begins with a HASH over `prefix` and all behind it.
    pub fn seal_hashed(
        &self,
        header: &Header,
        prefix: &[&[u8]],
        payloads: Vec<Payload>,
        iv: &mut Iv,
    ) -> Vec<u8> {
        let mut rest = Vec::new();
        v1::encode_chain(&payloads, &mut rest);
        let mut parts = prefix.to_vec();
        parts.push(&rest);
        let hash = self.hash(&parts);
        let mut all = vec![Payload::new(v1::kind::HASH, hash.to_vec())];
        all.extend(payloads);
        self.seal(header, &all, iv)
    }

    /// Opens a message that begins with a HASH over `prefix` and all behind it, if that is right.
    pub fn open_hashed(&self, datagram: &[u8], prefix: &[&[u8]], iv: &Iv) -> Option<Opened> {
        let opened = self.open(datagram, iv).ok()?;
        let (hash, rest) = opened.hashed()?;
        let mut parts = prefix.to_vec();
        parts.push(rest);
        let expected = self.hash(&parts);
        bool::from(expected.as_slice().ct_eq(hash)).then_some(opened)
    }
}

/// A decrypted message.
pub struct Opened {
    /// Its payloads.
    pub payloads: Vec<Payload>,
    plain: Zeroizing<Vec<u8>>,
    /// The IV of the next message of the exchange.
    pub next_iv: Iv,
}

impl Opened {
    /// The first payload if it is a hash, and all bytes behind it, which it covers.
    pub fn hashed(&self) -> Option<(&[u8], &[u8])> {
        let first = self.payloads.first().filter(|p| p.kind == v1::kind::HASH)?;
        Some((&first.body, self.plain.get(4 + first.body.len()..)?))
    }

    /// The only payload of a kind; `None` if there is none or more than one.
    pub fn one(&self, kind: u8) -> Option<&[u8]> {
        one(&self.payloads, kind)
    }
}

/// The only payload of a kind; `None` if there is none or more than one.
pub fn one(payloads: &[Payload], kind: u8) -> Option<&[u8]> {
    let mut found = payloads.iter().filter(|p| p.kind == kind);
    let body = found.next()?;
    found.next().is_none().then_some(&body.body)
}

/// SKEYID with a pre-shared key.
pub fn skeyid(hash: Prf, key: &[u8], ni: &[u8], nr: &[u8]) -> Key {
    prf(hash, key, &[ni, nr])
}

/// SKEYID with signatures; `shared` is the secret of the key exchange.
pub fn signed_skeyid(hash: Prf, ni: &[u8], nr: &[u8], shared: &[u8]) -> Key {
    prf(hash, &[ni, nr].concat(), &[shared])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ike::vectors::{hex, lines};

    #[test]
    fn derivation_agrees_with_a_second_implementation() {
        let mut seen = 0;
        for fields in lines(include_str!("../../../tests/vectors/ikev1-kdf.txt")) {
            let hash = match fields[0] {
                "sha256" => Prf::Sha256,
                "sha384" => Prf::Sha384,
                _ => Prf::Sha512,
            };
            let values: Vec<Vec<u8>> = fields[1..].iter().map(|field| hex(field)).collect();
            let [
                key,
                ni,
                nr,
                shared,
                cky_i,
                cky_r,
                spi,
                qm_shared,
                qm_ni,
                qm_nr,
                wanted @ ..,
            ] = values.as_slice()
            else {
                panic!("a line is short");
            };
            let number = |bytes: &[u8]| bytes.iter().fold(0, |n, b| n << 8 | u64::from(*b));
            let cookies = (number(cky_i), number(cky_r));
            let first = skeyid(hash, key, ni, nr);
            let keys = Keys::new(hash, first, shared, cookies).unwrap();
            let signed = signed_skeyid(hash, ni, nr, shared);
            let keymat =
                |shared: &[u8]| keys.keymat(shared, number(spi) as u32, (qm_ni, qm_nr), 64);
            let found: [&[u8]; 7] = [
                &keys.skeyid,
                &keys.d,
                &keys.a,
                keys.encryption(),
                &signed,
                &keymat(qm_shared),
                &keymat(&[]),
            ];
            for (n, (found, wanted)) in found.into_iter().zip(wanted).enumerate() {
                // Of SKEYID_e the beginning is the key.
                assert_eq!(found, &wanted[..found.len()], "{} value {n}", fields[0]);
            }
            assert_eq!(wanted.len(), 7);
            seen += 1;
        }
        assert_eq!(seen, 3);
    }

    /// Some of NIST's cases whose values are whole octets, by the key and by signatures.
    #[test]
    fn derivation_agrees_with_nist() {
        let mut seen = [0, 0];
        for fields in lines(include_str!("../../../tests/vectors/nist-ikev1.txt")) {
            let hash = match fields[0] {
                "sha256" => Prf::Sha256,
                "sha384" => Prf::Sha384,
                _ => Prf::Sha512,
            };
            let value = |n: usize| hex(fields[n]);
            let cookie = |n: usize| u64::from_str_radix(fields[n], 16).expect("a cookie");
            let (ni, nr, shared) = (value(3), value(4), value(5));
            let first = match fields[1] {
                "psk" => skeyid(hash, &value(2), &ni, &nr),
                _ => signed_skeyid(hash, &ni, &nr, &shared),
            };
            seen[usize::from(fields[1] == "psk")] += 1;
            let keys = Keys::new(hash, first, &shared, (cookie(6), cookie(7))).unwrap();
            assert_eq!(keys.skeyid[..], value(8));
            assert_eq!(keys.d[..], value(9));
            assert_eq!(keys.a[..], value(10));
            assert_eq!(keys.encryption(), &value(11)[..KEY_LEN]);
        }
        assert_eq!(seen, [6, 6]);
    }
}
