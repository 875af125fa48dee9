//! VMs that need a host of their own each, counted against the hosts there are.
//!
//! Too few hosts are worth a warning. One may be added later, and a VM may be meant to wait; but whoever wrote four such
//! VMs for three hosts should learn it now.

use super::findings::Findings;
use super::rules::Rules;
use crate::model::Affinity;
use belay_proto::NodeId;
use std::collections::{BTreeMap, BTreeSet};

/// More VMs of small domains in one rule are not counted host by host: it would take long, and no cluster is so large.
const MOST_COUNTED: usize = 64;

/// VMs that need a host of their own each, against the hosts that may run them.
pub(super) fn check(rules: &Rules<'_, '_>, findings: &mut Findings<'_>) {
    let hosts = rules.cluster.nodes.len();
    for (index, rule) in rules.all().filter(|(_, rule)| rule.required && !rule.together) {
        let (wanted, called) = (rule.vms.len(), rules.called(index));
        let (most, why) = if wanted > hosts {
            (
                hosts,
                if hosts == 1 {
                    "the cluster has one host".to_owned()
                } else {
                    format!("the cluster has {hosts} hosts")
                },
            )
        } else {
            let most = placeable(rules, rule);
            (most, "their restricted failover domains have no more hosts".to_owned())
        };
        if most < wanted {
            let at = rules.place(index, findings);
            findings
                .warning(at, format!("only {most} of the {wanted} VMs of rule {called} can run at a time: {why}"))
                .help("leave required out to let VMs share a host when there are not enough");
        }
    }
}

/// How many VMs of a rule can each have a host of its own, when there are hosts enough for all of them together.
///
/// A VM with as many hosts to choose from as the rule has VMs always finds one in the end, so only the others are
/// matched with hosts: each takes a free one, or one whose VM can go elsewhere.
fn placeable(rules: &Rules<'_, '_>, rule: &Affinity) -> usize {
    let all = rule.vms.len();
    let confined: Vec<Vec<NodeId>> = rule
        .vms
        .iter()
        .filter_map(|vm| rules.confines(vm))
        .map(|domain| domain.members.iter().map(|(id, _)| *id).collect::<Vec<_>>())
        .filter(|hosts| hosts.len() < all)
        .collect();
    if confined.len() > MOST_COUNTED {
        return all;
    }
    let mut taken: BTreeMap<NodeId, usize> = BTreeMap::new();
    let placed = (0..confined.len()).filter(|vm| find_host(*vm, &confined, &mut taken, &mut BTreeSet::new())).count();
    all - confined.len() + placed
}

/// Gives a VM a host, moving others that can have another one. The depth is bounded by the number of VMs.
fn find_host(
    vm: usize,
    confined: &[Vec<NodeId>],
    taken: &mut BTreeMap<NodeId, usize>,
    asked: &mut BTreeSet<NodeId>,
) -> bool {
    for host in &confined[vm] {
        if !asked.insert(*host) {
            continue;
        }
        let holder = taken.get(host).copied();
        if holder.is_none_or(|holder| find_host(holder, confined, taken, asked)) {
            taken.insert(*host, vm);
            return true;
        }
    }
    false
}
