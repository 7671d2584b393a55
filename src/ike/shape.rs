//! What of a state decides what can still happen, for the search of collisions: SPIs by the order
//! in which they are met, nonces by their rank, times by their distance from now. Keys are left
//! out: they follow from nonces and SPIs.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use super::session::Session;
use crate::wire::isakmp::notify::kind;
use crate::wire::isakmp::{Header, Message, Payload};

/// Later than this is never.
const FAR_MS: u64 = 1 << 30;
/// What lies longer back decides nothing any more.
const PAST_MS: u64 = 60_000;

/// A state that is being written down.
pub(crate) struct Shape {
    now: u64,
    /// Times are told apart by so many milliseconds; 0: not at all.
    grain: u64,
    words: Vec<u64>,
    names: HashMap<Vec<u8>, u64>,
    nonces: Vec<Vec<u8>>,
}

impl Shape {
    pub fn new(now: u64, grain: u64) -> Self {
        Self {
            now,
            grain,
            words: Vec::new(),
            names: HashMap::new(),
            nonces: Vec::new(),
        }
    }

    pub fn word(&mut self, word: impl Into<u64>) {
        self.words.push(word.into());
    }

    /// Something of which only whether it is the same counts.
    pub fn value(&mut self, value: impl Hash) {
        let mut hasher = DefaultHasher::new();
        value.hash(&mut hasher);
        self.words.push(hasher.finish());
    }

    /// An SPI, or whatever else is made of chance and compared.
    pub fn name(&mut self, name: &[u8]) {
        let next = self.names.len() as u64;
        let known = *self.names.entry(name.to_vec()).or_insert(next);
        self.word(known);
    }

    pub fn spi(&mut self, spi: u32) {
        self.name(&spi.to_be_bytes());
    }

    /// The name of an SPI that was met.
    pub fn known(&self, spi: u32) -> Option<u64> {
        self.names.get(spi.to_be_bytes().as_slice()).copied()
    }

    pub fn cookies(&mut self, (i, r): (u64, u64)) {
        self.name(&i.to_be_bytes());
        self.name(&r.to_be_bytes());
    }

    pub fn nonce(&mut self, nonce: &[u8]) {
        self.nonces.push(nonce.to_vec());
    }

    pub fn time(&mut self, at: u64) {
        let word = if at > self.now + FAR_MS {
            u64::MAX
        } else if self.grain == 0 {
            u64::from(at > self.now)
        } else {
            let past = at.max(self.now.saturating_sub(PAST_MS));
            ((past + PAST_MS).saturating_sub(self.now)).div_ceil(self.grain)
        };
        self.words.push(word);
    }

    pub fn option<T>(&mut self, value: Option<T>, write: impl FnOnce(&mut Self, T)) {
        self.word(value.is_some());
        if let Some(value) = value {
            write(self, value);
        }
    }

    pub fn list<T>(
        &mut self,
        values: impl ExactSizeIterator<Item = T>,
        write: impl Fn(&mut Self, T),
    ) {
        self.word(values.len() as u64);
        for value in values {
            write(self, value);
        }
    }

    /// A datagram to whoever has `receiver`.
    pub fn datagram(&mut self, bytes: &[u8], receiver: Option<&Session>) {
        let Ok((header, _)) = Header::parse(bytes) else {
            return self.value(bytes);
        };
        self.cookies((header.spi_i, header.spi_r));
        self.word(header.exchange);
        self.word(header.response);
        self.word(header.from_initiator);
        let Ok(message) = Message::parse(bytes) else {
            return;
        };
        let opened = receiver.and_then(|session| session.look_into(self, bytes, &message));
        let payloads = opened.as_ref().unwrap_or(&message.payloads);
        self.list(payloads.iter(), Shape::payload);
    }

    fn payload(&mut self, payload: &Payload) {
        self.word(payload.kind());
        match payload {
            Payload::Sa(proposals) => {
                self.list(proposals.iter(), |shape, p| shape.name(&p.spi));
            }
            Payload::Nonce(nonce) => self.nonce(nonce),
            Payload::Notify(notify) => {
                self.word(notify.kind);
                self.name(&notify.spi);
                if notify.kind == kind::COOKIE {
                    self.name(&notify.data);
                }
            }
            Payload::Delete(delete) => {
                self.word(delete.protocol);
                self.list(delete.spis.iter(), |shape, spi| shape.name(spi));
            }
            _ => {}
        }
    }

    /// Equal for equal states.
    pub fn finish(self) -> u64 {
        let mut order: Vec<&Vec<u8>> = self.nonces.iter().collect();
        order.sort();
        order.dedup();
        let rank = |nonce: &Vec<u8>| order.binary_search(&nonce);
        let ranks: Vec<_> = self.nonces.iter().map(rank).collect();
        let mut hasher = DefaultHasher::new();
        (&self.words, ranks).hash(&mut hasher);
        hasher.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(now: u64, at: u64, spis: [u32; 3], nonces: [u8; 2]) -> u64 {
        let mut shape = Shape::new(now, 1);
        spis.into_iter().for_each(|spi| shape.spi(spi));
        nonces.iter().for_each(|nonce| shape.nonce(&[*nonce]));
        shape.time(at);
        shape.finish()
    }

    #[test]
    fn states_are_the_same_by_names_ranks_and_distances() {
        let one = shape(5_000, 5_500, [7, 8, 7], [1, 2]);
        assert_eq!(one, shape(9_000, 9_500, [3, 4, 3], [5, 9]));
        assert_ne!(one, shape(9_000, 9_500, [3, 4, 4], [5, 9]), "another SPI");
        assert_ne!(one, shape(9_000, 9_500, [3, 4, 3], [9, 5]), "another order");
        assert_ne!(one, shape(9_000, 9_501, [3, 4, 3], [5, 9]), "another time");
    }
}
