//! API tokens: replicated with the administrators, so that a program may ask any peer. A token is
//! 256 random bits, shown once; only its digest is kept. It never may more than its owner.

use super::{Store, StoreError};
use crate::replica::value::Value;

/// The table.
pub const TABLE: &str = "CREATE TABLE api_token (
    id TEXT PRIMARY KEY NOT NULL,
    owner TEXT NOT NULL,
    label TEXT NOT NULL,
    digest TEXT NOT NULL,
    read_only INTEGER NOT NULL,
    created_ms INTEGER NOT NULL
)";

/// One token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiToken {
    /// Its public part, by which it is found and deleted.
    pub id: String,
    /// The administrator it acts for.
    pub owner: String,
    /// What it is for.
    pub label: String,
    /// SHA-256 of its secret part, hexadecimal.
    pub digest: String,
    /// Whether it only reads, whatever its owner may.
    pub read_only: bool,
    /// When it was made, milliseconds since 1970.
    pub created_ms: u64,
}

const COLUMNS: &str = "SELECT id, owner, label, digest, read_only, created_ms FROM api_token";

/// Finds one by its public part.
pub fn find(store: &Store, id: &str) -> Result<Option<ApiToken>, StoreError> {
    let sql = format!("{COLUMNS} WHERE id = ?1");
    let rows = store.read(|reader| reader.query(&sql, &[Value::Text(id.into())]))?;
    Ok(rows.into_iter().next().and_then(from_row))
}

/// All, by owner.
pub fn list(store: &Store) -> Result<Vec<ApiToken>, StoreError> {
    let sql = format!("{COLUMNS} ORDER BY owner, created_ms, id");
    let rows = store.read(|reader| reader.query(&sql, &[]))?;
    Ok(rows.into_iter().filter_map(from_row).collect())
}

/// Adds one.
pub fn add(store: &Store, token: &ApiToken) -> Result<(), StoreError> {
    let created = i64::try_from(token.created_ms).unwrap_or(i64::MAX);
    store.transact(|tx| {
        tx.execute(
            "INSERT INTO api_token (id, owner, label, digest, read_only, created_ms)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            &[
                Value::Text(token.id.clone()),
                Value::Text(token.owner.clone()),
                Value::Text(token.label.clone()),
                Value::Text(token.digest.clone()),
                Value::Integer(token.read_only.into()),
                Value::Integer(created),
            ],
        )
        .map(drop)
    })
}

/// Deletes one; what it was.
pub fn remove(store: &Store, id: &str) -> Result<ApiToken, StoreError> {
    let none = || StoreError::Refused("there is no such token".into());
    let token = find(store, id)?.ok_or_else(none)?;
    let key = [Value::Text(id.into())];
    store.transact(|tx| {
        tx.execute("DELETE FROM api_token WHERE id = ?1", &key)
            .map(drop)
    })?;
    Ok(token)
}

fn from_row(row: Vec<Value>) -> Option<ApiToken> {
    match <[Value; 6]>::try_from(row).ok()? {
        [
            Value::Text(id),
            Value::Text(owner),
            Value::Text(label),
            Value::Text(digest),
            Value::Integer(read_only),
            Value::Integer(created),
        ] => Some(ApiToken {
            id,
            owner,
            label,
            digest,
            read_only: read_only != 0,
            created_ms: u64::try_from(created).unwrap_or(0),
        }),
        _ => None,
    }
}
