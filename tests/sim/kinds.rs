//! Tables of which every other history has some: computed columns that decide who is visible, and
//! parents and children that compare otherwise than byte by byte.

use tutti::replica::value::Value;
use tutti::store::{StoreError, Tx};

use crate::random::Random;

/// Histories from this number on have these tables.
pub const FROM: u64 = 1_000_000;

pub const TABLES: [&str; 4] = [
    "CREATE TABLE room(code TEXT NOT NULL PRIMARY KEY, note)",
    "CREATE TABLE booking(id INTEGER PRIMARY KEY, room REFERENCES room(code) ON DELETE SET NULL, \
     note, start, until, open AS (until IS NULL), since NOT NULL AS (coalesce(start, until)))",
    "CREATE UNIQUE INDEX booking_open ON booking(room) WHERE open",
    "CREATE TABLE guest(id INTEGER PRIMARY KEY, \
     booking TEXT REFERENCES booking(id) ON DELETE CASCADE, note)",
];

/// Columns that hold tokens.
pub const TOKENS: [&str; 3] = [
    "SELECT note FROM room",
    "SELECT note FROM booking",
    "SELECT note FROM guest",
];

/// Equal to each other but for their case, or as numbers.
const CODES: [&str; 4] = ["A", "a", "7", "07"];

pub fn statement(tx: &mut Tx<'_>, random: &mut Random, token: Value) -> Result<usize, StoreError> {
    let code = |random: &mut Random| Value::from(CODES[random.below(4) as usize]);
    let (one, other, id) = (code(random), code(random), random.below(5) as i64);
    let maybe = |random: &mut Random| match random.below(2) {
        0 => Value::Null,
        _ => Value::Integer(random.below(9) as i64),
    };
    let (start, until) = (maybe(random), maybe(random));
    let (sql, params) = match random.below(14) {
        0 | 1 => ("INSERT INTO room VALUES (?, ?)", vec![one, token]),
        2 => (
            "UPDATE room SET code = ?, note = ? WHERE code = ?",
            vec![one, token, other],
        ),
        3 => ("DELETE FROM room WHERE code = ?", vec![one]),
        4..=6 => {
            let room = if random.one_in(20) { 7.into() } else { one };
            (
                "REPLACE INTO booking(id, room, note, start, until) VALUES (?, ?, ?, ?, ?)",
                vec![id.into(), room, token, start, until],
            )
        }
        7 => (
            "UPDATE booking SET start = ? WHERE id = ?",
            vec![start, id.into()],
        ),
        8 => (
            "UPDATE booking SET until = ? WHERE id = ?",
            vec![until, id.into()],
        ),
        9 => (
            "UPDATE OR REPLACE booking SET room = ? WHERE id = ?",
            vec![one, id.into()],
        ),
        10 => (
            "UPDATE booking SET until = CASE WHEN open THEN 1 END, start = 1 WHERE id > ?",
            vec![id.into()],
        ),
        11 => ("DELETE FROM booking WHERE id = ?", vec![id.into()]),
        _ => {
            let zero = if random.one_in(2) { "0" } else { "" };
            let booking = format!("{zero}{id}").into();
            let guest = random.below(6) as i64;
            (
                "REPLACE INTO guest VALUES (?, ?, ?)",
                vec![guest.into(), booking, token],
            )
        }
    };
    tx.execute(sql, &params)
}
