//! Bringing the database to what the known declarations say (contract 11), when an earlier one
//! arrives late or one is dropped.
//!
//! A declaration that stands is an ordinary table, index or trigger. A table that does not is a
//! *shelf*: a plain table with the same columns and key, to which its rows go on being merged.

use std::collections::BTreeSet;
use std::sync::Arc;

use rusqlite::params;

use super::apply::{place, remove};
use super::capture::Row;
use super::declare::{Known, OWN, known, present, refuse};
use super::schema::{self, quote};
use super::settle::{self, Settle};
use super::tokens::statement;
use super::writer::Writer;
use super::{StoreError, clocks, inbox};
use crate::replica::clock::Stamp;
use crate::replica::schema::{Declaration, DeclarationId, Kind, standing};
use crate::replica::value::encode_key;

impl Writer {
    /// Brings the database to what the known declarations say.
    pub fn resolve(&mut self) -> Result<(), StoreError> {
        let all = known(&self.db)?;
        let declarations: Vec<Declaration> = all.iter().map(|known| known.is.clone()).collect();
        let stand = standing(&declarations);
        let mut settle = Settle::default();
        let mut moved: Vec<&Known> = Vec::new();
        // What leaves goes before what comes, and parts before and after their tables.
        for kind in [Kind::Trigger, Kind::Index, Kind::Table] {
            for known in all.iter().filter(|known| known.is.kind == kind) {
                if known.stands && !stand.contains(&known.is.id) {
                    self.demote(known)?;
                    moved.push(known);
                }
            }
        }
        self.load_tables()?;
        for kind in [Kind::Table, Kind::Index, Kind::Trigger] {
            for known in all.iter().filter(|known| known.is.kind == kind) {
                if !known.stands && stand.contains(&known.is.id) {
                    self.promote(known, &mut settle)?;
                    moved.push(known);
                }
            }
        }
        self.shelve(&all, &stand)?;
        self.load_tables()?;
        self.recheck_after(&moved, &mut settle)?;
        settle.run(&self.db, &self.tables)
    }

    /// Tables that arrived too late for their name get their shelf.
    fn shelve(&mut self, all: &[Known], stand: &BTreeSet<DeclarationId>) -> Result<(), StoreError> {
        for known in all {
            let waits = known.is.kind == Kind::Table && known.table.is_none();
            if !waits || known.is.dropped || stand.contains(&known.is.id) {
                continue;
            }
            match schema::lost(&known.sql, &known.is.name, &known.shelf()) {
                Ok(table) => {
                    self.db.execute(&schema::shelf(&table), [])?;
                    let number = self.number(&table.name)?;
                    self.mark(known, false, Some(number))?;
                }
                Err(error) => {
                    let why = error.to_string();
                    inbox::park_schema(&self.db, known.is.stamp, &known.sql, &why)?;
                }
            }
        }
        Ok(())
    }

    fn demote(&mut self, known: &Known) -> Result<(), StoreError> {
        let name = quote(&known.is.name);
        let table = self.tables.iter().find(|table| table.tid == known.is.id);
        if let (Kind::Table, Some(table), false) = (known.is.kind, table, known.is.dropped) {
            let table = Arc::clone(table);
            let shelf = schema::lost(&known.sql, &known.is.name, &known.shelf())?;
            self.db.execute(&schema::shelf(&shelf), [])?;
            let columns: Vec<String> = table.columns.iter().map(|c| quote(&c.name)).collect();
            let columns = columns.join(", ");
            let copy = format!(
                "INSERT INTO {}({columns}) SELECT {columns} FROM {name}",
                quote(&shelf.name)
            );
            self.db.execute(&copy, [])?;
            for row in settle::take_all(&self.db, table.id)? {
                place(&self.db, &shelf, &row)?;
            }
            self.db.execute(
                "UPDATE _tutti_table SET name = ? WHERE id = ?",
                params![shelf.name, table.id],
            )?;
        }
        let word = known.is.kind.word();
        self.db
            .execute(&format!("DROP {word} IF EXISTS {name}"), [])?;
        let sql = "UPDATE _tutti_declaration SET stands = 0 WHERE id = ?";
        self.db.execute(sql, [known.is.id as i64])?;
        Ok(())
    }

    fn promote(&mut self, known: &Known, settle: &mut Settle) -> Result<(), StoreError> {
        self.db.execute_batch("SAVEPOINT promote")?;
        let made = match known.is.kind {
            Kind::Table => self.promote_table(known, settle),
            Kind::Index => self.promote_index(known, settle),
            Kind::Trigger => self.promote_trigger(known),
        };
        match made {
            Ok(()) => {
                self.db.execute_batch("RELEASE promote")?;
                Ok(())
            }
            Err(error @ (StoreError::Schema(_) | StoreError::Sqlite(_))) if !error.is_of_disk() => {
                // It was fine where it was declared; one bad declaration never stops the stream.
                self.db
                    .execute_batch("ROLLBACK TO promote; RELEASE promote")?;
                let why = error.to_string();
                inbox::park_schema(&self.db, known.is.stamp, &known.sql, &why)
            }
            Err(error) => Err(error),
        }
    }

    fn promote_trigger(&self, known: &Known) -> Result<(), StoreError> {
        self.db.execute(&known.sql, [])?;
        self.mark(known, true, None)
    }

    fn promote_table(&mut self, known: &Known, settle: &mut Settle) -> Result<(), StoreError> {
        let mut rows = Vec::new();
        if known.table.is_some() {
            let shelf = schema::lost(&known.sql, &known.is.name, &known.shelf())?;
            rows = schema::all(&self.db, &shelf)?;
            self.db
                .execute(&format!("DROP TABLE {}", quote(&shelf.name)), [])?;
        }
        self.db.execute(&known.sql, [])?;
        let name = statement(&known.sql).map_or_else(|| known.is.name.clone(), |s| s.name);
        schema::inspect(&self.db, &name)?;
        let number = match known.table {
            None => self.number(&name)?,
            Some(number) => {
                self.db.execute(
                    "UPDATE _tutti_table SET name = ? WHERE id = ?",
                    params![name, number],
                )?;
                number
            }
        };
        self.mark(known, true, Some(number))?;
        self.load_tables()?;
        let table = self.tables.iter().find(|table| table.id == number);
        let Some(table) = table.map(Arc::clone) else {
            return Err(StoreError::Damaged(format!("table {name} is gone")));
        };
        for row in rows {
            let key = encode_key(&settle::key_of(&table, &row));
            settle.changed(&self.db, &table, key, None, Some(row))?;
        }
        Ok(())
    }

    /// Rows that an arriving UNIQUE INDEX sets against each other leave their table first.
    fn promote_index(&mut self, known: &Known, settle: &mut Settle) -> Result<(), StoreError> {
        let on = known.is.on;
        let table = self.tables.iter().find(|table| Some(table.tid) == on);
        let Some(table) = table.map(Arc::clone) else {
            return refuse(format!("the table of index {} is not here", known.is.name));
        };
        let made = present(&self.db, Kind::Table, &table.name)?.unwrap_or_default();
        let shape = schema::tried(&[&made, &known.sql], &table.name)?;
        let named = |u: &&schema::Unique| u.index.eq_ignore_ascii_case(&known.is.name);
        if let Some(unique) = shape.uniques.iter().find(named) {
            for row in settle::rivals(&self.db, &table, unique)? {
                let key = settle::key_of(&table, &row);
                remove(&self.db, &table, &key)?;
                let key = encode_key(&key);
                settle.changed(&self.db, &table, key, Some(row.clone()), Some(row))?;
            }
        }
        self.db.execute(&known.sql, [])?;
        self.mark(known, true, None)?;
        self.load_tables()
    }

    /// Constraints that came or went are settled anew for the tables they concern.
    pub fn recheck_after(&self, moved: &[&Known], settle: &mut Settle) -> Result<(), StoreError> {
        for known in moved {
            for table in &self.tables {
                let own = known.is.kind == Kind::Index && Some(table.tid) == known.is.on;
                let child = |f: &schema::ForeignKey| f.parent.eq_ignore_ascii_case(&known.is.name);
                if own {
                    settle.recheck(&self.db, table)?;
                } else if known.is.kind == Kind::Table && table.foreign.iter().any(child) {
                    settle.recheck(&self.db, table)?;
                    settle.recheck_children(&self.db, table, &known.is.name)?;
                }
            }
        }
        Ok(())
    }

    /// Rows of tables that a peer drops, and had not seen, go to the inbox.
    pub fn keep_unseen(
        &self,
        ids: &[DeclarationId],
        stamp: Stamp,
        covers: impl Fn(Stamp) -> bool,
    ) -> Result<(), StoreError> {
        for id in self.not_ours(ids)? {
            let Some(table) = self.tables.iter().find(|table| table.tid == id) else {
                continue;
            };
            let keep = |row: Row| inbox::dropped(&self.db, table, &row, stamp, &covers);
            schema::each(&self.db, table, "true", keep)?;
            settle::each_parked(&self.db, table.id, keep)?;
        }
        Ok(())
    }

    /// Ends declarations for good.
    pub fn end(&mut self, ids: &[DeclarationId]) -> Result<(), StoreError> {
        for id in self.not_ours(ids)? {
            if let Some(table) = self.tables.iter().find(|table| table.tid == id) {
                let table = Arc::clone(table);
                settle::forget_all(&self.db, table.id)?;
                self.db
                    .execute(&format!("DROP TABLE {}", quote(&table.name)), [])?;
                clocks::forget_all(&self.db, table.id)?;
                let sql = "DELETE FROM _tutti_table WHERE id = ?";
                self.db.execute(sql, [table.id])?;
            }
            let sql = "UPDATE _tutti_declaration SET dropped = 1 WHERE id = ?";
            self.db.execute(sql, [id as i64])?;
        }
        self.load_tables()?;
        self.resolve()
    }

    /// Those of them that can end: what belongs to the appliance no peer can.
    fn not_ours(&self, ids: &[DeclarationId]) -> Result<Vec<DeclarationId>, StoreError> {
        let known = known(&self.db)?;
        let declared = |id: &DeclarationId| {
            let mut known = known.iter().filter(|known| known.is.id == *id);
            known.any(|known| known.is.stamp != OWN)
        };
        Ok(ids.iter().copied().filter(declared).collect())
    }
}
