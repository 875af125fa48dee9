//! Exclusive services: alone on their hosts, the important ones first.
//!
//! The number is the priority, 1 highest. One that finds no empty host takes that of a less important one: that is
//! stopped and looks for another place. Numbers only go down on the way, so no two ever displace each other in turn. One
//! that could not be started does not displace anybody until it is asked for again: whoever had the place would be stopped
//! for nothing, again and again.

use super::super::State;
use super::super::history::{Cause, event};
use super::super::service::{AfterStop, Phase, ServiceRecord};
use super::capacity::Board;
use super::choice::{Obstacle, Weighed};
use crate::mutant::{self, Mutant};
use belay_config::model::Vm;
use belay_proto::history::{EventKind, Severity};
use belay_proto::{NodeId, ServiceName};
use std::cmp::Reverse;

impl State {
    /// Stops a less important exclusive service, if that gives this one a place; tells what it waits for then.
    pub(crate) fn displace(
        &mut self,
        name: &ServiceName,
        record: &ServiceRecord,
        weighed: &[Weighed],
        board: &Board,
    ) -> Option<String> {
        let vm = self.vm(name)?;
        let number = vm.exclusive?;
        let failed = record.search.rounds > 0 || record.search.last_failure.is_some();
        if failed || self.locked || self.disarmed.is_some() {
            return None;
        }
        let occupied: Vec<NodeId> = weighed
            .iter()
            .filter(|host| host.obstacle == Some(Obstacle::NotEmpty) && board.at(host.node).vms == 1)
            .map(|host| host.node)
            .collect();
        let lone: Vec<(ServiceName, NodeId)> = self
            .services
            .iter()
            .filter_map(|(other, record)| {
                Some((other.clone(), record.phase.owner().filter(|id| occupied.contains(id))?))
            })
            .collect();
        let stopping = |(other, _): &&(ServiceName, NodeId)| {
            self.services.get(other).is_some_and(|record| matches!(record.phase, Phase::Stopping { .. }))
        };
        if let Some((other, node)) = lone.iter().find(stopping) {
            return Some(format!("{other} is being stopped on {}, which it takes over", self.node_name(*node)));
        }
        let (other, node) = self.least_important(name, record, vm, number, lone, board)?;
        let cause = record.chain.last().map(|last| last.id);
        let here = self.node_name(node);
        self.with_service(&other, |state, displaced| {
            let text = format!("has to make room on {here} for {name}, which is exclusive with a higher priority");
            state.note_service(
                &other,
                displaced,
                event(EventKind::Service, Severity::Warning, text),
                Cause::from(cause),
            );
            state.stop_at(&other, displaced, node, AfterStop::Start { wish: None, avoid: Some(node) });
        });
        Some(format!("{other} is being stopped on {here}, which it takes over"))
    }

    /// Whose place is taken: where it would rather be, then the least important one's.
    fn least_important(
        &self,
        name: &ServiceName,
        record: &ServiceRecord,
        vm: &Vm,
        number: u32,
        lone: Vec<(ServiceName, NodeId)>,
        board: &Board,
    ) -> Option<(ServiceName, NodeId)> {
        let mut found = Vec::new();
        for (other, node) in lone {
            let (Some(theirs), Some(known)) = (self.vm(&other), self.services.get(&other)) else { continue };
            let equals = mutant::is(Mutant::EqualsDisplaceEachOther);
            let gives_way = |theirs: &u32| *theirs > number || equals && *theirs == number;
            let Some(lower) = theirs.exclusive.filter(gives_way) else { continue };
            let at_rest = matches!(known.phase, Phase::Started { .. }) && known.request.is_none() && !known.frozen;
            if !at_rest || !known.sought.is_empty() {
                continue;
            }
            let mut without = board.clone();
            without.remove(&self.rules, &other, Some(theirs), known);
            if self.obstacle(name, record, vm, node, &without).is_none() {
                let wished = record.search.wish == Some(node);
                let key = (!wished, Reverse(self.preference(vm, node, None)), Reverse(lower), node);
                found.push((key, other));
            }
        }
        found.into_iter().min().map(|((.., node), other)| (other, node))
    }
}
