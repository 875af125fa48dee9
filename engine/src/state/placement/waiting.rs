//! What has to be waited for before a service may be started anywhere: certainty that it runs nowhere, and for moments
//! the hosts that are just coming.
//!
//! The first must never be cut short (design S1, S2). The second is a courtesy with a bound: when a whole cluster is switched
//! on, the first hypervisor to answer is ahead of the others by milliseconds and would get everything.

use super::super::State;
use super::super::member::{NodeRecord, Standing};
use super::super::service::{Phase, ServiceRecord, Wanted};
use super::{Place, wait};
use crate::mutant::{self, Mutant};
use belay_config::model::Vm;
use belay_proto::{Code, NodeId, NodeMode, Span, Timestamp};

/// How long a member that is back is waited for by services that were asked for there.
const WISH_PATIENCE: Span = Span::seconds(30);
/// How long the hypervisor of a member that has just joined is waited for by services that may start there.
const JOIN_PATIENCE: Span = Span::seconds(5);

impl State {
    /// What must be known before a service may be started anywhere.
    pub(super) fn must_wait(&self, record: &ServiceRecord) -> Option<Place> {
        for (id, node) in &self.nodes {
            if node.standing == Standing::Unknown {
                let name = self.node_name(*id);
                let reason = format!("{name} was not seen yet and may run it; it is fenced unless it joins");
                return Some(wait(Code::Fencing, reason));
            }
            if let Some(reason) = self.other_half(*id, node) {
                return Some(wait(Code::Fencing, reason));
            }
            if node.unverified {
                let name = self.node_name(*id);
                return Some(wait(Code::Again, format!("{name} has just joined and has not said yet what it runs")));
            }
        }
        if !record.sought.is_empty() {
            let absent = record.sought.iter().find(|id| !self.nodes.get(id).is_some_and(NodeRecord::in_view));
            return Some(absent.map_or_else(
                || wait(Code::Again, "the members are asked whether it runs already".into()),
                |id| {
                    let name = self.node_name(*id);
                    wait(Code::Fencing, format!("it may run on {name}, which has to come back or be fenced"))
                },
            ));
        }
        if let Some(id) = record.rivals.keys().next() {
            let reason = format!("a copy runs on {}, which must be gone first", self.node_name(*id));
            // One on a member that is there is gone in moments; of another one nobody knows when.
            let there = self.nodes.get(id).is_some_and(NodeRecord::in_view);
            return Some(wait(if there { Code::Again } else { Code::Fencing }, reason));
        }
        if mutant::is(Mutant::SuspectsIgnored) {
            return None;
        }
        // With one suspect it may be started there: that host's libvirt refuses a second copy. With two it may not.
        let alone = record.suspects.len() == 1;
        let stuck = record.suspects.iter().find(|id| !alone || !self.nodes.get(id).is_some_and(|n| n.takes_services()));
        stuck.map(|id| {
            let name = self.node_name(*id);
            wait(Code::Fencing, format!("a copy may have been left on {name}, which has to come back or be fenced"))
        })
    }

    /// With `two_node` each of two hosts is quorate alone: one that is absent without being proven down may be deciding
    /// the same at this moment, for a service that ran on neither.
    pub(crate) fn other_half(&self, id: NodeId, node: &NodeRecord) -> Option<String> {
        let absent = matches!(node.standing, Standing::Lost { .. } | Standing::Left { stopped: false });
        let two_node = self.config.as_ref().is_some_and(|config| config.two_node && config.nodes.contains_key(&id));
        (two_node && absent && !mutant::is(Mutant::TwoNodeBothStart)).then(|| {
            format!(
                "{} may be quorate by itself and start it too, until it is back or proven to be down",
                self.node_name(id)
            )
        })
    }

    /// Until when a stopped service waits for the member it was asked for: one whose hypervisor has not answered yet, but
    /// may soon.
    fn wish_may_come_true(&self, record: &ServiceRecord) -> Option<Timestamp> {
        self.answers_soon(record.search.wish?, WISH_PATIENCE)
    }

    /// Until when a member's hypervisor is waited for, if it is.
    fn answers_soon(&self, node: NodeId, patience: Span) -> Option<Timestamp> {
        let node = self.nodes.get(&node)?;
        let until = node.since + patience;
        let silent = node.standing == Standing::Online && node.mode == NodeMode::Active && !node.ready;
        (silent && until > self.time).then_some(until)
    }

    /// Whether a service should wait for a hypervisor that may answer at any moment.
    pub(super) fn not_all_there(&self, vm: &Vm, record: &ServiceRecord) -> Option<Place> {
        if let Some(wish) = record.search.wish.filter(|_| self.wish_may_come_true(record).is_some()) {
            // Whoever asked for that member does not want another one because of a second.
            let reason = format!("the hypervisor of {} has not answered yet", self.node_name(wish));
            return Some(wait(Code::Again, reason));
        }
        let wish_is_there =
            record.search.wish.is_some_and(|id| self.nodes.get(&id).is_some_and(NodeRecord::takes_services));
        if wish_is_there || !matches!(record.phase, Phase::Stopped { .. }) {
            return None;
        }
        let coming = |id: &&NodeId| self.answers_soon(**id, JOIN_PATIENCE).is_some() && self.legal(vm, **id);
        let names: Vec<String> = self.nodes.keys().filter(coming).map(|id| self.node_name(*id)).collect();
        let reason = || format!("the hypervisor of {} has not answered yet", names.join(", "));
        (!names.is_empty()).then(|| wait(Code::Again, reason()))
    }

    /// When patience with members that are coming ends, for what waits for them.
    pub(crate) fn patience_ends(&self) -> Option<Timestamp> {
        let waits =
            |record: &&ServiceRecord| record.phase == (Phase::Stopped { wanted: Wanted::Now }) && !record.frozen;
        let mut pending = self.services.restless().map(|(_, record)| record).filter(waits).peekable();
        pending.peek()?;
        let joins = self.nodes.keys().filter_map(|id| self.answers_soon(*id, JOIN_PATIENCE)).min();
        pending.filter_map(|record| self.wish_may_come_true(record)).chain(joins).min()
    }
}
