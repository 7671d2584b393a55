//! Sockets that std cannot make: inherited ones, and ones bound to an address that may come later.

use std::io::{self, IoSlice};
use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::sync::Mutex;

use nix::sys::socket::{
    AddressFamily, Backlog, ControlMessage, MsgFlags, SockFlag, SockType, SockaddrStorage, bind,
    getsockname, getsockopt, listen, sendmsg, setsockopt, socket, sockopt,
};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

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

/// The path MTU to a peer that the kernel knows, in octets: of the route, until something smaller
/// was met.
pub fn path_mtu(local: IpAddr, peer: IpAddr) -> io::Result<u32> {
    // Connecting a UDP socket sends nothing.
    let socket = UdpSocket::bind(SocketAddr::new(local, 0))?;
    socket.connect(SocketAddr::new(peer, 500))?;
    mtu_of(&socket, peer)
}

/// The path MTU of a socket that is connected to a peer; what AH takes is left out where its
/// packets go through AH.
pub fn mtu_of(socket: &UdpSocket, peer: IpAddr) -> io::Result<u32> {
    let mtu = match peer {
        IpAddr::V4(_) => getsockopt(socket, sockopt::IpMtu)?,
        IpAddr::V6(_) => ipv6_mtu(socket)?,
    };
    u32::try_from(mtu).map_err(io::Error::other)
}

/// The path MTU of a connected IPv6 socket (ipv6(7)), for which nix has no name.
fn ipv6_mtu(socket: &UdpSocket) -> io::Result<libc::c_int> {
    let mut mtu: libc::c_int = 0;
    let mut size = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: the descriptor is open, and the kernel writes at most `size` octets, which is what
    // `mtu` has.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_IPV6,
            libc::IPV6_MTU,
            (&raw mut mtu).cast(),
            &raw mut size,
        )
    };
    match result {
        0 => Ok(mtu),
        _ => Err(io::Error::last_os_error()),
    }
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
    bind(fd.as_raw_fd(), &SockaddrStorage::from(address))?;
    Ok(fd)
}

/// IPV6_FREEBIND, which nix does not name.
fn ipv6_freebind(fd: &OwnedFd) -> io::Result<()> {
    let on: libc::c_int = 1;
    // SAFETY: the descriptor is open, and the option value is an int that outlives the call.
    let result = unsafe {
        libc::setsockopt(
            fd.as_raw_fd(),
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

/// Sockets that may be waited on.
///
/// # Safety
/// Whoever has one owns its descriptor, which stays open and the same for as long as it lives.
pub unsafe trait Waitable: AsRawFd {}
// SAFETY: std's sockets own their descriptor and never change it.
unsafe impl Waitable for UdpSocket {}
// SAFETY: as above.
unsafe impl Waitable for UnixStream {}

/// A socket that is waited on for `interest` alone. One that is waited on for writing, too, wakes
/// its owner each time the other side takes something, as more could be written then.
pub fn wait_on<T: Waitable>(socket: T, interest: Interest) -> io::Result<AsyncFd<T>> {
    // SAFETY: that is what `Waitable` promises, and the socket lives in what is returned.
    Ok(unsafe { AsyncFd::register_with_interest(socket, interest)? })
}

/// Sends a datagram that leaves from `local`, whatever wildcard the socket is bound to: an ISAKMP
/// peer knows us by our address (RFC 7296 section 2.11). An IPv6 socket takes IPv4 addresses too.
pub fn send_from(
    socket: &impl AsRawFd,
    local: IpAddr,
    to: SocketAddr,
    bytes: &[u8],
) -> io::Result<()> {
    let fd = socket.as_raw_fd();
    let mapped = |address: IpAddr| match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped(),
        IpAddr::V6(v6) => v6,
    };
    let data = [IoSlice::new(bytes)];
    let bound: SockaddrStorage = getsockname(fd)?;
    let sent = if bound.as_sockaddr_in6().is_some() {
        let info = libc::in6_pktinfo {
            ipi6_addr: libc::in6_addr {
                s6_addr: mapped(local).octets(),
            },
            ipi6_ifindex: 0,
        };
        let to = SockaddrStorage::from(SocketAddr::from((mapped(to.ip()), to.port())));
        let control = [ControlMessage::Ipv6PacketInfo(&info)];
        sendmsg(fd, &data, &control, MsgFlags::empty(), Some(&to))
    } else {
        let IpAddr::V4(source) = local else {
            return Err(io::ErrorKind::AddrNotAvailable.into());
        };
        let info = libc::in_pktinfo {
            ipi_ifindex: 0,
            ipi_spec_dst: libc::in_addr {
                s_addr: u32::from(source).to_be(),
            },
            ipi_addr: libc::in_addr { s_addr: 0 },
        };
        let to = SockaddrStorage::from(to);
        let control = [ControlMessage::Ipv4PacketInfo(&info)];
        sendmsg(fd, &data, &control, MsgFlags::empty(), Some(&to))
    };
    sent.map(|_| ()).map_err(io::Error::from)
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
    fn a_wildcard_socket_sends_from_the_address_we_name() {
        let receiver = UdpSocket::bind("127.0.0.1:0").unwrap();
        let to = receiver.local_addr().unwrap();
        for wildcard in ["[::]:0", "0.0.0.0:0"] {
            let sender = UdpSocket::bind(wildcard).unwrap();
            let local = "127.0.0.7".parse().unwrap();
            send_from(&sender, local, to, b"hello").unwrap();
            let (_, from) = receiver.recv_from(&mut [0; 16]).unwrap();
            assert_eq!(from.ip(), local);
        }
    }

    #[test]
    fn the_kernel_knows_the_path_mtu_of_both_families() {
        for loopback in ["127.0.0.1", "::1"] {
            let loopback: IpAddr = loopback.parse().unwrap();
            assert!(path_mtu(loopback, loopback).unwrap() >= 1280);
        }
    }

    #[test]
    fn nothing_is_inherited_without_systemd() {
        assert!(inherited("isakmp").is_none());
    }
}
