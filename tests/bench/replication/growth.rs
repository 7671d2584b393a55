//! Whether a commit costs more in a larger table, beyond what SQLite's own B-trees cost.

use tutti::store::Durability;

use super::Report;
use super::commit::{insert, store, update};
use super::plain::{Plain, Synchronous};
use super::rows::mix;
use super::sample::{Turns, on_disk, seconds};

const SIZES: [i64; 3] = [10_000, 100_000, 1_000_000];
const UPDATES: u64 = 20_000;

/// One round: single-row updates all over a table of `size` rows, and whatever `end` puts behind
/// them; updates a second.
fn round(size: i64, seed: &mut u64, update: impl Fn(i64, i64), end: impl Fn()) -> f64 {
    let from = *seed;
    *seed += UPDATES;
    let took = seconds(|| {
        for number in from..from + UPDATES {
            let random = mix(number);
            update((random % size as u64) as i64, (random >> 40) as i64);
        }
        end();
    });
    UPDATES as f64 / took
}

/// Fills both sides to each size in turn. `growth_ratio` is what a commit costs at the largest
/// size over what it costs at the smallest, as a multiple of the same for SQLite alone.
pub fn growth(report: &mut Report) {
    let (our_dir, their_dir) = (on_disk(), on_disk());
    let store = store(our_dir.path());
    store.set_durability(Durability::Lazy);
    // What commits put off belongs to their cost.
    let fold = || store.fold().unwrap();
    let plain = Plain::create(their_dir.path(), Synchronous::Normal);
    let mut filled = 0;
    let mut costs = Vec::new();
    let (mut ours, mut theirs) = (0, 0);
    for size in SIZES {
        while filled < size {
            insert(&store, filled, filled + 1_000);
            plain.insert(filled, filled + 1_000);
            filled += 1_000;
        }
        let turns = Turns::take(
            5,
            || {
                round(
                    size,
                    &mut ours,
                    |id, amount| update(&store, id, amount),
                    fold,
                )
            },
            || {
                round(
                    size,
                    &mut theirs,
                    |id, amount| plain.update(id, amount),
                    || (),
                )
            },
        );
        report.line(&format!("growth_{size}_us"), 1e6 / turns.ours());
        report.line(&format!("growth_{size}_plain_us"), 1e6 / turns.theirs());
        report.line(&format!("growth_{size}_ratio"), turns.ratio());
        costs.push(1.0 / turns.ratio());
    }
    report.line("growth_ratio", costs[SIZES.len() - 1] / costs[0]);
}
