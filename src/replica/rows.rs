//! A transaction's row changes: decoded, or too many to hold and decoded a part at a time.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::change::{RowChange, TableChange};
use super::payload::{Payload, Window};
use super::schema::DeclarationId;

/// How many rows of a large transaction are decoded at a time.
const ROWS: usize = 4_096;
/// About how many bytes of it.
const BYTES: u64 = 1 << 20;

/// Why a large transaction's rows cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum RowsError {
    /// The bytes are no row changes.
    #[error("row changes that cannot be read")]
    Malformed,
    /// They cannot be reached.
    #[error("a large transaction cannot be read on: {0}")]
    Io(#[from] std::io::Error),
}

/// Row changes.
#[derive(Clone, Debug, PartialEq)]
pub enum Rows {
    /// In memory; each table at most once where this system wrote them.
    Held(Vec<TableChange>),
    /// Elsewhere; a table may come again and again.
    Large(LargeRows),
}

/// Row changes that are not decoded.
#[derive(Clone, Debug, PartialEq)]
pub struct LargeRows {
    /// The bytes in which they are.
    pub bytes: Payload,
    /// Where they start there.
    pub start: u64,
    /// How many changes of a table there are.
    pub count: u64,
}

impl Serialize for Rows {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Rows::Held(changes) => changes.serialize(serializer),
            Rows::Large(_) => Err(serde::ser::Error::custom("large rows are encoded already")),
        }
    }
}

impl<'de> Deserialize<'de> for Rows {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Vec::deserialize(deserializer).map(Rows::Held)
    }
}

impl Default for Rows {
    fn default() -> Self {
        Rows::Held(Vec::new())
    }
}

impl From<Vec<TableChange>> for Rows {
    fn from(changes: Vec<TableChange>) -> Self {
        Rows::Held(changes)
    }
}

impl Rows {
    /// Whether nothing changed.
    pub fn is_empty(&self) -> bool {
        match self {
            Rows::Held(changes) => changes.is_empty(),
            Rows::Large(rows) => rows.count == 0,
        }
    }

    /// All of them in order, some rows of one table at a time.
    pub fn parts(&self) -> Parts<'_> {
        match self {
            Rows::Held(changes) => Parts::Held(changes.iter()),
            Rows::Large(rows) => Parts::Large(Reader {
                window: Window::new(&rows.bytes, rows.start),
                size: rows.bytes.size(),
                tables: rows.count,
                current: None,
                failed: false,
            }),
        }
    }
}

/// What [`Rows::parts`] returns.
pub enum Parts<'a> {
    /// As it is.
    Held(std::slice::Iter<'a, TableChange>),
    /// As it is decoded.
    Large(Reader<'a>),
}

/// Decodes row changes.
pub struct Reader<'a> {
    window: Window<'a>,
    size: u64,
    /// How many changes of tables follow after the current one.
    tables: u64,
    /// The table, and how many of its rows follow.
    current: Option<(DeclarationId, u64)>,
    failed: bool,
}

impl<'a> Iterator for Parts<'a> {
    type Item = Result<Cow<'a, TableChange>, RowsError>;

    fn next(&mut self) -> Option<Self::Item> {
        match self {
            Parts::Held(changes) => changes.next().map(|change| Ok(Cow::Borrowed(change))),
            Parts::Large(reader) => {
                if reader.failed {
                    return None;
                }
                let part = reader.part().transpose()?;
                reader.failed = part.is_err();
                Some(part.map(Cow::Owned))
            }
        }
    }
}

impl Reader<'_> {
    fn take<T: serde::de::DeserializeOwned>(&mut self) -> Result<T, RowsError> {
        self.window.take()?.ok_or(RowsError::Malformed)
    }

    fn part(&mut self) -> Result<Option<TableChange>, RowsError> {
        let (table, mut left) = match self.current.take() {
            Some(current) => current,
            None if self.tables == 0 => {
                return match self.window.offset() == self.size {
                    true => Ok(None),
                    false => Err(RowsError::Malformed),
                };
            }
            None => {
                self.tables -= 1;
                self.take()?
            }
        };
        let (start, mut rows) = (self.window.offset(), Vec::<RowChange>::new());
        while left > 0 && rows.len() < ROWS && self.window.offset() - start < BYTES {
            rows.push(self.take()?);
            left -= 1;
        }
        self.current = (left > 0).then_some((table, left));
        Ok(Some(TableChange { table, rows }))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::replica::change::{Dep, Head, RowWrite};
    use crate::replica::frontier::Position;

    fn changes() -> Vec<TableChange> {
        let row = |key: i64| RowChange {
            key: vec![key.into()],
            generation: 1,
            write: RowWrite::Insert(vec![key.into(), "x".repeat(300).as_str().into()]),
        };
        let table = |table, count| TableChange {
            table,
            rows: (0..count).map(row).collect(),
        };
        vec![table(7, 10_000), table(8, 0), table(9, 3)]
    }

    fn large(bytes: Vec<u8>, count: u64) -> Rows {
        Rows::Large(LargeRows {
            bytes: Payload::Stored(Arc::new(bytes)),
            start: 1,
            count,
        })
    }

    #[test]
    fn large_rows_are_read_part_by_part_as_they_would_be_whole() {
        let whole = changes();
        let bytes = postcard::to_stdvec(&whole).unwrap();
        let rows = large(bytes, whole.len() as u64);
        let mut again: Vec<TableChange> = Vec::new();
        for part in rows.parts() {
            let part = part.unwrap().into_owned();
            assert!(part.rows.len() <= ROWS);
            match again.last_mut().filter(|last| last.table == part.table) {
                Some(last) => last.rows.extend(part.rows),
                None => again.push(part),
            }
        }
        assert_eq!(again, whole);
    }

    #[test]
    fn large_rows_that_end_early_or_are_followed_by_more_are_refused() {
        let whole = changes();
        let bytes = postcard::to_stdvec(&whole).unwrap();
        let read = |bytes, count| large(bytes, count).parts().all(|part| part.is_ok());
        let count = whole.len() as u64;
        assert!(read(bytes.clone(), count));
        assert!(!read(bytes.clone(), count + 1));
        assert!(!read(bytes.clone(), count - 1));
        assert!(!read(bytes[..bytes.len() - 1].to_vec(), count));
        let mut more = bytes;
        more.push(0);
        assert!(!read(more, count));
    }

    /// An octet each, they take thirty times as much memory.
    #[test]
    fn a_list_of_more_values_than_a_table_has_columns_is_not_read() {
        let read = |count: usize| {
            let row = RowChange {
                key: vec![crate::replica::value::Value::Null; count],
                generation: 2,
                write: RowWrite::Delete,
            };
            let bytes = postcard::to_stdvec(&row).unwrap();
            postcard::from_bytes::<RowChange>(&bytes).is_ok()
        };
        assert!(read(2_000) && !read(2_001));
        let seen = |count: usize| {
            let head = Head {
                node: None,
                deps: vec![Dep::new(1, &Position::default()); count],
            };
            let bytes = postcard::to_stdvec(&head).unwrap();
            postcard::from_bytes::<Head>(&bytes).is_ok()
        };
        assert!(seen(8_192) && !seen(8_193));
    }
}
