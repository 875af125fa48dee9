//! Going to a better host when it comes: the failover domain says which is better, live migration takes it there.
//!
//! The cause is always a host that became available: one that joined, whose hypervisor answers, or that is in service
//! again. Each service notes which better hosts came since it was placed; a note is used up by the migration it leads to,
//! however that ends, so that one that fails is not repeated until the host comes again, and whatever an administrator moved
//! stays where it was put. As long as the better host has no room the note stays.

use super::super::State;
use super::super::history::{Cause, event};
use super::super::member::Standing;
use super::super::service::{MigrationStage, Phase, ServiceRecord};
use belay_proto::history::{EventKind, Severity};
use belay_proto::{NodeId, ServiceName};
use std::cmp::Reverse;

/// A running service that would be better off on another host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Move {
    /// Which.
    pub service: ServiceName,
    /// Where it runs.
    pub from: NodeId,
    /// Where it would be better off.
    pub to: NodeId,
}

impl ServiceRecord {
    /// Where it is or will be when what is under way succeeds.
    fn destination(&self) -> Option<NodeId> {
        match self.phase {
            Phase::Migrating { to, .. } => Some(to),
            _ => self.phase.owner(),
        }
    }
}

impl State {
    /// Notes the hosts that have become available since the last entry, with all services that are better off there.
    pub(crate) fn note_better_hosts(&mut self) {
        let changed: Vec<(NodeId, bool)> = self
            .nodes
            .iter()
            .map(|(id, node)| (*id, node.available, node.takes_services()))
            .filter(|(_, before, now)| before != now)
            .map(|(id, _, now)| (id, now))
            .collect();
        for (id, now) in &changed {
            if let Some(node) = self.nodes.get_mut(id) {
                node.available = *now;
            }
        }
        let came: Vec<NodeId> = changed.into_iter().filter(|(_, now)| *now).map(|(id, _)| id).collect();
        if came.is_empty() || !self.cluster().is_some_and(|config| config.vms.values().any(|vm| vm.domain.is_some())) {
            return;
        }
        let drawn: Vec<(ServiceName, NodeId)> = self
            .services
            .iter()
            .filter(|(_, record)| !record.frozen)
            .filter_map(|(name, record)| Some((name, record.destination()?)))
            .flat_map(|(name, at)| came.iter().map(move |to| (name, at, *to)))
            .filter(|(name, at, to)| self.is_better(name, *at, *to))
            .map(|(name, _, to)| (name.clone(), to))
            .collect();
        for (name, to) in drawn {
            self.services.change(&name, |record| record.drawn_to.insert(to));
        }
    }

    fn is_better(&self, name: &ServiceName, at: NodeId, to: NodeId) -> bool {
        let Some(vm) = self.vm(name).filter(|vm| vm.domain.is_some()) else { return false };
        self.legal(vm, to) && self.preference(vm, to, Some(at)) > self.preference(vm, at, Some(at))
    }

    /// The running services that would be better off on a host that has come since they were placed, the most important
    /// first, and where to. Whether there is room is another question.
    #[must_use]
    pub fn wished_moves(&self) -> Vec<Move> {
        if self.locked || self.disarmed.is_some() {
            return Vec::new();
        }
        let mut moves: Vec<(u32, Move)> = self
            .services
            .restless()
            .filter(|(_, record)| !record.drawn_to.is_empty())
            .flat_map(|(name, record)| self.better_hosts(name, record))
            .collect();
        // Each service's better hosts stay in their order.
        moves.sort_by(|one, other| (one.0, &one.1.service).cmp(&(other.0, &other.1.service)));
        moves.into_iter().map(|(_, wished)| wished).collect()
    }

    /// Where a service would be better off, the best first.
    fn better_hosts(&self, name: &ServiceName, record: &ServiceRecord) -> Vec<(u32, Move)> {
        let (Phase::Started { owner: from }, Some(vm)) = (&record.phase, self.vm(name)) else { return Vec::new() };
        let from = *from;
        let busy = record.frozen || record.request.is_some() || !record.rivals.is_empty() || !record.sought.is_empty();
        let alive = record.trouble.is_none() && !record.died_frozen;
        let there = self.nodes.get(&from).is_some_and(|node| node.standing == Standing::Online);
        if busy || !alive || !there {
            return Vec::new();
        }
        let mut better: Vec<NodeId> =
            record.drawn_to.iter().copied().filter(|to| self.is_better(name, from, *to)).collect();
        better.sort_by_key(|to| (Reverse(self.preference(vm, *to, Some(from))), *to));
        better.into_iter().map(|to| (vm.priority, Move { service: name.clone(), from, to })).collect()
    }

    /// Begins as many wished moves as there is room for and the limit of migrations lets.
    pub(crate) fn fail_back(&mut self) {
        let wished = self.wished_moves();
        if wished.is_empty() {
            return;
        }
        let mut slots = self.migration_slots();
        let mut board = self.board();
        for wished in wished {
            if !slots.free(wished.from, wished.to) {
                continue;
            }
            self.with_service(&wished.service, |state, record| {
                let name = &wished.service;
                let Some(vm) = state.vm(name).cloned() else { return };
                board.remove(&state.rules, name, Some(&vm), record);
                let still_there = record.phase == Phase::Started { owner: wished.from };
                if still_there && state.obstacle(name, record, &vm, wished.to, &board).is_none() {
                    slots.take(wished.from, wished.to);
                    state.move_to_better(&wished, record);
                }
                board.add(&state.rules, name, Some(&vm), record);
            });
        }
    }

    fn move_to_better(&mut self, wished: &Move, record: &mut ServiceRecord) {
        let (name, from, to) = (&wished.service, wished.from, wished.to);
        let (here, there) = (self.node_name(from), self.node_name(to));
        let cause = self.nodes.get(&to).and_then(|node| node.last_event);
        let text = format!("{there} is available, which is better for it by its failover domain");
        self.note_service(name, record, event(EventKind::Service, Severity::Notice, text), Cause::from(cause));
        let mut others = std::mem::take(&mut record.drawn_to);
        others.remove(&to);
        let phase = Phase::Migrating { from, to, stage: MigrationStage::Moving };
        self.decide(name, record, phase, format!("migrating from {here} to {there}"), Cause::Before);
        record.drawn_to = others;
    }
}
