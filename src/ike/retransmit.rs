//! When an unanswered request is sent again, and when one gives up (RFC 7296 section 2.4).

/// Pauses between transmissions; the last repeats.
const PAUSES_MS: [u64; 4] = [500, 1_000, 2_000, 3_000];

/// One request's schedule.
#[derive(Clone, Debug)]
pub struct Retry {
    tries: usize,
    next: u64,
    until: u64,
}

impl Retry {
    /// The request was sent `now`; after `patience_ms` the peer counts as silent.
    pub fn start(now: u64, patience_ms: u64) -> Self {
        Self {
            tries: 0,
            next: now + PAUSES_MS[0],
            until: now + patience_ms,
        }
    }

    #[cfg(test)]
    pub(crate) fn shape(&self, shape: &mut super::shape::Shape) {
        shape.word(self.tries as u64);
        shape.time(self.next);
        shape.time(self.until);
    }

    /// When something is due.
    pub fn due(&self) -> u64 {
        self.next.min(self.until)
    }

    /// When the peer had its time.
    pub fn end(&self) -> u64 {
        self.until
    }

    /// Whether the peer had its time.
    pub fn exhausted(&self, now: u64) -> bool {
        now >= self.until
    }

    /// What is sent was put together anew and goes out now: the pause begins again.
    pub fn sent(&mut self, now: u64) {
        self.next = now + PAUSES_MS[self.tries];
    }

    /// Whether to send again now; counts it.
    pub fn fire(&mut self, now: u64) -> bool {
        if now < self.next {
            return false;
        }
        self.tries = (self.tries + 1).min(PAUSES_MS.len() - 1);
        self.next = now + PAUSES_MS[self.tries];
        true
    }
}
