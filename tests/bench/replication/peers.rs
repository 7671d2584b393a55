//! Three processes over mutual TLS on loopback: how fast they converge, how soon a row is seen,
//! how long a join takes, how much memory they hold.

use std::path::Path;
use std::process::Command;

use super::Report;
use super::mesh::{Mesh, Order, Process, Reply};
use super::plain::{Plain, Synchronous};
use super::rows::SCATTERED;
use super::sample::{Turns, fdatasync_ms, median, on_disk, percentile, seconds};

/// This program again; it sees by its environment that it is one of a mesh.
fn command() -> Command {
    Command::new(std::env::current_exe().unwrap())
}

fn three() -> Mesh {
    let mut mesh = Mesh::found(on_disk(), command);
    mesh.join();
    mesh.join();
    mesh
}

fn assert_equal(mesh: &mut Mesh) {
    let digests: Vec<_> = mesh.peers.iter_mut().map(Process::digest).collect();
    assert!(digests.windows(2).all(|pair| pair[0] == pair[1]));
}

/// Rows of one round of the convergence measurement; Galera takes as many.
pub const CONVERGE_ROWS: i64 = 200_000;
/// Rows in each of their transactions.
pub const CONVERGE_SIZE: i64 = 1_000;

/// 200,000 rows in 1,000-row transactions written at one peer, until all three hold them durably,
/// and the same into one plain file; each round goes on from row `first`.
fn load(first: i64) -> Turns {
    let dir = on_disk();
    let plain = Plain::create(dir.path(), Synchronous::Normal);
    let mut mesh = three();
    let mut next = first;
    let ours = || {
        let (from, to) = (next, next + CONVERGE_ROWS);
        next = to;
        let began = super::mesh::now_us();
        let size = CONVERGE_SIZE;
        mesh.peers[0].order(&Order::Fill { from, to, size });
        let (_, origin, seq) = mesh.peers[0].done();
        let ended = mesh.settle(origin, seq);
        CONVERGE_ROWS as f64 / ((ended - began) as f64 / 1e6)
    };
    let mut at = first;
    let theirs = || {
        let firsts = (at..at + CONVERGE_ROWS).step_by(CONVERGE_SIZE as usize);
        at += CONVERGE_ROWS;
        let took = seconds(|| firsts.for_each(|first| plain.insert(first, first + CONVERGE_SIZE)));
        CONVERGE_ROWS as f64 / took
    };
    let turns = Turns::take(3, ours, theirs);
    assert_equal(&mut mesh);
    turns
}

/// Consecutive keys, as an import writes them.
pub fn converge(report: &mut Report) {
    let turns = load(0);
    report.line("converge_rows_per_s", turns.ours());
    report.line("converge_plain_rows_per_s", turns.theirs());
    report.line("converge_ratio", turns.ratio());
}

/// Keys all over the table.
pub fn converge_scattered(report: &mut Report) {
    let turns = load(SCATTERED);
    report.line("converge_scattered_rows_per_s", turns.ours());
    report.line("converge_scattered_plain_rows_per_s", turns.theirs());
    report.line("converge_scattered_ratio", turns.ratio());
}

/// Single-row transactions at 200 a second: from the commit call at one peer until a query at
/// another returns the row, durable at both.
pub fn visible(report: &mut Report) {
    let mut mesh = three();
    let (from, to) = (0, 3_000);
    let (origin, seq) = mesh.peers[0].position();
    mesh.peers[1].order(&Order::Watch {
        from,
        to,
        origin,
        seq,
    });
    let per_s = 200.0;
    mesh.peers[0].order(&Order::Pace { from, to, per_s });
    // The disk is as busy while its syncs are timed as while the rows are.
    let syncs = fdatasync_ms(1_000);
    mesh.peers[0].done();
    let Reply::Seen(seen) = mesh.peers[1].reply() else {
        panic!("the watcher saw nothing");
    };
    for percent in [50.0, 99.0] {
        let sync = percentile(&syncs, percent);
        report.line(
            &format!("visible_ms_p{percent}"),
            percentile(&seen, percent),
        );
        report.line(&format!("visible_fdatasync_ms_p{percent}"), sync);
    }
    assert_equal(&mut mesh);
}

const LARGE: i64 = 1_000_000;

/// Removes the copies that a donor staged, so that whoever joins next gets a fresh one; how many.
fn forget_staged(donor: &Path) -> usize {
    let mut count = 0;
    for entry in std::fs::read_dir(donor).unwrap() {
        let entry = entry.unwrap();
        if entry.file_name().to_string_lossy().starts_with("snapshot-") {
            std::fs::remove_file(entry.path()).unwrap();
            count += 1;
        }
    }
    count
}

/// A peer that joins a cluster of 1,000,000 rows, beside copying its file; then what each of
/// three such peers holds in memory while all of them write.
pub fn join(report: &mut Report) {
    let mut mesh = Mesh::found(on_disk(), command);
    let (from, to, size) = (0, LARGE, CONVERGE_SIZE);
    mesh.peers[0].run(&Order::Fill { from, to, size });
    let database = mesh.peers[0].database();
    let copies = on_disk();
    let (mut joins, mut copied) = (Vec::new(), Vec::new());
    for round in 0..5 {
        let copy = copies.path().join(round.to_string());
        copied.push(seconds(|| {
            std::fs::copy(&database, &copy).unwrap();
            std::fs::File::open(&copy).unwrap().sync_all().unwrap();
        }));
        std::fs::remove_file(&copy).unwrap();
        if round > 0 {
            mesh.leave();
        }
        // A copy that the donor still keeps would spare this joiner the staging.
        let kept = forget_staged(&mesh.peers[0].dir);
        assert_eq!(kept, usize::from(round > 0), "copies that the donor kept");
        joins.push(mesh.join());
    }
    let ratios: Vec<f64> = joins.iter().zip(&copied).map(|(j, c)| j / c).collect();
    let megabytes = std::fs::metadata(&database).unwrap().len() as f64 / 1e6;
    report.line("join_file_mb", megabytes);
    report.line("join_s", median(&joins));
    report.line("join_copy_s", median(&copied));
    report.line("join_ratio", median(&ratios));
    mesh.join();
    memory(report, &mut mesh);
    assert_equal(&mut mesh);
}

/// All three write 100 rows a second each for ten seconds, and one of them 50,000 at once.
fn memory(report: &mut Report, mesh: &mut Mesh) {
    let joined: Vec<f64> = mesh
        .peers
        .iter()
        .map(|peer| peer.memory_mb("VmHWM"))
        .collect();
    for (number, peer) in mesh.peers.iter_mut().enumerate() {
        peer.forget_peak();
        let from = LARGE * (number as i64 + 2);
        let (to, per_s) = (from + 1_000, 100.0);
        peer.order(&Order::Pace { from, to, per_s });
    }
    let from = LARGE * 5;
    let (to, size) = (from + 50_000, CONVERGE_SIZE);
    mesh.peers[0].order(&Order::Fill { from, to, size });
    let mut last = Vec::new();
    for peer in &mut mesh.peers {
        last.push(peer.done());
    }
    last.push(mesh.peers[0].done());
    for (_, origin, seq) in last {
        mesh.settle(origin, seq);
    }
    let peaks: Vec<f64> = mesh
        .peers
        .iter()
        .map(|peer| peer.memory_mb("VmHWM"))
        .collect();
    let most = |list: &[f64]| list.iter().copied().fold(0.0, f64::max);
    report.line("rss_mb", most(&peaks));
    report.line("rss_donor_peak_mb", joined[0]);
    report.line("rss_joiner_peak_mb", most(&joined[1..]));
}
