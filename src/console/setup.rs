//! `tutti setup`: the first-boot wizard on a terminal, and the unattended first boot.

use crate::node::Dirs;

/// Options of `tutti setup`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {}

/// Runs the wizard.
pub fn run(_dirs: &Dirs, _args: Args) -> Result<(), Box<dyn std::error::Error>> {
    Err("not built yet".into())
}
