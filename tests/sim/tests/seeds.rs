//! Chance: some short runs in which everything goes wrong, and then everything must come right.

use belay_sim::seed::{Options, run_seed};

/// Few, since this build is slow: `make test` runs thousands in a faster one, `make sim` as many as one likes.
const SEEDS: u64 = 40;

fn run(seeds: std::ops::Range<u64>) {
    for seed in seeds {
        let report = run_seed(seed, &Options { steps: 1200, ..Options::default() });
        let broken = report.failure.map(|failure| format!("{}\n{failure}", report.trace));
        let again = format!("make sim SEED={seed} STEPS=1200 TRACE=1");
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
fn the_same_seed_gives_the_same_run_to_the_last_byte() {
    for seed in [3, 17, 29] {
        let options = Options { steps: 1500, keep_all: true, ..Options::default() };
        let [one, other] = [0, 1].map(|_| run_seed(seed, &options));
        assert!(one.trace.lines().count() > 100, "{}", one.trace);
        assert_eq!(one.trace, other.trace);
        assert_eq!((one.hash, one.steps, one.simulated_ms), (other.hash, other.steps, other.simulated_ms));
    }
    assert_ne!(run_seed(3, &Options::default()).hash, run_seed(4, &Options::default()).hash);
}
