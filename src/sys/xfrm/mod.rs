//! XFRM, the kernel's IPsec (RFC 4301 security associations and policies), over netlink.
//!
//! Every SA and policy that Tutti makes carries a request id from [`crate::tunnel::message::reqid`]
//! and every policy one of two priorities of its own, so that what other software put there is
//! never touched. Requests block for one round trip to the kernel, which is microseconds.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use netlink_packet_core::{NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload};
use netlink_packet_xfrm::{Address, XfrmMessage};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_XFRM};
use zeroize::Zeroize;

mod events;
mod policy;
mod sa;

pub use events::{Event, Events};
pub use policy::sync_policies;
pub use sa::{InstalledSa, find, flush_larval, install, installed, remove};

/// The kernel answers a dump in messages of at most 32 KiB.
const RECEIVE_BYTES: usize = 64 * 1024;

/// IP protocol 51, the Authentication Header (RFC 4302).
pub(crate) const AH: u8 = 51;

/// What the kernel refused, and what we asked for.
#[derive(Debug, thiserror::Error)]
pub enum XfrmError {
    /// No netlink socket of this kind.
    #[error("the kernel's IPsec interface cannot be opened: {0}")]
    Open(#[source] io::Error),
    /// The kernel said no.
    #[error("the kernel refused to {what}: {source}")]
    Refused {
        /// What was asked.
        what: &'static str,
        /// Its answer; `PermissionDenied` means CAP_NET_ADMIN is missing.
        source: io::Error,
    },
    /// Sending or receiving failed.
    #[error("talking to the kernel failed: {0}")]
    Io(#[from] io::Error),
    /// The kernel's answer could not be read.
    #[error("the kernel's answer could not be read: {0}")]
    Decode(String),
    /// The two addresses are of different families.
    #[error("{0} and {1} are of different address families")]
    Families(IpAddr, IpAddr),
}

/// An open request socket.
pub struct Xfrm {
    socket: Socket,
    sequence: u32,
    /// What the kernel last said.
    received: Vec<u8>,
}

impl Xfrm {
    /// Opens the interface; works without privilege, requests need CAP_NET_ADMIN.
    pub fn open() -> Result<Self, XfrmError> {
        let mut socket = Socket::new(NETLINK_XFRM).map_err(XfrmError::Open)?;
        socket.bind_auto().map_err(XfrmError::Open)?;
        socket
            .connect(&SocketAddr::new(0, 0))
            .map_err(XfrmError::Open)?;
        Ok(Self {
            socket,
            sequence: 0,
            received: Vec::with_capacity(RECEIVE_BYTES),
        })
    }

    /// Sends one change and waits for the kernel's verdict.
    fn change(&mut self, what: &'static str, message: XfrmMessage) -> Result<(), XfrmError> {
        self.ask(what, message, |_| {})
    }

    /// The same, and hands over what the kernel says before its verdict.
    fn ask(
        &mut self,
        what: &'static str,
        message: XfrmMessage,
        mut said: impl FnMut(XfrmMessage),
    ) -> Result<(), XfrmError> {
        self.send(message, NLM_F_REQUEST | NLM_F_ACK)?;
        let mut verdict = None;
        while verdict.is_none() {
            self.receive(|payload| match payload {
                NetlinkPayload::Error(error) => verdict = Some(error.code.map(|_| error.to_io())),
                NetlinkPayload::InnerMessage(message) => said(message),
                _ => {}
            })?;
        }
        match verdict.flatten() {
            Some(source) => Err(XfrmError::Refused { what, source }),
            None => Ok(()),
        }
    }

    /// Asks for a whole table.
    fn dump(
        &mut self,
        what: &'static str,
        message: XfrmMessage,
    ) -> Result<Vec<XfrmMessage>, XfrmError> {
        self.send(message, NLM_F_REQUEST | NLM_F_DUMP)?;
        let mut found = Vec::new();
        let mut end = None;
        while end.is_none() {
            self.receive(|payload| match payload {
                NetlinkPayload::InnerMessage(message) => found.push(message),
                NetlinkPayload::Done(_) => end = Some(None),
                NetlinkPayload::Error(error) => end = Some(error.code.map(|_| error.to_io())),
                _ => {}
            })?;
        }
        match end.flatten() {
            Some(source) => Err(XfrmError::Refused { what, source }),
            None => Ok(found),
        }
    }

    fn send(&mut self, message: XfrmMessage, flags: u16) -> Result<(), XfrmError> {
        self.sequence = self.sequence.wrapping_add(1);
        let mut message = NetlinkMessage::from(message);
        message.header.flags = flags;
        message.header.sequence_number = self.sequence;
        message.finalize();
        let mut bytes = vec![0; message.buffer_len()];
        message.serialize(&mut bytes);
        let sent = self.socket.send(&bytes, 0);
        // Both copies may hold a key.
        bytes.zeroize();
        if let NetlinkPayload::InnerMessage(message) = &mut message.payload {
            sa::wipe(message);
        }
        sent?;
        Ok(())
    }

    /// Receives one datagram and hands over the messages in it that answer our last request.
    fn receive(
        &mut self,
        mut each: impl FnMut(NetlinkPayload<XfrmMessage>),
    ) -> Result<(), XfrmError> {
        let mut bytes = std::mem::take(&mut self.received);
        bytes.clear();
        let result = self.socket.recv(&mut bytes, 0).map(|_| ());
        let result = result.map_err(XfrmError::from).and_then(|()| {
            for message in split(&bytes) {
                let message = message?;
                if message.header.sequence_number == self.sequence {
                    each(message.payload);
                }
            }
            Ok(())
        });
        // A dump holds keys. Only what was received: wiping all 64 KiB takes longer than the rest.
        bytes.as_mut_slice().zeroize();
        self.received = bytes;
        result
    }
}

/// The netlink messages of one datagram.
fn split(mut bytes: &[u8]) -> impl Iterator<Item = Result<NetlinkMessage<XfrmMessage>, XfrmError>> {
    std::iter::from_fn(move || {
        // A header is 16 bytes and begins with the message's length (RFC 3549 section 2.3.2).
        let length = u32::from_ne_bytes(bytes.get(..4)?.try_into().ok()?) as usize;
        if length < 16 || length > bytes.len() {
            return None;
        }
        let message = NetlinkMessage::deserialize(&bytes[..length])
            .map_err(|error| XfrmError::Decode(error.to_string()));
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(message)
    })
}

/// An address as the kernel wrote it, with the family it wrote beside it.
fn address(raw: &Address, family: u16) -> Option<IpAddr> {
    use netlink_packet_xfrm::constants::{AF_INET, AF_INET6};
    match family {
        AF_INET => {
            let [a, b, c, d, ..] = raw.addr;
            Some(IpAddr::V4(Ipv4Addr::new(a, b, c, d)))
        }
        AF_INET6 => Some(IpAddr::V6(Ipv6Addr::from(raw.addr))),
        _ => None,
    }
}

/// The prefix length of exactly one address.
fn host_prefix(address: &IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}
