//! The terminal of the console: hidden typing, waiting for input, and the machine's
//! addresses and name.

use std::net::IpAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout};
use nix::sys::termios::{LocalFlags, SetArg, Termios, tcgetattr, tcsetattr};

/// While this lives, what is typed is not shown; dropping it restores the terminal.
pub struct Hidden<'a> {
    terminal: BorrowedFd<'a>,
    before: Termios,
}

impl<'a> Hidden<'a> {
    /// Hides typing on a terminal; `None` if it is none (a pipe shows nothing anyway).
    pub fn new(terminal: BorrowedFd<'a>) -> Option<Self> {
        let before = tcgetattr(terminal).ok()?;
        let mut hidden = before.clone();
        hidden.local_flags.remove(LocalFlags::ECHO);
        hidden.local_flags.insert(LocalFlags::ECHONL);
        // What was typed ahead was meant for another question.
        tcsetattr(terminal, SetArg::TCSAFLUSH, &hidden).ok()?;
        Some(Self { terminal, before })
    }
}

impl Drop for Hidden<'_> {
    fn drop(&mut self) {
        let _ = tcsetattr(self.terminal, SetArg::TCSADRAIN, &self.before);
    }
}

nix::ioctl_read_bad!(
    /// TIOCGWINSZ of tty_ioctl(2).
    window_size, nix::libc::TIOCGWINSZ, nix::libc::winsize);

/// How many columns a terminal says that it has; a serial line says none.
pub fn columns(terminal: BorrowedFd<'_>) -> Option<u16> {
    let mut size = nix::libc::winsize {
        ws_row: 0,
        ws_col: 0,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    // SAFETY: the kernel writes one `winsize` (tty_ioctl(2)), which lives until it is done.
    let asked = unsafe { window_size(terminal.as_raw_fd(), &raw mut size) };
    asked
        .ok()
        .map(|_| size.ws_col)
        .filter(|columns| *columns > 0)
}

/// Waits until something can be read (also the end), at most so many milliseconds.
pub fn wait_readable(input: impl AsFd, timeout_ms: u16) -> std::io::Result<bool> {
    let mut fds = [PollFd::new(input.as_fd(), PollFlags::POLLIN)];
    match nix::poll::poll(&mut fds, PollTimeout::from(timeout_ms)) {
        Ok(count) => Ok(count > 0),
        Err(Errno::EINTR) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// The machine's addresses that others can reach: neither loopback nor link-local.
pub fn addresses() -> std::io::Result<Vec<IpAddr>> {
    let mut found = Vec::new();
    for interface in nix::ifaddrs::getifaddrs()? {
        let Some(storage) = interface.address else {
            continue;
        };
        let address = if let Some(v4) = storage.as_sockaddr_in() {
            IpAddr::V4(v4.ip())
        } else if let Some(v6) = storage.as_sockaddr_in6() {
            IpAddr::V6(v6.ip())
        } else {
            continue;
        };
        let local = match address {
            IpAddr::V4(v4) => v4.is_link_local(),
            IpAddr::V6(v6) => v6.is_unicast_link_local(),
        };
        if !address.is_loopback() && !local && !found.contains(&address) {
            found.push(address);
        }
    }
    Ok(found)
}

/// Sets the kernel's host name.
pub fn set_host_name(name: &str) -> std::io::Result<()> {
    Ok(nix::unistd::sethostname(name)?)
}
