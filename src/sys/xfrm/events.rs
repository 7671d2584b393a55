//! What the kernel says unasked: traffic that found no SA, SAs whose lifetime ran out, and
//! policies that went.

use std::io;
use std::net::IpAddr;

use netlink_packet_core::NetlinkPayload;
use netlink_packet_xfrm::XfrmMessage;
use netlink_packet_xfrm::constants::{XFRMNLGRP_ACQUIRE, XFRMNLGRP_EXPIRE, XFRMNLGRP_POLICY};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_XFRM};

use super::{AH, RECEIVE_BYTES, XfrmError, address, split};

/// One unasked message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A packet wants AH to this address and there is no SA.
    Acquire {
        /// Where the packet goes.
        destination: IpAddr,
    },
    /// A soft or hard limit of an SA was reached.
    Expired {
        /// Where its packets come from.
        source: IpAddr,
        /// Where its packets go.
        destination: IpAddr,
        /// Security parameters index.
        spi: u32,
    },
    /// A policy was deleted, or all of them.
    PolicyGone,
}

/// A socket subscribed to these.
pub struct Events(Socket);

impl Events {
    /// Subscribes; needs CAP_NET_ADMIN.
    pub fn open() -> Result<Self, XfrmError> {
        let mut socket = Socket::new(NETLINK_XFRM).map_err(XfrmError::Open)?;
        socket
            .bind(&SocketAddr::new(0, 0))
            .map_err(XfrmError::Open)?;
        for group in [XFRMNLGRP_ACQUIRE, XFRMNLGRP_EXPIRE, XFRMNLGRP_POLICY] {
            socket.add_membership(group).map_err(XfrmError::Open)?;
        }
        Ok(Self(socket))
    }

    /// Waits for a datagram and returns the events in it. Lost ones (a full buffer) are no error:
    /// IKE does not depend on events, they only make it quicker. But a policy may be gone.
    pub fn receive(&self) -> io::Result<Vec<Event>> {
        let mut bytes = Vec::with_capacity(RECEIVE_BYTES);
        match self.0.recv(&mut bytes, 0) {
            Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => {
                return Ok(vec![Event::PolicyGone]);
            }
            result => result?,
        };
        Ok(split(&bytes)
            .flatten()
            .filter_map(|message| event(message.payload))
            .collect())
    }
}

fn event(payload: NetlinkPayload<XfrmMessage>) -> Option<Event> {
    match payload {
        NetlinkPayload::InnerMessage(XfrmMessage::Acquire(message)) => {
            let acquire = message.acquire;
            (acquire.id.proto == AH).then_some(())?;
            let destination = address(&acquire.id.daddr, acquire.policy.selector.family)?;
            Some(Event::Acquire { destination })
        }
        NetlinkPayload::InnerMessage(XfrmMessage::Expire(message)) => {
            let sa = message.expire.state;
            // SPI 0 is a larval state that got no key in time: not an SA of anyone.
            (sa.id.proto == AH && sa.id.spi != 0).then_some(())?;
            Some(Event::Expired {
                source: address(&sa.saddr, sa.family)?,
                destination: address(&sa.id.daddr, sa.family)?,
                spi: sa.id.spi,
            })
        }
        NetlinkPayload::InnerMessage(
            XfrmMessage::DeletePolicy(_) | XfrmMessage::FlushPolicy(_),
        ) => Some(Event::PolicyGone),
        _ => None,
    }
}
