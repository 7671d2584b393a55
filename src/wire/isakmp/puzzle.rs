//! Client puzzles (RFC 8019 section 8): the data of the PUZZLE notification, and the payload that
//! brings a solution.
//!
//! ```text
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |              PRF              |  Difficulty   |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//!
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! ~                     Puzzle Solution Data                      ~
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! ```

use super::WireError;

/// Keys in a solution, all of one size.
pub const KEYS: usize = 4;
/// Octets of the longest key that any PRF prefers.
const MAX_KEY_LEN: usize = 64;

/// What a responder gives an initiator to solve.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Puzzle {
    /// Transform id of the PRF.
    pub prf: u16,
    /// Zero bits at the end of each of its results; 0 leaves them to the initiator.
    pub bits: u8,
}

impl Puzzle {
    /// Parses the data of a PUZZLE notification.
    pub fn parse(data: &[u8]) -> Option<Self> {
        let &[high, low, bits] = data else {
            return None;
        };
        let prf = u16::from_be_bytes([high, low]);
        Some(Self { prf, bits })
    }

    /// The data of a PUZZLE notification.
    pub fn encode(self) -> [u8; 3] {
        let [high, low] = self.prf.to_be_bytes();
        [high, low, self.bits]
    }
}

/// Parses the body of a puzzle solution payload: four keys of one size, one behind the other.
pub fn parse_solution(body: &[u8]) -> Result<Vec<u8>, WireError> {
    let whole = body.len().is_multiple_of(KEYS);
    if body.is_empty() || !whole || body.len() > KEYS * MAX_KEY_LEN {
        return Err(WireError::Length);
    }
    Ok(body.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_puzzle_reads_as_it_is_written_and_nothing_else_is_one() {
        let puzzle = Puzzle { prf: 5, bits: 18 };
        assert_eq!(puzzle.encode(), [0, 5, 18]);
        assert_eq!(Puzzle::parse(&puzzle.encode()), Some(puzzle));
        for data in [&[][..], &[0, 5], &[0, 5, 18, 0]] {
            assert_eq!(Puzzle::parse(data), None);
        }
    }

    #[test]
    fn a_solution_is_four_keys_of_one_size_and_no_longer_than_any_prf_wants_them() {
        for len in [4, 16, 256] {
            assert_eq!(parse_solution(&vec![1; len]).unwrap().len(), len);
        }
        for len in [0, 1, 3, 5, 15, 257, 260, 4_096] {
            assert_eq!(parse_solution(&vec![1; len]), Err(WireError::Length));
        }
    }
}
