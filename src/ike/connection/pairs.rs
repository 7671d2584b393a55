//! The AH pairs of a connection: which one sends, which are to be replaced, and which go.

use super::{CHILDLESS_MS, Connection, SUPERSEDED_MS};
use crate::ike::child::Child;
use crate::ike::exchange::create_child::AGAIN_MS;

impl Connection {
    /// All AH pairs; each must be able to receive.
    pub fn children(&self) -> &[Child] {
        &self.children
    }

    /// The AH pair that carries our traffic.
    pub fn outbound(&self) -> Option<&Child> {
        let newest = |wanted: fn(&&Child) -> bool| self.children.iter().rev().find(wanted);
        newest(|c| !c.left && !c.delete && c.held_until.is_none())
            .or_else(|| newest(|c| !c.left))
            .or_else(|| newest(|_| true))
    }

    /// Remembers which children have sent. If one must send again that has been left, it is
    /// replaced at once.
    pub(super) fn note_sending(&mut self, now: u64) {
        let sending = self.outbound().map(|c| c.spi_in);
        if sending == self.sending {
            return;
        }
        for child in &mut self.children {
            if Some(child.spi_in) != sending {
                child.left |= Some(child.spi_in) == self.sending;
            } else if child.left {
                child.rekey_at = child.rekey_at.min(now);
            }
        }
        self.sending = sending;
    }

    /// The traffic went over from one outbound SA to another, perhaps of another connection. The
    /// same holds then: what is left never sends again, or is replaced at once.
    pub fn note_traffic(&mut self, now: u64, before: u32, after: Option<u32>) {
        for child in &mut self.children {
            if child.spi_out == before {
                child.left = true;
            } else if child.left && Some(child.spi_out) == after {
                child.rekey_at = child.rekey_at.min(now);
            }
        }
    }

    /// Asks for a successor of the children that `wanted` names, unless they have one or are so new
    /// that the peer may not know them.
    pub(super) fn renew(&mut self, now: u64, wanted: impl Fn(&Child) -> bool) {
        let replaced: Vec<u32> = self.children.iter().filter_map(|c| c.replaces).collect();
        let alone =
            |c: &&mut Child| wanted(c) && c.held_until.is_none() && !replaced.contains(&c.spi_in);
        for child in self.children.iter_mut().filter(alone) {
            child.rekey_at = child.rekey_at.min(now);
        }
    }

    /// Rekeys the child with this inbound or outbound SPI as soon as possible.
    pub fn expire(&mut self, now: u64, spi: u32) {
        self.renew(now, |c| c.spi_in == spi || c.spi_out == spi);
    }

    /// Traffic came by the child with this inbound SPI: the peer has it and sends on it, so it
    /// takes ours too.
    pub fn arrived(&mut self, spi_in: u32) {
        for child in self.children.iter_mut().filter(|c| c.spi_in == spi_in) {
            child.held_until = None;
        }
    }

    /// Inbound SPIs of children that wait for the peer to be known to receive on them.
    pub fn held(&self) -> impl Iterator<Item = u32> {
        let held = self.children.iter().filter(|c| c.held_until.is_some());
        held.map(|c| c.spi_in)
    }

    /// Removes a child; what was held back for its sake may now send. Nothing else: a child of a
    /// crossing rekey may lose yet, and the one that sent before must not send again, for its
    /// numbers would begin anew.
    pub(in crate::ike) fn forget_child(&mut self, now: u64, spi_in: u32) {
        let gone = self.children.extract_if(.., |c| c.spi_in == spi_in).last();
        let replaced = gone.and_then(|gone| gone.replaces);
        let others: Vec<u32> = self.children.iter().filter_map(|c| c.replaces).collect();
        for child in &mut self.children {
            child.held_until.take_if(|_| child.replaces == Some(spi_in));
            // It is replaced no more, and needs another successor.
            if Some(child.spi_in) == replaced && !others.contains(&child.spi_in) {
                child.rekey_at = child.rekey_at.min(now + AGAIN_MS);
            }
        }
    }

    /// The side that made a superseded child deletes it; this is for when it does not.
    pub(super) fn prune_children(&mut self, now: u64) {
        if self.duplicates_at().is_some_and(|at| at <= now) {
            // Both sides must choose alike, whatever order they came in: one that was replaced goes
            // before its successor, of others the lowest nonce.
            let live = || self.children.iter().filter(|c| !c.delete);
            let replaced: Vec<u32> = live().filter_map(|c| c.replaces).collect();
            let live = self.children.iter_mut().filter(|c| !c.delete);
            let mut first_to_go: Vec<_> = live.collect();
            let stays = |c: &Child| !replaced.contains(&c.spi_in);
            first_to_go.sort_by(|a, b| {
                let order = stays(a).cmp(&stays(b));
                order.then_with(|| a.low_nonce.cmp(&b.low_nonce))
            });
            first_to_go.pop();
            for child in first_to_go {
                child.delete = true;
            }
        }
        if !self.children.is_empty() {
            self.childless_since = None;
        } else if now >= *self.childless_since.get_or_insert(now) + CHILDLESS_MS {
            self.close();
        }
    }

    pub(super) fn duplicates_at(&self) -> Option<u64> {
        let live = || self.children.iter().filter(|c| !c.delete);
        if live().count() < 2 {
            return None;
        }
        live().map(|c| c.born + SUPERSEDED_MS).max()
    }
}
