//! Pages that hold something else than SQLite wrote.

use std::os::unix::fs::FileExt;

use super::*;
use crate::replica::session::Swap;
use crate::store::damage::set_aside;

/// A store of some size, closed; its file.
fn closed(rows: i64) -> (Peer, std::path::PathBuf) {
    let a = peer(1);
    a.store.declare(ITEM).unwrap();
    let fill = |tx: &mut Tx<'_>| {
        for id in 0..rows {
            let row = [id.into(), "x".repeat(900).into(), Null];
            tx.execute("INSERT INTO item VALUES (?, ?, ?)", &row)?;
        }
        Ok(())
    };
    a.store.transact(fill).unwrap();
    let path = a.dir.path().join("replicated.db");
    let Peer { store, dir } = a;
    drop(store);
    // Whoever opens it last folds the WAL in.
    let store = Store::open(dir.path(), [1; 16], 50).unwrap();
    (Peer { store, dir }, path)
}

fn overwrite(path: &Path, from: u64, to: u64) {
    let file = std::fs::File::options().write(true).open(path).unwrap();
    file.write_all_at(&vec![0xa5; (to - from) as usize], from)
        .unwrap();
}

#[test]
fn a_damaged_page_is_named_by_whoever_meets_it_and_told_to_the_node() {
    let (Peer { store, dir }, path) = closed(2_000);
    drop(store);
    let size = std::fs::metadata(&path).unwrap().len();
    overwrite(&path, size / 4, size / 4 * 3);
    let store = Store::open(dir.path(), [1; 16], 51).unwrap();
    assert_eq!(*store.damage().borrow(), None);
    let result = store.read(|reader| reader.query("SELECT count(a), max(b) FROM item", &[]));
    assert!(matches!(result, Err(StoreError::Corrupt(_))), "{result:?}");
    assert!(store.damage().borrow().is_some());
}

#[test]
fn a_file_that_is_no_database_is_set_aside_and_a_new_one_takes_its_place() {
    let (Peer { store, dir }, path) = closed(10);
    drop(store);
    overwrite(&path, 0, 100);
    let Err(error) = Store::open(dir.path(), [1; 16], 51) else {
        panic!("opened");
    };
    assert!(matches!(error, StoreError::Corrupt(_)), "{error}");
    let before = set_aside(dir.path(), 1).unwrap();
    let store = Store::open(dir.path(), [1; 16], 52).unwrap();
    assert_eq!(store.tables().unwrap(), []);
    drop(store);
    // Of several only the last is kept: the disk is for what is in use.
    let after = set_aside(dir.path(), 2).unwrap();
    assert!(!before.exists() && after.exists());
    // Power failed before it was noted: there is nothing to set aside, and nothing goes.
    set_aside(dir.path(), 3).unwrap();
    assert!(after.exists());
}

#[test]
fn a_damaged_file_that_is_imported_damages_nothing_here() {
    let (Peer { store, dir }, path) = closed(2_000);
    drop(store);
    overwrite(&path, 0, 100);
    let b = peer(2);
    let error = b.store.import(&path, &mut Default::default()).unwrap_err();
    assert!(matches!(error, StoreError::Refused(_)), "{error}");
    assert_eq!(*b.store.damage().borrow(), None);
    drop(dir);
}

/// SQLite copies pages as they lie there: who has read none of them cannot tell.
#[test]
fn a_donor_whose_damage_nobody_met_is_refused_by_name_and_another_member_gives_the_snapshot() {
    let (a, path) = closed(2_000);
    let (b, c) = (peer(2), peer(3));
    pull(&c, &a);
    let whole = c.store.digest().unwrap();
    b.store.declare(ITEM).unwrap();
    run(&b, "INSERT INTO item VALUES (5, 'mine', 0)");
    let before = b.store.digest().unwrap();
    let Peer { store, dir } = a;
    drop(store);
    let size = std::fs::metadata(&path).unwrap().len();
    overwrite(&path, size / 4, size / 4 * 3);
    let store = Store::open(dir.path(), [1; 16], 51).unwrap();
    let a = Peer { store, dir };
    let take = |donor: &Peer| {
        let staged = donor.store.stage(u64::MAX).unwrap();
        let store = &b.store;
        let accepted = store.accept_snapshot(staged.id, staged.size, 0, u64::MAX);
        let mut incoming = accepted.unwrap();
        let (bytes, digest) = staged.read(0, staged.size as usize).unwrap();
        incoming.write(0, &bytes).unwrap();
        store.swap_in(incoming, digest.unwrap(), 77, Swap::Adopt)
    };
    let refused = take(&a).unwrap_err();
    assert_eq!(
        *a.store.damage().borrow(),
        None,
        "the donor has not noticed"
    );
    assert!(matches!(refused, StoreError::Peer(_)), "{refused:?}");
    assert!(
        refused.to_string().contains("a snapshot that is refused"),
        "{refused}"
    );
    assert_eq!(b.store.digest().unwrap(), before);
    assert_eq!(*b.store.damage().borrow(), None, "this file is sound");
    take(&c).unwrap();
    assert_eq!(b.store.digest().unwrap(), whole);
    run(&b, "INSERT INTO item VALUES (9999, 'member', 0)");
    pull(&c, &b);
    assert_eq!(c.store.digest().unwrap(), b.store.digest().unwrap());
}
