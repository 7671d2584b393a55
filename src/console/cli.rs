//! The command line: which role or command, and where its logs go.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use tracing_subscriber::EnvFilter;

use crate::node::{Dirs, ike, keyer, serve};
use crate::{console, host};

/// Three peers that answer as one: clustering, replication and their tunnels.
#[derive(Debug, Parser)]
#[command(name = "tutti", version, propagate_version = true)]
struct Cli {
    #[command(flatten)]
    dirs: Dirs,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Role: ISAKMP on UDP 500, without any privilege.
    Ike(ike::Args),
    /// Role: the kernel's AH SAs and policies (CAP_NET_ADMIN).
    Keyer(keyer::Args),
    /// Role: the database, replication, web and REST.
    Serve(serve::Args),
    /// Role: the closed list of host actions (root).
    Host(host::Args),
    /// The first-boot wizard.
    Setup(console::setup::Args),
    /// Shows the tunnel to each peer, as `ike` sees it.
    Tunnels(console::tunnels::Args),
    /// Shows what Secure Boot judged at this start; goes over to the builder's keys.
    SecureBoot(console::secure_boot::Args),
    #[command(flatten)]
    Client(console::client::Command),
}

/// Parses the command line and runs what it names.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::try_from_env("TUTTI_LOG").unwrap_or_else(|_| "info".into()))
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .without_time()
        .init();
    let dirs = &cli.dirs;
    let result = match cli.command {
        Command::Ike(args) => ike::run(dirs, args),
        Command::Keyer(args) => keyer::run(dirs, args),
        Command::Serve(args) => serve::run(dirs, args),
        Command::Host(args) => host::run(dirs, args),
        Command::Setup(args) => console::setup::run(dirs, args),
        Command::Tunnels(args) => console::tunnels::run(dirs, args),
        Command::SecureBoot(args) => console::secure_boot::run(args),
        Command::Client(command) => console::client::run(dirs, command),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("tutti: {error}");
            ExitCode::FAILURE
        }
    }
}
