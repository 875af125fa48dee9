//! Shows that the simulator can fail: each deliberate fault of the engine breaks a promise within so many seeds.
//!
//! `cargo test --profile sim -p belay-sim --features mutants --test mutants -- --nocapture`

use belay_engine::mutant::Mutant;
use belay_sim::seed::{Options, run_seed};
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// A fault that as many runs as this do not show would not be found by `make test` either.
fn most_seeds() -> u64 {
    std::env::var("MUTANT_SEEDS").ok().and_then(|text| text.parse().ok()).unwrap_or(600)
}
const STEPS: u64 = 3000;

/// The first seed that shows it, and what was broken.
fn found(mutant: Mutant) -> Option<(u64, String)> {
    (0..most_seeds()).find_map(|seed| {
        let report = run_seed(seed, &Options { steps: STEPS, mutant: Some(mutant), ..Options::default() });
        report.failure.map(|failure| (seed, failure.to_string()))
    })
}

#[test]
fn every_mutant_is_found() {
    let only = std::env::var("MUTANT").ok();
    let mutants: Vec<Mutant> = Mutant::ALL
        .iter()
        .copied()
        .filter(|m| only.as_ref().is_none_or(|name| format!("{m:?}").contains(name)))
        .collect();
    let (next, all) = (AtomicUsize::new(0), Mutex::new(BTreeMap::new()));
    let threads = std::thread::available_parallelism().map_or(2, usize::from);
    let told = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some(mutant) = mutants.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let result = found(*mutant);
                    told.fetch_add(1, Ordering::Relaxed);
                    match &result {
                        Some((seed, violation)) => {
                            let short: String = violation.chars().take(110).collect();
                            println!("{:<32} seed {seed:>4}  {short}", format!("{mutant:?}"));
                        }
                        None => println!("{:<32} SURVIVES", format!("{mutant:?}")),
                    }
                    all.lock().unwrap().insert(*mutant, result);
                }
            });
        }
    });
    let all = all.into_inner().unwrap();
    let survivors: Vec<String> = all
        .iter()
        .filter(|(_, result)| result.is_none())
        .map(|(mutant, _)| format!("{mutant:?}: {}", mutant.sentence()))
        .collect();
    assert!(survivors.is_empty(), "a fault or an invariant is missing; survivors:\n{}", survivors.join("\n"));
}
