//! A whole message: header and payload chain (RFC 7296 section 3).

use super::{Header, Payload, WireError, header, payload};

/// A message as it stands in a datagram.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The header.
    pub header: Header,
    /// The payloads in order.
    pub payloads: Vec<Payload>,
}

impl Message {
    /// Parses a datagram.
    pub fn parse(bytes: &[u8]) -> Result<Message, WireError> {
        let (header, first) = Header::parse(bytes)?;
        let body = bytes.get(header::LEN..).ok_or(WireError::Length)?;
        let payloads = payload::parse_chain(first, body)?;
        Ok(Message { header, payloads })
    }

    /// The datagram.
    pub fn encode(&self) -> Vec<u8> {
        let mut body = Vec::new();
        payload::encode_chain(&self.payloads, &mut body);
        let mut out = Vec::with_capacity(header::LEN + body.len());
        let first = payload::first_kind(&self.payloads);
        self.header
            .encode(first, header::LEN + body.len(), &mut out);
        out.extend_from_slice(&body);
        out
    }
}
