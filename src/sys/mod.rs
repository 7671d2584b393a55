//! The kernel: XFRM netlink, sockets, users. The place of `unsafe`, but for `store`'s VFS.
//!
//! Adapters only: values in, system calls out. Which peers may have what is decided by the
//! callers in `node`; beside firmware variables and the image's release nothing here opens a
//! file, and nothing keeps a key.

pub mod disk;
#[allow(unsafe_code)]
pub mod echo;
pub mod efi;
#[cfg(test)]
#[allow(unsafe_code)]
pub(crate) mod freed;
pub mod name;
pub mod release;
#[allow(unsafe_code)]
pub mod socket;
#[allow(unsafe_code)]
pub mod terminal;
pub mod user;
pub mod xfrm;
