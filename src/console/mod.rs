//! Terminal I/O for setup, and the command line.

pub mod cli;
pub mod client;
mod journal;
mod paper;
mod preflight;
pub mod secure_boot;
pub mod setup;
pub mod tunnels;
