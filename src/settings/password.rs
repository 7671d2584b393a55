//! Passwords as typed and as hashed: their rules, and a type that keeps them out of logs.

use std::fmt;

use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, ZeroizeOnDrop};

/// The fewest characters of a password.
pub const MIN: usize = 10;
/// The most bytes of a password.
pub const MAX: usize = 128;
/// A password must take at least this many guesses, as a power of ten.
const GUESSES_LOG10: f64 = 7.0;

/// The rules, to be said before anybody types.
pub const RULES: &str = "at least 10 characters, not easily guessed (no common words or keyboard \
                         rows alone)";

/// Text that must not reach a log: `Debug` shows nothing of it.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
#[serde(transparent)]
pub struct Password(pub String);

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(...)")
    }
}

/// Checks a typed password against [`RULES`]; `account` and host name must not make it up.
pub fn check(text: &str, account: &str) -> Result<(), String> {
    if text.chars().count() < MIN {
        return Err(format!("a password of {RULES}; this one is too short"));
    }
    if text.len() > MAX {
        return Err(format!("a password of at most {MAX} bytes"));
    }
    if text.chars().any(char::is_control) {
        return Err("a password without control characters".into());
    }
    let guesses = zxcvbn::zxcvbn(text, &[account, "tutti", "password"]).guesses_log10();
    if guesses < GUESSES_LOG10 {
        return Err(format!("a password of {RULES}; this one is easily guessed"));
    }
    Ok(())
}

/// Checks an argon2id hash in PHC string form, as the web's administrators have.
pub fn check_argon2id(text: &str) -> Result<(), String> {
    let expected = "an argon2id hash as $argon2id$v=19$m=19456,t=2,p=1$SALT$HASH";
    let fields: Vec<&str> = text.split('$').collect();
    let base64 = |text: &str, range: std::ops::RangeInclusive<usize>| {
        range.contains(&text.len())
            && text
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/'))
    };
    let ["", "argon2id", "v=19", cost, salt, hash] = fields[..] else {
        return Err(expected.into());
    };
    if !base64(salt, 11..=64) || !base64(hash, 22..=86) {
        return Err(expected.into());
    }
    let mut numbers = [0u32; 3];
    let mut costs = cost.split(',');
    for (name, number) in ["m=", "t=", "p="].into_iter().zip(&mut numbers) {
        *number = costs
            .next()
            .and_then(|c| c.strip_prefix(name))
            .filter(|digits| digits.bytes().all(|b| b.is_ascii_digit()))
            .and_then(|digits| digits.parse().ok())
            .ok_or(expected)?;
    }
    let [memory_kib, passes, lanes] = numbers;
    // Costs far beyond these would let one login occupy the whole machine.
    let bounded = (8..=262_144).contains(&memory_kib)
        && (1..=64).contains(&passes)
        && (1..=16).contains(&lanes);
    if costs.next().is_some() || !bounded {
        return Err(format!(
            "{expected}, m at most 262144, t at most 64, p at most 16"
        ));
    }
    Ok(())
}

/// Checks a crypt(5) hash, as the shadow file has.
pub fn check_crypt(text: &str) -> Result<(), String> {
    let fine = (20..=256).contains(&text.len())
        && ["$6$", "$y$", "$gy$", "$7$", "$2b$", "$5$"]
            .iter()
            .any(|prefix| text.starts_with(prefix))
        && text.bytes().all(|b| {
            b.is_ascii_alphanumeric() || matches!(b, b'.' | b'/' | b'$' | b'=' | b',' | b'-')
        });
    if fine {
        return Ok(());
    }
    Err("a crypt hash as $6$SALT$HASH or $y$j9T$SALT$HASH".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ARGON2: &str = "$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHRzYWx0c2FsdA$\
                          rqPDqBAYiNz1CzXHr1sDTJB3c0GlyX0u0ZzAOyI/PnQ";

    #[test]
    fn passwords() {
        assert_eq!(check("blue-Harbour-41-cello", "admin"), Ok(()));
        for text in [
            "",
            "short",
            "password12",
            "aaaaaaaaaaaa",
            "admin12345",
            "q w e r\nt y u i",
        ] {
            assert!(check(text, "admin").is_err(), "{text:?}");
        }
        assert!(check(&"xK9-".repeat(40), "root").is_err());
        assert_eq!(format!("{:?}", Password("hush".into())), "Password(...)");
    }

    #[test]
    fn hashes() {
        assert_eq!(check_argon2id(ARGON2), Ok(()));
        for (from, to) in [
            ("argon2id", "argon2i"),
            ("m=19456", "m=99999999"),
            ("m=19456", "m=+9456"),
            ("v=19", "v=16"),
            ("$c2", "$\n2"),
            ("p=1", "p=1,x=2"),
        ] {
            assert!(check_argon2id(&ARGON2.replace(from, to)).is_err(), "{to}");
        }
        assert_eq!(check_crypt("$6$saltsalt$abcdefghijklmnop./"), Ok(()));
        for text in [
            "",
            "!",
            "x",
            "$6$salt:0:0$aaaaaaaaaaaaaaaaa",
            "$1$saltsalt$aaaaaaaaaaaaaa",
        ] {
            assert!(check_crypt(text).is_err(), "{text:?}");
        }
    }
}
