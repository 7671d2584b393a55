//! Putting fragments of one encrypted message together (RFC 7383 section 2.6).
//!
//! Only authentic fragments come here. What a peer can make us keep is bounded: one message in
//! each direction, at most [`MAX_FRAGMENTS`] parts and [`MAX_OCTETS`] in total.

use zeroize::Zeroizing;

use super::cipher::Opened;

/// UDP payload that passes every IPv6 link: 1,280 octets less IPv6 and UDP headers.
pub const DATAGRAM_LEN: usize = 1_232;
/// More than any message of ours needs.
const MAX_FRAGMENTS: u16 = 16;
/// Content of a whole message.
const MAX_OCTETS: usize = 16_384;

/// A decrypted fragment.
#[cfg_attr(test, derive(Clone))]
pub(crate) struct Part {
    pub number: u16,
    pub total: u16,
    pub opened: Opened,
}

/// The fragments of one message, as they come.
#[derive(Default)]
#[cfg_attr(test, derive(Clone))]
pub(crate) struct Assembly {
    id: u32,
    parts: Vec<Option<Opened>>,
}

impl Assembly {
    /// Adds a fragment of the message `id`; the whole once it is there.
    pub fn add(&mut self, id: u32, part: Part) -> Option<Opened> {
        if part.total > MAX_FRAGMENTS {
            return None;
        }
        let total = usize::from(part.total);
        // A sender that learnt of a smaller path MTU starts anew with more fragments.
        if self.id != id || self.parts.len() < total {
            self.id = id;
            self.parts.clear();
            self.parts.resize_with(total, || None);
        }
        let held: usize = self.parts.iter().flatten().map(|o| o.plain.len()).sum();
        if self.parts.len() > total || held + part.opened.plain.len() > MAX_OCTETS {
            return None;
        }
        let slot = self
            .parts
            .get_mut(usize::from(part.number).checked_sub(1)?)?;
        slot.get_or_insert(part.opened);
        if self.parts.iter().any(Option::is_none) {
            return None;
        }
        let mut parts = std::mem::take(&mut self.parts).into_iter().flatten();
        let mut whole = parts.next()?;
        for part in parts {
            // Not `extend`: growing would leave an unwiped copy behind.
            whole.plain = Zeroizing::new([&whole.plain[..], &part.plain].concat());
        }
        Some(whole)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(number: u16, total: u16, plain: &[u8]) -> Part {
        let opened = Opened {
            first: if number == 1 { 41 } else { 0 },
            flags: 0,
            plain: Zeroizing::new(plain.to_vec()),
        };
        Part {
            number,
            total,
            opened,
        }
    }

    fn plain(opened: Option<Opened>) -> Option<Vec<u8>> {
        opened.map(|o| o.plain.to_vec())
    }

    #[test]
    fn fragments_in_any_order_and_twice_make_one_message() {
        let mut assembly = Assembly::default();
        assert!(assembly.add(7, part(3, 3, b"c")).is_none());
        assert!(assembly.add(7, part(1, 3, b"a")).is_none());
        assert!(assembly.add(7, part(1, 3, b"x")).is_none());
        let whole = assembly.add(7, part(2, 3, b"b")).unwrap();
        assert_eq!((whole.first, &whole.plain[..]), (41, &b"abc"[..]));
        // What came after it starts a new one.
        assert!(assembly.add(7, part(2, 3, b"b")).is_none());
    }

    #[test]
    fn another_message_or_a_finer_cut_starts_anew() {
        let mut assembly = Assembly::default();
        assert!(assembly.add(1, part(1, 2, b"a")).is_none());
        assert!(assembly.add(2, part(2, 2, b"y")).is_none());
        assert_eq!(plain(assembly.add(2, part(1, 2, b"x"))), Some(b"xy".into()));
        assert!(assembly.add(3, part(1, 2, b"ab")).is_none());
        assert!(assembly.add(3, part(2, 3, b"b")).is_none());
        // The coarser cut is over.
        assert!(assembly.add(3, part(2, 2, b"cd")).is_none());
        assert!(assembly.add(3, part(1, 3, b"a")).is_none());
        assert_eq!(
            plain(assembly.add(3, part(3, 3, b"c"))),
            Some(b"abc".into())
        );
    }

    #[test]
    fn what_a_peer_can_make_us_keep_is_bounded() {
        let mut assembly = Assembly::default();
        assert!(assembly.add(1, part(1, 17, b"a")).is_none());
        assert!(assembly.parts.is_empty());
        for number in 1..=16 {
            assert!(assembly.add(2, part(number, 16, &[0; 1_025])).is_none());
        }
        let held: usize = assembly.parts.iter().flatten().map(|o| o.plain.len()).sum();
        assert!(held <= MAX_OCTETS);
    }

    #[test]
    fn a_single_fragment_is_a_message() {
        let mut assembly = Assembly::default();
        assert_eq!(plain(assembly.add(0, part(1, 1, b"a"))), Some(b"a".into()));
    }
}
