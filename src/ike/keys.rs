//! Key derivation: prf, prf+, the seven keys of an IKE SA and KEYMAT of a child SA
//! (RFC 7296 sections 2.13, 2.14, 2.17, 2.18; RFC 8784 section 3; RFC 9370 section 2.2.2).

use ring::hmac;
use zeroize::Zeroizing;

use super::suite::{Encryption, Integrity, Prf, Suite};

/// Key bytes that are wiped when dropped.
pub type Key = Zeroizing<Vec<u8>>;

/// The negotiated pseudo-random function.
pub fn prf(prf: Prf, key: &[u8], parts: &[&[u8]]) -> Key {
    let mut context = hmac::Context::with_key(&hmac::Key::new(prf.algorithm(), key));
    for part in parts {
        context.update(part);
    }
    Zeroizing::new(context.sign().as_ref().to_vec())
}

/// `len` bytes of prf+ (section 2.13); `len` follows from algorithms, far under 255 blocks.
pub fn prf_plus(function: Prf, key: &[u8], seed: &[&[u8]], len: usize) -> Key {
    let mut out = Zeroizing::new(Vec::with_capacity(len + function.output_len()));
    let mut last = Key::default();
    let mut counter = 1u8;
    while out.len() < len {
        let count = [counter];
        let mut parts: Vec<&[u8]> = vec![&last];
        parts.extend_from_slice(seed);
        parts.push(&count);
        last = prf(function, key, &parts);
        out.extend_from_slice(&last);
        counter = counter.wrapping_add(1);
    }
    out.truncate(len);
    out
}

/// The keys of one IKE SA.
#[cfg_attr(test, derive(Clone))]
pub struct SaKeys {
    prf: Prf,
    /// Whether a post-quantum pre-shared key is in them.
    mixed: bool,
    d: Key,
    /// Authenticates what the initiator sends; empty beside an AEAD.
    pub ai: Key,
    /// Authenticates what the responder sends; empty beside an AEAD.
    pub ar: Key,
    /// Encrypts what the initiator sends; GCM's salt last.
    pub ei: Key,
    /// Encrypts what the responder sends; GCM's salt last.
    pub er: Key,
    /// Enters the initiator's AUTH.
    pub pi: Key,
    /// Enters the responder's AUTH.
    pub pr: Key,
}

/// What both sides put into the derivation.
pub struct Seeds<'a> {
    /// The shared secret of the key exchange; of all of them, in order, when rekeying.
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
    pub fn initial(suite: Suite, seeds: &Seeds<'_>) -> Self {
        let nonces = Zeroizing::new([seeds.ni, seeds.nr].concat());
        Self::expand(suite, &prf(suite.prf, &nonces, &[seeds.shared]), seeds)
    }

    /// Keys of an IKE SA that replaces `self`, whose secrets of further key exchanges are `more`
    /// (section 2.18, RFC 9370 section 2.2.4).
    pub fn successor(&self, suite: Suite, seeds: &Seeds<'_>, more: &[u8]) -> Self {
        let parts = [seeds.shared, seeds.ni, seeds.nr, more];
        let skeyseed = prf(self.prf, &self.d, &parts);
        Self {
            mixed: self.mixed,
            ..Self::expand(suite, &skeyseed, seeds)
        }
    }

    /// The same IKE SA's keys after a further key exchange before authentication
    /// (RFC 9370 section 2.2.2).
    pub fn after_intermediate(&self, suite: Suite, seeds: &Seeds<'_>) -> Self {
        self.successor(suite, seeds, &[])
    }

    /// Mixes a post-quantum pre-shared key in (RFC 8784 section 3). What encrypts stays as it is.
    pub fn mix(&mut self, ppk: &[u8]) {
        self.mixed = true;
        for key in [&mut self.d, &mut self.pi, &mut self.pr] {
            *key = prf_plus(self.prf, ppk, &[&key[..]], key.len());
        }
    }

    fn expand(suite: Suite, skeyseed: &[u8], seeds: &Seeds<'_>) -> Self {
        let (spi_i, spi_r) = (seeds.spis.0.to_be_bytes(), seeds.spis.1.to_be_bytes());
        let p = suite.prf.output_len();
        let a = suite.encryption.integrity().map_or(0, Integrity::key_len);
        let e = suite.encryption.key_len();
        let seed = [seeds.ni, seeds.nr, &spi_i, &spi_r];
        let material = prf_plus(suite.prf, skeyseed, &seed, 3 * p + 2 * a + 2 * e);
        let mut at = 0;
        let mut cut = |len: usize| {
            at += len;
            Zeroizing::new(material[at - len..at].to_vec())
        };
        Self {
            prf: suite.prf,
            mixed: false,
            d: cut(p),
            ai: cut(a),
            ar: cut(a),
            ei: cut(e),
            er: cut(e),
            pi: cut(p),
            pr: cut(p),
        }
    }

    /// KEYMAT of a child SA without a key exchange of its own: the key of traffic from the
    /// initiator to the responder of that exchange, and the one of the other direction.
    pub fn child(&self, integrity: Integrity, ni: &[u8], nr: &[u8]) -> (Key, Key) {
        let len = integrity.key_len();
        let material = prf_plus(self.prf, &self.d, &[ni, nr], 2 * len);
        let (first, second) = material.split_at(len);
        (
            Zeroizing::new(first.to_vec()),
            Zeroizing::new(second.to_vec()),
        )
    }

    /// Keys of one direction's cipher: encryption, then integrity.
    pub fn direction(&self, from_initiator: bool) -> (&[u8], &[u8]) {
        if from_initiator {
            (&self.ei, &self.ai)
        } else {
            (&self.er, &self.ar)
        }
    }

    /// All of them, in the order of derivation.
    #[cfg(test)]
    pub(super) fn concat(&self) -> Vec<u8> {
        let SaKeys {
            d, ai, ar, ei, er, ..
        } = self;
        let all = [d, ai, ar, ei, er, &self.pi, &self.pr];
        all.iter().flat_map(|key| key.to_vec()).collect()
    }

    /// Whether a post-quantum pre-shared key is in them, also in those they came from.
    pub fn is_mixed(&self) -> bool {
        self.mixed
    }

    /// The PRF of this IKE SA.
    pub fn prf(&self) -> Prf {
        self.prf
    }
}

/// Whether derived material has the length an encryption algorithm takes.
pub fn fits(encryption: Encryption, key: &[u8], integrity: &[u8]) -> bool {
    key.len() == encryption.key_len()
        && integrity.len() == encryption.integrity().map_or(0, Integrity::key_len)
}
