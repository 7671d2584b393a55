//! Mutants of seeds, as a fuzzer makes them.

/// xorshift64*.
pub struct Seeded(pub u64);

impl Seeded {
    pub fn next(&mut self, below: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % below.max(1)
    }

    /// A few octets changed, put in, left out or repeated.
    pub fn mutant(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut bytes = bytes.to_vec();
        for _ in 0..=self.next(4) {
            let at = self.next(bytes.len());
            let value = [0, 1, 0x7f, 0x80, 0xff, self.next(256) as u8][self.next(6)];
            match self.next(5) {
                0 => bytes.truncate(at),
                1 => bytes.insert(at, value),
                2 if !bytes.is_empty() => drop(bytes.remove(at)),
                3 => bytes.extend_from_within(at..),
                _ => bytes.iter_mut().skip(at).take(1).for_each(|b| *b = value),
            }
        }
        bytes.truncate(8_192);
        bytes
    }
}
