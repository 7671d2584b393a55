//! Who may speak with whom: what a hello must say, and what follows from it.

use super::{Local, SessionError};
use crate::replica::frontier::{Frontier, Position};
use crate::replica::{ClusterId, Incarnation};
use crate::wire::replication::Hello;

/// What two hellos lead to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// Both are members of one cluster.
    Members,
    /// The peer may ask for a snapshot.
    Donor,
    /// We ask for one.
    Joiner(ClusterId),
    /// An origin has two histories.
    Forked(Incarnation),
    /// The peer has more of our present incarnation than we do: our memory was put back.
    Rewound,
}

/// Judges the peer's hello.
pub(super) fn judge(local: &Local, hello: &Hello) -> Result<Standing, SessionError> {
    if hello.node == local.node {
        return Err(SessionError::SameNode);
    }
    if hello.version != local.version {
        return Err(SessionError::Version {
            ours: local.version.clone(),
            theirs: hello.version.clone(),
        });
    }
    if hello.schema != local.schema {
        return Err(SessionError::Schema {
            ours: local.schema,
            theirs: hello.schema,
        });
    }
    match (local.cluster, hello.cluster) {
        (None, None) => Err(SessionError::NoCluster),
        (Some(ours), Some(theirs)) if ours != theirs => Err(SessionError::OtherCluster),
        (None, Some(cluster)) => Ok(Standing::Joiner(cluster)),
        (Some(_), None) => Ok(Standing::Donor),
        (Some(_), Some(_)) => match compare(local, &Frontier::from_wire(&hello.frontier)) {
            Ok(()) => Ok(Standing::Members),
            Err(SessionError::Fork { origin, .. }) => Ok(Standing::Forked(origin)),
            Err(SessionError::Unsent) => Ok(Standing::Rewound),
            Err(error) => Err(error),
        },
    }
}

/// Refuses a peer whose positions contradict ours.
pub(super) fn compare(local: &Local, theirs: &Frontier) -> Result<(), SessionError> {
    // Nobody but us issues in our present incarnation, and that is settled before all others.
    let own = local.incarnation;
    if theirs.seq(own) > local.frontier.seq(own) {
        return Err(SessionError::Unsent);
    }
    let forked = |(origin, theirs): (&Incarnation, &Position)| {
        let ours = local.frontier.0.get(origin)?;
        let forked = ours.seq == theirs.seq && ours.chain != theirs.chain;
        forked.then_some((*origin, theirs.seq))
    };
    let forked = theirs.0.iter().filter_map(forked);
    match forked.min_by_key(|(origin, _)| (*origin != own, *origin)) {
        Some((origin, seq)) => Err(SessionError::Fork { origin, seq }),
        None => Ok(()),
    }
}

/// The schema version of a hello: the first 64 bits of the SHA-256 of the statements, each with
/// its length before it (64 bits, big-endian), as the software creates its tables.
pub fn schema_version(statements: &[&str]) -> u64 {
    let mut context = ring::digest::Context::new(&ring::digest::SHA256);
    for statement in statements {
        context.update(&(statement.len() as u64).to_be_bytes());
        context.update(statement.as_bytes());
    }
    let mut first = [0; 8];
    first.copy_from_slice(&context.finish().as_ref()[..8]);
    u64::from_be_bytes(first)
}
