//! The conflict inbox as an operator uses it, and its bound.

use super::*;
use crate::store::administrators;

/// Two peers with one conflict per row id and column `a`.
fn conflicting(count: i64) -> (Peer, Peer) {
    let (a, b) = pair(&[ITEM]);
    for id in 0..count {
        run(&a, &format!("INSERT INTO item VALUES ({id}, 'none', 0)"));
    }
    exchange(&a, &b);
    for id in 0..count {
        run(
            &a,
            &format!("UPDATE item SET a = 'lost {id}' WHERE id = {id}"),
        );
        run(
            &b,
            &format!("UPDATE item SET a = 'won {id}' WHERE id = {id}"),
        );
    }
    exchange(&a, &b);
    (a, b)
}

fn matching(peer: &Peer, query: ConflictQuery) -> Vec<ConflictRow> {
    peer.store.conflicts_matching(&query).unwrap()
}

#[test]
fn a_restored_value_is_written_everywhere_and_its_entry_leaves_every_inbox() {
    let (a, b) = conflicting(1);
    let entry = a.store.conflicts(10).unwrap().remove(0);
    assert_eq!((entry.loser, entry.winner), (Some([1; 16]), Some([2; 16])));
    assert_eq!(entry.reason, "later write");
    assert!(entry.time_ms > 0 && entry.winner_ms > 0);
    b.store.restore_conflict(&entry.id).unwrap();
    exchange(&a, &b);
    assert_eq!(rows(&a, "SELECT a FROM item"), vec![vec!["lost 0".into()]]);
    assert!(a.store.conflicts(10).unwrap().is_empty());
    assert!(b.store.conflicts(10).unwrap().is_empty());
    let again = a.store.restore_conflict(&entry.id).unwrap_err();
    assert!(again.to_string().contains("no such conflict"), "{again}");
}

#[test]
fn a_value_of_a_deleted_row_is_restored_as_a_row() {
    let (a, b) = pair(&[ITEM]);
    run(&a, "INSERT INTO item VALUES (1, 0, 0)");
    exchange(&a, &b);
    run(&a, "DELETE FROM item");
    run(&b, "UPDATE item SET a = 7");
    exchange(&a, &b);
    let entry = a.store.conflicts(10).unwrap().remove(0);
    a.store.restore_conflict(&entry.id).unwrap();
    exchange(&a, &b);
    assert_eq!(
        rows(&b, "SELECT id, a, b FROM item"),
        vec![vec![Integer(1), Integer(7), Null]]
    );
}

#[test]
fn a_value_of_a_parked_row_is_not_written_over_it() {
    let (a, b) = pair(&[
        "CREATE TABLE p(id INTEGER PRIMARY KEY)",
        "CREATE TABLE t(id INTEGER PRIMARY KEY, u UNIQUE, p REFERENCES p, a)",
    ]);
    run(&a, "INSERT INTO p VALUES (1)");
    run(
        &a,
        "INSERT INTO t VALUES (1, 'u', NULL, 0), (2, 'v', NULL, 0)",
    );
    exchange(&a, &b);
    run(&a, "UPDATE t SET a = 'lost'");
    run(&b, "UPDATE t SET a = 'won'");
    exchange(&a, &b);
    let entries = a.store.conflicts(10).unwrap();
    assert_eq!(entries.len(), 2);
    // Row 1 loses its value of `u` to a row that was written later, row 2 its parent.
    run(&b, "UPDATE t SET u = 'w' WHERE id = 1");
    run(&b, "UPDATE t SET p = 1 WHERE id = 2");
    for n in 0..8 {
        run(&a, &format!("INSERT INTO p VALUES ({})", 10 + n));
    }
    run(&a, "INSERT INTO t VALUES (3, 'w', NULL, 'new')");
    run(&a, "DELETE FROM p WHERE id = 1");
    exchange(&a, &b);
    let hidden = "SELECT reason, row FROM _tutti_hidden ORDER BY key";
    let parked = rows(&a, hidden);
    let reasons: Vec<&Value> = parked.iter().map(|row| &row[0]).collect();
    assert_eq!(reasons, [&"UNIQUE".into(), &"FOREIGN KEY".into()]);
    for entry in &entries {
        let reason = if entry.key == [Integer(1)] {
            "UNIQUE"
        } else {
            "FOREIGN KEY"
        };
        let error = a.store.restore_conflict(&entry.id).unwrap_err().to_string();
        assert!(error.contains(reason) && error.contains("then"), "{error}");
        assert_eq!(rows(&a, hidden), parked);
    }
    // Once they are back the values are restored.
    run(&a, "DELETE FROM t WHERE id = 3");
    run(&a, "INSERT INTO p VALUES (1)");
    for entry in &entries {
        a.store.restore_conflict(&entry.id).unwrap();
    }
    exchange(&a, &b);
    let expected = [
        [1.into(), "w".into(), Null, "lost".into()],
        [2.into(), "v".into(), 1.into(), "lost".into()],
    ];
    assert_eq!(rows(&b, "SELECT * FROM t ORDER BY id"), expected);
}

#[test]
fn a_dismissed_entry_is_gone_at_every_peer_and_a_parked_row_cannot_be_dismissed() {
    let (a, b) = conflicting(2);
    let entries = a.store.conflicts(10).unwrap();
    b.store.dismiss_conflict(&entries[0].id).unwrap();
    exchange(&a, &b);
    assert_eq!(a.store.conflicts(10).unwrap(), entries[1..]);
    a.store
        .declare("CREATE TABLE u(id INTEGER PRIMARY KEY, n UNIQUE)")
        .unwrap();
    exchange(&a, &b);
    run(&a, "INSERT INTO u VALUES (1, 1)");
    run(&b, "INSERT INTO u VALUES (2, 1)");
    exchange(&a, &b);
    let parked = a.store.conflicts(10).unwrap().remove(0);
    assert_eq!(parked.reason, "UNIQUE");
    for refused in [
        a.store.dismiss_conflict(&parked.id).map(drop),
        a.store.restore_conflict(&parked.id).map(drop),
    ] {
        let error = refused.unwrap_err().to_string();
        assert!(error.contains("by itself"), "{error}");
    }
}

#[test]
fn the_inbox_is_in_a_copy_of_the_database_whoever_opens_it() {
    let (a, _) = conflicting(3);
    let staged = a.store.stage_snapshot(None, u64::MAX).unwrap();
    let (bytes, digest) = staged.read(0, staged.size as usize).unwrap();
    assert!(digest.is_some(), "the whole of it");
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("replicated.db"), bytes).unwrap();
    let restored = Store::open(dir.path(), [9; 16], 99).unwrap();
    let kept = restored.conflicts(10).unwrap();
    assert_eq!(kept.len(), 3);
    assert_eq!(kept, a.store.conflicts(10).unwrap());
}

#[test]
fn the_inbox_is_searched_by_table_key_column_time_and_text_and_read_in_pages() {
    let (a, _) = conflicting(5);
    let all = ConflictQuery {
        limit: 100,
        ..ConflictQuery::default()
    };
    assert_eq!(matching(&a, all.clone()).len(), 5);
    let with = |change: &dyn Fn(&mut ConflictQuery)| {
        let mut query = all.clone();
        change(&mut query);
        matching(&a, query).len()
    };
    assert_eq!(with(&|q| q.text = Some("LOST 3".into())), 1);
    assert_eq!(with(&|q| q.key = Some("4".into())), 1);
    assert_eq!(with(&|q| q.column = Some("b".into())), 0);
    assert_eq!(with(&|q| q.table = Some("ITEM".into())), 5);
    assert_eq!(with(&|q| q.table = Some("other".into())), 0);
    assert_eq!(with(&|q| q.since_ms = Some(u64::MAX)), 0);
    assert_eq!(with(&|q| q.until_ms = Some(0)), 0);
    let page = |offset| {
        let mut query = all.clone();
        (query.offset, query.limit) = (offset, 2);
        matching(&a, query)
    };
    let pages = [page(0), page(2), page(4)].concat();
    assert_eq!(pages, matching(&a, all));
}

#[test]
fn what_administrators_lost_is_never_shown_parked_rows_included() {
    let (a, b) = (peer(1), peer(2));
    for peer in [&a, &b] {
        peer.store.migrate(&[administrators::TABLE]).unwrap();
        peer.store
            .migrate(&["CREATE UNIQUE INDEX one_role ON administrator(role)"])
            .unwrap();
        let name = if peer.store.node() == [1; 16] {
            "a"
        } else {
            "b"
        };
        run(
            peer,
            &format!("INSERT INTO administrator VALUES ('{name}', 'hash', 'r', 0)"),
        );
        run(
            peer,
            &format!("INSERT INTO administrator VALUES ('x', 'hash {name}', '{name}', 0)"),
        );
    }
    exchange(&a, &b);
    let hidden = "SELECT count(*) FROM _tutti_hidden";
    assert_eq!(rows(&a, hidden), vec![vec![Integer(1)]]);
    let lost = "SELECT count(*) > 0 FROM _tutti_conflict";
    assert_eq!(rows(&a, lost), vec![vec![Integer(1)]]);
    assert!(a.store.conflicts(100).unwrap().is_empty());
    // Nor do they leave for the file.
    let count = bound::ENTRIES_MAX + 1;
    for peer in [&a, &b] {
        peer.store.migrate(&[ITEM]).unwrap();
        fill(peer, count);
    }
    exchange(&a, &b);
    let text = std::fs::read_to_string(a.store.exported_path()).unwrap();
    assert!(text.contains("\"item\""));
    assert!(!text.contains("administrator") && !text.contains("hash"));
}

/// Inserts rows with what only this peer says in them.
fn fill(peer: &Peer, count: u64) {
    let text = format!("from {}", peer.store.node()[0]);
    let insert = "INSERT INTO item WITH RECURSIVE n(i) AS \
                  (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?) SELECT i, ?, 0 FROM n";
    let params = [Integer(count as i64), text.into()];
    let filled = peer.store.transact(|tx| tx.execute(insert, &params));
    filled.unwrap();
}

/// Two peers whose inboxes hold as many entries as they can.
fn full() -> (Peer, Peer) {
    let (a, b) = pair(&[ITEM]);
    fill(&a, bound::ENTRIES_MAX);
    fill(&b, bound::ENTRIES_MAX);
    exchange(&a, &b);
    (a, b)
}

#[test]
fn what_is_dismissed_takes_no_place_in_the_inbox_and_is_not_exported() {
    let (a, b) = full();
    let dismissed = "INSERT INTO _tutti_dismissed SELECT id FROM _tutti_conflict LIMIT 50";
    a.store.corrupt(dismissed);
    for peer in [&a, &b] {
        for id in 1..=50 {
            let at = peer.store.node()[0];
            run(
                peer,
                &format!("UPDATE item SET a = 'at {at}' WHERE id = {id}"),
            );
        }
    }
    exchange(&a, &b);
    assert_eq!(a.store.exported_conflicts().unwrap(), 0);
    let kept = a.store.conflicts(usize::MAX).unwrap();
    assert_eq!(kept.len() as u64, bound::ENTRIES_MAX);
    assert!(b.store.exported_conflicts().unwrap() > 0);
}

/// Writes of one's own displace entries, too.
#[test]
fn an_inbox_that_grew_without_a_peer_is_bounded_with_the_log() {
    let (a, _b) = full();
    let more = "INSERT INTO _tutti_conflict(id, tbl, key, col, winner, loser, hlc, value) \
                SELECT x'00' || id, tbl, key, col, winner, loser, hlc, value FROM _tutti_conflict";
    a.store.corrupt(more);
    a.store.trim().unwrap();
    assert!(a.store.exported_conflicts().unwrap() >= bound::ENTRIES_MAX);
}

/// A peer that merged while the table stood, and one where another had its name.
#[test]
fn an_entry_is_one_for_all_peers_however_its_table_is_spelled_and_wherever_it_is() {
    let [first, writer, other, shelf] = [peer(1), peer(2), peer(3), peer(4)];
    let declare = |peer: &Peer, columns| {
        let sql = format!("CREATE TABLE Thing(id INTEGER PRIMARY KEY, {columns})");
        peer.store.declare(&sql).unwrap();
    };
    declare(&first, "a");
    exchange(&first, &shelf);
    declare(&writer, "a, b");
    run(&writer, "INSERT INTO Thing VALUES (1, 'first', 0)");
    exchange(&writer, &other);
    run(&writer, "UPDATE Thing SET a = 'second'");
    run(&other, "UPDATE Thing SET a = 'third'");
    exchange(&writer, &other);
    pull(&shelf, &writer);
    let ids = |peer: &Peer| rows(peer, "SELECT id FROM _tutti_conflict WHERE col = 'a'");
    assert_eq!(ids(&writer).len(), 1);
    assert_eq!(ids(&shelf), ids(&writer));
    // The name is free again.
    first.store.declare("DROP TABLE Thing").unwrap();
    pull(&shelf, &first);
    let entries = shelf.store.conflicts(10).unwrap();
    let entry = entries.iter().find(|entry| entry.column == "a").unwrap();
    assert_eq!(entry.table, "Thing");
    shelf.store.restore_conflict(&entry.id).unwrap();
    let restored = rows(&shelf, "SELECT a FROM Thing");
    assert_eq!(restored, vec![vec!["second".into()]]);
}

#[test]
fn past_its_bound_the_inbox_exports_the_oldest_entries_to_a_file() {
    let (a, b) = pair(&[ITEM]);
    let count = bound::ENTRIES_MAX + 10;
    fill(&a, count);
    fill(&b, count);
    // A file that is full is set aside.
    let full = vec![b' '; 1 << 20];
    std::fs::write(a.store.exported_path(), &full).unwrap();
    exchange(&a, &b);
    let aside = a.store.exported_path().with_extension("1.jsonl");
    assert_eq!(std::fs::read(aside).unwrap(), full);
    for peer in [&a, &b] {
        let exported = peer.store.exported_conflicts().unwrap();
        let kept = peer.store.conflicts(usize::MAX).unwrap();
        assert_eq!(kept.len() as u64 + exported, count);
        assert!(exported >= 10);
        let text = std::fs::read_to_string(peer.store.exported_path()).unwrap();
        assert_eq!(text.lines().count() as u64, exported);
        let line: serde_json::Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
        assert_eq!(
            (&line["table"], &line["column"]),
            (&"item".into(), &"a".into())
        );
        assert_eq!(line["value"][0], "from 1");
    }
}
