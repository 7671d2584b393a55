//! What a byte string says, piece by piece.

use std::collections::BTreeMap;

use tutti::wire::replication::WireFrontier;

/// A byte string read from its front; 0 beyond its end.
pub struct Source<'a>(pub &'a [u8]);

impl Source<'_> {
    pub fn next(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    pub fn byte(&mut self) -> u8 {
        self.next().unwrap_or(0)
    }

    /// Mostly small, sometimes at the edge of what a number can be.
    pub fn number(&mut self) -> u64 {
        match self.byte() {
            small @ 0..=99 => u64::from(small % 10),
            large @ 100..=229 => u64::from(large) << 14,
            230..=242 => u64::MAX - u64::from(self.byte()),
            _ => u64::MAX,
        }
    }

    /// A number beside the one that would be right.
    pub fn near(&mut self, right: u64) -> u64 {
        match self.byte() {
            0..=249 => right,
            250..=251 => right.wrapping_add(1),
            252..=253 => right.wrapping_sub(1),
            _ => self.number(),
        }
    }

    pub fn size(&mut self, most: usize) -> usize {
        match self.byte() {
            0..=199 => usize::from(self.byte() % 40),
            200..=245 => most / 64,
            _ => most,
        }
    }
}

/// A frontier of up to three origins.
pub fn wire(source: &mut Source<'_>) -> WireFrontier {
    let mut list: BTreeMap<u64, (u64, [u8; 32])> = BTreeMap::new();
    for _ in 0..source.byte() % 4 {
        let origin = source.number();
        list.insert(origin, (source.number(), [source.byte(); 32]));
    }
    let triple = |(origin, (seq, chain))| (origin, seq, chain);
    list.into_iter().map(triple).collect()
}
