//! Places to measure in, turns, and what is made of the samples.

use std::io::Write;
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::Report;

/// A directory on the disk under test.
pub fn on_disk() -> TempDir {
    let mut builder = tempfile::Builder::new();
    builder.prefix("tutti-bench-");
    match std::env::var_os("TUTTI_BENCH_DIR") {
        Some(dir) => builder.tempdir_in(dir),
        None => builder.tempdir(),
    }
    .unwrap()
}

/// Seconds that `work` takes.
pub fn seconds(work: impl FnOnce()) -> f64 {
    let began = Instant::now();
    work();
    began.elapsed().as_secs_f64()
}

/// The median.
pub fn median(samples: &[f64]) -> f64 {
    percentile(samples, 50.0)
}

/// The value below which `percent` of the samples lie (nearest rank).
pub fn percentile(samples: &[f64], percent: f64) -> f64 {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    let rank = (percent / 100.0 * sorted.len() as f64).ceil() as usize;
    sorted[rank.clamp(1, sorted.len()) - 1]
}

/// Rates of two sides, measured in turns; each closure does one round and returns units a second.
pub struct Turns {
    ours: Vec<f64>,
    theirs: Vec<f64>,
}

impl Turns {
    /// One round to warm up, then `rounds` that count.
    pub fn take(
        rounds: usize,
        mut ours: impl FnMut() -> f64,
        mut theirs: impl FnMut() -> f64,
    ) -> Self {
        let mut turns = Turns {
            ours: Vec::new(),
            theirs: Vec::new(),
        };
        theirs();
        ours();
        for _ in 0..rounds {
            turns.theirs.push(theirs());
            turns.ours.push(ours());
        }
        turns
    }

    /// Our median rate.
    pub fn ours(&self) -> f64 {
        median(&self.ours)
    }

    /// Their median rate.
    pub fn theirs(&self) -> f64 {
        median(&self.theirs)
    }

    /// The median of ours / theirs, round by round.
    pub fn ratio(&self) -> f64 {
        let pairs = self.ours.iter().zip(&self.theirs);
        median(
            &pairs
                .map(|(ours, theirs)| ours / theirs)
                .collect::<Vec<_>>(),
        )
    }
}

/// Milliseconds of writing one page and syncing it, on the disk under test.
pub fn fdatasync_ms(times: u64) -> Vec<f64> {
    let dir = on_disk();
    let mut file = std::fs::File::create(dir.path().join("page")).unwrap();
    // As in a WAL that is written over: the blocks are there already.
    file.write_all(&vec![1; times as usize * 4096]).unwrap();
    file.sync_all().unwrap();
    let one = |number| {
        let took = seconds(|| {
            file.write_all_at(&[2; 4096], number * 4096).unwrap();
            file.sync_data().unwrap();
        });
        std::thread::sleep(Duration::from_millis(2));
        took * 1_000.0
    };
    (0..times).map(one).collect()
}

/// Prints what one sync costs here, to judge the rest by.
pub fn fdatasync(report: &mut Report) {
    let samples = fdatasync_ms(500);
    report.line("fdatasync_ms_p50", percentile(&samples, 50.0));
    report.line("fdatasync_ms_p99", percentile(&samples, 99.0));
}
