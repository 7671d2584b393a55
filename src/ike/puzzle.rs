//! Client puzzles (RFC 8019 sections 4.4 and 7.1): who wants a place among many half-open SAs finds
//! four keys under which the PRF of its cookie ends with so many zero bits.
//!
//! A responder checks a solution by four calls of the PRF. An initiator works on one in short
//! slices, and only so hard and so long: what asks for it is not authenticated.

use super::Refusal;
use super::keys::prf;
use super::suite::Prf;
use crate::wire::isakmp::Puzzle;
use crate::wire::isakmp::puzzle::KEYS;

/// Zero bits that we find at most: what section 4.4 holds reasonable for all initiators.
pub const MAX_BITS: u8 = 18;
/// Zero bits that we find for who leaves them to us.
const FREE_BITS: u8 = 14;
/// Calls of the PRF at a time, which take less than half a millisecond, and the time from one such
/// slice to the next: the rest of it is everything else's.
const SLICE: u32 = 512;
const PAUSE_MS: u64 = 1;
/// Then the cookie goes back without a solution.
const PATIENCE_MS: u64 = 6_000;

/// Whether these four different keys solve `puzzle` of `cookie`; four calls of the PRF at most.
pub fn is_solved(puzzle: Puzzle, cookie: &[u8], solution: &[u8]) -> bool {
    let Some(function) = Prf::of(puzzle.prf) else {
        return false;
    };
    let len = solution.len() / KEYS;
    let whole = solution.len().is_multiple_of(KEYS);
    if !whole || !(1..=function.output_len()).contains(&len) {
        return false;
    }
    let mut keys: Vec<&[u8]> = solution.chunks(len).collect();
    let solves = |key: &&[u8]| zero_bits(function, key, cookie) >= u32::from(puzzle.bits);
    let all = keys.iter().all(solves);
    keys.sort_unstable();
    keys.dedup();
    all && keys.len() == KEYS
}

/// Zero bits at the end of the PRF of `cookie` under `key`.
fn zero_bits(function: Prf, key: &[u8], cookie: &[u8]) -> u32 {
    zeros_at_end(&prf(function, key, &[cookie]))
}

fn zeros_at_end(result: &[u8]) -> u32 {
    let octets = result.iter().rev().take_while(|octet| **octet == 0).count();
    let next = result.iter().rev().nth(octets);
    8 * octets as u32 + next.map_or(0, |octet| octet.trailing_zeros())
}

/// A puzzle that the peer gave us, while we work on it.
#[cfg_attr(test, derive(Clone))]
pub struct Solving {
    function: Prf,
    puzzle: Puzzle,
    cookie: Vec<u8>,
    /// The next key to try.
    next: u32,
    found: Vec<u8>,
    /// When the next slice of work is due.
    due: u64,
    until: u64,
}

/// What a slice of work brought.
#[derive(Debug, PartialEq, Eq)]
pub enum Slice {
    /// Nothing yet.
    Working,
    /// Four keys.
    Solved(Vec<u8>),
    /// That it takes too long here.
    GivenUp(Refusal),
}

impl Solving {
    /// Begins, unless it is more than we do for who has proved nothing.
    pub fn start(now: u64, puzzle: Puzzle, cookie: &[u8]) -> Result<Self, Refusal> {
        let bits = puzzle.bits;
        if bits > MAX_BITS {
            let text = format!("the peer gives a puzzle of {bits} bits, more than {MAX_BITS}");
            return Err(Refusal::Other(text));
        }
        let unknown = || Refusal::Other("the peer gives a puzzle of an unknown kind".to_owned());
        Ok(Self {
            function: Prf::of(puzzle.prf).ok_or_else(unknown)?,
            puzzle: Puzzle {
                bits: if bits == 0 { FREE_BITS } else { bits },
                ..puzzle
            },
            cookie: cookie.to_vec(),
            next: 0,
            found: Vec::new(),
            due: now,
            until: now + PATIENCE_MS,
        })
    }

    /// When [`Solving::work`] wants to be called.
    pub fn due(&self) -> u64 {
        self.due
    }

    /// One slice of work, if one is due.
    pub fn work(&mut self, now: u64) -> Slice {
        if now >= self.until {
            let bits = self.puzzle.bits;
            let text = format!("a puzzle of {bits} bits takes this system too long");
            return Slice::GivenUp(Refusal::Other(text));
        }
        if now < self.due {
            return Slice::Working;
        }
        self.due = now + PAUSE_MS;
        for _ in 0..SLICE {
            let key = self.next.to_be_bytes();
            self.next = self.next.wrapping_add(1);
            if zero_bits(self.function, &key, &self.cookie) >= u32::from(self.puzzle.bits) {
                self.found.extend_from_slice(&key);
            }
            if self.found.len() == KEYS * key.len() {
                return Slice::Solved(std::mem::take(&mut self.found));
            }
        }
        Slice::Working
    }

    #[cfg(test)]
    pub(crate) fn shape(&self, shape: &mut super::shape::Shape) {
        shape.word(self.puzzle.bits);
        shape.word(self.found.len() as u64);
        shape.time(self.due);
        shape.time(self.until);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHA256: u16 = 5;

    fn bytes(hex: &str) -> Vec<u8> {
        let octet = |at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
        (0..hex.len()).step_by(2).map(octet).collect()
    }

    fn cookie() -> Vec<u8> {
        bytes("739ae7492d8a810cf5e8dc0f9626c9dda773c5a3")
    }

    fn puzzle(bits: u8) -> Puzzle {
        Puzzle { prf: SHA256, bits }
    }

    /// What work brings, slice by slice, and when.
    fn work_out(mut solving: Solving) -> (u64, Slice) {
        loop {
            let now = solving.due();
            match solving.work(now) {
                Slice::Working => assert!(solving.due() > now),
                slice => return (now, slice),
            }
        }
    }

    /// The results printed in section 4.4 of the RFC are those of no PRF that it could mean; these
    /// are Python's.
    #[test]
    fn a_second_implementation_finds_the_same_keys() {
        for (prf, bits, keys, found) in [
            (
                Prf::Sha256,
                18,
                "00cd8a0390f708828810efbe",
                [18, 19, 19, 20],
            ),
            (
                Prf::Sha384,
                12,
                "00002b810000344a00004c6800005e58",
                [12, 13, 13, 14],
            ),
            (
                Prf::Sha512,
                12,
                "00001c3400002bf30000440d000052a8",
                [12, 12, 13, 12],
            ),
        ] {
            let all = bytes(keys);
            for (key, zeros) in all.chunks(all.len() / KEYS).zip(found) {
                assert_eq!(zero_bits(prf, key, &cookie()), zeros);
            }
            let of = |bits| Puzzle {
                prf: prf.transform(),
                bits,
            };
            assert!(is_solved(of(bits), &cookie(), &all));
            assert!(!is_solved(of(bits + 1), &cookie(), &all));
            // Those of four octets are the first there are.
            let solving = Solving::start(0, of(bits), &cookie()).unwrap();
            if all.len() == 16 {
                assert_eq!(work_out(solving).1, Slice::Solved(all));
            }
        }
    }

    #[test]
    fn a_result_of_zeros_alone_has_as_many_bits_as_it_is_long() {
        assert_eq!(zeros_at_end(&[0; 32]), 256);
        assert_eq!(zeros_at_end(&[0xff, 0x80, 0]), 15);
        assert_eq!(zeros_at_end(&[0, 1]), 0);
    }

    #[test]
    fn only_four_different_keys_of_the_prf_for_the_same_cookie_solve_a_puzzle() {
        let all = bytes("00cd8a0390f708828810efbe");
        let mut other = cookie();
        other[0] ^= 1;
        assert!(!is_solved(puzzle(18), &other, &all));
        let of = |prf| Puzzle { prf, bits: 18 };
        assert!(!is_solved(of(6), &cookie(), &all), "of another PRF");
        assert!(!is_solved(of(2), &cookie(), &all), "of an unknown one");
        for len in 0..all.len() {
            assert!(!is_solved(puzzle(18), &cookie(), &all[..len]), "{len}");
        }
        for at in 0..4 {
            let mut keys: Vec<&[u8]> = all.chunks(3).collect();
            keys[at] = &[1, 2, 3];
            assert!(!is_solved(puzzle(18), &cookie(), &keys.concat()), "{at}");
            keys[at] = &all[3 * ((at + 1) % 4)..][..3];
            assert!(!is_solved(puzzle(18), &cookie(), &keys.concat()), "twice");
        }
        // Nothing is asked for, and yet there are keys to show, none longer than the PRF wants.
        assert!(!is_solved(puzzle(0), &cookie(), &[]));
        let long: Vec<u8> = (0..132).collect();
        assert!(!is_solved(puzzle(0), &cookie(), &long));
        assert!(is_solved(puzzle(0), &cookie(), &long[..128]));
    }

    #[test]
    fn a_puzzle_of_each_prf_is_solved_slice_by_slice() {
        for prf in [5, 6, 7] {
            let puzzle = Puzzle { prf, bits: 10 };
            let solving = Solving::start(1_000, puzzle, &cookie()).unwrap();
            let (at, slice) = work_out(solving);
            let Slice::Solved(keys) = slice else {
                panic!("{slice:?}");
            };
            assert!(is_solved(puzzle, &cookie(), &keys));
            assert!(at > 1_000, "in one slice");
        }
    }

    #[test]
    fn work_that_is_not_due_is_not_done() {
        let mut solving = Solving::start(0, puzzle(18), &cookie()).unwrap();
        for _ in 0..10 {
            assert_eq!(solving.work(0), Slice::Working);
        }
        assert_eq!(solving.next, SLICE);
    }

    #[test]
    fn who_leaves_the_bits_to_us_gets_fourteen() {
        let solving = Solving::start(0, puzzle(0), &cookie()).unwrap();
        let (_, Slice::Solved(keys)) = work_out(solving) else {
            panic!("not solved");
        };
        assert!(is_solved(puzzle(FREE_BITS), &cookie(), &keys));
    }

    #[test]
    fn a_puzzle_that_is_too_hard_or_unknown_is_not_begun() {
        for bits in [MAX_BITS + 1, 64, 255] {
            let refusal = Solving::start(0, puzzle(bits), &cookie()).err().unwrap();
            assert!(refusal.to_string().contains(&format!("of {bits} bits")));
        }
        let unknown = Puzzle { prf: 2, bits: 8 };
        assert!(Solving::start(0, unknown, &cookie()).is_err());
    }

    #[test]
    fn work_ends_when_its_time_is_over() {
        let mut solving = Solving::start(5_000, puzzle(18), &cookie()).unwrap();
        assert_eq!(solving.work(10_999), Slice::Working);
        assert!(matches!(solving.work(11_000), Slice::GivenUp(_)));
    }
}
