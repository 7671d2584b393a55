//! The post-quantum key of a cluster (RFC 8784) as an operator types it: an identity, which is no
//! secret, and a secret of 256 bits. Whoever has recorded tunnels keeps them for the day when the
//! key exchange is broken, so it must then still be beyond guessing: a sentence will not do.

use zeroize::Zeroizing;

use super::choice::{Choice, IkeProfile};
use super::key::{self, KeyProblem};
use super::{Field, Problem};

/// Random bits that the secret needs at least (RFC 8784 section 6).
const BITS_MIN: usize = 256;
/// Longest identity, in characters.
const ID_MAX: usize = 64;
/// What a secret of hexadecimal digits begins with.
const HEX: &str = "0x";

/// A saved post-quantum key.
#[derive(Clone, PartialEq, Eq)]
pub struct Ppk {
    /// Names it, alike on all peers.
    pub id: String,
    /// As typed.
    pub secret: Zeroizing<String>,
}

/// What an operator typed: `None` leaves what is saved, an empty secret deletes both.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct PpkChange {
    /// The identity.
    pub id: Option<String>,
    /// The secret.
    pub secret: Option<Zeroizing<String>>,
}

impl Ppk {
    /// The octets of the secret: those of the text, or what its digits after `0x` stand for.
    pub fn octets(&self) -> Zeroizing<Vec<u8>> {
        Zeroizing::new(octets(&self.secret).unwrap_or_else(|| self.secret.as_bytes().to_vec()))
    }
}

/// What hexadecimal digits stand for; none if the text is not such.
fn octets(text: &str) -> Option<Vec<u8>> {
    let digits = text.strip_prefix(HEX)?.as_bytes();
    let (pairs, rest) = digits.as_chunks::<2>();
    let digit = |at: u8| char::from(at).to_digit(16);
    let octet = |[high, low]: &[u8; 2]| Some((digit(*high)? * 16 + digit(*low)?) as u8);
    let all: Option<Vec<u8>> = pairs.iter().map(octet).collect();
    all.filter(|_| rest.is_empty())
}

/// How many random bits a text can hold at most, by the kinds of characters in it.
fn bits(text: &str) -> usize {
    let digits = text.strip_prefix(HEX).unwrap_or(text);
    let counted = || digits.chars().filter(|c| !matches!(c, '-' | ':' | ' '));
    let lower = counted().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    let upper = counted().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit());
    let each = match () {
        () if counted().all(|c| c.is_ascii_hexdigit()) => 4,
        () if lower || upper => 5,
        () => 6,
    };
    each * counted().count()
}

/// Judges a typed secret.
fn check(secret: &str) -> Result<(), String> {
    if secret.starts_with(HEX) && octets(secret).is_none() {
        return Err("has something else than pairs of hexadecimal digits after 0x".into());
    }
    match key::check(secret) {
        Ok(()) | Err(KeyProblem::Short(_)) => {}
        Err(problem) => return Err(format!("{problem}")),
    }
    let bits = bits(secret);
    if bits < BITS_MIN {
        return Err(format!(
            "holds {bits} random bits at most; {BITS_MIN} are needed, as `tutti cluster \
             generate-key` makes them"
        ));
    }
    Ok(())
}

fn check_id(id: &str) -> Result<(), String> {
    let fits = |c: char| c.is_ascii_alphanumeric() || "+/-_.@".contains(c);
    if id.len() > ID_MAX || !id.chars().all(fits) {
        return Err(format!(
            "takes at most {ID_MAX} letters, digits and the signs + / - _ . @"
        ));
    }
    Ok(())
}

impl PpkChange {
    /// Deletes what is saved.
    pub fn clear() -> Self {
        Self {
            id: Some(String::new()),
            secret: Some(Zeroizing::default()),
        }
    }

    /// What is kept after this change of `old`. `peers`: whether any are entered; without them
    /// none is kept.
    pub(super) fn apply(
        &self,
        old: Option<&Ppk>,
        (profile, peers): (IkeProfile, bool),
        problems: &mut Vec<Problem>,
    ) -> Option<Ppk> {
        let mut say = |field, message: String| problems.push(Problem::new(field, message));
        let typed = self.secret.as_ref().filter(|secret| !secret.is_empty());
        if let Some(Err(problem)) = typed.map(|secret| check(secret)) {
            say(Field::PostQuantumKey, format!("this key {problem}"));
        }
        let secret = match &self.secret {
            Some(_) => typed.cloned(),
            None => old.map(|old| old.secret.clone()),
        };
        let id = match (&self.id, &secret) {
            (Some(id), _) => id.trim().to_owned(),
            (None, Some(_)) => old.map(|old| old.id.clone()).unwrap_or_default(),
            (None, None) => String::new(),
        };
        if let Err(problem) = check_id(&id) {
            say(Field::PostQuantumKeyId, problem);
        }
        let Some(secret) = secret else {
            if !id.is_empty() {
                let message = "is missing; to use none, leave its identity blank, too";
                say(Field::PostQuantumKey, message.into());
            }
            return None;
        };
        if !peers {
            if typed.is_some() {
                let message = "is used between peers; enter their addresses";
                say(Field::PostQuantumKey, message.into());
            }
            return None;
        }
        if id.is_empty() {
            let message = "is missing; it names the key, alike on each peer";
            say(Field::PostQuantumKeyId, message.into());
        }
        if profile != IkeProfile::Ikev2 {
            let words = profile.words();
            let message =
                format!("does not exist in the profile {words}; delete it, or take IKEv2");
            say(Field::PostQuantumKey, message);
        }
        Some(Ppk { id, secret })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GENERATED: &str = "c3vn-3jkq-7wzd-p9fm-x2rt-8bhy-n4va-e6us-hd5c-kg7q-ty2w-am9x-zr3b";

    fn secret(text: &str) -> PpkChange {
        PpkChange {
            id: Some("lab".into()),
            secret: Some(Zeroizing::new(text.into())),
        }
    }

    fn told(change: &PpkChange, old: Option<&Ppk>, on: (IkeProfile, bool)) -> Vec<(Field, String)> {
        let mut problems = Vec::new();
        change.apply(old, on, &mut problems);
        problems.into_iter().map(|p| (p.field, p.message)).collect()
    }

    const USED: (IkeProfile, bool) = (IkeProfile::Ikev2, true);

    #[test]
    fn a_secret_needs_256_bits_and_to_be_beyond_guessing() {
        let hex = "0x8f3a1c97e5b2d604a9c1f0738e5d2b46170c9ad8e3f5b62408d7c1a9b3e4f560";
        let base64 = "wq8Fz3LmKj5XhYt2VbN7cRd0SgA9eUoPiHlTxQyWvC1=";
        for good in [GENERATED, hex, base64] {
            assert_eq!(told(&secret(good), None, USED), []);
        }
        let half = hex.chars().take(34).collect::<String>();
        let cases = [
            (half.as_str(), "holds 128 random bits at most"),
            ("vary-9umbrella-Kilo42-tidal", "random bits at most"),
            ("short", "holds 25 random bits"),
            ("0x12345", "pairs of hexadecimal digits"),
            (&"0".repeat(80), "can be guessed"),
            (&"correct horse ".repeat(8), "can be guessed"),
        ];
        for (weak, words) in cases {
            let problems = told(&secret(weak), None, USED);
            assert_eq!(problems[0].0, Field::PostQuantumKey, "{weak}");
            assert!(problems[0].1.contains(words), "{weak}: {problems:?}");
        }
    }

    #[test]
    fn a_generated_cluster_key_is_good_for_it() {
        for seed in 0..20_u8 {
            let random = std::array::from_fn(|n| (n as u8).wrapping_mul(37) ^ seed);
            let key = key::from_random(&random);
            assert_eq!(check(&key), Ok(()), "{key}");
        }
    }

    #[test]
    fn digits_after_0x_stand_for_octets_and_other_text_for_itself() {
        let octets = |text: &str| {
            let (id, secret) = ("lab".into(), Zeroizing::new(text.into()));
            Ppk { id, secret }.octets().to_vec()
        };
        assert_eq!(octets("0x00ffA1"), [0, 255, 0xa1]);
        assert_eq!(octets("00ff"), b"00ff");
    }

    #[test]
    fn what_does_not_fit_together_is_told_beside_its_field() {
        let nameless = PpkChange {
            id: None,
            ..secret(GENERATED)
        };
        let keyless = PpkChange {
            secret: None,
            ..secret("")
        };
        let odd = PpkChange {
            id: Some("the lab".into()),
            ..secret(GENERATED)
        };
        let main_mode = (IkeProfile::MainMode, true);
        let alone = (IkeProfile::Ikev2, false);
        let cases = [
            (nameless, USED, Field::PostQuantumKeyId, "is missing"),
            (keyless, USED, Field::PostQuantumKey, "is missing"),
            (odd, USED, Field::PostQuantumKeyId, "letters, digits"),
            (
                secret(GENERATED),
                main_mode,
                Field::PostQuantumKey,
                "main mode",
            ),
            (secret(GENERATED), alone, Field::PostQuantumKey, "addresses"),
        ];
        for (change, on, field, words) in cases {
            let problems = told(&change, None, on);
            assert_eq!(problems.len(), 1, "{problems:?}");
            assert_eq!(problems[0].0, field);
            assert!(problems[0].1.contains(words), "{problems:?}");
        }
    }

    #[test]
    fn what_is_not_typed_stays_and_an_empty_secret_deletes_both() {
        let old = Ppk {
            id: "lab".into(),
            secret: Zeroizing::new(GENERATED.into()),
        };
        let apply = |change: PpkChange, peers| {
            let mut problems = Vec::new();
            let kept = change.apply(Some(&old), (IkeProfile::Ikev2, peers), &mut problems);
            assert!(problems.is_empty(), "{problems:?}");
            kept
        };
        assert!(apply(PpkChange::default(), true).as_ref() == Some(&old));
        let renamed = PpkChange {
            id: Some("office".into()),
            secret: None,
        };
        assert_eq!(apply(renamed, true).unwrap().id, "office");
        let deleted = PpkChange {
            id: None,
            secret: Some(Zeroizing::default()),
        };
        assert!(apply(deleted, true).is_none());
        assert!(apply(PpkChange::clear(), true).is_none());
        // Whoever leaves the cluster keeps none.
        assert!(apply(PpkChange::default(), false).is_none());
    }
}
