//! Commands that ask `serve` over its local socket: status, peers, cluster, tables, ...

use crate::node::Dirs;

/// The commands.
#[derive(Clone, Debug, clap::Subcommand)]
pub enum Command {
    /// Shows this system's state.
    Status,
}

/// Runs one command.
pub fn run(_dirs: &Dirs, _command: Command) -> Result<(), Box<dyn std::error::Error>> {
    Err("not built yet".into())
}
