//! What lost, as it is kept (`_tutti_conflict`) and told to peers: of transactions that were taken
//! back nobody else compares what met them.

use rusqlite::{Connection, Row, params};
use serde::de::DeserializeOwned;

use super::StoreError;
use crate::replica::change::Body;
use crate::replica::clock::Stamp;
use crate::replica::conflict::Conflict;

/// About how many bytes of entries go into one transaction.
const CHUNK: usize = 2 << 20;
/// What one takes beside its texts and values at most: two stamps and four lengths.
const EACH: usize = 96;

/// The column of an entry that is a whole row, or a declaration.
pub(super) const WHOLE: &str = "*";

fn bytes(stamp: Stamp) -> Vec<u8> {
    postcard::to_stdvec(&stamp).unwrap_or_default()
}

/// A version in an entry's row.
pub(super) fn stamp(row: &Row<'_>, at: usize) -> Result<Stamp, StoreError> {
    let bytes: Vec<u8> = row.get(at)?;
    decoded(&bytes)
}

fn decoded<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, StoreError> {
    postcard::from_bytes(bytes).map_err(|_| StoreError::Damaged("a conflict's version".into()))
}

/// Keeps an entry, unless it is here.
pub(super) fn keep(db: &Connection, lost: &Conflict) -> Result<(), StoreError> {
    db.prepare_cached(
        "INSERT OR IGNORE INTO _tutti_conflict(id, tbl, key, col, winner, loser, hlc, value) \
         VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
    )?
    .execute(params![
        lost.id(),
        lost.table,
        lost.key,
        lost.column,
        bytes(lost.winner),
        bytes(lost.loser),
        lost.loser.hlc.0 as i64,
        lost.value
    ])?;
    Ok(())
}

/// Whether an entry is here.
pub(super) fn is_kept(db: &Connection, lost: &Conflict) -> Result<bool, StoreError> {
    let sql = "SELECT 1 FROM _tutti_conflict WHERE id = ?";
    Ok(db.prepare_cached(sql)?.exists([lost.id()])?)
}

/// Hands out the entries, in the order in which they came.
pub(super) fn each(
    db: &Connection,
    mut take: impl FnMut(Conflict) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    let sql = "SELECT tbl, key, col, winner, loser, value FROM _tutti_conflict ORDER BY rowid";
    let mut statement = db.prepare(sql)?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        take(Conflict {
            table: row.get(0)?,
            key: row.get(1)?,
            column: row.get(2)?,
            winner: stamp(row, 3)?,
            loser: stamp(row, 4)?,
            value: row.get(5)?,
        })?;
    }
    Ok(())
}

/// Entries on their way into transactions that tell of them.
#[derive(Default)]
pub(super) struct Gathered {
    some: Vec<Conflict>,
    size: usize,
}

impl Gathered {
    /// Takes one more; the body of a transaction, if there is enough for one.
    pub fn add(&mut self, lost: Conflict) -> Option<Body> {
        let texts = lost.table.len() + lost.column.len();
        let more = EACH + texts + lost.key.len() + lost.value.len();
        // What is too large to be read in memory goes alone.
        let full = match self.size + more > CHUNK {
            true => self.rest(),
            false => None,
        };
        self.size += more;
        self.some.push(lost);
        full
    }

    /// The body of the last transaction, if anything is left.
    pub fn rest(&mut self) -> Option<Body> {
        self.size = 0;
        let some = std::mem::take(&mut self.some);
        (!some.is_empty()).then_some(Body::Lost(some))
    }
}

/// The bodies of the transactions that tell of them.
pub(super) fn bodies(lost: Vec<Conflict>) -> Vec<Body> {
    let mut gathered = Gathered::default();
    let mut bodies: Vec<Body> = Vec::new();
    for lost in lost {
        bodies.extend(gathered.add(lost));
    }
    bodies.extend(gathered.rest());
    bodies
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::replica::clock::Hlc;

    /// A body of 4 MiB or more is read only where it tells of one.
    #[test]
    fn many_small_entries_are_told_in_transactions_that_can_be_read() {
        let stamp = Stamp {
            hlc: Hlc(u64::MAX),
            origin: u64::MAX,
            seq: u64::MAX,
        };
        let small = Conflict {
            table: String::new(),
            key: Vec::new(),
            column: String::new(),
            winner: stamp,
            loser: stamp,
            value: Vec::new(),
        };
        let bodies = bodies(vec![small; 100_000]);
        let sizes = bodies
            .iter()
            .map(|body| postcard::to_stdvec(body).unwrap().len());
        assert!(sizes.max().unwrap() <= CHUNK);
        assert!(bodies.len() < 10);
    }
}
