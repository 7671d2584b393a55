//! How many datagrams to UDP 500 were dropped, and why. Counting is all that is done about them:
//! anybody can send them.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::wire::isakmp::WireError;

/// Datagrams dropped by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Dropped {
    /// Longer than any honest message.
    pub too_long: u64,
    /// No ISAKMP header, or one whose length is not that of the datagram.
    pub header: u64,
    /// Of another version of IKE than the profile's.
    pub version: u64,
    /// Payloads that cannot be read.
    pub payloads: u64,
    /// Under an IKE SA that stands or comes up, and not made with its keys, or altered.
    pub not_authentic: u64,
    /// Under an IKE SA that is not there, or no longer.
    pub no_sa: u64,
    /// From an address that is not listed, where no answer was due.
    pub not_listed: u64,
}

impl Dropped {
    /// Each count with its name, and the words for it.
    pub fn each(&self) -> [(&'static str, &'static str, u64); 7] {
        [
            ("too_long", "too long", self.too_long),
            ("header", "without a valid header", self.header),
            ("version", "of another version of IKE", self.version),
            ("payloads", "with malformed payloads", self.payloads),
            ("not_authentic", "not authentic", self.not_authentic),
            ("no_sa", "under an unknown IKE SA", self.no_sa),
            (
                "not_listed",
                "from addresses that are not listed",
                self.not_listed,
            ),
        ]
    }

    /// Those that were dropped at all, in words: `3 too long, 1 not authentic`.
    pub fn words(&self) -> String {
        let some = self.each().into_iter().filter(|(.., count)| *count > 0);
        let words: Vec<String> = some.map(|(_, words, n)| format!("{n} {words}")).collect();
        match words.is_empty() {
            true => "none".into(),
            false => words.join(", "),
        }
    }

    /// Counts one whose header cannot be read, or is of another version.
    pub(crate) fn note(&mut self, error: &WireError) {
        match error {
            WireError::Version(1 | 2) => self.version += 1,
            _ => self.header += 1,
        }
    }

    /// Adds what was counted elsewhere.
    pub(crate) fn add(&mut self, other: &Self) {
        self.too_long += other.too_long;
        self.header += other.header;
        self.version += other.version;
        self.payloads += other.payloads;
        self.not_authentic += other.not_authentic;
        self.no_sa += other.no_sa;
        self.not_listed += other.not_listed;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_dropped_is_told_in_words() {
        assert_eq!(Dropped::default().words(), "none");
        let mut all = Dropped {
            too_long: 3,
            not_authentic: 1,
            ..Dropped::default()
        };
        assert_eq!(all.words(), "3 too long, 1 not authentic");
        let one_each = Dropped {
            too_long: 1,
            header: 1,
            version: 1,
            payloads: 1,
            not_authentic: 1,
            no_sa: 1,
            not_listed: 1,
        };
        all.add(&one_each);
        let counts: Vec<u64> = all.each().map(|(.., count)| count).to_vec();
        assert_eq!(counts, [4, 1, 1, 1, 2, 1, 1]);
    }
}
