//! Values, queries, and the transaction as its writer sees it.

use std::collections::HashMap;
use std::sync::Arc;

use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{CachedStatement, Connection, Statement, ToSql};

use super::schema::Table;
use super::tokens::{Token, names_engine, tokens};
use super::{StoreError, keys};
use crate::replica::value::Value;

/// Binds a value.
pub(super) struct Bind<'a>(pub &'a Value);

impl ToSql for Bind<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self.0 {
            Value::Null => ValueRef::Null,
            Value::Integer(value) => ValueRef::Integer(*value),
            Value::Real(value) => ValueRef::Real(*value),
            Value::Text(value) => ValueRef::Text(value.as_bytes()),
            Value::Blob(value) => ValueRef::Blob(value),
        }))
    }
}

/// A value as SQLite holds it.
pub(super) fn value(value: ValueRef<'_>) -> Result<Value, StoreError> {
    Ok(match value {
        ValueRef::Null => Value::Null,
        ValueRef::Integer(value) => Value::Integer(value),
        ValueRef::Real(value) => Value::Real(value),
        ValueRef::Text(bytes) => Value::Text(String::from_utf8(bytes.to_vec()).map_err(|_| {
            StoreError::Statement("text that is not UTF-8; store it as a BLOB".into())
        })?),
        ValueRef::Blob(bytes) => Value::Blob(bytes.to_vec()),
    })
}

/// A row's first `width` values.
pub(super) fn row_values(row: &rusqlite::Row<'_>, width: usize) -> Result<Vec<Value>, StoreError> {
    (0..width).map(|at| value(row.get_ref(at)?)).collect()
}

/// The rows of a query.
pub(super) fn query(
    db: &Connection,
    sql: &str,
    params: &[Value],
) -> Result<Vec<Vec<Value>>, StoreError> {
    rows(&mut *db.prepare_cached(sql)?, params)
}

fn rows(statement: &mut Statement<'_>, params: &[Value]) -> Result<Vec<Vec<Value>>, StoreError> {
    let width = statement.column_count();
    let mut rows = statement.query(rusqlite::params_from_iter(params.iter().map(Bind)))?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(row_values(row, width)?);
    }
    Ok(found)
}

/// How many statements of a transaction are kept at hand.
const KEPT: usize = 8;
/// How many bytes of statements are remembered as fine.
const REMEMBERED: usize = 1 << 20;

/// A statement that may run.
struct Fine {
    sql: Box<str>,
    /// It undoes a part of the transaction.
    undoes: bool,
    /// What runs in its place.
    runs: Option<String>,
}

/// Statements that were looked at, across transactions; forgotten when tables change.
#[derive(Default)]
pub(super) struct Reviewed {
    fine: HashMap<Box<str>, Arc<Fine>>,
    bytes: usize,
}

impl Reviewed {
    fn look(&mut self, sql: &str, tables: &[Arc<Table>]) -> Result<Arc<Fine>, StoreError> {
        if let Some(fine) = self.fine.get(sql) {
            return Ok(Arc::clone(fine));
        }
        let fine = Arc::new(Fine {
            sql: sql.into(),
            undoes: allowed(sql)?,
            runs: keys::filled(sql, tables),
        });
        if self.bytes > REMEMBERED {
            *self = Reviewed::default();
        }
        self.bytes += sql.len();
        self.fine.insert(sql.into(), Arc::clone(&fine));
        Ok(fine)
    }
}

/// An open transaction.
pub struct Tx<'a> {
    db: &'a Connection,
    tables: &'a [Arc<Table>],
    reviewed: &'a mut Reviewed,
    /// Prepared statements: a loop runs the same few again.
    known: Vec<(Arc<Fine>, CachedStatement<'a>)>,
    /// Something was rolled back within: the hook's events are not all true.
    pub(super) undone: bool,
}

impl<'a> Tx<'a> {
    pub(super) fn new(
        db: &'a Connection,
        tables: &'a [Arc<Table>],
        reviewed: &'a mut Reviewed,
    ) -> Self {
        Tx {
            db,
            tables,
            reviewed,
            known: Vec::new(),
            undone: false,
        }
    }

    /// Refuses to go on after an error with which SQLite took the whole transaction back (a full
    /// disk, OR ROLLBACK): what follows would be committed by itself.
    pub(super) fn alive(&self) -> Result<(), StoreError> {
        match self.db.is_autocommit() {
            false => Ok(()),
            true => Err(StoreError::Statement(
                "an error took the whole transaction back; begin it again".into(),
            )),
        }
    }

    fn prepared(&mut self, sql: &str) -> Result<&mut CachedStatement<'a>, StoreError> {
        self.alive()?;
        let found = self.known.iter().position(|known| &*known.0.sql == sql);
        let at = match found {
            Some(at) => at,
            None => {
                let fine = self.reviewed.look(sql, self.tables)?;
                self.undone |= fine.undoes;
                let statement = self
                    .db
                    .prepare_cached(fine.runs.as_deref().unwrap_or(sql))?;
                if self.known.len() == KEPT {
                    self.known.remove(0);
                }
                self.known.push((fine, statement));
                self.known.len() - 1
            }
        };
        Ok(&mut self.known[at].1)
    }
}

impl Tx<'_> {
    /// Runs one statement that changes rows; returns how many it changed.
    pub fn execute(&mut self, sql: &str, params: &[Value]) -> Result<usize, StoreError> {
        let statement = self.prepared(sql)?;
        let done = statement.execute(rusqlite::params_from_iter(params.iter().map(Bind)));
        self.undone |= done.is_err();
        Ok(done?)
    }

    /// Runs one statement of ours, which may write the engine's replicated tables.
    pub(super) fn engine(&mut self, sql: &str, params: &[Value]) -> Result<usize, StoreError> {
        self.alive()?;
        let mut statement = self.db.prepare_cached(sql)?;
        Ok(statement.execute(rusqlite::params_from_iter(params.iter().map(Bind)))?)
    }

    /// Checks foreign keys at COMMIT, not at each statement.
    pub fn defer_foreign_keys(&mut self) -> Result<(), StoreError> {
        Ok(self.db.execute_batch("PRAGMA defer_foreign_keys = ON")?)
    }

    /// The rows of a query, this transaction's own changes seen.
    pub fn query(&mut self, sql: &str, params: &[Value]) -> Result<Vec<Vec<Value>>, StoreError> {
        let found = rows(self.prepared(sql)?, params);
        self.undone |= found.is_err();
        found
    }
}

/// Refuses what would escape the transaction or change tables unseen; tells whether it undoes.
fn allowed(sql: &str) -> Result<bool, StoreError> {
    let words = tokens(sql);
    let Some(Token::Word(first)) = words.first() else {
        return Err(StoreError::Statement("an empty statement".into()));
    };
    let fine = [
        "insert",
        "update",
        "delete",
        "replace",
        "select",
        "with",
        "values",
        "savepoint",
        "release",
    ];
    let lower = first.to_ascii_lowercase();
    let rollback_to = lower == "rollback" && words.iter().any(|word| word.is("to"));
    if names_engine(&words) && lower != "select" {
        return Err(StoreError::Statement(
            "the engine's own tables are not written".into(),
        ));
    }
    if fine.contains(&lower.as_str()) || rollback_to {
        return Ok(rollback_to);
    }
    Err(StoreError::Statement(format!(
        "{} has no place in a transaction; tables and indexes are declared",
        first.to_ascii_uppercase()
    )))
}
