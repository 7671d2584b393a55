//! Sockets that std cannot make: inherited ones, and ones bound to an address that may come later.

use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::sync::Mutex;

use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, SockaddrStorage, bind, listen, setsockopt, socket,
    sockopt,
};

/// The first inherited descriptor (sd_listen_fds(3)).
const FIRST_INHERITED: RawFd = 3;

/// Names already handed out; a descriptor has one owner.
static TAKEN: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// The socket that systemd passed under this name (`FileDescriptorName=`), once.
pub fn inherited(name: &str) -> Option<OwnedFd> {
    let pid: u32 = std::env::var("LISTEN_PID").ok()?.parse().ok()?;
    let count: usize = std::env::var("LISTEN_FDS").ok()?.parse().ok()?;
    if pid != std::process::id() {
        return None;
    }
    let names = std::env::var("LISTEN_FDNAMES").ok()?;
    let index = names
        .split(':')
        .take(count)
        .position(|candidate| candidate == name)?;
    let mut taken = TAKEN.lock().ok()?;
    if taken.iter().any(|other| other == name) {
        return None;
    }
    taken.push(name.to_owned());
    let fd = FIRST_INHERITED + RawFd::try_from(index).ok()?;
    nix::fcntl::fcntl(
        // SAFETY: sd_listen_fds(3) promises that this descriptor is open in the process LISTEN_PID
        // names, which is this one; it is only borrowed for the call.
        unsafe { std::os::fd::BorrowedFd::borrow_raw(fd) },
        nix::fcntl::FcntlArg::F_SETFD(nix::fcntl::FdFlag::FD_CLOEXEC),
    )
    .ok()?;
    // SAFETY: open as above, and TAKEN makes us its only owner.
    Some(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// A TCP listener that systemd passed, set non-blocking for tokio.
pub fn inherited_listener(name: &str) -> io::Result<Option<TcpListener>> {
    let Some(fd) = inherited(name) else {
        return Ok(None);
    };
    let listener = TcpListener::from(fd);
    listener.set_nonblocking(true)?;
    Ok(Some(listener))
}

/// A UDP socket that systemd passed, set non-blocking for tokio.
pub fn inherited_udp(name: &str) -> io::Result<Option<UdpSocket>> {
    let Some(fd) = inherited(name) else {
        return Ok(None);
    };
    let socket = UdpSocket::from(fd);
    socket.set_nonblocking(true)?;
    Ok(Some(socket))
}

/// A TCP listener on an address that this machine may not have yet (IP_FREEBIND), non-blocking.
pub fn listen_freebind(address: SocketAddr) -> io::Result<TcpListener> {
    let fd = freebind(address, SockType::Stream)?;
    listen(&fd, Backlog::new(128)?)?;
    Ok(TcpListener::from(fd))
}

/// A UDP socket on an address that this machine may not have yet (IP_FREEBIND), non-blocking.
pub fn udp_freebind(address: SocketAddr) -> io::Result<UdpSocket> {
    Ok(UdpSocket::from(freebind(address, SockType::Datagram)?))
}

fn freebind(address: SocketAddr, kind: SockType) -> io::Result<OwnedFd> {
    let family = match address {
        SocketAddr::V4(_) => AddressFamily::Inet,
        SocketAddr::V6(_) => AddressFamily::Inet6,
    };
    let fd = socket(
        family,
        kind,
        SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK,
        None,
    )?;
    if kind == SockType::Stream {
        setsockopt(&fd, sockopt::ReuseAddr, &true)?;
    }
    match address {
        SocketAddr::V4(_) => setsockopt(&fd, sockopt::IpFreebind, &true)?,
        SocketAddr::V6(_) => {
            setsockopt(&fd, sockopt::Ipv6V6Only, &true)?;
            ipv6_freebind(&fd)?;
        }
    }
    bind(
        std::os::fd::AsRawFd::as_raw_fd(&fd),
        &SockaddrStorage::from(address),
    )?;
    Ok(fd)
}

/// IPV6_FREEBIND, which nix does not name.
fn ipv6_freebind(fd: &OwnedFd) -> io::Result<()> {
    let on: libc::c_int = 1;
    // SAFETY: the descriptor is open, and the option value is an int that outlives the call.
    let result = unsafe {
        libc::setsockopt(
            std::os::fd::AsRawFd::as_raw_fd(fd),
            libc::SOL_IPV6,
            libc::IPV6_FREEBIND,
            (&raw const on).cast(),
            size_of_val(&on) as libc::socklen_t,
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_can_wait_for_its_address() {
        for address in ["192.0.2.77:0", "[2001:db8::77]:0"] {
            listen_freebind(address.parse().unwrap()).unwrap();
        }
    }

    #[test]
    fn nothing_is_inherited_without_systemd() {
        assert!(inherited("isakmp").is_none());
    }
}
