//! Any datagram: parsing never panics, and what parses encodes to something that parses alike.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tutti::wire::isakmp::Message;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(message) = Message::parse(bytes) {
        let again = Message::parse(&message.encode());
        assert_eq!(again.as_ref(), Ok(&message));
    }
});
