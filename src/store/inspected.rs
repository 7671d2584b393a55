//! Tables as they were read, kept as long as they are made of the same statements: a file's tables
//! are read anew at each declaration, start and refused transaction, and hardly ever differ.

use std::collections::HashMap;

use rusqlite::Connection;

use super::StoreError;
use super::schema::{self, Table};

/// What was read, by the name in the file.
#[derive(Default)]
pub(super) struct Inspected(HashMap<String, Read>);

struct Read {
    /// The table's own statement and those of its indexes.
    statements: Vec<String>,
    table: Table,
}

/// The statements of every table in the file.
pub(super) struct Statements(HashMap<String, Vec<String>>);

impl Statements {
    pub fn of(db: &Connection) -> Result<Self, StoreError> {
        let mut statement = db.prepare_cached(
            "SELECT tbl_name, sql FROM sqlite_schema \
             WHERE sql IS NOT NULL AND type IN ('table', 'index')",
        )?;
        let mut rows = statement.query([])?;
        let mut all: HashMap<String, Vec<String>> = HashMap::new();
        while let Some(row) = rows.next()? {
            let table: String = row.get(0)?;
            let of = all.entry(table.to_ascii_lowercase()).or_default();
            of.push(row.get(1)?);
        }
        Ok(Statements(all))
    }

    fn take(&mut self, name: &str) -> Vec<String> {
        self.0
            .remove(&name.to_ascii_lowercase())
            .unwrap_or_default()
    }
}

impl Inspected {
    /// Forgets all tables but these.
    pub fn keep(&mut self, names: &[(i64, String)]) {
        let kept = |name: &String| names.iter().any(|(_, kept)| kept == name);
        self.0.retain(|name, _| kept(name));
    }

    /// The table of this name in the file.
    pub fn standing(
        &mut self,
        db: &Connection,
        statements: &mut Statements,
        name: &str,
    ) -> Result<Table, StoreError> {
        self.table(name, statements.take(name), || schema::standing(db, name))
    }

    /// The table that a statement would make under its name, whose rows are on a shelf.
    pub fn on_shelf(
        &mut self,
        (sql, name): (&str, &str),
        shelf: &str,
    ) -> Result<Table, StoreError> {
        self.table(shelf, vec![sql.to_owned()], || {
            schema::lost(sql, name, shelf)
        })
    }

    fn table(
        &mut self,
        name: &str,
        statements: Vec<String>,
        read: impl FnOnce() -> Result<Table, StoreError>,
    ) -> Result<Table, StoreError> {
        let known = self
            .0
            .get(name)
            .filter(|known| known.statements == statements);
        if let Some(known) = known {
            return Ok(known.table.clone());
        }
        let table = read()?;
        let known = Read {
            statements,
            table: table.clone(),
        };
        self.0.insert(name.to_owned(), known);
        Ok(table)
    }
}
