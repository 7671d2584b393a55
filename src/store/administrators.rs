//! Web administrators: a replicated table, so that the same people log in at every peer.

use super::{Store, StoreError};
use crate::replica::value::Value;

/// The table; passwords are argon2id in PHC form.
pub const TABLE: &str = "CREATE TABLE administrator (
    name TEXT PRIMARY KEY NOT NULL,
    hash TEXT NOT NULL,
    role TEXT NOT NULL,
    change_password INTEGER NOT NULL
)";

/// Tables of ours that no general page or API may show or write.
pub const PRIVATE_TABLES: &[&str] = &["administrator"];

/// One administrator.
#[derive(Clone, PartialEq, Eq)]
pub struct Administrator {
    /// The login name.
    pub name: String,
    /// The password, argon2id in PHC form.
    pub hash: String,
    /// `administrator` or `auditor` (reads only).
    pub role: String,
    /// Whether the password is a default one that must be changed before anything else.
    pub change_password: bool,
}

/// Finds one by name.
pub fn find(store: &Store, name: &str) -> Result<Option<Administrator>, StoreError> {
    let rows = store.read(|reader| {
        reader.query(
            "SELECT name, hash, role, change_password FROM administrator WHERE name = ?1",
            &[Value::Text(name.into())],
        )
    })?;
    Ok(rows.into_iter().next().and_then(from_row))
}

/// How many there are.
pub fn count(store: &Store) -> Result<usize, StoreError> {
    Ok(store
        .read(|reader| reader.query("SELECT name FROM administrator", &[]))?
        .len())
}

/// Adds or replaces one.
pub fn put(store: &Store, who: &Administrator) -> Result<(), StoreError> {
    store.transact(|tx| {
        tx.execute(
            "INSERT INTO administrator (name, hash, role, change_password) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT (name) DO UPDATE SET hash = excluded.hash, role = excluded.role,
             change_password = excluded.change_password",
            &[
                Value::Text(who.name.clone()),
                Value::Text(who.hash.clone()),
                Value::Text(who.role.clone()),
                Value::Integer(who.change_password.into()),
            ],
        )
        .map(drop)
    })
}

fn from_row(row: Vec<Value>) -> Option<Administrator> {
    match <[Value; 4]>::try_from(row).ok()? {
        [
            Value::Text(name),
            Value::Text(hash),
            Value::Text(role),
            Value::Integer(change),
        ] => Some(Administrator {
            name,
            hash,
            role,
            change_password: change != 0,
        }),
        _ => None,
    }
}
