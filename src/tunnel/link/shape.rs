//! A tunnel, written down for the search of collisions.

use super::{Attempt, Link};
use crate::ike::session::Session;
use crate::ike::shape::Shape;
use crate::wire::isakmp::Header;

impl Link {
    pub(in crate::tunnel) fn shape(&self, shape: &mut Shape) {
        match &self.attempt {
            None => shape.word(0_u8),
            Some(Attempt::Init(initiator)) => {
                shape.word(1_u8);
                initiator.shape(shape);
            }
            Some(Attempt::Intermediate(intermediating)) => {
                shape.word(2_u8);
                intermediating.shape(shape);
            }
            Some(Attempt::Auth(authenticating)) => {
                shape.word(3_u8);
                authenticating.shape(shape);
            }
        }
        shape.time(self.attempt_at);
        shape.word(self.put_off);
        shape.word(self.failures as u64);
        shape.list(self.half_open.iter(), |shape, one| one.shape(shape));
        shape.list(self.connections.iter(), |shape, one| one.shape(shape));
        self.kernel.shape(shape);
        shape.time(self.told_unknown);
        shape.value(self.fault.reason().map(|fault| format!("{fault:?}")));
    }

    fn sessions(&self) -> impl Iterator<Item = &Session> {
        let attempt = match &self.attempt {
            Some(Attempt::Intermediate(intermediating)) => Some(intermediating.session()),
            Some(Attempt::Auth(authenticating)) => Some(authenticating.session()),
            _ => None,
        };
        let half_open = self.half_open.iter().map(|one| one.session());
        let connections = self.connections.iter().flat_map(|one| one.sessions());
        attempt.into_iter().chain(half_open).chain(connections)
    }

    /// The IKE SA that a datagram is for.
    pub(in crate::tunnel) fn session_of(&self, datagram: &[u8]) -> Option<&Session> {
        let (header, _) = Header::parse(datagram).ok()?;
        self.sessions().find(|session| session.owns(&header))
    }

    /// All that may be sent again.
    pub(in crate::tunnel) fn repeatable(&self) -> impl Iterator<Item = &Vec<u8>> {
        self.sessions().flat_map(Session::repeatable)
    }
}
