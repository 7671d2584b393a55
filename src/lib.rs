//! Tutti: one service, five roles, up to three peers.
//!
//! The map of the house, from the bottom up. Dependencies point downwards only; `tests/tidy.rs`
//! holds it.
//!
//! Core, pure (no I/O, no clock, no randomness but what is passed in):
//! [`wire`] bytes and values · [`ike`] ISAKMP as a state machine · [`tunnel`] the peer tunnel
//! manager · [`replica`] row-level replication as a state machine · [`cluster`] membership and
//! peer states · [`settings`] typed configuration · [`setup`] the first-boot wizard.
//!
//! Adapters, each around one outside thing: [`store`] SQLite · [`sys`] the kernel · [`tls`]
//! certificates and TLS.
//!
//! Shell: [`node`] the roles' tasks · [`web`] HTTPS · [`console`] terminal and command line ·
//! [`host`] the closed list of host actions.

pub mod cluster;
pub mod console;
pub mod host;
pub mod ike;
pub mod node;
pub mod replica;
pub mod settings;
pub mod setup;
pub mod store;
pub mod sys;
pub mod tls;
pub mod tunnel;
pub mod web;
pub mod wire;
