//! What lost and why: one entry of the conflict inbox.

use serde::{Deserialize, Serialize};

use super::clock::Stamp;

/// One entry: what lost, and to what.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Conflict {
    /// The table's name; empty for a declaration.
    pub table: String,
    /// The row's key, encoded.
    pub key: Vec<u8>,
    /// The column that lost, or `*`.
    pub column: String,
    /// The version that won.
    pub winner: Stamp,
    /// The version that lost.
    pub loser: Stamp,
    /// What lost: a list of values, encoded.
    pub value: Vec<u8>,
}

impl Conflict {
    /// Its name, the same at every peer: SHA-256 over table, key, column, both versions and the
    /// losing value, cut to 16 bytes. The stamps alone do not name a version: an origin with two
    /// histories may have stamped two values alike.
    pub fn id(&self) -> [u8; 16] {
        let mut context = ring::digest::Context::new(&ring::digest::SHA256);
        for part in [self.table.as_bytes(), &self.key, self.column.as_bytes()] {
            context.update(&(part.len() as u32).to_be_bytes());
            context.update(part);
        }
        for stamp in [self.winner, self.loser] {
            context.update(&stamp.hlc.0.to_be_bytes());
            context.update(&stamp.origin.to_be_bytes());
            context.update(&stamp.seq.to_be_bytes());
        }
        context.update(&self.value);
        let mut out = [0; 16];
        out.copy_from_slice(&context.finish().as_ref()[..16]);
        out
    }
}
