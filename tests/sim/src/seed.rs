//! One seed: a cluster, chaos for a while, and then a world in which everything works and everything must come right.

use crate::hypervisor::Origin;
use crate::rng::Rng;
use crate::shape::Shape;
use crate::sim::Sim;
use belay_engine::mutant::Mutant;
use belay_engine::state::service::{Phase, Rival, Wanted};
use belay_proto::{NodeId, ServiceName};
use std::collections::BTreeSet;

/// How a seed is run.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// How many hosts; drawn if not given.
    pub hosts: Option<u32>,
    /// After so many engine steps chaos ends.
    pub steps: u64,
    /// Print everything as it happens.
    pub trace: bool,
    /// Note every message of the ring as well.
    pub wire: bool,
    /// Which deliberate fault the engine has, in a build that has any.
    pub mutant: Option<Mutant>,
}

impl Default for Options {
    fn default() -> Self {
        Self { hosts: None, steps: 3000, trace: false, wire: false, mutant: None }
    }
}

/// How it went.
#[derive(Clone, Debug)]
pub struct Report {
    /// Which seed.
    pub seed: u64,
    /// Engine steps.
    pub steps: u64,
    /// Simulated time.
    pub simulated_ms: u64,
    /// How many starts were begun.
    pub starts: u64,
    /// How many hosts were fenced or vouched for.
    pub fenced: u64,
    /// How many requests were made.
    pub requests: usize,
    /// Equal only for runs in which the same happened.
    pub hash: u64,
    /// What was broken, and the newest lines of the trace.
    pub failure: Option<(String, String)>,
}

/// How long a healed cluster may take until everything is as it should be.
const HEALED_WITHIN: u64 = 900_000;

/// Runs a seed.
#[must_use]
pub fn run_seed(seed: u64, options: Options) -> Report {
    #[cfg(feature = "mutants")]
    belay_engine::mutant::set(options.mutant);
    let mut rng = Rng::new(seed);
    let shape = Shape::draw(&mut rng, options.hosts);
    let mut sim = Sim::new(shape, rng.draw());
    sim.trace.live = options.trace;
    sim.trace.wire = options.wire;
    sim.power_on_all();
    sim.begin_chaos();
    while sim.steps() < options.steps && sim.now() < 600_000 {
        if !sim.step() {
            break;
        }
    }
    if sim.violation().is_none() {
        sim.heal();
        sim.settle(HEALED_WITHIN);
    }
    Report {
        seed,
        steps: sim.steps(),
        simulated_ms: sim.now(),
        starts: sim.truth.starts,
        fenced: sim.truth.fenced,
        requests: sim.truth.requests.len(),
        hash: sim.trace.hash(),
        failure: sim.violation().map(|violation| (violation, sim.trace.tail())),
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
                Phase::Started { owner } => {
                    let legal = vm.restricted_to.is_empty() || vm.restricted_to.contains(&owner.0);
                    let by_hand = self.places(&vm.name) == [owner.0];
                    if ours.is_empty() && !by_hand || ours.iter().any(|id| id != owner) {
                        return about("does not run where it should");
                    }
                    // What somebody moved by hand stays there until there is a reason to move it.
                    (!legal && self.truth.moved_by_hand == 0).then(|| about("runs where it may not")).flatten()
                }
                Phase::Disabled | Phase::Stopped { wanted: Wanted::AtNextView } => {
                    if ours.is_empty() || record.rivals.values().any(|rival| *rival == Rival::Tolerated) {
                        return None;
                    }
                    about("should not run")
                }
                Phase::Failed { .. } => None,
                _ => about("is on its way"),
            }
        })
    }
}
