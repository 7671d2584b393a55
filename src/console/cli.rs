//! The command line: which role or command, and where its logs go.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use super::journal::Journal;
use crate::node::{Dirs, ike, keyer, serve};
use crate::sys::release;
use crate::{console, host};

/// Three peers that answer as one: clustering, replication and their tunnels.
#[derive(Debug, Parser)]
#[command(name = "tutti", version = release::version(), propagate_version = true)]
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

impl Command {
    fn is_role(&self) -> bool {
        matches!(
            self,
            Self::Ike(_) | Self::Keyer(_) | Self::Serve(_) | Self::Host(_)
        )
    }
}

/// Parses the command line and runs what it names.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let journal = log(cli.command.is_role());
    let dirs = &cli.dirs;
    let result = match cli.command {
        Command::Ike(args) => ike::run(dirs, args),
        Command::Keyer(args) => keyer::run(dirs, args),
        Command::Serve(args) => serve::run(dirs, args),
        Command::Host(args) => host::run(dirs, args),
        Command::Setup(args) => console::setup::run(dirs, args),
        Command::Tunnels(args) => console::tunnels::run(dirs, args),
        Command::SecureBoot(args) => console::secure_boot::run(dirs, args),
        Command::Client(command) => console::client::run(dirs, command),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            match journal {
                true => tracing::error!("{error}"),
                false => eprintln!("tutti: {error}"),
            }
            ExitCode::FAILURE
        }
    }
}

/// Logs to the journal where a role runs below systemd (true), else as text to standard error.
/// Commands always do the latter: their words may be for a console.
fn log(role: bool) -> bool {
    let filter = EnvFilter::try_from_env("TUTTI_LOG").unwrap_or_else(|_| "info".into());
    let lines = tracing_subscriber::registry().with(filter);
    let Some(journal) = Some(()).filter(|()| role).and_then(|()| Journal::here()) else {
        let text = tracing_subscriber::fmt::layer()
            .with_writer(std::io::stderr)
            .with_ansi(false)
            .without_time();
        lines.with(text).init();
        return false;
    };
    lines.with(journal).init();
    // Else it would be a line of no priority.
    std::panic::set_hook(Box::new(|panic| tracing::error!("{panic}")));
    true
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    /// Every command that ends a line of words, as `tables list`.
    fn ends(command: &clap::Command, before: &str, found: &mut Vec<(String, bool)>) {
        let visible = command
            .get_subcommands()
            .filter(|one| one.get_name() != "help");
        for one in visible {
            let words = format!("{before} {}", one.get_name()).trim().to_owned();
            let json = one
                .get_arguments()
                .any(|argument| argument.get_id() == "json");
            if !one.has_subcommands() || json {
                found.push((words.clone(), json));
            }
            ends(one, &words, found);
        }
    }

    #[test]
    fn every_command_of_the_manual_exists_and_takes_json_and_none_is_missing_there() {
        let mut found = Vec::new();
        ends(&Cli::command(), "", &mut found);
        let manual = include_str!("../../docs/operations.md");
        let section = manual.split("## The command line").nth(1).unwrap();
        let listed = section.split("each takes").next().unwrap();
        let mut commands = Vec::new();
        for quoted in listed.split('`').skip(1).step_by(2) {
            let words: Vec<&str> = quoted.split_whitespace().collect();
            let named = words.iter().skip(1).filter(|word| **word != "NAME");
            let named: Vec<&str> = named.copied().collect();
            let (last, group) = named.split_last().unwrap();
            for one in last.split('|') {
                commands.push([group, &[one]].concat().join(" "));
            }
        }
        for command in &commands {
            let begins = format!("{command} ");
            let mut ends = found
                .iter()
                .filter(|(words, _)| words == command || words.starts_with(&begins))
                .peekable();
            assert!(ends.peek().is_some(), "there is no tutti {command}");
            for (words, json) in ends {
                assert!(json, "tutti {words} has no --json");
            }
        }
        // Roles and what only a console asks for have none, and are not listed.
        for (words, _) in found.iter().filter(|(_, json)| *json) {
            let first = words.split(' ').next().unwrap();
            let listed = commands
                .iter()
                .any(|one| one.split(' ').next() == Some(first));
            assert!(listed, "tutti {words} is not in the manual");
        }
    }
}
