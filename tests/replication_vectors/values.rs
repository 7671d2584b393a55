//! Values and keys.

use tutti::replica::value::{Value, decode, decode_key, encode, encode_key};

use super::Vectors;

/// Each alone.
fn single() -> Vec<(&'static str, Value)> {
    let integers = [
        ("zero", 0),
        ("one", 1),
        ("minus_one", -1),
        ("63", 63),
        ("64", 64),
        ("minus_64", -64),
        ("minus_65", -65),
        ("255", 255),
        ("256", 256),
        ("minus_255", -255),
        ("minus_256", -256),
        ("highest", i64::MAX),
        ("lowest", i64::MIN),
    ];
    let reals = [
        ("real", 1.5),
        ("real_negative", -0.1),
        ("real_whole", -3.0),
        ("real_minus_zero", -0.0),
        ("real_lowest_integer", -9_223_372_036_854_775_808.0),
        ("real_beyond_integers", 9_223_372_036_854_775_808.0),
        ("real_infinite", f64::NEG_INFINITY),
    ];
    let texts = [("text", "aé\0b"), ("text_empty", ""), ("text_number", "5")];
    let blobs = [
        ("blob", vec![0, 0xff, 0]),
        ("blob_empty", vec![]),
        ("blob_long", vec![0x80; 128]),
    ];
    let mut all = vec![("null", Value::Null)];
    all.extend(integers.map(|(name, value)| (name, Value::Integer(value))));
    all.extend(reals.map(|(name, value)| (name, Value::Real(value))));
    all.extend(texts.map(|(name, value)| (name, Value::from(value))));
    all.extend(blobs.map(|(name, value)| (name, Value::Blob(value))));
    all
}

fn mixed() -> Vec<Value> {
    let blob: Vec<u8> = b"y".to_vec();
    vec![(-70_000).into(), "x".into(), blob.into(), 0.5.into()]
}

#[test]
fn every_value_is_as_the_document_says() {
    let mut vectors = Vectors::of("value.");
    let singles = single()
        .into_iter()
        .map(|(name, value)| (name, vec![value]));
    for (name, row) in singles.chain([("list", mixed())]) {
        let bytes = encode(&row);
        assert_eq!(decode(&bytes), Some(row));
        vectors.is(name, &bytes);
    }
    vectors.end();
}

#[test]
fn every_key_is_as_the_document_says() {
    let mut vectors = Vectors::of("key.");
    let singles = single()
        .into_iter()
        .map(|(name, value)| (name, vec![value]));
    for (name, key) in singles.chain([("list", mixed()), ("none", vec![])]) {
        let bytes = encode_key(&key);
        // Whole floats come back as integers.
        let expected = match name {
            "real_whole" => vec![Value::Integer(-3)],
            "real_minus_zero" => vec![Value::Integer(0)],
            "real_lowest_integer" => vec![Value::Integer(i64::MIN)],
            _ => key,
        };
        assert_eq!(decode_key(&bytes), Some(expected), "{name}");
        vectors.is(name, &bytes);
    }
    vectors.end();
}
