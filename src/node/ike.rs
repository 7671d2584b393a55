//! The `ike` role.

use super::Dirs;

/// Options of `tutti ike`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {}

/// Runs the role until it is stopped.
pub fn run(_dirs: &Dirs, _args: Args) -> Result<(), Box<dyn std::error::Error>> {
    Err("not built yet".into())
}
