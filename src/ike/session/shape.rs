//! An IKE SA, written down for the search of collisions.

use super::{Agreed, InFlight, Purpose, Session};
use crate::ike::shape::Shape;
use crate::wire::isakmp::{Message, Payload};

impl Session {
    pub(crate) fn shape(&self, shape: &mut Shape) {
        shape.cookies((self.spi_i, self.spi_r));
        shape.word(self.initiator);
        shape.word(self.before.is_some());
        shape.option(self.in_flight.as_ref(), in_flight);
        shape.nonce(&self.low_nonce);
        shape.time(self.rekey_at);
        shape.option(self.replaced, Shape::time);
        shape.option(self.pending.as_ref(), |shape, pending| {
            agreed(shape, &pending.agreed);
            shape.time(pending.until);
        });
        shape.word(self.token.is_some());
        shape.word(self.owes_token);
        shape.word(self.told_token);
        shape.word(self.delete);
        shape.option(self.closed, Shape::time);
    }

    /// What its owner may send again: the request under way and the last answer.
    pub(crate) fn repeatable(&self) -> impl Iterator<Item = &Vec<u8>> {
        let waiting = self.in_flight.iter().flat_map(|waiting| &waiting.bytes);
        waiting.chain(&self.reply)
    }

    /// What is in a datagram to its owner, and which of the window it is.
    pub(crate) fn look_into(
        &self,
        shape: &mut Shape,
        datagram: &[u8],
        message: &Message,
    ) -> Option<Vec<Payload>> {
        let id = u64::from(message.header.id);
        let expected = match message.header.response {
            true => self.in_flight.as_ref().map(|waiting| waiting.id),
            false => Some(self.receive_id),
        };
        shape.option(expected, |shape, expected| {
            shape.word(id.wrapping_sub(u64::from(expected)));
        });
        let mut ciphers = std::iter::once(&self.theirs).chain(&self.before);
        ciphers.find_map(|cipher| cipher.open_whole(datagram, message).ok())
    }
}

fn in_flight(shape: &mut Shape, waiting: &InFlight) {
    waiting.retry.shape(shape);
    match &waiting.purpose {
        Purpose::Authenticate => shape.word(0_u8),
        Purpose::Liveness => shape.word(1_u8),
        Purpose::Announce(says) => {
            shape.word(2_u8);
            shape.value(says.digests().collect::<Vec<_>>());
        }
        Purpose::DeleteChild(spi) => {
            shape.word(3_u8);
            shape.spi(*spi);
        }
        Purpose::DeleteSa => shape.word(4_u8),
        Purpose::RekeyChild {
            old,
            new,
            nonce,
            collision,
        } => {
            shape.word(5_u8);
            shape.spi(*old);
            shape.spi(*new);
            shape.nonce(nonce);
            shape.option(*collision, Shape::spi);
        }
        Purpose::RekeySa { attempt, collision } => {
            shape.word(6_u8);
            shape.name(&attempt.spi.to_be_bytes());
            shape.nonce(&attempt.nonce);
            shape.option(*collision, |shape, spi| shape.name(&spi.to_be_bytes()));
        }
        Purpose::FollowUp {
            agreed: both,
            collision,
            ..
        } => {
            shape.word(7_u8);
            agreed(shape, both);
            shape.option(*collision, |shape, spi| shape.name(&spi.to_be_bytes()));
        }
    }
}

fn agreed(shape: &mut Shape, agreed: &Agreed) {
    shape.cookies(agreed.spis);
    shape.nonce(&agreed.ni);
    shape.nonce(&agreed.nr);
}
