//! What is promised to writers, with the power cut at the worst moment and syncs that fail.

use tempfile::TempDir;
use tutti::replica::frontier::Frontier;
use tutti::replica::value::Value;
use tutti::store::{Durability, Store, StoreError};

use crate::disk::Disk;
use crate::synced;
use crate::world::{copy, directory};

const KEPT: &str = "CREATE TABLE kept(id INTEGER PRIMARY KEY, text)";

struct Machine {
    store: Store,
    dir: TempDir,
    _disk: Disk,
}

impl Machine {
    fn start(dir: TempDir, incarnation: u64) -> Self {
        let disk = Disk::new(dir.path());
        let store = Store::open(dir.path(), [1; 16], incarnation).unwrap();
        store.migrate(&[KEPT]).unwrap();
        Machine {
            store,
            dir,
            _disk: disk,
        }
    }

    fn insert(&self, id: i64) -> Result<(), StoreError> {
        let sql = "INSERT INTO kept VALUES (?, 'x')";
        let result = self.store.transact(|tx| tx.execute(sql, &[id.into()]));
        result.map(drop)
    }

    fn rows(&self) -> i64 {
        let sql = "SELECT count(*) FROM kept";
        let found = self.store.read(|reader| reader.query(sql, &[])).unwrap();
        match found[0][0] {
            Value::Integer(rows) => rows,
            ref other => panic!("{other:?}"),
        }
    }

    /// The rows that a start after a cut of power finds.
    fn rows_after_a_cut(&self) -> i64 {
        let to = directory();
        copy(self.dir.path(), to.path(), None);
        synced::cut(self.dir.path(), to.path());
        Machine::start(to, 99).rows()
    }
}

#[test]
fn what_a_writer_was_told_is_there_after_a_cut_of_power_and_nothing_else_need_be() {
    let machine = Machine::start(directory(), 1);
    for id in 1..=20 {
        machine.insert(id).unwrap();
        assert_eq!(machine.rows_after_a_cut(), id);
    }
    machine.store.set_durability(Durability::Lazy);
    machine.insert(21).unwrap();
    assert_eq!(machine.rows(), 21);
    assert_eq!(
        machine.rows_after_a_cut(),
        20,
        "a cut takes what is not synced"
    );
    machine.store.flush().unwrap();
    assert_eq!(machine.rows_after_a_cut(), 21);
}

#[test]
fn what_was_acknowledged_to_a_peer_is_there_after_a_cut_of_power() {
    let machine = Machine::start(directory(), 1);
    machine.insert(1).unwrap();
    let to = Machine::start(directory(), 2);
    let found = machine.store.log_after(&Frontier::default(), 0, 1 << 20);
    let acknowledged = to.store.apply(&found.unwrap().0).unwrap();
    assert_eq!(acknowledged.seq(1), 1);
    assert_eq!(to.rows_after_a_cut(), 1);
}

#[test]
fn a_sync_that_failed_is_not_tried_again_and_nothing_is_written_or_leaves_until_the_next_start() {
    let machine = Machine::start(directory(), 1);
    machine.insert(1).unwrap();
    let before = machine.store.frontier();
    synced::fail(machine.dir.path(), true);
    let refused = machine.insert(2).unwrap_err();
    assert!(matches!(refused, StoreError::NotDurable(_)), "{refused}");
    // The disk says yes again, and what it dropped is dropped.
    synced::fail(machine.dir.path(), false);
    let refused = machine.insert(3).unwrap_err();
    assert!(matches!(refused, StoreError::NotDurable(_)), "{refused}");
    assert!(matches!(
        machine.store.flush(),
        Err(StoreError::NotDurable(_))
    ));
    assert_eq!(machine.store.frontier(), before);
    let leaves = machine.store.log_after(&Frontier::default(), 0, 1 << 20);
    assert_eq!(leaves.unwrap().0.len(), 1);
    assert!(machine.rows() >= 1, "what can be read is read");
    assert_eq!(machine.rows_after_a_cut(), 1);
    let Machine { store, dir, _disk } = machine;
    drop((store, _disk));
    let again = Machine::start(dir, 2);
    again.insert(4).unwrap();
    assert_eq!(again.rows(), again.rows_after_a_cut());
}
