//! Whether a peer is heard on a link that stands. Each side sends a ping a second whatever else it
//! does, so a second and a half without an octet is a cut, long before TCP or dead peer detection
//! would say so.

use std::time::{Duration, Instant};

/// How often it is looked at.
pub const PERIOD: Duration = Duration::from_millis(100);
/// From then on the peer shows as unreachable.
const SILENT: Duration = Duration::from_millis(1_600);
/// From then on another link is tried: this one's TCP would wait longer and longer between its own
/// attempts (RFC 6298), and go on late once the way is free again.
const LOST: Duration = Duration::from_secs(7);
/// Who did not look for so long did not listen either.
const PAUSED: Duration = Duration::from_secs(1);

/// What was heard last, and when.
pub struct Silence {
    octets: u64,
    heard: Instant,
    looked: Instant,
}

/// How it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    /// Well.
    Lately,
    /// Not for a while.
    Not,
    /// For so long that the link is given up.
    Lost,
}

impl Silence {
    /// A link begins, after so many octets from the peer.
    pub fn new(octets: u64, now: Instant) -> Self {
        Self {
            octets,
            heard: now,
            looked: now,
        }
    }

    /// So many octets have come by now.
    pub fn look(&mut self, octets: u64, now: Instant) -> Heard {
        if octets != self.octets || now - self.looked > PAUSED {
            self.heard = now;
        }
        (self.octets, self.looked) = (octets, now);
        match now - self.heard {
            quiet if quiet >= LOST => Heard::Lost,
            quiet if quiet >= SILENT => Heard::Not,
            _ => Heard::Lately,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_is_silent_soon_lost_later_and_back_with_its_first_octet() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut silence = Silence::new(7, start);
        let mut octets = 7;
        for ms in (0..10_000).step_by(100) {
            octets += u64::from(ms % 1_000 == 0);
            assert_eq!(silence.look(octets, at(ms)), Heard::Lately, "{ms}");
        }
        let mut looks = |ms: std::ops::Range<u64>, octets| {
            let all: Vec<Heard> = ms
                .step_by(100)
                .map(|ms| silence.look(octets, at(ms)))
                .collect();
            all
        };
        assert!(
            looks(10_000..10_600, octets)
                .iter()
                .all(|h| *h == Heard::Lately)
        );
        assert!(
            looks(10_600..16_000, octets)
                .iter()
                .all(|h| *h == Heard::Not)
        );
        assert!(
            looks(16_000..17_000, octets)
                .iter()
                .all(|h| *h == Heard::Lost)
        );
        assert_eq!(looks(17_000..17_100, octets + 1), [Heard::Lately]);
    }

    #[test]
    fn who_was_stopped_itself_blames_no_peer() {
        let start = Instant::now();
        let mut silence = Silence::new(0, start);
        let late = start + Duration::from_secs(20);
        assert_eq!(silence.look(0, late), Heard::Lately);
        let mut now = late;
        while now < late + SILENT - PERIOD {
            now += PERIOD;
            assert_eq!(silence.look(0, now), Heard::Lately);
        }
        assert_eq!(silence.look(0, now + PERIOD), Heard::Not);
    }
}
