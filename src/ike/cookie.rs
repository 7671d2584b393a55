//! Stateless cookies for a responder under load (RFC 7296 section 2.6).

use std::net::IpAddr;

use ring::hmac;

/// Makes and checks cookies; one per process, its secret never leaves it.
#[derive(Clone)]
pub struct Cookies {
    key: hmac::Key,
}

impl Cookies {
    /// From 32 random bytes.
    pub fn new(secret: &[u8; 32]) -> Self {
        Self {
            key: hmac::Key::new(hmac::HMAC_SHA256, secret),
        }
    }

    fn input(from: IpAddr, spi_i: u64, nonce: &[u8]) -> Vec<u8> {
        let mut input = from.to_string().into_bytes();
        input.push(0);
        input.extend_from_slice(&spi_i.to_be_bytes());
        input.extend_from_slice(nonce);
        input
    }

    /// The cookie of one initiator.
    pub fn make(&self, from: IpAddr, spi_i: u64, nonce: &[u8]) -> Vec<u8> {
        hmac::sign(&self.key, &Self::input(from, spi_i, nonce))
            .as_ref()
            .to_vec()
    }

    /// Whether `cookie` is the one we made for this initiator; in constant time.
    pub fn verify(&self, from: IpAddr, spi_i: u64, nonce: &[u8], cookie: &[u8]) -> bool {
        hmac::verify(&self.key, &Self::input(from, spi_i, nonce), cookie).is_ok()
    }
}
