//! Copies of rows of which nobody could tell which is right, kept until a second peer's copy of
//! the same row decides: two of three (contract 9). The right content of a version never changes,
//! so a copy does not age; each new proof with its peer takes its place.

use std::collections::BTreeMap;

use super::repair::Finding;
use super::{Store, StoreError, lock};
use crate::replica::NodeId;
use crate::replica::digest::Difference;
use crate::replica::repair::Copy;
use crate::replica::schema::DeclarationId;
use crate::replica::value::encode;

/// How many bytes of copies are kept; a row that does not fit stays an alarm until one does.
const MAX_BYTES: usize = 4 << 20;

/// What peers hold of rows that are unclear, by table and key.
#[derive(Debug, Default)]
pub(super) struct Doubts {
    rows: BTreeMap<(DeclarationId, Vec<u8>), BTreeMap<NodeId, Copy>>,
    bytes: usize,
}

impl Doubts {
    fn others(&self, row: &Difference, peer: NodeId) -> Vec<(NodeId, Copy)> {
        let copies = self.rows.get(&name(row)).into_iter().flatten();
        let others = copies.filter(|(node, _)| **node != peer);
        others.map(|(node, copy)| (*node, copy.clone())).collect()
    }

    fn keep(&mut self, row: &Difference, peer: NodeId, copy: Copy) {
        let added = size(&row.key, &copy);
        if self.bytes + added > MAX_BYTES {
            return;
        }
        let copies = self.rows.entry(name(row)).or_default();
        if let Some(former) = copies.insert(peer, copy) {
            self.bytes -= size(&row.key, &former);
        }
        self.bytes += added;
    }

    fn settled(&mut self, row: &Difference) {
        let copies = self.rows.remove(&name(row)).unwrap_or_default();
        let sizes = copies.values().map(|copy| size(&row.key, copy));
        self.bytes -= sizes.sum::<usize>();
    }

    fn forget(&mut self, peer: NodeId) {
        let bytes = &mut self.bytes;
        self.rows.retain(|(_, key), copies| {
            if let Some(copy) = copies.remove(&peer) {
                *bytes -= size(key, &copy);
            }
            !copies.is_empty()
        });
    }
}

fn name(row: &Difference) -> (DeclarationId, Vec<u8>) {
    (row.table, row.key.clone())
}

/// About how much memory a copy takes.
fn size(key: &[u8], copy: &Copy) -> usize {
    let stamps = copy.clock.as_ref().map_or(0, |clock| clock.columns.len());
    let values = copy.content.as_ref().map_or(0, |row| encode(row).len());
    128 + key.len() + 32 * stamps + values
}

impl Store {
    /// A new proof with a peer begins: what it holds is told anew.
    pub fn doubt_anew(&self, peer: NodeId) {
        lock(&self.inner.doubts).forget(peer);
    }

    /// As [`Store::repair`], by one peer's copy and those that other peers told earlier of the same
    /// row, where that was unclear.
    pub fn repair_by(
        &self,
        row: &Difference,
        peer: NodeId,
        copy: Copy,
    ) -> Result<Option<Finding>, StoreError> {
        let mut copies = vec![(peer, copy.clone())];
        copies.extend(lock(&self.inner.doubts).others(row, peer));
        let finding = self.repair(row, &copies)?;
        let unclear = finding.as_ref().is_some_and(|found| found.result.is_err());
        let mut doubts = lock(&self.inner.doubts);
        match unclear {
            true => doubts.keep(row, peer, copy),
            false => doubts.settled(row),
        }
        Ok(finding)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::replica::value::Value;

    #[test]
    fn what_is_kept_is_bounded_and_goes_with_its_row_or_its_peer() {
        let row = |n: u8| Difference {
            table: 1,
            key: vec![n],
        };
        let copy = |size: usize| Copy {
            clock: None,
            content: Some(vec![Value::Blob(vec![7; size])]),
        };
        let (b, c) = ([2; 16], [3; 16]);
        let mut doubts = Doubts::default();
        doubts.keep(&row(1), b, copy(1 << 20));
        doubts.keep(&row(1), b, copy(1 << 20));
        doubts.keep(&row(1), c, copy(1 << 20));
        assert_eq!(doubts.others(&row(1), c), [(b, copy(1 << 20))]);
        doubts.keep(&row(2), b, copy(3 << 20));
        assert!(doubts.others(&row(2), c).is_empty(), "it does not fit");
        doubts.keep(&row(3), b, copy(9));
        doubts.forget(b);
        assert!(doubts.others(&row(3), c).is_empty());
        assert_eq!(doubts.others(&row(1), b).len(), 1);
        doubts.settled(&row(1));
        assert_eq!((doubts.bytes, doubts.rows.len()), (0, 0));
    }
}
