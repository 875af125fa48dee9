//! Runs seeds: `belay-sim --seed 42 --trace`, `belay-sim --seeds 0..10000`.

use anyhow::{Context, Result, bail};
use belay_sim::seed::{Options, run_seed};
use clap::Parser;
use std::ops::Range;
use std::process::ExitCode;
use std::time::Instant;

/// Simulates clusters in which everything goes wrong, and checks that nothing bad comes of it.
#[derive(Debug, Parser)]
struct Arguments {
    /// Run this seed only.
    #[arg(long)]
    seed: Option<u64>,
    /// Run these seeds, the last one not included.
    #[arg(long, value_parser = range, default_value = "0..1000")]
    seeds: Range<u64>,
    /// End the chaos of each seed after so many engine steps.
    #[arg(long, default_value_t = 3000)]
    steps: u64,
    /// How many hosts; each seed draws its own number if this is not given.
    #[arg(long)]
    hosts: Option<u32>,
    /// Print everything as it happens.
    #[arg(long)]
    trace: bool,
    /// Print every message of the ring as well.
    #[arg(long, requires = "trace")]
    wire: bool,
    /// Go on after a failure, and tell all of them at the end.
    #[arg(long)]
    keep_going: bool,
}

fn range(text: &str) -> Result<Range<u64>> {
    let (from, to) = text.split_once("..").context("write it as FROM..TO, for example 0..1000")?;
    Ok(from.trim().parse()?..to.trim().parse()?)
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

fn run() -> Result<()> {
    let arguments = Arguments::parse();
    if arguments.hosts.is_some_and(|hosts| !(2..=64).contains(&hosts)) {
        bail!("--hosts must be between 2 and 64");
    }
    let options = Options {
        hosts: arguments.hosts,
        steps: arguments.steps,
        trace: arguments.trace,
        wire: arguments.wire,
        mutant: None,
    };
    let seeds = arguments.seed.map_or(arguments.seeds, |seed| seed..seed + 1);
    let begun = Instant::now();
    let (mut steps, mut simulated, mut starts, mut fenced, mut failures) = (0, 0, 0, 0, Vec::new());
    let mut told = Instant::now();
    for seed in seeds.clone() {
        let report = run_seed(seed, options);
        steps += report.steps;
        simulated += report.simulated_ms;
        starts += report.starts;
        fenced += report.fenced;
        if let Some((violation, trace)) = report.failure {
            if !arguments.keep_going {
                if !arguments.trace {
                    println!("{trace}");
                }
                bail!("seed {seed}: {violation}\nsee all of it: cargo run -p belay-sim -- --seed {seed} --trace");
            }
            println!("seed {seed}: {violation}");
            failures.push(seed);
        }
        if told.elapsed().as_secs() >= 5 {
            told = Instant::now();
            println!("seed {seed} of {}..{}, {steps} steps", seeds.start, seeds.end);
        }
    }
    let seconds = begun.elapsed().as_secs_f64().max(0.001);
    println!(
        "{} seeds, {steps} engine steps in {seconds:.1} s ({:.0} a second), {} h simulated, {starts} starts, {fenced} hosts \
         fenced, {} failures",
        seeds.end.saturating_sub(seeds.start),
        steps as f64 / seconds,
        simulated / 3_600_000,
        failures.len()
    );
    if !failures.is_empty() {
        bail!("failed seeds: {failures:?}");
    }
    Ok(())
}
