//! Runs seeds on all cores: `belay-sim --seeds 0..10000`; one of them, told line by line: `belay-sim --seed 42 --trace`.

use anyhow::{Context, Result, bail};
use belay_sim::cut::Cut;
use belay_sim::scenario;
use belay_sim::seed::{Options, Report, run_seed};
use belay_sim::shrink::shrink;
use clap::Parser;
use std::io::IsTerminal;
use std::ops::Range;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Simulates clusters in which everything goes wrong, and checks that nothing bad comes of it.
#[derive(Debug, Parser)]
struct Arguments {
    /// Play this scenario (see tests/data/scenarios/README.md) instead of running seeds; --seed decides how long everything
    /// takes in it.
    #[arg(long, value_name = "FILE")]
    scenario: Vec<PathBuf>,
    /// Run this seed only; if it fails, cut it down to a small run that fails in the same way.
    #[arg(long)]
    seed: Option<u64>,
    /// Run these seeds, the last one not included.
    #[arg(long, value_parser = range, default_value = "0..1000")]
    seeds: Range<u64>,
    /// End the chaos of each seed after so many engine steps.
    #[arg(long, default_value_t = 3000)]
    steps: u64,
    /// How many hosts; each seed draws its own number if this is not given.
    #[arg(long, value_parser = clap::value_parser!(u32).range(2..=64))]
    hosts: Option<u32>,
    /// How many seeds to run at a time; as many as there are cores if this is not given.
    #[arg(long)]
    jobs: Option<usize>,
    /// Print everything as it happens.
    #[arg(long)]
    trace: bool,
    /// Print every message of the ring as well.
    #[arg(long, requires = "trace")]
    wire: bool,
    /// Leave out parts of the run, as the shrinker says.
    #[arg(long, value_name = "CUT", default_value = "")]
    cut: Cut,
    /// Go on after a failure, and tell all of them at the end.
    #[arg(long)]
    keep_going: bool,
    /// Do not look for the smallest run that fails.
    #[arg(long)]
    no_shrink: bool,
}

fn range(text: &str) -> Result<Range<u64>> {
    let (from, to) = text.split_once("..").context("write it as FROM..TO, for example 0..1000")?;
    Ok(from.trim().parse()?..to.trim().parse()?)
}

/// Plays scenarios, each in a world of its own.
fn play(arguments: &Arguments) -> Result<()> {
    let options = scenario::Options { seed: arguments.seed.unwrap_or(1), trace: arguments.trace };
    let mut failed = 0;
    for file in &arguments.scenario {
        let text = std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
        let scenario = scenario::Scenario::read(&file.display().to_string(), &text)?;
        match scenario::play(&scenario, options) {
            Ok(()) => println!("{}: all of it is so", file.display()),
            Err(failure) => {
                failed += 1;
                if !arguments.trace {
                    print!("{}", failure.trace);
                }
                println!("{failure}");
            }
        }
    }
    if failed > 0 {
        bail!("{failed} of {} scenarios went another way than they say", arguments.scenario.len());
    }
    Ok(())
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

/// What all runs together came to.
#[derive(Debug, Default)]
struct Sum {
    seeds: u64,
    steps: u64,
    simulated_ms: u64,
    starts: u64,
    fenced: u64,
    requests: u64,
    failed: Vec<Report>,
}

impl Sum {
    fn add(&mut self, report: Report) {
        self.seeds += 1;
        self.steps += report.steps;
        self.simulated_ms += report.simulated_ms;
        self.starts += report.starts;
        self.fenced += report.fenced;
        self.requests += report.requests as u64;
        if report.failure.is_some() {
            self.failed.push(report);
        }
    }
}

fn run() -> Result<()> {
    let arguments = Arguments::parse();
    let options = Options {
        hosts: arguments.hosts,
        steps: arguments.steps,
        trace: arguments.trace,
        wire: arguments.wire,
        cut: arguments.cut.clone(),
        ..Options::default()
    };
    if !arguments.scenario.is_empty() {
        return play(&arguments);
    }
    match arguments.seed {
        Some(seed) => run_one(seed, &options, &arguments),
        None => run_many(&options, &arguments),
    }
}

fn run_many(options: &Options, arguments: &Arguments) -> Result<()> {
    let seeds = arguments.seeds.clone();
    let jobs = arguments.jobs.or_else(|| Some(std::thread::available_parallelism().ok()?.get())).unwrap_or(1).max(1);
    let begun = Instant::now();
    let (next, sum, stop) = (AtomicU64::new(seeds.start), Mutex::new(Sum::default()), AtomicBool::new(false));
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..jobs)
            .map(|_| {
                scope.spawn(|| {
                    while !stop.load(Ordering::Relaxed) {
                        let seed = next.fetch_add(1, Ordering::Relaxed);
                        if seed >= seeds.end {
                            return;
                        }
                        let report = run_seed(seed, options);
                        if let Some(failure) = &report.failure {
                            println!("seed {seed}: {failure}");
                            stop.store(!arguments.keep_going, Ordering::Relaxed);
                        }
                        if let Ok(mut sum) = sum.lock() {
                            sum.add(report);
                        }
                    }
                })
            })
            .collect();
        tell_progress(&seeds, begun, &sum, || workers.iter().all(std::thread::ScopedJoinHandle::is_finished));
    });
    let mut sum = sum.into_inner().unwrap_or_default();
    tell_sum(&sum, begun.elapsed());
    sum.failed.sort_by_key(|report| report.seed);
    let Some(first) = sum.failed.first() else { return Ok(()) };
    if !arguments.no_shrink {
        tell_smallest(first.seed, options);
    }
    let failed: Vec<u64> = sum.failed.iter().map(|report| report.seed).collect();
    bail!("failed seeds: {failed:?}");
}

fn run_one(seed: u64, options: &Options, arguments: &Arguments) -> Result<()> {
    let begun = Instant::now();
    let report = run_seed(seed, options);
    let failure = report.failure.clone();
    let mut sum = Sum::default();
    sum.add(report);
    tell_sum(&sum, begun.elapsed());
    let Some(failure) = failure else { return Ok(()) };
    println!("seed {seed}: {failure}");
    if !arguments.trace && !arguments.no_shrink {
        tell_smallest(seed, options);
    }
    bail!("failed seeds: [{seed}]");
}

fn tell_progress(seeds: &Range<u64>, begun: Instant, sum: &Mutex<Sum>, done: impl Fn() -> bool) {
    let mut told = Instant::now();
    let often = if std::io::stdout().is_terminal() { 2 } else { 15 };
    while !done() {
        std::thread::sleep(Duration::from_millis(50));
        if told.elapsed().as_secs() < often {
            continue;
        }
        told = Instant::now();
        if let Ok(sum) = sum.lock() {
            let seconds = begun.elapsed().as_secs_f64().max(0.001);
            println!(
                "{} of {} seeds, {:.1} seeds/s, {:.0} steps/s, {} failures",
                sum.seeds,
                seeds.end.saturating_sub(seeds.start),
                sum.seeds as f64 / seconds,
                sum.steps as f64 / seconds,
                sum.failed.len()
            );
        }
    }
}

/// The time that the processors have spent on this, in seconds; what Linux counts in hundredths.
fn worked() -> Option<f64> {
    let text = std::fs::read_to_string("/proc/self/stat").ok()?;
    let fields: Vec<&str> = text.rsplit_once(") ")?.1.split(' ').collect();
    let ticks: u64 = fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?;
    Some(ticks as f64 / 100.0)
}

fn tell_sum(sum: &Sum, took: Duration) {
    let seconds = took.as_secs_f64().max(0.001);
    let on_a_core = sum.steps as f64 / worked().unwrap_or(seconds).max(0.01) * 60.0;
    println!(
        "{} seeds in {seconds:.1} s: {} engine steps, {:.1} million a minute on one core; {:.1} h simulated, {} requests, \
         {} starts, {} hosts fenced, {} failures",
        sum.seeds,
        sum.steps,
        on_a_core / 1e6,
        sum.simulated_ms as f64 / 3_600_000.0,
        sum.requests,
        sum.starts,
        sum.fenced,
        sum.failed.len()
    );
}

fn tell_smallest(seed: u64, options: &Options) {
    println!("\nlooking for a smaller run of seed {seed} that fails in the same way …");
    let Some(smallest) = shrink(seed, options) else {
        println!("seed {seed} does not fail when it is run again: the simulator is not deterministic");
        return;
    };
    println!("{}", smallest.report.trace);
    if let Some(failure) = &smallest.report.failure {
        println!("{failure}\n");
    }
    let hosts = smallest.options.hosts.map(|hosts| format!(" HOSTS={hosts}")).unwrap_or_default();
    let steps = smallest.options.steps;
    println!(
        "{} runs; this one again:  make sim SEED={seed} STEPS={steps}{hosts} CUT='{}' TRACE=1",
        smallest.runs, smallest.options.cut
    );
    println!("all of the seed:  make sim SEED={seed} STEPS={steps} TRACE=1");
}
