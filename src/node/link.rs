//! One replication link between two peers: tokio around `replica::session`.
//!
//! Reading, writing and the store's blocking work go on side by side, so neither a slow disk nor
//! a slow peer stops heartbeats, and two peers that both send much cannot block each other.

use std::collections::VecDeque;
use std::future::{Future, pending};
use std::pin::Pin;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::replica::frontier::Frontier;
use crate::replica::session::{Action, CHUNK, Event, Local, Now, Session, SessionError};
use crate::replica::{ClusterId, Incarnation, NodeId};
use crate::store::{Logged, Staged, Store, StoreError};
use crate::wire::replication::{Frame, FrameError, check_length};

/// What a link needs to know of this side.
#[derive(Clone, Debug)]
pub struct LinkConfig {
    /// Our name, shown by the peer.
    pub name: String,
    /// Our software version; another one does not replicate.
    pub version: String,
    /// Our cluster; `None` adopts the peer's.
    pub cluster: Option<ClusterId>,
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
    /// A ping was answered.
    RoundTrip {
        /// Microseconds there and back.
        us: u64,
        /// How far the peer's wall clock is ahead of ours, in milliseconds.
        clock_offset_ms: i64,
    },
}

impl From<Event> for LinkEvent {
    fn from(event: Event) -> Self {
        match event {
            Event::Hello {
                name,
                node,
                version,
                cluster,
            } => LinkEvent::Hello {
                name,
                node,
                version,
                cluster,
            },
            Event::Joining { percent } => LinkEvent::Joining { percent },
            Event::CatchingUp { changes } => LinkEvent::CatchingUp { changes },
            Event::Live { behind } => LinkEvent::Live { behind },
            Event::RoundTrip {
                us,
                clock_offset_ms,
            } => LinkEvent::RoundTrip {
                us,
                clock_offset_ms,
            },
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
    Task(#[from] tokio::task::JoinError),
}

/// What a storage job reports.
enum Done {
    Applied(Frontier),
    Read(Vec<Logged>, i64),
    Staged(Staged),
    Chunk(u64, Vec<u8>, Staged),
    Written,
    Adopted(ClusterId),
}

/// A read or write under way.
type Pinned<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// What a read gives back: the reader and the frame.
type ReadResult<S> = Result<(ReadHalf<S>, Frame), LinkError>;

async fn read_frame<S: AsyncRead>(mut stream: ReadHalf<S>) -> ReadResult<S> {
    let mut head = [0; 4];
    stream.read_exact(&mut head).await?;
    let length = check_length(head)?;
    // Memory follows what arrives, not what a length promises.
    let mut bytes = Vec::new();
    let mut limited = (&mut stream).take(length as u64);
    limited.read_to_end(&mut bytes).await?;
    if bytes.len() < length {
        return Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof).into());
    }
    Ok((stream, Frame::decode(&bytes)?))
}

async fn write_frame<S: AsyncWrite>(
    mut stream: WriteHalf<S>,
    frame: Frame,
) -> Result<WriteHalf<S>, std::io::Error> {
    stream.write_all(&frame.encode()).await?;
    stream.flush().await?;
    Ok(stream)
}

/// Sends what is left, for a peer that is going to be refused.
async fn farewell<S: AsyncWrite>(
    writing: Option<Pinned<'_, Result<WriteHalf<S>, std::io::Error>>>,
    idle: Option<WriteHalf<S>>,
    frames: VecDeque<Frame>,
) -> Result<(), std::io::Error> {
    let mut stream = match (writing, idle) {
        (Some(writing), _) => writing.await?,
        (None, Some(idle)) => idle,
        (None, None) => return Ok(()),
    };
    for frame in frames {
        stream = write_frame(stream, frame).await?;
    }
    stream.shutdown().await
}

async fn maybe<T>(future: Option<&mut (impl Future<Output = T> + Unpin)>) -> T {
    match future {
        Some(future) => future.await,
        None => pending().await,
    }
}

/// How long a refused peer may take to read why.
const FAREWELL: Duration = Duration::from_secs(1);

struct Link {
    store: Store,
    session: Session,
    events: mpsc::Sender<LinkEvent>,
    began: Instant,
    last_event: Option<LinkEvent>,
    jobs: VecDeque<Action>,
    job: Option<JoinHandle<Result<Done, StoreError>>>,
    staged: Option<Staged>,
    outgoing: VecDeque<Frame>,
}

impl Link {
    fn now(&self) -> Now {
        now(self.began)
    }

    /// Carries out what the session wants, as far as it does not block.
    fn act(&mut self) {
        while let Some(action) = self.session.poll_action() {
            match action {
                Action::Send(frame) => self.outgoing.push_back(frame),
                Action::Event(event) => self.tell(event.into()),
                blocking => self.jobs.push_back(blocking),
            }
        }
        if self.job.is_none()
            && let Some(action) = self.jobs.pop_front()
        {
            let (store, staged) = (self.store.clone(), self.staged.take());
            self.job = Some(tokio::task::spawn_blocking(move || {
                perform(&store, staged, action)
            }));
        }
    }

    /// Tells the node; where it does not keep up, a later event says more than a full queue.
    fn tell(&mut self, event: LinkEvent) {
        if self.last_event.as_ref() != Some(&event) {
            let _ = self.events.try_send(event.clone());
            self.last_event = Some(event);
        }
    }

    /// Feeds a storage job's result to the session; a cluster ends the link.
    fn done(&mut self, done: Done) -> Option<ClusterId> {
        match done {
            Done::Applied(frontier) => self.session.applied(frontier),
            Done::Read(found, position) => {
                let found = found.into_iter().map(|l| (l.origin, l.seq, l.bytes));
                self.session.read(found.collect(), position);
            }
            Done::Staged(staged) => {
                self.session.staged(staged.size, staged.sha256);
                self.staged = Some(staged);
            }
            Done::Chunk(offset, bytes, staged) => {
                self.session.chunk(offset, bytes);
                self.staged = Some(staged);
            }
            Done::Written => {}
            Done::Adopted(cluster) => return Some(cluster),
        }
        None
    }
}

fn now(began: Instant) -> Now {
    let wall = SystemTime::now().duration_since(UNIX_EPOCH);
    Now {
        us: began.elapsed().as_micros() as u64,
        wall_ms: wall.map_or(0, |wall| wall.as_millis() as u64),
    }
}

/// Runs one blocking action.
fn perform(store: &Store, staged: Option<Staged>, action: Action) -> Result<Done, StoreError> {
    Ok(match action {
        Action::Apply(list) => Done::Applied(store.apply(&list)?),
        Action::Read { frontier, position } => {
            let from = match position {
                Some(position) => position,
                None => store.log_start(&frontier)?,
            };
            let batch = crate::replica::session::BATCH;
            let (found, next) = store.log_after(&frontier, from, batch)?;
            Done::Read(found, next)
        }
        Action::Stage => Done::Staged(store.stage_snapshot()?),
        Action::ReadChunk { offset } => {
            let Some(staged) = staged else {
                return Err(StoreError::Refused("no snapshot is staged".into()));
            };
            Done::Chunk(offset, staged.read(offset, CHUNK)?, staged)
        }
        Action::WriteChunk { offset, bytes } => {
            store.write_incoming(offset, &bytes)?;
            Done::Written
        }
        Action::SwapIn { sha256, cluster } => {
            store.swap_in(sha256, random()?)?;
            Done::Adopted(cluster)
        }
        Action::Send(_) | Action::Event(_) => Done::Written,
    })
}

fn random() -> Result<Incarnation, StoreError> {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).map_err(|error| StoreError::Refused(error.to_string()))?;
    Ok(u64::from_be_bytes(bytes))
}

/// Runs a link until it breaks, or until this side has adopted the peer's cluster (`Ok`).
pub async fn run<S: AsyncRead + AsyncWrite + Unpin + Send>(
    stream: S,
    store: Store,
    config: LinkConfig,
    events: mpsc::Sender<LinkEvent>,
) -> Result<(), LinkError> {
    let began = Instant::now();
    let mut changes = store.changes();
    changes.mark_unchanged();
    let local = Local {
        name: config.name,
        version: config.version,
        node: store.node(),
        incarnation: store.incarnation(),
        cluster: config.cluster,
        frontier: store.frontier(),
    };
    let (reader, writer) = tokio::io::split(stream);
    let mut idle_reader = Some(reader);
    let mut idle_writer = Some(writer);
    let mut reading: Option<Pinned<'_, _>> = None;
    let mut writing: Option<Pinned<'_, _>> = None;
    let mut link = Link {
        session: Session::new(now(began), local),
        store,
        events,
        began,
        last_event: None,
        jobs: VecDeque::new(),
        job: None,
        staged: None,
        outgoing: VecDeque::new(),
    };
    loop {
        link.act();
        if link.session.wants_frames()
            && let Some(reader) = idle_reader.take()
        {
            reading = Some(Box::pin(read_frame(reader)));
        }
        if let Some(writer) = idle_writer.take() {
            match link.outgoing.pop_front() {
                Some(frame) => writing = Some(Box::pin(write_frame(writer, frame))),
                None => idle_writer = Some(writer),
            }
        }
        let due = began + Duration::from_micros(link.session.poll_timeout());
        tokio::select! {
            result = maybe(reading.as_mut()) => {
                reading = None;
                let (reader, frame) = result?;
                idle_reader = Some(reader);
                let result = link.session.handle_frame(link.now(), frame);
                if let Err(error) = result {
                    link.act();
                    // Our hello may still be on its way: it tells the peer why, too.
                    let frames = std::mem::take(&mut link.outgoing);
                    let farewell = farewell(writing, idle_writer, frames);
                    let _ = tokio::time::timeout(FAREWELL, farewell).await;
                    return Err(error.into());
                }
            }
            result = maybe(writing.as_mut()) => {
                writing = None;
                idle_writer = Some(result?);
            }
            result = maybe(link.job.as_mut()) => {
                link.job = None;
                if let Some(cluster) = link.done(result??) {
                    let _ = link.events.send(LinkEvent::Adopted { cluster }).await;
                    return Ok(());
                }
            }
            Ok(()) = changes.changed() => link.session.committed(link.store.frontier()),
            () = tokio::time::sleep_until(due.into()) => {
                let now = link.now();
                link.session.handle_timeout(now)?;
            }
        }
    }
}

#[cfg(test)]
mod tests;
