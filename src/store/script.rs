//! A script of declarations, as an operator gives it, and what each statement of it came to.

use super::declare::{present, refuse};
use super::tokens::{Statement, script, statement};
use super::{Store, StoreError};
use crate::replica::schema::{Keys, Kind};

/// One statement that was carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Declared {
    /// What it names: `table note`.
    pub what: String,
    /// The declaration that stood before, of a dropped table with the number of its rows.
    pub before: Option<String>,
    /// The one that stands now.
    pub after: Option<String>,
}

impl Store {
    /// Declares each statement of a script in turn, those that are there already too, and tells
    /// what came of each. The first that is refused ends it, with what was before it declared.
    pub fn declare_script(
        &self,
        sql: &str,
        keys: Keys,
        done: &mut Vec<Declared>,
    ) -> Result<(), StoreError> {
        let statements = script(sql);
        if statements.is_empty() {
            return refuse("there is no statement to declare");
        }
        for (at, text) in statements.iter().enumerate() {
            let read = statement(text);
            let before = self.standing(read.as_ref())?;
            let rows = self.rows_dropped(read.as_ref())?;
            let declared = self.declare_with(text, keys);
            declared.map_err(|error| match statements.len() {
                1 => error,
                _ => StoreError::Schema(format!("statement {}: {error}", at + 1)),
            })?;
            let after = self.standing(read.as_ref())?;
            let rows = rows.map(|rows| format!(" ({rows} rows)"));
            done.push(Declared {
                what: read.map_or_else(String::new, |read| {
                    format!("{} {}", read.kind.word(), read.name)
                }),
                before: before.map(|sql| sql + &rows.unwrap_or_default()),
                after,
            });
        }
        Ok(())
    }

    /// The declaration that has a statement's name now.
    fn standing(&self, read: Option<&Statement>) -> Result<Option<String>, StoreError> {
        match read {
            Some(read) => self.read(|reader| present(reader.connection, read.kind, &read.name)),
            None => Ok(None),
        }
    }

    /// How many rows go with the table that a statement drops.
    fn rows_dropped(&self, read: Option<&Statement>) -> Result<Option<u64>, StoreError> {
        let Some(read) = read.filter(|read| read.drops && read.kind == Kind::Table) else {
            return Ok(None);
        };
        let tables = self.tables()?;
        let named = |name: &str| name.eq_ignore_ascii_case(&read.name);
        let found = tables.iter().find(|table| named(&table.name));
        Ok(found.map(|table| table.rows))
    }
}
