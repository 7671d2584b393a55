//! Octets that follow from a seed, for tests and fuzzing.

use super::Random;

/// A linear congruential generator of 64 bits, of which the highest eight are given out.
pub(crate) struct Seeded(pub u64);

impl Random for Seeded {
    fn fill(&mut self, out: &mut [u8]) {
        for byte in out {
            self.0 = self
                .0
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            *byte = (self.0 >> 56) as u8;
        }
    }
}

impl Seeded {
    /// A number below `below`, which is at most 65,536.
    #[cfg(test)]
    pub fn draw(&mut self, below: usize) -> usize {
        let mut bytes = [0; 2];
        self.fill(&mut bytes);
        usize::from(u16::from_be_bytes(bytes)) % below
    }

    /// Adds payloads to the input of a fuzzer, their number first; one of `in_all` has another
    /// kind, one is cut, one has another octet.
    #[cfg(test)]
    pub fn say(
        &mut self,
        input: &mut Vec<u8>,
        said: Vec<(u8, Vec<u8>)>,
        kinds: std::ops::Range<u8>,
        in_all: usize,
    ) {
        input.push(said.len() as u8);
        for (mut kind, mut body) in said {
            match self.draw(in_all) {
                0 => kind = kinds.start + self.draw(kinds.len()) as u8,
                1 => body.truncate(self.draw(body.len() + 1)),
                2 if !body.is_empty() => {
                    let at = self.draw(body.len());
                    body[at] = self.draw(256) as u8;
                }
                _ => {}
            }
            input.push(kind);
            input.extend((body.len() as u16).to_be_bytes());
            input.extend(body);
        }
    }
}
