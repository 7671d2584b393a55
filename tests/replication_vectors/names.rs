//! What has a digest for its name: histories, conflicts, declarations, blocks of ids, schemas.

use tutti::replica::conflict::Conflict;
use tutti::replica::frontier::{chain, tag};
use tutti::replica::schema::{Keys, Kind, block, declaration_id, own_id};
use tutti::replica::session::schema_version;
use tutti::replica::value::encode;

use super::{Vectors, stamp};

#[test]
fn a_chain_hash_is_as_the_document_says() {
    let mut vectors = Vectors::of("chain.");
    let first = chain(&[0; 32], &b"one transaction".to_vec().into()).unwrap();
    let second = chain(&first, &b"another".to_vec().into()).unwrap();
    assert_eq!(tag(&first), first[..8]);
    vectors.is("first", &first);
    vectors.is("second", &second);
}

#[test]
fn a_conflicts_id_is_as_the_document_says() {
    let mut vectors = Vectors::of("conflict.");
    let (winner, loser) = (stamp(1 << 60, u64::MAX, 7), stamp(5, 1 << 63, 300));
    let column = Conflict {
        table: "item".into(),
        key: vec![0x11, 5],
        column: "a".into(),
        winner,
        loser,
        value: encode(&["lost".into(), 1.into()]),
    };
    let declaration = Conflict {
        table: String::new(),
        key: Vec::new(),
        column: "*".into(),
        winner: loser,
        loser,
        value: encode(&[]),
    };
    vectors.is("column", &column.id());
    vectors.is("declaration", &declaration.id());
    vectors.end();
}

#[test]
fn a_declarations_id_is_as_the_document_says() {
    let mut vectors = Vectors::of("declaration.");
    let id = |kind, words: &str, keys, on, lives| {
        let words: Vec<String> = words.split(' ').map(str::to_owned).collect();
        declaration_id(kind, &words, keys, on, lives)
    };
    let (natural, engine) = (Keys::Natural, Keys::Engine);
    let table = "item ( id INTEGER PRIMARY KEY , a )";
    let index = "UNIQUE i on item ( a )";
    let on = Some((1 << 48) - 1);
    for (name, id) in [
        ("table", id(Kind::Table, table, natural, None, 0)),
        ("engine", id(Kind::Table, "item ( id )", engine, None, 12)),
        ("index", id(Kind::Index, index, natural, on, 0)),
        ("trigger", id(Kind::Trigger, "t ;", natural, Some(77), 1)),
        ("own", own_id(Kind::Table, "_Tutti_Block")),
        ("own_index", own_id(Kind::Index, "i")),
    ] {
        vectors.is(name, &id.to_be_bytes());
    }
    vectors.end();
}

#[test]
fn a_block_of_ids_is_as_the_document_says() {
    let mut vectors = Vectors::of("block.");
    for (incarnation, number) in [(0, 0), (u64::MAX, 1), (1 << 63, 300)] {
        let name = format!("{incarnation}.{number}");
        vectors.is(&name, &block(incarnation, number).to_be_bytes());
    }
    vectors.end();
}

#[test]
fn the_schema_of_a_hello_is_as_the_document_says() {
    let mut vectors = Vectors::of("schema.");
    vectors.is("none", &schema_version(&[]).to_be_bytes());
    let two = ["CREATE TABLE a(b)", "CREATE TABLE cä(d)"];
    vectors.is("two", &schema_version(&two).to_be_bytes());
    vectors.end();
}
