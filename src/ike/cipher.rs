//! Sealing and opening of encrypted payloads: AES-256-GCM with a 16-octet ICV
//! (RFC 7296 section 3.14, RFC 5282).

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};

use crate::wire::isakmp::{Encrypted, Header, Message, Payload, WireError, header, payload};

const KEY_LEN: usize = 32;
const SALT_LEN: usize = 4;
const IV_LEN: usize = 8;
const ICV_LEN: usize = 16;
const GENERIC_HEADER_LEN: usize = 4;

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

/// One direction's key of an IKE SA.
pub struct Cipher {
    key: LessSafeKey,
    salt: [u8; SALT_LEN],
    next_iv: u64,
}

impl Cipher {
    /// From key and salt as derived; `None` if they have the wrong length.
    pub fn new(material: &[u8]) -> Option<Self> {
        let (key, salt) = material.split_at_checked(KEY_LEN)?;
        Some(Self {
            key: LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key).ok()?),
            salt: salt.try_into().ok()?,
            next_iv: 0,
        })
    }

    fn nonce(&self, iv: [u8; IV_LEN]) -> Nonce {
        let mut nonce = [0; SALT_LEN + IV_LEN];
        nonce[..SALT_LEN].copy_from_slice(&self.salt);
        nonce[SALT_LEN..].copy_from_slice(&iv);
        Nonce::assume_unique_for_key(nonce)
    }

    /// The datagram that carries `payloads` encrypted.
    pub fn seal(&mut self, header: Header, payloads: &[Payload]) -> Vec<u8> {
        let mut inner = Vec::new();
        payload::encode_chain(payloads, &mut inner);
        inner.push(0); // pad length: GCM needs no padding
        // A counter is unique per key by construction (RFC 5282 section 3.1).
        let iv = self.next_iv.to_be_bytes();
        self.next_iv += 1;
        let total = header::LEN + GENERIC_HEADER_LEN + IV_LEN + inner.len() + ICV_LEN;
        let mut out = Vec::with_capacity(total);
        header.encode(payload::ENCRYPTED, total, &mut out);
        let length = ((total - header::LEN) as u16).to_be_bytes();
        out.extend_from_slice(&[payload::first_kind(payloads), 0, length[0], length[1]]);
        let nonce = self.nonce(iv);
        let tag = self
            .key
            .seal_in_place_separate_tag(nonce, Aad::from(&out), &mut inner);
        out.extend_from_slice(&iv);
        // Sealing fails only beyond 64 GiB; an empty datagram would then be dropped unread.
        let Ok(tag) = tag else { return Vec::new() };
        out.extend_from_slice(&inner);
        out.extend_from_slice(tag.as_ref());
        out
    }

    /// The payloads inside `datagram`, whose parsed form is `message`.
    pub fn open(&self, datagram: &[u8], message: &Message) -> Result<Vec<Payload>, OpenError> {
        let [Payload::Encrypted(Encrypted { first, body })] = message.payloads.as_slice() else {
            return Err(OpenError::Forged);
        };
        let aad = datagram
            .get(..datagram.len().saturating_sub(body.len()))
            .ok_or(OpenError::Forged)?;
        let (iv, sealed) = body.split_first_chunk().ok_or(OpenError::Forged)?;
        let mut sealed = sealed.to_vec();
        let plain = self
            .key
            .open_in_place(self.nonce(*iv), Aad::from(aad), &mut sealed)
            .map_err(|_| OpenError::Forged)?;
        let (pad, rest) = plain.split_last().ok_or(WireError::Length)?;
        let end = rest
            .len()
            .checked_sub(usize::from(*pad))
            .ok_or(WireError::Length)?;
        Ok(payload::parse_chain(*first, &rest[..end])?)
    }
}
