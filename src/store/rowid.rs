//! The number that SQLite gives a row: known to peers where it is the key, else to nobody.

use rusqlite::Connection;

use super::StoreError;
use super::tokens::Token;

/// Whether the table's PRIMARY KEY is its rowid: a key that has an index of its own is not, and
/// `INTEGER PRIMARY KEY DESC` has one.
pub(super) fn has_rowid_key(db: &Connection, name: &str) -> Result<bool, StoreError> {
    let sql = "SELECT EXISTS (SELECT 1 FROM pragma_table_xinfo(?1) WHERE pk > 0) \
               AND NOT EXISTS (SELECT 1 FROM pragma_index_list(?1) WHERE origin = 'pk')";
    Ok(db
        .prepare_cached(sql)?
        .query_row([name], |row| row.get(0))?)
}

/// Whether a rowid is named that is no key: no column is, and no table.
pub(super) fn names_rowid(
    db: &Connection,
    table: &str,
    words: &[Token],
) -> Result<bool, StoreError> {
    let mut names = words.iter().enumerate().filter_map(|(at, word)| {
        let follows = words.get(at + 1) == Some(&Token::Sign('.'));
        word.name().filter(|_| !follows)
    });
    let rowid = |name: &&str| {
        let mut all = ["rowid", "oid", "_rowid_"].iter();
        all.any(|rowid| rowid.eq_ignore_ascii_case(name))
    };
    let Some(name) = names.find(rowid) else {
        return Ok(false);
    };
    let sql = "SELECT NOT EXISTS (SELECT 1 FROM pragma_table_xinfo(?1) WHERE name = ?2 \
               COLLATE NOCASE) AND NOT (SELECT max(wr) FROM pragma_table_list(?1))";
    let is_rowid: bool = db.query_row(sql, [table, name], |row| row.get(0))?;
    Ok(is_rowid && !has_rowid_key(db, table)?)
}
