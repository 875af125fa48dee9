//! Shows that the simulator can fail: each deliberate fault of the engine and of the driver breaks a promise, with a seed or
//! in a story that breaks none without it. Where is written in a table, which has a row for every one of them.
//!
//! ```console
//! $ cargo test --profile sim -p belay-sim --features mutants --test mutants -- --nocapture   # all rows of the table
//! $ MUTANT=Name,Name … # some of them, which are hunted where the table does not have them
//! $ MUTANT_TABLE=1 …   # writes the rows that are missing or not true any more (of some, together with MUTANT=)
//! ```
//! One that is hunted is looked for in seeds, and then in the scenarios. `MUTANT_SEEDS=0..3000` says in which seeds,
//! `MUTANT_HOSTS=2` with how many hosts, and `MUTANT_ANEW=1` not to look at the table first.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use belay_engine::mutant::{self, Mutant};
use belay_sim::cut::Cut;
use belay_sim::scenario::{self, Scenario, play};
use belay_sim::seed::{Options, Report, run_seed};
use belay_sim::shrink::shrink;
use std::collections::BTreeMap;
use std::env::{var, var_os};
use std::fmt;
use std::ops::Range;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// How many seeds are tried for one whose row in the table is not true any more.
const SEEDS: u64 = 300;
const STEPS: u64 = 3000;
/// What decides how long everything takes in a story.
const TIMES: Range<u64> = 1..4;

/// Where each of them was last found: a row with its name, where, and what was broken. Looked at first, so that the test is
/// short; when another drawing has made a row untrue, seeds are tried from the first on.
const TABLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/mutants.table");
const SCENARIOS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../data/scenarios");

/// Where a mutant breaks a promise.
#[derive(Clone, Debug)]
enum Place {
    /// In a run by chance: `12`, or `12/2` with that many hosts.
    Seed(u64, Option<u32>),
    /// In a scenario below `tests/data/scenarios`, for what chance does not bring about: `fencing/….scenario`.
    Story(String),
}

impl Place {
    fn read(word: &str) -> Option<Self> {
        if word.ends_with(".scenario") {
            return Some(Self::Story(word.to_owned()));
        }
        let (seed, hosts) = word.split_once('/').map_or((word, None), |(seed, hosts)| (seed, Some(hosts)));
        Some(Self::Seed(seed.parse().ok()?, hosts.map(str::parse).transpose().ok()?))
    }

    /// What is broken there with this mutant, or without any. The simulator's own invariants have to find it: the engine's
    /// guards are out.
    fn breaks(&self, mutant: Option<Mutant>) -> Option<String> {
        self.plays(mutant, true)
    }

    fn plays(&self, mutant: Option<Mutant>, unguarded: bool) -> Option<String> {
        match self {
            Self::Seed(seed, hosts) => {
                let options = Options { steps: STEPS, mutant, hosts: *hosts, unguarded, ..Options::default() };
                let report = run_seed(*seed, &options);
                report.failure.map(|failure| failure.to_string())
            }
            Self::Story(file) => {
                let text = std::fs::read_to_string(Path::new(SCENARIOS).join(file)).expect("the story of a mutant");
                let scenario = Scenario::read(file, &text).expect("a story that can be read");
                mutant::set(mutant);
                mutant::unguard(unguarded);
                let failure = |seed| play(&scenario, scenario::Options { seed, trace: false }).err();
                let failures: Vec<_> = TIMES.filter_map(failure).collect();
                // However long everything takes: what goes wrong with a mutant only now and then may have other reasons.
                let shown = if mutant.is_some() { failures.len() == TIMES.count() } else { !failures.is_empty() };
                let first = failures.first().filter(|_| shown)?;
                Some(format!("line {}: {}", first.place.rsplit(':').next().unwrap_or_default(), first.why))
            }
        }
    }

    /// What only the mutant breaks there: what fails by itself proves nothing.
    fn shows(&self, mutant: Mutant) -> Option<String> {
        self.breaks(Some(mutant)).filter(|_| self.breaks(None).is_none())
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Seed(seed, None) => f.pad(&seed.to_string()),
            Self::Seed(seed, Some(hosts)) => f.pad(&format!("{seed}/{hosts}")),
            Self::Story(file) => f.pad(file),
        }
    }
}

/// The rows of the table, and where each says that its mutant is found.
fn table() -> BTreeMap<String, (Place, String)> {
    let text = std::fs::read_to_string(TABLE).unwrap_or_default();
    let row = |line: &str| {
        let mut words = line.split_whitespace();
        let (name, place) = (words.next()?, words.next()?);
        Some((name.to_owned(), (Place::read(place).expect("a seed or a scenario"), line.to_owned())))
    };
    text.lines().filter_map(row).collect()
}

fn seeds() -> Range<u64> {
    let wanted = var("MUTANT_SEEDS").ok();
    let range = wanted.as_deref().and_then(|text| text.split_once(".."));
    range.map_or(0..SEEDS, |(from, to)| from.parse().unwrap()..to.parse().unwrap())
}

/// All scenarios, below `folder`.
fn stories(folder: &str) -> Vec<Place> {
    let entries = std::fs::read_dir(Path::new(SCENARIOS).join(folder)).unwrap();
    let mut names: Vec<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    let path = |name: String| if folder.is_empty() { name } else { format!("{folder}/{name}") };
    names
        .into_iter()
        .map(path)
        .flat_map(|path| Place::read(&path).map_or_else(|| below(&path), |place| vec![place]))
        .collect()
}

fn below(path: &str) -> Vec<Place> {
    if Path::new(SCENARIOS).join(path).is_dir() { stories(path) } else { Vec::new() }
}

/// The row about one of them, or what to say of one that is not found.
fn hunt(mutant: Mutant, known: Option<&Place>) -> Result<String, String> {
    let hosts = var("MUTANT_HOSTS").ok().map(|hosts| hosts.parse().unwrap());
    let known = known.filter(|_| var_os("MUTANT_ANEW").is_none());
    let found = known.and_then(|place| Some((place.clone(), place.shows(mutant)?)));
    let shown = |place: Place| place.shows(mutant).map(|broken| (place, broken));
    let (place, broken) = found
        .or_else(|| seeds().find_map(|seed| shown(Place::Seed(seed, hosts))))
        .or_else(|| stories("").into_iter().find_map(shown))
        .ok_or_else(|| {
            format!("{mutant:?} survives the seeds {:?} and all scenarios: {}", seeds(), mutant.sentence())
        })?;
    let name = format!("{mutant:?}");
    Ok(format!("{name:<30} {place:>4}  {:.100}", broken.replace('\n', " ")))
}

#[test]
fn every_mutant_has_a_row_in_the_table_and_is_found_there() {
    let (writes, rows) = (var_os("MUTANT_TABLE").is_some(), table());
    let only = var("MUTANT").unwrap_or_default();
    let named = |mutant: &&Mutant| only.is_empty() || only.split(',').any(|name| format!("{mutant:?}") == name);
    let mutants: Vec<Mutant> = Mutant::ALL.iter().filter(named).copied().collect();
    assert!(!mutants.is_empty(), "there is no mutant {only}");
    let has_row = |mutant: &Mutant| rows.contains_key(&format!("{mutant:?}"));
    let missing: Vec<&Mutant> = mutants.iter().filter(|mutant| !has_row(mutant)).collect();
    assert!(
        writes || !only.is_empty() || missing.is_empty(),
        "nothing shows that these would be found; hunt them with MUTANT_TABLE=1 and MUTANT=: {missing:?}"
    );
    let (next, found) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(2, usize::from) {
            scope.spawn(|| {
                while let Some(mutant) = mutants.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let name = format!("{mutant:?}");
                    let row = hunt(*mutant, rows.get(&name).map(|(place, _)| place));
                    println!("{}", row.as_ref().unwrap_or_else(|survives| survives));
                    found.lock().unwrap().push((name, row));
                }
            });
        }
    });
    let found = found.into_inner().unwrap();
    let left: Vec<&String> = found.iter().filter_map(|(_, row)| row.as_ref().err()).collect();
    println!("{} of {} mutants were found; there are {}", found.len() - left.len(), found.len(), Mutant::ALL.len());
    if writes {
        let exists = |name: &String| Mutant::ALL.iter().any(|mutant| format!("{mutant:?}") == *name);
        let kept = rows.into_iter().map(|(name, (_, line))| (name, line));
        let mut lines: BTreeMap<String, String> = kept.filter(|(name, _)| exists(name)).collect();
        lines.extend(found.iter().filter_map(|(name, row)| Some((name.clone(), row.clone().ok()?))));
        let lines: Vec<String> = lines.into_values().collect();
        std::fs::write(TABLE, lines.join("\n") + "\n").unwrap();
    }
    assert!(left.is_empty(), "a fault or an invariant is missing: {left:#?}");
}

/// Those that have the engine decide what must not be, in the seed of their line: the guard takes it back, and says so.
const GUARDED: &[(Mutant, &[&str])] = &[
    (Mutant::CapacityIgnored, &["guard S13"]),
    (Mutant::DisabledForgottenInPowerLoss, &["guard S7"]),
    (Mutant::DomainIgnored, &["guard S13"]),
    (Mutant::FailedStopIsStopped, &["guard S8"]),
    (Mutant::FenceWhoAnswers, &["guard S11"]),
    (Mutant::LeaveRunningIsClean, &["guard S2"]),
    (Mutant::MaintenanceIsForgotten, &["guard S13"]),
    (Mutant::MigrationByExitCode, &["guard S10"]),
    (Mutant::MigrationByTargetOnly, &["guard S10"]),
    (Mutant::MiscountRestarts, &["guard S6"]),
    (Mutant::OwnersCopyDestroyed, &["guard S1"]),
    (Mutant::SameBootIsNewBoot, &["guard S2", "guard S8", "guard S10"]),
    (Mutant::SoughtIsDead, &["guard S8"]),
    (Mutant::StartBeforeFenced, &["guard S2", "guard S8", "guard S10"]),
    (Mutant::StartWithoutNewEpoch, &["guard S9"]),
];

#[test]
fn what_the_engine_decides_wrongly_sets_a_guard_off() {
    let rows = table();
    let missed = GUARDED.iter().filter_map(|(mutant, promises)| {
        let (place, _) = rows.get(&format!("{mutant:?}"))?;
        let found = place.plays(Some(*mutant), false).unwrap_or_default();
        println!("{mutant:?} {place}: {found:.160}");
        (!promises.iter().any(|promise| found.contains(promise))).then(|| format!("{mutant:?}: {found:.160}"))
    });
    let missed: Vec<String> = missed.collect();
    assert!(missed.is_empty(), "{missed:#?}");
}

#[test]
fn a_run_that_fails_is_cut_down_to_what_matters_and_can_be_played_again() {
    let options = Options { mutant: Some(Mutant::StartWithoutNewEpoch), ..Options::default() };
    let seed = (0..100).find(|seed| Place::Seed(*seed, None).breaks(options.mutant).is_some()).unwrap();
    let options = Options { unguarded: true, ..options };
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
