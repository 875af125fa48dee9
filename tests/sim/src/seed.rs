//! One seed: a cluster, chaos for a while, and then a world in which everything works and everything must come right.

use crate::cut::Cut;
use crate::hypervisor::Origin;
use crate::placement_rules::waits_with_reason;
use crate::rng::Rng;
use crate::shape::Shape;
use crate::sim::Sim;
use crate::swarm::Chaos;
use belay_engine::mutant::Mutant;
use belay_engine::state::member::Standing;
use belay_engine::state::service::{Moves, Phase, Rival, Wanted};
use belay_proto::{NodeId, ServiceName};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// How a seed is run.
#[derive(Clone, Debug)]
pub struct Options {
    /// How many hosts; drawn if not given.
    pub hosts: Option<u32>,
    /// After so many engine steps chaos ends.
    pub steps: u64,
    /// Print everything as it happens.
    pub trace: bool,
    /// Note every message of the ring as well.
    pub wire: bool,
    /// Keep the whole trace, not only its newest lines.
    pub keep_all: bool,
    /// Which deliberate fault the engine has, in a build that has any.
    pub mutant: Option<Mutant>,
    /// Without the engine's guards, so that a deliberate fault does what it does. Only in builds that have these faults.
    pub unguarded: bool,
    /// What of it is left out.
    pub cut: Cut,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            hosts: None,
            steps: 3000,
            trace: false,
            wire: false,
            keep_all: false,
            mutant: None,
            unguarded: false,
            cut: Cut::default(),
        }
    }
}

/// How it went.
#[derive(Clone, Debug)]
pub struct Report {
    /// Which seed.
    pub seed: u64,
    /// How many hosts it had.
    pub hosts: u32,
    /// How many VMs it had.
    pub vms: usize,
    /// Engine steps.
    pub steps: u64,
    /// Simulated time.
    pub simulated_ms: u64,
    /// When chaos ended.
    pub chaos_ms: u64,
    /// How many strikes and how many requests by chance there were.
    pub strokes: (u32, u32),
    /// What went wrong by itself in this mix.
    pub odds: Vec<&'static str>,
    /// How many starts were begun.
    pub starts: u64,
    /// How many hosts were fenced or vouched for.
    pub fenced: u64,
    /// How many requests were made.
    pub requests: usize,
    /// Equal only for runs in which the same happened.
    pub hash: u64,
    /// What was broken, if anything was.
    pub failure: Option<Failure>,
    /// The newest lines of the trace, or all of them.
    pub trace: String,
}

/// A promise that was broken.
#[derive(Clone, Debug)]
pub struct Failure {
    /// Its name.
    pub promise: String,
    /// What happened.
    pub what: String,
    /// It was broken when everything had been mended.
    pub healed: bool,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.promise, self.what)
    }
}

/// How long a healed cluster may take until everything is as it should be.
const HEALED_WITHIN: u64 = 900_000;
/// For how long nothing may move any more afterwards.
const CALM_FOR: u64 = 45_000;

/// Runs a seed.
#[must_use]
pub fn run_seed(seed: u64, options: &Options) -> Report {
    #[cfg(feature = "mutants")]
    {
        belay_engine::mutant::set(options.mutant);
        belay_engine::mutant::unguard(options.unguarded);
    }
    let mut rng = Rng::new(seed);
    let mut shape = Shape::draw(&mut rng, options.hosts);
    shape.vms.truncate(options.cut.vms.unwrap_or(usize::MAX).max(1));
    let (hosts, vms) = (shape.hosts, shape.vms.len());
    let mut sim = Sim::new(shape, rng.draw() ^ options.cut.variant);
    sim.trace.live = options.trace;
    sim.trace.wire = options.wire;
    sim.trace.keep_all = options.keep_all;
    let (chaos, odds) = Chaos::draw(seed, options.cut.clone());
    sim.odds = odds;
    let odds = sim.odds.present().into_iter().map(|(name, _)| name).collect();
    sim.begin_chaos(chaos);
    sim.power_on_all();
    let until = options.cut.until_ms.unwrap_or(600_000).min(600_000);
    // A run that was cut has fewer steps until the same moment.
    let most = if options.cut.until_ms.is_some() { u64::MAX } else { options.steps };
    while sim.steps() < most && sim.now() < until {
        if !sim.step() {
            break;
        }
    }
    let chaos_ms = sim.now();
    let strokes = sim.chaos.as_ref().map_or((0, 0), |chaos| (chaos.strikes, chaos.asks));
    let in_chaos = sim.violation().is_some();
    if !in_chaos {
        sim.heal();
        sim.end_modes();
        if sim.settle(HEALED_WITHIN) {
            sim.stays_calm(CALM_FOR);
        }
    }
    let failure = sim.truth.violation.clone();
    Report {
        seed,
        hosts,
        vms,
        steps: sim.steps(),
        simulated_ms: sim.now(),
        chaos_ms,
        strokes,
        odds,
        starts: sim.truth.starts,
        fenced: sim.truth.fenced,
        requests: sim.truth.requests.len(),
        hash: sim.trace.hash(),
        failure: failure.map(|(promise, what)| Failure { promise, what, healed: !in_chaos }),
        trace: sim.trace.tail(),
    }
}

impl Sim {
    /// Runs for so long; false when something that must never happen did.
    pub fn run_for(&mut self, ms: u64) -> bool {
        let until = self.now + ms;
        while self.now < until {
            if !self.step() {
                return false;
            }
        }
        true
    }

    /// Waits until everything is as it should be (L1).
    pub fn settle(&mut self, within_ms: u64) -> bool {
        let until = self.now + within_ms;
        let mut calm = 0;
        while calm < 3 {
            if !self.run_for(1000) {
                return false;
            }
            self.ask_again();
            self.end_forgotten_modes();
            self.persons_switch_on();
            match self.amiss() {
                None => calm += 1,
                Some(what) if self.now > until => {
                    self.violated("L1", what);
                    return false;
                }
                Some(_) => calm = 0,
            }
        }
        true
    }

    /// Where everything is as it should be nothing moves any more (L2).
    pub fn stays_calm(&mut self, for_ms: u64) -> bool {
        let (starts, places) = (self.truth.starts, self.all_places());
        if !self.run_for(for_ms) {
            return false;
        }
        let stayed = places.iter().all(|(name, before)| self.places(name) == *before);
        if self.truth.starts != starts || !stayed {
            let now: Vec<_> = places.keys().map(|name| (name, self.places(name))).collect();
            let what = format!("VMs moved though nothing happened: from {places:?} to {now:?}");
            self.violated("L2", what);
            return false;
        }
        true
    }

    /// Where every VM is that does not wait to be moved.
    fn all_places(&self) -> BTreeMap<String, Vec<u32>> {
        let state = self.hosts.values().find_map(|h| h.daemon.as_ref()).map(|daemon| daemon.node.state());
        let rests = |name: &str| {
            let record = ServiceName::vm(name).ok().and_then(|service| state?.service(&service));
            record.is_none_or(|record| record.moves == Moves::default())
        };
        let resting = self.shape.vms.iter().filter(|vm| rests(&vm.name));
        resting.map(|vm| (vm.name.clone(), self.places(&vm.name))).collect()
    }

    /// What is not yet as it should be in a world where everything works.
    #[must_use]
    pub fn amiss(&self) -> Option<String> {
        let states: Vec<_> = self.hosts.values().filter_map(|h| Some((h.id, &h.daemon.as_ref()?.node))).collect();
        if states.len() < self.hosts.len() {
            return Some("a daemon does not run".into());
        }
        if let Some((id, node)) = states.iter().find(|(_, node)| !node.quorate()) {
            let ring = self.hosts.get(id).map(|h| {
                (
                    h.verdict,
                    h.daemon.as_ref().map(|d| (d.inbox.len(), d.outgoing.len(), d.attached, d.frozen.is_some())),
                )
            });
            return Some(format!("node{id} is not quorate: {ring:?} {:?}", node.status(self.now_of(*id)).phase));
        }
        let (first, rest) = states.split_first()?;
        let state = first.1.state();
        for (id, other) in rest {
            if other.state().index() != state.index() || other.state().snapshot() != state.snapshot() {
                return Some(format!("node{id} and node{} differ in their state", first.0));
            }
        }
        if self.healed && state.config().map(|config| config.version) != Some(self.conf_version) {
            return Some(format!("configuration version {} is not in force", self.conf_version));
        }
        let absent = self.hosts.keys().find(|id| state.node(**id).is_none_or(|n| n.standing != Standing::Online));
        if let Some(id) = absent {
            return Some(format!("node{id} is {:?}", state.node(*id).map(|node| &node.standing)));
        }
        if let Some((victim, _)) = state.victims().next() {
            return Some(format!("node{victim} is still to be fenced"));
        }
        if let Some((id, _)) = self.truth.requests.iter().find(|(_, asked)| asked.answer.is_none()) {
            let service = self.truth.requests.get(id).and_then(|asked| asked.request.service().cloned());
            let record = service.and_then(|service| state.service(&service));
            let left = record.map(|record| (&record.phase, &record.request, &record.queue));
            return Some(format!("request {id} was not answered: known {}, {left:?}", state.knows_request(id)));
        }
        self.shape.vms.iter().find_map(|vm| {
            let service = ServiceName::vm(&vm.name).ok()?;
            let Some(record) = state.service(&service) else { return Some(format!("{service} is not known")) };
            let about =
                |text: &str| Some(format!("{service} {text}: {:?} waiting for {:?}", record.phase, record.waiting));
            let ours: BTreeSet<NodeId> = self
                .hosts
                .values()
                .filter(|h| h.hyper.domains.get(&vm.name).is_some_and(|dom| dom.origin == Origin::Belay))
                .map(|h| h.id)
                .collect();
            if !record.queue.is_empty() || record.request.is_some() {
                return about("has requests left");
            }
            if record.rivals.values().any(|rival| *rival != Rival::Tolerated) {
                return about(&format!("has copies {:?}", record.rivals));
            }
            match &record.phase {
                _ if record.frozen => None,
                Phase::Started { .. } if self.mode_amiss(state, &service, record).is_some() => {
                    self.mode_amiss(state, &service, record)
                }
                Phase::Started { owner } => {
                    let legal = vm.restricted_to.is_empty() || vm.restricted_to.contains(&owner.0);
                    if self.places(&vm.name) != [owner.0] {
                        return about(&format!("runs on {:?}", self.places(&vm.name)));
                    }
                    // What somebody moved by hand, or was there when its domain changed, stays until there is a reason to
                    // move it.
                    (!legal && self.truth.moved_by_hand == 0 && self.shape.version == 1)
                        .then(|| about("runs where it may not"))
                        .flatten()
                }
                Phase::Disabled | Phase::Stopped { wanted: Wanted::AtNextView } => {
                    if ours.is_empty() || record.rivals.values().any(|rival| *rival == Rival::Tolerated) {
                        return None;
                    }
                    about("should not run")
                }
                Phase::Failed { .. } => None,
                Phase::Stopped { wanted: Wanted::Now } if waits_with_reason(state, &service) => None,
                _ => about("is on its way"),
            }
        })
    }
}
