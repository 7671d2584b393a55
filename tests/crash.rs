//! A writing process is killed with SIGKILL again and again: what it acknowledged is there after,
//! logged as often as it is there, and reaches a peer.
#![allow(clippy::unwrap_used)]

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use tutti::replica::value::Value;
use tutti::store::Store;

const TABLE: &str = "CREATE TABLE acked(id INTEGER PRIMARY KEY, round, filler)";

/// Not a test by itself: the process that gets killed.
#[test]
fn writer_process() {
    let Some(dir) = std::env::var_os("TUTTI_CRASH_DIR").map(PathBuf::from) else {
        return;
    };
    let round: i64 = std::env::var("TUTTI_CRASH_ROUND").unwrap().parse().unwrap();
    let store = Store::open(&dir, [1; 16], 100 + round as u64).unwrap();
    store.migrate(&[TABLE]).unwrap();
    for number in 0.. {
        let id = Value::Integer(round * 1_000_000 + number);
        let row = [id, round.into(), "x".repeat(200).into()];
        let insert = "INSERT INTO acked VALUES (?, ?, ?)";
        store.transact(|tx| tx.execute(insert, &row)).unwrap();
        println!("acked {number}");
    }
}

#[test]
fn what_a_killed_process_acknowledged_is_there() {
    let dir = tempfile::tempdir().unwrap();
    let mut promised = Vec::new();
    for round in 0..6_i64 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "writer_process", "--nocapture"])
            .env("TUTTI_CRASH_DIR", dir.path())
            .env("TUTTI_CRASH_ROUND", round.to_string())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut last = 0;
        for line in BufReader::new(child.stdout.take().unwrap()).lines() {
            let line = line.unwrap();
            // The harness prints the test's name before the first of these, without a newline.
            if let Some((_, number)) = line.split_once("acked ") {
                last = number.parse::<i64>().unwrap();
                if last == 10 + round * 17 {
                    child.kill().unwrap();
                }
            }
        }
        child.wait().unwrap();
        promised.push(last);
    }
    let store = Store::open(dir.path(), [1; 16], 999).unwrap();
    for (round, last) in promised.into_iter().enumerate() {
        let sql = "SELECT count(*), max(id) % 1000000 FROM acked WHERE round = ?";
        let round = round as i64;
        let found = store
            .read(|reader| reader.query(sql, &[round.into()]))
            .unwrap();
        let [Value::Integer(count), Value::Integer(max)] = found[0][..] else {
            panic!("{found:?}");
        };
        assert!(
            max >= last && count == max + 1,
            "round {round}: {count} rows, {last} acked"
        );
        assert_eq!(store.frontier().seq(100 + round as u64), count as u64);
    }
    let other = tempfile::tempdir().unwrap();
    let peer = Store::open(other.path(), [2; 16], 2).unwrap();
    peer.migrate(&[TABLE]).unwrap();
    let (found, _) = store.log_after(&peer.frontier(), 0, usize::MAX).unwrap();
    peer.apply(&found).unwrap();
    assert_eq!(peer.digest().unwrap(), store.digest().unwrap());
}
