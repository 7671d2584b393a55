//! Certificate and certificate request payloads (RFC 7296 sections 3.6 and 3.7).
//!
//! ```text
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! | Cert Encoding |                                               |
//! +-+-+-+-+-+-+-+-+                                               |
//! ~          Certificate Data  or  Certification Authority        ~
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! ```

use super::WireError;
use crate::wire::reader::Reader;

/// X.509 certificate for signatures.
pub const X509_SIGNATURE: u8 = 4;

/// A certificate, or the authorities whose certificates are wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// What `data` is; see [`X509_SIGNATURE`].
    pub encoding: u8,
    /// The certificate's DER, or SHA-1 digests of the authorities' public keys.
    pub data: Vec<u8>,
}

impl Certificate {
    /// An X.509 certificate, or digests of X.509 authorities.
    pub fn x509(data: Vec<u8>) -> Self {
        Self {
            encoding: X509_SIGNATURE,
            data,
        }
    }

    pub(super) fn parse(body: &[u8]) -> Result<Self, WireError> {
        let mut r = Reader::new(body);
        let encoding = r.u8()?;
        let data = r.rest().to_vec();
        Ok(Self { encoding, data })
    }

    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        out.push(self.encoding);
        out.extend_from_slice(&self.data);
    }
}
