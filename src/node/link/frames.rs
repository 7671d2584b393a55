//! Frames on a stream.

use std::pin::Pin;
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf};

use super::LinkError;
use super::pace::Pace;
use crate::wire::replication::{Frame, check_length};

/// A read or write under way.
pub(super) type Pinned<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// What a write gives back.
pub(super) type WriteResult<S> = Result<(WriteHalf<S>, Pace), std::io::Error>;

/// How long a refused peer may take to read why.
const FAREWELL: Duration = Duration::from_secs(1);

/// How many bytes a frame's reader makes room for before any has come: an ordinary frame's.
const AT_ONCE: usize = 320 << 10;

pub(super) async fn read_frame<S: AsyncRead>(
    mut stream: ReadHalf<S>,
) -> Result<(ReadHalf<S>, Frame), LinkError> {
    let mut head = [0; 4];
    stream.read_exact(&mut head).await?;
    let length = check_length(head)?;
    // Memory follows what arrives, not what a length promises.
    let mut bytes = Vec::with_capacity(length.min(AT_ONCE));
    let mut limited = (&mut stream).take(length as u64);
    limited.read_to_end(&mut bytes).await?;
    if bytes.len() < length {
        return Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof).into());
    }
    Ok((stream, Frame::take(bytes)?))
}

pub(super) async fn write_frame<S: AsyncWrite>(
    mut stream: WriteHalf<S>,
    frame: Frame,
    mut pace: Pace,
) -> WriteResult<S> {
    let (mut first, mut second) = frame.into_parts();
    let size = first.len() + second.len();
    if pace.wants(size) {
        first.append(&mut second);
        let began = Instant::now();
        let packed = Frame::pack(&first);
        let less = packed.as_ref().map(Vec::len);
        pace.packed(size, less, began.elapsed());
        first = packed.unwrap_or(first);
    }
    let began = Instant::now();
    stream.write_all(&first).await?;
    stream.write_all(&second).await?;
    stream.flush().await?;
    pace.wrote(first.len() + second.len(), began.elapsed());
    Ok((stream, pace))
}

/// Sends what is left, for a peer that is going to be refused.
pub(super) async fn farewell<S: AsyncWrite>(
    writing: Option<Pinned<'_, WriteResult<S>>>,
    idle: Option<WriteHalf<S>>,
    frame: Option<Frame>,
) {
    let send = async {
        let mut stream = match (writing, idle) {
            (Some(writing), _) => writing.await?.0,
            (None, Some(idle)) => idle,
            (None, None) => return Ok(()),
        };
        if let Some(frame) = frame {
            stream = write_frame(stream, frame, Pace::default()).await?.0;
        }
        stream.shutdown().await
    };
    let _ = tokio::time::timeout(FAREWELL, send).await;
}
