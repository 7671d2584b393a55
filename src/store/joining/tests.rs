//! Snapshots from donor to joiner, honest, cut off, and lying.

use std::sync::atomic::AtomicU64;
use std::time::Instant;

use super::*;
use crate::replica::value::Value;
use crate::store::tests::{Peer, exchange, peer, pull, rows, run};
use crate::store::{Durability, Keys, PAGE, Staged};
use crate::wire::replication;

const ITEM: &str = "CREATE TABLE item(id INTEGER PRIMARY KEY, a, b)";
const ROOMY: u64 = u64::MAX;

/// A donor with some rows, and a joiner with a table of its own.
fn donor_and_joiner() -> (Peer, Peer) {
    let (a, b) = (peer(1), peer(2));
    a.store.declare(ITEM).unwrap();
    run(&a, "INSERT INTO item VALUES (1, 'a', 1)");
    let own = "CREATE TABLE own(id INTEGER PRIMARY KEY)";
    b.store.declare(own).unwrap();
    run(&b, "INSERT INTO own VALUES (5)");
    (a, b)
}

/// Sends from where the joiner is until `end`.
fn send(staged: &Staged, incoming: &mut Incoming, end: u64) -> Option<[u8; 32]> {
    while incoming.held < end {
        let at = incoming.held;
        let (bytes, digest) = staged.read(at, 1_000).unwrap();
        incoming.write(at, &bytes).unwrap();
        if digest.is_some() {
            return digest;
        }
    }
    None
}

fn transfer(from: &Peer, to: &Peer) -> (Incoming, [u8; 32]) {
    let staged = from.store.stage_snapshot(None, ROOMY).unwrap();
    let accepted = to.store.accept_snapshot(staged.id, staged.size, 0, ROOMY);
    let mut incoming = accepted.unwrap();
    let digest = send(&staged, &mut incoming, staged.size).unwrap();
    (incoming, digest)
}

fn names(peer: &Peer, start: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(peer.dir.path()).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    let fits = |path: &PathBuf| {
        let name = path.file_name().unwrap().to_string_lossy();
        name.starts_with(start)
    };
    paths.filter(fits).collect()
}

/// Both change one value at once: one entry in each inbox.
fn disagree(a: &Peer, b: &Peer) {
    a.store.declare(ITEM).unwrap();
    run(a, "INSERT INTO item VALUES (1, 'x', 1)");
    exchange(a, b);
    run(a, "UPDATE item SET a = 'one'");
    run(b, "UPDATE item SET a = 'other'");
    exchange(a, b);
    assert_eq!(a.store.conflicts(9).unwrap().len(), 1);
}

/// It waited for the writer while the snapshot took its place, and its peer's hello had been judged
/// by the former database.
#[test]
fn what_a_link_brings_that_began_before_another_database_took_its_place_is_not_applied() {
    let (a, b) = donor_and_joiner();
    let under = b.store.incarnation();
    let c = peer(3);
    c.store
        .declare("CREATE TABLE more(id INTEGER PRIMARY KEY)")
        .unwrap();
    let (brought, _) = c.store.log_after(&Frontier::default(), 0, 1 << 20).unwrap();
    let (incoming, digest) = transfer(&a, &b);
    b.store.swap_in(incoming, digest, 77, Swap::Adopt).unwrap();
    let (frontier, owed) = b.store.apply_gathering(under, &brought).unwrap();
    assert_eq!((frontier.seq(3), owed), (0, false));
    let (frontier, _) = b.store.apply_gathering(77, &brought).unwrap();
    assert_eq!(frontier.seq(3), 1);
}

#[test]
fn an_inbox_comes_with_the_snapshot_and_the_former_one_stays_in_the_backup() {
    let [a, b, c, d] = [1, 2, 3, 4].map(peer);
    disagree(&a, &c);
    disagree(&b, &d);
    let former = b.store.conflicts(9).unwrap();
    let (incoming, digest) = transfer(&a, &b);
    let backup = b.store.swap_in(incoming, digest, 77, Swap::Adopt).unwrap();
    assert_eq!(b.store.conflicts(9).unwrap(), a.store.conflicts(9).unwrap());
    // As an operator puts it back: under the database's name, in a directory of its own.
    let dir = tempfile::tempdir().unwrap();
    fs::copy(
        backup,
        dir.path().join(b.store.inner.path.file_name().unwrap()),
    )
    .unwrap();
    let restored = Store::open(dir.path(), [2; 16], 78).unwrap();
    assert_eq!(restored.conflicts(9).unwrap(), former);
    restored.restore_conflict(&former[0].id).unwrap();
    assert!(restored.conflicts(9).unwrap().is_empty());
}

#[test]
fn who_left_goes_on_under_a_fresh_incarnation_with_all_it_has() {
    let (a, b) = (peer(1), peer(2));
    let sql = "CREATE TABLE note(id INTEGER PRIMARY KEY, text)";
    a.store.declare_with(sql, Keys::Engine).unwrap();
    run(&a, "INSERT INTO note(text) VALUES ('before')");
    let before = a.store.frontier();
    a.store.renew(77).unwrap();
    assert_eq!(a.store.incarnation(), 77);
    assert_eq!(a.store.frontier(), before, "nothing is written by that");
    run(&a, "INSERT INTO note(text) VALUES ('after')");
    assert_eq!(a.store.frontier().seq(1), before.seq(1));
    assert_eq!(a.store.frontier().seq(77), 1);
    let blocks = rows(&a, "SELECT DISTINCT id >> 24 FROM note");
    assert_eq!(blocks.len(), 2, "ids of a block of its own: {blocks:?}");
    // What follows is later than what was, and a peer takes all of it.
    run(&a, "UPDATE note SET text = 'changed' WHERE text = 'before'");
    exchange(&a, &b);
    let texts = rows(&b, "SELECT text FROM note ORDER BY text").concat();
    assert_eq!(texts, ["after".into(), "changed".into()]);
    assert!(b.store.conflicts(9).unwrap().is_empty());
}

#[test]
fn a_snapshot_is_swapped_in_and_the_old_rows_are_backed_up() {
    let (a, b) = donor_and_joiner();
    let (incoming, digest) = transfer(&a, &b);
    let backup = b.store.swap_in(incoming, digest, 77, Swap::Adopt).unwrap();
    assert_eq!(a.store.digest().unwrap(), b.store.digest().unwrap());
    assert!(names(&b, "incoming-").is_empty());
    let old = Connection::open(backup).unwrap();
    let own: i64 = old
        .query_row("SELECT id FROM own", [], |row| row.get(0))
        .unwrap();
    assert_eq!(own, 5);
    run(&b, "UPDATE item SET a = 'b'");
    exchange(&a, &b);
    assert_eq!(rows(&a, "SELECT a FROM item"), vec![vec!["b".into()]]);
}

#[test]
fn a_joiner_writes_under_its_own_incarnation_and_relays_the_log_it_joined_with() {
    let (a, b) = donor_and_joiner();
    let (incoming, digest) = transfer(&a, &b);
    b.store.swap_in(incoming, digest, 77, Swap::Adopt).unwrap();
    run(&b, "INSERT INTO item VALUES (2, 'b', 1)");
    assert_eq!(b.store.incarnation(), 77);
    assert_eq!(
        (b.store.frontier().seq(1), b.store.frontier().seq(77)),
        (2, 1)
    );
    // A third peer that never speaks with the donor gets everything from the joiner.
    let c = peer(3);
    pull(&c, &b);
    assert_eq!(c.store.digest().unwrap(), b.store.digest().unwrap());
    assert_eq!(rows(&c, "SELECT id FROM item").len(), 2);
}

#[test]
fn a_transfer_that_was_cut_goes_on_where_it_was_also_after_a_restart() {
    let (a, b) = donor_and_joiner();
    let staged = a.store.stage_snapshot(None, ROOMY).unwrap();
    let accept = |store: &Store, offset| {
        let accepted = store.accept_snapshot(staged.id, staged.size, offset, ROOMY);
        accepted.unwrap()
    };
    let mut incoming = accept(&b.store, 0);
    send(&staged, &mut incoming, 5_000);
    drop(incoming);
    assert_eq!(b.store.resumable(), Some((staged.id, 5_000)));
    let Peer { store, dir } = b;
    drop(store);
    let store = Store::open(dir.path(), [2; 16], 3).unwrap();
    assert_eq!(store.resumable(), Some((staged.id, 5_000)));
    let same = a.store.stage_snapshot(Some(staged.id), ROOMY).unwrap();
    assert_eq!(same.id, staged.id);
    let mut incoming = accept(&store, 5_000);
    let digest = send(&same, &mut incoming, same.size).unwrap();
    store.swap_in(incoming, digest, 78, Swap::Adopt).unwrap();
    assert_eq!(a.store.digest().unwrap(), store.digest().unwrap());
}

#[test]
fn a_snapshot_that_the_donor_no_longer_has_starts_over() {
    let (a, b) = donor_and_joiner();
    let gone = b.store.accept_snapshot([7; 16], 9_000, 0, ROOMY).unwrap();
    drop(gone);
    assert_eq!(b.store.resumable(), Some(([7; 16], 0)));
    let staged = a.store.stage_snapshot(Some([7; 16]), ROOMY).unwrap();
    assert_ne!(staged.id, [7; 16]);
    let (incoming, digest) = transfer(&a, &b);
    assert_eq!(names(&b, "incoming-").len(), 1, "the old part is gone");
    b.store.swap_in(incoming, digest, 77, Swap::Adopt).unwrap();
}

#[test]
fn two_joiners_share_one_staged_copy_and_its_file_goes_with_the_last() {
    let (a, _) = donor_and_joiner();
    let first = a.store.stage_snapshot(None, ROOMY).unwrap();
    let frontier = a.store.frontier();
    run(&a, "INSERT INTO item VALUES (2, 'late', 1)");
    let second = a.store.stage_snapshot(None, ROOMY).unwrap();
    assert_eq!(first.id, second.id);
    assert_eq!(a.store.staged_frontier(), Some(frontier));
    assert_eq!(names(&a, "snapshot-").len(), 1);
    drop((first, second, a.store.clone()));
    let Peer { store, dir } = a;
    drop(store);
    let left: Vec<_> = fs::read_dir(dir.path()).unwrap().collect();
    assert!(left.iter().all(|entry| {
        let name = entry.as_ref().unwrap().file_name();
        !name.to_string_lossy().starts_with("snapshot-")
    }));
}

#[test]
fn a_member_gets_no_copy_from_before_what_its_own_log_may_have_dropped() {
    let (a, b) = (peer(1), peer(2));
    a.store.declare(ITEM).unwrap();
    pull(&b, &a);
    let stage = || a.store.stage_for(b.store.node(), None, ROOMY).unwrap();
    let tell = || a.store.greeted(b.store.node(), &b.store.frontier());
    tell().unwrap();
    let first = stage();
    assert_eq!(stage().id, first.id);
    run(&b, "INSERT INTO item VALUES (1, 1, 1)");
    tell().unwrap();
    assert_eq!(stage().id, first.id, "this system lacks that, too");
    pull(&a, &b);
    let second = stage();
    assert_ne!(second.id, first.id);
    assert_eq!(second.frontier, b.store.frontier());
}

/// What SQLite reads in a snapshot.
fn rows_of(staged: &Staged) -> i64 {
    let (bytes, _) = staged.read(0, staged.size as usize).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("copy.db");
    fs::write(&path, bytes).unwrap();
    let db = Connection::open(path).unwrap();
    let check: String = db
        .query_row("PRAGMA integrity_check", [], |row| row.get(0))
        .unwrap();
    assert_eq!(check, "ok");
    db.query_row("SELECT count(*) FROM item", [], |row| row.get(0))
        .unwrap()
}

#[test]
fn a_snapshot_holds_all_that_is_committed_also_where_a_reader_keeps_it_from_the_database_file() {
    let (a, _) = donor_and_joiner();
    assert_eq!(rows_of(&a.store.stage(ROOMY).unwrap()), 1);
    let read = a.store.read(|reader| {
        let rows = reader.query("SELECT id FROM item", &[])?;
        run(&a, "INSERT INTO item VALUES (2, 'b', 2)");
        let staged = a.store.stage(ROOMY)?;
        assert_eq!(rows_of(&staged), 2);
        let again = reader.query("SELECT id FROM item", &[])?;
        assert_eq!(rows, again, "the reader's state is kept");
        Ok(())
    });
    read.unwrap();
    run(&a, "INSERT INTO item VALUES (3, 'c', 3)");
    assert_eq!(rows_of(&a.store.stage(ROOMY).unwrap()), 3);
}

#[test]
fn what_our_own_disk_does_not_give_back_is_no_fault_of_the_donor() {
    let (_, b) = donor_and_joiner();
    // A directory is what no SQLite can open.
    let error = b.store.inspect(b.store.directory()).unwrap_err();
    assert!(matches!(error, StoreError::Sqlite(_)), "{error:?}");
}

#[test]
fn a_lying_donor_is_refused_and_the_old_database_stays() {
    let (a, b) = donor_and_joiner();
    let before = b.store.digest().unwrap();
    let staged = a.store.stage_snapshot(None, ROOMY).unwrap();
    let (good, _) = staged.read(0, staged.size as usize).unwrap();
    let mut torn = good.clone();
    let middle = torn.len() - 4_000;
    torn[middle..].fill(0x5a);
    let empty = tempfile::tempdir().unwrap();
    let foreign = empty.path().join("foreign.db");
    let db = Connection::open(&foreign).unwrap();
    db.execute_batch("CREATE TABLE x(y)").unwrap();
    drop(db);
    let foreign = fs::read(foreign).unwrap();
    let short = good[..good.len() - 1].to_vec();
    for (bytes, digest, size, word) in [
        (&good, Some([0; 32]), good.len(), "arrived damaged"),
        (&short, None, good.len(), "arrived damaged"),
        (&vec![7; 5_000], None, 5_000, "not a database"),
        (&foreign, None, foreign.len(), "no table _tutti_log"),
        (&torn, None, torn.len(), "refused"),
    ] {
        let accepted = b.store.accept_snapshot([1; 16], size as u64, 0, ROOMY);
        let mut incoming = accepted.unwrap();
        incoming.write(0, bytes).unwrap();
        let honest = blake3::hash(bytes).into();
        let result = b
            .store
            .swap_in(incoming, digest.unwrap_or(honest), 77, Swap::Adopt);
        let error = result.unwrap_err().to_string();
        assert!(error.contains(word), "{error} should say {word}");
        assert_eq!(b.store.digest().unwrap(), before);
        assert_eq!(b.store.incarnation(), 2);
        assert!(names(&b, "incoming-").is_empty() && names(&b, "backup-").is_empty());
    }
    let accepted = b.store.accept_snapshot([1; 16], 100, 0, ROOMY);
    let mut incoming = accepted.unwrap();
    assert!(incoming.write(1, &[0]).is_err() && incoming.write(0, &[0; 101]).is_err());
    run(&b, "INSERT INTO own VALUES (6)");
}

#[test]
fn a_full_disk_is_named_before_anything_is_written() {
    let (a, b) = donor_and_joiner();
    let free = 64 << 20;
    let error = a.store.stage_snapshot(None, free).map(|_| ()).unwrap_err();
    assert!(matches!(error, StoreError::NoRoom { .. }), "{error}");
    assert!(names(&a, "snapshot-").is_empty());
    let error = b.store.accept_snapshot([1; 16], 1 << 30, 0, free);
    let error = error.map(|_| ()).unwrap_err().to_string();
    assert!(
        error.contains("64 MiB free") && error.contains("needs 1089"),
        "{error}"
    );
    assert!(names(&b, "incoming-").is_empty());
    let what = replication::Partial {
        origin: 1,
        seq: 1,
        total: 1 << 20,
        chain: [0; 8],
        held: 0,
    };
    let error = b.store.begin_partial(what, free).map(|_| ());
    assert!(matches!(error, Err(StoreError::NoRoom { .. })));
    assert!(names(&b, "large-").is_empty());
}

/// The moments of a swap between which a process can die: each leaves the old or the new
/// database, and nothing that would be taken for a backup of it.
#[test]
fn a_crash_at_any_moment_of_swapping_in_leaves_the_old_or_the_new_database() {
    for moment in 0..4 {
        let (a, b) = donor_and_joiner();
        let (incoming, digest) = transfer(&a, &b);
        let part = incoming.path.clone();
        b.store.verify(incoming, digest, 77, Swap::Adopt).unwrap();
        let expected = if moment < 3 { &b } else { &a };
        let expected = expected.store.digest().unwrap();
        let Peer { store, dir } = b;
        let path = store.inner.path.clone();
        let backup = path.with_file_name("backup-1.db");
        match moment {
            // Before the old database is closed: its WAL is there.
            0 => {
                let copy = tempfile::tempdir().unwrap();
                for entry in fs::read_dir(dir.path()).unwrap() {
                    let entry = entry.unwrap();
                    fs::copy(entry.path(), copy.path().join(entry.file_name())).unwrap();
                }
                let store = Store::open(copy.path(), [2; 16], 5).unwrap();
                assert_eq!(store.digest().unwrap(), expected);
                continue;
            }
            1 => drop(store),
            2 => {
                drop(store);
                fs::hard_link(&path, &backup).unwrap();
            }
            _ => {
                drop(store);
                exchange_files(&part, &path, &backup);
            }
        }
        let store = Store::open(dir.path(), [2; 16], 5).unwrap();
        assert_eq!(store.digest().unwrap(), expected, "moment {moment}");
        assert_eq!(backup.exists(), moment == 3, "moment {moment}");
    }
}

#[test]
fn what_the_disk_did_not_open_after_a_swap_is_opened_by_whoever_uses_it_next() {
    let (_, b) = donor_and_joiner();
    b.store.set_size_bound(Some(256 * PAGE)).unwrap();
    let path = &b.store.inner.path;
    let aside = with(path, "-aside");
    b.store.writer().unwrap().close(77).unwrap();
    b.store.inner.closed.store(true, Ordering::Relaxed);
    assert_eq!(
        b.store.incarnation(),
        77,
        "links see that it is another one"
    );
    fs::rename(path, &aside).unwrap();
    fs::create_dir(path).unwrap();
    let write = |tx: &mut crate::store::Tx<'_>| tx.execute("INSERT INTO own VALUES (6)", &[]);
    let refused = b.store.transact(write).unwrap_err();
    assert!(refused.to_string().contains("open"), "{refused}");
    assert!(b.store.ready().is_err(), "no link begins");
    assert!(b.store.read(|_| Ok(())).is_err());
    fs::remove_dir(path).unwrap();
    fs::rename(&aside, path).unwrap();
    assert_eq!(rows(&b, "SELECT id FROM own"), [[5.into()]]);
    b.store.transact(write).unwrap();
    assert_eq!(b.store.frontier().seq(77), 1, "as the swap had it");
    let bound = |writer: &Writer| {
        let sql = "PRAGMA max_page_count";
        writer.db.query_row(sql, [], |row| row.get::<_, i64>(0))
    };
    assert_eq!(bound(&b.store.writer().unwrap()).unwrap(), 256);
}

fn exchange_files(incoming: &Path, path: &Path, backup: &Path) {
    super::exchange(incoming, path, backup).unwrap();
}

#[test]
fn writes_go_on_while_a_snapshot_is_staged_and_the_wal_stays_bounded() {
    let (a, _) = donor_and_joiner();
    let filler: Value = "x".repeat(50_000).into();
    let write = |from: i64, count: i64| {
        for id in from..from + count {
            let row = [id.into(), filler.clone()];
            let insert = "INSERT INTO item VALUES (?, ?, 1)";
            a.store.transact(|tx| tx.execute(insert, &row)).unwrap();
        }
        a.store.flush().unwrap();
    };
    a.store.set_durability(Durability::Lazy);
    write(100, 100);
    let rounds = 10;
    let staging = std::thread::scope(|scope| {
        let store = a.store.clone();
        let stage = scope.spawn(move || {
            let frontiers = (0..rounds).map(|_| store.stage(ROOMY).unwrap().frontier.seq(1));
            frontiers.collect::<Vec<_>>()
        });
        write(1_000, 100);
        stage.join().unwrap()
    });
    assert!(staging.windows(2).all(|pair| pair[0] <= pair[1]));
    // A staged copy that is being sent holds nothing back.
    let _staged = a.store.stage_snapshot(None, ROOMY).unwrap();
    write(2_000, 800);
    let wal = with(&a.store.inner.path, "-wal");
    let wal = fs::metadata(wal).unwrap().len();
    assert!(wal < 50 << 20, "the WAL holds {wal} bytes of 80 MB written");
}

#[test]
fn of_the_backups_that_joins_leave_the_latest_three_are_kept() {
    let dir = tempfile::tempdir().unwrap();
    for name in [
        "backup-9.db",
        "backup-10.db",
        "backup-100.db",
        "backup-2000.db",
        "backup-x.db",
    ] {
        std::fs::write(dir.path().join(name), "").unwrap();
    }
    super::prune(&dir.path().join("replicated.db"));
    let names = std::fs::read_dir(dir.path()).unwrap().flatten();
    let mut names: Vec<_> = names.map(|entry| entry.file_name()).collect();
    names.sort();
    assert_eq!(
        names,
        [
            "backup-10.db",
            "backup-100.db",
            "backup-2000.db",
            "backup-x.db"
        ]
    );
}

/// A member, and a donor that can be far ahead of it; each with its clock.
fn clocked(number: u8, ms: u64) -> (Peer, Arc<AtomicU64>) {
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::new(AtomicU64::new(ms));
    let read = Arc::clone(&clock);
    let read: crate::store::Clock = Arc::new(move || read.load(Ordering::Relaxed));
    let node = [number; 16];
    let store = Store::open_with_clock(dir.path(), node, u64::from(number), read).unwrap();
    (Peer { store, dir }, clock)
}

/// 2025 and 2099, in milliseconds.
const PRESENT: u64 = 1_750_000_000_000;
const FUTURE: u64 = 4_080_000_000_000;

/// What a stream would let wait must not come by a snapshot.
#[test]
fn a_snapshot_of_a_system_in_2099_moves_nobodys_clock_and_one_of_it_put_right_is_taken() {
    for swap in [Swap::Adopt, Swap::CatchUp] {
        let ((a, clock), (b, _)) = (clocked(1, PRESENT), clocked(2, PRESENT));
        a.store.declare(ITEM).unwrap();
        pull(&b, &a);
        clock.store(FUTURE, Ordering::Relaxed);
        run(&a, "INSERT INTO item VALUES (1, 'from 2099', 0)");
        let (incoming, digest) = transfer(&a, &b);
        let error = b.store.swap_in(incoming, digest, 77, swap).unwrap_err();
        let ms = FUTURE - PRESENT;
        assert!(
            matches!(error, StoreError::Ahead { ms: by } if by == ms),
            "{error}"
        );
        assert_eq!(b.store.incarnation(), 2);
        run(&b, "INSERT INTO item VALUES (2, 'now', 0)");
        let stamps = rows(&b, "SELECT max(hlc) >> 16 FROM _tutti_log");
        assert_eq!(stamps, [[Value::Integer(PRESENT as i64)]]);
        // Put right, the donor does not hand out once more what it has taken back.
        clock.store(PRESENT, Ordering::Relaxed);
        assert_eq!(a.store.restamp(|| 11).unwrap(), 1);
        pull(&a, &b);
        let held = b.store.resumable().unwrap();
        assert_ne!(
            a.store.stage_snapshot(Some(held.0), ROOMY).unwrap().id,
            held.0
        );
        let (incoming, digest) = transfer(&a, &b);
        b.store.swap_in(incoming, digest, 78, swap).unwrap();
        assert_eq!(a.store.digest().unwrap(), b.store.digest().unwrap());
    }
}

#[test]
fn a_snapshot_that_came_while_this_clock_was_in_1970_is_taken_without_coming_again() {
    let ((a, _), (b, clock)) = (clocked(1, PRESENT), clocked(2, 1_000));
    a.store.declare(ITEM).unwrap();
    run(&a, "INSERT INTO item VALUES (1, 'now', 0)");
    let (incoming, digest) = transfer(&a, &b);
    let size = incoming.size;
    let error = b.store.swap_in(incoming, digest, 77, Swap::Adopt);
    assert!(matches!(error, Err(StoreError::Ahead { .. })));
    clock.store(PRESENT, Ordering::Relaxed);
    let (id, held) = b.store.resumable().unwrap();
    assert_eq!(held, size);
    let staged = a.store.stage_snapshot(Some(id), ROOMY).unwrap();
    let accepted = b.store.accept_snapshot(id, size, held, ROOMY);
    let digest = staged.read(held, 1_000).unwrap().1.unwrap();
    b.store
        .swap_in(accepted.unwrap(), digest, 77, Swap::Adopt)
        .unwrap();
    assert_eq!(a.store.digest().unwrap(), b.store.digest().unwrap());
}

/// Who verifies what it got for longer than that would find the log trimmed beyond it, and need the
/// next one.
#[test]
fn a_staged_copy_is_kept_for_as_long_as_a_link_has_it_and_a_while() {
    let (a, _) = donor_and_joiner();
    let begin = Instant::now();
    let after = |minutes: u64| {
        a.store
            .expire_staged_at(begin + Duration::from_secs(60 * minutes));
        a.store.staged_frontier().is_some()
    };
    let staged = a.store.stage_snapshot(None, ROOMY).unwrap();
    assert!(after(11));
    drop(staged);
    assert!(after(20));
    assert!(!after(22));
}

/// It was replayed over a snapshot that came under the same name: nothing ties it to its database.
#[test]
fn a_log_that_an_ended_join_left_behind_is_not_there_for_the_next() {
    let a = peer(1);
    let part = a.dir.path().join(format!("incoming-{:032x}.part", 7));
    for suffix in ["", "-wal", "-shm", "-journal"] {
        fs::write(with(&part, suffix), b"of before").unwrap();
    }
    let id = 7_u128.to_be_bytes();
    a.store.accept_snapshot(id, 9, 4, 1 << 30).unwrap();
    assert_eq!(fs::read(&part).unwrap(), b"of b");
    for suffix in ["-wal", "-shm", "-journal"] {
        assert!(!with(&part, suffix).exists(), "{suffix}");
    }
}
