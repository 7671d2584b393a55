//! Echoes of a given size (ICMP, RFC 792; ICMPv6, RFC 4443) that no router may fragment, by a
//! socket that needs no privilege (icmp(7): `net.ipv4.ping_group_range`).

use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::sys::socket::{
    AddressFamily, SockFlag, SockProtocol, SockType, SockaddrStorage, bind, connect, socket,
};

use super::socket::mtu_of;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(1);
/// How often one is asked for.
const TRIES: u32 = 2;
/// Type, code, checksum, identifier, sequence number.
const HEADER: usize = 8;

/// A way to ask one peer for echoes.
pub struct Echo {
    socket: UdpSocket,
    peer: IpAddr,
    /// The type of a request.
    request: u8,
    /// Of the IP header before it, in octets.
    outer: usize,
    sequence: u16,
}

impl Echo {
    /// From one of our addresses to a peer. Sends nothing.
    pub fn open(local: IpAddr, peer: IpAddr) -> io::Result<Self> {
        let (family, protocol, request, outer) = match peer {
            IpAddr::V4(_) => (AddressFamily::Inet, SockProtocol::Icmp, 8, 20),
            IpAddr::V6(_) => (AddressFamily::Inet6, SockProtocol::IcmpV6, 128, 40),
        };
        let fd = socket(family, SockType::Datagram, SockFlag::SOCK_CLOEXEC, protocol)?;
        never_fragmented(&fd, peer)?;
        let address = |ip| SockaddrStorage::from(SocketAddr::new(ip, 0));
        bind(fd.as_raw_fd(), &address(local))?;
        connect(fd.as_raw_fd(), &address(peer))?;
        let socket = UdpSocket::from(fd);
        Ok(Self {
            socket,
            peer,
            request,
            outer,
            sequence: 0,
        })
    }

    /// The largest packet that the kernel lets go that way, in octets.
    pub fn route(&self) -> io::Result<u32> {
        mtu_of(&self.socket, self.peer)
    }

    /// How long a packet of so many octets, its IP header included, took to come back, if it did.
    pub fn round_trip(&mut self, octets: u32) -> Option<Duration> {
        (0..TRIES).find_map(|_| self.once(octets as usize).unwrap_or(None))
    }

    fn once(&mut self, octets: usize) -> io::Result<Option<Duration>> {
        let length = octets.saturating_sub(self.outer).max(HEADER);
        self.sequence = self.sequence.wrapping_add(1);
        // The kernel fills in identifier and checksum.
        let mut message = vec![0; length];
        message[0] = self.request;
        message[6..8].copy_from_slice(&self.sequence.to_be_bytes());
        let begin = Instant::now();
        self.socket.send(&message)?;
        let end = begin + PATIENCE;
        let mut answer = vec![0; length + 1];
        while let Some(left) = end.checked_duration_since(Instant::now()) {
            self.socket
                .set_read_timeout(Some(left.max(Duration::from_millis(1))))?;
            let got = self.socket.recv(&mut answer)?;
            if got == length && answer[6..8] == message[6..8] {
                return Ok(Some(begin.elapsed()));
            }
        }
        Ok(None)
    }
}

/// Sets the don't-fragment bit, and leaves what the kernel believes of the path out of account.
fn never_fragmented(fd: &OwnedFd, peer: IpAddr) -> io::Result<()> {
    let (level, name, value) = match peer {
        IpAddr::V4(_) => (
            libc::IPPROTO_IP,
            libc::IP_MTU_DISCOVER,
            libc::IP_PMTUDISC_PROBE,
        ),
        IpAddr::V6(_) => (
            libc::IPPROTO_IPV6,
            libc::IPV6_MTU_DISCOVER,
            libc::IPV6_PMTUDISC_PROBE,
        ),
    };
    // SAFETY: the descriptor is open, and the kernel reads the `int` whose size is given.
    let result = unsafe {
        libc::setsockopt(
            fd.as_raw_fd(),
            level,
            name,
            (&raw const value).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    match result {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Where the kernel lets nobody have such a socket (containers), there is nothing to see.
    #[test]
    fn an_echo_of_any_size_comes_back_over_loopback() {
        for address in ["127.0.0.1", "::1"] {
            let address: IpAddr = address.parse().unwrap();
            match Echo::open(address, address) {
                Ok(mut echo) => {
                    let mut returns = |octets| echo.round_trip(octets).is_some();
                    assert!(returns(1500) && returns(1280), "{address}");
                    assert!(!returns(70_000), "larger than loopback takes");
                }
                Err(error) => eprintln!("no echoes by {address} on this machine: {error}"),
            }
        }
    }
}
