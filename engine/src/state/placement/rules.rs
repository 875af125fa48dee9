//! The configuration's rules between VMs, turned round: for each VM what concerns it. Made once per configuration, since
//! every placement asks; it follows from the configuration and is no part of what members exchange.

use belay_config::model::{Affinity, Cluster, DependMode, Vm};
use belay_proto::ServiceName;
use std::collections::{BTreeMap, BTreeSet};

/// What concerns one VM: looked up once, and held against every host.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ties<'a> {
    /// Its block.
    pub(crate) block: Option<usize>,
    /// The rules it is in, by their place in the configuration, but for those of its block.
    pub(crate) rules: &'a [usize],
}

/// What concerns each VM.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Rules {
    /// Places in `Placement::affinities` of the rules a VM is in, but for those that make blocks.
    of: BTreeMap<ServiceName, Vec<usize>>,
    /// Which block a VM belongs to.
    block_of: BTreeMap<ServiceName, usize>,
    /// VMs that have to be together. Rules that share a VM make one block: what must be with the same must be together.
    blocks: Vec<BTreeSet<ServiceName>>,
    /// VMs that are stopped when another one is gone.
    dependants: Vec<ServiceName>,
    how_many: usize,
}

impl Rules {
    /// The rules of a configuration.
    pub(crate) fn of(config: &Cluster) -> Self {
        let affinities = &config.placement.affinities;
        let mut rules = Self { how_many: affinities.len(), ..Self::default() };
        for (number, rule) in affinities.iter().enumerate() {
            if makes_block(rule) {
                rules.join(&rule.vms);
                continue;
            }
            for vm in &rule.vms {
                rules.of.entry(vm.clone()).or_default().push(number);
            }
        }
        rules.blocks.retain(|block| !block.is_empty());
        for (number, block) in rules.blocks.iter().enumerate() {
            rules.block_of.extend(block.iter().map(|vm| (vm.clone(), number)));
        }
        rules.dependants = needy(config).map(|(name, _)| name.clone()).collect();
        rules
    }

    /// Makes one block of these VMs and of every block one of them is in.
    fn join(&mut self, vms: &BTreeSet<ServiceName>) {
        let mut joined = vms.clone();
        for block in &mut self.blocks {
            if !block.is_disjoint(vms) {
                joined.append(block);
            }
        }
        self.blocks.push(joined);
    }

    /// What concerns a VM.
    pub(crate) fn ties(&self, vm: &ServiceName) -> Ties<'_> {
        Ties { block: self.block_of.get(vm).copied(), rules: self.of.get(vm).map_or(&[], Vec::as_slice) }
    }

    /// The VMs of a block.
    pub(crate) fn members(&self, block: usize) -> impl Iterator<Item = &ServiceName> {
        self.blocks.get(block).into_iter().flatten()
    }

    /// How many rules and how many blocks there are.
    pub(crate) fn counts(&self) -> (usize, usize) {
        (self.how_many, self.blocks.len())
    }

    /// The VMs that are stopped when another one is gone.
    pub(crate) fn dependants(&self) -> &[ServiceName] {
        &self.dependants
    }
}

fn needy(config: &Cluster) -> impl Iterator<Item = (&ServiceName, &Vm)> {
    config.vms.iter().filter(|(_, vm)| vm.depend.is_some() && vm.depend_mode == DependMode::Hard)
}

/// Whether a rule keeps its VMs on one host at any price.
pub(crate) fn makes_block(rule: &Affinity) -> bool {
    rule.together && rule.required
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(together: bool, required: bool, vms: &[&str]) -> Affinity {
        let vms = vms.iter().map(|name| ServiceName::vm(name).unwrap()).collect();
        Affinity { name: "r".into(), together, required, vms }
    }

    fn rules(affinities: Vec<Affinity>) -> Rules {
        let mut config = Cluster::default();
        config.placement.affinities = affinities;
        Rules::of(&config)
    }

    #[test]
    fn rules_that_share_a_vm_make_one_block_in_whatever_order_they_are_written() {
        let (ab, cd, bc) = (["a", "b"], ["c", "d"], ["b", "c"]);
        for order in [[ab, cd, bc], [bc, ab, cd], [cd, bc, ab]] {
            let rules = rules(order.iter().map(|vms| rule(true, true, vms)).collect());
            let names: Vec<&str> = rules.members(0).map(ServiceName::name).collect();
            assert_eq!((rules.counts().1, names), (1, vec!["a", "b", "c", "d"]));
        }
    }

    #[test]
    fn preferences_and_rules_of_distance_make_no_block() {
        let rules = rules(vec![rule(true, false, &["a", "b"]), rule(false, true, &["a", "b"])]);
        let a = ServiceName::vm("a").unwrap();
        assert_eq!((rules.ties(&a).block, rules.ties(&a).rules), (None, &[0, 1][..]));
    }
}
