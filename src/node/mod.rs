//! The roles' tasks: tokio around the pure cores.

use std::path::PathBuf;

pub mod ike;
pub mod ipc;
mod kept;
pub mod keyer;
pub mod link;
pub mod pulse;
pub mod serve;
pub mod tunnel;
pub mod units;

/// Where a role finds its sockets and its state.
#[derive(Clone, Debug, clap::Args)]
pub struct Dirs {
    /// Directory of the roles' sockets and rendered files.
    #[arg(long, env = "TUTTI_RUN", default_value = "/run/tutti", global = true)]
    pub run: PathBuf,
    /// Directory of what outlives a restart.
    #[arg(
        long,
        env = "TUTTI_STATE",
        default_value = "/var/lib/tutti",
        global = true
    )]
    pub state: PathBuf,
}
