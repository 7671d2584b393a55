//! Identification payloads (RFC 7296 section 3.5).
//!
//! ```text
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |   ID Type     |                 RESERVED                      |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! ~                   Identification Data                         ~
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! ```

use std::net::IpAddr;

use super::WireError;
use crate::wire::reader::Reader;

const IPV4_ADDR: u8 = 1;
const IPV6_ADDR: u8 = 5;
const FQDN: u8 = 2;

/// Who a side says it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identification {
    /// The type of `data`.
    pub kind: u8,
    /// The identity in that type's form.
    pub data: Vec<u8>,
}

impl Identification {
    /// ID_IPV4_ADDR or ID_IPV6_ADDR.
    pub fn address(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(v4) => Self {
                kind: IPV4_ADDR,
                data: v4.octets().to_vec(),
            },
            IpAddr::V6(v6) => Self {
                kind: IPV6_ADDR,
                data: v6.octets().to_vec(),
            },
        }
    }

    /// ID_FQDN.
    pub fn name(name: &str) -> Self {
        Self {
            kind: FQDN,
            data: name.as_bytes().to_vec(),
        }
    }

    pub(super) fn parse(body: &[u8]) -> Result<Self, WireError> {
        let mut r = Reader::new(body);
        let kind = r.u8()?;
        r.take(3)?;
        let data = r.rest().to_vec();
        Ok(Self { kind, data })
    }

    /// Appends the payload's body, which is also what AUTH covers (section 2.15).
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&[self.kind, 0, 0, 0]);
        out.extend_from_slice(&self.data);
    }
}
