//! Typed configuration of one system: its addresses, name, time and access.
//!
//! Values, their validation and their rendering into the files of the operating system; nothing
//! here reads or writes one. Unknown fields are refused, and every complaint names the field and
//! says what was expected.

pub mod cluster;
pub mod difference;
pub mod file;
pub mod firewall;
pub mod message;
pub mod name;
pub mod password;
pub mod render;
mod route;
mod syslog;
mod system;
pub(crate) mod validate;

pub use route::{Network, ROUTES_MAX, Route};
pub use syslog::{Syslog, TLS_PORT, Transport};
pub use system::{Addressing4, Addressing6, Protocol, Static4, Static6, System};
pub use validate::{Invalid, SettingsError};
