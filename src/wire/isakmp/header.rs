//! The ISAKMP header (RFC 7296 section 3.1).
//!
//! ```text
//!                      1                   2                   3
//!  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |                       IKE SA Initiator's SPI                  |
//! |                                                               |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |                       IKE SA Responder's SPI                  |
//! |                                                               |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |  Next Payload | MjVer | MnVer | Exchange Type |     Flags     |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |                          Message ID                           |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |                            Length                             |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! ```

use super::WireError;
use crate::wire::reader::Reader;

/// Bytes of the header.
pub const LEN: usize = 28;

const VERSION: u8 = 0x20;
const FLAG_INITIATOR: u8 = 0x08;
const FLAG_RESPONSE: u8 = 0x20;

/// The header without its length and first payload type, which follow from the payloads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// SPI chosen by the original initiator of the IKE SA; never zero.
    pub spi_i: u64,
    /// SPI chosen by the responder; zero in the first request.
    pub spi_r: u64,
    /// Exchange type, see [`super::exchange`].
    pub exchange: u8,
    /// Sent by the original initiator of the IKE SA.
    pub from_initiator: bool,
    /// A response.
    pub response: bool,
    /// Message id.
    pub id: u32,
}

impl Header {
    /// Parses the header of a whole datagram; also returns the type of the first payload.
    pub fn parse(bytes: &[u8]) -> Result<(Header, u8), WireError> {
        let mut r = Reader::new(bytes);
        let (spi_i, spi_r) = (r.u64()?, r.u64()?);
        let next = r.u8()?;
        let version = r.u8()?;
        let exchange = r.u8()?;
        let flags = r.u8()?;
        let id = r.u32()?;
        let length = r.u32()?;
        if version >> 4 != VERSION >> 4 {
            return Err(WireError::Version(version >> 4));
        }
        if usize::try_from(length).ok() != Some(bytes.len()) {
            return Err(WireError::Length);
        }
        let header = Header {
            spi_i,
            spi_r,
            exchange,
            from_initiator: flags & FLAG_INITIATOR != 0,
            response: flags & FLAG_RESPONSE != 0,
            id,
        };
        Ok((header, next))
    }

    /// Appends the header of a message of `length` bytes in total.
    pub fn encode(&self, next: u8, length: usize, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.spi_i.to_be_bytes());
        out.extend_from_slice(&self.spi_r.to_be_bytes());
        let mut flags = 0;
        if self.from_initiator {
            flags |= FLAG_INITIATOR;
        }
        if self.response {
            flags |= FLAG_RESPONSE;
        }
        out.extend_from_slice(&[next, VERSION, self.exchange, flags]);
        out.extend_from_slice(&self.id.to_be_bytes());
        out.extend_from_slice(&(length as u32).to_be_bytes());
    }
}
