//! Whatever bytes arrive: parsing them never panics, and what parses encodes to something that
//! parses to the same.

use proptest::prelude::*;
use tutti::wire::isakmp::{Header, Message, payload};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    #[test]
    fn any_payload_chain_parses_or_not(first in 0u8..60, bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        if let Ok(payloads) = payload::parse_chain(first, &bytes) {
            let mut encoded = Vec::new();
            payload::encode_chain(&payloads, &mut encoded);
            prop_assert_eq!(payload::parse_chain(first, &encoded), Ok(payloads));
        }
    }

    #[test]
    fn chains_with_fitting_lengths_parse_or_not(
        kinds in prop::collection::vec((33u8..54, prop::collection::vec(0u8..6, 0..40)), 1..6),
    ) {
        let mut bytes = Vec::new();
        for (n, (_, body)) in kinds.iter().enumerate() {
            let next = kinds.get(n + 1).map_or(0, |(kind, _)| *kind);
            let length = (4 + body.len()) as u16;
            bytes.extend_from_slice(&[next, 0]);
            bytes.extend_from_slice(&length.to_be_bytes());
            bytes.extend_from_slice(body);
        }
        if let Ok(payloads) = payload::parse_chain(kinds[0].0, &bytes) {
            let mut encoded = Vec::new();
            payload::encode_chain(&payloads, &mut encoded);
            prop_assert_eq!(payload::parse_chain(kinds[0].0, &encoded), Ok(payloads));
        }
    }

    #[test]
    fn any_datagram_parses_or_not(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = Header::parse(&bytes);
        if let Ok(message) = Message::parse(&bytes) {
            prop_assert_eq!(Message::parse(&message.encode()), Ok(message));
        }
    }
}
