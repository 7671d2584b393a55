//! Commands that ask `serve` over its local socket: status, peers, cluster, tables, conflicts.

mod http;
mod print;

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
    /// Lists values that lost against a concurrent change.
    Conflicts(Output),
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
    /// Sets all three peer fields, and the key if one is given; a field left out becomes blank.
    Set {
        /// File with the cluster pre-shared key, or - for standard input. Default: keep the key.
        #[arg(long)]
        key_file: Option<PathBuf>,
        /// Peer 1 IP address.
        #[arg(long, default_value = "")]
        peer1: String,
        /// Peer 2 IP address.
        #[arg(long, default_value = "")]
        peer2: String,
        /// Peer 3 IP address.
        #[arg(long, default_value = "")]
        peer3: String,
        /// How to print.
        #[command(flatten)]
        output: Output,
    },
    /// Deletes key and peers: this system leaves its cluster and keeps its data.
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
    /// Declares one table everywhere: a CREATE TABLE statement.
    Declare {
        /// The statement.
        sql: String,
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

type Failure = Box<dyn std::error::Error>;

/// Runs one command.
pub fn run(dirs: &Dirs, command: Command) -> Result<(), Failure> {
    let client = Client::new(dirs.run.join("serve.sock"))?;
    match command {
        Command::Status(output) => show(output, client.get("/status")?, print::status),
        Command::Peers(output) => show(output, client.get("/peers")?, print::peers),
        Command::Cluster(command) => cluster(&client, command),
        Command::Tables(command) => tables(&client, command),
        Command::Conflicts(output) => show(output, client.get("/conflicts")?, print::conflicts),
    }
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
        Cluster::Set {
            key_file,
            peer1,
            peer2,
            peer3,
            output,
        } => {
            let key = key_file.map(|path| read_key(&path)).transpose()?;
            let body = json!({ "key": key, "peer1": peer1, "peer2": peer2, "peer3": peer3 });
            show(
                output,
                client.send(Method::PUT, "/cluster", &body)?,
                print::cluster,
            )
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

/// The key without the line end that editors and `echo` leave.
fn read_key(path: &std::path::Path) -> Result<String, Failure> {
    let mut text = String::new();
    if path.as_os_str() == "-" {
        std::io::stdin().take(4096).read_to_string(&mut text)?;
    } else {
        let file = std::fs::File::open(path).map_err(|e| format!("{}: {e}", path.display()))?;
        file.take(4096).read_to_string(&mut text)?;
    }
    let key = text.trim_end_matches(['\r', '\n']);
    if key.is_empty() {
        return Err("the key is empty; to leave a cluster use: tutti cluster clear".into());
    }
    Ok(key.to_owned())
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
        Tables::Declare { sql, output } => {
            let answer = client.send(Method::POST, "/tables", &json!({ "sql": sql }))?;
            show(output, answer, |_| "Declared.\n".into())
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
