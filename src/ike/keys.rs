//! Key derivation: prf, prf+, the seven keys of an IKE SA and KEYMAT of a child SA
//! (RFC 7296 sections 2.13, 2.14, 2.17, 2.18), with PRF_HMAC_SHA2_256 throughout.

use ring::hmac;
use x25519_dalek::{PublicKey, StaticSecret};
use zeroize::Zeroizing;

/// Key bytes that are wiped when dropped.
pub type Key = Zeroizing<Vec<u8>>;

const PRF_LEN: usize = 32;
/// AES-256 key and the four-byte salt of RFC 5282.
const ENCR_LEN: usize = 36;
/// AUTH_HMAC_SHA2_256_128 key.
const AH_LEN: usize = 32;

/// The negotiated pseudo-random function.
pub fn prf(key: &[u8], parts: &[&[u8]]) -> Key {
    let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, key));
    for part in parts {
        context.update(part);
    }
    Zeroizing::new(context.sign().as_ref().to_vec())
}

/// `len` bytes of prf+ (section 2.13); `len` is a constant of ours, under 255 blocks.
pub fn prf_plus(key: &[u8], seed: &[&[u8]], len: usize) -> Key {
    let mut out = Zeroizing::new(Vec::with_capacity(len + PRF_LEN));
    let mut last = Key::default();
    let mut counter = 1u8;
    while out.len() < len {
        let count = [counter];
        let mut parts: Vec<&[u8]> = vec![&last];
        parts.extend_from_slice(seed);
        parts.push(&count);
        last = prf(key, &parts);
        out.extend_from_slice(&last);
        counter = counter.wrapping_add(1);
    }
    out.truncate(len);
    out
}

/// The keys of one IKE SA. AES-GCM needs no SK_ai and SK_ar.
pub struct SaKeys {
    d: Key,
    /// Encrypts what the initiator sends, salt last.
    pub ei: Key,
    /// Encrypts what the responder sends, salt last.
    pub er: Key,
    /// Enters the initiator's AUTH.
    pub pi: Key,
    /// Enters the responder's AUTH.
    pub pr: Key,
}

/// What both sides put into the derivation.
pub struct Seeds<'a> {
    /// The shared Diffie-Hellman secret.
    pub shared: &'a [u8],
    /// The initiator's nonce.
    pub ni: &'a [u8],
    /// The responder's nonce.
    pub nr: &'a [u8],
    /// The IKE SPIs, initiator's first.
    pub spis: (u64, u64),
}

impl SaKeys {
    /// Keys of a first IKE SA.
    pub fn initial(seeds: &Seeds<'_>) -> Self {
        let nonces = Zeroizing::new([seeds.ni, seeds.nr].concat());
        Self::expand(&prf(&nonces, &[seeds.shared]), seeds)
    }

    /// Keys of an IKE SA that replaces `self` (section 2.18).
    pub fn successor(&self, seeds: &Seeds<'_>) -> Self {
        let skeyseed = prf(&self.d, &[seeds.shared, seeds.ni, seeds.nr]);
        Self::expand(&skeyseed, seeds)
    }

    fn expand(skeyseed: &[u8], seeds: &Seeds<'_>) -> Self {
        let (spi_i, spi_r) = (seeds.spis.0.to_be_bytes(), seeds.spis.1.to_be_bytes());
        let total = 3 * PRF_LEN + 2 * ENCR_LEN;
        let material = prf_plus(skeyseed, &[seeds.ni, seeds.nr, &spi_i, &spi_r], total);
        let mut at = 0;
        let mut cut = |len: usize| {
            at += len;
            Zeroizing::new(material[at - len..at].to_vec())
        };
        Self {
            d: cut(PRF_LEN),
            ei: cut(ENCR_LEN),
            er: cut(ENCR_LEN),
            pi: cut(PRF_LEN),
            pr: cut(PRF_LEN),
        }
    }

    /// KEYMAT of a child SA without a key exchange of its own: the key of traffic from the
    /// initiator to the responder of that exchange, and the one of the other direction.
    pub fn child(&self, ni: &[u8], nr: &[u8]) -> (Key, Key) {
        let material = prf_plus(&self.d, &[ni, nr], 2 * AH_LEN);
        let (first, second) = material.split_at(AH_LEN);
        (
            Zeroizing::new(first.to_vec()),
            Zeroizing::new(second.to_vec()),
        )
    }
}

/// A private X25519 key, made for one exchange and gone with it (RFC 8031).
pub struct Exchange {
    secret: StaticSecret,
    /// The public value.
    pub public: [u8; 32],
}

impl Exchange {
    /// From 32 random bytes.
    pub fn new(random: [u8; 32]) -> Self {
        let secret = StaticSecret::from(random);
        let public = PublicKey::from(&secret).to_bytes();
        Self { secret, public }
    }

    /// The shared secret, unless the peer's value is malformed or of small order.
    pub fn agree(&self, theirs: &[u8]) -> Option<Key> {
        let theirs: [u8; 32] = theirs.try_into().ok()?;
        let shared = self.secret.diffie_hellman(&PublicKey::from(theirs));
        shared
            .was_contributory()
            .then(|| Zeroizing::new(shared.as_bytes().to_vec()))
    }
}
