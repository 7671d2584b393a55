//! What lost and why: one entry of the conflict inbox.

use super::clock::Stamp;

/// The name of a conflict, the same at every peer: SHA-256 over table, key, column, both versions
/// and the losing value, cut to 16 bytes. The stamps alone do not name a version: an origin with
/// two histories may have stamped two values alike.
pub fn conflict_id(
    table: &str,
    key: &[u8],
    column: &str,
    winner: Stamp,
    loser: Stamp,
    value: &[u8],
) -> [u8; 16] {
    let mut context = ring::digest::Context::new(&ring::digest::SHA256);
    for part in [table.as_bytes(), key, column.as_bytes()] {
        context.update(&(part.len() as u32).to_be_bytes());
        context.update(part);
    }
    for stamp in [winner, loser] {
        context.update(&stamp.hlc.0.to_be_bytes());
        context.update(&stamp.origin.to_be_bytes());
        context.update(&stamp.seq.to_be_bytes());
    }
    context.update(value);
    let mut out = [0; 16];
    out.copy_from_slice(&context.finish().as_ref()[..16]);
    out
}
