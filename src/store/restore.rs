//! What an operator does with the conflict inbox: look, restore, dismiss.

use std::sync::Arc;

use super::inbox::{ConflictQuery, ConflictRow, list};
use super::{Store, StoreError, Tx, keys, lock, schema};
use crate::replica::value::{Value, encode_key};

/// What an operator does about a row that lost a UNIQUE value.
const COMES_BACK_UNIQUE: &str = "this row comes back by itself when the row that has its UNIQUE \
                                 value is changed or deleted";
/// What an operator does about a row without its parent.
const COMES_BACK_FOREIGN: &str = "this row comes back by itself when the row it points at exists";

impl Store {
    /// The first entries of the conflict inbox.
    pub fn conflicts(&self, limit: usize) -> Result<Vec<ConflictRow>, StoreError> {
        self.conflicts_matching(&ConflictQuery {
            limit,
            ..ConflictQuery::default()
        })
    }

    /// The entries of the conflict inbox that a query asks for.
    pub fn conflicts_matching(
        &self,
        query: &ConflictQuery,
    ) -> Result<Vec<ConflictRow>, StoreError> {
        let tables = lock(&self.inner.shown).tables.clone();
        if tables.iter().any(|table| table.is_shelf()) {
            // Rows there may not have their clocks yet.
            self.fold()?;
        }
        self.read(|reader| list(reader.connection, &tables, query))
    }

    fn conflict(&self, id: &[u8; 16]) -> Result<ConflictRow, StoreError> {
        let found = self.conflicts(usize::MAX)?;
        let found = found.into_iter().find(|row| row.id == *id);
        found.ok_or_else(|| StoreError::Refused("there is no such conflict any more".into()))
    }

    /// Writes a value that lost, as any operator's write, and takes its entry out of the inbox.
    /// Tells the entry, and the value that was there instead; none where the row was deleted.
    pub fn restore_conflict(
        &self,
        id: &[u8; 16],
    ) -> Result<(ConflictRow, Option<Value>), StoreError> {
        let row = self.conflict(id)?;
        let why = match row.reason.as_str() {
            "later write" => {
                let before = self.write_back(&row)?;
                return Ok((row, before));
            }
            "UNIQUE" => COMES_BACK_UNIQUE,
            "FOREIGN KEY" => COMES_BACK_FOREIGN,
            "declared differently" => {
                "the name is taken by an earlier declaration; declare the table under another \
                 name and insert its rows there"
            }
            "does not fit" => {
                "it is no row of the table that has this name; insert there what is wanted of it"
            }
            _ => "its table is not here; declare one and insert the row there",
        };
        Err(StoreError::Refused(why.into()))
    }

    fn write_back(&self, entry: &ConflictRow) -> Result<Option<Value>, StoreError> {
        let (table, _) = self.table(&entry.table)?;
        let quote = schema::quote;
        let column = quote(&entry.column);
        let key: Vec<String> = table.key_names().iter().map(|name| quote(name)).collect();
        let terms: Vec<String> = key.iter().map(|name| format!("{name} = ?")).collect();
        let name = quote(&table.name);
        let terms = terms.join(" AND ");
        let select = format!("SELECT {column} FROM {name} WHERE {terms}");
        let update = format!("UPDATE {name} SET {column} = ? WHERE {terms}");
        let marks = vec!["?"; key.len() + 1].join(", ");
        let insert = format!(
            "INSERT INTO {name} ({column}, {}) VALUES ({marks})",
            key.join(", ")
        );
        let values: Vec<Value> = entry.value.iter().chain(&entry.key).cloned().collect();
        let hidden = [table.id.into(), Value::Blob(encode_key(&entry.key))];
        let keys = Arc::clone(&lock(&self.writer()?.capture).keys);
        keys::restoring(&keys, Some(&entry.key));
        let restored = self.transact(|tx| {
            // A parked row lives, though the table does not have it.
            let select_hidden = "SELECT reason FROM _tutti_hidden WHERE tbl = ? AND key = ?";
            if let Some(Value::Text(reason)) = tx.query(select_hidden, &hidden)?.concat().pop() {
                let why = match reason == "UNIQUE" {
                    true => COMES_BACK_UNIQUE,
                    false => COMES_BACK_FOREIGN,
                };
                let why = format!("{reason}: {why}; restore the value then");
                return Err(StoreError::Refused(why));
            }
            let before = tx.query(&select, &entry.key)?.pop();
            if tx.execute(&update, &values)? == 0 {
                // The row was deleted: it begins again with what is known of it.
                let keyed = table.key_names().contains(&entry.column);
                match keyed {
                    true => return Err(StoreError::Refused("the row is deleted".into())),
                    false => tx.execute(&insert, &values)?,
                };
            }
            dismiss(tx, &entry.id)?;
            Ok(before.and_then(|mut row| row.pop()))
        });
        keys::restoring(&keys, None);
        restored
    }

    /// Takes an entry out of the inbox at every peer. Parked rows and declarations are no entries:
    /// they leave with their reason. Tells the entry.
    pub fn dismiss_conflict(&self, id: &[u8; 16]) -> Result<ConflictRow, StoreError> {
        let row = self.conflict(id)?;
        match row.reason.as_str() {
            "UNIQUE" | "FOREIGN KEY" => Err(StoreError::Refused(
                "this row still lives and comes back by itself when its obstacle is gone".into(),
            )),
            "declared differently" => Err(StoreError::Refused(
                "drop the declaration instead: it goes with all its rows".into(),
            )),
            _ => {
                self.transact(|tx| dismiss(tx, id))?;
                Ok(row)
            }
        }
    }
}

fn dismiss(tx: &mut Tx<'_>, id: &[u8; 16]) -> Result<(), StoreError> {
    let id = Value::Blob(id.to_vec());
    tx.engine(
        "INSERT OR IGNORE INTO _tutti_dismissed(id) VALUES (?)",
        &[id],
    )?;
    Ok(())
}
