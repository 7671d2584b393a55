//! Delete payload (RFC 7296 section 3.11).
//!
//! ```text
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! | Protocol ID   |   SPI Size    |          Num of SPIs          |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! ~               Security Parameter Index(es) (SPI)              ~
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! ```

use super::{WireError, protocol};
use crate::wire::reader::Reader;

/// SAs that the sender has deleted or is about to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delete {
    /// [`protocol::IKE`] for this IKE SA itself, else the protocol of `spis`.
    pub protocol: u8,
    /// Length of each SPI; 0 for the IKE SA.
    pub spi_size: u8,
    /// The sender's inbound SPIs, as sent.
    pub spis: Vec<Vec<u8>>,
}

impl Delete {
    /// Deletes the IKE SA that carries it.
    pub fn ike() -> Self {
        Self {
            protocol: protocol::IKE,
            spi_size: 0,
            spis: Vec::new(),
        }
    }

    /// Deletes one AH SA pair, named by the sender's inbound SPI.
    pub fn ah(spi: u32) -> Self {
        Self {
            protocol: protocol::AH,
            spi_size: 4,
            spis: vec![spi.to_be_bytes().to_vec()],
        }
    }

    pub(super) fn parse(body: &[u8]) -> Result<Self, WireError> {
        let mut r = Reader::new(body);
        let protocol = r.u8()?;
        let spi_size = r.u8()?;
        let count = usize::from(r.u16()?);
        if usize::from(spi_size) * count != r.len() {
            return Err(WireError::Count("SPIs"));
        }
        let mut spis = Vec::new();
        while !r.is_empty() {
            spis.push(r.take(usize::from(spi_size))?.to_vec());
        }
        Ok(Self {
            protocol,
            spi_size,
            spis,
        })
    }

    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&[self.protocol, self.spi_size]);
        out.extend_from_slice(&(self.spis.len() as u16).to_be_bytes());
        for spi in &self.spis {
            out.extend_from_slice(spi);
        }
    }
}
