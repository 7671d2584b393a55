//! The kernel: XFRM netlink, sockets, users. The only place with `unsafe`.
//!
//! Adapters only: values in, system calls out. Which peers may have what is decided by the
//! callers in `node`; beside firmware variables nothing here opens a file, and nothing keeps a key.

pub mod disk;
#[allow(unsafe_code)]
pub mod echo;
pub mod efi;
pub mod name;
#[allow(unsafe_code)]
pub mod socket;
pub mod terminal;
pub mod user;
pub mod xfrm;
