//! What replication costs, as `name: value` lines; `docs/performance.md` has method and results.
//!
//! `./build.sh bench replication [-- NAME...]` runs all parts, or those that print a line of that
//! name. Every ratio compares two sides in one run, in turns, on the same disk. `TUTTI_BENCH_DIR`
//! says on which; without it the directory for temporary files.
#![allow(
    clippy::unwrap_used,
    reason = "a measurement; a panic is its way to fail"
)]

mod commit;
mod galera;
mod growth;
#[path = "../../mesh/mod.rs"]
mod mesh;
mod peers;
mod plain;
mod rows;
mod sample;
mod wire;

use std::collections::BTreeMap;

/// One measurement: the lines it prints, all of them, and what prints them.
struct Part {
    lines: &'static [&'static str],
    run: fn(&mut Report),
}

const PARTS: &[Part] = &[
    Part {
        lines: &["fdatasync_ms_p50", "fdatasync_ms_p99"],
        run: sample::fdatasync,
    },
    Part {
        lines: &[
            "commit_single_per_s",
            "commit_single_plain_per_s",
            "commit_single_ratio",
        ],
        run: commit::single,
    },
    Part {
        lines: &[
            "commit_durable_per_s",
            "commit_durable_plain_per_s",
            "commit_durable_ratio",
        ],
        run: commit::durable,
    },
    Part {
        lines: &[
            "commit_batch_rows_per_s",
            "commit_batch_plain_rows_per_s",
            "commit_batch_ratio",
        ],
        run: commit::batch,
    },
    Part {
        lines: &[
            "commit_scattered_rows_per_s",
            "commit_scattered_plain_rows_per_s",
            "commit_scattered_ratio",
        ],
        run: commit::scattered,
    },
    Part {
        lines: &[
            "log_bytes_per_row",
            "log_bytes_per_row_back",
            "log_bytes_per_row_of_1000",
            "log_bytes_per_row_of_1000_back",
        ],
        run: wire::log_bytes_per_row,
    },
    Part {
        lines: &[
            "growth_10000_us",
            "growth_10000_plain_us",
            "growth_10000_ratio",
            "growth_100000_us",
            "growth_100000_plain_us",
            "growth_100000_ratio",
            "growth_1000000_us",
            "growth_1000000_plain_us",
            "growth_1000000_ratio",
            "growth_ratio",
        ],
        run: growth::growth,
    },
    Part {
        lines: &[
            "converge_rows_per_s",
            "converge_plain_rows_per_s",
            "converge_ratio",
        ],
        run: peers::converge,
    },
    Part {
        lines: &[
            "converge_scattered_rows_per_s",
            "converge_scattered_plain_rows_per_s",
            "converge_scattered_ratio",
        ],
        run: peers::converge_scattered,
    },
    Part {
        lines: &[
            "galera_rows_per_s",
            "galera_statement_rows_per_s",
            "galera_relaxed_rows_per_s",
            "galera_ratio",
            "galera_statement_ratio",
        ],
        run: galera::galera,
    },
    Part {
        lines: &[
            "visible_ms_p50",
            "visible_fdatasync_ms_p50",
            "visible_ms_p99",
            "visible_fdatasync_ms_p99",
        ],
        run: peers::visible,
    },
    Part {
        lines: &[
            "join_file_mb",
            "join_s",
            "join_copy_s",
            "join_ratio",
            "rss_mb",
            "rss_donor_peak_mb",
            "rss_joiner_peak_mb",
        ],
        run: peers::join,
    },
];

/// The lines printed so far; later parts compare with earlier ones.
#[derive(Default)]
struct Report {
    values: BTreeMap<String, f64>,
    failed: bool,
}

impl Report {
    /// A part could not measure: the others go on, and the program ends by failing.
    fn fail(&mut self, why: &str) {
        eprintln!("{why}");
        self.failed = true;
    }

    /// Prints one line, with as many digits as the value deserves.
    fn line(&mut self, name: &str, value: f64) {
        let digits = match value.abs() {
            0.0..10.0 => 3,
            10.0..1000.0 => 1,
            _ => 0,
        };
        println!("{name}: {value:.digits$}");
        self.values.insert(name.to_owned(), value);
    }
}

fn main() {
    if mesh::node::main(rows::values) {
        return;
    }
    // Cargo adds `--bench`.
    let arguments = std::env::args().skip(1).filter(|given| given != "--bench");
    let wanted: Vec<String> = arguments.collect();
    for name in &wanted {
        let known = PARTS.iter().any(|part| part.lines.contains(&&name[..]));
        if !known {
            let names: Vec<&str> = PARTS.iter().flat_map(|part| part.lines).copied().collect();
            eprintln!("no line is named {name}; there are {}", names.join(", "));
            std::process::exit(2);
        }
    }
    let mut report = Report::default();
    for part in PARTS {
        let asked = |name: &&str| wanted.iter().any(|wanted| wanted == name);
        if wanted.is_empty() || part.lines.iter().any(asked) {
            (part.run)(&mut report);
            for line in part.lines {
                if !report.values.contains_key(*line) {
                    report.fail(&format!("{line} was not measured"));
                }
            }
        }
    }
    if report.failed {
        std::process::exit(1);
    }
}
