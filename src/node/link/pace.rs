//! Whether compressing pays: it does where the time it takes is less than the time it saves on
//! the connection. Both are measured as a link goes; where the connection takes bytes faster than
//! they can be compressed, nearly all go as they are.

use std::time::Duration;

/// Shorter frames are gone before it matters.
const LEAST: usize = 1_024;
/// Of so many frames one is compressed, and one is not, to see whether the other way pays now.
const PROBE: u32 = 64;

/// Nanoseconds a byte.
fn cost(took: Duration, bytes: usize) -> f64 {
    took.as_nanos() as f64 / bytes.max(1) as f64
}

/// What one link has measured.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Pace {
    /// Nanoseconds that a byte takes on the connection.
    wire: Option<f64>,
    /// Nanoseconds that a byte takes to be compressed, and what becomes of it.
    packing: Option<(f64, f64)>,
    frames: u32,
}

impl Pace {
    /// Whether to compress a frame of `size` bytes.
    pub fn wants(&mut self, size: usize) -> bool {
        if size < LEAST {
            return false;
        }
        self.frames = self.frames.wrapping_add(1);
        let pays = match (self.wire, self.packing) {
            (Some(wire), Some((packing, ratio))) => packing < (1.0 - ratio) * wire,
            // The connection is measured first.
            (wire, _) => wire.is_some(),
        };
        pays != self.frames.is_multiple_of(PROBE)
    }

    /// Compressing `size` bytes took so long and made them so many (`None`: it did not help).
    pub fn packed(&mut self, size: usize, packed: Option<usize>, took: Duration) {
        let ratio = packed.map_or(1.0, |packed| packed as f64 / size.max(1) as f64);
        self.packing = Some((cost(took, size), ratio));
    }

    /// The connection took `size` bytes in so long. The slower of this and half of what was known
    /// counts: what a buffer swallows at once says little.
    pub fn wrote(&mut self, size: usize, took: Duration) {
        if size >= LEAST {
            let now = cost(took, size);
            self.wire = Some(self.wire.map_or(now, |known| now.max(known * 0.75)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRAME: usize = 250_000;

    /// How many of 640 frames go compressed: packing takes 1 ms a frame and makes it a fifth.
    fn compressed(wire_us: u64, packed: Option<usize>) -> usize {
        let mut pace = Pace::default();
        let each = |_| {
            let wants = pace.wants(FRAME);
            if wants {
                pace.packed(FRAME, packed, Duration::from_millis(1));
            }
            pace.wrote(FRAME, Duration::from_micros(wire_us));
            wants
        };
        (0..640).map(each).filter(|wants| *wants).count()
    }

    #[test]
    fn a_slow_connection_gets_compressed_frames_and_a_fast_one_does_not() {
        assert!(compressed(20_000, Some(50_000)) > 600);
        assert!(compressed(100, Some(50_000)) < 20);
        assert!(compressed(20_000, None) < 20, "nothing to gain");
    }

    #[test]
    fn a_connection_that_turns_slow_is_noticed() {
        let mut pace = Pace::default();
        let mut last = 0;
        for frame in 0..400 {
            let wire_us = if frame < 200 { 100 } else { 20_000 };
            last = if pace.wants(FRAME) {
                pace.packed(FRAME, Some(50_000), Duration::from_millis(1));
                frame
            } else {
                last
            };
            pace.wrote(FRAME, Duration::from_micros(wire_us));
        }
        assert!(last > 390);
        assert!(!pace.wants(LEAST - 1), "small frames never");
    }
}
