//! Chance: a few hundred short runs in which everything goes wrong, and then everything must come right.

use belay_sim::seed::{Options, run_seed};

/// Debug builds check less, so that `cargo test` stays short; `make sim` runs as many as one likes.
const SEEDS: u64 = 150;

fn run(seeds: std::ops::Range<u64>) {
    for seed in seeds {
        let report = run_seed(seed, &Options { steps: 1200, ..Options::default() });
        let broken = report.failure.map(|failure| format!("{}\n{failure}", report.trace));
        let again = format!("cargo run -p belay-sim -- --seed {seed} --steps 1200");
        assert!(broken.is_none(), "{}\nseed {seed}; see all of it: {again}", broken.unwrap_or_default());
    }
}

#[test]
fn no_promise_is_broken_in_the_first_half_of_the_seeds() {
    run(0..SEEDS / 2);
}

#[test]
fn no_promise_is_broken_in_the_second_half_of_the_seeds() {
    run(SEEDS / 2..SEEDS);
}

#[test]
fn the_same_seed_gives_the_same_run() {
    for seed in [3, 17] {
        let [one, other] = [0, 1].map(|_| run_seed(seed, &Options { steps: 1500, ..Options::default() }));
        assert_eq!((one.hash, one.steps, one.simulated_ms), (other.hash, other.steps, other.simulated_ms));
    }
    assert_ne!(run_seed(3, &Options::default()).hash, run_seed(4, &Options::default()).hash);
}
