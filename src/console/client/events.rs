//! `tutti events`, `tutti alarms` and `tutti accounts`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use hyper::Method;
use serde_json::{Value, json};

use super::http::{Client, encoded};
use super::{Failure, Output, print, read_text, show};

/// Options of `tutti events`.
#[derive(Clone, Debug, Args)]
pub struct Events {
    /// Only lines that contain this text.
    #[arg(long)]
    text: Option<String>,
    /// Only this kind.
    #[arg(long, value_parser = ["change", "row", "login", "input", "cluster", "system"])]
    kind: Option<String>,
    /// Only this level and those above.
    #[arg(long, value_parser = ["information", "warning", "error"])]
    level: Option<String>,
    /// How many of the newest to leave out.
    #[arg(long, default_value_t = 0)]
    offset: u64,
    /// How many at most, 1 to 1000.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u64).range(1..=1000))]
    limit: u64,
    /// How to print.
    #[command(flatten)]
    output: Output,
}

/// Runs `tutti events`.
pub fn events(client: &Client, command: Events) -> Result<(), Failure> {
    let mut path = format!("/events?offset={}&limit={}", command.offset, command.limit);
    let filters = [
        ("text", command.text),
        ("kind", command.kind),
        ("level", command.level),
    ];
    for (name, value) in filters {
        if let Some(value) = value {
            path.push_str(&format!("&{name}={}", encoded(&value)));
        }
    }
    show(command.output, client.get(&path)?, print::events)
}

/// `tutti alarms` and `tutti alarms acknowledge ID`
#[derive(Clone, Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Alarms {
    #[command(subcommand)]
    act: Option<AlarmAct>,
    /// How to print.
    #[command(flatten)]
    output: Output,
}

/// What to do with an alarm.
#[derive(Clone, Debug, Subcommand)]
pub enum AlarmAct {
    /// Says that somebody has seen it.
    Acknowledge {
        /// The alarm's id, as listed.
        id: String,
        /// How to print.
        #[command(flatten)]
        output: Output,
    },
}

/// Runs `tutti alarms`.
pub fn alarms(client: &Client, command: Alarms) -> Result<(), Failure> {
    match command.act {
        None => show(command.output, client.get("/alarms")?, print::alarms),
        Some(AlarmAct::Acknowledge { id, output }) => {
            let path = format!("/alarms/{}/acknowledge", encoded(&id));
            let answer = client.send(Method::POST, &path, &Value::Null)?;
            show(output, answer, |_| "Acknowledged.\n".into())
        }
    }
}

/// `tutti accounts ...`
#[derive(Clone, Debug, Subcommand)]
pub enum Accounts {
    /// Lists the accounts.
    List(Output),
    /// Adds one; its owner changes the password at the first login.
    Add {
        /// The user name.
        name: String,
        /// What it may do.
        #[arg(long, value_parser = ["administrator", "read-only"])]
        role: String,
        /// File with the password, or - for standard input.
        #[arg(long)]
        password_file: PathBuf,
        /// How to print.
        #[command(flatten)]
        output: Output,
    },
    /// Gives one another role or password; its sessions end.
    Change {
        /// The user name.
        name: String,
        /// What it may do. Default: as before.
        #[arg(long, value_parser = ["administrator", "read-only"])]
        role: Option<String>,
        /// File with the new password, or - for standard input. Default: as before.
        #[arg(long)]
        password_file: Option<PathBuf>,
        /// How to print.
        #[command(flatten)]
        output: Output,
    },
    /// Deletes one with its API tokens.
    Delete {
        /// The user name.
        name: String,
        /// How to print.
        #[command(flatten)]
        output: Output,
    },
}

/// Passwords come from files, never from arguments, which every user of a machine can read.
fn password(file: &std::path::Path) -> Result<String, Failure> {
    let text = read_text(file, 4096)?;
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}

/// Runs `tutti accounts`.
pub fn accounts(client: &Client, command: Accounts) -> Result<(), Failure> {
    let of = |name: &str| format!("/administrators/{}", encoded(name));
    match command {
        Accounts::List(output) => show(output, client.get("/administrators")?, print::accounts),
        Accounts::Add {
            name,
            role,
            password_file,
            output,
        } => {
            let password = password(&password_file)?;
            let body = json!({ "name": name, "role": role, "password": password });
            let answer = client.send(Method::POST, "/administrators", &body)?;
            show(output, answer, |_| "Added.\n".into())
        }
        Accounts::Change {
            name,
            role,
            password_file,
            output,
        } => {
            let password = password_file.as_deref().map(password).transpose()?;
            let body = json!({ "role": role, "password": password });
            let answer = client.send(Method::PATCH, &of(&name), &body)?;
            show(output, answer, |_| "Changed.\n".into())
        }
        Accounts::Delete { name, output } => {
            let answer = client.send(Method::DELETE, &of(&name), &Value::Null)?;
            show(output, answer, |_| "Deleted.\n".into())
        }
    }
}
