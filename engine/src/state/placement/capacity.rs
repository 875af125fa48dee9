//! What is on each host: how many VMs, how much memory, how many virtual CPUs, and which rules they count for.
//!
//! A service counts wherever the state allows for a copy: while it starts, stops, at both ends of a migration, where a
//! stop of it failed, and where a second copy was seen or may have been left. What nobody knows the size of counts nothing,
//! and a host whose size nobody knows is never full: an old configuration says neither, and must go on working.

use super::super::State;
use super::super::service::ServiceRecord;
use super::rules::Rules;
use belay_config::model::{Cluster, Vm};
use belay_proto::{NodeId, ServiceName, Size};
use std::collections::BTreeMap;

/// What all hosts have, as far as placement minds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Board {
    hosts: BTreeMap<NodeId, Taken>,
    /// How many VMs of each rule are on each host.
    rules: Vec<BTreeMap<NodeId, u32>>,
    /// The same for each block.
    blocks: Vec<BTreeMap<NodeId, u32>>,
}

/// What one host has, and may have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Taken {
    /// How many VMs.
    pub vms: u32,
    /// How many of them want to be alone.
    pub exclusive: u32,
    /// What they take together.
    pub memory_mib: u64,
    /// What they take together.
    pub vcpus: u64,
    /// What VMs may take; `None` where nobody knows, or does not care.
    pub memory_limit: Option<u64>,
    /// The same for virtual CPUs.
    pub vcpu_limit: Option<u64>,
}

impl Taken {
    /// How much memory is left.
    #[must_use]
    pub fn memory_free(&self) -> Option<u64> {
        Some(self.memory_limit?.saturating_sub(self.memory_mib))
    }

    /// How many virtual CPUs are left.
    #[must_use]
    pub fn vcpus_free(&self) -> Option<u64> {
        Some(self.vcpu_limit?.saturating_sub(self.vcpus))
    }

    fn add(&mut self, vm: Option<&Vm>, size: Size) {
        self.vms += 1;
        self.exclusive += u32::from(vm.is_some_and(|vm| vm.exclusive.is_some()));
        self.memory_mib = self.memory_mib.saturating_add(size.memory_mib);
        self.vcpus = self.vcpus.saturating_add(size.vcpus.into());
    }

    fn remove(&mut self, vm: Option<&Vm>, size: Size) {
        self.vms = self.vms.saturating_sub(1);
        self.exclusive = self.exclusive.saturating_sub(u32::from(vm.is_some_and(|vm| vm.exclusive.is_some())));
        self.memory_mib = self.memory_mib.saturating_sub(size.memory_mib);
        self.vcpus = self.vcpus.saturating_sub(size.vcpus.into());
    }
}

/// What a service takes: what the configuration says, else what was last reported of its domain, else nothing.
pub(crate) fn size_of(vm: Option<&Vm>, record: &ServiceRecord) -> Size {
    let reported = record.size.unwrap_or_default();
    Size {
        memory_mib: vm.and_then(|vm| vm.memory_mib).unwrap_or(reported.memory_mib),
        vcpus: vm.and_then(|vm| vm.vcpus).unwrap_or(reported.vcpus),
    }
}

impl ServiceRecord {
    /// Every host it counts on, once.
    fn each_host(&self, mut visit: impl FnMut(NodeId)) {
        let allowed = self.phase.hosts();
        allowed.into_iter().flatten().for_each(&mut visit);
        let counted = |id: &NodeId| allowed.contains(&Some(*id));
        self.rivals.keys().filter(|id| !counted(id)).copied().for_each(&mut visit);
        let rest = self.suspects.iter().filter(|id| !counted(id) && !self.rivals.contains_key(id));
        rest.copied().for_each(&mut visit);
    }
}

impl Board {
    /// Counts a service wherever it is.
    pub(crate) fn add(&mut self, rules: &Rules, name: &ServiceName, vm: Option<&Vm>, record: &ServiceRecord) {
        let size = size_of(vm, record);
        record.each_host(|node| self.add_at(rules, name, vm, size, node));
    }

    /// Counts a service on one host.
    pub(crate) fn add_at(&mut self, rules: &Rules, name: &ServiceName, vm: Option<&Vm>, size: Size, node: NodeId) {
        self.hosts.entry(node).or_default().add(vm, size);
        self.each_counter(rules, name, |count| *count.entry(node).or_default() += 1);
    }

    /// Takes a service off again wherever it is.
    pub(crate) fn remove(&mut self, rules: &Rules, name: &ServiceName, vm: Option<&Vm>, record: &ServiceRecord) {
        let size = size_of(vm, record);
        record.each_host(|node| {
            self.hosts.entry(node).or_default().remove(vm, size);
            self.each_counter(rules, name, |count| match count.get_mut(&node) {
                Some(there) if *there > 1 => *there -= 1,
                _ => drop(count.remove(&node)),
            });
        });
    }

    fn each_counter(&mut self, rules: &Rules, name: &ServiceName, mut change: impl FnMut(&mut BTreeMap<NodeId, u32>)) {
        let ties = rules.ties(name);
        for rule in ties.rules {
            self.rules.get_mut(*rule).into_iter().for_each(&mut change);
        }
        let block = ties.block.and_then(|block| self.blocks.get_mut(block));
        block.into_iter().for_each(&mut change);
    }

    /// What a host has.
    #[must_use]
    pub fn at(&self, node: NodeId) -> Taken {
        self.hosts.get(&node).copied().unwrap_or_default()
    }

    /// How many VMs of a rule each host has.
    pub(crate) fn of_rule(&self, rule: usize) -> impl Iterator<Item = (NodeId, u32)> {
        self.rules.get(rule).into_iter().flatten().map(|(id, count)| (*id, *count))
    }

    /// How many VMs of a block each host has.
    pub(crate) fn of_block(&self, block: usize) -> impl Iterator<Item = (NodeId, u32)> {
        self.blocks.get(block).into_iter().flatten().map(|(id, count)| (*id, *count))
    }
}

impl State {
    /// What every host has now.
    #[must_use]
    pub fn board(&self) -> Board {
        let (rules, blocks) = self.rules.counts();
        let mut board = Board {
            hosts: BTreeMap::new(),
            rules: vec![BTreeMap::new(); rules],
            blocks: vec![BTreeMap::new(); blocks],
        };
        for id in self.nodes.keys() {
            let taken = board.hosts.entry(*id).or_default();
            (taken.memory_limit, taken.vcpu_limit) = self.limits(*id);
        }
        // Both maps are in the order of names: side by side, instead of a search for each of ten thousand.
        let mut vms = self.config.iter().flat_map(|config| &config.vms).peekable();
        for (name, record) in self.services.iter() {
            while vms.next_if(|(other, _)| *other < name).is_some() {}
            let vm = vms.peek().filter(|(other, _)| *other == name).map(|(_, vm)| *vm);
            board.add(&self.rules, name, vm, record);
        }
        board
    }

    fn limits(&self, node: NodeId) -> (Option<u64>, Option<u64>) {
        let Some(placement) = self.config.as_ref().map(|config| &config.placement) else { return (None, None) };
        if placement.overcommit {
            return (None, None);
        }
        let (memory, cpus) = self.capacity(node);
        (memory, cpus.map(|cpus| u64::from(cpus) * u64::from(placement.cpu_ratio.max(1))))
    }

    /// The VM's part of the configuration.
    pub(crate) fn vm(&self, name: &ServiceName) -> Option<&Vm> {
        self.cluster()?.vms.get(name)
    }

    pub(crate) fn cluster(&self) -> Option<&Cluster> {
        self.config.as_deref()
    }
}
