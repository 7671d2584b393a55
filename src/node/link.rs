//! One replication link between two peers: tokio around `replica::session`.
//!
//! Reading, writing and the store's blocking work go on side by side, so neither a slow disk nor
//! a slow peer stops heartbeats, and two peers that both send much cannot block each other.

use std::collections::VecDeque;
use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinError, JoinHandle};

use crate::replica::session::{
    Action, Event, Local, Now, Proofs, Proven, Session, SessionError, Step,
};
use crate::replica::{ClusterId, Incarnation, NodeId};
use crate::store::{Store, StoreError};
use crate::wire::replication::{Frame, FrameError, MAX_NAME, MAX_PEERS, Told};

mod frames;
mod pace;
mod proof;
mod work;

use frames::{Pinned, farewell, read_frame, write_frame};
use pace::Pace;
pub use proof::Proof;
use work::{Files, Outcome};

/// What a link needs to know of this side.
#[derive(Clone, Debug, Default)]
pub struct LinkConfig {
    /// Our name, shown by the peer.
    pub name: String,
    /// Our software version; another one does not replicate.
    pub version: String,
    /// A digest of the tables that our software brings
    /// ([`crate::replica::session::schema_version`]); another one does not replicate.
    pub schema: u64,
    /// Our cluster; `None` adopts the peer's.
    pub cluster: Option<ClusterId>,
    /// The nodes counted as peers of our cluster, as far as they were met.
    pub peers: Vec<NodeId>,
    /// How many more are configured and were never met.
    pub unmet: u8,
    /// Whether this system's clock is synchronized, kept up to date by whoever knows.
    pub synchronized: Arc<AtomicBool>,
    /// What the peer is told of the prerequisites, now and whenever it changes.
    pub checks: Option<watch::Receiver<Vec<Told>>>,
}

/// What happens on a link.
#[derive(Clone, Debug, PartialEq)]
pub enum LinkEvent {
    /// The peer has said who it is.
    Hello {
        /// Its name.
        name: String,
        /// Its node.
        node: NodeId,
        /// Its software version.
        version: String,
        /// Its cluster.
        cluster: Option<ClusterId>,
        /// The nodes it counts as peers of its cluster.
        peers: Vec<NodeId>,
        /// How many more it has configured and never met.
        unmet: u8,
    },
    /// Its snapshot is arriving.
    Joining {
        /// How much of it, 0 to 100.
        percent: u8,
    },
    /// Its snapshot is now our database; the link ends and is dialled anew as a member.
    Adopted {
        /// The cluster we belong to from now on.
        cluster: ClusterId,
    },
    /// Transactions from before the link are arriving.
    CatchingUp {
        /// How many are still missing here.
        changes: u64,
    },
    /// Both stream as they commit.
    Live {
        /// How many of ours the peer has not acknowledged.
        behind: u64,
    },
    /// A proof ended: both held the same rows, or not.
    Proven(Proven),
    /// An origin has two histories: one side yields, and the link ends.
    Forked {
        /// Which origin.
        origin: Incarnation,
    },
    /// A ping was answered.
    RoundTrip {
        /// Microseconds there and back.
        us: u64,
        /// How far the peer's wall clock is ahead of ours, in milliseconds.
        clock_offset_ms: i64,
        /// Whether the peer's clock is synchronized, by its own word.
        synchronized: bool,
    },
    /// The peer says how it sees the prerequisites of clustering.
    Checks(Vec<Told>),
}

impl From<Event> for LinkEvent {
    fn from(event: Event) -> Self {
        match event {
            Event::Hello {
                name,
                node,
                version,
                cluster,
                peers,
                unmet,
            } => LinkEvent::Hello {
                name,
                node,
                version,
                cluster,
                peers,
                unmet,
            },
            Event::Joining { percent } => LinkEvent::Joining { percent },
            Event::CatchingUp { changes } => LinkEvent::CatchingUp { changes },
            Event::Live { behind } => LinkEvent::Live { behind },
            Event::Proven(proven) => LinkEvent::Proven(proven),
            Event::RoundTrip {
                us,
                clock_offset_ms,
                synchronized,
            } => LinkEvent::RoundTrip {
                us,
                clock_offset_ms,
                synchronized,
            },
            Event::Checks(checks) => LinkEvent::Checks(checks),
        }
    }
}

/// Why a link ended.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// The connection broke.
    #[error("the connection broke: {0}")]
    Io(#[from] std::io::Error),
    /// The peer sent what is no frame.
    #[error("the peer sent {0}")]
    Frame(#[from] FrameError),
    /// The session refused to go on.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// The database refused.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A task of this process died.
    #[error("a storage task failed: {0}")]
    Task(#[from] JoinError),
    /// Our present incarnation has another history.
    #[error(
        "our numbers of {origin:016x} are in use elsewhere (a restored or copied system): going on \
         under a fresh incarnation"
    )]
    Renewed {
        /// The former one.
        origin: Incarnation,
    },
    /// Two histories of one origin were made one again.
    #[error(
        "an origin had two histories (a restored or copied system): {count} of our transactions \
         of {origin:016x} were issued again"
    )]
    Reissued {
        /// Which origin.
        origin: Incarnation,
        /// How many transactions.
        count: usize,
    },
    /// Another link's snapshot took the database's place.
    #[error("a snapshot took the place of the database; greeting again")]
    Swapped,
    /// Something that waited for the clock was given up.
    #[error("what waited for the clock lost what it builds on; a new link brings all that counts")]
    Dropped,
}

/// What is to be told, once it is news.
async fn told(checks: &mut Option<watch::Receiver<Vec<Told>>>) -> Vec<Told> {
    let Some(checks) = checks else {
        return pending().await;
    };
    match checks.changed().await {
        Ok(()) => checks.borrow_and_update().clone(),
        Err(_) => pending().await,
    }
}

/// Waits for what may not be there: for ever, then.
async fn maybe<T>(future: Option<&mut (impl Future<Output = T> + Unpin)>) -> T {
    match future {
        Some(future) => future.await,
        None => pending().await,
    }
}

type Job = JoinHandle<Result<Outcome, StoreError>>;

/// What is to be done, and what is being done.
#[derive(Default)]
struct Lane {
    jobs: VecDeque<Action>,
    job: Option<Job>,
}

struct Link {
    files: Files,
    session: Session,
    events: mpsc::Sender<LinkEvent>,
    began: Instant,
    synchronized: Arc<AtomicBool>,
    last_event: Option<LinkEvent>,
    /// When our last proof began, milliseconds since 1970.
    proof_ms: u64,
    lanes: [Lane; 2],
}

impl Link {
    fn now(&self) -> Now {
        now(self.began, &self.synchronized)
    }

    /// Carries out what the session wants, as far as it does not block, and starts the rest.
    fn act(&mut self) {
        while let Some(action) = self.session.poll_action() {
            match action {
                Action::Event(event) => self.event(event),
                blocking => {
                    self.begins(&blocking);
                    self.lanes[blocking.lane()].jobs.push_back(blocking);
                }
            }
        }
        for lane in &mut self.lanes {
            if lane.job.is_none()
                && let Some(action) = lane.jobs.pop_front()
            {
                let files = self.files.clone();
                let work = move || files.perform(action);
                lane.job = Some(tokio::task::spawn_blocking(work));
            }
        }
    }

    /// What the node hears of some work before it is done.
    fn begins(&mut self, action: &Action) {
        match action {
            Action::Prove(Step::Begin(_)) => self.proof_ms = self.now().wall_ms,
            Action::Chains { origin, .. } | Action::Renew { origin } => {
                self.tell(LinkEvent::Forked { origin: *origin });
            }
            _ => {}
        }
    }

    fn event(&mut self, event: Event) {
        if let Event::Proven(proven) = &event {
            let (peer, began) = (self.files.peer(), self.proof_ms);
            self.files.store.proven(peer, began, proven);
        }
        self.tell(event.into());
    }

    /// What the peer holds by its hello or its acknowledgement decides what may be forgotten.
    fn heard(&mut self, hello: bool) {
        let Some(acked) = self.session.acked() else {
            return;
        };
        let (store, peer) = (self.files.store.clone(), self.files.peer());
        if !hello {
            return store.acknowledged(peer, acked);
        }
        let acked = acked.clone();
        // Before anything of the peer's is applied: how it is merged depends on it.
        self.lanes[0].job = Some(tokio::task::spawn_blocking(move || {
            if let Err(error) = store.greeted(peer, &acked) {
                tracing::warn!(%error, "a peer's hello could not be noted");
            }
            Ok(Outcome::Nothing)
        }));
    }

    /// Tells the node; where it does not keep up, a later event says more than a full queue.
    fn tell(&mut self, event: LinkEvent) {
        if self.last_event.as_ref() != Some(&event) {
            let _ = self.events.try_send(event.clone());
            self.last_event = Some(event);
        }
    }

    /// Takes in a frame. What we committed meanwhile is told first: the peer may have heard of
    /// it from another one already.
    fn frame(&mut self, frame: Frame) -> Result<(), SessionError> {
        let now = self.now();
        let hello = matches!(frame, Frame::Hello(_));
        // Who sends a transaction holds it: one that only writes acknowledges nothing.
        let sent = matches!(frame, Frame::Transactions(_) | Frame::Piece(_));
        let heard = hello || sent || matches!(frame, Frame::Ack { .. });
        if self.session.needs_frontier(&frame) {
            let frontier = self.files.store.frontier();
            self.session.committed(now, &frontier);
        }
        if let Frame::Hello(hello) = &frame {
            self.files.met(hello.node);
        }
        self.session.handle_frame(now, frame)?;
        if heard {
            self.heard(hello);
        }
        Ok(())
    }

    /// Takes in a job's end; a cluster ends the link.
    fn done(
        &mut self,
        result: Result<Result<Outcome, StoreError>, JoinError>,
    ) -> Result<Option<ClusterId>, LinkError> {
        match result?? {
            Outcome::Done(done) => {
                let now = self.now();
                self.session.handle_done(now, done);
            }
            Outcome::Nothing => {}
            Outcome::Adopted(cluster) => return Ok(Some(cluster)),
            Outcome::Renewed { origin } => return Err(LinkError::Renewed { origin }),
            Outcome::Reissued { origin, count } => {
                return Err(LinkError::Reissued { origin, count });
            }
        }
        Ok(None)
    }
}

fn now(began: Instant, synchronized: &AtomicBool) -> Now {
    let wall = SystemTime::now().duration_since(UNIX_EPOCH);
    Now {
        us: began.elapsed().as_micros() as u64,
        wall_ms: wall.map_or(0, |wall| wall.as_millis() as u64),
        synchronized: synchronized.load(Ordering::Relaxed),
    }
}

/// Gives the node time to take all events: it is a member before the peer sees the link end and
/// dials anew.
async fn taken(events: &mpsc::Sender<LinkEvent>) {
    let wait = async {
        while events.capacity() < events.max_capacity() && !events.is_closed() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    let _ = tokio::time::timeout(Duration::from_secs(1), wait).await;
}

/// This side as a new session is told.
fn local(config: LinkConfig, files: &Files) -> Local {
    let store = &files.store;
    Local {
        name: config.name.chars().take(MAX_NAME).collect(),
        version: config.version,
        schema: config.schema,
        node: store.node(),
        incarnation: store.incarnation(),
        cluster: config.cluster,
        frontier: store.frontier(),
        partial: files.partial(),
        resume: store.resumable(),
        peers: config.peers.into_iter().take(MAX_PEERS).collect(),
        unmet: config.unmet,
        proofs: Proofs::default(),
    }
}

/// Runs a link until it breaks, or until this side has adopted the peer's cluster (`Ok`).
pub async fn run<S: AsyncRead + AsyncWrite + Unpin + Send>(
    stream: S,
    store: Store,
    config: LinkConfig,
    events: mpsc::Sender<LinkEvent>,
) -> Result<(), LinkError> {
    store.ready()?;
    let began = Instant::now();
    let mut changes = store.changes();
    changes.mark_unchanged();
    let dropped = store.dropped();
    let incarnation = store.incarnation();
    let synchronized = Arc::clone(&config.synchronized);
    let mut checks = config.checks.clone();
    if let Some(checks) = &mut checks {
        checks.mark_changed();
    }
    let files = Files::new(store, incarnation);
    let (reader, writer) = tokio::io::split(stream);
    let mut reading: Pinned<'_, _> = Box::pin(read_frame(reader));
    let mut idle_writer = Some(writer);
    let mut pace = Pace::default();
    let mut writing: Option<Pinned<'_, _>> = None;
    let mut link = Link {
        session: Session::new(now(began, &synchronized), local(config, &files)),
        files,
        events,
        began,
        synchronized,
        last_event: None,
        proof_ms: 0,
        lanes: Default::default(),
    };
    loop {
        // Where this link swaps, its job says so itself.
        let swaps = link.lanes[0].job.is_some();
        if !swaps && link.files.store.incarnation() != incarnation {
            return Err(LinkError::Swapped);
        }
        if let Some(writer) = idle_writer.take() {
            match link.session.poll_frame(link.now()) {
                Some(frame) => writing = Some(Box::pin(write_frame(writer, frame, pace))),
                None => idle_writer = Some(writer),
            }
        }
        link.act();
        let due = began + Duration::from_micros(link.session.poll_timeout());
        let [writes, reads] = &mut link.lanes;
        tokio::select! {
            result = &mut reading => {
                let (reader, frame) = result?;
                reading = Box::pin(read_frame(reader));
                if let Err(error) = link.frame(frame) {
                    link.act();
                    // Our hello may still be on its way: it tells the peer why, too.
                    let frame = link.session.poll_frame(link.now());
                    farewell(writing, idle_writer, frame).await;
                    return Err(error.into());
                }
            }
            result = maybe(writing.as_mut()) => {
                writing = None;
                let (writer, measured) = result?;
                idle_writer = Some(writer);
                pace = measured;
            }
            result = maybe(writes.job.as_mut()) => {
                writes.job = None;
                if let Some(cluster) = link.done(result)? {
                    let _ = link.events.send(LinkEvent::Adopted { cluster }).await;
                    taken(&link.events).await;
                    return Ok(());
                }
            }
            result = maybe(reads.job.as_mut()) => {
                reads.job = None;
                link.done(result)?;
            }
            Ok(()) = changes.changed() => {
                let frontier = link.files.store.frontier();
                link.session.committed(link.now(), &frontier);
            }
            checks = told(&mut checks) => link.session.tell(checks),
            () = tokio::time::sleep_until(due.into()) => {
                let now = link.now();
                link.session.handle_timeout(now)?;
                link.files.store.expire_staged();
                if link.files.store.dropped() != dropped {
                    return Err(LinkError::Dropped);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
