//! Sealing and opening of encrypted payloads (RFC 7296 section 3.14): AES-256-GCM with a 16-octet
//! ICV (RFC 5282), or AES-256-CBC (RFC 3602) with an HMAC over the whole message.

use aes::Aes256;
use aes::cipher::{BlockModeDecrypt, BlockModeEncrypt, KeyIvInit};
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use ring::hmac;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::keys;
use super::suite::{Encryption, Integrity};
use crate::wire::isakmp::{Encrypted, Header, Message, Payload, WireError, header, payload};

const KEY_LEN: usize = 32;
const SALT_LEN: usize = 4;
const GCM_IV_LEN: usize = 8;
const GCM_ICV_LEN: usize = 16;
const BLOCK_LEN: usize = 16;
const GENERIC_HEADER_LEN: usize = 4;
/// Makes IVs from a counter; its own key, so that an IV tells nothing of the traffic key.
const IV_LABEL: &[u8] = b"IV of AES-CBC in ISAKMP";

/// Why an encrypted message is of no use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// Not made with our keys, or altered: drop it without a word.
    #[error("the message is not authentic")]
    Forged,
    /// Authentic, but what is inside does not parse.
    #[error(transparent)]
    Content(#[from] WireError),
}

enum Algorithm {
    Gcm {
        key: LessSafeKey,
        salt: [u8; SALT_LEN],
    },
    Cbc {
        key: Zeroizing<[u8; KEY_LEN]>,
        mac: hmac::Key,
        ivs: hmac::Key,
        integrity: Integrity,
    },
}

/// One direction's keys of an IKE SA.
pub struct Cipher {
    algorithm: Algorithm,
    next_iv: u64,
}

impl Cipher {
    /// From keys as derived; `None` if they have the wrong length.
    pub fn new(encryption: Encryption, (key, mac): (&[u8], &[u8])) -> Option<Self> {
        if !keys::fits(encryption, key, mac) {
            return None;
        }
        let algorithm = match encryption {
            Encryption::AesGcm256 => {
                let (key, salt) = key.split_at_checked(KEY_LEN)?;
                Algorithm::Gcm {
                    key: LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key).ok()?),
                    salt: salt.try_into().ok()?,
                }
            }
            Encryption::AesCbc256(integrity) => {
                let base = hmac::Key::new(hmac::HMAC_SHA256, key);
                let ivs = hmac::sign(&base, IV_LABEL);
                Algorithm::Cbc {
                    key: Zeroizing::new(key.try_into().ok()?),
                    mac: hmac::Key::new(integrity.hash().algorithm(), mac),
                    ivs: hmac::Key::new(hmac::HMAC_SHA256, ivs.as_ref()),
                    integrity,
                }
            }
        };
        Some(Self {
            algorithm,
            next_iv: 0,
        })
    }

    /// Octets of padding and pad length behind `len` octets of payloads.
    fn padding(&self, len: usize) -> usize {
        match self.algorithm {
            Algorithm::Gcm { .. } => 1,
            Algorithm::Cbc { .. } => BLOCK_LEN - len % BLOCK_LEN,
        }
    }

    /// Octets that sealing adds to `len` octets of payloads, without any header.
    fn overhead(&self, len: usize) -> usize {
        self.padding(len)
            + match &self.algorithm {
                Algorithm::Gcm { .. } => GCM_IV_LEN + GCM_ICV_LEN,
                Algorithm::Cbc { integrity, .. } => BLOCK_LEN + integrity.icv_len(),
            }
    }

    /// The datagram that carries `payloads` encrypted.
    pub fn seal(&mut self, header: Header, payloads: &[Payload]) -> Vec<u8> {
        let mut inner = Zeroizing::new(Vec::new());
        payload::encode_chain(payloads, &mut inner);
        let total = header::LEN + GENERIC_HEADER_LEN + inner.len() + self.overhead(inner.len());
        let mut out = Vec::with_capacity(total);
        header.encode(payload::ENCRYPTED, total, &mut out);
        let length = ((total - header::LEN) as u16).to_be_bytes();
        out.extend_from_slice(&[payload::first_kind(payloads), 0, length[0], length[1]]);
        self.append(out, inner)
    }

    /// Appends IV, ciphertext and ICV to the headers in `out`, which they authenticate.
    fn append(&mut self, mut out: Vec<u8>, mut inner: Zeroizing<Vec<u8>>) -> Vec<u8> {
        let len = inner.len();
        let padding = self.padding(len) - 1;
        inner.resize(len + padding, 0);
        inner.push(padding as u8);
        // A counter is unique per key by construction (RFC 5282 section 3.1).
        let counter = self.next_iv.to_be_bytes();
        self.next_iv += 1;
        match &self.algorithm {
            Algorithm::Gcm { key, salt } => {
                let nonce = nonce(*salt, counter);
                let tag = key.seal_in_place_separate_tag(nonce, Aad::from(&out), &mut inner);
                // Sealing fails only beyond 64 GiB; an empty datagram is then dropped unread.
                let Ok(tag) = tag else { return Vec::new() };
                out.extend_from_slice(&counter);
                out.extend_from_slice(&inner);
                out.extend_from_slice(tag.as_ref());
            }
            Algorithm::Cbc {
                key,
                mac,
                ivs,
                integrity,
            } => {
                // Unpredictable to all who lack the key (RFC 3602 section 3).
                let iv = hmac::sign(ivs, &counter);
                let mut iv_bytes = [0; BLOCK_LEN];
                iv_bytes.copy_from_slice(&iv.as_ref()[..BLOCK_LEN]);
                let mut cbc = cbc::Encryptor::<Aes256>::new((&**key).into(), &iv_bytes.into());
                let (blocks, _) = inner.as_chunks_mut::<BLOCK_LEN>();
                for block in blocks {
                    cbc.encrypt_block(block.into());
                }
                out.extend_from_slice(&iv_bytes);
                out.extend_from_slice(&inner);
                let icv = hmac::sign(mac, &out);
                out.extend_from_slice(&icv.as_ref()[..integrity.icv_len()]);
            }
        }
        out
    }

    /// The payloads inside `datagram`, whose parsed form is `message`.
    pub fn open(&self, datagram: &[u8], message: &Message) -> Result<Vec<Payload>, OpenError> {
        let [Payload::Encrypted(Encrypted { first, body })] = message.payloads.as_slice() else {
            return Err(OpenError::Forged);
        };
        let plain = self.decrypt(datagram, body.len())?;
        Ok(payload::parse_chain(*first, &plain)?)
    }

    /// Decrypts the last `len` octets of `datagram`; all before them is authenticated with them.
    fn decrypt(&self, datagram: &[u8], len: usize) -> Result<Zeroizing<Vec<u8>>, OpenError> {
        let at = datagram.len().checked_sub(len).ok_or(OpenError::Forged)?;
        let (front, body) = datagram.split_at(at);
        let mut plain = match &self.algorithm {
            Algorithm::Gcm { key, salt } => {
                let (iv, sealed) = body.split_first_chunk().ok_or(OpenError::Forged)?;
                let mut sealed = Zeroizing::new(sealed.to_vec());
                let len = key
                    .open_in_place(nonce(*salt, *iv), Aad::from(front), &mut sealed)
                    .map_err(|_| OpenError::Forged)?
                    .len();
                sealed.truncate(len);
                sealed
            }
            Algorithm::Cbc {
                key,
                mac,
                integrity,
                ..
            } => {
                let covered = datagram.len().checked_sub(integrity.icv_len());
                let (covered, icv) = datagram.split_at(covered.ok_or(OpenError::Forged)?);
                let expected = hmac::sign(mac, covered);
                let same = expected.as_ref()[..integrity.icv_len()].ct_eq(icv);
                let blocks = covered.get(at..).ok_or(OpenError::Forged)?;
                if !bool::from(same) {
                    return Err(OpenError::Forged);
                }
                let (iv, sealed) = blocks
                    .split_first_chunk::<BLOCK_LEN>()
                    .ok_or(WireError::Length)?;
                let mut sealed = Zeroizing::new(sealed.to_vec());
                let mut cbc = cbc::Decryptor::<Aes256>::new((&**key).into(), iv.into());
                let (blocks, []) = sealed.as_chunks_mut::<BLOCK_LEN>() else {
                    return Err(WireError::Length.into());
                };
                for block in blocks {
                    cbc.decrypt_block(block.into());
                }
                sealed
            }
        };
        let pad = plain.pop().ok_or(WireError::Length)?;
        let end = plain.len().checked_sub(usize::from(pad));
        plain.truncate(end.ok_or(WireError::Length)?);
        Ok(plain)
    }
}

fn nonce(salt: [u8; SALT_LEN], iv: [u8; GCM_IV_LEN]) -> Nonce {
    let mut nonce = [0; SALT_LEN + GCM_IV_LEN];
    nonce[..SALT_LEN].copy_from_slice(&salt);
    nonce[SALT_LEN..].copy_from_slice(&iv);
    Nonce::assume_unique_for_key(nonce)
}
