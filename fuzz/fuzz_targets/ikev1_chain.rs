//! A chain of IKEv1 payloads: key exchange, hash, signature, certificate, nonce, vendor.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[allow(dead_code)]
#[path = "../../tests/isakmp_corpus/driver.rs"]
mod driver;

fuzz_target!(|bytes: &[u8]| driver::v1_payload(4, bytes));
