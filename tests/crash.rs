//! Processes are killed with SIGKILL again and again: what a process acknowledged is there after,
//! logged as often as it is there, and reaches a peer. Here one that writes; in `crash/links.rs`
//! ones that apply, donate a snapshot and swap one in.
#![allow(clippy::unwrap_used, reason = "a test; a panic is its way to fail")]

#[path = "crash/links.rs"]
mod links;
#[path = "mesh/mod.rs"]
mod mesh;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tutti::replica::value::Value;
use tutti::store::Store;

const TABLE: &str = "CREATE TABLE acked(id INTEGER PRIMARY KEY, round, filler)";
/// Ids of one writer of one round: its numbers count up from here.
const WRITER: i64 = 1_000_000;
const ROUND: i64 = 100 * WRITER;

/// Not a test by itself: the process that gets killed. Its writers commit in groups.
#[test]
fn writer_process() {
    let Some(dir) = std::env::var_os("TUTTI_CRASH_DIR").map(PathBuf::from) else {
        return;
    };
    let number = |name| std::env::var(name).unwrap().parse::<i64>().unwrap();
    let (round, writers) = (number("TUTTI_CRASH_ROUND"), number("TUTTI_CRASH_WRITERS"));
    let store = Store::open(&dir, [1; 16], 100 + round as u64).unwrap();
    store.migrate(&[TABLE]).unwrap();
    std::thread::scope(|scope| {
        for writer in 0..writers {
            let store = &store;
            scope.spawn(move || write(store, round, round * ROUND + writer * WRITER));
        }
    });
}

/// Commits and says so, for ever.
fn write(store: &Store, round: i64, first: i64) {
    for id in first.. {
        let row = [id.into(), round.into(), "x".repeat(200).into()];
        let insert = "INSERT INTO acked VALUES (?, ?, ?)";
        store.transact(|tx| tx.execute(insert, &row)).unwrap();
        println!("acked {id}");
    }
}

/// Runs the writers until `kill_at` of their commits are acknowledged, then kills them; returns
/// each writer's last acknowledged id, by its first.
fn killed(dir: &Path, round: i64, writers: i64, kill_at: usize) -> BTreeMap<i64, i64> {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "writer_process", "--nocapture"])
        .env("TUTTI_CRASH_DIR", dir)
        .env("TUTTI_CRASH_ROUND", round.to_string())
        .env("TUTTI_CRASH_WRITERS", writers.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut last = BTreeMap::new();
    let mut acked = 0;
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        let line = line.unwrap();
        // The harness prints the test's name before the first of these, without a newline.
        let Some((_, id)) = line.split_once("acked ") else {
            continue;
        };
        let id: i64 = id.parse().unwrap();
        last.insert(id - id % WRITER, id);
        acked += 1;
        if acked == kill_at {
            child.kill().unwrap();
        }
    }
    child.wait().unwrap();
    last
}

/// What is in the database, against what was promised: per writer no gap, nothing less.
fn assert_kept(store: &Store, round: i64, promised: &BTreeMap<i64, i64>) {
    let sql = "SELECT count(*), max(id) FROM acked WHERE id >= ? AND id < ?";
    let mut found = 0;
    for writer in 0..100 {
        let first = round * ROUND + writer * WRITER;
        let range = [first.into(), (first + WRITER).into()];
        let rows = store.read(|reader| reader.query(sql, &range)).unwrap();
        let Value::Integer(count) = rows[0][0] else {
            panic!("{rows:?}");
        };
        if count > 0 {
            assert_eq!(rows[0][1], Value::Integer(first + count - 1), "a gap");
        }
        let least = promised.get(&first).map_or(0, |last| last - first + 1);
        assert!(count >= least, "round {round}: {count} rows of {least}");
        found += count as u64;
    }
    assert_eq!(store.frontier().seq(100 + round as u64), found);
}

/// One round after another in the same directory, each killed; then all of it is judged.
fn rounds(writers: i64, kill_at: &[usize]) {
    let dir = tempfile::tempdir().unwrap();
    let numbered = (0..).zip(kill_at);
    let kill = |(round, at): (i64, &usize)| killed(dir.path(), round, writers, *at);
    let promised: Vec<_> = numbered.map(kill).collect();
    let store = Store::open(dir.path(), [1; 16], 999).unwrap();
    let check = store.read(|reader| reader.query("PRAGMA integrity_check", &[]));
    assert_eq!(check.unwrap(), [[Value::from("ok")]]);
    for (round, promised) in (0..).zip(&promised) {
        assert_kept(&store, round, promised);
    }
    let other = tempfile::tempdir().unwrap();
    let peer = Store::open(other.path(), [2; 16], 2).unwrap();
    peer.migrate(&[TABLE]).unwrap();
    let (found, _) = store.log_after(&peer.frontier(), 0, usize::MAX).unwrap();
    peer.apply(&found).unwrap();
    assert_eq!(peer.digest().unwrap(), store.digest().unwrap());
}

#[test]
fn what_a_killed_process_acknowledged_is_there() {
    rounds(1, &[10, 27, 44, 61, 78, 95]);
}

#[test]
fn what_writers_that_shared_a_sync_were_promised_is_there() {
    rounds(16, &[1, 33, 150, 290, 401, 512]);
}

/// Not a test by itself: its disk writes no further than a file's first MiB and says an I/O error.
#[test]
fn refused_process() {
    let Some(dir) = std::env::var_os("TUTTI_REFUSED_DIR").map(PathBuf::from) else {
        return;
    };
    let store = Store::open(&dir, [1; 16], 100).unwrap();
    store.migrate(&[TABLE]).unwrap();
    let (mut id, mut refused) = (0, 0);
    while refused < 5 {
        let rows = |tx: &mut tutti::store::Tx<'_>| {
            for row in [id, id + 1] {
                let row = [row.into(), 0.into(), "x".repeat(2_000).into()];
                tx.execute("INSERT INTO acked VALUES (?, ?, ?)", &row)?;
            }
            Ok(())
        };
        match store.transact(rows) {
            Ok(()) => {
                id += 2;
                println!("acked {}", id - 1);
            }
            Err(error) => {
                refused += 1;
                println!("refused {error}");
            }
        }
        // What is there goes on being read, and is all that was acknowledged.
        let count = store.read(|reader| reader.query("SELECT count(*) FROM acked", &[]));
        assert_eq!(count.unwrap(), [[Value::Integer(id)]]);
    }
    println!("read to the end");
}

#[test]
fn a_disk_that_fails_refuses_whole_transactions_and_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    // Blocks of 512 bytes; without the signal, writing on is an error.
    let limited = "trap '' XFSZ; ulimit -f 2048; exec \"$0\" \"$@\"";
    let output = Command::new("sh")
        .args(["-c", limited])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "refused_process", "--nocapture"])
        .env("TUTTI_REFUSED_DIR", dir.path())
        .output()
        .unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(said.contains("read to the end"), "{said}");
    assert!(said.contains("refused SQLite: disk I/O error"), "{said}");
    let mut acked = said.lines().filter_map(|line| line.split_once("acked "));
    let last: i64 = acked.next_back().unwrap().1.parse().unwrap();
    let store = Store::open(dir.path(), [1; 16], 999).unwrap();
    let check = store.read(|reader| reader.query("PRAGMA integrity_check", &[]));
    assert_eq!(check.unwrap(), [[Value::from("ok")]]);
    let held = "SELECT count(*), max(id) FROM acked";
    let rows = store.read(|reader| reader.query(held, &[])).unwrap();
    assert_eq!(rows, [[Value::Integer(last + 1), Value::Integer(last)]]);
    assert_eq!(store.frontier().seq(100), (last as u64).div_ceil(2));
    let row = [(last + 1).into()];
    let insert = "INSERT INTO acked VALUES (?, 0, 'on')";
    store.transact(|tx| tx.execute(insert, &row)).unwrap();
}
