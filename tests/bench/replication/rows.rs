//! The rows that every side writes: four columns, small, the same whoever writes them.

use tutti::replica::value::Value;

/// The table of every measurement.
pub const TABLE: &str =
    "CREATE TABLE item(id INTEGER PRIMARY KEY, name TEXT, amount INTEGER, remark TEXT)";
/// One row.
pub const INSERT: &str = "INSERT INTO item(id, name, amount, remark) VALUES (?, ?, ?, ?)";
/// One column of four.
pub const UPDATE: &str = "UPDATE item SET amount = ? WHERE id = ?";

/// A row's columns after its id.
pub fn columns(id: i64) -> (String, i64, String) {
    let amount = mix(id as u64) % 1_000_000;
    (
        format!("item number {id}"),
        amount as i64,
        format!("{:016x} kept in store", mix(amount)),
    )
}

/// Rows from this number on have keys all over the table; before it a row's number is its key.
/// Consecutive keys are what an import writes, and the one shape whose clocks share a record.
pub const SCATTERED: i64 = 1 << 40;

/// The key of row `number`.
pub fn key(number: i64) -> i64 {
    if number < SCATTERED {
        number
    } else {
        (mix(number as u64) >> 1) as i64
    }
}

/// Row `number` as parameters of [`INSERT`].
pub fn values(number: i64) -> [Value; 4] {
    let (name, amount, remark) = columns(number);
    [
        key(number).into(),
        name.into(),
        amount.into(),
        remark.into(),
    ]
}

/// Spreads a number over 64 bits (splitmix64): the same on every machine.
pub fn mix(number: u64) -> u64 {
    let mut z = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
