//! One committed transaction as row changes: what the log holds and peers exchange verbatim.

use serde::{Deserialize, Serialize};

use super::clock::{Hlc, MAX_GENERATION, Stamp};
use super::conflict::Conflict;
use super::frontier::{Position, tag};
use super::payload::{LARGE, Payload, Window};
use super::rows::{LargeRows, Rows};
use super::schema::{DeclarationId, Keys};
use super::value::{Value, at_most, few};
use super::{Incarnation, NodeId};
use crate::wire::replication::MAX_ORIGINS;
use crate::wire::replication::Tag;

/// The largest encoded transaction, in bytes; a larger one is refused where it is written.
pub const MAX_TRANSACTION: usize = 256 << 20;

/// One transaction of one origin.
#[derive(Clone, Debug, PartialEq)]
pub struct Transaction {
    /// The start of the node that wrote it.
    pub origin: Incarnation,
    /// Its number there, from 1 without a gap.
    pub seq: u64,
    /// When; the version of every cell it writes.
    pub hlc: Hlc,
    /// Who wrote it and what it had seen.
    pub head: Head,
    /// What it did.
    pub body: Body,
}

/// What a transaction says of its origin.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Head {
    /// The node, told in the incarnation's first transaction only.
    pub node: Option<NodeId>,
    /// What the origin had applied of others, as far as it changed since its previous one. Of what
    /// was issued again the transaction before it, too ([`Transaction::is_again`]).
    #[serde(deserialize_with = "origins")]
    pub deps: Vec<Dep>,
}

/// One for each origin, of which a hello has to name all.
fn origins<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<Dep>, D::Error> {
    at_most(deserializer, MAX_ORIGINS)
}

/// A transaction that another had seen. The tag says of which history it is, should its number
/// mean two things; as transactions are hashed with what they depend on, one chain hash stands for
/// all that was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dep {
    /// Whose.
    pub origin: Incarnation,
    /// Which.
    pub seq: u64,
    /// Of the chain hash after it.
    pub tag: Tag,
}

impl Dep {
    /// On an origin's transaction at a position.
    pub fn new(origin: Incarnation, at: &Position) -> Self {
        Dep {
            origin,
            seq: at.seq,
            tag: tag(&at.chain),
        }
    }
}

/// A transaction as logged and sent: `bytes` say everything but whose it is and which.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Logged {
    /// Who wrote it.
    pub origin: Incarnation,
    /// Its number there.
    pub seq: u64,
    /// Its time after the origin's previous one, its head, and its body.
    pub bytes: Payload,
    /// Of the chain hash after it, where that is known: it follows on the history that it is of.
    pub chain: Option<Tag>,
}

impl Logged {
    /// Whether it is the same transaction of the same history, where both are of one number.
    pub fn is_same(&self, other: &Logged) -> bool {
        match (&self.chain, &other.chain) {
            (Some(mine), Some(theirs)) => mine == theirs,
            _ => self.bytes == other.bytes,
        }
    }

    /// The transaction, its origin's previous one being of `previous` (0 before the first);
    /// `None` where the bytes are none, or time stands still.
    pub fn decode(&self, previous: Hlc) -> Option<Transaction> {
        let (later, head, body) = decode(&self.bytes)?;
        if later == 0 {
            return None;
        }
        Some(Transaction {
            origin: self.origin,
            seq: self.seq,
            hlc: Hlc(previous.0.checked_add(later)?),
            head,
            body,
        })
    }
}

/// The first of a transaction's parts, its body unread: how much later than its origin's
/// previous one, and its head. `None` where the bytes are none, or cannot be read.
pub fn peek(bytes: &Payload) -> Option<(u64, Head)> {
    Window::new(bytes, 0).take().ok()?
}

/// A transaction's parts: how much later than its origin's previous one, head, body. The rows of
/// one that is large and not in memory stay where they are.
pub fn decode(bytes: &Payload) -> Option<(u64, Head, Body)> {
    match bytes {
        Payload::Stored(source) if source.size() >= LARGE as u64 => {
            let mut window = Window::new(bytes, 0);
            let (later, head) = window.take().ok()??;
            // The number of the body's kind: rows are 0, and of others nothing is that large but
            // one value that lost.
            let count = match window.take::<(u32, u64)>().ok()?? {
                (0, count) => count,
                (2, 1) => return whole(bytes),
                _ => return None,
            };
            let rows = Rows::Large(LargeRows {
                bytes: bytes.clone(),
                start: window.offset(),
                count,
            });
            Some((later, head, Body::Rows(rows)))
        }
        _ => whole(bytes),
    }
}

fn whole(bytes: &Payload) -> Option<(u64, Head, Body)> {
    let mut window = Window::new(bytes, 0);
    let parts = window.take().ok()??;
    (window.offset() == bytes.size()).then_some(parts)
}

impl Transaction {
    /// The version its writes carry.
    pub fn stamp(&self) -> Stamp {
        Stamp {
            hlc: self.hlc,
            origin: self.origin,
            seq: self.seq,
        }
    }

    /// Whether it was issued again, and says so by naming its own origin. What it writes was never
    /// checked against the rows that a peer has, who lacks what it is issued in place of: it is
    /// merged everywhere.
    pub fn is_again(&self) -> bool {
        self.head.deps.iter().any(|dep| dep.origin == self.origin)
    }

    /// Its bytes, its origin's previous transaction being of `previous`; of one with large rows
    /// those that precede the rows.
    pub fn encode(&self, previous: Hlc) -> Vec<u8> {
        let later = self.hlc.0.saturating_sub(previous.0);
        let bytes = Vec::with_capacity(256);
        match &self.body {
            Body::Rows(Rows::Large(rows)) => {
                postcard::to_extend(&(later, &self.head, 0u32, rows.count), bytes)
            }
            body => postcard::to_extend(&(later, &self.head, body), bytes),
        }
        .unwrap_or_default()
    }
}

/// What a transaction did.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Body {
    /// Wrote rows.
    Rows(Rows),
    /// Declared or dropped a table, an index or a trigger.
    Schema {
        /// The CREATE or DROP statement.
        sql: String,
        /// Who chooses the ids, of a table.
        keys: Keys,
        /// A declaration's own id; of a DROP 0.
        id: DeclarationId,
        /// The table of an index or a trigger; all that a DROP ends.
        on: Vec<DeclarationId>,
    },
    /// Tells what lost against, or as, a version that is issued again: nobody else compares it.
    Lost(Vec<Conflict>),
}

/// The changes of one table.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TableChange {
    /// Its declaration, which also numbers the columns.
    pub table: DeclarationId,
    /// Its changed rows.
    pub rows: Vec<RowChange>,
}

/// What became of one row.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RowChange {
    /// The primary key's values, in key order.
    #[serde(deserialize_with = "few")]
    pub key: Vec<Value>,
    /// The row's generation after this change: odd alive, even deleted.
    pub generation: u32,
    /// The change.
    pub write: RowWrite,
}

impl RowChange {
    /// Whether the generation is one that rows have after such a change.
    pub fn has_its_generation(&self) -> bool {
        let deletes = matches!(self.write, RowWrite::Delete);
        (1..=MAX_GENERATION).contains(&self.generation)
            && deletes == self.generation.is_multiple_of(2)
    }
}

/// What was written to a row. Columns are numbered by their declaration, generated ones left out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum RowWrite {
    /// A new row, all its columns.
    Insert(#[serde(deserialize_with = "few")] Vec<Value>),
    /// Some columns of a living row.
    Update(#[serde(deserialize_with = "few")] Vec<(u16, Value)>),
    /// The row is gone.
    Delete,
}
