//! What fuzzing does with an input; `cargo test` does the same with the corpus and mutants of it.

use tutti::wire::isakmp::{Message, payload, v1};

/// The body of an IKEv2 payload: no panic, and what parses encodes to what parses alike.
pub fn payload(kind: u8, body: &[u8]) {
    let body = &body[..body.len().min(60_000)];
    let length = ((4 + body.len()) as u16).to_be_bytes();
    let chain = [&[0, 0, length[0], length[1]], body].concat();
    if let Ok(payloads) = payload::parse_chain(kind, &chain) {
        let mut again = Vec::new();
        payload::encode_chain(&payloads, &mut again);
        assert_eq!(payload::parse_chain(kind, &again), Ok(payloads));
    }
}

/// The body of an IKEv1 payload, likewise.
pub fn v1_payload(kind: u8, body: &[u8]) {
    match kind {
        v1::kind::SA => {
            if let Ok(proposals) = v1::parse_sa(body) {
                let again = v1::encode_sa(&proposals);
                assert_eq!(v1::parse_sa(&again), Ok(proposals));
            }
        }
        v1::kind::ID => {
            if let Ok(id) = v1::Id::parse(body) {
                assert_eq!(v1::Id::parse(&id.encode()), Ok(id));
            }
        }
        v1::kind::NOTIFY => {
            if let Ok(notify) = v1::Notify::parse(body) {
                assert_eq!(v1::Notify::parse(&notify.payload().body), Ok(notify));
            }
        }
        v1::kind::DELETE => {
            let sized = |d: &v1::Delete| d.spis.iter().all(|spi| !spi.is_empty());
            // SPIs of no octets have no number when they are encoded again.
            if let Some(delete) = v1::Delete::parse(body).ok().filter(sized) {
                assert_eq!(v1::Delete::parse(&delete.payload().body), Ok(delete));
            }
        }
        _ => {
            if let Ok((payloads, used)) = v1::parse_chain(kind, body) {
                let mut again = Vec::new();
                v1::encode_chain(&payloads, &mut again);
                assert_eq!(again.len(), used);
                assert_eq!(v1::parse_chain(kind, &again), Ok((payloads, used)));
            }
        }
    }
}

/// A whole message.
pub fn message(bytes: &[u8]) {
    if let Ok(message) = Message::parse(bytes) {
        assert_eq!(Message::parse(&message.encode()), Ok(message));
    }
    if let Ok((header, payloads)) = v1::parse(bytes) {
        let again = v1::encode(&header, &payloads);
        assert_eq!(v1::parse(&again), Ok((header, payloads)));
    }
}
