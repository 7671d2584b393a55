//! The kernel: XFRM netlink, sockets, terminals. The only place with `unsafe`.
pub mod terminal;
