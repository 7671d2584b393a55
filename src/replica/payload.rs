//! A transaction's bytes: held in memory or, of a large one, read where they are stored.

use std::fmt::Debug;
use std::io;
use std::sync::Arc;

/// From so many bytes on a transaction is not held in memory as a whole.
pub const LARGE: usize = 4 << 20;
/// How much of it is read at a time, in bytes.
const WINDOW: usize = 256 << 10;

/// Where bytes are stored: a file, most likely.
pub trait Source: Debug + Send + Sync {
    /// How many there are.
    fn size(&self) -> u64;

    /// Fills `buffer` with those from `offset` on, which are there.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()>;
}

/// A transaction's bytes.
#[derive(Clone, Debug)]
pub enum Payload {
    /// In memory.
    Held(Vec<u8>),
    /// Elsewhere, to be read from there.
    Stored(Arc<dyn Source>),
}

impl From<Vec<u8>> for Payload {
    fn from(bytes: Vec<u8>) -> Self {
        Payload::Held(bytes)
    }
}

impl PartialEq for Payload {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Payload::Held(mine), Payload::Held(theirs)) => mine == theirs,
            (Payload::Stored(mine), Payload::Stored(theirs)) => Arc::ptr_eq(mine, theirs),
            _ => false,
        }
    }
}

impl Eq for Payload {}

impl Payload {
    /// How many bytes there are.
    pub fn size(&self) -> u64 {
        match self {
            Payload::Held(bytes) => bytes.len() as u64,
            Payload::Stored(source) => source.size(),
        }
    }

    /// They themselves, if they are in memory.
    pub fn into_held(self) -> Option<Vec<u8>> {
        match self {
            Payload::Held(bytes) => Some(bytes),
            Payload::Stored(_) => None,
        }
    }

    /// Hands out all of them, in order.
    pub fn each<E: From<io::Error>>(
        &self,
        mut part: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let source = match self {
            Payload::Held(bytes) => return part(bytes),
            Payload::Stored(source) => source,
        };
        let (mut offset, mut buffer) = (0, vec![0; WINDOW]);
        while offset < source.size() {
            let some = (source.size() - offset).min(WINDOW as u64) as usize;
            source.read_at(offset, &mut buffer[..some])?;
            part(&buffer[..some])?;
            offset += some as u64;
        }
        Ok(())
    }
}

/// Reads values one after the other out of a payload.
pub struct Window<'a> {
    source: Option<&'a dyn Source>,
    /// Up to where `buffer` has come.
    read: u64,
    buffer: std::borrow::Cow<'a, [u8]>,
    at: usize,
}

impl<'a> Window<'a> {
    /// From `offset` on.
    pub fn new(payload: &'a Payload, offset: u64) -> Self {
        match payload {
            Payload::Held(bytes) => Window {
                source: None,
                read: bytes.len() as u64,
                buffer: bytes.as_slice().into(),
                at: usize::try_from(offset)
                    .unwrap_or(usize::MAX)
                    .min(bytes.len()),
            },
            Payload::Stored(source) => Window {
                source: Some(source.as_ref()),
                read: offset.min(source.size()),
                buffer: Vec::new().into(),
                at: 0,
            },
        }
    }

    /// Where the next value starts.
    pub fn offset(&self) -> u64 {
        self.read - (self.buffer.len() - self.at) as u64
    }

    /// The next value; `None` where what is there is none.
    pub fn take<T: serde::de::DeserializeOwned>(&mut self) -> io::Result<Option<T>> {
        loop {
            let rest = &self.buffer[self.at..];
            let ended = match postcard::take_from_bytes(rest) {
                Ok((value, left)) => {
                    self.at += rest.len() - left.len();
                    return Ok(Some(value));
                }
                Err(error) => error == postcard::Error::DeserializeUnexpectedEnd,
            };
            if !ended || !self.more()? {
                return Ok(None);
            }
        }
    }

    /// Reads on; twice as much each time, so that a large value is not begun over and over.
    fn more(&mut self) -> io::Result<bool> {
        let Some(source) = self.source else {
            return Ok(false);
        };
        let left = source.size() - self.read;
        if left == 0 {
            return Ok(false);
        }
        let buffer = self.buffer.to_mut();
        buffer.drain(..self.at);
        self.at = 0;
        let held = buffer.len();
        let some = (held.max(WINDOW) as u64).min(left) as usize;
        buffer.resize(held + some, 0);
        source.read_at(self.read, &mut buffer[held..])?;
        self.read += some as u64;
        Ok(true)
    }
}

#[cfg(test)]
impl Source for Vec<u8> {
    fn size(&self) -> u64 {
        self.len() as u64
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let from = offset as usize;
        buffer.copy_from_slice(&self[from..from + buffer.len()]);
        Ok(())
    }
}
