//! Transactions that are too large for memory: captured, logged, sent and applied in parts.

use super::*;
use crate::replica::payload::{LARGE, Payload};
use crate::replica::session::Large;
use crate::wire::replication;

/// About 9 KiB.
fn filler(seed: i64) -> Value {
    format!("{seed:09}").repeat(1_000).into()
}

/// Nothing of it is held yet.
fn whole(large: Large) -> replication::Partial {
    replication::Partial {
        origin: large.origin,
        seq: large.seq,
        total: large.total,
        chain: large.chain,
        held: 0,
    }
}

/// Gives `to` all that it lacks, large transactions in pieces as on a link.
fn deliver(to: &Peer, from: &Peer) -> usize {
    let mut at = from.store.log_start(&to.store.frontier()).unwrap();
    let mut large = 0;
    loop {
        let held = to.store.frontier();
        let (found, one, next) = from.store.log_batch(&held, at, 1 << 18).unwrap();
        to.store.apply(&found).unwrap();
        if let Some(one) = one {
            large += 1;
            let begun = to.store.begin_partial(whole(one), u64::MAX);
            let mut partial = begun.unwrap();
            while partial.what.held < one.total {
                let held = partial.what.held;
                let piece = from.store.log_piece(one, held, 1 << 20).unwrap();
                partial.write(held, &piece).unwrap();
            }
            to.store
                .apply_partial(to.store.incarnation(), partial)
                .unwrap();
        } else if found.is_empty() {
            return large;
        }
        at = next;
    }
}

fn assert_alike(a: &Peer, b: &Peer) {
    assert_eq!(a.store.digest().unwrap(), b.store.digest().unwrap());
    assert_eq!(a.store.row_clocks().unwrap(), b.store.row_clocks().unwrap());
    let no_file_is_left = |peer: &Peer| {
        let names = std::fs::read_dir(peer.dir.path()).unwrap();
        let mut names = names.map(|entry| entry.unwrap().file_name());
        names.all(|name| !name.to_string_lossy().starts_with("large-"))
    };
    assert!(no_file_is_left(a) && no_file_is_left(b));
}

/// Rows `from` to `to`, nearly 9 MiB for a thousand.
fn fill(tx: &mut Tx<'_>, from: i64, to: i64) -> Result<(), StoreError> {
    for id in from..to {
        let insert = "INSERT INTO item VALUES (?, ?, ?)";
        tx.execute(insert, &[id.into(), filler(id), Null])?;
    }
    Ok(())
}

#[test]
fn a_large_transaction_does_elsewhere_what_it_did_here() {
    let (a, b) = pair(&[
        ITEM,
        "CREATE TABLE word(w TEXT PRIMARY KEY, n) WITHOUT ROWID",
    ]);
    let fill_some = |tx: &mut Tx<'_>| fill(tx, 0, 10);
    a.store.transact(fill_some).unwrap();
    exchange(&a, &b);
    let work = |tx: &mut Tx<'_>| {
        fill(tx, 10, 2_000)?;
        // Touched long ago, and again: the row before the first touch counts.
        tx.execute("UPDATE item SET b = id WHERE id < 20", &[])?;
        tx.execute("DELETE FROM item WHERE id BETWEEN 100 AND 199", &[])?;
        tx.execute("SAVEPOINT s", &[])?;
        fill(tx, 5_000, 6_000)?;
        tx.execute("DELETE FROM item WHERE id < 10", &[])?;
        tx.execute("ROLLBACK TO s", &[])?;
        for number in (0..3_000).rev() {
            let row = [format!("w{number:05}").into(), number.into()];
            tx.execute("INSERT INTO word VALUES (?, ?)", &row)?;
        }
        tx.execute("UPDATE item SET id = id + 10000 WHERE id >= 1500", &[])
    };
    a.store.transact(work).unwrap();
    let count = rows(&a, "SELECT count(*), sum(b) FROM item");
    assert_eq!(count, [[Integer(1_900), Integer(190)]]);
    assert_eq!(deliver(&b, &a), 1);
    assert_alike(&a, &b);
    // The other way, and small again.
    run(&b, "UPDATE item SET b = 'later' WHERE id > 1000");
    assert_eq!(deliver(&a, &b), 0);
    assert_alike(&a, &b);
}

#[test]
fn the_log_hands_a_large_transaction_out_from_its_place() {
    let (a, b) = pair(&[ITEM]);
    a.store.transact(|tx| fill(tx, 0, 1_200)).unwrap();
    let at = a.store.log_start(&b.store.frontier()).unwrap();
    let (found, _) = a.store.log_after(&b.store.frontier(), at, 1).unwrap();
    assert!(matches!(&found[0].bytes, Payload::Stored(source) if source.size() > LARGE as u64));
    b.store.apply(&found).unwrap();
    assert_alike(&a, &b);
    // A restart reads it from there, too.
    let again = Store::open(b.dir.path(), [2; 16], 77).unwrap();
    assert_eq!(again.digest().unwrap(), a.store.digest().unwrap());
}

#[test]
fn unique_values_swap_within_a_large_transaction() {
    let (a, b) = pair(&["CREATE TABLE u(id INTEGER PRIMARY KEY, v INTEGER UNIQUE, body)"]);
    let count = 1_500;
    let insert = |tx: &mut Tx<'_>| {
        for id in 0..count {
            let row = [id.into(), id.into(), filler(id)];
            tx.execute("INSERT INTO u VALUES (?, ?, ?)", &row)?;
        }
        Ok(())
    };
    a.store.transact(insert).unwrap();
    deliver(&b, &a);
    let turn = |tx: &mut Tx<'_>| {
        tx.execute("UPDATE u SET v = -1 - v, body = body || id", &[])?;
        let sql = format!("UPDATE u SET v = (-v) % {count}");
        tx.execute(&sql, &[])
    };
    a.store.transact(turn).unwrap();
    assert_eq!(deliver(&b, &a), 1);
    assert_alike(&a, &b);
    assert_eq!(rows(&b, "SELECT v FROM u WHERE id = 7"), [[Integer(8)]]);
}

#[test]
fn a_large_transaction_merges_with_what_others_wrote_meanwhile() {
    let (a, b) = pair(&[ITEM]);
    a.store.transact(|tx| fill(tx, 0, 50)).unwrap();
    exchange(&a, &b);
    let work = |tx: &mut Tx<'_>| {
        fill(tx, 50, 1_500)?;
        tx.execute("UPDATE item SET a = 'a'", &[])?;
        fill(tx, 2_000, 4_000)
    };
    a.store.transact(work).unwrap();
    run(&b, "UPDATE item SET b = 'b' WHERE id < 25");
    run(&b, "DELETE FROM item WHERE id BETWEEN 25 AND 30");
    run(&b, "INSERT INTO item VALUES (60, 'mine', 'mine')");
    assert_eq!(deliver(&b, &a), 1);
    deliver(&a, &b);
    assert_alike(&a, &b);
    assert_eq!(
        rows(&a, "SELECT a, b FROM item WHERE id = 3"),
        [["a".into(), "b".into()]]
    );
}

#[test]
fn of_a_large_transaction_that_is_damaged_nothing_is_applied() {
    let (a, b) = pair(&[ITEM]);
    a.store.transact(|tx| fill(tx, 0, 1_200)).unwrap();
    let held = b.store.frontier();
    let at = a.store.log_start(&held).unwrap();
    let (_, one, _) = a.store.log_batch(&held, at, 1 << 18).unwrap();
    let one = one.unwrap();
    let begun = b.store.begin_partial(whole(one), u64::MAX);
    let mut partial = begun.unwrap();
    while partial.what.held < one.total {
        let held = partial.what.held;
        let mut piece = a.store.log_piece(one, held, 1 << 20).unwrap();
        if held + piece.len() as u64 == one.total {
            // The last row's last value would be of a kind that is none.
            *piece.last_mut().unwrap() = 0x55;
        }
        partial.write(held, &piece).unwrap();
    }
    let result = b.store.apply_partial(b.store.incarnation(), partial);
    assert!(matches!(result, Err(StoreError::Peer(_))), "{result:?}");
    assert_eq!(rows(&b, "SELECT count(*) FROM item"), [[Integer(0)]]);
    assert_eq!(deliver(&b, &a), 1);
    assert_alike(&a, &b);
}

#[test]
fn a_deletion_of_much_is_trimmed_with_its_tombstones() {
    let a = peer(1);
    a.store
        .declare("CREATE TABLE long(k TEXT PRIMARY KEY) WITHOUT ROWID")
        .unwrap();
    let keys = |tx: &mut Tx<'_>| {
        for number in 0..3_000_i64 {
            let key = format!("{number:09}").repeat(250);
            tx.execute("INSERT INTO long VALUES (?)", &[key.into()])?;
        }
        Ok(())
    };
    a.store.transact(keys).unwrap();
    run(&a, "DELETE FROM long");
    assert_eq!(rows(&a, "SELECT count(*) FROM long"), [[Integer(0)]]);
    run(&a, "INSERT INTO long VALUES ('x')");
    a.store.fold().unwrap();
    a.store.set_peers(std::collections::BTreeSet::new(), 0);
    assert_eq!(a.store.trim().unwrap().transactions, 4);
    a.store.trim().unwrap();
    let left = a.store.row_clocks().unwrap();
    assert_eq!(left.iter().filter(|row| row.0 == "long").count(), 1);
}

#[test]
fn a_large_transaction_lets_a_row_come_back_that_waited_for_it() {
    let (a, b) = pair(&["CREATE TABLE u(id INTEGER PRIMARY KEY, v UNIQUE, body)"]);
    run(&a, "INSERT INTO u VALUES (1, 'one', NULL)");
    run(&b, "INSERT INTO u VALUES (2, 'one', NULL)");
    exchange(&a, &b);
    assert_eq!(rows(&a, "SELECT count(*) FROM u"), [[Integer(1)]]);
    run(&a, "INSERT INTO u VALUES (5, 5, 'not folded yet')");
    let work = |tx: &mut Tx<'_>| {
        tx.execute("UPDATE u SET v = v || ' more'", &[])?;
        for id in 10..1_500 {
            let row = [id.into(), id.into(), filler(id)];
            tx.execute("INSERT INTO u VALUES (?, ?, ?)", &row)?;
        }
        Ok(())
    };
    a.store.transact(work).unwrap();
    assert_eq!(
        rows(&a, "SELECT count(*) FROM u WHERE id < 3"),
        [[Integer(2)]]
    );
    assert_eq!(deliver(&b, &a), 1);
    assert_alike(&a, &b);
}
