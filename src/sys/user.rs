//! Users of this machine by name, for the SO_PEERCRED checks on local sockets.

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
