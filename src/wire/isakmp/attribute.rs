//! Attributes of a transform, the same in both versions (RFC 7296 section 3.3.5, RFC 2408
//! section 3.3).
//!
//! ```text
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |A|       Attribute Type        |    AF=0  Attribute Length     |
//! |F|                             |    AF=1  Attribute Value      |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! ~                 AF=0  Attribute Value                         ~
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! ```

use super::WireError;
use crate::wire::reader::Reader;

const SHORT_FORM: u16 = 0x8000;

/// One attribute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Attribute {
    /// Type and 16-bit value.
    Short(u16, u16),
    /// Type and longer value.
    Long(u16, Vec<u8>),
}

/// All attributes until the end.
pub(super) fn parse_all(r: &mut Reader<'_>) -> Result<Vec<Attribute>, WireError> {
    let mut attributes = Vec::new();
    while !r.is_empty() {
        let (t, v) = (r.u16()?, r.u16()?);
        attributes.push(if t & SHORT_FORM != 0 {
            Attribute::Short(t & !SHORT_FORM, v)
        } else {
            Attribute::Long(t, r.take(usize::from(v))?.to_vec())
        });
    }
    Ok(attributes)
}

/// Appends them.
pub(super) fn encode_all(attributes: &[Attribute], out: &mut Vec<u8>) {
    for attribute in attributes {
        match attribute {
            Attribute::Short(t, v) => {
                out.extend_from_slice(&(t | SHORT_FORM).to_be_bytes());
                out.extend_from_slice(&v.to_be_bytes());
            }
            Attribute::Long(t, v) => {
                out.extend_from_slice(&t.to_be_bytes());
                out.extend_from_slice(&(v.len() as u16).to_be_bytes());
                out.extend_from_slice(v);
            }
        }
    }
}
