//! Whether somebody rewrites addresses between us (RFC 3947 section 3): AH cannot cross that, so it
//! is named instead of crossed. Nothing protects what is said of it in main mode.

use crate::ike::Context;
use crate::ike::exchange::nat::digest;
use crate::ike::suite::Prf;
use crate::wire::isakmp::v1::{Payload, kind};

/// Says that one compares addresses: MD5 of "RFC 3947".
const VENDOR: [u8; 16] = [
    0x4a, 0x13, 0x1c, 0x81, 0x07, 0x03, 0x58, 0x45, 0x5c, 0x57, 0x28, 0xf2, 0x0e, 0x95, 0x45, 0x2f,
];

/// The vendor id of both first messages.
pub(super) fn vendor() -> Payload {
    Payload::new(kind::VENDOR, VENDOR.to_vec())
}

/// What we believe both ends to be, the receiver's first, in the third or fourth message.
pub(super) fn ends(context: &Context<'_>, hash: Prf, cookies: (u64, u64)) -> [Payload; 2] {
    [context.remote, context.local].map(|end| {
        Payload::new(
            kind::NAT_D,
            digest(hash.algorithm().digest_algorithm(), cookies, end),
        )
    })
}

/// Whether the peer sees other ends than we do.
pub(super) fn is_between(
    context: &Context<'_>,
    hash: Prf,
    cookies: (u64, u64),
    payloads: &[Payload],
) -> bool {
    let mut said = payloads.iter().filter(|p| p.kind == kind::NAT_D);
    let Some(ours) = said.next() else {
        return false;
    };
    let expected = |end| digest(hash.algorithm().digest_algorithm(), cookies, end);
    // Of several addresses of the sender one must be right.
    let theirs = expected(context.remote);
    ours.body != expected(context.local) || !said.any(|p| p.body == theirs)
}
