//! The ping by which systemd sees that a role still works (`WatchdogSec=` of its unit). Each role
//! sends it from the loop that does its work and from nowhere else: one that hangs falls silent,
//! is ended, and starts again.

use std::future;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

/// Pings within one patience of systemd's.
const PINGS: u32 = 4;

/// When the next ping is due. Without a watchdog none ever is.
pub struct Pulse {
    every: Option<Duration>,
    next: Instant,
}

impl Pulse {
    /// As systemd asked when it started this process; the first ping is due at once.
    pub fn as_asked() -> Self {
        Self::within(sd_notify::watchdog_enabled())
    }

    fn within(patience: Option<Duration>) -> Self {
        Self {
            every: patience.map(|patience| patience / PINGS),
            next: Instant::now(),
        }
    }

    /// Waits until a ping is due, for ever without a watchdog; may be dropped while it waits.
    pub async fn due(&self) {
        match self.every {
            Some(_) => sleep_until(self.next).await,
            None => future::pending().await,
        }
    }

    /// The work goes on: says so, if that is due.
    pub fn beat(&mut self) {
        if self.take(Instant::now()) {
            // Whoever asked for it and is gone ends nothing.
            let _ = sd_notify::notify(&[sd_notify::NotifyState::Watchdog]);
        }
    }

    /// Whether a ping is due; if so, when the next one is.
    fn take(&mut self, now: Instant) -> bool {
        match self.every {
            Some(every) if now >= self.next => {
                self.next = now + every;
                true
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ping_is_due_at_once_and_four_times_within_the_patience() {
        let mut pulse = Pulse::within(Some(Duration::from_secs(120)));
        let start = pulse.next;
        let sent = (0..120).filter(|s| pulse.take(start + Duration::from_secs(*s)));
        assert_eq!(sent.collect::<Vec<_>>(), [0, 30, 60, 90]);
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_watchdog_no_ping_is_ever_due() {
        let mut pulse = Pulse::within(None);
        assert!(!pulse.take(Instant::now() + Duration::from_secs(9999)));
        let waited = tokio::time::timeout(Duration::from_secs(9999), pulse.due()).await;
        assert!(waited.is_err(), "due without a watchdog");
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_due_is_waited_for_and_no_longer() {
        let mut pulse = Pulse::within(Some(Duration::from_secs(120)));
        pulse.beat();
        let began = Instant::now();
        pulse.due().await;
        assert_eq!(began.elapsed().as_secs(), 30);
    }
}
