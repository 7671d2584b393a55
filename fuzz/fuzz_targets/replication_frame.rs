//! Any frame body: decoding never panics, and what decodes encodes to the same value.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tutti::wire::replication::Frame;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(frame) = Frame::decode(bytes) {
        let encoded = frame.encode();
        assert_eq!(Frame::decode(&encoded[4..]).ok(), Some(frame));
    }
});
