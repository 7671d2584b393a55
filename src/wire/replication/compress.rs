//! A frame inside a frame: kind 12 is the inner kind and fields, compressed with zstd (RFC 8878),
//! after the size they decompress to. It is sent only where it is smaller.

use serde::{Deserialize, Serialize};

use super::{FrameError, MAX_FRAME};

/// Shorter frames are not worth a try.
const THRESHOLD: usize = 1_024;
/// The fastest of zstd's ordinary levels: a disk must not wait for it.
const LEVEL: i32 = 1;

#[derive(Serialize, Deserialize)]
struct Packed<'a> {
    size: u32,
    #[serde(borrow, serialize_with = "super::bytes::serialize")]
    bytes: &'a [u8],
}

/// The fields of kind 12 for `inner` (kind and fields), where they are smaller than it.
pub(super) fn pack(inner: &[u8]) -> Option<Vec<u8>> {
    if inner.len() < THRESHOLD {
        return None;
    }
    let bytes = zstd::bulk::compress(inner, LEVEL).ok()?;
    let packed = Packed {
        size: u32::try_from(inner.len()).ok()?,
        bytes: &bytes,
    };
    let fields = postcard::to_stdvec(&packed).ok()?;
    // A sixteenth less at least: decompressing costs the peer something.
    (fields.len() + inner.len() / 16 < inner.len()).then_some(fields)
}

/// Kind and fields of the frame in the fields of kind 12. Takes no more memory than the size
/// stated, and that is at most [`MAX_FRAME`].
pub(super) fn unpack(kind: u8, fields: &[u8]) -> Result<Vec<u8>, FrameError> {
    let packed: Packed<'_> = super::fields(kind, fields)?;
    let size = packed.size as usize;
    if size == 0 || size > MAX_FRAME {
        return Err(FrameError::Length(size));
    }
    match zstd::bulk::decompress(packed.bytes, size) {
        Ok(inner) if inner.len() == size => Ok(inner),
        _ => Err(FrameError::Compressed(size)),
    }
}
