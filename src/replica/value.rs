//! One SQLite value, and the encoding of a primary key made of them.

use serde::{Deserialize, Serialize};

/// A value of one of SQLite's five storage classes.
#[derive(Clone, Debug, Default, PartialOrd, Serialize, Deserialize)]
pub enum Value {
    /// NULL.
    #[default]
    Null,
    /// A 64-bit signed integer.
    Integer(i64),
    /// A 64-bit float; never NaN, which SQLite stores as NULL.
    Real(f64),
    /// UTF-8 text.
    Text(String),
    /// Bytes.
    Blob(Vec<u8>),
}

/// What peers hold is compared bit by bit: 0.0 and -0.0 are two values.
impl PartialEq for Value {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Value::Null, Value::Null) => true,
            (Value::Integer(mine), Value::Integer(theirs)) => mine == theirs,
            (Value::Real(mine), Value::Real(theirs)) => mine.to_bits() == theirs.to_bits(),
            (Value::Text(mine), Value::Text(theirs)) => mine == theirs,
            (Value::Blob(mine), Value::Blob(theirs)) => mine == theirs,
            _ => false,
        }
    }
}

/// A value as it counts in a key.
#[derive(PartialEq)]
enum Canonical<'a> {
    Integer(i64),
    Other(&'a Value),
}

impl Value {
    /// A whole float equals the integer in SQLite's order.
    fn canonical(&self) -> Canonical<'_> {
        // All whole floats from here on to its negative are integers of SQLite's.
        const END: f64 = -(i64::MIN as f64);
        match self {
            Value::Integer(integer) => Canonical::Integer(*integer),
            Value::Real(real) if real.fract() == 0.0 && (-END..END).contains(real) => {
                Canonical::Integer(*real as i64)
            }
            other => Canonical::Other(other),
        }
    }

    /// Whether both count alike in a key.
    pub fn is_same_key(&self, other: &Value) -> bool {
        self.canonical() == other.canonical()
    }
}

/// Encodes a key so that equal keys have equal bytes at every peer, and integers and texts sort as
/// they do in SQLite: neighbours in a table are neighbours among its clocks.
///
/// ```text
/// NULL     00
/// integer  10+n, n bytes big-endian without leading zeros (negative: 10-n, complement)
/// real     20, 8 bytes big-endian
/// text     30, its bytes with each 00 as 00 ff, then 00 00
/// blob     40, likewise
/// ```
pub fn encode_key(key: &[Value]) -> Vec<u8> {
    let mut out = Vec::with_capacity(16);
    for value in key {
        match value.canonical() {
            Canonical::Integer(integer) => key_integer(&mut out, integer),
            Canonical::Other(Value::Real(real)) => {
                out.push(0x20);
                out.extend(real.to_bits().to_be_bytes());
            }
            Canonical::Other(Value::Text(text)) => key_bytes(&mut out, 0x30, text.as_bytes()),
            Canonical::Other(Value::Blob(blob)) => key_bytes(&mut out, 0x40, blob),
            Canonical::Other(_) => out.push(0),
        }
    }
    out
}

fn key_integer(out: &mut Vec<u8>, integer: i64) {
    let magnitude = integer.unsigned_abs();
    let size = (8 - magnitude.leading_zeros() as usize / 8).min(8);
    let bytes = magnitude.to_be_bytes();
    let bytes = bytes[8 - size..].iter();
    if integer < 0 {
        out.push(0x10 - size as u8);
        out.extend(bytes.map(|byte| !byte));
    } else {
        out.push(0x10 + size as u8);
        out.extend(bytes);
    }
}

fn key_bytes(out: &mut Vec<u8>, tag: u8, bytes: &[u8]) {
    out.push(tag);
    for &byte in bytes {
        out.push(byte);
        if byte == 0 {
            out.push(0xff);
        }
    }
    out.extend([0, 0]);
}

/// Decodes what [`encode_key`] made; `None` on anything else.
pub fn decode_key(mut bytes: &[u8]) -> Option<Vec<Value>> {
    let mut key = Vec::new();
    while let Some((&tag, rest)) = bytes.split_first() {
        let (value, rest) = match tag {
            0 => (Value::Null, rest),
            0x08..=0x0f => integer_of(rest, usize::from(0x10 - tag), true)?,
            0x10..=0x18 => integer_of(rest, usize::from(tag - 0x10), false)?,
            0x20 => {
                let (bits, rest) = rest.split_first_chunk()?;
                (Value::Real(f64::from_bits(u64::from_be_bytes(*bits))), rest)
            }
            0x30 => {
                let (bytes, rest) = bytes_of(rest)?;
                (Value::Text(String::from_utf8(bytes).ok()?), rest)
            }
            0x40 => {
                let (bytes, rest) = bytes_of(rest)?;
                (Value::Blob(bytes), rest)
            }
            _ => return None,
        };
        key.push(value);
        bytes = rest;
    }
    Some(key)
}

fn integer_of(bytes: &[u8], size: usize, negative: bool) -> Option<(Value, &[u8])> {
    let (digits, rest) = bytes.split_at_checked(size)?;
    let digit = |byte: &u8| u64::from(if negative { !byte } else { *byte });
    let magnitude = digits
        .iter()
        .fold(0, |sum: u64, byte| sum << 8 | digit(byte));
    let integer = if negative {
        0i64.checked_sub_unsigned(magnitude)?
    } else {
        i64::try_from(magnitude).ok()?
    };
    Some((Value::Integer(integer), rest))
}

fn bytes_of(mut bytes: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let mut out = Vec::new();
    loop {
        match bytes {
            [0, 0, rest @ ..] => return Some((out, rest)),
            [0, 0xff, rest @ ..] => {
                out.push(0);
                bytes = rest;
            }
            [0, ..] | [] => return None,
            [byte, rest @ ..] => {
                out.push(*byte);
                bytes = rest;
            }
        }
    }
}

/// Encodes a list of values (a row or a key).
pub fn encode(values: &[Value]) -> Vec<u8> {
    postcard::to_stdvec(values).unwrap_or_default()
}

/// Decodes what [`encode`] made; `None` on anything else.
pub fn decode(bytes: &[u8]) -> Option<Vec<Value>> {
    postcard::from_bytes(bytes).ok().map(|Few(values)| values)
}

/// A list that is as long as a row at most.
#[derive(Deserialize)]
struct Few(#[serde(deserialize_with = "few")] Vec<Value>);

/// SQLite's tables have no more columns.
const COLUMNS_MAX: usize = 2_000;

/// Reads no list that is longer than a row can be.
pub(super) fn few<'de, D, T>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Deserialize<'de>,
{
    at_most(deserializer, COLUMNS_MAX)
}

/// Reads no longer list: what takes an octet there may take thirty here.
pub(super) fn at_most<'de, D, T>(deserializer: D, most: usize) -> Result<Vec<T>, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Deserialize<'de>,
{
    struct Visitor<T>(usize, std::marker::PhantomData<T>);

    impl<'de, T: Deserialize<'de>> serde::de::Visitor<'de> for Visitor<T> {
        type Value = Vec<T>;

        fn expecting(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            write!(to, "a list of at most {}", self.0)
        }

        fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut all: A) -> Result<Vec<T>, A::Error> {
            let mut values = Vec::with_capacity(all.size_hint().unwrap_or(0).min(64));
            while let Some(value) = all.next_element()? {
                if values.len() == self.0 {
                    return Err(serde::de::Error::invalid_length(self.0 + 1, &self));
                }
                values.push(value);
            }
            Ok(values)
        }
    }

    deserializer.deserialize_seq(Visitor(most, std::marker::PhantomData))
}

impl From<i64> for Value {
    fn from(value: i64) -> Self {
        Value::Integer(value)
    }
}

impl From<f64> for Value {
    fn from(value: f64) -> Self {
        Value::Real(value)
    }
}

impl From<&str> for Value {
    fn from(value: &str) -> Self {
        Value::Text(value.to_owned())
    }
}

impl From<String> for Value {
    fn from(value: String) -> Self {
        Value::Text(value)
    }
}

impl From<Vec<u8>> for Value {
    fn from(value: Vec<u8>) -> Self {
        Value::Blob(value)
    }
}

impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Value::Null, Into::into)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_whole_float_and_the_integer_are_one_key() {
        assert_eq!(
            encode_key(&[Value::Real(3.0)]),
            encode_key(&[Value::Integer(3)])
        );
        assert_ne!(
            encode_key(&[Value::Real(3.5)]),
            encode_key(&[Value::Integer(3)])
        );
        for large in [1 << 60, i64::MIN] {
            let (real, integer) = (Value::Real(large as f64), Value::Integer(large));
            assert_eq!(encode_key(&[real]), encode_key(&[integer]));
        }
        let beyond = Value::Real(-(i64::MIN as f64));
        assert_ne!(
            encode_key(&[beyond]),
            encode_key(&[Value::Integer(i64::MAX)])
        );
    }

    #[test]
    fn keys_survive_encoding_and_sort_as_sqlite_sorts_them() {
        let integers = [
            i64::MIN,
            -70_000,
            -256,
            -255,
            -1,
            0,
            1,
            255,
            256,
            70_000,
            i64::MAX,
        ];
        let encoded = integers.map(|integer| encode_key(&[integer.into()]));
        assert!(encoded.is_sorted());
        let texts = ["", "a", "a\0", "a\0b", "aa", "b"].map(|text| encode_key(&[text.into()]));
        assert!(texts.is_sorted());
        for integer in integers {
            let key = vec![
                integer.into(),
                "x\0y".into(),
                Value::Real(0.5),
                vec![0u8, 0].into(),
            ];
            assert_eq!(decode_key(&encode_key(&key)), Some(key));
        }
        for garbage in [
            &[0x30, 0x61][..],
            &[0x18, 1],
            &[0x18, 255, 0, 0, 0, 0, 0, 0, 0],
            &[9],
        ] {
            assert_eq!(decode_key(garbage), None);
        }
    }

    #[test]
    fn rows_survive_encoding() {
        let row = vec![
            Value::Null,
            Value::Integer(-7),
            Value::Real(0.1),
            "é".into(),
            vec![0u8, 255].into(),
        ];
        assert_eq!(decode(&encode(&row)), Some(row));
        assert_eq!(decode(&[9, 9, 9]), None);
    }
}
