//! Bytes to values and back: one file per structure, no I/O, no panic on any input.

pub mod isakmp;
pub mod reader;
pub mod replication;
