//! Whether somebody rewrites addresses between us (RFC 7296 section 2.23): AH cannot cross that, so
//! it is named instead of crossed.

use std::net::IpAddr;

use ring::digest::Algorithm;

use super::{Parts, notify};
use crate::ike::Context;
use crate::wire::isakmp::Payload;
use crate::wire::isakmp::notify::kind;

const PORT: u16 = 500;

/// IKEv2 has this one; it hides nothing here and proves nothing.
const SHA1: &Algorithm = &ring::digest::SHA1_FOR_LEGACY_USE_ONLY;

/// The digest of one end; in IKEv1 the cookies are what the SPIs are here.
pub(in crate::ike) fn digest(
    algorithm: &'static Algorithm,
    spis: (u64, u64),
    address: IpAddr,
) -> Vec<u8> {
    let mut context = ring::digest::Context::new(algorithm);
    context.update(&spis.0.to_be_bytes());
    context.update(&spis.1.to_be_bytes());
    match address {
        IpAddr::V4(v4) => context.update(&v4.octets()),
        IpAddr::V6(v6) => context.update(&v6.octets()),
    }
    context.update(&PORT.to_be_bytes());
    context.finish().as_ref().to_vec()
}

/// What we believe both ends to be, in IKE_SA_INIT.
pub(super) fn ends(local: IpAddr, remote: IpAddr, spis: (u64, u64)) -> [Payload; 2] {
    [
        notify(kind::NAT_DETECTION_SOURCE_IP, &digest(SHA1, spis, local)),
        notify(
            kind::NAT_DETECTION_DESTINATION_IP,
            &digest(SHA1, spis, remote),
        ),
    ]
}

/// Whether the peer, who said so under `spis`, sees other ends than we do.
pub(super) fn is_between(context: &Context<'_>, parts: &Parts<'_>, spis: (u64, u64)) -> bool {
    let differs = |wanted: u16, address| {
        let mut said = parts
            .notifies
            .iter()
            .filter(|n| n.kind == wanted)
            .peekable();
        let expected = digest(SHA1, spis, address);
        // Of several addresses of the sender one must be right.
        said.peek().is_some() && !said.any(|n| n.data == expected)
    };
    differs(kind::NAT_DETECTION_SOURCE_IP, context.remote)
        || differs(kind::NAT_DETECTION_DESTINATION_IP, context.local)
}
