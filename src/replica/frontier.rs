//! What a peer has durably applied, per origin incarnation, with a chain hash as proof.

use std::collections::BTreeMap;

use super::Incarnation;
use super::payload::Payload;
use crate::wire::replication::Tag;

/// The state of one origin at one peer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Position {
    /// Its last applied transaction.
    pub seq: u64,
    /// SHA-256 over the previous chain hash and the transaction's bytes.
    pub chain: [u8; 32],
}

/// Per origin, the last applied transaction.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Frontier(pub BTreeMap<Incarnation, Position>);

impl Frontier {
    /// The last sequence number applied of `origin`; 0 for none.
    pub fn seq(&self, origin: Incarnation) -> u64 {
        self.0.get(&origin).map_or(0, |position| position.seq)
    }

    /// Whether transaction `seq` of `origin` is within.
    pub fn covers(&self, origin: Incarnation, seq: u64) -> bool {
        self.seq(origin) >= seq
    }

    /// How many transactions of `other` are missing here.
    pub fn missing(&self, other: &Frontier) -> u64 {
        let lag = |(origin, position): (&Incarnation, &Position)| {
            position.seq.saturating_sub(self.seq(*origin))
        };
        // A peer may claim any numbers.
        other.0.iter().map(lag).fold(0, u64::saturating_add)
    }

    /// Whether everything here is in `other`, too.
    pub fn is_within(&self, other: &Frontier) -> bool {
        other.missing(self) == 0
    }

    /// Takes over whatever is further in `other`.
    pub fn advance(&mut self, other: &Frontier) {
        for (origin, position) in &other.0 {
            let mine = self.0.entry(*origin).or_default();
            if position.seq > mine.seq {
                *mine = *position;
            }
        }
    }

    /// As sent on the wire.
    pub fn to_wire(&self) -> Vec<(u64, u64, [u8; 32])> {
        let triple = |(origin, p): (&Incarnation, &Position)| (*origin, p.seq, p.chain);
        self.0.iter().map(triple).collect()
    }

    /// From the wire.
    pub fn from_wire(wire: &[(u64, u64, [u8; 32])]) -> Self {
        let position =
            |&(origin, seq, chain): &(u64, u64, [u8; 32])| (origin, Position { seq, chain });
        Frontier(wire.iter().map(position).collect())
    }
}

/// The first bytes of a chain hash, as sent with transactions.
pub fn tag(chain: &[u8; 32]) -> Tag {
    let mut tag = Tag::default();
    tag.copy_from_slice(&chain[..size_of::<Tag>()]);
    tag
}

/// The next chain hash.
pub fn chain(previous: &[u8; 32], transaction: &Payload) -> std::io::Result<[u8; 32]> {
    let mut context = ring::digest::Context::new(&ring::digest::SHA256);
    context.update(previous);
    transaction.each(|part| {
        context.update(part);
        Ok::<_, std::io::Error>(())
    })?;
    let mut out = [0; 32];
    out.copy_from_slice(context.finish().as_ref());
    Ok(out)
}
