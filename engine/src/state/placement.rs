//! Finding a service a place: who may run it, who should, and if nobody can, why not.
//!
//! For now: a member that is legal, with the fewest VMs, and among those the one with the lowest id. The answer is
//! deterministic, and comes with its reason either way.

use super::State;
use super::history::{Cause, event};
use super::member::NodeRecord;
use super::service::{Phase, Rival, Search, ServiceRecord, Wanted};
use crate::mutant::{self, Mutant};
use belay_config::model::Vm;
use belay_proto::history::{EventKind, Severity};
use belay_proto::{Code, NodeId, ServiceName, Span, Timestamp};
use std::collections::BTreeMap;

/// The first pause after no member could start a service; it doubles each time.
const RETRY_FIRST: Span = Span::seconds(10);
/// The longest pause.
const RETRY_MAX: Span = Span::seconds(300);

/// How long a member that is back is waited for by services that were asked for there.
const WISH_PATIENCE: Span = Span::seconds(30);

/// What placement says of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// Start it here.
    On(NodeId),
    /// It cannot be started now; something must happen first.
    Wait {
        /// The code for a request that waits for it.
        code: Code,
        /// What must happen.
        reason: String,
    },
    /// Every member that may run it has failed to start it.
    Exhausted,
}

impl State {
    /// Gives every service that should run and does not a place, or a reason.
    pub(crate) fn settle(&mut self) {
        self.run_queues();
        if self.view.is_none() {
            return;
        }
        let pending: Vec<ServiceName> = self
            .services
            .iter()
            .filter(|(_, record)| {
                record.phase == Phase::Stopped { wanted: Wanted::Now }
                    && !record.frozen
                    && record.search.retry_at.is_none_or(|at| at <= self.time)
            })
            .map(|(name, _)| name.clone())
            .collect();
        if pending.is_empty() {
            return;
        }
        let mut load = self.load();
        for name in pending {
            self.with_service(&name, |state, record| {
                if record.search.retry_at.take().is_some() {
                    record.search.tried.clear();
                }
                state.settle_one(&name, record, &mut load);
            });
        }
    }

    fn settle_one(&mut self, name: &ServiceName, record: &mut ServiceRecord, load: &mut BTreeMap<NodeId, usize>) {
        let running = record
            .rivals
            .iter()
            .find(|(id, rival)| **rival != Rival::BeingStopped && self.nodes.get(id).is_some_and(NodeRecord::in_view));
        if let Some(owner) = running.map(|(id, _)| *id) {
            let text = format!("runs on {} already; it is looked after there", self.node_name(owner));
            self.adopt(name, record, owner, text);
            return;
        }
        if self.locked {
            return self.wait_for_unlock(name, record);
        }
        match self.place(name, record, load) {
            Place::On(owner) => {
                *load.entry(owner).or_default() += 1;
                self.start_on(name, record, owner);
            }
            Place::Wait { code, reason } => {
                if record.waiting.as_ref() != Some(&reason) {
                    let text = format!("cannot be started: {reason}");
                    self.note_service(name, record, event(EventKind::Blocked, Severity::Warning, text), Cause::Before);
                    record.waiting = Some(reason.clone());
                }
                // What passes within moments is waited for; what may take long is told.
                if code != Code::Again {
                    self.answer(record, code, format!("it will be started when it can: {reason}"));
                }
            }
            Place::Exhausted => self.retry_later(name, record),
        }
    }

    fn retry_later(&mut self, name: &ServiceName, record: &mut ServiceRecord) {
        let pause = Span(RETRY_FIRST.0.saturating_mul(1 << record.search.rounds.min(10)).min(RETRY_MAX.0));
        let failure = record.search.last_failure.clone().unwrap_or_else(|| "no member could start it".into());
        let text = format!("no member could start it, trying again in {pause}: {failure}");
        self.note_service(name, record, event(EventKind::Blocked, Severity::Error, text), Cause::Before);
        record.search = Search {
            rounds: record.search.rounds + 1,
            retry_at: Some(self.time + pause),
            tried: std::mem::take(&mut record.search.tried),
            last_failure: Some(failure.clone()),
            ..Search::default()
        };
        record.waiting = Some(format!("no member could start it: {failure}"));
        self.answer(record, Code::Failure, failure);
    }

    /// How many services each member has.
    pub(crate) fn load(&self) -> BTreeMap<NodeId, usize> {
        let mut load = BTreeMap::new();
        for record in self.services.values() {
            if let Some(owner) = record.phase.owner() {
                *load.entry(owner).or_default() += 1;
            }
        }
        load
    }

    /// Where a service that runs nowhere should be started.
    #[must_use]
    pub fn place(&self, name: &ServiceName, record: &ServiceRecord, load: &BTreeMap<NodeId, usize>) -> Place {
        let Some(vm) = self.config.as_ref().and_then(|config| config.vms.get(name)) else {
            return wait(Code::NoService, "it is not in the configuration".into());
        };
        if let Some(wait) = self.must_wait(record) {
            return wait;
        }
        let candidates: Vec<NodeId> = self
            .nodes
            .iter()
            .filter(|(id, node)| node.takes_services() && self.legal(vm, **id))
            .map(|(id, _)| *id)
            .filter(|id| {
                let ignored = mutant::is(Mutant::SuspectsIgnored);
                ignored || record.suspects.is_empty() || record.suspects.contains(id)
            })
            .collect();
        if let Some(wish) = record.search.wish.filter(|_| self.wish_may_come_true(record).is_some()) {
            // Whoever asked for that member does not want another one because of a second.
            let reason = format!("the hypervisor of {} has not answered yet", self.node_name(wish));
            return wait(Code::Again, reason);
        }
        if candidates.is_empty() {
            return wait(Code::Domain, self.no_candidate_reason(vm));
        }
        let untried: Vec<NodeId> = candidates.into_iter().filter(|id| !record.search.tried.contains(id)).collect();
        if let Some(wish) = record.search.wish.filter(|wish| untried.contains(wish)) {
            return Place::On(wish);
        }
        let best = |among: &[NodeId]| among.iter().copied().min_by_key(|id| (load.get(id).copied().unwrap_or(0), *id));
        let preferred: Vec<NodeId> = untried.iter().copied().filter(|id| Some(*id) != record.search.avoid).collect();
        best(&preferred).or_else(|| best(&untried)).map_or(Place::Exhausted, Place::On)
    }

    /// What must be known before a service may be started anywhere.
    fn must_wait(&self, record: &ServiceRecord) -> Option<Place> {
        use super::member::Standing;
        for (id, node) in &self.nodes {
            let name = self.node_name(*id);
            if node.standing == Standing::Unknown {
                let reason = format!("{name} was not seen yet and may run it; it is fenced unless it joins");
                return Some(wait(Code::Fencing, reason));
            }
            if let Some(reason) = self.other_half(*id, node) {
                return Some(wait(Code::Fencing, reason));
            }
            if node.unverified {
                return Some(wait(Code::Again, format!("{name} has just joined and has not said yet what it runs")));
            }
        }
        if let Some(id) = record.rivals.keys().next() {
            let reason = format!("a copy runs on {}, which must be gone first", self.node_name(*id));
            // One on a member that is there is gone in moments; of another one nobody knows when.
            let there = self.nodes.get(id).is_some_and(NodeRecord::in_view);
            return Some(wait(if there { Code::Again } else { Code::Fencing }, reason));
        }
        // With one suspect it may be started there: that host's libvirt refuses a second copy. With two it may not.
        if mutant::is(Mutant::SuspectsIgnored) {
            return None;
        }
        let alone = record.suspects.len() == 1;
        let stuck = record.suspects.iter().find(|id| !alone || !self.nodes.get(id).is_some_and(|n| n.takes_services()));
        stuck.map(|id| {
            let name = self.node_name(*id);
            wait(Code::Fencing, format!("a copy may have been left on {name}, which has to come back or be fenced"))
        })
    }

    /// With `two_node` each of two hosts is quorate alone: one that is absent without being proven down may be deciding
    /// the same at this moment, for a service that ran on neither.
    fn other_half(&self, id: NodeId, node: &NodeRecord) -> Option<String> {
        use super::member::Standing;
        let absent = matches!(node.standing, Standing::Lost { .. } | Standing::Left { stopped: false });
        let two_node = self.config.as_ref().is_some_and(|config| config.two_node && config.nodes.contains_key(&id));
        (two_node && absent && !mutant::is(Mutant::TwoNodeBothStart)).then(|| {
            format!(
                "{} may be quorate by itself and start it too, until it is back or proven to be down",
                self.node_name(id)
            )
        })
    }

    /// Whether the configuration allows the service on this member.
    #[must_use]
    pub fn legal(&self, vm: &Vm, node: NodeId) -> bool {
        let Some(config) = &self.config else { return false };
        if !config.nodes.contains_key(&node) {
            return false;
        }
        match vm.domain.as_ref().and_then(|domain| config.failover_domains.get(domain)) {
            Some(domain) if domain.restricted && !mutant::is(Mutant::DomainIgnored) => {
                domain.members.iter().any(|(id, _)| *id == node)
            }
            _ => true,
        }
    }

    /// Until when a stopped service waits for the member it was asked for: one whose hypervisor has not answered yet, but
    /// may soon.
    pub(crate) fn wish_may_come_true(&self, record: &ServiceRecord) -> Option<Timestamp> {
        let node = self.nodes.get(&record.search.wish?)?;
        let until = node.since + WISH_PATIENCE;
        (node.standing == super::member::Standing::Online && !node.ready && until > self.time).then_some(until)
    }

    /// Whether a member could have the service if its hypervisor had already said what runs there.
    fn not_ready(&self, vm: &Vm, node: NodeId) -> bool {
        let record = self.nodes.get(&node);
        record.is_some_and(|r| r.standing == super::member::Standing::Online && !r.ready) && self.legal(vm, node)
    }

    fn no_candidate_reason(&self, vm: &Vm) -> String {
        let not_ready: Vec<String> =
            self.nodes.iter().filter(|(id, _)| self.not_ready(vm, **id)).map(|(id, _)| self.node_name(*id)).collect();
        if !not_ready.is_empty() {
            return format!("the hypervisor of {} has not answered yet", not_ready.join(", "));
        }
        vm.domain.as_ref().map_or_else(
            || "no member can run it".to_owned(),
            |domain| format!("no member of its restricted failover domain {domain} is online"),
        )
    }
}

fn wait(code: Code, reason: String) -> Place {
    Place::Wait { code, reason }
}
