//! Which node certificates a system may present on port 4372, by their SHA-256: one, and while it
//! is renewed two. Said as notifies NODE_CERTIFICATE, the one in use first.

use serde::{Deserialize, Serialize};

/// SHA-256 of a certificate's DER.
type Digest = [u8; 32];

/// What a system may present.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Presented {
    /// The one in use.
    pub now: Digest,
    /// The next one, or the former for a while.
    pub also: Option<Digest>,
}

impl Presented {
    /// All of them, the one in use first.
    pub fn digests(&self) -> impl Iterator<Item = &Digest> {
        std::iter::once(&self.now).chain(&self.also)
    }

    /// Whether this may be presented.
    pub fn contains(&self, digest: &Digest) -> bool {
        self.digests().any(|one| one == digest)
    }

    /// Whether both may present the same: where not, nothing leads from one to the other.
    pub fn meets(&self, other: &Self) -> bool {
        self.digests().any(|one| other.contains(one))
    }

    /// From the data of notifies; none if one is no digest, or there are more than two.
    pub fn read<'a>(notifies: impl Iterator<Item = &'a [u8]>) -> Option<Self> {
        let digests: Option<Vec<Digest>> = notifies.map(|data| data.try_into().ok()).collect();
        match digests?[..] {
            [now] => Some(Self { now, also: None }),
            [now, also] => Some(Self {
                now,
                also: Some(also),
            }),
            _ => None,
        }
    }
}

impl From<Digest> for Presented {
    fn from(now: Digest) -> Self {
        Self { now, also: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(notifies: &[&[u8]]) -> Option<Presented> {
        Presented::read(notifies.iter().copied())
    }

    #[test]
    fn one_or_two_digests_are_read_and_nothing_else() {
        let (a, b) = ([1; 32], [2; 32]);
        assert_eq!(read(&[&a]), Some(a.into()));
        let both = read(&[&a, &b]).unwrap();
        assert_eq!(both.digests().collect::<Vec<_>>(), [&a, &b]);
        assert_eq!(read(&[]), None);
        assert_eq!(read(&[&a, &b, &a]), None);
        assert_eq!(read(&[&a, &b[..31]]), None);
    }

    #[test]
    fn what_may_be_presented_leads_to_what_shares_one_with_it() {
        let (a, b, c) = ([1; 32], [2; 32], [3; 32]);
        let both = read(&[&b, &a]).unwrap();
        assert!(both.meets(&a.into()) && Presented::from(b).meets(&both));
        assert!(!both.meets(&c.into()) && !Presented::from(a).meets(&b.into()));
    }
}
