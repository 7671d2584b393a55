//! One SQLite value, and the encoding of a primary key made of them.

use serde::{Deserialize, Serialize};

/// A value of one of SQLite's five storage classes.
#[derive(Clone, Debug, Default, PartialEq, PartialOrd, Serialize, Deserialize)]
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

impl Value {
    /// The value as it counts in a key: a whole float equals the integer in SQLite's order.
    fn canonical(&self) -> Value {
        match self {
            Value::Real(real) if *real == (*real as i64) as f64 && real.abs() < 9.0e15 => {
                Value::Integer(*real as i64)
            }
            other => other.clone(),
        }
    }
}

/// Encodes a key so that equal keys have equal bytes at every peer.
pub fn encode_key(key: &[Value]) -> Vec<u8> {
    if !key.iter().any(|value| matches!(value, Value::Real(_))) {
        return encode(key);
    }
    let canonical: Vec<Value> = key.iter().map(Value::canonical).collect();
    encode(&canonical)
}

/// Encodes a list of values (a row or a key).
pub fn encode(values: &[Value]) -> Vec<u8> {
    postcard::to_stdvec(values).unwrap_or_default()
}

/// Decodes what [`encode`] made; `None` on anything else.
pub fn decode(bytes: &[u8]) -> Option<Vec<Value>> {
    postcard::from_bytes(bytes).ok()
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
