//! Why a storage call failed, in words for who reads the log.

use std::path::PathBuf;

use crate::replica::Incarnation;
use crate::replica::rows::RowsError;

/// Why a storage call failed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// SQLite said no; its words.
    #[error("SQLite: {0}")]
    Sqlite(rusqlite::Error),
    /// The disk is full, or the database has the size it may have.
    #[error(
        "the disk, or the share of it that the database may take, is full: delete rows that are \
         not needed, or give the system a larger disk"
    )]
    Full,
    /// The file system said no.
    #[error("{path}: {source}")]
    Io {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A table that cannot be replicated; says what to do instead.
    #[error("{0}")]
    Schema(String),
    /// A statement that has no place in a transaction.
    #[error("{0}")]
    Statement(String),
    /// The transaction is larger than a peer takes.
    #[error("the transaction holds {size} bytes, at most {max} replicate; commit in smaller steps")]
    TooLarge {
        /// Its size.
        size: usize,
        /// The limit.
        max: usize,
    },
    /// The disk has no room for what is about to be written.
    #[error(
        "the disk has {} MiB free, {what} needs {}: free some space",
        free >> 20, (needed >> 20) + 1
    )]
    NoRoom {
        /// For what.
        what: &'static str,
        /// In bytes.
        needed: u64,
        /// In bytes.
        free: u64,
    },
    /// A peer sent a transaction out of order or one that cannot be.
    #[error("from a peer: {0}")]
    Peer(String),
    /// The log no longer goes back to what a peer holds.
    #[error(
        "the log of origin {origin:016x} goes back to {first} only and the peer holds {held}: it \
         needs a snapshot"
    )]
    NeedsSnapshot {
        /// Which origin.
        origin: Incarnation,
        /// What the peer holds of it.
        held: u64,
        /// Through which transaction the log was trimmed.
        first: u64,
    },
    /// A snapshot of a system whose clock, or whose peers' clocks, are too far ahead of ours.
    #[error(
        "the snapshot holds transactions stamped {ms} ms ahead of this system's clock and is not \
         taken: check the time of both systems"
    )]
    Ahead {
        /// How far the latest is ahead, in milliseconds.
        ms: u64,
    },
    /// One incarnation with two histories.
    #[error("another history of origin {origin:016x} at {seq}: one side was restored or copied")]
    Fork {
        /// Which origin.
        origin: Incarnation,
        /// Where it was seen.
        seq: u64,
    },
    /// What lies on the disk is not what SQLite wrote there.
    #[error("the database is damaged on the disk ({0})")]
    Corrupt(String),
    /// The database contradicts itself.
    #[error("replicated.db is damaged: {0}")]
    Damaged(String),
    /// A sync of the disk failed; what was committed since is not known to be safe.
    #[error("the disk did not take the last writes ({0}); restart the service once it is well")]
    NotDurable(String),
    /// A caller's own refusal inside a transaction, which rolls it back.
    #[error("{0}")]
    Refused(String),
}

impl From<RowsError> for StoreError {
    fn from(error: RowsError) -> Self {
        match error {
            RowsError::Malformed => StoreError::Peer(error.to_string()),
            RowsError::Io(source) => StoreError::Io {
                path: "a large transaction".into(),
                source,
            },
        }
    }
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(rusqlite::ErrorCode::DiskFull) => StoreError::Full,
            Some(rusqlite::ErrorCode::DatabaseCorrupt | rusqlite::ErrorCode::NotADatabase) => {
                StoreError::Corrupt(error.to_string())
            }
            _ => StoreError::Sqlite(error),
        }
    }
}
