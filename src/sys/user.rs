//! Users of this machine by name, for the SO_PEERCRED checks on local sockets.

use std::io;
use std::os::fd::AsFd;

use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};
use nix::unistd::{Uid, User};

/// The user id of a name or of a decimal number; `None` when there is no such user.
pub fn user_id(name: &str) -> Option<u32> {
    if let Ok(number) = name.parse() {
        return Some(number);
    }
    User::from_name(name)
        .ok()
        .flatten()
        .map(|user| user.uid.as_raw())
}

/// The user that this process runs as.
pub fn own_user_id() -> u32 {
    Uid::effective().as_raw()
}

/// The user at the other end of a local socket, as it was when that connected (SO_PEERCRED).
pub fn peer_user_id(socket: &impl AsFd) -> io::Result<u32> {
    Ok(getsockopt(socket, PeerCredentials)?.uid())
}
