//! A real database through three real `tutti serve` processes: imported at one and equal at all,
//! then edited on all three while they are cut off from each other, and equal again.
//!
//! `TUTTI_IMPORT=FILE.db` imports that file and `TUTTI_EDIT=TABLE.COLUMN` says what is edited (see
//! `tests/real/all.sh`); without them a small one made here. `TUTTI_KEEP=DIR` keeps the three
//! databases there, for others to compare.
#![allow(clippy::unwrap_used, reason = "a test; a panic is its way to fail")]

#[path = "serve/peer.rs"]
mod peer;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use peer::{Cluster, Peer};
use rusqlite::Connection;
use serde_json::{Value, json};

/// The largest of them takes minutes on a busy machine; waits end on the event.
const PATIENCE: Duration = Duration::from_secs(900);

fn sample(path: &Path) {
    let db = Connection::open(path).unwrap();
    db.execute_batch(
        "CREATE TABLE artist(id INTEGER PRIMARY KEY, name TEXT);
         CREATE TABLE album(id INTEGER PRIMARY KEY, title TEXT NOT NULL,
            artist INTEGER REFERENCES artist(id) ON DELETE CASCADE);
         CREATE TABLE rating(album INTEGER NOT NULL REFERENCES album(id) ON DELETE CASCADE,
            by TEXT NOT NULL, stars REAL, cover BLOB, PRIMARY KEY (album, by)) WITHOUT ROWID;
         CREATE INDEX album_artist ON album(artist);
         WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 500)
         INSERT INTO artist SELECT i, 'artist ' || i FROM n;
         INSERT INTO album SELECT id * 2, name || ', first', id FROM artist;
         INSERT INTO rating SELECT id, 'all', id / 7.0, zeroblob(id % 5) FROM album;",
    )
    .unwrap();
}

/// The table that is edited: its name, its key, and the column.
struct Edited {
    table: String,
    key: String,
    column: String,
}

impl Edited {
    fn of(peer: &Peer) -> Self {
        let given = std::env::var("TUTTI_EDIT");
        let given = given.unwrap_or_else(|_| "artist.name".into());
        let (table, column) = given.split_once('.').unwrap();
        let page = peer.get(&format!("/tables/{table}/rows?limit=1"));
        Edited {
            table: table.into(),
            key: page["table"]["key"][0].as_str().unwrap().into(),
            column: column.into(),
        }
    }

    fn path(&self) -> String {
        format!("/tables/{}/rows", self.table)
    }

    fn rows(&self, peer: &Peer, limit: usize) -> Vec<Value> {
        let page = peer.get(&format!("{}?limit={limit}", self.path()));
        page["rows"].as_array().unwrap().clone()
    }

    fn keys(&self, peer: &Peer) -> Vec<Value> {
        let rows = self.rows(peer, 40);
        rows.iter().map(|row| row[&self.key].clone()).collect()
    }

    fn set(&self, peer: &Peer, key: &Value, text: &str) {
        peer.post(&self.path(), json!({ &self.key: key, &self.column: text }));
    }

    fn delete(&self, peer: &Peer, key: &Value) {
        peer.delete(&self.path(), json!({ &self.key: key }));
    }
}

/// A key like these that none of them is.
fn fresh(keys: &[Value], number: i64) -> Value {
    match keys[0] {
        Value::Number(_) => json!(9_000_000 + number),
        _ => json!(format!("~new {number}")),
    }
}

/// Waits until all three say the same of all their rows.
fn wait_equal(cluster: &Cluster) {
    let began = Instant::now();
    loop {
        cluster.wait_active();
        // With the number of transactions: an index changes no row.
        let digest = |peer: &Peer| peer.get("/digest");
        let [a, b, c] = cluster.peers.each_ref().map(digest);
        if a == b && b == c {
            return;
        }
        assert!(began.elapsed() < PATIENCE, "digests differ: {a} {b} {c}");
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// Copies each peer's database as it is and compares every replicated table, row for row.
fn assert_same_rows(cluster: &Cluster, keep: &Path, stage: &str) {
    let copies: Vec<PathBuf> = cluster
        .peers
        .iter()
        .map(|peer| {
            let copy = keep.join(format!("{stage}-{}.db", peer.name));
            let dir = tempfile::tempdir().unwrap();
            let db = Connection::open(peer.copy_database(dir.path())).unwrap();
            db.execute("VACUUM INTO ?", [copy.to_str().unwrap()])
                .unwrap();
            copy
        })
        .collect();
    let tables = cluster.peers[0].get("/tables");
    let tables = tables["tables"].as_array().unwrap();
    let db = Connection::open(&copies[0]).unwrap();
    for other in &copies[1..] {
        db.execute("ATTACH ? AS other", [other.to_str().unwrap()])
            .unwrap();
        for table in tables {
            let name = format!("\"{}\"", table["name"].as_str().unwrap());
            let one_sided = |left: &str, right: &str| -> i64 {
                let sql = format!(
                    "SELECT count(*) FROM \
                     (SELECT * FROM {left}.{name} EXCEPT SELECT * FROM {right}.{name})"
                );
                db.query_row(&sql, [], |row| row.get(0)).unwrap()
            };
            let differing = (one_sided("main", "other"), one_sided("other", "main"));
            assert_eq!(differing, (0, 0), "{name} of {}", other.display());
        }
        db.execute("DETACH other", []).unwrap();
    }
    assert!(
        tables
            .iter()
            .any(|table| table["rows"].as_u64() > Some(100))
    );
}

/// Each peer, cut off from the others, changes the same ten rows, inserts one of its own and one
/// that all insert, deletes one of its own; one deletes what another changes.
fn edit_apart(cluster: &Cluster, edited: &Edited, keys: &[Value]) {
    for (number, peer) in cluster.peers.iter().enumerate() {
        for key in &keys[..10] {
            edited.set(peer, key, &format!("{key} by {}", peer.name));
        }
        let own = format!("of {}", peer.name);
        edited.set(peer, &fresh(keys, number as i64), &own);
        edited.set(peer, &fresh(keys, 3), &own);
        edited.delete(peer, &keys[20 + number]);
    }
    edited.delete(&cluster.peers[0], &keys[30]);
    edited.set(
        &cluster.peers[1],
        &keys[30],
        "changed while it was deleted elsewhere",
    );
}

/// Every value written apart is in the row, or in the conflict inbox of every peer.
fn assert_nothing_lost(cluster: &Cluster, edited: &Edited, keys: &[Value]) {
    let rows = edited.rows(&cluster.peers[0], 40);
    let lost: Vec<String> = cluster
        .peers
        .iter()
        .map(|peer| {
            let inbox = peer.get("/conflicts");
            inbox["conflicts"].to_string()
        })
        .collect();
    for key in &keys[..10] {
        let row = rows.iter().find(|row| row[&edited.key] == *key).unwrap();
        let mut visible = 0;
        for peer in &cluster.peers {
            let text = json!(format!("{key} by {}", peer.name));
            if row[&edited.column] == text {
                visible += 1;
            } else {
                let quoted = text.to_string();
                let listed = lost.iter().all(|inbox| inbox.contains(&quoted));
                assert!(listed, "{quoted} is neither in its row nor in every inbox");
            }
        }
        assert_eq!(visible, 1, "{row}");
    }
    let gone = |key: &Value| rows.iter().all(|row| row[&edited.key] != *key);
    assert!(keys[20..23].iter().all(gone) && gone(&keys[30]));
}

#[test]
fn a_real_database_is_equal_on_three_processes_also_after_edits_on_all_while_apart() {
    let dir = tempfile::tempdir().unwrap();
    let given = |name: &str| std::env::var_os(name).map(PathBuf::from);
    let file = given("TUTTI_IMPORT").unwrap_or_else(|| {
        let file = dir.path().join("sample.db");
        sample(&file);
        file
    });
    let keep = given("TUTTI_KEEP").unwrap_or_else(|| dir.path().to_owned());
    let cluster = Cluster::start("real");
    cluster.form();
    let began = Instant::now();
    cluster.peers[1].import(&file);
    eprintln!("imported: {:.1} s", began.elapsed().as_secs_f64());
    wait_equal(&cluster);
    eprintln!("equal at all three: {:.1} s", began.elapsed().as_secs_f64());
    assert_same_rows(&cluster, &keep, "imported");

    let edited = Edited::of(&cluster.peers[0]);
    let keys = edited.keys(&cluster.peers[0]);
    cluster.peers.iter().for_each(|peer| peer.tunnels(false));
    for peer in &cluster.peers {
        for other in cluster.peers.iter().filter(|other| other.ip != peer.ip) {
            peer.wait_state(&other.ip, "Unreachable");
        }
    }
    edit_apart(&cluster, &edited, &keys);
    cluster.peers.iter().for_each(|peer| peer.tunnels(true));
    wait_equal(&cluster);
    assert_same_rows(&cluster, &keep, "edited");
    assert_nothing_lost(&cluster, &edited, &keys);
}
