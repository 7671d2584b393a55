//! What must hold in the end: all nodes hold the same, rightly, and nothing acknowledged is lost.

use std::collections::{HashMap, HashSet};

use tutti::replica::change::peek;
use tutti::replica::digest;
use tutti::replica::value::Value;

use super::{World, text};
use crate::parked;
use crate::workload::{is_token, visible};

impl World {
    /// Where tombstones went and a disk went back to before them, what it wrote then is merged by
    /// who still has the tombstone and by who has not. Proofs find and mend that, as links do.
    /// How many rows that takes.
    pub(super) fn mend(&self) -> u64 {
        let mut mended = 0;
        for round in 0.. {
            let mut repaired = 0;
            for (a, b) in [(0, 1), (1, 0), (1, 2), (2, 1), (2, 0), (0, 2)] {
                let (ours, theirs) = (self.store(a), self.store(b));
                for row in self.compare(a, b).differences {
                    let copies = theirs.copies(std::slice::from_ref(&row)).unwrap();
                    let others = copies.into_iter().map(|copy| (theirs.node(), copy));
                    let others: Vec<_> = others.collect();
                    if let Some(finding) = ours.repair(&row, &others).unwrap() {
                        assert!(finding.result.is_ok(), "{a} by {b}: {finding}");
                        repaired += 1;
                    }
                }
            }
            if repaired == 0 {
                break;
            }
            mended += repaired;
            assert!(round < 3, "proofs find ever more to repair");
        }
        mended
    }

    /// Each log holds its transactions in an order that keeps causality, and of each origin all
    /// numbers from where it was trimmed on.
    fn check_order(&self, node: usize) {
        let rows = |sql: &str| {
            self.store(node)
                .read(|reader| reader.query(sql, &[]))
                .unwrap()
        };
        let number = |value: &Value| match value {
            Value::Integer(number) => *number as u64,
            other => panic!("{other:?}"),
        };
        let trimmed = "SELECT origin, seq FROM _tutti_trimmed \
                       UNION ALL SELECT origin, seq FROM _tutti_closed";
        let mut seen: HashMap<u64, u64> = HashMap::new();
        for row in rows(trimmed) {
            let last = seen.entry(number(&row[0])).or_default();
            *last = (*last).max(number(&row[1]));
        }
        for row in rows("SELECT origin, seq, bytes FROM _tutti_log ORDER BY position") {
            let (origin, seq) = (number(&row[0]), number(&row[1]));
            let Value::Blob(bytes) = &row[2] else {
                panic!("a transaction without bytes");
            };
            let (_, head) = peek(&bytes.clone().into()).unwrap();
            for dep in head.deps {
                let has = seen.get(&dep.origin).copied().unwrap_or(0);
                assert!(
                    has >= dep.seq,
                    "node {node}: {origin:x}:{seq} before {dep:?}"
                );
            }
            let last = seen.entry(origin).or_default();
            assert!(
                seq <= *last + 1,
                "node {node}: {origin:x}:{seq} after {last}"
            );
            *last = seq.max(*last);
        }
    }

    fn compare(&self, a: usize, b: usize) -> digest::Outcome {
        let (ours, theirs) = (self.store(a), self.store(b));
        let common = digest::common(&ours.frontier(), &theirs.frontier());
        let mut comparison = ours.compare(common).unwrap();
        while let Some(question) = comparison.question() {
            let answer = theirs.prove(&question).unwrap();
            ours.compared(&mut comparison, answer).unwrap();
        }
        comparison.outcome()
    }

    /// Every pair proves to hold the same rows.
    pub(super) fn prove(&self) {
        for (a, b) in [(0, 1), (1, 2), (2, 0)] {
            let outcome = self.compare(a, b);
            assert!(outcome.is_identical(), "{a} and {b}: {outcome:?}");
        }
    }

    pub(super) fn check(&self) {
        let dump = |sql: &str, node: usize| {
            let rows = self.store(node).read(|reader| reader.query(sql, &[]));
            rows.unwrap()
        };
        let parked = "SELECT t.name, h.key, h.row, h.reason FROM _tutti_hidden h \
                      JOIN _tutti_table t ON t.id = h.tbl ORDER BY 1, 2";
        for node in 0..3 {
            self.check_order(node);
            self.store(node).fold().unwrap();
        }
        let declared = "SELECT id, kind, name, sql, hlc, stands, dropped FROM _tutti_declaration \
                        ORDER BY id";
        for node in 1..3 {
            assert_eq!(
                dump(declared, 0),
                dump(declared, node),
                "declarations of 0 and {node}"
            );
        }
        // Tombstones go at different times.
        let living = |node: usize| {
            let mut rows = self.store(node).row_clocks().unwrap();
            rows.retain(|row| row.2.is_alive());
            rows
        };
        for node in 1..3 {
            assert_eq!(living(0), living(node), "row clocks of 0 and {node}");
            assert_eq!(
                dump(parked, 0),
                dump(parked, node),
                "parked rows of 0 and {node}"
            );
            for table in self.store(0).tables().unwrap() {
                let sql = format!("SELECT * FROM {} ORDER BY 1, 2", table.name);
                assert_eq!(dump(&sql, 0), dump(&sql, node), "rows of 0 and {node}");
            }
            let digest = self.store(node).digest().unwrap();
            assert_eq!(self.store(0).digest().unwrap(), digest);
        }
        for table in self.store(0).tables().unwrap() {
            let sql = format!("SELECT * FROM pragma_foreign_key_check('{}')", table.name);
            match self.store(0).read(|reader| reader.query(&sql, &[])) {
                Ok(dangling) => assert!(dangling.is_empty(), "dangling: {dangling:?}"),
                // Its parent was declared differently at the same time: all such rows are parked.
                Err(error) => assert!(error.to_string().contains("foreign key mismatch")),
            }
        }
        parked::check(self.store(0));
        let mut known: HashSet<String> = visible(self.store(0)).iter().map(text).collect();
        for node in 0..3 {
            for conflict in self.store(node).conflicts(100_000).unwrap() {
                known.extend(conflict.value.iter().filter(|v| is_token(v)).map(text));
            }
        }
        for token in &self.written {
            let gone = self.superseded.contains(token) || self.ledger.lost.contains(token);
            assert!(
                gone || known.contains(token),
                "{token} was acknowledged and is lost"
            );
        }
    }
}
