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
}
