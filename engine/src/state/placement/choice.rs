//! Weighing the hosts for one service: what speaks against each, and which of the rest is the best.
//!
//! Of the hosts nothing speaks against, in this order: not the one it just failed on; one that has room for all that must
//! be with it; the better one by its failover domain; the one where fewer preferences are broken; the one with fewer VMs,
//! with less memory given away, with the lower id. So the answer is the same on every member and does not depend on the
//! order in which anything is written.

use super::super::State;
use super::super::member::Standing;
use super::super::service::ServiceRecord;
use super::capacity::{Board, size_of};
use super::domain::Preference;
use super::rules::Ties;
use crate::mutant::{self, Mutant};
use belay_config::model::Vm;
use belay_proto::{Code, NodeId, NodeMode, ServiceName};
use std::cmp::Reverse;

/// What speaks against starting a service on a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Obstacle {
    /// Its daemon is not in the view, or about to leave it.
    Offline,
    /// Its hypervisor has not said yet what runs there.
    NotReady,
    /// It is in maintenance or standby.
    Mode(NodeMode),
    /// The service's restricted failover domain does not contain it.
    Domain,
    /// A copy may have been left on another host.
    Suspect(NodeId),
    /// The service has to be alone, and other VMs are there.
    NotEmpty,
    /// A VM is there that has to be alone.
    Exclusive,
    /// What the service must be together with is on another host.
    Together(NodeId),
    /// What the service must be apart from is there; the rule's place in the configuration.
    Apart(usize),
    /// Not enough memory.
    Memory {
        /// What the service takes, in MiB.
        needs: u64,
        /// What is left.
        free: u64,
    },
    /// Not enough virtual CPUs.
    Vcpus {
        /// What the service takes.
        needs: u64,
        /// What is left.
        free: u64,
    },
    /// A start there failed in this round.
    Tried,
}

impl Obstacle {
    /// The code for a request that asked for this very host.
    #[must_use]
    pub fn code(self) -> Code {
        match self {
            Self::Offline => Code::NoNode,
            Self::NotReady => Code::Again,
            Self::Mode(_) | Self::Domain | Self::Memory { .. } | Self::Vcpus { .. } => Code::Domain,
            Self::Suspect(_) => Code::Fencing,
            Self::NotEmpty | Self::Exclusive | Self::Together(_) | Self::Apart(_) => Code::Depend,
            Self::Tried => Code::Failure,
        }
    }

    /// Whether the host could have the service by its domain and is there: what is missing is room, or company.
    pub(crate) fn is_about_room(self) -> bool {
        match self {
            Self::NotEmpty
            | Self::Exclusive
            | Self::Together(_)
            | Self::Apart(_)
            | Self::Memory { .. }
            | Self::Vcpus { .. } => true,
            Self::Offline | Self::NotReady | Self::Mode(_) | Self::Domain | Self::Suspect(_) | Self::Tried => false,
        }
    }
}

/// What placement thinks of one host for one service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Weighed {
    pub(crate) node: NodeId,
    pub(crate) obstacle: Option<Obstacle>,
    rank: Rank,
}

/// The smaller one is better.
type Rank = (bool, bool, Reverse<Preference>, u32, u32, u64);

impl State {
    /// Weighs every host for a service that is not on the board.
    pub(crate) fn weigh(&self, name: &ServiceName, record: &ServiceRecord, vm: &Vm, board: &Board) -> Vec<Weighed> {
        let followers = self.followers(name, board);
        let ties = self.rules.ties(name);
        let owner = record.phase.owner();
        self.nodes
            .keys()
            .map(|node| {
                let obstacle = self.obstacle_with(ties, record, vm, *node, board);
                let taken = board.at(*node);
                // Nobody asks for the rank of a host that is out of the question.
                let splits = obstacle.is_none() && self.splits(name, vm, record, &followers, *node, board);
                let rank = (
                    record.search.avoid == Some(*node),
                    splits,
                    Reverse(self.preference(vm, *node, owner)),
                    self.broken_preferences(ties, *node, board),
                    taken.vms,
                    taken.memory_mib,
                );
                Weighed { node: *node, obstacle, rank }
            })
            .collect()
    }

    /// What speaks against a host first.
    pub(crate) fn obstacle(
        &self,
        name: &ServiceName,
        record: &ServiceRecord,
        vm: &Vm,
        node: NodeId,
        board: &Board,
    ) -> Option<Obstacle> {
        self.obstacle_with(self.rules.ties(name), record, vm, node, board)
    }

    fn obstacle_with(
        &self,
        ties: Ties<'_>,
        record: &ServiceRecord,
        vm: &Vm,
        node: NodeId,
        board: &Board,
    ) -> Option<Obstacle> {
        self.unavailable(node)
            .or_else(|| (!self.legal(vm, node)).then_some(Obstacle::Domain))
            .or_else(|| {
                let suspect = record.suspects.iter().find(|id| **id != node);
                suspect.filter(|_| !mutant::is(Mutant::SuspectsIgnored)).map(|id| Obstacle::Suspect(*id))
            })
            .or_else(|| record.search.tried.contains(&node).then_some(Obstacle::Tried))
            .or_else(|| self.no_room(ties, record, vm, node, board))
    }

    fn unavailable(&self, node: NodeId) -> Option<Obstacle> {
        let known = self.nodes.get(&node);
        let Some(record) = known.filter(|record| record.standing == Standing::Online) else {
            return Some(Obstacle::Offline);
        };
        match record.mode {
            NodeMode::Active if record.takes_services() => None,
            NodeMode::Active => Some(Obstacle::NotReady),
            _ if mutant::is(Mutant::MaintenanceIsForgotten) && record.ready => None,
            mode => Some(Obstacle::Mode(mode)),
        }
    }

    /// What speaks against a host because of what is on it.
    fn no_room(
        &self,
        ties: Ties<'_>,
        record: &ServiceRecord,
        vm: &Vm,
        node: NodeId,
        board: &Board,
    ) -> Option<Obstacle> {
        let taken = board.at(node);
        if vm.exclusive.is_some() && taken.vms > 0 && !mutant::is(Mutant::ExclusiveIgnored) {
            return Some(Obstacle::NotEmpty);
        }
        if taken.exclusive > 0 && !mutant::is(Mutant::ExclusiveIgnored) {
            return Some(Obstacle::Exclusive);
        }
        if let Some(rule) = self.broken_rule(ties, node, board) {
            return Some(rule);
        }
        let size = size_of(Some(vm), record);
        let (memory, vcpus) = (size.memory_mib, u64::from(size.vcpus));
        match (taken.memory_free(), taken.vcpus_free()) {
            _ if mutant::is(Mutant::CapacityIgnored) => None,
            (Some(free), _) if memory > free => Some(Obstacle::Memory { needs: memory, free }),
            (_, Some(free)) if vcpus > free => Some(Obstacle::Vcpus { needs: vcpus, free }),
            _ => None,
        }
    }
}

/// The best of the hosts nothing speaks against.
pub(crate) fn best(weighed: &[Weighed]) -> Option<NodeId> {
    weighed
        .iter()
        .filter(|host| host.obstacle.is_none())
        .min_by_key(|host| (host.rank, host.node))
        .map(|host| host.node)
}
