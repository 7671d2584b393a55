//! The peer tunnel manager: desired peers in, IKE endpoints driven, AH SAs and policies out.
//!
//! Pure: it never touches a socket, the kernel or a clock. `tutti ike` drives it, `tutti keyer`
//! performs what it decides.

pub mod message;
