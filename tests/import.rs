//! A real database is imported at one peer and is equal at the other, table for table.
//!
//! `TUTTI_IMPORT=FILE.db` imports that file (see `tests/real/`); without it a small one made here.
#![allow(clippy::unwrap_used)]

use std::time::Instant;

use tutti::store::{ImportReport, Store};

fn sample(path: &std::path::Path) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), [9; 16], 9).unwrap();
    for sql in [
        "CREATE TABLE z_parent(id INTEGER PRIMARY KEY, name TEXT UNIQUE)",
        "CREATE TABLE a_child(id INTEGER PRIMARY KEY, parent REFERENCES z_parent(id), \
         elder REFERENCES a_child(id))",
        "CREATE INDEX child_parent ON a_child(parent)",
    ] {
        store.declare(sql).unwrap();
    }
    store
        .transact(|tx| {
            tx.execute("INSERT INTO z_parent VALUES (1, 'one'), (2, NULL)", &[])?;
            tx.execute("INSERT INTO a_child VALUES (2, 2, NULL), (1, 1, 2)", &[])
        })
        .unwrap();
    let staged = store.stage_snapshot(None, u64::MAX).unwrap();
    let (bytes, _) = staged.read(0, staged.size as usize).unwrap();
    std::fs::write(path, bytes).unwrap();
}

#[test]
fn an_imported_database_is_equal_at_both_peers() {
    let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let a = Store::open(dirs[0].path(), [1; 16], 1).unwrap();
    let b = Store::open(dirs[1].path(), [2; 16], 2).unwrap();
    let given = std::env::var_os("TUTTI_IMPORT").map(std::path::PathBuf::from);
    let file = given.unwrap_or_else(|| {
        let path = dirs[0].path().join("sample.db");
        sample(&path);
        path
    });
    let began = Instant::now();
    let mut report = ImportReport::default();
    a.import(&file, &mut report).unwrap();
    eprintln!("import: {:.1} s {report:?}", began.elapsed().as_secs_f64());
    let began = Instant::now();
    let mut from = 0;
    loop {
        let (found, next) = a.log_after(&b.frontier(), from, 1 << 18).unwrap();
        if found.is_empty() {
            break;
        }
        b.apply(&found).unwrap();
        from = next;
    }
    eprintln!("applied: {:.1} s", began.elapsed().as_secs_f64());
    for table in a.tables().unwrap() {
        assert_eq!(
            a.table_digest(&table.name).unwrap(),
            b.table_digest(&table.name).unwrap(),
            "{}",
            table.name
        );
    }
    assert_eq!(a.digest().unwrap(), b.digest().unwrap());
    assert!(b.conflicts(10).unwrap().is_empty());
    let rows: u64 = a.tables().unwrap().iter().map(|table| table.rows).sum();
    assert_eq!(rows, report.tables.iter().map(|table| table.1).sum::<u64>());
}
