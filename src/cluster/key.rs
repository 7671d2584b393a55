//! The cluster pre-shared key: how good a typed one must be.
//!
//! Whoever records one authentication attempt can guess at leisure, so a key must withstand
//! guessing offline; that is why a short password, fine for a login, is refused here.

/// Characters a typed key needs at least.
pub const LENGTH_MIN: usize = 16;
/// Guesses a key must withstand, by zxcvbn's estimate.
pub const GUESSES_MIN: u64 = 1_000_000_000_000_000_000;
/// Longest key taken, in bytes.
pub const LENGTH_MAX: usize = 256;

/// Why a key was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyProblem {
    /// Too few characters.
    #[error("has {0} characters; at least {LENGTH_MIN} are needed")]
    Short(usize),
    /// Too many bytes.
    #[error("is longer than {LENGTH_MAX} bytes")]
    Long,
    /// Control characters, which no keyboard or serial line carries safely.
    #[error("contains a control character")]
    Control,
    /// Can be guessed.
    #[error("can be guessed in about 10^{exponent} tries; 10^18 are needed{hint}")]
    Weak {
        /// Decimal exponent of the estimated guesses.
        exponent: u32,
        /// What makes it weak, with its leading colon; may be empty.
        hint: String,
    },
}

/// Judges a key.
pub fn check(key: &str) -> Result<(), KeyProblem> {
    let length = key.chars().count();
    if length < LENGTH_MIN {
        return Err(KeyProblem::Short(length));
    }
    if key.len() > LENGTH_MAX {
        return Err(KeyProblem::Long);
    }
    if key.chars().any(char::is_control) {
        return Err(KeyProblem::Control);
    }
    let entropy = zxcvbn::zxcvbn(key, &["tutti", "cluster"]);
    if entropy.guesses() >= GUESSES_MIN {
        return Ok(());
    }
    let warning = entropy.feedback().and_then(|feedback| feedback.warning());
    Err(KeyProblem::Weak {
        exponent: entropy.guesses_log10().floor() as u32,
        hint: warning
            .map(|warning| format!(": {}", warning.to_string().trim_end_matches('.')))
            .unwrap_or_default(),
    })
}

/// Writes 32 random bytes as a key that can be read over the telephone: groups of base 32.
pub fn from_random(random: &[u8; 32]) -> String {
    const ALPHABET: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
    let mut out = String::new();
    let (mut buffer, mut bits, mut count) = (0u32, 0, 0);
    for byte in random.iter().chain([0].iter()) {
        buffer = buffer << 8 | u32::from(*byte);
        bits += 8;
        while bits >= 5 && count < 52 {
            bits -= 5;
            if count > 0 && count % 4 == 0 {
                out.push('-');
            }
            out.push(char::from(ALPHABET[(buffer >> bits & 31) as usize]));
            count += 1;
        }
        buffer &= (1 << bits) - 1;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_and_guessable_keys_are_refused_with_the_reason() {
        assert_eq!(check("short"), Err(KeyProblem::Short(5)));
        for weak in [
            "aaaaaaaaaaaaaaaaaaaa",
            "passwordpassword",
            "1234567890123456",
        ] {
            let problem = check(weak).unwrap_err();
            assert!(
                problem.to_string().contains("can be guessed"),
                "{weak}: {problem}"
            );
        }
        assert_eq!(
            check("with a\ttabulator in it, long"),
            Err(KeyProblem::Control)
        );
    }

    #[test]
    fn generated_keys_are_distinct_and_accepted() {
        let mut random = [0u8; 32];
        for (i, byte) in random.iter_mut().enumerate() {
            *byte = (i as u8).wrapping_mul(73) ^ 0xa5;
        }
        let key = from_random(&random);
        assert_eq!(key.replace('-', "").len(), 52);
        check(&key).unwrap();
        random[31] ^= 1;
        assert_ne!(key, from_random(&random), "the last bit counts too");
    }
}
