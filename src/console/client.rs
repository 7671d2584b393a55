//! Commands that ask `serve` over its local socket: status, peers, cluster, tables, conflicts.

mod cluster;
mod events;
pub(super) mod http;
mod print;
mod system;
mod tokens;

use std::io::Read;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use hyper::Method;
use serde_json::{Value, json};

use crate::node::Dirs;
use http::Client;

/// The commands.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Shows this system's state.
    Status(Output),
    /// Shows the peers and the state of each.
    Peers(Output),
    /// Shows or changes the cluster fields.
    #[command(subcommand)]
    Cluster(Cluster),
    /// Shows, loads and changes replicated tables.
    #[command(subcommand)]
    Tables(Tables),
    /// Lists, restores or dismisses what lost against a concurrent change.
    Conflicts(Conflicts),
    /// Shows the event log, the newest line last.
    Events(events::Events),
    /// Lists or acknowledges alarms.
    Alarms(events::Alarms),
    /// Shows what clustering needs, and how it stands.
    Prerequisites(Output),
    /// Shows the clock's state and its servers.
    Time(Output),
    /// Lists, adds, changes or deletes administrator accounts.
    #[command(subcommand)]
    Accounts(events::Accounts),
    /// Lists, makes or revokes API tokens of programs.
    #[command(subcommand)]
    Tokens(tokens::Tokens),
    /// Resolves a name by this system's DNS servers.
    Resolve {
        /// For example ntp.example.org.
        name: String,
        /// How to print.
        #[command(flatten)]
        output: Output,
    },
    /// Shows or changes this system's settings: names, addresses, servers, time zone, SSH.
    #[command(subcommand)]
    Settings(system::Settings),
    /// Shows or renews this system's own certificate.
    #[command(subcommand)]
    Certificate(system::Certificate),
    /// Restarts the service.
    Restart(system::Sure),
    /// Restarts the machine.
    Reboot(system::Sure),
    /// Switches the machine off.
    Shutdown(system::Sure),
}

/// How to print.
#[derive(Clone, Copy, Debug, Args)]
pub struct Output {
    /// Print JSON for programs.
    #[arg(long)]
    json: bool,
}

/// `tutti cluster ...`
#[derive(Clone, Debug, Subcommand)]
pub enum Cluster {
    /// Shows the fields; the key itself is never shown.
    Show(Output),
    /// Sets all three peer fields, and whatever else is given; a peer left out becomes blank.
    Set(Box<cluster::Set>),
    /// Deletes key, peers and certificates: this system leaves its cluster and keeps its data.
    Clear(Output),
    /// Prints a new random key.
    GenerateKey(Output),
}

/// `tutti tables ...`
#[derive(Clone, Debug, Subcommand)]
pub enum Tables {
    /// Lists the tables.
    List(Output),
    /// Shows the rows of one.
    Show {
        /// The table.
        name: String,
        /// Rows at most.
        #[arg(long, default_value_t = 100)]
        limit: u64,
        /// How to print.
        #[command(flatten)]
        output: Output,
    },
    /// Declares and loads every table of an SQLite file.
    Import {
        /// The file.
        file: PathBuf,
        /// How to print.
        #[command(flatten)]
        output: Output,
    },
    /// Declares tables, indexes and triggers everywhere, or drops them: CREATE TABLE, CREATE
    /// INDEX, CREATE TRIGGER and DROP statements, each ended by a semicolon.
    Declare {
        /// File with the statements, or - for standard input.
        file: PathBuf,
        /// Who chooses the ids of new tables: "engine" hands out integers that no other peer does.
        #[arg(long, value_parser = ["natural", "engine"], default_value = "natural")]
        keys: String,
        /// How to print.
        #[command(flatten)]
        output: Output,
    },
    /// Drops one declared table with all its rows, at every peer.
    Drop {
        /// The table.
        name: String,
        /// How to print.
        #[command(flatten)]
        output: Output,
    },
    /// Shows the digest over all rows: equal on peers that have converged.
    Digest(Output),
    /// Writes one row, given as a JSON object.
    Insert {
        /// The table.
        name: String,
        /// The row, for example '{"id": "a", "text": "b"}'.
        row: String,
        /// How to print.
        #[command(flatten)]
        output: Output,
    },
    /// Deletes the row of a key, given as a JSON object.
    Delete {
        /// The table.
        name: String,
        /// The key's columns, for example '{"id": "a"}'.
        key: String,
        /// How to print.
        #[command(flatten)]
        output: Output,
    },
}

/// `tutti conflicts`, `tutti conflicts restore ID` and `tutti conflicts dismiss ID`
#[derive(Clone, Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Conflicts {
    #[command(subcommand)]
    act: Option<ConflictAct>,
    /// Only this table's.
    #[arg(long)]
    table: Option<String>,
    /// Only this column's.
    #[arg(long)]
    column: Option<String>,
    /// Only keys that contain this text.
    #[arg(long)]
    key: Option<String>,
    /// Only lost values that contain this text.
    #[arg(long)]
    text: Option<String>,
    /// Only what was written at or after this, in milliseconds since 1970.
    #[arg(long)]
    since_ms: Option<u64>,
    /// Only what was written before this, in milliseconds since 1970.
    #[arg(long)]
    until_ms: Option<u64>,
    /// How many to leave out first.
    #[arg(long, default_value_t = 0)]
    offset: u64,
    /// How many at most, 1 to 1000.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u64).range(1..=1000))]
    limit: u64,
    /// How to print.
    #[command(flatten)]
    output: Output,
}

/// What to do with one conflict.
#[derive(Clone, Debug, Subcommand)]
pub enum ConflictAct {
    /// Writes a lost value again, as a change of now.
    Restore {
        /// The conflict's id, as listed.
        id: String,
        /// How to print.
        #[command(flatten)]
        output: Output,
    },
    /// Takes a conflict out of the inbox at every peer.
    Dismiss {
        /// The conflict's id, as listed.
        id: String,
        /// How to print.
        #[command(flatten)]
        output: Output,
    },
}

type Failure = Box<dyn std::error::Error>;

/// Runs one command.
pub fn run(dirs: &Dirs, command: Command) -> Result<(), Failure> {
    let client = Client::new(dirs.run.join("serve.sock"))?;
    match command {
        Command::Status(output) => show(output, client.get("/status")?, print::status),
        Command::Peers(output) => show(output, client.get("/peers")?, print::peers),
        Command::Cluster(command) => cluster(&client, command),
        Command::Tables(command) => tables(&client, command),
        Command::Conflicts(command) => conflicts(&client, command),
        Command::Events(command) => events::events(&client, command),
        Command::Alarms(command) => events::alarms(&client, command),
        Command::Prerequisites(output) => {
            show(output, client.get("/prerequisites")?, print::prerequisites)
        }
        Command::Time(output) => show(output, client.get("/time")?, print::time),
        Command::Accounts(command) => events::accounts(&client, command),
        Command::Tokens(command) => tokens::tokens(&client, command),
        Command::Resolve { name, output } => {
            let path = format!("/resolve?name={}", http::encoded(&name));
            show(output, client.get(&path)?, print::resolved)
        }
        Command::Settings(command) => system::settings(&client, command),
        Command::Certificate(command) => system::certificate(&client, command),
        Command::Restart(sure) => system::interrupt(&client, "restart", sure),
        Command::Reboot(sure) => system::interrupt(&client, "reboot", sure),
        Command::Shutdown(sure) => system::interrupt(&client, "shutdown", sure),
    }
}

fn conflicts(client: &Client, command: Conflicts) -> Result<(), Failure> {
    match &command.act {
        Some(ConflictAct::Restore { id, output }) => {
            let path = format!("/conflicts/{}/restore", http::encoded(id));
            let answer = client.send(Method::POST, &path, &Value::Null)?;
            return show(*output, answer, |_| "Restored.\n".into());
        }
        Some(ConflictAct::Dismiss { id, output }) => {
            let path = format!("/conflicts/{}", http::encoded(id));
            let answer = client.send(Method::DELETE, &path, &Value::Null)?;
            return show(*output, answer, |_| "Dismissed.\n".into());
        }
        None => {}
    }
    let mut path = format!(
        "/conflicts?offset={}&limit={}",
        command.offset, command.limit
    );
    let texts = [
        ("table", command.table),
        ("column", command.column),
        ("key", command.key),
        ("text", command.text),
        ("since_ms", command.since_ms.map(|ms| ms.to_string())),
        ("until_ms", command.until_ms.map(|ms| ms.to_string())),
    ];
    for (name, text) in texts {
        if let Some(text) = text {
            path.push_str(&format!("&{name}={}", http::encoded(&text)));
        }
    }
    show(command.output, client.get(&path)?, print::conflicts)
}

fn show(output: Output, answer: Value, people: fn(&Value) -> String) -> Result<(), Failure> {
    match output.json {
        true => println!("{}", serde_json::to_string_pretty(&answer)?),
        false => print!("{}", people(&answer)),
    }
    Ok(())
}

fn cluster(client: &Client, command: Cluster) -> Result<(), Failure> {
    match command {
        Cluster::Show(output) => show(output, client.get("/cluster")?, print::cluster),
        Cluster::Set(set) => {
            let answer = client.send(Method::PUT, "/cluster", &set.body()?)?;
            show(set.output, answer, print::cluster)
        }
        Cluster::Clear(output) => {
            let answer = client.send(Method::DELETE, "/cluster", &Value::Null)?;
            show(output, answer, print::cluster)
        }
        Cluster::GenerateKey(output) => {
            let answer = client.send(Method::POST, "/cluster/key", &Value::Null)?;
            show(output, answer, print::key)
        }
    }
}

/// Longest script of declarations, in bytes.
const SCRIPT_MAX: u64 = 512 << 10;

/// A file's text, or standard input's for `-`.
fn read_text(path: &std::path::Path, max: u64) -> Result<String, Failure> {
    let mut text = String::new();
    let read = if path.as_os_str() == "-" {
        std::io::stdin().take(max + 1).read_to_string(&mut text)?
    } else {
        let file = std::fs::File::open(path).map_err(|e| format!("{}: {e}", path.display()))?;
        file.take(max + 1).read_to_string(&mut text)?
    };
    match read as u64 > max {
        true => Err(format!("{}: more than {max} bytes", path.display()).into()),
        false => Ok(text),
    }
}

fn tables(client: &Client, command: Tables) -> Result<(), Failure> {
    match command {
        Tables::List(output) => show(output, client.get("/tables")?, print::tables),
        Tables::Show {
            name,
            limit,
            output,
        } => {
            let path = format!("/tables/{}/rows?limit={limit}", http::encoded(&name));
            show(output, client.get(&path)?, print::rows)
        }
        Tables::Import { file, output } => show(
            output,
            client.upload("/tables/import", &file)?,
            print::tables,
        ),
        Tables::Declare { file, keys, output } => {
            let body = json!({ "sql": read_text(&file, SCRIPT_MAX)?, "keys": keys });
            let answer = client.send(Method::POST, "/tables", &body)?;
            show(output, answer, |_| "Declared.\n".into())
        }
        Tables::Drop { name, output } => {
            let sql = format!("DROP TABLE \"{}\"", name.replace('"', "\"\""));
            let answer = client.send(Method::POST, "/tables", &json!({ "sql": sql }))?;
            show(output, answer, |_| "Dropped.\n".into())
        }
        Tables::Digest(output) => show(output, client.get("/digest")?, print::digest),
        Tables::Insert { name, row, output } => {
            let row: Value = serde_json::from_str(&row)?;
            let path = format!("/tables/{}/rows", http::encoded(&name));
            show(output, client.send(Method::POST, &path, &row)?, |_| {
                "Written.\n".into()
            })
        }
        Tables::Delete { name, key, output } => {
            let key: Value = serde_json::from_str(&key)?;
            let path = format!("/tables/{}/rows", http::encoded(&name));
            show(
                output,
                client.send(Method::DELETE, &path, &key)?,
                print::deleted,
            )
        }
    }
}
