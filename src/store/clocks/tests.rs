use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

const TABLE: i64 = 7;

fn stamp(number: u64) -> Stamp {
    Stamp {
        hlc: Hlc(number << 16),
        origin: 1,
        seq: number,
    }
}

fn clock(generation: u32, number: u64) -> RowClock {
    RowClock {
        generation,
        row: stamp(number),
        columns: Vec::new(),
    }
}

fn key(integer: i64) -> Vec<u8> {
    encode_key(&[integer.into()])
}

fn database() -> Connection {
    let db = Connection::open_in_memory().unwrap();
    create(&db).unwrap();
    db
}

fn all(db: &Connection, from: &[u8], to: Option<&[u8]>) -> Vec<(Vec<u8>, RowClock)> {
    let mut found = Vec::new();
    let each = each(db, TABLE, from, to, |key, clock| {
        found.push((key, clock));
        Ok(true)
    });
    each.unwrap();
    found
}

#[derive(Clone, Debug)]
enum Step {
    Run(i64, i64),
    Save(i64),
    Forget(i64),
}

fn step() -> impl Strategy<Value = Step> {
    let at = -300..300i64;
    prop_oneof![
        (at.clone(), 0..40i64).prop_map(|(first, more)| Step::Run(first, first + more)),
        at.clone().prop_map(Step::Save),
        at.prop_map(Step::Forget),
    ]
}

proptest! {
    #[test]
    fn runs_and_records_tell_what_a_record_for_each_row_would(
        steps in proptest::collection::vec(step(), 1..40),
        bounds in (-320..320i64, -320..320i64),
    ) {
        let db = database();
        let mut model: BTreeMap<i64, RowClock> = BTreeMap::new();
        for (number, step) in (1..).zip(steps) {
            match step {
                Step::Run(first, last) => {
                    let stamp = stamp(number);
                    save_run(&db, TABLE, &Run { first, last, stamp }).unwrap();
                    model.extend((first..=last).map(|key| (key, clock(1, number))));
                }
                Step::Save(at) => {
                    save(&db, TABLE, &key(at), &clock(2, number)).unwrap();
                    model.insert(at, clock(2, number));
                }
                Step::Forget(at) => {
                    forget(&db, TABLE, &key(at)).unwrap();
                    model.remove(&at);
                }
            }
        }
        for at in -320..350 {
            prop_assert_eq!(load(&db, TABLE, &key(at)).unwrap(), model.get(&at).cloned());
        }
        let told = |range: &mut dyn Iterator<Item = (&i64, &RowClock)>| {
            range.map(|(at, clock)| (key(*at), clock.clone())).collect::<Vec<_>>()
        };
        prop_assert_eq!(all(&db, &[], None), told(&mut model.iter()));
        let (from, to) = (bounds.0.min(bounds.1), bounds.0.max(bounds.1));
        let between = all(&db, &key(from), Some(&key(to)));
        prop_assert_eq!(between, told(&mut model.range(from..to)));
    }
}

#[test]
fn a_run_takes_one_record_and_a_row_of_it_that_is_written_one_more() {
    let db = database();
    let stamp = stamp(1);
    save_run(
        &db,
        TABLE,
        &Run {
            first: 1,
            last: 1_000,
            stamp,
        },
    )
    .unwrap();
    save(&db, TABLE, &key(500), &clock(2, 2)).unwrap();
    let count = |sql: &str| db.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap();
    assert_eq!(count("SELECT count(*) FROM _tutti_run"), 1);
    assert_eq!(count("SELECT count(*) FROM _tutti_clock"), 1);
    assert_eq!(all(&db, &[], None).len(), 1_000);
}

#[test]
fn runs_reach_the_ends_of_integers_and_stay_apart_from_keys_of_other_kinds() {
    let db = database();
    let low = Run {
        first: i64::MIN,
        last: i64::MIN + 9,
        stamp: stamp(1),
    };
    let high = Run {
        first: i64::MAX - 9,
        last: i64::MAX,
        stamp: stamp(2),
    };
    save_run(&db, TABLE, &low).unwrap();
    save_run(&db, TABLE, &high).unwrap();
    let text = encode_key(&["a".into()]);
    let two = encode_key(&[i64::MAX.into(), 1.into()]);
    save(&db, TABLE, &text, &clock(1, 3)).unwrap();
    assert_eq!(load(&db, TABLE, &key(i64::MAX)).unwrap(), Some(clock(1, 2)));
    assert_eq!(load(&db, TABLE, &two).unwrap(), None);
    let found = all(&db, &[], None);
    assert_eq!(found.len(), 21);
    assert!(found.is_sorted_by(|a, b| a.0 < b.0));
    assert_eq!(found.last().unwrap().0, text);
    assert_eq!(all(&db, &text, None).len(), 1);
}

#[test]
fn only_new_rows_under_consecutive_keys_make_a_run() {
    let insert = |key: i64, generation| RowChange {
        key: vec![key.into()],
        generation,
        write: RowWrite::Insert(vec![key.into()]),
    };
    let mut rows: Vec<_> = (1..=20).map(|key| insert(key, 1)).collect();
    assert_eq!(run_length(&rows), 20);
    rows[15].generation = 3;
    assert_eq!(run_length(&rows), 15);
    assert_eq!(run_length(&rows[16..]), 0, "too short to be worth it");
    rows[4] = insert(4, 1);
    assert_eq!(run_length(&rows), 0);
}
