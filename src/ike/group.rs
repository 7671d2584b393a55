//! Key exchanges: a private key made for one exchange and gone with it.
//!
//! MODP groups (RFC 3526), P-256 and P-384 (RFC 5903), X25519 (RFC 8031), and ML-KEM-768
//! (FIPS 203). All arithmetic on secrets takes constant time.

mod comb;

use std::sync::OnceLock;

use crypto_bigint::modular::{FixedMontyForm, FixedMontyParams};
use crypto_bigint::{Odd, U512, Uint};
use ml_kem::kem::{Decapsulate, KeyExport};
use ml_kem::{DecapsulationKey768, EncapsulationKey768, Seed};
use p256::elliptic_curve::sec1::ToSec1Point;
use zeroize::Zeroizing;

use super::Random;
use super::keys::Key;
use super::suite::Group;
use comb::Comb;

// 2^n - 2^(n-64) - 1 + 2^64 * ([2^(n-130) pi] + k), RFC 3526 sections 3 to 5.
const P2048: Uint<32> = Uint::from_be_hex(concat!(
    "ffffffffffffffffc90fdaa22168c234c4c6628b80dc1cd129024e088a67cc74020bbea63b139b22514a",
    "08798e3404ddef9519b3cd3a431b302b0a6df25f14374fe1356d6d51c245e485b576625e7ec6f44c42e9",
    "a637ed6b0bff5cb6f406b7edee386bfb5a899fa5ae9f24117c4b1fe649286651ece45b3dc2007cb8a163",
    "bf0598da48361c55d39a69163fa8fd24cf5f83655d23dca3ad961c62f356208552bb9ed529077096966d",
    "670c354e4abc9804f1746c08ca18217c32905e462e36ce3be39e772c180e86039b2783a2ec07a28fb5c5",
    "5df06f4c52c9de2bcbf6955817183995497cea956ae515d2261898fa051015728e5a8aacaa68ffffffff",
    "ffffffff",
));
const P3072: Uint<48> = Uint::from_be_hex(concat!(
    "ffffffffffffffffc90fdaa22168c234c4c6628b80dc1cd129024e088a67cc74020bbea63b139b22514a",
    "08798e3404ddef9519b3cd3a431b302b0a6df25f14374fe1356d6d51c245e485b576625e7ec6f44c42e9",
    "a637ed6b0bff5cb6f406b7edee386bfb5a899fa5ae9f24117c4b1fe649286651ece45b3dc2007cb8a163",
    "bf0598da48361c55d39a69163fa8fd24cf5f83655d23dca3ad961c62f356208552bb9ed529077096966d",
    "670c354e4abc9804f1746c08ca18217c32905e462e36ce3be39e772c180e86039b2783a2ec07a28fb5c5",
    "5df06f4c52c9de2bcbf6955817183995497cea956ae515d2261898fa051015728e5a8aaac42dad33170d",
    "04507a33a85521abdf1cba64ecfb850458dbef0a8aea71575d060c7db3970f85a6e1e4c7abf5ae8cdb09",
    "33d71e8c94e04a25619dcee3d2261ad2ee6bf12ffa06d98a0864d87602733ec86a64521f2b18177b200c",
    "bbe117577a615d6c770988c0bad946e208e24fa074e5ab3143db5bfce0fd108e4b82d120a93ad2caffff",
    "ffffffffffff",
));
const P4096: Uint<64> = Uint::from_be_hex(concat!(
    "ffffffffffffffffc90fdaa22168c234c4c6628b80dc1cd129024e088a67cc74020bbea63b139b22514a",
    "08798e3404ddef9519b3cd3a431b302b0a6df25f14374fe1356d6d51c245e485b576625e7ec6f44c42e9",
    "a637ed6b0bff5cb6f406b7edee386bfb5a899fa5ae9f24117c4b1fe649286651ece45b3dc2007cb8a163",
    "bf0598da48361c55d39a69163fa8fd24cf5f83655d23dca3ad961c62f356208552bb9ed529077096966d",
    "670c354e4abc9804f1746c08ca18217c32905e462e36ce3be39e772c180e86039b2783a2ec07a28fb5c5",
    "5df06f4c52c9de2bcbf6955817183995497cea956ae515d2261898fa051015728e5a8aaac42dad33170d",
    "04507a33a85521abdf1cba64ecfb850458dbef0a8aea71575d060c7db3970f85a6e1e4c7abf5ae8cdb09",
    "33d71e8c94e04a25619dcee3d2261ad2ee6bf12ffa06d98a0864d87602733ec86a64521f2b18177b200c",
    "bbe117577a615d6c770988c0bad946e208e24fa074e5ab3143db5bfce0fd108e4b82d120a92108011a72",
    "3c12a787e6d788719a10bdba5b2699c327186af4e23c1a946834b6150bda2583e9ca2ad44ce8dbbbc2db",
    "04de8ef92e8efc141fbecaa6287c59474e6bc05d99b2964fa090c3a2233ba186515be7ed1f612970cee2",
    "d7afb81bdd762170481cd0069127d5b05aa993b4ea988d8fddc186ffb7dc90a6c08f4df435c934063199",
    "ffffffffffffffff",
));

/// Octets of a private exponent: more than twice the strength of the largest group
/// (RFC 3526 section 8).
const EXPONENT_LEN: usize = 64;
/// Octets of an ML-KEM-768 seed, encapsulation key and ciphertext (FIPS 203 section 8).
const SEED_LEN: usize = 64;

#[cfg_attr(test, derive(Clone))]
enum Private {
    X25519(x25519_dalek::StaticSecret),
    P256(p256::SecretKey),
    P384(p384::SecretKey),
    Modp(Zeroizing<[u8; EXPONENT_LEN]>),
}

/// Our side of one Diffie-Hellman exchange.
#[cfg_attr(test, derive(Clone))]
pub struct Exchange {
    /// The group.
    pub group: Group,
    private: Private,
    /// The public value as it stands in a KE payload.
    pub public: Vec<u8>,
}

impl Exchange {
    /// A new private key.
    pub fn new(group: Group, random: &mut dyn Random) -> Self {
        loop {
            let mut bytes = Zeroizing::new([0; EXPONENT_LEN]);
            let bytes = &mut bytes[..private_len(group)];
            random.fill(bytes);
            // Refused only for scalars outside the curve's order: once in 2^32 draws.
            if let Some(exchange) = Self::from_private(group, bytes) {
                return exchange;
            }
        }
    }

    fn from_private(group: Group, bytes: &[u8]) -> Option<Self> {
        let (private, public) = match group {
            Group::X25519 => {
                let bytes: Zeroizing<[u8; 32]> = Zeroizing::new(bytes.try_into().ok()?);
                let secret = x25519_dalek::StaticSecret::from(*bytes);
                let public = x25519_dalek::PublicKey::from(&secret);
                (Private::X25519(secret), public.as_bytes().to_vec())
            }
            Group::P256 => {
                let secret = p256::SecretKey::from_slice(bytes).ok()?;
                let point = secret.public_key().to_sec1_point(false);
                (Private::P256(secret), point.as_bytes()[1..].to_vec())
            }
            Group::P384 => {
                let secret = p384::SecretKey::from_slice(bytes).ok()?;
                let point = secret.public_key().to_sec1_point(false);
                (Private::P384(secret), point.as_bytes()[1..].to_vec())
            }
            Group::Modp2048 | Group::Modp3072 | Group::Modp4096 => {
                let exponent = Zeroizing::new(bytes.try_into().ok()?);
                let public = modp(group, None, &exponent)?;
                (Private::Modp(exponent), public.to_vec())
            }
        };
        Some(Self {
            group,
            private,
            public,
        })
    }

    /// The shared secret, unless the peer's value is malformed, off the curve or of small order
    /// (RFC 6989 section 2).
    pub fn agree(&self, theirs: &[u8]) -> Option<Key> {
        match &self.private {
            Private::X25519(secret) => {
                let theirs: [u8; 32] = theirs.try_into().ok()?;
                let shared = secret.diffie_hellman(&theirs.into());
                shared
                    .was_contributory()
                    .then(|| Zeroizing::new(shared.as_bytes().to_vec()))
            }
            Private::P256(secret) => {
                let theirs = p256::PublicKey::from_sec1_bytes(&uncompressed(theirs, 64)?).ok()?;
                let shared =
                    p256::ecdh::diffie_hellman(secret.to_nonzero_scalar(), theirs.as_affine());
                Some(Zeroizing::new(shared.raw_secret_bytes().to_vec()))
            }
            Private::P384(secret) => {
                let theirs = p384::PublicKey::from_sec1_bytes(&uncompressed(theirs, 96)?).ok()?;
                let shared =
                    p384::ecdh::diffie_hellman(secret.to_nonzero_scalar(), theirs.as_affine());
                Some(Zeroizing::new(shared.raw_secret_bytes().to_vec()))
            }
            Private::Modp(exponent) => modp(self.group, Some(theirs), exponent),
        }
    }
}

fn private_len(group: Group) -> usize {
    match group {
        Group::X25519 | Group::P256 => 32,
        Group::P384 => 48,
        Group::Modp2048 | Group::Modp3072 | Group::Modp4096 => EXPONENT_LEN,
    }
}

/// Both coordinates (RFC 5903 section 7) with the octet that SEC 1 puts before them.
fn uncompressed(point: &[u8], len: usize) -> Option<Vec<u8>> {
    (point.len() == len).then(|| [&[4], point].concat())
}

fn modp(group: Group, base: Option<&[u8]>, exponent: &[u8; EXPONENT_LEN]) -> Option<Key> {
    static COMBS: (OnceLock<Comb<32>>, OnceLock<Comb<48>>, OnceLock<Comb<64>>) =
        (OnceLock::new(), OnceLock::new(), OnceLock::new());
    match group {
        Group::Modp2048 => power((&P2048, &COMBS.0), base, exponent),
        Group::Modp3072 => power((&P3072, &COMBS.1), base, exponent),
        Group::Modp4096 => power((&P4096, &COMBS.2), base, exponent),
        _ => None,
    }
}

/// `base` (the generator 2 if none) to the power of `exponent`, as long as the modulus;
/// `None` if `base` is not between 1 and the modulus minus 1, both excluded.
fn power<const LIMBS: usize>(
    (prime, comb): (&Uint<LIMBS>, &OnceLock<Comb<LIMBS>>),
    base: Option<&[u8]>,
    exponent: &[u8; EXPONENT_LEN],
) -> Option<Key> {
    let params = || {
        Some(FixedMontyParams::new_vartime(Option::from(Odd::new(
            *prime,
        ))?))
    };
    let exponent = Zeroizing::new(U512::from_be_slice(exponent));
    let result = match base {
        None => {
            let params = params()?;
            let comb = comb.get_or_init(|| Comb::new(&Uint::from_u8(2), params));
            comb.power(&exponent)
        }
        Some(bytes) if bytes.len() == LIMBS * 8 => {
            let base = Uint::from_be_slice(bytes);
            // A public value: its comparison need not take constant time.
            if base <= Uint::ONE || base >= prime.wrapping_sub(&Uint::ONE) {
                return None;
            }
            let form = FixedMontyForm::new(&base, &params()?);
            Zeroizing::new(form.pow(&exponent).retrieve())
        }
        Some(_) => return None,
    };
    Some(Zeroizing::new(result.to_be_bytes().as_ref().to_vec()))
}

/// The modulus of a MODP group.
#[cfg(test)]
pub(super) fn modulus(group: Group) -> Vec<u8> {
    match group {
        Group::Modp2048 => P2048.to_be_bytes().as_ref().to_vec(),
        Group::Modp3072 => P3072.to_be_bytes().as_ref().to_vec(),
        _ => P4096.to_be_bytes().as_ref().to_vec(),
    }
}

/// The initiator's side of an ML-KEM-768 exchange.
#[cfg_attr(test, derive(Clone))]
pub struct Decapsulation {
    key: DecapsulationKey768,
    /// The encapsulation key as it stands in a KE payload, 1,184 octets.
    pub public: Vec<u8>,
}

impl Decapsulation {
    /// A new key pair.
    pub fn new(random: &mut dyn Random) -> Self {
        let mut seed = Zeroizing::new([0; SEED_LEN]);
        random.fill(seed.as_mut());
        let key = DecapsulationKey768::from_seed(Seed::from(*seed));
        let public = key.encapsulation_key().to_bytes().to_vec();
        Self { key, public }
    }

    /// The shared secret, unless `ciphertext` has the wrong length. A forged ciphertext gives a
    /// secret that nobody shares (FIPS 203 section 6.3).
    pub fn open(&self, ciphertext: &[u8]) -> Option<Key> {
        let shared = self.key.decapsulate_slice(ciphertext).ok()?;
        Some(Zeroizing::new(shared.to_vec()))
    }
}

/// The responder's side of an ML-KEM-768 exchange: ciphertext and shared secret, unless the
/// encapsulation key is malformed (FIPS 203 section 7.2).
pub fn encapsulate(public: &[u8], random: &mut dyn Random) -> Option<(Vec<u8>, Key)> {
    let key = EncapsulationKey768::new(&public.try_into().ok()?).ok()?;
    let mut message = Zeroizing::new([0; 32]);
    random.fill(message.as_mut());
    let (ciphertext, shared) = key.encapsulate_deterministic(&(*message).into());
    Some((ciphertext.to_vec(), Zeroizing::new(shared.to_vec())))
}
