//! The corpus of fuzzing, made from captures, and a fixed number of mutants of it: what `cargo fuzz`
//! does for long, in short.

#![allow(clippy::unwrap_used)]

#[path = "isakmp_corpus/driver.rs"]
mod driver;
#[path = "isakmp_corpus/mutant.rs"]
mod mutant;
#[path = "isakmp_corpus/seeds.rs"]
mod seeds;

use mutant::Seeded;

const MUTANTS: usize = 200;

/// Gives `act` each seed and mutants of it.
fn each(seeds: Vec<Vec<u8>>, act: impl Fn(&[u8])) {
    assert!(!seeds.is_empty());
    let mut random = Seeded(1);
    for seed in seeds {
        act(&seed);
        for _ in 0..MUTANTS {
            act(&random.mutant(&seed));
        }
    }
}

#[test]
fn every_kind_of_ikev2_payload_reads_as_it_is_written_or_not_at_all() {
    for (_, kind) in seeds::IKEV2 {
        each(seeds::ikev2(kind), |body| driver::payload(kind, body));
    }
}

#[test]
fn every_kind_of_ikev1_payload_reads_as_it_is_written_or_not_at_all() {
    for (_, kind) in seeds::IKEV1 {
        each(seeds::ikev1(kind), |body| driver::v1_payload(kind, body));
    }
}

#[test]
fn whole_datagrams_read_as_they_are_written_or_not_at_all() {
    each(seeds::datagrams(), driver::message);
}

/// `TUTTI_CORPUS=DIR cargo test --test isakmp_corpus` writes the seeds for `cargo fuzz`.
#[test]
fn the_corpus_is_written_where_one_asks_for_it() {
    if let Some(dir) = std::env::var_os("TUTTI_CORPUS") {
        seeds::write(std::path::Path::new(&dir)).unwrap();
    }
}
