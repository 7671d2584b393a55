//! Nonce payload: 16 to 256 bytes of randomness (RFC 7296 section 3.9).

use super::WireError;

/// Parses the body of a nonce payload.
pub fn parse(body: &[u8]) -> Result<Vec<u8>, WireError> {
    if !(16..=256).contains(&body.len()) {
        return Err(WireError::Length);
    }
    Ok(body.to_vec())
}
