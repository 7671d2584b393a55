//! Declarations: which of those known stands, and the ids that rows and log know them by.
//!
//! Two different declarations of one name made at the same time: the earlier stands at every
//! peer, whatever the order they arrive in (contract 11). Pure: SQL is only text here.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::Incarnation;
use super::clock::Stamp;

/// Names one declaration for good: 48 bits of a digest of what it says, so that the same table
/// declared at two peers at once is one table. Two that differ share an id with probability 2^-48.
pub type DeclarationId = u64;

/// Who chooses the ids of a table's rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Keys {
    /// The writer: keys come from the world outside.
    #[default]
    Natural,
    /// The engine: integers from a block of the node, which no other node hands out.
    Engine,
}

/// What is declared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A table.
    Table,
    /// An index, UNIQUE or not.
    Index,
    /// A trigger.
    Trigger,
}

impl Kind {
    /// As SQLite's schema table says it.
    pub fn word(self) -> &'static str {
        match self {
            Kind::Table => "table",
            Kind::Index => "index",
            Kind::Trigger => "trigger",
        }
    }

    /// Of SQLite's word.
    pub fn of(word: &str) -> Option<Self> {
        [Kind::Table, Kind::Index, Kind::Trigger]
            .into_iter()
            .find(|kind| kind.word() == word)
    }
}

/// One known declaration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Declaration {
    /// Its id.
    pub id: DeclarationId,
    /// When it was first declared.
    pub stamp: Stamp,
    /// What it declares.
    pub kind: Kind,
    /// The name it wants, in lower case.
    pub name: String,
    /// The table it belongs to, of an index or a trigger.
    pub on: Option<DeclarationId>,
    /// Whether it was dropped, which is for good.
    pub dropped: bool,
}

/// The id of a declaration: `words` are its tokens, `on` its table if it is an index or a trigger,
/// `lives` how often the name was dropped before.
pub fn declaration_id(
    kind: Kind,
    words: &[String],
    keys: Keys,
    on: Option<DeclarationId>,
    lives: u64,
) -> DeclarationId {
    let mut parts = vec![
        on.map_or_else(String::new, |table| table.to_string()),
        kind.word().to_owned(),
        format!("{keys:?}"),
        lives.to_string(),
    ];
    parts.extend_from_slice(words);
    short(&parts)
}

/// The id of what the appliance's software brings along under this name.
pub fn own_id(kind: Kind, name: &str) -> DeclarationId {
    short(&[
        "appliance".into(),
        kind.word().into(),
        name.to_ascii_lowercase(),
    ])
}

fn short(parts: &[String]) -> u64 {
    let mut context = ring::digest::Context::new(&ring::digest::SHA256);
    for part in parts {
        context.update(&(part.len() as u64).to_be_bytes());
        context.update(part.as_bytes());
    }
    let digest = context.finish();
    let start = digest.as_ref().iter().take(6);
    start.fold(0, |id, byte| (id << 8) | u64::from(*byte))
}

/// The declarations that stand. In order of time each takes its name unless an earlier one has it;
/// an index or a trigger needs its table to stand. Tables and indexes share one space of names.
pub fn standing(declarations: &[Declaration]) -> BTreeSet<DeclarationId> {
    let mut ordered: Vec<&Declaration> = declarations.iter().filter(|d| !d.dropped).collect();
    // What comes with the software has one stamp: its tables before what is theirs.
    ordered.sort_by_key(|declaration| (declaration.stamp, declaration.kind, declaration.id));
    let mut taken: BTreeMap<(bool, &str), DeclarationId> = BTreeMap::new();
    let mut stand = BTreeSet::new();
    for declaration in ordered {
        let place = (declaration.kind == Kind::Trigger, declaration.name.as_str());
        let table_stands = declaration.on.is_none_or(|table| stand.contains(&table));
        if table_stands && !taken.contains_key(&place) {
            taken.insert(place, declaration.id);
            stand.insert(declaration.id);
        }
    }
    stand
}

/// Bits of an engine id below its block: each block holds 2^24 - 1 ids.
pub const BLOCK_BITS: u32 = 24;

/// The `number`th block that an incarnation may draw: 39 bits, never 0, so that its ids are
/// positive 63-bit integers. Incarnations are random, so blocks are.
pub fn block(incarnation: Incarnation, number: u64) -> i64 {
    let mut context = ring::digest::Context::new(&ring::digest::SHA256);
    context.update(b"tutti block");
    context.update(&incarnation.to_be_bytes());
    context.update(&number.to_be_bytes());
    let digest = context.finish();
    let start = digest.as_ref().iter().take(8);
    let wide = start.fold(0_u64, |id, byte| (id << 8) | u64::from(*byte));
    ((wide >> 25).max(1)) as i64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::replica::clock::Hlc;

    fn declared(time: u64, kind: Kind, name: &str, on: Option<u64>) -> Declaration {
        let stamp = Stamp {
            hlc: Hlc(time),
            origin: time,
            seq: 1,
        };
        Declaration {
            id: time,
            stamp,
            kind,
            name: name.into(),
            on,
            dropped: false,
        }
    }

    #[test]
    fn an_index_stands_beside_a_table_of_its_stamp_whatever_their_numbers() {
        let table = declared(2, Kind::Table, "t", None);
        let mut index = declared(1, Kind::Index, "i", Some(2));
        index.stamp = table.stamp;
        assert_eq!(standing(&[index, table]), [1, 2].into());
    }

    #[test]
    fn the_earlier_of_two_declarations_stands_whatever_the_order() {
        let first = declared(1, Kind::Table, "t", None);
        let second = declared(2, Kind::Table, "t", None);
        let index = declared(3, Kind::Index, "i", Some(2));
        let orders = [
            vec![first.clone(), second.clone(), index.clone()],
            vec![index.clone(), second.clone(), first.clone()],
        ];
        for order in orders {
            assert_eq!(standing(&order), BTreeSet::from([1]));
        }
        let mut gone = first;
        gone.dropped = true;
        assert_eq!(standing(&[gone, second, index]), BTreeSet::from([2, 3]));
    }

    #[test]
    fn a_trigger_and_a_table_may_share_a_name_but_a_table_and_an_index_may_not() {
        let table = declared(1, Kind::Table, "a", None);
        let trigger = declared(2, Kind::Trigger, "a", Some(1));
        let index = declared(3, Kind::Index, "a", Some(1));
        let all = [table, trigger, index];
        assert_eq!(standing(&all), BTreeSet::from([1, 2]));
    }

    #[test]
    fn blocks_give_positive_ids_and_differ() {
        for incarnation in 0..1_000 {
            let block = block(incarnation, 0);
            assert!(block > 0 && block.checked_shl(BLOCK_BITS).unwrap() > 0 && block < 1 << 39);
        }
        assert_ne!(block(1, 0), block(1, 1));
        assert_ne!(block(1, 0), block(2, 0));
    }
}
