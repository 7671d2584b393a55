//! The bound of the conflict inbox: past it the oldest entries move to a file beside the database,
//! of which so much is kept.

use std::fs::File;
use std::io::Write;

use rusqlite::{Connection, OptionalExtension, params};

use super::inbox::{is_private, spoken};
use super::joining::sync_directory;
use super::snapshot::named;
use super::{Store, StoreError, lock};
use crate::replica::value::{Value, decode, decode_key};

/// How many entries the inbox holds.
pub const ENTRIES_MAX: u64 = 10_000;
/// How many bytes of keys and values it holds.
pub const BYTES_MAX: u64 = 16 << 20;
/// How many entries of the overflow leave at a time, so that this is rare.
const STEP: u64 = 1_000;
/// How large the file gets before it is set aside and takes the place of the one set aside before.
const FILE_MAX: u64 = if cfg!(test) { 1 << 20 } else { 64 << 20 };

/// The inbox's size as of its last counted entry.
#[derive(Debug, Default)]
pub(super) struct Size {
    last: i64,
    entries: u64,
    bytes: u64,
}

impl Size {
    /// Counts what came since.
    fn follow(&mut self, db: &Connection) -> Result<(), StoreError> {
        let newest = "SELECT coalesce(max(rowid), 0) FROM _tutti_conflict";
        let newest: i64 = db.prepare_cached(newest)?.query_row([], |row| row.get(0))?;
        if newest < self.last {
            // Another database file is in place.
            *self = Size::default();
        }
        if newest > self.last {
            let since = "SELECT count(*), coalesce(sum(length(key) + length(value)), 0) \
                         FROM _tutti_conflict WHERE rowid > ?";
            let (entries, bytes): (i64, i64) = db
                .prepare_cached(since)?
                .query_row([self.last], |row| Ok((row.get(0)?, row.get(1)?)))?;
            self.entries += entries as u64;
            self.bytes += bytes as u64;
            self.last = newest;
        }
        Ok(())
    }

    fn over(&self) -> bool {
        self.entries > ENTRIES_MAX || self.bytes > BYTES_MAX
    }
}

/// What leaves the inbox at once.
#[derive(Default)]
struct Step {
    /// The last row's number.
    last: i64,
    entries: u64,
    bytes: u64,
    /// How many of them are in the file.
    written: u64,
}

/// One exported entry, a line of JSON.
#[derive(serde::Serialize)]
struct Line {
    id: String,
    table: String,
    key: Vec<String>,
    column: String,
    value: Vec<String>,
    written_ms: u64,
}

fn text(value: &Value) -> String {
    match value {
        Value::Blob(bytes) => bytes.iter().map(|byte| format!("{byte:02x}")).collect(),
        other => spoken(other),
    }
}

/// Lets go of what an operator has dealt with; how many entries that were.
fn dismissed(db: &Connection) -> Result<usize, StoreError> {
    let sql = "DELETE FROM _tutti_conflict WHERE id IN (SELECT id FROM _tutti_dismissed)";
    Ok(db.execute(sql, [])?)
}

impl Store {
    /// Where entries that the inbox cannot hold go, one JSON object a line.
    pub fn exported_path(&self) -> std::path::PathBuf {
        self.inner.path.with_file_name("conflicts-exported.jsonl")
    }

    /// How many entries went there.
    pub fn exported_conflicts(&self) -> Result<u64, StoreError> {
        self.read(|reader| {
            let sql = "SELECT entries FROM _tutti_exported";
            let entries: Option<i64> = reader
                .connection
                .query_row(sql, [], |row| row.get(0))
                .optional()?;
            Ok(entries.unwrap_or(0) as u64)
        })
    }

    /// Moves the oldest entries out where the inbox is too large, those that are dismissed aside:
    /// first to the file, durably, then out of the database. A crash between leaves some in both.
    /// Where it cannot be done they stay for now: what brought them is committed.
    pub(super) fn bound_inbox(&self) {
        if let Err(error) = self.export_overflow() {
            tracing::warn!(%error, "the oldest conflicts could not leave the full inbox yet");
        }
    }

    fn export_overflow(&self) -> Result<(), StoreError> {
        let mut size = lock(&self.inner.inbox);
        let mut writer = self.writer()?;
        size.follow(&writer.db)?;
        if size.over() && writer.atomically(|writer| dismissed(&writer.db))? > 0 {
            *size = Size::default();
            size.follow(&writer.db)?;
        }
        while size.over() {
            let step = self.export(&writer.db)?;
            let (written, gone) = (step.written, step.entries);
            if gone == 0 {
                return Ok(());
            }
            writer.atomically(|writer| {
                let db = &writer.db;
                db.execute("DELETE FROM _tutti_conflict WHERE rowid <= ?", [step.last])?;
                let add = "UPDATE _tutti_exported SET entries = entries + ?";
                if db.execute(add, [written as i64])? == 0 {
                    let first = "INSERT INTO _tutti_exported(entries) VALUES (?)";
                    db.execute(first, params![written as i64])?;
                }
                Ok(())
            })?;
            size.entries = size.entries.saturating_sub(gone);
            size.bytes = size.bytes.saturating_sub(step.bytes);
            tracing::warn!(
                alarm = "conflict inbox full",
                "{written} of the oldest conflicts moved to {}",
                self.exported_path().display()
            );
        }
        Ok(())
    }

    /// Appends the oldest entries to the file, but for administrators' rows, which are shown
    /// nowhere.
    fn export(&self, db: &Connection) -> Result<Step, StoreError> {
        let path = self.exported_path();
        let held = std::fs::metadata(&path).map_or(0, |meta| meta.len());
        if held >= FILE_MAX {
            let aside = path.with_extension("1.jsonl");
            tracing::warn!(
                alarm = "conflict inbox full",
                "{} is full and becomes {}; what that held is gone",
                path.display(),
                aside.display()
            );
            named(&path, std::fs::rename(&path, aside))?;
        }
        let opened = File::options().append(true).create(true).open(&path);
        let mut file = named(&path, opened)?;
        let held = named(&path, file.metadata())?.len();
        if held == 0 {
            sync_directory(&path)?;
        }
        let mut statement = db.prepare_cached(
            "SELECT rowid, id, tbl, key, col, value, hlc FROM _tutti_conflict \
             ORDER BY rowid LIMIT ?",
        )?;
        let mut rows = statement.query([STEP as i64])?;
        let (mut step, mut lines) = (Step::default(), Vec::new());
        while let Some(row) = rows.next()? {
            let (id, key, value): (Vec<u8>, Vec<u8>, Vec<u8>) =
                (row.get(1)?, row.get(3)?, row.get(5)?);
            step.bytes += (key.len() + value.len()) as u64;
            step.entries += 1;
            step.last = row.get(0)?;
            let table: String = row.get(2)?;
            if is_private(&table) {
                continue;
            }
            let texts = |values: Option<Vec<Value>>| -> Vec<String> {
                values.unwrap_or_default().iter().map(text).collect()
            };
            let line = Line {
                id: text(&Value::Blob(id)),
                table,
                key: texts(decode_key(&key)),
                column: row.get(4)?,
                value: texts(decode(&value)),
                written_ms: (row.get::<_, i64>(6)? as u64) >> 16,
            };
            serde_json::to_writer(&mut lines, &line)
                .map_err(|error| StoreError::Damaged(error.to_string()))?;
            lines.push(b'\n');
            step.written += 1;
        }
        if let Err(error) = file.write_all(&lines).and_then(|()| file.sync_data()) {
            // They come again, whole.
            named(&path, file.set_len(held))?;
            return named(&path, Err(error));
        }
        Ok(step)
    }
}
