//! The `host` role: a closed list of typed host actions, run as root.

use crate::node::Dirs;

/// Options of `tutti host`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {}

/// Runs the role until it is stopped.
pub fn run(_dirs: &Dirs, _args: Args) -> Result<(), Box<dyn std::error::Error>> {
    Err("not built yet".into())
}
