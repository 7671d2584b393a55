//! Stateless cookies for a responder under load (RFC 7296 section 2.6). Each says, protected, which
//! puzzle was given with it (RFC 8019 section 7.1.1.3).

use std::net::IpAddr;

use ring::hmac;
use zeroize::Zeroizing;

use super::Random;
use crate::wire::isakmp::Puzzle;

/// How long one secret makes cookies. It is good for as long again, so that who was given one
/// before a change need not ask anew.
pub const SECRET_MS: u64 = 30_000;

/// In the place of a puzzle.
const NO_PUZZLE: [u8; 3] = [0; 3];

/// Whose a cookie is: address, SPI and nonce of an initiator.
pub type Owner<'a> = (IpAddr, u64, &'a [u8]);

/// What was asked for with a cookie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asked {
    /// The puzzle that was given with it.
    pub puzzle: Option<Puzzle>,
}

/// Makes and checks cookies; one per process, its secrets never leave it.
#[derive(Clone)]
pub struct Cookies {
    current: hmac::Key,
    former: Option<hmac::Key>,
    /// Of the current secret, in each cookie of it, so that one is checked with one secret.
    number: u8,
    /// When the current one began.
    since: u64,
}

impl Cookies {
    /// With a first secret, made at `now`, in milliseconds.
    pub fn new(now: u64, random: &mut dyn Random) -> Self {
        Self {
            current: secret(random),
            former: None,
            number: 0,
            since: now,
        }
    }

    /// Takes another secret when the current one's time is over. To be called before any use.
    pub fn renew(&mut self, now: u64, random: &mut dyn Random) {
        let age = now.saturating_sub(self.since);
        if age < SECRET_MS {
            return;
        }
        let before = std::mem::replace(&mut self.current, secret(random));
        // Nothing came for long: whoever was given a cookie then has given up.
        self.former = (age < 2 * SECRET_MS).then_some(before);
        self.number = self.number.wrapping_add(1);
        self.since = now;
    }

    fn input(from: IpAddr, spi_i: u64, nonce: &[u8], puzzle: [u8; 3]) -> Vec<u8> {
        let mut input = from.to_string().into_bytes();
        input.push(0);
        input.extend_from_slice(&puzzle);
        input.extend_from_slice(&spi_i.to_be_bytes());
        input.extend_from_slice(nonce);
        input
    }

    /// The cookie of one initiator, with the puzzle that it is given.
    pub fn make(&self, (from, spi_i, nonce): Owner<'_>, puzzle: Option<Puzzle>) -> Vec<u8> {
        let puzzle = puzzle.map_or(NO_PUZZLE, Puzzle::encode);
        let tag = hmac::sign(&self.current, &Self::input(from, spi_i, nonce, puzzle));
        [&[self.number], &puzzle[..], tag.as_ref()].concat()
    }

    /// If we made `cookie` for this initiator with the current or the last secret, the puzzle that
    /// we gave with it; compared in constant time.
    pub fn verify(&self, (from, spi_i, nonce): Owner<'_>, cookie: &[u8]) -> Option<Asked> {
        let (&[number, a, b, c], tag) = cookie.split_first_chunk()?;
        let key = if number == self.number {
            &self.current
        } else if number == self.number.wrapping_sub(1) {
            self.former.as_ref()?
        } else {
            return None;
        };
        let puzzle = [a, b, c];
        hmac::verify(key, &Self::input(from, spi_i, nonce, puzzle), tag).ok()?;
        Some(Asked {
            puzzle: Puzzle::parse(&puzzle).filter(|_| puzzle != NO_PUZZLE),
        })
    }
}

fn secret(random: &mut dyn Random) -> hmac::Key {
    let mut secret = Zeroizing::new([0; 32]);
    random.fill(secret.as_mut());
    hmac::Key::new(hmac::HMAC_SHA256, secret.as_ref())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Other octets at each call.
    struct Counting(u64);

    impl Random for Counting {
        fn fill(&mut self, bytes: &mut [u8]) {
            self.0 += 1;
            bytes[..8].copy_from_slice(&self.0.to_be_bytes());
        }
    }

    const NONCE: [u8; 32] = [9; 32];

    fn owner() -> Owner<'static> {
        ("192.0.2.1".parse().unwrap(), 1, &NONCE)
    }

    /// Whether a cookie that was made when the process began is good after looks at these times.
    fn good_after(looks: &[u64]) -> bool {
        let random = &mut Counting(0);
        let mut cookies = Cookies::new(0, random);
        let cookie = cookies.make(owner(), None);
        for now in looks {
            cookies.renew(*now, random);
        }
        cookies.verify(owner(), &cookie).is_some()
    }

    #[test]
    fn a_cookie_is_good_for_one_change_of_the_secret_and_not_for_two() {
        assert!(good_after(&[0, SECRET_MS - 1]));
        assert!(good_after(&[SECRET_MS]));
        assert!(good_after(&[SECRET_MS, 2 * SECRET_MS - 1]));
        assert!(!good_after(&[SECRET_MS, 2 * SECRET_MS]));
        assert!(!good_after(&[3 * SECRET_MS]), "nobody looked for long");
        // Its number comes round again, its secret does not.
        let round: Vec<u64> = (1..=256).map(|n| n * SECRET_MS).collect();
        assert!(!good_after(&round));
    }

    #[test]
    fn each_secret_makes_other_cookies() {
        let random = &mut Counting(0);
        let mut cookies = Cookies::new(0, random);
        let mut before = cookies.make(owner(), None);
        for n in 1..5 {
            cookies.renew(n * SECRET_MS, random);
            let cookie = cookies.make(owner(), None);
            assert_ne!(before[1..], cookie[1..]);
            assert!(cookies.verify(owner(), &cookie).is_some());
            before = cookie;
        }
    }

    #[test]
    fn nothing_else_is_a_cookie() {
        let cookies = Cookies::new(0, &mut Counting(0));
        let (from, spi_i, nonce) = owner();
        for puzzle in [None, Some(Puzzle { prf: 5, bits: 12 })] {
            let good = cookies.make(owner(), puzzle);
            assert_eq!(cookies.verify(owner(), &[]), None);
            assert_eq!(cookies.verify((from, spi_i + 1, nonce), &good), None);
            for at in 0..good.len() {
                let mut bad = good.clone();
                bad[at] ^= 1;
                assert_eq!(cookies.verify(owner(), &bad), None, "octet {at}");
                assert_eq!(cookies.verify(owner(), &good[..at]), None);
            }
        }
    }

    #[test]
    fn a_cookie_tells_which_puzzle_was_given_with_it() {
        let cookies = Cookies::new(0, &mut Counting(0));
        let hard = Puzzle { prf: 5, bits: 16 };
        for puzzle in [None, Some(hard), Some(Puzzle { bits: 0, ..hard })] {
            let cookie = cookies.make(owner(), puzzle);
            assert!(cookie.len() <= 64, "RFC 7296 section 2.6");
            assert_eq!(cookies.verify(owner(), &cookie), Some(Asked { puzzle }));
        }
    }
}
