//! Company: VMs that belong together or apart.
//!
//! A required rule is a limit, a preferred one decides between hosts that are alike otherwise. VMs that must be together
//! form a block; its first VM goes where all of the block that waits for a place has room, so that the others find some.
//! A running VM is never moved because of a rule: whoever breaks one already, since somebody moved it by hand or the rule
//! is new, goes on running.

use super::super::State;
use super::super::service::{Phase, ServiceRecord, Wanted};
use super::capacity::{Board, size_of};
use super::choice::Obstacle;
use super::domain::permits;
use super::rules::Ties;
use crate::mutant::{self, Mutant};
use belay_config::model::{Affinity, Vm};
use belay_proto::{NodeId, ServiceName};

/// A VM of the same block that waits for a place as well.
pub(crate) struct Follower<'a> {
    name: &'a ServiceName,
    vm: &'a Vm,
    record: &'a ServiceRecord,
}

impl State {
    fn affinity(&self, rule: usize) -> Option<&Affinity> {
        self.cluster()?.placement.affinities.get(rule)
    }

    /// The required rule that a service would break on a host.
    pub(crate) fn broken_rule(&self, ties: Ties<'_>, node: NodeId, board: &Board) -> Option<Obstacle> {
        if mutant::is(Mutant::AffinityIgnored) {
            return None;
        }
        if let Some(block) = ties.block
            && let Some((other, _)) = board.of_block(block).find(|(other, _)| *other != node)
        {
            return Some(Obstacle::Together(other));
        }
        let mut strict = ties
            .rules
            .iter()
            .copied()
            .filter(|rule| self.affinity(*rule).is_some_and(|rule| rule.required && !rule.together));
        strict.find(|rule| board.of_rule(*rule).any(|(other, _)| other == node)).map(Obstacle::Apart)
    }

    /// How many VMs are where a preferred rule would rather not have them, if the service were on this host.
    pub(crate) fn broken_preferences(&self, ties: Ties<'_>, node: NodeId, board: &Board) -> u32 {
        let broken = |number: &usize| {
            let rule = self.affinity(*number)?;
            let wrong = |other: &NodeId| (*other == node) != rule.together;
            Some(board.of_rule(*number).filter(|(other, _)| wrong(other)).map(|(_, count)| count).sum::<u32>())
        };
        ties.rules.iter().filter_map(broken).sum()
    }

    /// The VMs that wait for a place and must be where this one goes, if none of its block has a place yet.
    pub(crate) fn followers(&self, name: &ServiceName, board: &Board) -> Vec<Follower<'_>> {
        let Some(block) = self.rules.ties(name).block else { return Vec::new() };
        if board.of_block(block).next().is_some() {
            return Vec::new();
        }
        let waiting = |other: &'_ ServiceName| {
            let record = self.services.get(other)?;
            let waits = record.phase == (Phase::Stopped { wanted: Wanted::Now }) && !record.frozen;
            Some((record, self.vm(other)?)).filter(|_| waits)
        };
        let others = self.rules.members(block).filter(|other| *other != name);
        others.filter_map(|other| waiting(other).map(|(record, vm)| Follower { name: other, vm, record })).collect()
    }

    /// Whether a host that has room for a service has none for all that must follow it.
    pub(crate) fn splits(
        &self,
        name: &ServiceName,
        vm: &Vm,
        record: &ServiceRecord,
        followers: &[Follower<'_>],
        node: NodeId,
        board: &Board,
    ) -> bool {
        if followers.is_empty() {
            return false;
        }
        let own = (name, vm, record);
        let all = || followers.iter().map(|other| (other.name, other.vm, other.record)).chain([own]);
        let (mut memory, mut vcpus) = (0u64, 0u64);
        for (_, vm, record) in all() {
            let size = size_of(Some(vm), record);
            memory = memory.saturating_add(size.memory_mib);
            vcpus = vcpus.saturating_add(size.vcpus.into());
        }
        let taken = board.at(node);
        let config = self.cluster();
        taken.memory_free().is_some_and(|free| memory > free)
            || taken.vcpus_free().is_some_and(|free| vcpus > free)
            || all().any(|(name, vm, _)| {
                !config.is_some_and(|config| permits(config, vm, node))
                    || self.broken_rule(self.rules.ties(name), node, board).is_some()
            })
    }

    /// The rule's name, for people.
    pub(crate) fn rule_name(&self, rule: usize) -> &str {
        self.affinity(rule).map_or("", |rule| &rule.name)
    }

    /// The name of a rule that keeps a service together with others.
    pub(crate) fn block_rule(&self, name: &ServiceName) -> &str {
        let rules = self.cluster().into_iter().flat_map(|config| &config.placement.affinities);
        let mut of = rules.filter(|rule| super::rules::makes_block(rule) && rule.vms.contains(name));
        of.next().map_or("", |rule| &rule.name)
    }
}
