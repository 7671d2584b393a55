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
pub const PRIVATE_TABLES: &[&str] = &["administrator", "api_token"];

/// The role that may change things; any other only reads.
pub const ADMINISTRATOR: &str = "administrator";
/// The role that only reads.
pub const READ_ONLY: &str = "read-only";
/// The longest login name, in characters.
const NAME_MAX: usize = 64;

/// One administrator.
#[derive(Clone, PartialEq, Eq)]
pub struct Administrator {
    /// The login name.
    pub name: String,
    /// The password, argon2id in PHC form.
    pub hash: String,
    /// `administrator` or `read-only`.
    pub role: String,
    /// Whether the password is a default one that must be changed before anything else.
    pub change_password: bool,
}

impl Administrator {
    /// Whether this account only reads. A role that this version does not know may not write.
    pub fn reads_only(&self) -> bool {
        self.role != ADMINISTRATOR
    }
}

/// Checks a login name.
pub fn check_name(name: &str) -> Result<(), String> {
    let fine = |c: char| c.is_alphanumeric() || matches!(c, '.' | '-' | '_' | '@' | ' ');
    if name.is_empty() || name.chars().count() > NAME_MAX {
        return Err(format!("a user name has 1 to {NAME_MAX} characters"));
    }
    if name.trim() != name || !name.chars().all(fine) {
        return Err("a user name has letters, digits, blanks inside, and . - _ @".into());
    }
    Ok(())
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

/// All, by name.
pub fn list(store: &Store) -> Result<Vec<Administrator>, StoreError> {
    let sql = "SELECT name, hash, role, change_password FROM administrator ORDER BY name";
    let rows = store.read(|reader| reader.query(sql, &[]))?;
    Ok(rows.into_iter().filter_map(from_row).collect())
}

/// Refuses what would leave nobody who may change anything.
fn another_stays(store: &Store, name: &str) -> Result<(), StoreError> {
    let all = list(store)?;
    let other = |who: &Administrator| who.name != name && !who.reads_only();
    match all.iter().any(other) {
        true => Ok(()),
        false => Err(StoreError::Refused(
            "this is the last account with the role administrator; it stays".into(),
        )),
    }
}

/// Gives one another role; what it was before.
pub fn set_role(store: &Store, name: &str, role: &str) -> Result<Administrator, StoreError> {
    if role != ADMINISTRATOR && role != READ_ONLY {
        let words = format!("a role is {ADMINISTRATOR} or {READ_ONLY}");
        return Err(StoreError::Refused(words));
    }
    let before = existing(store, name)?;
    if role == READ_ONLY {
        another_stays(store, name)?;
    }
    let role = role.to_owned();
    put(
        store,
        &Administrator {
            role,
            ..before.clone()
        },
    )?;
    Ok(before)
}

/// Deletes one with all its API tokens; what it was.
pub fn remove(store: &Store, name: &str) -> Result<Administrator, StoreError> {
    let before = existing(store, name)?;
    another_stays(store, name)?;
    let key = [Value::Text(name.into())];
    store.transact(|tx| {
        tx.execute("DELETE FROM api_token WHERE owner = ?1", &key)?;
        tx.execute("DELETE FROM administrator WHERE name = ?1", &key)
            .map(drop)
    })?;
    Ok(before)
}

/// One that must be there.
pub fn existing(store: &Store, name: &str) -> Result<Administrator, StoreError> {
    let none = || StoreError::Refused(format!("there is no administrator {name}"));
    find(store, name)?.ok_or_else(none)
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
