//! The imagined hosts of a rehearsal: what runs on each of them, and work that always succeeds.

use crate::state::State;
use crate::state::service::Phase;
use crate::state::work::{Work, WorkKind};
use belay_proto::entry::{FenceOutcome, Member, View, What, WorkOutcome};
use belay_proto::ring::{RingId, RoundId};
use belay_proto::{BootId, Incarnation, Index, NodeId, ServiceName, Term};
use std::collections::{BTreeMap, BTreeSet};

/// What runs where.
#[derive(Clone, Debug, Default)]
pub(super) struct World {
    runs: BTreeMap<ServiceName, BTreeSet<NodeId>>,
    /// How often each host was switched on in this rehearsal.
    boots: BTreeMap<NodeId, u64>,
    /// Work that was carried out, and is listed until the state knows.
    done: BTreeSet<(NodeId, ServiceName, Index, &'static str)>,
    fenced: BTreeSet<(NodeId, u32)>,
}

impl World {
    /// The world as the state believes it to be.
    pub(super) fn of(state: &State) -> Self {
        let mut world = Self::default();
        for (name, record) in state.services() {
            let mut places: BTreeSet<NodeId> = record.rivals.keys().copied().collect();
            match record.phase {
                Phase::Started { owner } | Phase::Stopping { owner, .. } if !record.died_frozen => {
                    places.insert(owner);
                }
                Phase::Migrating { from, .. } => {
                    places.insert(from);
                }
                _ => {}
            }
            world.runs.insert(name.clone(), places);
        }
        world
    }

    /// A host loses its power.
    pub(super) fn lose(&mut self, node: NodeId) {
        for places in self.runs.values_mut() {
            places.remove(&node);
        }
    }

    /// A host is switched on.
    pub(super) fn boot(&mut self, node: NodeId) {
        *self.boots.entry(node).or_default() += 1;
    }

    /// The view that these hosts make.
    pub(super) fn view(&self, online: &BTreeSet<NodeId>, serial: u64, state: &State) -> View {
        let first = online.first().copied().unwrap_or(NodeId(0));
        let member = |node: &NodeId| {
            let boot = self.boot_of(*node, state)?;
            Some(Member { node: *node, boot, incarnation: self.incarnation_of(*node, state), diverged: false })
        };
        View {
            round: RoundId { initiator: first, incarnation: Incarnation(0), serial },
            ring: RingId { representative: first, sequence: serial },
            term: Term(0),
            members: online.iter().filter_map(member).collect(),
            hosts: online.iter().copied().collect(),
        }
    }

    fn boot_of(&self, node: NodeId, state: &State) -> Option<BootId> {
        let known = state.node(node).and_then(|record| record.boot.clone());
        let fresh = |count: u64| format!("rehearsal-{node}-{count}").parse().ok();
        let imagined = self.boots.get(&node).and_then(|count| fresh(*count));
        imagined.or(known).or_else(|| fresh(0))
    }

    fn incarnation_of(&self, node: NodeId, state: &State) -> Incarnation {
        let known = state.node(node).and_then(|record| record.incarnation).unwrap_or(Incarnation(1));
        self.boots.get(&node).map_or(known, |count| Incarnation(u64::MAX - count))
    }

    /// All that runs on a host.
    pub(super) fn inventory(&self, node: NodeId, state: &State) -> Option<What> {
        let here = self.runs.iter().filter(|(_, places)| places.contains(&node));
        let running = here.map(|(name, _)| name.name().into()).collect();
        Some(What::Inventory { boot: self.boot_of(node, state)?, running })
    }

    /// Does a piece of work, and says how it ended; nothing if it was done already.
    pub(super) fn carry_out(&mut self, node: NodeId, work: &Work) -> Option<What> {
        let (vm, outcome, word) = match &work.what {
            WorkKind::Start(vm) => {
                self.places(&vm.service).insert(node);
                (vm, WorkOutcome::Started, "start")
            }
            WorkKind::Stop(vm) => {
                self.places(&vm.service).remove(&node);
                (vm, WorkOutcome::Stopped, "stop")
            }
            WorkKind::StopStray(vm) => {
                self.places(&vm.service).remove(&node);
                (vm, WorkOutcome::StrayStopped, "stop stray")
            }
            WorkKind::Look(vm) => {
                let running = self.places(&vm.service).contains(&node);
                (vm, WorkOutcome::Looked { running }, "look")
            }
            WorkKind::Migrate { vm, to, .. } => {
                let places = self.places(&vm.service);
                if places.remove(&node) {
                    places.insert(*to);
                }
                (vm, WorkOutcome::MigrateEnded { ok: true, reason: String::new() }, "migrate")
            }
            WorkKind::Fence(fence) => {
                let method = fence.methods.first().map(|method| method.name.clone()).unwrap_or_default();
                let outcome = FenceOutcome::Confirmed { method, switch_on: Vec::new() };
                let first = self.fenced.insert((fence.victim, fence.attempt));
                return first.then_some(What::FenceOutcome { victim: fence.victim, attempt: fence.attempt, outcome });
            }
            // A plan does not wait for hosts to boot.
            WorkKind::SwitchOn(_) => return None,
        };
        let first = self.done.insert((node, vm.service.clone(), work.decided, word));
        first.then(|| What::Outcome { service: vm.service.clone(), epoch: vm.epoch, outcome })
    }

    fn places(&mut self, service: &ServiceName) -> &mut BTreeSet<NodeId> {
        self.runs.entry(service.clone()).or_default()
    }
}
