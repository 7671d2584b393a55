//! Which changes a table can take: those that any system which has the table could have made. What
//! does not fit is no row anywhere, so it is kept in the conflict inbox and never tried.

use super::schema::{Column, Table};
use crate::replica::change::{RowChange, RowWrite};
use crate::replica::value::Value;

/// Of which kind all values of a column are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// They are of any kind: the table is not STRICT.
    Any,
    Integer,
    Real,
    Text,
    Blob,
}

impl Kind {
    pub fn of(kind: &str, is_strict: bool) -> Self {
        match kind.to_ascii_uppercase().as_str() {
            _ if !is_strict => Kind::Any,
            "INT" | "INTEGER" => Kind::Integer,
            "REAL" => Kind::Real,
            "TEXT" => Kind::Text,
            "BLOB" => Kind::Blob,
            _ => Kind::Any,
        }
    }
}

impl Column {
    /// Whether SQLite stores this value in it.
    fn takes(&self, value: &Value) -> bool {
        match (self.kind, value) {
            (_, Value::Null) => !self.not_null,
            (Kind::Any, _)
            | (Kind::Integer, Value::Integer(_))
            // A whole number is stored as one, and read as a float.
            | (Kind::Real, Value::Integer(_) | Value::Real(_))
            | (Kind::Text, Value::Text(_))
            | (Kind::Blob, Value::Blob(_)) => true,
            _ => false,
        }
    }
}

impl Table {
    /// Whether this is a row of it.
    pub fn takes(&self, row: &[Value]) -> bool {
        row.len() == self.columns.len() && self.columns.iter().zip(row).all(|(c, v)| c.takes(v))
    }

    fn takes_cell(&self, key: &[Value], (at, value): &(u16, Value)) -> bool {
        let at = usize::from(*at);
        let part = self.key.iter().position(|part| *part == at);
        let same = part.and_then(|part| key.get(part));
        self.columns
            .get(at)
            .is_some_and(|column| column.takes(value))
            && same.is_none_or(|same| same.is_same_key(value))
    }
}

/// Whether a change has the table's shape, and a generation that rows have after it.
pub(super) fn fits(table: &Table, row: &RowChange) -> bool {
    let named = |values: &Vec<Value>| {
        let mut parts = table.key.iter().zip(&row.key);
        parts.all(|(at, part)| part.is_same_key(&values[*at]))
    };
    row.key.len() == table.key.len()
        && row.has_its_generation()
        && match &row.write {
            RowWrite::Insert(values) => table.takes(values) && named(values),
            RowWrite::Update(cells) => {
                !cells.is_empty() && cells.iter().all(|cell| table.takes_cell(&row.key, cell))
            }
            RowWrite::Delete => true,
        }
}
