//! Row-level multi-master replication as a state machine.
//!
//! Pure: no I/O, no clock, no randomness but what is passed in. The rules (generations, clocks,
//! what loses and where it goes) are written down in `docs/replication.md`.

pub mod change;
pub mod clock;
pub mod conflict;
pub mod digest;
pub mod fork;
pub mod frontier;
pub mod merge;
pub mod payload;
pub mod repair;
pub mod retention;
pub mod rows;
pub mod schema;
pub mod session;
pub mod skew;
pub mod value;

/// Names one machine for good.
pub type NodeId = [u8; 16];
/// Names one cluster for good.
pub type ClusterId = [u8; 16];
/// Names one start of one node: random, fresh at every start, so that a sequence number never
/// means two things.
pub type Incarnation = u64;

/// A fresh one from random octets. It is never 0, of which nobody takes a transaction.
pub fn fresh_incarnation(random: [u8; 8]) -> Incarnation {
    u64::from_be_bytes(random).max(1)
}
