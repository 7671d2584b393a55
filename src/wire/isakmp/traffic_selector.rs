//! Traffic selector payloads (RFC 7296 section 3.13).
//!
//! ```text
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! | Number of TSs |                 RESERVED                      |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |   TS Type     |IP Protocol ID |       Selector Length         |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |           Start Port          |           End Port            |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! ~                         Starting Address                      ~
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! ~                         Ending Address                        ~
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! ```

use std::net::IpAddr;

use super::WireError;
use crate::wire::reader::Reader;

const IPV4_RANGE: u8 = 7;
const IPV6_RANGE: u8 = 8;

/// One selector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TrafficSelector {
    /// A range of addresses and ports.
    Range {
        /// IP protocol, 0 for all.
        protocol: u8,
        /// First and last port.
        ports: (u16, u16),
        /// First and last address, of one family.
        addresses: (IpAddr, IpAddr),
    },
    /// A type we do not know.
    Other {
        /// Its type.
        kind: u8,
        /// Its second octet.
        protocol: u8,
        /// What follows its length.
        body: Vec<u8>,
    },
}

impl TrafficSelector {
    /// All traffic of one address.
    pub fn host(address: IpAddr) -> Self {
        TrafficSelector::Range {
            protocol: 0,
            ports: (0, u16::MAX),
            addresses: (address, address),
        }
    }

    /// Whether all traffic of `address` is inside.
    pub fn covers(&self, address: IpAddr) -> bool {
        match self {
            TrafficSelector::Range {
                protocol: 0,
                ports: (0, u16::MAX),
                addresses: (first, last),
            } => first.is_ipv4() == address.is_ipv4() && (first..=last).contains(&&address),
            _ => false,
        }
    }

    fn parse(r: &mut Reader<'_>) -> Result<Self, WireError> {
        let kind = r.u8()?;
        let protocol = r.u8()?;
        let length = usize::from(r.u16()?).checked_sub(4);
        let body = r.take(length.ok_or(WireError::Length)?)?;
        let mut r = Reader::new(body);
        let addresses = |r: &mut Reader<'_>| -> Result<(IpAddr, IpAddr), WireError> {
            Ok(if kind == IPV4_RANGE {
                (r.array::<4>()?.into(), r.array::<4>()?.into())
            } else {
                (r.array::<16>()?.into(), r.array::<16>()?.into())
            })
        };
        if kind != IPV4_RANGE && kind != IPV6_RANGE {
            let body = body.to_vec();
            return Ok(TrafficSelector::Other {
                kind,
                protocol,
                body,
            });
        }
        let ports = (r.u16()?, r.u16()?);
        let addresses = addresses(&mut r)?;
        if !r.is_empty() {
            return Err(WireError::Length);
        }
        Ok(TrafficSelector::Range {
            protocol,
            ports,
            addresses,
        })
    }

    fn encode(&self, out: &mut Vec<u8>) {
        let start = out.len();
        match self {
            TrafficSelector::Range {
                protocol,
                ports,
                addresses,
            } => {
                let kind = if addresses.0.is_ipv4() {
                    IPV4_RANGE
                } else {
                    IPV6_RANGE
                };
                out.extend_from_slice(&[kind, *protocol, 0, 0]);
                out.extend_from_slice(&ports.0.to_be_bytes());
                out.extend_from_slice(&ports.1.to_be_bytes());
                for address in [addresses.0, addresses.1] {
                    match address {
                        IpAddr::V4(v4) => out.extend_from_slice(&v4.octets()),
                        IpAddr::V6(v6) => out.extend_from_slice(&v6.octets()),
                    }
                }
            }
            TrafficSelector::Other {
                kind,
                protocol,
                body,
            } => {
                out.extend_from_slice(&[*kind, *protocol, 0, 0]);
                out.extend_from_slice(body);
            }
        }
        let length = (out.len() - start) as u16;
        out[start + 2..start + 4].copy_from_slice(&length.to_be_bytes());
    }
}

/// Parses the body of a traffic selector payload.
pub fn parse_all(body: &[u8]) -> Result<Vec<TrafficSelector>, WireError> {
    let mut r = Reader::new(body);
    let count = usize::from(r.u8()?);
    r.take(3)?;
    let mut selectors = Vec::new();
    while !r.is_empty() {
        selectors.push(TrafficSelector::parse(&mut r)?);
    }
    if selectors.len() != count {
        return Err(WireError::Count("traffic selectors"));
    }
    Ok(selectors)
}

/// Appends the body of a traffic selector payload.
pub fn encode_all(selectors: &[TrafficSelector], out: &mut Vec<u8>) {
    out.extend_from_slice(&[selectors.len() as u8, 0, 0, 0]);
    for selector in selectors {
        selector.encode(out);
    }
}
