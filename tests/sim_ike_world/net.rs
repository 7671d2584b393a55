//! Chance, and what a network does to datagrams.

use tutti::ike::Random;

/// `TUTTI_SEEDS=20` searches twenty times as many histories.
pub fn seeds(count: u64) -> std::ops::Range<u64> {
    let times = std::env::var("TUTTI_SEEDS")
        .ok()
        .and_then(|n| n.parse::<u64>().ok());
    0..count * times.unwrap_or(1)
}

/// xorshift64*: small, seeded, good enough for a simulation.
#[derive(Clone)]
pub struct Seeded(u64);

impl Seeded {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    pub fn chance(&mut self, percent: u64) -> bool {
        (self.next() >> 33) % 100 < percent
    }
}

impl Random for Seeded {
    fn fill(&mut self, out: &mut [u8]) {
        for byte in out {
            *byte = (self.next() >> 56) as u8;
        }
    }
}

/// What the network does, in per cent and milliseconds.
#[derive(Clone)]
pub struct Net {
    pub loss: u64,
    pub duplicate: u64,
    pub delay: (u64, u64),
    /// Flips a bit of byte `.1` of the `.0`th datagram.
    pub alter: Option<(usize, usize)>,
}

impl Net {
    pub fn perfect() -> Self {
        Self {
            loss: 0,
            duplicate: 0,
            delay: (1, 1),
            alter: None,
        }
    }

    pub fn bad() -> Self {
        Self {
            loss: 20,
            duplicate: 20,
            delay: (1, 400),
            alter: None,
        }
    }

    pub fn slow() -> Self {
        Self {
            loss: 5,
            duplicate: 10,
            delay: (50, 1_500),
            alter: None,
        }
    }
}
