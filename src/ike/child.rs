//! One AH pair of a connection (RFC 7296 section 2.17).

use super::Context;
use super::keys::Key;
use super::proposal::Ah;
use super::suite::Integrity;

/// One AH pair.
#[cfg_attr(test, derive(Clone))]
pub struct Child {
    /// Our inbound SPI.
    pub spi_in: u32,
    /// The peer's inbound SPI.
    pub spi_out: u32,
    /// Key of the traffic towards us.
    pub key_in: Key,
    /// Key of the traffic towards the peer.
    pub key_out: Key,
    /// The algorithm of both directions.
    pub integrity: Integrity,
    /// 64-bit sequence numbers.
    pub esn: bool,
    pub(super) born: u64,
    pub(super) rekey_at: u64,
    /// Nobody has replaced it by then.
    pub(super) ends_at: u64,
    /// Not for outbound traffic yet: the peer may not have installed it.
    pub(super) held_until: Option<u64>,
    /// Our inbound SPI of the pair it replaces; it may send as soon as that is deleted.
    pub(super) replaces: Option<u32>,
    /// It sent once, and another one does now. Its numbers would begin anew, and the peer take its
    /// packets for replays.
    pub(super) left: bool,
    /// To be deleted by us.
    pub(super) delete: bool,
    /// Lowest nonce of the exchange that made it.
    pub(super) low_nonce: Vec<u8>,
}

impl Child {
    /// From an agreement; `keys` is KEYMAT, initiator's traffic first.
    pub(super) fn new(
        context: &mut Context<'_>,
        spi_in: u32,
        ah: Ah,
        keys: (Key, Key),
        initiator: bool,
    ) -> Self {
        let (key_out, key_in) = if initiator { keys } else { (keys.1, keys.0) };
        Self {
            spi_in,
            spi_out: ah.spi,
            key_in,
            key_out,
            integrity: ah.integrity,
            esn: ah.esn,
            born: context.now,
            rekey_at: rekey_at(context, context.lifetimes.child_ms, initiator),
            ends_at: ends_at(context.now, context.lifetimes.child_ms),
            held_until: None,
            replaces: None,
            left: false,
            delete: false,
            low_nonce: Vec::new(),
        }
    }

    #[cfg(test)]
    pub(super) fn shape(&self, shape: &mut super::shape::Shape) {
        shape.spi(self.spi_in);
        shape.spi(self.spi_out);
        shape.time(self.born);
        shape.time(self.rekey_at);
        shape.option(self.held_until, super::shape::Shape::time);
        shape.option(self.replaces, super::shape::Shape::spi);
        shape.word(self.left);
        shape.word(self.delete);
        shape.nonce(&self.low_nonce);
    }
}

/// Beyond this an SA that has no successor is not used, whoever refused to replace it: what it
/// belongs to is closed (RFC 7296 section 2.8), long before the kernel's own limit.
pub(super) fn ends_at(now: u64, lifetime_ms: u64) -> u64 {
    now + 2 * lifetime_ms
}

/// The initiator of an SA rekeys it first, so that rekeys seldom cross.
pub(super) fn rekey_at(context: &mut Context<'_>, lifetime_ms: u64, initiator: bool) -> u64 {
    let fifth = lifetime_ms / 5;
    let base = if initiator {
        4 * fifth
    } else {
        lifetime_ms + fifth
    };
    context.now + context.jitter(base)
}
