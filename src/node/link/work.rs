//! What a session wants of the store, done on a thread that may block.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::proof::Proof;
use crate::replica::frontier::Frontier;
use crate::replica::session::{Action, BATCH, CHUNK, Done, PIECES, Proven};
use crate::replica::{ClusterId, Incarnation, NodeId, fresh_incarnation};
use crate::store::{Incoming, Partial, Place, Staged, Store, StoreError};
use crate::sys::disk;
use crate::wire::replication::Piece;

/// How long the sync of what comes in bulk waits for more.
const GATHER: Duration = Duration::from_millis(10);

/// What a job leads to.
pub(super) enum Outcome {
    /// The session waits for it.
    Done(Done),
    /// Nobody waits for it.
    Nothing,
    /// A snapshot is our database now.
    Adopted(ClusterId),
    /// Our history of an origin was issued again.
    Renewed { origin: Incarnation },
    Reissued {
        /// Which origin.
        origin: Incarnation,
        /// How many transactions.
        count: usize,
    },
}

/// The files that one link reads and writes.
#[derive(Clone)]
pub(super) struct Files {
    pub store: Store,
    /// This system's incarnation as the link began.
    under: Incarnation,
    inner: Arc<Mutex<Inner>>,
    /// Locked for as long as a step of a proof takes; only steps wait for each other.
    proof: Arc<Mutex<Proof>>,
}

struct Inner {
    store: Store,
    partial: Option<Partial>,
    incoming: Option<Incoming>,
    /// Held while a snapshot arrives.
    place: Option<Place>,
    staged: Option<Arc<Staged>>,
    /// The peer's node, once it has said hello.
    peer: NodeId,
}

impl Drop for Inner {
    /// Also after the last job of a link that was cut: the next link goes on from here.
    fn drop(&mut self) {
        if let Some(partial) = self.partial.take() {
            self.store.keep_partial(partial);
        }
    }
}

impl Files {
    pub fn new(store: Store, under: Incarnation) -> Self {
        let partial = store.take_partial();
        let inner = Inner {
            store: store.clone(),
            partial,
            incoming: None,
            place: None,
            staged: None,
            peer: NodeId::default(),
        };
        let inner = Arc::new(Mutex::new(inner));
        let proof = Arc::default();
        Files {
            store,
            under,
            inner,
            proof,
        }
    }

    /// The peer has said who it is.
    pub fn met(&self, node: NodeId) {
        self.lock().peer = node;
    }

    /// The peer's node.
    pub fn peer(&self) -> NodeId {
        self.lock().peer
    }

    /// What an earlier link left half received.
    pub fn partial(&self) -> Option<crate::wire::replication::Partial> {
        self.lock().partial.as_ref().map(|partial| partial.what)
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn free(&self) -> Result<u64, StoreError> {
        let path = self.store.directory();
        disk::free(path).map_err(|source| StoreError::Io {
            path: path.to_owned(),
            source,
        })
    }

    /// Runs one action to its end. Blocks.
    pub fn perform(&self, action: Action) -> Result<Outcome, StoreError> {
        let store = &self.store;
        Ok(Outcome::Done(match action {
            Action::Apply(_) | Action::ApplyLarge { .. } if store.is_apart(self.peer()) => {
                // It comes again, over the snapshot that the peer takes first.
                Done::Applied(store.frontier())
            }
            // Nor is anything compared by number.
            Action::Prove(_) if store.is_apart(self.peer()) => Done::Proved(Err(Proven {
                stopped: true,
                ..Proven::default()
            })),
            Action::Apply(list) => {
                let applied = store
                    .apply_gathering(self.under, &list)
                    .map(|(frontier, owed)| {
                        if owed {
                            flush_soon(store);
                        }
                        frontier
                    });
                settled(applied)?
            }
            Action::WritePiece(piece) => {
                self.write_piece(&piece)?;
                Done::PieceWritten
            }
            Action::ApplyLarge { .. } => {
                let partial = self.lock().partial.take();
                let partial = partial.ok_or_else(|| missing("large transaction"))?;
                settled(store.apply_partial(self.under, partial))?
            }
            Action::Read { frontier, position } => match read(store, &frontier, position) {
                Err(StoreError::NeedsSnapshot { origin, first, .. }) => {
                    let apart = store.may_differ(&frontier)?;
                    Done::Trimmed {
                        origin,
                        first,
                        apart,
                    }
                }
                Err(StoreError::Fork { origin, .. }) => Done::Forked { origin },
                other => other?,
            },
            Action::ReadLarge { large, offset } => {
                let bytes = store.log_piece(large, offset, PIECES)?;
                Done::LargeRead { offset, bytes }
            }
            Action::Stage { wanted } => {
                let peer = self.lock().peer;
                let staged = store.stage_for(peer, wanted, self.free()?)?;
                let (id, size) = (staged.id, staged.size);
                self.lock().staged = Some(staged);
                Done::Staged { id, size }
            }
            Action::ReadChunk { offset } => {
                let staged = self.lock().staged.clone();
                let staged = staged.ok_or_else(|| missing("staged snapshot"))?;
                let (bytes, digest) = staged.read(offset, CHUNK)?;
                Done::ChunkRead {
                    offset,
                    bytes,
                    digest,
                }
            }
            Action::WriteChunk { offset, bytes } => {
                let mut inner = self.lock();
                let incoming = inner.incoming.as_mut();
                let incoming = incoming.ok_or_else(|| missing("arriving snapshot"))?;
                incoming.write(offset, &bytes)?;
                let end = offset + bytes.len() as u64;
                Done::ChunkWritten { end }
            }
            Action::Accept { id, size, offset } => {
                // A member has claimed it already. Of a link that was cut the last job may go on.
                if self.lock().place.is_none() {
                    let place = store.claim_arrival().ok_or_else(arriving)?;
                    self.lock().place = Some(place);
                }
                let incoming = store.accept_snapshot(id, size, offset, self.free()?)?;
                self.lock().incoming = Some(incoming);
                return Ok(Outcome::Nothing);
            }
            Action::SwapIn {
                digest,
                cluster,
                swap,
            } => {
                let incoming = self.lock().incoming.take();
                let incoming = incoming.ok_or_else(|| missing("arriving snapshot"))?;
                store.swap_in(incoming, digest, random()?, swap)?;
                return Ok(Outcome::Adopted(cluster));
            }
            Action::Prove(step) => {
                let mut proof = self.proof.lock().unwrap_or_else(PoisonError::into_inner);
                Done::Proved(proof.step(store, self.peer(), step)?)
            }
            Action::Claim => {
                let mut inner = self.lock();
                if inner.place.is_none() {
                    inner.place = store.claim_arrival();
                }
                Done::Claimed(inner.place.is_some())
            }
            Action::Chains { origin, upto } => {
                let chains = store.chains(origin, upto)?;
                Done::Chains { origin, chains }
            }
            Action::Renew { origin } => {
                return Ok(match store.renew_from(origin, random()?)? {
                    true => Outcome::Renewed { origin },
                    false => Outcome::Nothing,
                });
            }
            Action::Reissue { origin, after } => {
                let count = store.reissue(origin, after, random()?)?;
                return Ok(Outcome::Reissued { origin, count });
            }
            Action::Trust { origin, upto } => {
                store.trust(origin, upto)?;
                tracing::warn!(
                    "what was written on a history of {origin:016x} that was taken back since (a \
                     restored or copied system) is merged as it is"
                );
                return Ok(Outcome::Nothing);
            }
            Action::Event(_) => return Ok(Outcome::Nothing),
        }))
    }

    fn write_piece(&self, piece: &Piece) -> Result<(), StoreError> {
        let mut inner = self.lock();
        if piece.offset == 0 {
            inner.partial = None;
            let partial = self.store.begin_partial(piece.whole(), self.free()?)?;
            inner.partial = Some(partial);
        }
        let partial = inner.partial.as_mut();
        let partial = partial.ok_or_else(|| missing("large transaction"))?;
        partial.write(piece.offset, &piece.bytes)
    }
}

/// What applying came to; a history that is not ours is settled before anything else goes on.
fn settled(applied: Result<Frontier, StoreError>) -> Result<Done, StoreError> {
    match applied {
        Err(StoreError::Fork { origin, .. }) => Ok(Done::Forked { origin }),
        applied => applied.map(Done::Applied),
    }
}

/// What comes in bulk is synced some milliseconds later, for all of it at once: where peers share
/// a host's disk, a sync for each transaction would hold up the one who writes.
fn flush_soon(store: &Store) {
    if !store.undertake_flush() {
        return;
    }
    let store = store.clone();
    tokio::spawn(async move {
        tokio::time::sleep(GATHER).await;
        // A sync that fails stops the store: the next call to it says so.
        let _ = tokio::task::spawn_blocking(move || store.flush_owed()).await;
    });
}

fn read(store: &Store, frontier: &Frontier, position: Option<i64>) -> Result<Done, StoreError> {
    let from = match position {
        Some(position) => position,
        None => store.log_start(frontier)?,
    };
    let (found, large, position) = store.log_batch(frontier, from, BATCH)?;
    Ok(Done::Read {
        found,
        large,
        position,
    })
}

/// A session asks for these in order, so this is a fault of ours and ends the link.
fn missing(what: &str) -> StoreError {
    StoreError::Refused(format!("there is no {what} to go on with"))
}

fn arriving() -> StoreError {
    let why = "the copy of a link that was cut is still looked at; the next link gets another";
    StoreError::Refused(why.into())
}

/// A fresh incarnation.
pub(super) fn random() -> Result<Incarnation, StoreError> {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).map_err(|error| StoreError::Refused(error.to_string()))?;
    Ok(fresh_incarnation(bytes))
}
