//! Quick crash detection (RFC 6290): each side gives the other a token for each IKE SA. A system
//! that has lost an IKE SA makes the same token again from its secret, which outlives it, and so
//! proves to the other that the SA is gone: the other need not wait for silence.
//!
//! The token depends on both addresses, and is told only for an SA that we do not have.

use ring::hmac;

use super::Context;
use super::exchange::notify;
use crate::wire::isakmp::notify::kind;
use crate::wire::isakmp::{Header, Message, Notify, Payload, exchange};

/// Octets a token may have (section 4.1).
const LENGTHS: std::ops::RangeInclusive<usize> = 16..=128;

/// Our token for an IKE SA, as a payload.
pub(super) fn token(context: &Context<'_>, spis: (u64, u64)) -> Payload {
    let key = hmac::Key::new(hmac::HMAC_SHA256, &*context.credentials.tokens);
    let addresses = format!("{} {}", context.local, context.remote);
    let (i, r) = (spis.0.to_be_bytes(), spis.1.to_be_bytes());
    let input = [&i, &r, addresses.as_bytes()].concat();
    notify(kind::QCD_TOKEN, hmac::sign(&key, &input).as_ref())
}

/// The peer's token in what it said under protection.
pub(super) fn given<'a>(notifies: impl IntoIterator<Item = &'a Notify>) -> Option<Vec<u8>> {
    let mut notifies = notifies.into_iter();
    let token = notifies.find(|n| n.kind == kind::QCD_TOKEN)?;
    LENGTHS
        .contains(&token.data.len())
        .then(|| token.data.clone())
}

/// The unprotected answer to a protected request under an IKE SA that we do not have (section 4.5).
pub fn answer(context: &Context<'_>, message: &Message) -> Option<Vec<u8>> {
    let header = message.header;
    let protected = |p: &Payload| matches!(p, Payload::Encrypted(_) | Payload::Fragment(_));
    let whole = header.spi_i != 0 && header.spi_r != 0;
    let asks = !header.response && header.exchange != exchange::IKE_SA_INIT;
    if !asks || !whole || !message.payloads.iter().any(protected) {
        return None;
    }
    let answer = Message {
        header: Header {
            response: true,
            from_initiator: !header.from_initiator,
            ..header
        },
        payloads: vec![
            notify(kind::INVALID_IKE_SPI, &[]),
            token(context, (header.spi_i, header.spi_r)),
        ],
    };
    Some(answer.encode())
}

/// The token of such an answer.
pub(super) fn told(message: &Message) -> Option<Vec<u8>> {
    let notifies = message.payloads.iter().map(|payload| match payload {
        Payload::Notify(notify) => Some(notify),
        _ => None,
    });
    let notifies: Option<Vec<&Notify>> = notifies.collect();
    given(notifies.filter(|_| message.header.response)?)
}
