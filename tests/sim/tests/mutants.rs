//! Shows that the simulator can fail: each deliberate fault of the engine and of the driver breaks a promise within so many
//! seeds, none of which breaks any without it.
//!
//! `cargo test --profile sim -p belay-sim --features mutants --test mutants -- --nocapture`, with `MUTANT=` for some of
//! them by name.

#![allow(clippy::unwrap_used)]

use belay_engine::mutant::Mutant;
use belay_sim::cut::Cut;
use belay_sim::seed::{Options, Report, run_seed};
use belay_sim::shrink::shrink;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// How many seeds are tried for one whose line in the table is not true any more.
const SEEDS: u64 = 300;
/// The fewest lines the table may have.
const FEWEST: usize = 30;
const STEPS: u64 = 3000;

fn run(seed: u64, mutant: Option<Mutant>) -> Option<String> {
    let report = run_seed(seed, &Options { steps: STEPS, mutant, ..Options::default() });
    report.failure.map(|failure| failure.to_string())
}

/// Where each of them was last found: a line with its name, the seed, and what was broken. Looked at first, so that the test
/// is short; when another drawing has made a line untrue, the seeds are tried from the first on. `MUTANT_TABLE=1` writes it
/// anew. A mutant without a line is not known to be found by chance, which is a gap to be closed.
const TABLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/mutants.table");

fn last_found(mutant: Mutant) -> Option<u64> {
    let table = std::fs::read_to_string(TABLE).unwrap_or_default();
    let line = table.lines().find(|line| line.split_whitespace().next() == Some(&format!("{mutant:?}")))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

/// The line about one of them in the table, and whether it was found. Seeds that fail by themselves prove nothing.
fn hunt(mutant: Mutant, anew: bool) -> (String, bool) {
    let name = format!("{mutant:?}");
    let finds = |seed: u64| Some((seed, run(seed, Some(mutant)).filter(|_| run(seed, None).is_none())?));
    let known = last_found(mutant).filter(|_| !anew).and_then(finds);
    match known.or_else(|| (0..SEEDS).find_map(finds)) {
        Some((seed, violation)) => (format!("{name:<30} {seed:>4}  {violation:.100}"), true),
        None => (format!("{name:<30} SURVIVES {SEEDS} seeds: {}", mutant.sentence()), false),
    }
}

#[test]
fn every_mutant_of_the_table_is_found() {
    let anew = std::env::var_os("MUTANT_TABLE").is_some();
    let only = std::env::var("MUTANT").unwrap_or_default();
    let named = |mutant: &Mutant| only.split(',').any(|part| format!("{mutant:?}").contains(part));
    let chosen = |mutant: &&Mutant| named(mutant) && (anew || !only.is_empty() || last_found(**mutant).is_some());
    let mutants: Vec<Mutant> = Mutant::ALL.iter().filter(chosen).copied().collect();
    let (next, table) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(2, usize::from) {
            scope.spawn(|| {
                while let Some(mutant) = mutants.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let (line, found) = hunt(*mutant, anew);
                    println!("{line}");
                    table.lock().unwrap().push((found, line));
                }
            });
        }
    });
    let mut table = table.into_inner().unwrap();
    table.sort();
    let (found, left): (Vec<_>, Vec<_>) = table.iter().partition(|(found, _)| *found);
    println!("{} of {} mutants were found; there are {}", found.len(), table.len(), Mutant::ALL.len());
    if anew && only.is_empty() {
        let lines: Vec<&str> = found.iter().map(|(_, line)| line.as_str()).collect();
        std::fs::write(TABLE, lines.join("\n") + "\n").unwrap();
        return;
    }
    assert!(left.is_empty(), "a fault or an invariant is missing: {left:#?}");
    assert!(!only.is_empty() || found.len() >= FEWEST, "the table has only {} lines", found.len());
}

#[test]
fn a_run_that_fails_is_cut_down_to_what_matters_and_can_be_played_again() {
    let options = Options { mutant: Some(Mutant::StartWithoutNewEpoch), ..Options::default() };
    let seed = (0..100).find(|seed| run(*seed, options.mutant).is_some()).unwrap();
    let whole = run_seed(seed, &options);
    let smallest = shrink(seed, &options).unwrap();
    let lines = |text: &str| text.lines().count();
    assert!(lines(&smallest.report.trace) <= lines(&whole.trace) && lines(&smallest.report.trace) < 160);
    let promise = |report: &Report| report.failure.as_ref().map(|failure| failure.promise.clone());
    assert_eq!(promise(&smallest.report), promise(&whole));
    let cut: Cut = smallest.options.cut.to_string().parse().unwrap();
    let again = run_seed(seed, &Options { cut, hosts: smallest.options.hosts, keep_all: true, ..options });
    assert_eq!(again.trace, smallest.report.trace);
}
