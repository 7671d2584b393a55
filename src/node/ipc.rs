//! Messages between roles over unix sockets: u32 big-endian length, then postcard, at most 1 MiB.
//!
//! The socket file's mode and group keep strangers out; which role may speak is decided by
//! SO_PEERCRED on the accepted connection, because the roles run as different users.

use std::io::{self, ErrorKind, Read, Write};
use std::marker::PhantomData;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream as Stream;
use std::path::{Path, PathBuf};

use serde::{Serialize, de::DeserializeOwned};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::net::{UnixListener, UnixStream};
use zeroize::{Zeroize, Zeroizing};

use crate::sys::socket::wait_on;
use crate::sys::user;

/// Longest message, without its length.
const MAX_BYTES: usize = 1024 * 1024;

/// Bytes of the length before each message.
const LENGTH_BYTES: usize = 4;

/// How much is read at once.
const READ_BYTES: usize = 4096;

/// Why a message did not pass.
#[derive(Debug, thiserror::Error)]
pub enum IpcError {
    /// The socket failed.
    #[error("local socket: {0}")]
    Io(#[from] io::Error),
    /// The socket could not be made.
    #[error("cannot listen on {0}: {1}")]
    Listen(PathBuf, #[source] io::Error),
    /// Nobody listens there.
    #[error("cannot reach {0}: {1}; is that role running?")]
    Connect(PathBuf, #[source] io::Error),
    /// The other side closed in the middle of a message.
    #[error("the other role closed the connection in the middle of a message")]
    Cut,
    /// A length above 1 MiB.
    #[error("a message of {0} bytes is longer than 1 MiB")]
    TooLong(usize),
    /// Bytes that are not the expected message; usually two different versions.
    #[error("an unreadable message (do both roles have the same version?): {0}")]
    Unreadable(#[from] postcard::Error),
}

/// A connection on which `Out` is sent and `In` received.
pub struct Connection<Out, In> {
    stream: AsyncFd<Stream>,
    /// Bytes received and not yet decoded; wiped, as keys pass here.
    received: Zeroizing<Vec<u8>>,
    messages: PhantomData<fn(Out) -> In>,
}

impl<Out: Serialize, In: DeserializeOwned> Connection<Out, In> {
    /// Wraps an accepted or connected stream.
    pub fn new(stream: UnixStream) -> io::Result<Self> {
        Ok(Self {
            stream: wait_on(stream.into_std()?, Interest::READABLE)?,
            received: Zeroizing::new(Vec::with_capacity(READ_BYTES)),
            messages: PhantomData,
        })
    }

    /// Connects to a role's socket.
    pub async fn connect(path: &Path) -> Result<Self, IpcError> {
        match UnixStream::connect(path).await {
            Ok(stream) => Ok(Self::new(stream)?),
            Err(error) => Err(IpcError::Connect(path.to_owned(), error)),
        }
    }

    /// The user at the other end.
    pub fn peer_user(&self) -> Result<u32, IpcError> {
        Ok(user::peer_user_id(self.stream.get_ref())?)
    }

    /// Sends one message. Not to be dropped half-way: run it to its end.
    pub async fn send(&mut self, message: &Out) -> Result<(), IpcError> {
        self.send_all(std::slice::from_ref(message)).await
    }

    /// Sends several at once, so that the other role wakes up once. As above.
    pub async fn send_all(&mut self, messages: &[Out]) -> Result<(), IpcError> {
        let encoded: Result<Vec<_>, _> = messages.iter().map(encode).collect();
        let mut encoded = encoded?;
        let mut bytes = encoded.concat();
        encoded.zeroize();
        let result = self.write_all(&bytes).await;
        bytes.zeroize();
        Ok(result?)
    }

    async fn write_all(&self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            match self.stream.get_ref().write(bytes) {
                Ok(written) => bytes = &bytes[written..],
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    let same = self.stream.get_ref().try_clone()?;
                    let same = wait_on(same, Interest::WRITABLE)?;
                    same.writable().await?.retain_ready();
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// A message that is here already.
    pub fn buffered(&mut self) -> Result<Option<In>, IpcError> {
        decode(&mut self.received)
    }

    /// Receives one message, `None` at the end. May be dropped at any await and called again.
    pub async fn recv(&mut self) -> Result<Option<In>, IpcError> {
        loop {
            if let Some(message) = decode(&mut self.received)? {
                return Ok(Some(message));
            }
            if self.read().await? == 0 {
                return match self.received.is_empty() {
                    true => Ok(None),
                    false => Err(IpcError::Cut),
                };
            }
        }
    }

    /// How many bytes came.
    async fn read(&mut self) -> io::Result<usize> {
        let mut stream = self.stream.get_ref();
        let before = self.received.len();
        loop {
            let mut ready = self.stream.readable().await?;
            grow(&mut self.received, READ_BYTES);
            self.received.resize(before + READ_BYTES, 0);
            let read = stream.read(&mut self.received[before..]);
            self.received
                .truncate(before + *read.as_ref().unwrap_or(&0));
            match read {
                Err(error) if error.kind() == ErrorKind::WouldBlock => ready.clear_ready(),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Ok(bytes @ 1..READ_BYTES) => {
                    // It was all: what comes from now on wakes again.
                    ready.clear_ready();
                    return Ok(bytes);
                }
                read => return read,
            }
        }
    }
}

/// A message's bytes behind `before` zeroes, in a buffer that never grew: no copy of what it holds
/// is left behind.
pub(super) fn encoded<T: Serialize>(before: usize, message: &T) -> postcard::Result<Vec<u8>> {
    let size = postcard::experimental::serialized_size(message)?;
    let mut bytes = Vec::with_capacity(before + size);
    bytes.resize(before, 0);
    postcard::to_extend(message, bytes)
}

/// Makes room for more; the buffer that was too small is wiped.
fn grow(bytes: &mut Zeroizing<Vec<u8>>, more: usize) {
    let needed = bytes.len() + more;
    if needed > bytes.capacity() {
        let mut larger = Vec::with_capacity(needed.max(2 * bytes.capacity()));
        larger.extend_from_slice(bytes);
        *bytes = Zeroizing::new(larger);
    }
}

fn encode<T: Serialize>(message: &T) -> Result<Vec<u8>, IpcError> {
    let mut bytes = encoded(LENGTH_BYTES, message)?;
    let length = bytes.len() - LENGTH_BYTES;
    if length > MAX_BYTES {
        return Err(IpcError::TooLong(length));
    }
    bytes[..LENGTH_BYTES].copy_from_slice(&(length as u32).to_be_bytes());
    Ok(bytes)
}

/// Takes one whole message off the front, if it is all there.
fn decode<T: DeserializeOwned>(received: &mut Zeroizing<Vec<u8>>) -> Result<Option<T>, IpcError> {
    let Some(length) = received.first_chunk::<LENGTH_BYTES>() else {
        return Ok(None);
    };
    let length = u32::from_be_bytes(*length) as usize;
    if length > MAX_BYTES {
        return Err(IpcError::TooLong(length));
    }
    let end = LENGTH_BYTES + length;
    if received.len() < end {
        let more = end - received.len();
        grow(received, more);
        return Ok(None);
    }
    let message = postcard::from_bytes(&received[LENGTH_BYTES..end])?;
    received.drain(..end);
    Ok(Some(message))
}

/// Listens on a role's socket, replacing a stale one. `mode` is the socket file's.
pub fn listen(path: &Path, mode: u32) -> Result<UnixListener, IpcError> {
    let failed = |error| IpcError::Listen(path.to_owned(), error);
    // Made beside its place and renamed, so that it never stands with other permissions.
    let mut fresh = path.as_os_str().to_owned();
    fresh.push(format!(".{}", std::process::id()));
    let fresh = PathBuf::from(fresh);
    let _ = std::fs::remove_file(&fresh);
    let listener = UnixListener::bind(&fresh).map_err(failed)?;
    std::fs::set_permissions(&fresh, std::fs::Permissions::from_mode(mode)).map_err(failed)?;
    std::fs::rename(&fresh, path).map_err(failed)?;
    Ok(listener)
}

/// The users whose word counts on a socket.
#[derive(Clone, Debug, Default)]
pub struct Allowed(Vec<u32>);

impl Allowed {
    /// Root, the user of this process, the role's usual client if this machine has that user, and
    /// the users named, which must exist.
    pub fn new(usual: &str, named: &[String]) -> Result<Self, String> {
        let mut users = vec![0, user::own_user_id()];
        users.extend(user::user_id(usual));
        for name in named {
            let found = user::user_id(name);
            users.push(found.ok_or_else(|| format!("there is no user {name}"))?);
        }
        Ok(Self(users))
    }

    /// Whether this user may speak.
    pub fn contains(&self, user: u32) -> bool {
        self.0.contains(&user)
    }
}

/// Waits for the next connection by an allowed user; others are closed and logged.
pub async fn accept<Out: Serialize, In: DeserializeOwned>(
    listener: &UnixListener,
    allowed: &Allowed,
) -> Result<Connection<Out, In>, IpcError> {
    loop {
        let (stream, _) = listener.accept().await?;
        let connection = Connection::new(stream)?;
        let user = connection.peer_user()?;
        if allowed.contains(user) {
            return Ok(connection);
        }
        tracing::warn!("refused a local connection by user {user}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::freed;
    use crate::tunnel::message::{AhSa, Integrity, KeyerReply, KeyerRequest, Secret};

    #[tokio::test]
    async fn messages_pass_in_both_directions() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("keyer.sock");
        let listener = listen(&path, 0o660).unwrap();
        let allowed = Allowed::new("tutti-ike", &[]).unwrap();
        let (client, server) = tokio::join!(
            Connection::<KeyerRequest, KeyerReply>::connect(&path),
            accept::<KeyerReply, KeyerRequest>(&listener, &allowed),
        );
        let (mut client, mut server) = (client.unwrap(), server.unwrap());
        let several = [KeyerRequest::Retain(vec![300]), KeyerRequest::Reload];
        client.send_all(&several).await.unwrap();
        client.send(&KeyerRequest::Reload).await.unwrap();
        assert_eq!(server.buffered().unwrap(), None);
        let first = server.recv().await.unwrap();
        assert_eq!(first, Some(KeyerRequest::Retain(vec![300])));
        assert_eq!(server.buffered().unwrap(), Some(KeyerRequest::Reload));
        server.send(&KeyerReply::Done).await.unwrap();
        assert_eq!(client.recv().await.unwrap(), Some(KeyerReply::Done));
        drop(client);
        assert_eq!(server.recv().await.unwrap(), Some(KeyerRequest::Reload));
        assert_eq!(server.recv().await.unwrap(), None);
    }

    #[tokio::test]
    async fn a_message_that_fills_the_socket_waits_until_the_other_side_has_read_some_of_it() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let mut ours = Connection::<KeyerRequest, KeyerReply>::new(ours).unwrap();
        let mut theirs = Connection::<KeyerReply, KeyerRequest>::new(theirs).unwrap();
        let long = KeyerRequest::Retain((0..150_000).map(|n| n << 12).collect());
        let several = [long.clone(), long.clone()];
        let sent = tokio::spawn(async move {
            ours.send_all(&several).await.unwrap();
            ours
        });
        tokio::task::yield_now().await;
        assert!(!sent.is_finished(), "the socket takes less than that");
        assert_eq!(theirs.recv().await.unwrap().as_ref(), Some(&long));
        assert_eq!(theirs.recv().await.unwrap(), Some(long));
        drop(sent.await.unwrap());
        assert_eq!(theirs.recv().await.unwrap(), None);
    }

    /// Buffers that grew left what was in them behind.
    #[test]
    fn no_copy_of_a_key_stays_in_the_heap_on_either_side() {
        let runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = { runtime }.enable_all().build().unwrap();
        let secret = *b"a key of 32 octets, as AH has it";
        let left = freed::with(secret, || {
            runtime.block_on(async {
                let (ours, theirs) = UnixStream::pair().unwrap();
                let mut ours = Connection::<KeyerRequest, KeyerReply>::new(ours).unwrap();
                let mut theirs = Connection::<KeyerReply, KeyerRequest>::new(theirs).unwrap();
                let install = KeyerRequest::Install(AhSa {
                    peer: std::net::IpAddr::from([10, 0, 0, 2]),
                    spi: 300,
                    inbound: true,
                    integrity: Integrity::HmacSha2_256_128,
                    key: Secret(secret.to_vec()),
                    esn: true,
                });
                // Behind it so much that the buffer is too small.
                let long = KeyerRequest::Retain((0..10_000).collect());
                ours.send_all(&[install, long]).await.unwrap();
                for _ in 0..2 {
                    theirs.recv().await.unwrap().unwrap();
                }
            });
        });
        assert_eq!(left, 0);
    }

    #[test]
    fn users_that_a_namespace_does_not_map_are_strangers() {
        let allowed = Allowed::new("tutti-ike", &[]).unwrap();
        assert!(allowed.contains(0));
        assert!(!allowed.contains(65_534));
    }

    #[test]
    fn a_partial_message_waits_and_a_huge_one_is_refused() {
        let bytes = encode(&KeyerRequest::Retain(vec![1, 2, 3])).unwrap();
        let mut bytes = Zeroizing::new(bytes);
        let last = bytes.pop().unwrap();
        assert!(decode::<KeyerRequest>(&mut bytes).unwrap().is_none());
        bytes.push(last);
        assert!(decode::<KeyerRequest>(&mut bytes).unwrap().is_some());
        assert!(bytes.is_empty());
        let mut bytes = Zeroizing::new(vec![0xff; 4]);
        let result = decode::<KeyerRequest>(&mut bytes);
        assert!(matches!(result, Err(IpcError::TooLong(_))));
    }
}
