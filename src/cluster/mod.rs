//! Membership, peer states and join rules.
//!
//! Pure: it judges what an operator typed, who founds a cluster and who adopts one, and which words
//! describe a peer. It never touches a socket, a clock or the database.

mod advice;
mod choice;
mod field;
mod fields;
mod key;
mod membership;
mod pem;
mod ppk;
mod prerequisites;
mod roster;
mod state;

pub use advice::advice;
pub use choice::{AdditionalKeyExchange, Authentication, Choice, IkeProfile};
pub use field::{Field, Problem};
pub use fields::{Change, Checked, Fields, Saved};
pub use key::{KeyProblem, check as check_key, from_random as key_from_random};
pub use membership::{Standing, Step, next_step};
pub use pem::{Pem, PemChange, TEXT_MAX};
pub use ppk::{Ppk, PpkChange};
pub use prerequisites::{Check, Grade, Own, Path, PathMtu, Peer, Seen, prerequisites, probe, told};
pub use roster::Roster;
pub use state::{Colour, LinkState, PeerState, peer_state};
