//! What an entry itself proves: which hosts are off, and which have said that they do not have a service.
//!
//! Read off the entry and off what was known before it, and never off what the entry was taken to mean.

use super::super::State;
use super::super::fencing::Victim;
use super::super::member::Standing;
use super::Before;
use belay_proto::entry::{Entry, FenceOutcome, Request, Seen, What, WorkOutcome};
use belay_proto::{NodeId, ServiceName};
use std::collections::BTreeMap;

/// An entry, and what was known of hosts before it.
pub(in crate::state) struct Evidence<'a> {
    pub(super) entry: &'a Entry,
    /// Hosts that this entry proves to have nothing of what they had.
    proven: Vec<NodeId>,
    standings: Vec<(NodeId, Standing)>,
    /// The hosts that were to be fenced.
    pub(super) victims: BTreeMap<NodeId, Victim>,
    /// An inventory is of the life of the host that is known.
    of_this_boot: bool,
}

impl<'a> Evidence<'a> {
    /// Before the entry is applied.
    pub(in crate::state) fn of(state: &State, entry: &'a Entry) -> Self {
        let of_this_boot = match &entry.what {
            What::Inventory { boot, .. } => {
                state.nodes.get(&entry.from).is_some_and(|node| node.boot.as_ref() == Some(boot))
            }
            _ => false,
        };
        Self {
            entry,
            proven: proven(state, entry),
            standings: state.nodes.iter().map(|(id, node)| (*id, node.standing.clone())).collect(),
            victims: state.victims.clone(),
            of_this_boot,
        }
    }

    /// What was known of a host before the entry.
    pub(super) fn standing(&self, node: NodeId) -> Option<&Standing> {
        self.standings.iter().find(|(id, _)| *id == node).map(|(_, standing)| standing)
    }

    /// Whether a host is proven to run nothing of what it had.
    pub(super) fn proves(&self, state: &State, node: NodeId) -> bool {
        let clean_start = || state.cluster().is_some_and(|config| config.fence_daemon.clean_start);
        self.proven.contains(&node)
            || match self.standing(node) {
                Some(Standing::Down(_) | Standing::Left { stopped: true }) => true,
                // Never seen, or named for the first time by this very entry.
                Some(Standing::Unknown) | None => clean_start(),
                Some(_) => false,
            }
    }

    /// Whether a host is known not to have a service, by proof or by its own word in this entry.
    pub(super) fn frees(&self, state: &State, name: &ServiceName, before: &Before, node: NodeId) -> bool {
        self.proves(state, node) || self.entry.from == node && self.says_absent(name, before)
    }

    fn says_absent(&self, name: &ServiceName, before: &Before) -> bool {
        match &self.entry.what {
            What::Outcome { service, epoch, outcome } => {
                let absent = matches!(
                    outcome,
                    WorkOutcome::StartFailed { .. }
                        | WorkOutcome::Stopped
                        | WorkOutcome::StrayStopped
                        | WorkOutcome::Looked { running: false }
                );
                service == name && *epoch == before.epoch && absent
            }
            What::Observation { service, epoch, seen: Seen::Gone { .. } } => {
                // Of a copy that is not the owner's, no decision was made that could have come since.
                let second = before.rivals.contains_key(&self.entry.from);
                service == name && (*epoch == before.epoch || second)
            }
            What::Inventory { running, .. } => self.of_this_boot && !running.iter().any(|domain| domain == name.name()),
            _ => false,
        }
    }

    /// Whether the entry is an administrator's request about this service.
    pub(super) fn is_asked(&self, name: &ServiceName) -> bool {
        matches!(&self.entry.what, What::Request { request, .. } if request.service() == Some(name))
    }

    /// Whether somebody asked for it to be unfrozen.
    pub(super) fn is_unfrozen(&self, name: &ServiceName) -> bool {
        matches!(&self.entry.what, What::Request { request: Request::Unfreeze { service }, .. } if service == name)
    }
}

fn proven(state: &State, entry: &Entry) -> Vec<NodeId> {
    match &entry.what {
        What::FenceOutcome { victim, attempt, outcome: FenceOutcome::Confirmed { .. } } => {
            let first = state.victims.get(victim).map(|known| known.first_attempt);
            let last = state.nodes.get(victim).map_or(0, |node| node.fence_attempts);
            first.filter(|first| (*first..=last).contains(attempt)).map(|_| *victim).into_iter().collect()
        }
        What::Request { request: Request::AcknowledgeFence { node }, .. } => {
            let absent = state.nodes.get(node).is_some_and(|known| !known.in_view());
            absent.then_some(*node).into_iter().collect()
        }
        What::View(view) => {
            let reborn = |node: NodeId, boot| {
                state.nodes.get(&node).and_then(|known| known.boot.as_ref()).is_some_and(|known| known != boot)
            };
            view.members.iter().filter(|member| reborn(member.node, &member.boot)).map(|member| member.node).collect()
        }
        _ => Vec::new(),
    }
}
