use std::convert::Infallible;

use proptest::prelude::*;

use super::*;

/// Rows in memory.
#[derive(Clone, Default)]
struct Table(BTreeMap<Vec<u8>, RowState>);

fn alive(version: u64, content: u64) -> RowState {
    RowState::Alive {
        version: sha256(&version.to_be_bytes()),
        content: Some(sha256(&content.to_be_bytes())),
    }
}

impl Table {
    fn of(rows: u64) -> Self {
        let row = |n: u64| (n.to_be_bytes().to_vec(), alive(n, n));
        Table((0..rows).map(row).collect())
    }

    fn set(&mut self, n: u64, state: RowState) {
        self.0.insert(n.to_be_bytes().to_vec(), state);
    }

    fn within(&self, range: &Range) -> impl Iterator<Item = RowProof> {
        let end = range.to.clone();
        let rows = self.0.range(range.from.clone()..);
        rows.take_while(move |row| end.as_ref().is_none_or(|end| row.0 < end))
            .map(|(key, state)| RowProof {
                key: key.clone(),
                state: state.clone(),
            })
    }
}

impl Rows for Table {
    type Error = Infallible;

    fn has_table(&self, table: DeclarationId) -> bool {
        table == 1
    }

    fn summary(&self, range: &Range) -> Result<Summary, Infallible> {
        let rows: Vec<RowProof> = self.within(range).collect();
        let mut sum = Sum::default();
        rows.iter().for_each(|row| sum.add(row));
        Ok(Summary {
            digest: sum.finish(),
            rows: rows.len(),
        })
    }

    fn split(&self, range: &Range, rows: usize, pieces: usize) -> Result<Vec<Range>, Infallible> {
        let step = rows.div_ceil(pieces);
        let keys = self.within(range).map(|row| row.key);
        Ok(cut(range, keys.skip(step).step_by(step).collect()))
    }

    fn list(&self, range: &Range, max: usize) -> Result<Vec<RowProof>, Infallible> {
        Ok(self.within(range).take(max).collect())
    }
}

fn compare(ours: &Table, theirs: &Table) -> Outcome {
    let Ok(mut comparison) = Comparison::new(ours, vec![(1, 1)], &[1]);
    while let Some(question) = comparison.question() {
        let Ok(reply) = answer(theirs, &question);
        let Ok(result) = comparison.answered(ours, reply);
        result.unwrap();
    }
    comparison.outcome()
}

fn keys(outcome: &Outcome) -> Vec<u64> {
    let number = |d: &Difference| u64::from_be_bytes(d.key.clone().try_into().unwrap());
    let mut keys: Vec<u64> = outcome.differences.iter().map(number).collect();
    keys.sort_unstable();
    keys
}

#[test]
fn equal_tables_need_one_exchange() {
    let outcome = compare(&Table::of(5_000), &Table::of(5_000));
    assert!(outcome.is_identical());
    assert_eq!(outcome.exchanges, 1);
}

#[test]
fn one_wrong_row_among_a_hundred_thousand_is_found_in_five_exchanges() {
    let (ours, mut theirs) = (Table::of(100_000), Table::of(100_000));
    theirs.set(77_777, alive(77_777, 0));
    let outcome = compare(&ours, &theirs);
    assert_eq!(keys(&outcome), vec![77_777]);
    assert!(outcome.exchanges <= 5, "{} exchanges", outcome.exchanges);
}

#[test]
fn what_is_under_way_is_no_difference_and_tombstones_are_none() {
    let (mut ours, mut theirs) = (Table::of(100), Table::of(100));
    ours.set(5, RowState::Beyond);
    theirs.set(200, RowState::Beyond);
    ours.set(300, RowState::Dead);
    assert!(compare(&ours, &theirs).is_identical());
    assert!(compare(&theirs, &ours).is_identical());
    theirs.set(300, alive(1, 1));
    assert_eq!(keys(&compare(&ours, &theirs)), vec![300]);
}

#[test]
fn a_peer_without_the_table_is_not_identical() {
    let ours = Table::of(1);
    let Ok(mut comparison) = Comparison::new(&ours, vec![], &[2]);
    let question = comparison.question().unwrap();
    let Ok(reply) = answer(&ours, &question);
    let Ok(result) = comparison.answered(&ours, reply);
    result.unwrap();
    assert!(!comparison.outcome().is_identical());
}

#[test]
fn a_peer_that_lost_everything_stops_at_the_bound() {
    let outcome = compare(&Table::of(10_000), &Table::default());
    assert!(outcome.stopped);
    assert_eq!(outcome.differences.len(), MAX_DIFFERENCES);
}

#[test]
fn lying_answers_are_named() {
    let ours = Table::of(1_000);
    let start = || {
        let Ok(mut comparison) = Comparison::new(&ours, vec![], &[1]);
        comparison.question().unwrap();
        comparison
    };
    let Ok(count) = start().answered(&ours, vec![]);
    assert_eq!(count, Err(ProofError::Count(0, 1)));
    let whole = Part {
        range: Range::whole(1),
        digest: [0; 32],
    };
    for parts in [vec![], vec![whole.clone()], vec![whole.clone(), whole]] {
        let Ok(result) = start().answered(&ours, vec![Reply::Split(parts)]);
        assert_eq!(result, Err(ProofError::Ranges));
    }
}

proptest! {
    #[test]
    fn exactly_the_rows_that_differ_are_found(
        rows in 0..3_000u64,
        wrong in proptest::collection::btree_set(0..4_000u64, 0..40),
        side in any::<bool>(),
    ) {
        let mut tables = [Table::of(rows), Table::of(rows)];
        for &n in &wrong {
            tables[usize::from(side)].set(n, alive(9, 9_999));
        }
        let [ours, theirs] = &tables;
        let outcome = compare(ours, theirs);
        prop_assert_eq!(keys(&outcome), wrong.into_iter().collect::<Vec<_>>());
        prop_assert!(!outcome.stopped);
    }
}

/// All that had been found was lost, and what waited was never compared.
#[test]
fn a_range_that_is_too_much_for_a_message_is_left_out_and_the_rest_is_compared() {
    let (ours, mut theirs) = (Table::of(500), Table::of(500));
    for n in [3, 200, 480] {
        theirs.set(n, alive(n, 9_999));
    }
    let too_much = |part: &Part| {
        let key = 200_u64.to_be_bytes().to_vec();
        part.range.from <= key && part.range.to.as_ref().is_none_or(|to| key < *to)
    };
    let Ok(mut comparison) = Comparison::new(&ours, vec![(1, 1)], &[1]);
    let mut asked = 0;
    while let Some(question) = comparison.question() {
        asked += 1;
        // The whole table, once, for there is nothing smaller to ask for.
        if asked > 1 && question.parts.iter().any(too_much) {
            comparison.fewer();
            continue;
        }
        let Ok(reply) = answer(&theirs, &question);
        let Ok(result) = comparison.answered(&ours, reply);
        result.unwrap();
    }
    let outcome = comparison.outcome();
    assert!(outcome.stopped && !outcome.is_identical());
    assert_eq!(keys(&outcome), [3, 480]);
}
