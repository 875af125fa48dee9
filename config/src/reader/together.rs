//! Which VMs have to share a host: the required `affinity` rules put together, and the chain of rules that ties two VMs.
//!
//! "A with B" and "B with C" make a group of three, though no rule names A and C. A contradiction with such a group is
//! only understood when the whole chain is named.

use crate::model::Cluster;
use belay_proto::ServiceName;
use std::collections::{BTreeMap, VecDeque};

/// In a larger web of rules no chain is looked for; that file has other troubles.
const MOST_TIES: usize = 10_000;

/// A VM by its place in the cluster's order of names.
pub(super) type VmIndex = usize;
/// A rule by its place in the file.
pub(super) type RuleIndex = usize;

/// One rule's part in a chain: it ties two VMs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tie {
    pub(super) rule: RuleIndex,
    pub(super) from: VmIndex,
    pub(super) to: VmIndex,
}

/// The groups.
pub(super) struct Together<'c> {
    names: Vec<&'c ServiceName>,
    indices: BTreeMap<&'c ServiceName, VmIndex>,
    parents: Vec<VmIndex>,
    ties: BTreeMap<VmIndex, Vec<(VmIndex, RuleIndex)>>,
    count: usize,
}

impl<'c> Together<'c> {
    pub(super) fn of(cluster: &'c Cluster) -> Self {
        let names: Vec<&ServiceName> = cluster.vms.keys().collect();
        let indices = names.iter().enumerate().map(|(index, name)| (*name, index)).collect();
        let parents = (0..names.len()).collect();
        let mut groups = Self { names, indices, parents, ties: BTreeMap::new(), count: 0 };
        for (rule, affinity) in cluster.placement.affinities.iter().enumerate() {
            if affinity.together && affinity.required {
                groups.tie(rule, affinity.vms.iter());
            }
        }
        groups
    }

    /// Ties the first VM of a rule with each other one.
    fn tie<'v>(&mut self, rule: RuleIndex, vms: impl Iterator<Item = &'v ServiceName>) {
        let indices: Vec<VmIndex> = vms.filter_map(|vm| self.index(vm)).collect();
        let Some((first, others)) = indices.split_first() else { return };
        for other in others {
            let (a, b) = (self.root(*first), self.root(*other));
            self.parents[b] = a;
            self.ties.entry(*first).or_default().push((*other, rule));
            self.ties.entry(*other).or_default().push((*first, rule));
            self.count += 1;
        }
    }

    pub(super) fn index(&self, vm: &ServiceName) -> Option<VmIndex> {
        self.indices.get(vm).copied()
    }

    pub(super) fn name(&self, vm: VmIndex) -> &'c ServiceName {
        self.names[vm]
    }

    /// The VM that stands for the group of this one.
    pub(super) fn root(&mut self, mut vm: VmIndex) -> VmIndex {
        while self.parents[vm] != vm {
            self.parents[vm] = self.parents[self.parents[vm]];
            vm = self.parents[vm];
        }
        vm
    }

    /// All groups of two or more, each in the order of names.
    pub(super) fn groups(&mut self) -> Vec<Vec<VmIndex>> {
        let mut groups: BTreeMap<VmIndex, Vec<VmIndex>> = BTreeMap::new();
        let tied: Vec<VmIndex> = self.ties.keys().copied().collect();
        for vm in tied {
            groups.entry(self.root(vm)).or_default().push(vm);
        }
        groups.into_values().collect()
    }

    /// The first rule that names this VM of a group.
    pub(super) fn rule_of(&self, vm: VmIndex) -> Option<RuleIndex> {
        self.ties.get(&vm)?.iter().map(|(_, rule)| *rule).min()
    }

    /// The shortest chain of rules that ties two VMs of one group; empty if the web is too large to look for it.
    pub(super) fn chain(&self, from: VmIndex, to: VmIndex) -> Vec<Tie> {
        if self.count > MOST_TIES {
            return Vec::new();
        }
        let mut came: BTreeMap<VmIndex, Tie> = BTreeMap::new();
        let mut waiting = VecDeque::from([from]);
        while let Some(at) = waiting.pop_front().filter(|_| !came.contains_key(&to)) {
            for (next, rule) in self.ties.get(&at).into_iter().flatten() {
                if *next != from && !came.contains_key(next) {
                    came.insert(*next, Tie { rule: *rule, from: at, to: *next });
                    waiting.push_back(*next);
                }
            }
        }
        let mut chain: Vec<Tie> = Vec::new();
        let mut at = to;
        while let Some(tie) = came.get(&at) {
            at = tie.from;
            match chain.last_mut().filter(|last| last.rule == tie.rule) {
                // Two VMs of one rule are tied through its first.
                Some(last) => last.from = tie.from,
                None => chain.push(*tie),
            }
        }
        chain.reverse();
        chain
    }
}
