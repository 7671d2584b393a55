//! Sealing and opening of encrypted payloads (RFC 7296 section 3.14): AES-256-GCM with a 16-octet
//! ICV (RFC 5282), or AES-256-CBC (RFC 3602) with an HMAC over the whole message.

use aes::Aes256;
use aes::cipher::{BlockModeDecrypt, BlockModeEncrypt, KeyIvInit};
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use ring::hmac;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::Datagrams;
use super::fragment::{DATAGRAM_LEN, Part};
use super::keys;
use super::suite::{Encryption, Integrity};
use crate::wire::isakmp::{Encrypted, Header, Message, Payload, WireError, header, payload};

const KEY_LEN: usize = 32;
const SALT_LEN: usize = 4;
const GCM_IV_LEN: usize = 8;
const GCM_ICV_LEN: usize = 16;
const BLOCK_LEN: usize = 16;
const GENERIC_HEADER_LEN: usize = 4;
const FRAGMENT_HEADER_LEN: usize = 8;
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

/// Decrypted content.
#[cfg_attr(test, derive(Clone))]
pub(crate) struct Opened {
    /// Type of the first payload.
    pub first: u8,
    /// Second octet of the encrypted payload: critical bit and reserved ones.
    pub flags: u8,
    /// The payloads.
    pub plain: Zeroizing<Vec<u8>>,
}

/// Decrypted, but perhaps not complete.
pub(crate) enum Sealed {
    Whole(Opened),
    Part(Part),
}

impl Opened {
    pub fn payloads(&self) -> Result<Vec<Payload>, WireError> {
        payload::parse_chain(self.first, &self.plain)
    }

    /// The message that begins with `header` (28 octets) as IKE_INTERMEDIATE authenticates it:
    /// unfragmented, in plain, with lengths that count nothing else (RFC 9242 section 3.3.2).
    pub fn covered(&self, header: &[u8]) -> Zeroizing<Vec<u8>> {
        let generic = GENERIC_HEADER_LEN + self.plain.len();
        let length = ((header::LEN + generic) as u32).to_be_bytes();
        let generic = (generic as u16).to_be_bytes();
        let mut out = Zeroizing::new(Vec::with_capacity(header::LEN + 4 + self.plain.len()));
        out.extend_from_slice(header.get(..16).unwrap_or_default());
        out.push(payload::ENCRYPTED);
        out.extend_from_slice(header.get(17..24).unwrap_or_default());
        out.extend_from_slice(&length);
        out.extend_from_slice(&[self.first, self.flags, generic[0], generic[1]]);
        out.extend_from_slice(&self.plain);
        out
    }

    /// What we are about to seal, likewise.
    pub fn outgoing(header: &Header, payloads: &[Payload]) -> Zeroizing<Vec<u8>> {
        let mut plain = Zeroizing::new(Vec::new());
        payload::encode_chain(payloads, &mut plain);
        let opened = Opened {
            first: payload::first_kind(payloads),
            flags: 0,
            plain,
        };
        let mut bytes = Vec::new();
        header.encode(payload::ENCRYPTED, 0, &mut bytes);
        opened.covered(&bytes)
    }
}

#[cfg_attr(test, derive(Clone))]
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
#[cfg_attr(test, derive(Clone))]
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

    /// The datagrams that carry `payloads` encrypted: one, or with `fragment` as many as are
    /// needed for none to be longer than [`DATAGRAM_LEN`].
    pub fn seal(&mut self, header: Header, payloads: &[Payload], fragment: bool) -> Datagrams {
        let mut inner = Zeroizing::new(Vec::new());
        payload::encode_chain(payloads, &mut inner);
        self.seal_octets(header, payload::first_kind(payloads), inner, fragment)
    }

    /// The same of a chain that is encoded already and begins with a payload of the kind `first`.
    pub fn seal_octets(
        &mut self,
        header: Header,
        first: u8,
        inner: Zeroizing<Vec<u8>>,
        fragment: bool,
    ) -> Datagrams {
        let total = header::LEN + GENERIC_HEADER_LEN + inner.len() + self.overhead(inner.len());
        if fragment && total > DATAGRAM_LEN {
            return self.seal_fragments(header, first, &inner);
        }
        let mut out = Vec::with_capacity(total);
        header.encode(payload::ENCRYPTED, total, &mut out);
        let length = ((total - header::LEN) as u16).to_be_bytes();
        out.extend_from_slice(&[first, 0, length[0], length[1]]);
        vec![self.append(out, inner)]
    }

    fn seal_fragments(&mut self, header: Header, first: u8, inner: &[u8]) -> Datagrams {
        let headers = header::LEN + FRAGMENT_HEADER_LEN;
        // Whole blocks but for the octet of the pad length fit every cipher.
        let room = DATAGRAM_LEN - headers - self.overhead(BLOCK_LEN - 1) + 1;
        let chunks: Vec<&[u8]> = inner.chunks(room / BLOCK_LEN * BLOCK_LEN - 1).collect();
        let total = (chunks.len() as u16).to_be_bytes();
        let mut datagrams = Vec::with_capacity(chunks.len());
        for (number, chunk) in (1u16..).zip(chunks) {
            let len = headers + chunk.len() + self.overhead(chunk.len());
            let mut out = Vec::with_capacity(len);
            header.encode(payload::FRAGMENT, len, &mut out);
            out.extend_from_slice(&[if number == 1 { first } else { 0 }, 0]);
            out.extend_from_slice(&((len - header::LEN) as u16).to_be_bytes());
            out.extend_from_slice(&number.to_be_bytes());
            out.extend_from_slice(&total);
            datagrams.push(self.append(out, Zeroizing::new(chunk.to_vec())));
        }
        datagrams
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

    /// What is inside `datagram`, whose parsed form is `message`: a whole message or a fragment.
    pub(crate) fn open(&self, datagram: &[u8], message: &Message) -> Result<Sealed, OpenError> {
        let (first, len) = match message.payloads.as_slice() {
            [Payload::Encrypted(Encrypted { first, body })] => (*first, body.len()),
            [Payload::Fragment(fragment)] => (fragment.first, fragment.body.len()),
            _ => return Err(OpenError::Forged),
        };
        let opened = Opened {
            first,
            flags: datagram.get(header::LEN + 1).copied().unwrap_or(0),
            plain: self.decrypt(datagram, len)?,
        };
        Ok(match message.payloads.as_slice() {
            [Payload::Fragment(fragment)] => Sealed::Part(Part {
                number: fragment.number,
                total: fragment.total,
                opened,
            }),
            _ => Sealed::Whole(opened),
        })
    }

    /// The payloads of an unfragmented encrypted message.
    pub fn open_whole(
        &self,
        datagram: &[u8],
        message: &Message,
    ) -> Result<Vec<Payload>, OpenError> {
        match self.open(datagram, message)? {
            Sealed::Whole(opened) => Ok(opened.payloads()?),
            Sealed::Part(_) => Err(OpenError::Forged),
        }
    }

    /// Decrypts the last `len` octets of `datagram`; all before them is authenticated with them.
    fn decrypt(&self, datagram: &[u8], len: usize) -> Result<Zeroizing<Vec<u8>>, OpenError> {
        let mut plain = self.decrypt_padded(datagram, len)?;
        let pad = plain.pop().ok_or(WireError::Length)?;
        let end = plain.len().checked_sub(usize::from(pad));
        plain.truncate(end.ok_or(WireError::Length)?);
        Ok(plain)
    }

    /// The same with padding and its length.
    pub(super) fn decrypt_padded(
        &self,
        datagram: &[u8],
        len: usize,
    ) -> Result<Zeroizing<Vec<u8>>, OpenError> {
        let at = datagram.len().checked_sub(len).ok_or(OpenError::Forged)?;
        let (front, body) = datagram.split_at(at);
        Ok(match &self.algorithm {
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
        })
    }
}

fn nonce(salt: [u8; SALT_LEN], iv: [u8; GCM_IV_LEN]) -> Nonce {
    let mut nonce = [0; SALT_LEN + GCM_IV_LEN];
    nonce[..SALT_LEN].copy_from_slice(&salt);
    nonce[SALT_LEN..].copy_from_slice(&iv);
    Nonce::assume_unique_for_key(nonce)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::isakmp::{Notify, exchange};

    const HEADER: Header = Header {
        spi_i: 0x0101_0101_0101_0101,
        spi_r: 0x0202_0202_0202_0202,
        exchange: exchange::IKE_INTERMEDIATE,
        from_initiator: true,
        response: false,
        id: 1,
    };

    fn ciphers(encryption: Encryption) -> [Cipher; 2] {
        let mac = vec![9; encryption.integrity().map_or(0, Integrity::key_len)];
        let key = vec![5; encryption.key_len()];
        [0, 1].map(|_| Cipher::new(encryption, (&key, &mac)).unwrap())
    }

    fn payloads(len: usize) -> Vec<Payload> {
        vec![Payload::Notify(Notify::new(16_400, vec![7; len]))]
    }

    const ALL: [Encryption; 4] = [
        Encryption::AesGcm256,
        Encryption::AesCbc256(Integrity::HmacSha2_256_128),
        Encryption::AesCbc256(Integrity::HmacSha2_384_192),
        Encryption::AesCbc256(Integrity::HmacSha2_512_256),
    ];

    #[test]
    fn what_is_sealed_opens_whole_or_in_fragments_and_covers_the_same() {
        for encryption in ALL {
            let [mut seals, opens] = ciphers(encryption);
            for len in (0..40).chain(1_100..1_240).chain([4_000]) {
                let payloads = payloads(len);
                let datagrams = seals.seal(HEADER, &payloads, true);
                let mut assembly = crate::ike::fragment::Assembly::default();
                let mut opened = None;
                for datagram in &datagrams {
                    assert!(datagram.len() <= DATAGRAM_LEN);
                    let message = Message::parse(datagram).unwrap();
                    opened = match opens.open(datagram, &message).unwrap() {
                        Sealed::Whole(opened) => Some(opened),
                        Sealed::Part(part) => assembly.add(1, part),
                    };
                }
                let opened = opened.expect("all fragments");
                assert_eq!(opened.payloads().unwrap(), payloads);
                let covered = opened.covered(&datagrams[0]);
                assert_eq!(covered, Opened::outgoing(&HEADER, &payloads));
            }
        }
    }

    /// RFC 9242 section 3.3.2: lengths count neither IV, padding nor ICV.
    #[test]
    fn what_int_auth_covers_is_as_the_rfc_draws_it() {
        let expected = [
            &[1; 8][..],
            &[2; 8],
            &[46, 0x20, 43, 8, 0, 0, 0, 1, 0, 0, 0, 42],
            &[41, 0, 0, 14],
            &[0, 0, 0, 10, 0, 0, 0x40, 0x10, 7, 7],
        ];
        let covered = Opened::outgoing(&HEADER, &payloads(2));
        assert_eq!(*covered, expected.concat());
    }

    #[test]
    fn every_altered_byte_of_a_fragment_is_noticed() {
        for encryption in ALL {
            let [mut seals, opens] = ciphers(encryption);
            for datagram in seals.seal(HEADER, &payloads(1_300), true) {
                for at in 0..datagram.len() {
                    let mut changed = datagram.clone();
                    changed[at] ^= 1;
                    if let Ok(message) = Message::parse(&changed) {
                        let result = opens.open(&changed, &message);
                        assert!(matches!(result, Err(OpenError::Forged)), "byte {at}");
                    }
                }
            }
        }
    }
}
