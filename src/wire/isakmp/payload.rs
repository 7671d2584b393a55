//! The generic payload header and the chain of payloads (RFC 7296 sections 3.2 and 2.5).
//!
//! ```text
//!                      1                   2                   3
//!  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! | Next Payload  |C|  RESERVED   |         Payload Length        |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! ```

use super::{
    Auth, Certificate, Delete, Encrypted, Fragment, Identification, KeyExchange, Notify, Proposal,
    TrafficSelector, WireError, nonce, proposal, puzzle, traffic_selector,
};
use crate::wire::reader::Reader;

/// No further payload.
pub const NONE: u8 = 0;
const SA: u8 = 33;
const KE: u8 = 34;
const ID_I: u8 = 35;
const ID_R: u8 = 36;
const CERT: u8 = 37;
const CERTREQ: u8 = 38;
/// Vendor id, configuration, EAP: known by type, their content not looked at.
const OPAQUE: [u8; 3] = [43, 47, 48];
const AUTH: u8 = 39;
const NONCE: u8 = 40;
const NOTIFY: u8 = 41;
const DELETE: u8 = 42;
const TS_I: u8 = 44;
const TS_R: u8 = 45;
/// Type of the encrypted payload.
pub const ENCRYPTED: u8 = 46;
/// Type of the encrypted fragment payload.
pub const FRAGMENT: u8 = 53;
const PUZZLE_SOLUTION: u8 = 54;

const HEADER_LEN: usize = 4;
const CRITICAL: u8 = 0x80;
/// More payloads than any message of ours or of a known daemon has.
const MAX_PAYLOADS: usize = 48;

/// One payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Payload {
    /// Security association: proposals.
    Sa(Vec<Proposal>),
    /// Key exchange.
    Ke(KeyExchange),
    /// Identification of the initiator.
    IdI(Identification),
    /// Identification of the responder.
    IdR(Identification),
    /// Certificate.
    Cert(Certificate),
    /// Certificate request.
    CertReq(Certificate),
    /// Authentication.
    Auth(Auth),
    /// Nonce.
    Nonce(Vec<u8>),
    /// Notify.
    Notify(Notify),
    /// Delete.
    Delete(Delete),
    /// Traffic selectors of the initiator.
    TsI(Vec<TrafficSelector>),
    /// Traffic selectors of the responder.
    TsR(Vec<TrafficSelector>),
    /// Encrypted and authenticated payloads; always the last one.
    Encrypted(Encrypted),
    /// A part of an encrypted payload; always the last one.
    Fragment(Fragment),
    /// Keys that solve a puzzle (RFC 8019).
    PuzzleSolution(Vec<u8>),
    /// A payload whose content is not looked at.
    Other {
        /// Its type.
        kind: u8,
        /// Its content.
        body: Vec<u8>,
    },
}

impl Payload {
    /// The payload's type number.
    pub fn kind(&self) -> u8 {
        match self {
            Payload::Sa(_) => SA,
            Payload::Ke(_) => KE,
            Payload::IdI(_) => ID_I,
            Payload::IdR(_) => ID_R,
            Payload::Cert(_) => CERT,
            Payload::CertReq(_) => CERTREQ,
            Payload::Auth(_) => AUTH,
            Payload::Nonce(_) => NONCE,
            Payload::Notify(_) => NOTIFY,
            Payload::Delete(_) => DELETE,
            Payload::TsI(_) => TS_I,
            Payload::TsR(_) => TS_R,
            Payload::Encrypted(_) => ENCRYPTED,
            Payload::Fragment(_) => FRAGMENT,
            Payload::PuzzleSolution(_) => PUZZLE_SOLUTION,
            Payload::Other { kind, .. } => *kind,
        }
    }

    fn parse(kind: u8, critical: bool, next: u8, body: &[u8]) -> Result<Payload, WireError> {
        Ok(match kind {
            SA => Payload::Sa(proposal::parse_all(body)?),
            KE => Payload::Ke(KeyExchange::parse(body)?),
            ID_I => Payload::IdI(Identification::parse(body)?),
            ID_R => Payload::IdR(Identification::parse(body)?),
            CERT => Payload::Cert(Certificate::parse(body)?),
            CERTREQ => Payload::CertReq(Certificate::parse(body)?),
            AUTH => Payload::Auth(Auth::parse(body)?),
            NONCE => Payload::Nonce(nonce::parse(body)?),
            NOTIFY => Payload::Notify(Notify::parse(body)?),
            DELETE => Payload::Delete(Delete::parse(body)?),
            TS_I => Payload::TsI(traffic_selector::parse_all(body)?),
            TS_R => Payload::TsR(traffic_selector::parse_all(body)?),
            ENCRYPTED => Payload::Encrypted(Encrypted {
                first: next,
                body: body.to_vec(),
            }),
            FRAGMENT => Payload::Fragment(Fragment::parse(next, body)?),
            PUZZLE_SOLUTION => Payload::PuzzleSolution(puzzle::parse_solution(body)?),
            // The critical bit matters only for types one does not know (section 2.5).
            _ if critical && !OPAQUE.contains(&kind) => return Err(WireError::Critical(kind)),
            _ => Payload::Other {
                kind,
                body: body.to_vec(),
            },
        })
    }

    fn encode_body(&self, out: &mut Vec<u8>) {
        match self {
            Payload::Sa(proposals) => proposal::encode_all(proposals, out),
            Payload::Ke(ke) => ke.encode(out),
            Payload::IdI(id) | Payload::IdR(id) => id.encode(out),
            Payload::Cert(cert) | Payload::CertReq(cert) => cert.encode(out),
            Payload::Auth(auth) => auth.encode(out),
            Payload::Nonce(bytes) | Payload::PuzzleSolution(bytes) => out.extend_from_slice(bytes),
            Payload::Notify(notify) => notify.encode(out),
            Payload::Delete(delete) => delete.encode(out),
            Payload::TsI(ts) | Payload::TsR(ts) => traffic_selector::encode_all(ts, out),
            Payload::Encrypted(sk) => out.extend_from_slice(&sk.body),
            Payload::Fragment(fragment) => fragment.encode(out),
            Payload::Other { body, .. } => out.extend_from_slice(body),
        }
    }
}

/// Parses a chain that starts with a payload of type `first` and fills `bytes`.
pub fn parse_chain(first: u8, bytes: &[u8]) -> Result<Vec<Payload>, WireError> {
    let mut r = Reader::new(bytes);
    let mut kind = first;
    let mut payloads = Vec::new();
    while kind != NONE {
        if payloads.len() == MAX_PAYLOADS {
            return Err(WireError::TooMany("payloads"));
        }
        let next = r.u8()?;
        let critical = r.u8()? & CRITICAL != 0;
        let length = usize::from(r.u16()?);
        let body = r.take(length.checked_sub(HEADER_LEN).ok_or(WireError::Length)?)?;
        payloads.push(Payload::parse(kind, critical, next, body)?);
        if kind == ENCRYPTED || kind == FRAGMENT {
            // Its "next payload" names the first one inside (section 3.14).
            break;
        }
        kind = next;
    }
    if !r.is_empty() {
        return Err(if kind == ENCRYPTED || kind == FRAGMENT {
            WireError::AfterEncrypted
        } else {
            WireError::Length
        });
    }
    Ok(payloads)
}

/// Appends the chain.
pub fn encode_chain(payloads: &[Payload], out: &mut Vec<u8>) {
    for (i, payload) in payloads.iter().enumerate() {
        let next = match payload {
            Payload::Encrypted(sk) => sk.first,
            Payload::Fragment(fragment) => fragment.first,
            _ => first_kind(&payloads[i + 1..]),
        };
        let start = out.len();
        out.extend_from_slice(&[next, 0, 0, 0]);
        payload.encode_body(out);
        let length = (out.len() - start) as u16;
        out[start + 2..start + 4].copy_from_slice(&length.to_be_bytes());
    }
}

/// The type of the first of `payloads`, as its predecessor announces it.
pub fn first_kind(payloads: &[Payload]) -> u8 {
    payloads.first().map_or(NONE, Payload::kind)
}
