//! `tutti tokens`: API tokens of programs.

use clap::Subcommand;
use hyper::Method;
use serde_json::{Value, json};

use super::http::{Client, encoded};
use super::{Failure, Output, print, show};

/// `tutti tokens ...`
#[derive(Clone, Debug, Subcommand)]
pub enum Tokens {
    /// Lists the tokens, without their secrets.
    List(Output),
    /// Makes one and prints it, this once.
    Create {
        /// What it is for.
        label: String,
        /// The account that it acts for; it may what this account may, and dies with it.
        #[arg(long)]
        owner: String,
        /// Let it read only, whatever its owner may.
        #[arg(long)]
        read_only: bool,
        /// How to print.
        #[command(flatten)]
        output: Output,
    },
    /// Revokes one: from now on it is refused at every peer.
    Revoke {
        /// The token's id, as listed.
        id: String,
        /// How to print.
        #[command(flatten)]
        output: Output,
    },
}

/// Runs `tutti tokens`.
pub fn tokens(client: &Client, command: Tokens) -> Result<(), Failure> {
    match command {
        Tokens::List(output) => show(output, client.get("/tokens")?, print::tokens),
        Tokens::Create {
            label,
            owner,
            read_only,
            output,
        } => {
            let body = json!({ "label": label, "owner": owner, "read_only": read_only });
            let answer = client.send(Method::POST, "/tokens", &body)?;
            show(output, answer, print::token)
        }
        Tokens::Revoke { id, output } => {
            let path = format!("/tokens/{}", encoded(&id));
            let answer = client.send(Method::DELETE, &path, &Value::Null)?;
            show(output, answer, |_| "Revoked.\n".into())
        }
    }
}
