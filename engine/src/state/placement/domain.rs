//! Failover domains: how good a host is for a service, as far as its domain says.
//!
//! The scores are those of the original. An unrestricted domain is a preference: its members come first, others are
//! taken while no member can be had. A restricted one is a limit. In an ordered domain the lowest priority number is the
//! best; within `Better` the number still decides, where the original took whichever member came last in the file. A
//! member without a number comes last: in the original it came first with one of its two engines and last with the other.

use super::super::State;
use crate::mutant::{self, Mutant};
use belay_config::model::{Cluster, FailoverDomain, Vm};
use belay_proto::NodeId;
use std::cmp::Reverse;

/// How good a host is for a service by its failover domain; higher is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Score {
    /// The domain is restricted, and the host is not in it.
    Illegal,
    /// Not in the domain, some member of which is available.
    Good,
    /// In the ordered domain, but another member comes first; or it would do, were it not for `nofailback`.
    Better,
    /// As good as can be.
    Best,
}

/// A score, and the place in the order of an ordered domain: the greater one is preferred.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Preference {
    /// The score.
    pub score: Score,
    priority: Reverse<u8>,
}

/// Priorities go to 100; whoever has none comes after them, and whoever is no member at all after those.
const WITHOUT: u8 = 101;
const OUTSIDE: u8 = 102;

/// The failover domain of a VM.
pub(crate) fn domain_of<'a>(config: &'a Cluster, vm: &Vm) -> Option<&'a FailoverDomain> {
    config.failover_domains.get(vm.domain.as_ref()?)
}

fn priority_in(domain: &FailoverDomain, node: NodeId) -> Option<u8> {
    let (_, number) = domain.members.iter().find(|(id, _)| *id == node)?;
    Some(if *number == 0 { WITHOUT } else { *number })
}

/// How good `node` is for `vm` while these hosts are available and `owner` has it.
pub(crate) fn preference(
    config: &Cluster,
    vm: &Vm,
    node: NodeId,
    owner: Option<NodeId>,
    available: impl Fn(NodeId) -> bool,
) -> Preference {
    let any = Preference { score: Score::Best, priority: Reverse(0) };
    let Some(domain) = domain_of(config, vm) else { return any };
    let present = |id: NodeId| id == node || available(id);
    let Some(own) = priority_in(domain, node) else {
        let score = match domain.members.iter().any(|(id, _)| present(*id)) {
            _ if domain.restricted => Score::Illegal,
            true => Score::Good,
            false => Score::Best,
        };
        return Preference { score, priority: Reverse(OUTSIDE) };
    };
    if !domain.ordered {
        // Members are alike, and to stay is as good as to move anywhere among them.
        return any;
    }
    let best =
        domain.members.iter().filter(|(id, _)| present(*id)).filter_map(|(id, _)| priority_in(domain, *id)).min();
    let first = best.is_none_or(|best| own <= best);
    let stays = domain.nofailback && !mutant::is(Mutant::NofailbackIgnored);
    let score = match (stays, owner == Some(node), first) {
        (true, true, _) | (false, _, true) => Score::Best,
        (true, false, true) | (_, _, false) => Score::Better,
    };
    Preference { score, priority: Reverse(own) }
}

impl State {
    /// Whether the configuration allows the service on this member.
    #[must_use]
    pub fn legal(&self, vm: &Vm, node: NodeId) -> bool {
        self.config.as_ref().is_some_and(|config| {
            config.nodes.contains_key(&node) && (permits(config, vm, node) || mutant::is(Mutant::DomainIgnored))
        })
    }

    /// How good a host is for a service, given where it is and which hosts can be had.
    #[must_use]
    pub fn preference(&self, vm: &Vm, node: NodeId, owner: Option<NodeId>) -> Preference {
        let available = |id: NodeId| self.nodes.get(&id).is_some_and(super::super::member::NodeRecord::takes_services);
        match &self.config {
            Some(config) => preference(config, vm, node, owner, available),
            None => Preference { score: Score::Illegal, priority: Reverse(OUTSIDE) },
        }
    }
}

/// Whether the VM's failover domain allows for this host.
pub(crate) fn permits(config: &Cluster, vm: &Vm, node: NodeId) -> bool {
    domain_of(config, vm).is_none_or(|domain| !domain.restricted || priority_in(domain, node).is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cluster(ordered: bool, restricted: bool, nofailback: bool, members: &[(u32, u8)]) -> Cluster {
        let members = members.iter().map(|(id, priority)| (NodeId(*id), *priority)).collect();
        let domain = FailoverDomain { name: "d".into(), ordered, restricted, nofailback, members };
        Cluster { failover_domains: [("d".to_owned(), domain)].into(), ..Cluster::default() }
    }

    fn score(config: &Cluster, node: u32, owner: Option<u32>, available: &[u32]) -> Score {
        let vm = Vm { domain: Some("d".into()), ..Vm::new("a") };
        preference(config, &vm, NodeId(node), owner.map(NodeId), |id| available.contains(&id.0)).score
    }

    /// The table of rgmanager.md §6.1, hosts 1 and 2 in the domain with priorities 1 and 2, 3 outside.
    #[test]
    fn scores_are_those_of_the_original() {
        use Score::{Best, Better, Good, Illegal};
        let members = [(1, 1), (2, 2)];
        let table = [
            // ordered, restricted, nofailback; owner; available; scores of 1, 2, 3
            ((false, false, false), None, vec![1, 2, 3], [Best, Best, Good]),
            ((false, false, false), None, vec![3], [Best, Best, Best]),
            ((false, true, false), None, vec![1, 2, 3], [Best, Best, Illegal]),
            ((false, true, false), None, vec![3], [Best, Best, Illegal]),
            ((true, false, false), None, vec![1, 2, 3], [Best, Better, Good]),
            ((true, false, false), None, vec![2, 3], [Best, Best, Good]),
            ((true, true, false), Some(2), vec![1, 2, 3], [Best, Better, Illegal]),
            ((true, false, true), Some(2), vec![1, 2, 3], [Better, Best, Good]),
            ((true, false, true), Some(1), vec![1, 2, 3], [Best, Better, Good]),
            // From outside of the domain it still moves into it.
            ((true, false, true), Some(3), vec![1, 2, 3], [Better, Better, Good]),
        ];
        for ((ordered, restricted, nofailback), owner, available, expected) in table {
            let config = cluster(ordered, restricted, nofailback, &members);
            let found = [1, 2, 3].map(|node| score(&config, node, owner, &available));
            assert_eq!(found, expected, "{ordered} {restricted} {nofailback}, on {owner:?}, {available:?} available");
        }
    }

    #[test]
    fn a_member_without_a_priority_comes_last_and_still_before_everybody_outside() {
        let config = cluster(true, false, false, &[(1, 0), (2, 100)]);
        let vm = Vm { domain: Some("d".into()), ..Vm::new("a") };
        let of = |node| preference(&config, &vm, NodeId(node), None, |_| true);
        assert!(of(2) > of(1) && of(1) > of(3));
    }

    #[test]
    fn among_members_that_are_not_the_best_the_priority_decides() {
        let config = cluster(true, false, false, &[(1, 1), (2, 5), (3, 4)]);
        let vm = Vm { domain: Some("d".into()), ..Vm::new("a") };
        let of = |node| preference(&config, &vm, NodeId(node), None, |_| true);
        assert_eq!(of(2).score, of(3).score);
        assert!(of(3) > of(2));
    }

    #[test]
    fn a_domain_that_is_not_in_the_file_limits_nothing() {
        let vm = Vm { domain: Some("missing".into()), ..Vm::new("a") };
        assert!(permits(&Cluster::default(), &vm, NodeId(7)));
        assert_eq!(preference(&Cluster::default(), &vm, NodeId(7), None, |_| true).score, Score::Best);
    }
}
