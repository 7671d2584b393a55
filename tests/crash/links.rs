//! Processes killed while they apply, donate a snapshot, or swap one in. Each kill answers an
//! event that the process itself reported.

use std::path::Path;
use std::process::Command;

use rusqlite::Connection;
use tutti::replica::value::Value;

use super::mesh::{Mesh, Order, Process, Reply, node};

fn row(id: i64) -> [Value; 4] {
    let remark = format!("{id} ").repeat(20);
    [
        id.into(),
        format!("row {id}").into(),
        (id % 7).into(),
        remark.into(),
    ]
}

/// Not a test by itself: a process of a mesh.
#[test]
fn mesh_process() {
    node::main(row);
}

fn command() -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "links::mesh_process", "--nocapture"]);
    command
}

fn found() -> Mesh {
    Mesh::found(tempfile::tempdir().unwrap(), command)
}

/// A copy of its files, which finds them as they are and leaves them so.
fn copied(process: &Process) -> (tempfile::TempDir, Connection) {
    let copy = tempfile::tempdir().unwrap();
    for name in ["replicated.db", "replicated.db-wal"] {
        let _ = std::fs::copy(process.dir.join(name), copy.path().join(name));
    }
    let db = Connection::open(copy.path().join("replicated.db")).unwrap();
    (copy, db)
}

/// What SQLite itself says of the files that a killed process left.
fn assert_sound(process: &Process) {
    let (_copy, db) = copied(process);
    let found: String = db
        .query_row("PRAGMA integrity_check", [], |row| row.get(0))
        .unwrap();
    assert_eq!(found, "ok");
}

fn count(process: &Process) -> i64 {
    let (_copy, db) = copied(process);
    let sql = "SELECT count(*) FROM item";
    db.query_row(sql, [], |row| row.get(0)).unwrap()
}

/// How many files of a snapshot are beside the database.
fn leftovers(dir: &Path) -> usize {
    let entries = std::fs::read_dir(dir).unwrap().flatten();
    let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    names.filter(|name| name.starts_with("snapshot-")).count()
}

/// All tunnels up, all members streaming, all equal.
fn assert_converges(mesh: &mut Mesh) {
    mesh.tunnels(&[]);
    let others = mesh.peers.len() - 1;
    for peer in &mut mesh.peers {
        peer.run(&Order::Active(others));
    }
    let ends: Vec<_> = mesh.peers.iter_mut().map(Process::position).collect();
    for (origin, seq) in ends {
        mesh.settle(origin, seq);
    }
    let digests: Vec<_> = mesh.peers.iter_mut().map(Process::digest).collect();
    assert!(digests.windows(2).all(|pair| pair[0] == pair[1]));
}

#[test]
fn a_peer_killed_while_it_applies_keeps_what_it_acknowledged_and_goes_on() {
    let mut mesh = found();
    mesh.join();
    for (round, more) in [1, 60, 230, 410].into_iter().enumerate() {
        let from = round as i64 * 10_000;
        let (to, size) = (from + 3_000, 7);
        let before = mesh.peers[1].transactions();
        mesh.peers[1].run(&Order::Follow);
        mesh.peers[0].order(&Order::Fill { from, to, size });
        let mut held = before;
        while held < before + more {
            if let Reply::Held(transactions) = mesh.peers[1].reply() {
                held = transactions;
            }
        }
        mesh.peers[1].kill();
        assert_sound(&mesh.peers[1]);
        mesh.peers[0].done();
        mesh.restart(1);
        let kept = mesh.peers[1].transactions();
        assert!(kept >= held, "it said {held}, it kept {kept}");
        assert_converges(&mut mesh);
    }
    assert_eq!(count(&mesh.peers[1]), 12_000);
}

#[test]
fn a_donor_killed_while_it_takes_or_sends_a_snapshot_loses_nothing() {
    let mut mesh = found();
    let (from, to, size) = (0, 60_000, 1_000);
    mesh.peers[0].run(&Order::Fill { from, to, size });
    let digest = mesh.peers[0].digest();
    mesh.add();
    // 0 %: it was asked and is taking it. Later ones: it is sending.
    for percent in [0, 1, 40] {
        mesh.peers[1].run(&Order::Follow);
        mesh.tunnels(&[]);
        loop {
            match mesh.peers[1].reply() {
                Reply::Joining(now) if now >= percent => break,
                // It was faster than the kill.
                Reply::Member => break,
                _ => {}
            }
        }
        mesh.peers[0].kill();
        assert_sound(&mesh.peers[0]);
        mesh.restart(0);
        assert_eq!(leftovers(&mesh.peers[0].dir), 0);
        assert_eq!(mesh.peers[0].digest(), digest);
        mesh.restart(1);
    }
    assert_converges(&mut mesh);
    assert_eq!(mesh.peers[1].digest(), digest);
}

#[test]
fn a_joiner_killed_at_any_moment_of_its_snapshot_has_the_old_rows_or_the_new() {
    let mut mesh = found();
    let (from, to, size) = (0, 20_000, 1_000);
    mesh.peers[0].run(&Order::Fill { from, to, size });
    let new = mesh.peers[0].digest();
    let mut swapped = 0;
    for (round, moments) in [0, 100, 4_000, 16_000].into_iter().enumerate() {
        let joiner = mesh.add();
        let from = 1_000_000;
        let (to, size) = (from + 50, 1);
        joiner.run(&Order::Fill { from, to, size });
        let old = joiner.digest();
        joiner.run(&Order::Follow);
        mesh.tunnels(&[]);
        kill_in_swap(&mut mesh.peers[1], moments);
        assert_sound(&mesh.peers[1]);
        mesh.restart(1);
        let found = mesh.peers[1].digest();
        assert!(found == old || found == new, "round {round}");
        swapped += usize::from(found == new);
        assert_converges(&mut mesh);
        assert_eq!(mesh.peers[1].digest(), new);
        mesh.leave();
    }
    eprintln!("{swapped} of 4 kills came after the swap");
}

/// Kills it so many moments after the last piece arrived, or once it is a member.
fn kill_in_swap(joiner: &mut Process, moments: u32) {
    let mut passed = 0;
    let mut whole = false;
    while !whole || passed < moments {
        match joiner.reply() {
            Reply::Joining(100) => whole = true,
            Reply::Moment => passed += 1,
            Reply::Member => break,
            _ => {}
        }
    }
    joiner.kill();
}
