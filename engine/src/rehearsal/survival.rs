//! Whether the cluster survives the loss of hosts: each loss is rehearsed, and what would be left without a place is named.

use super::{Happening, Rehearsal, RehearsalError};
use belay_proto::{NodeId, ServiceName};
use std::collections::{BTreeMap, BTreeSet};

/// What the loss of some hosts would mean.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loss {
    /// The hosts that are lost together.
    pub hosts: BTreeSet<NodeId>,
    /// Whether the others may decide anything then.
    pub quorate: bool,
    /// Services that run now, or have a place, and then would not; each with the reason.
    pub without_a_place: BTreeMap<ServiceName, String>,
}

/// What the loss of any so many hosts would mean.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Survival {
    /// Services that have no place already.
    pub already: BTreeMap<ServiceName, String>,
    /// One for each set of hosts, in ascending order.
    pub losses: Vec<Loss>,
    /// Services of unknown size: no promise holds for their memory.
    pub unsized_services: Vec<ServiceName>,
    /// Hosts of unknown memory.
    pub unsized_hosts: Vec<NodeId>,
}

impl Survival {
    /// Whether every service that has a place keeps one, whichever hosts are lost.
    #[must_use]
    pub fn is_given(&self) -> bool {
        self.losses.iter().all(|loss| loss.quorate && loss.without_a_place.is_empty())
    }
}

/// Rehearses the loss of each set of `count` hosts.
///
/// # Errors
/// When there is nothing to rehearse on.
pub fn survival(rehearsal: &Rehearsal, count: usize) -> Result<Survival, RehearsalError> {
    let already = rehearsal.without_a_place();
    let state = rehearsal.state();
    let hosts: Vec<NodeId> = state.online().collect();
    let mut losses = Vec::new();
    for lost in subsets(&hosts, count) {
        let mut copy = rehearsal.clone();
        let played = copy.play(&Happening::Fail(lost.clone()))?;
        let mut without_a_place = copy.without_a_place();
        without_a_place.retain(|name, _| !already.contains_key(name));
        losses.push(Loss { hosts: lost, quorate: played.quorate, without_a_place });
    }
    let unsized_services = state.services().map(|(name, _)| name).filter(|name| state.size(name).0.is_none());
    Ok(Survival {
        already,
        losses,
        unsized_services: unsized_services.cloned().collect(),
        unsized_hosts: hosts.iter().copied().filter(|node| state.capacity(*node).0.is_none()).collect(),
    })
}

/// All subsets of this size, in ascending order.
fn subsets(hosts: &[NodeId], count: usize) -> Vec<BTreeSet<NodeId>> {
    let Some((first, rest)) = hosts.split_first() else {
        return if count == 0 { vec![BTreeSet::new()] } else { Vec::new() };
    };
    if count == 0 {
        return vec![BTreeSet::new()];
    }
    let mut with: Vec<BTreeSet<NodeId>> = subsets(rest, count - 1);
    with.iter_mut().for_each(|set| {
        set.insert(*first);
    });
    with.extend(subsets(rest, count));
    with
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_subset_of_the_size_is_tried_once() {
        let hosts: Vec<NodeId> = (1..=4).map(NodeId).collect();
        let two = subsets(&hosts, 2);
        assert_eq!(two.len(), 6);
        assert_eq!(two.iter().collect::<BTreeSet<_>>().len(), 6);
        assert_eq!(subsets(&hosts, 0), [BTreeSet::new()]);
        assert!(subsets(&hosts, 5).is_empty());
    }
}
