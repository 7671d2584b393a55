//! A connection, written down for the search of collisions.

use super::Connection;
use crate::ike::session::Session;
use crate::ike::shape::Shape;

impl Connection {
    pub(crate) fn shape(&self, shape: &mut Shape) {
        shape.time(self.origin.began);
        shape.word(self.origin.initiator);
        shape.value(self.origin.certificate.map(|c| (c.now, c.also)));
        shape.value((self.origin.told.now, self.origin.told.also));
        shape.time(self.established);
        shape.list(self.sessions.iter(), |shape, session| session.shape(shape));
        shape.list(self.children.iter(), |shape, child| child.shape(shape));
        shape.value(self.failure.as_ref().map(ToString::to_string));
        shape.nonce(&self.low_nonce);
        shape.time(self.heard);
        shape.option(self.childless_since, Shape::time);
        shape.option(self.sending, Shape::spi);
        shape.word(self.silent);
        shape.word(self.closing);
        shape.word(self.lost);
        shape.word(self.tokens);
        shape.value(self.untaken.map(|c| (c.now, c.also)));
    }

    pub(crate) fn sessions(&self) -> impl Iterator<Item = &Session> {
        self.sessions.iter()
    }
}
