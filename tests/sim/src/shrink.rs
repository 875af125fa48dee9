//! Cuts a run that fails down to a small one that fails in the same way, for a person to read.
//!
//! Strikes, requests, odds, VMs, hosts and time are taken away for as long as the same promise is still broken. Since
//! leaving something out changes how long the rest takes, each smaller run is tried in a few variants.

use crate::cut::Cut;
use crate::seed::{Options, Report, run_seed};
use std::collections::BTreeSet;

/// How many runs the shrinker makes at most.
const RUNS: u32 = 3000;
/// In how many variants a smaller run is tried.
const VARIANTS: u64 = 4;

/// The smallest run that was found.
#[derive(Clone, Debug)]
pub struct Smallest {
    /// How to run it.
    pub options: Options,
    /// How it went.
    pub report: Report,
    /// How many runs it took.
    pub runs: u32,
}

struct Shrinker {
    seed: u64,
    promise: String,
    healed: bool,
    best: Smallest,
}

/// Shrinks a run that failed.
#[must_use]
pub fn shrink(seed: u64, options: &Options) -> Option<Smallest> {
    let options = Options { trace: false, wire: false, keep_all: true, ..options.clone() };
    let report = run_seed(seed, &options);
    let failure = report.failure.clone()?;
    let best = Smallest { options, report, runs: 1 };
    let mut shrinker = Shrinker { seed, promise: failure.promise, healed: failure.healed, best };
    shrinker.pin();
    for _ in 0..3 {
        let before = shrinker.best.options.cut.clone();
        shrinker.take_strikes();
        shrinker.take_asks();
        shrinker.take_odds();
        shrinker.take_hosts_and_vms();
        shrinker.take_time();
        if shrinker.best.options.cut == before {
            break;
        }
    }
    Some(shrinker.best)
}

impl Shrinker {
    /// Tries a smaller run; keeps it if it fails in the same way.
    fn accept(&mut self, change: impl Fn(&mut Options)) -> bool {
        let mut smaller = self.best.options.clone();
        change(&mut smaller);
        let present = smaller.cut.variant;
        for variant in std::iter::once(present).chain((0..VARIANTS).filter(|variant| *variant != present)) {
            if self.best.runs >= RUNS {
                return false;
            }
            self.best.runs += 1;
            smaller.cut.variant = variant;
            let report = run_seed(self.seed, &smaller);
            let same = report.failure.as_ref().is_some_and(|f| f.promise == self.promise && f.healed == self.healed);
            if same {
                self.best.options = smaller;
                self.best.report = report;
                return true;
            }
        }
        false
    }

    /// Names what the run consists of, so that parts of it can be taken away.
    fn pin(&mut self) {
        let (strikes, asks) = self.best.report.strokes;
        let until = self.best.report.chaos_ms;
        let all = |cut: &mut Cut| {
            cut.strikes.get_or_insert_with(|| (0..strikes).collect());
            cut.asks.get_or_insert_with(|| (0..asks).collect());
            cut.until_ms.get_or_insert(until);
        };
        self.accept(|options| all(&mut options.cut));
    }

    /// Takes numbers away, many at a time at first, then fewer.
    fn take_numbers(&mut self, field: impl Fn(&mut Cut) -> &mut Option<BTreeSet<u32>>) {
        let count = |this: &mut Self| field(&mut this.best.options.cut).as_ref().map_or(0, BTreeSet::len);
        let mut chunk = count(self);
        while chunk > 0 {
            let mut from = 0;
            while from < count(self) {
                let kept: Vec<u32> = field(&mut self.best.options.cut).iter().flatten().copied().collect();
                let fewer: BTreeSet<u32> =
                    kept.iter().enumerate().filter(|(i, _)| *i < from || *i >= from + chunk).map(|(_, n)| *n).collect();
                if !self.accept(|options| *field(&mut options.cut) = Some(fewer.clone())) {
                    from += chunk;
                }
            }
            chunk = if chunk == 1 { 0 } else { chunk.div_ceil(2) };
        }
    }

    fn take_strikes(&mut self) {
        self.take_numbers(|cut| &mut cut.strikes);
    }

    fn take_asks(&mut self) {
        self.take_numbers(|cut| &mut cut.asks);
    }

    fn take_odds(&mut self) {
        for name in self.best.report.odds.clone() {
            self.accept(|options| {
                options.cut.without.insert(name.to_owned());
            });
        }
    }

    fn take_hosts_and_vms(&mut self) {
        for vms in 1..self.best.report.vms {
            if self.accept(|options| options.cut.vms = Some(vms)) {
                break;
            }
        }
        for hosts in 2..self.best.report.hosts {
            if self.accept(|options| options.hosts = Some(hosts)) {
                break;
            }
        }
    }

    fn take_time(&mut self) {
        let mut step = self.best.report.chaos_ms / 2;
        while step > 500 {
            let until = self.best.options.cut.until_ms.unwrap_or(0);
            if until <= step || !self.accept(|options| options.cut.until_ms = Some(until - step)) {
                step /= 2;
            }
        }
    }
}
