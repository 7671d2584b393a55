//! The `host` role: a closed list of typed host actions, run as root.
//!
//! It keeps the settings and the peers under its own state directory, renders them into the files
//! of the operating system, and runs fixed commands with fixed arguments. Nothing that came from
//! outside ever reaches a shell or an argument.

mod actions;
pub mod changes;
mod console;
pub mod first_boot;
mod keep;
mod place;
mod root_password;
mod serial;
mod serve;
pub mod trial;

use std::path::PathBuf;

use thiserror::Error;

pub use keep::{Kept, is_configured, render, store_peers, store_system};
pub use place::Place;

use crate::node::Dirs;
use crate::settings::SettingsError;
use crate::settings::message::TRIAL_S;

/// Options of `tutti host`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Render everything from the kept settings once, before the network is up, and exit.
    #[arg(long)]
    render: bool,
    /// Write below this directory instead of `/`, and run no command.
    #[arg(long, default_value = "/")]
    root: PathBuf,
    /// How many seconds a change of the network waits to be confirmed.
    #[arg(long, default_value_t = TRIAL_S, hide = true)]
    trial_seconds: u16,
}

/// Why a host action failed.
#[derive(Debug, Error)]
pub enum HostError {
    /// A file could not be read or written.
    #[error("cannot {what} {}: {source}", path.display())]
    File {
        /// What was tried.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// The reason.
        source: std::io::Error,
    },
    /// The settings are not acceptable.
    #[error("the settings in {}: {source}", path.display())]
    Kept {
        /// The file.
        path: PathBuf,
        /// The reason.
        source: SettingsError,
    },
    /// The settings asked for are not acceptable.
    #[error("settings refused: {0}")]
    Refused(#[from] SettingsError),
    /// The peers are not acceptable.
    #[error("peers refused: {0}")]
    Peers(String),
    /// A command failed.
    #[error("{command}: {reason}")]
    Command {
        /// Its words.
        command: String,
        /// Its exit and the end of its output.
        reason: String,
    },
    /// This system was set up before.
    #[error("this system is set up already; `tutti setup --again` changes it")]
    AlreadySetUp,
    /// This system was not set up yet.
    #[error("this system is not set up yet; the console asks, or run `tutti setup`")]
    NotSetUp,
    /// Another change waits to be confirmed.
    #[error(
        "a change of the network waits to be confirmed; confirm it, or wait until it is put back"
    )]
    OnTrial,
    /// There is nothing to confirm.
    #[error("no change of the network waits to be confirmed: a late one was put back")]
    NothingOnTrial,
    /// The kernel gave no random numbers.
    #[error("no random numbers: {0}")]
    Random(String),
    /// No time zone of that name on this system.
    #[error("there is no time zone {0} on this system")]
    NoTimeZone(String),
    /// The kernel did not take the host name.
    #[error("cannot set the host name: {0}")]
    HostName(std::io::Error),
    /// A password could not be hashed.
    #[error("cannot hash the password: {0}")]
    Hash(String),
    /// The socket failed.
    #[error("the socket {}: {reason}", path.display())]
    Socket {
        /// The socket.
        path: PathBuf,
        /// The reason.
        reason: String,
    },
}

/// Runs the role until it is stopped, or renders once.
pub fn run(dirs: &Dirs, args: Args) -> Result<(), Box<dyn std::error::Error>> {
    let place = Place::new(args.root, dirs);
    if args.render {
        let kept = Kept::load(&place)?;
        render(&place, &kept)?;
        if let (Some(system), true) = (&kept.system, place.is_this_system()) {
            actions::set_host_name(system)?;
        }
        return Ok(());
    }
    Ok(serve::run(&place, args.trial_seconds)?)
}
