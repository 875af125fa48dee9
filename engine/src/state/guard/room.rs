//! New places held against the rules: what a host can bear, and who may be with whom (S13).
//!
//! Worked out afresh from the configuration and from where everything may be, in one walk over all services, and only when
//! an entry gave anything a place. To start a service where it was is always allowed.

use super::super::State;
use super::super::member::Standing;
use super::super::service::{Phase, ServiceRecord};
use super::{Before, holders_of};
use belay_config::model::{Cluster, Vm};
use belay_proto::{NodeId, NodeMode, ServiceName};
use std::collections::BTreeMap;

/// A place that an entry gave.
pub(super) struct Placed {
    name: ServiceName,
    to: NodeId,
    /// Rather than migrated there.
    starts: bool,
    /// It was there before.
    again: bool,
}

/// What a host is given.
#[derive(Default)]
struct Load {
    vms: u32,
    loners: u32,
    memory: u64,
    vcpus: u64,
}

/// The place a service was given by this entry.
pub(super) fn placed(name: &ServiceName, before: &Before, after: &ServiceRecord) -> Option<Placed> {
    if before.phase == after.phase && before.epoch == after.epoch {
        return None;
    }
    let (to, starts) = match (&after.phase, &before.phase) {
        (Phase::Starting { owner }, _) => (*owner, true),
        // It is only further than it was.
        (Phase::Migrating { from, to, .. }, Phase::Migrating { from: a, to: b, .. }) if (from, to) == (a, b) => {
            return None;
        }
        (Phase::Migrating { to, .. }, _) => (*to, false),
        _ => return None,
    };
    let again =
        before.phase.owner() == Some(to) || matches!(before.phase, Phase::Migrating { to: was, .. } if was == to);
    Some(Placed { name: name.clone(), to, starts, again })
}

impl State {
    /// The places that break a rule.
    pub(super) fn without_room(&self, placed: &[Placed]) -> Vec<(ServiceName, String)> {
        let Some(config) = self.cluster().filter(|_| !placed.is_empty()) else { return Vec::new() };
        let loads = self.loads(config, placed);
        let broken = |placed: &Placed| Some((placed.name.clone(), self.broken(config, placed, &loads)?));
        placed.iter().filter_map(broken).collect()
    }

    fn broken(&self, config: &Cluster, placed: &Placed, loads: &BTreeMap<NodeId, Load>) -> Option<String> {
        let vm = config.vms.get(&placed.name)?;
        let place = self.node_name(placed.to);
        if let Some(other) = vm.depend.as_ref().filter(|other| placed.starts && self.is_missing(other)) {
            return Some(format!("it is to start on {place} without {other}, which it depends on"));
        }
        if placed.again {
            return None;
        }
        let node = self.nodes.get(&placed.to)?;
        if node.mode != NodeMode::Active || node.standing != Standing::Online {
            return Some(format!("it is placed on {place}, which takes no VMs"));
        }
        let domain = vm.domain.as_ref().and_then(|domain| config.failover_domains.get(domain));
        if domain.is_some_and(|domain| domain.restricted && !domain.members.iter().any(|(id, _)| *id == placed.to)) {
            return Some(format!("it is placed on {place}, which its restricted failover domain does not contain"));
        }
        let load = loads.get(&placed.to)?;
        if load.vms > 1 && load.loners > 0 {
            return Some(format!("it is placed on {place}, where one VM has to be alone"));
        }
        self.overfull(config, vm, &placed.name, placed.to, load).or_else(|| self.against_rule(config, placed))
    }

    fn is_missing(&self, other: &ServiceName) -> bool {
        let runs = |record: &ServiceRecord| {
            matches!(record.phase, Phase::Started { .. } | Phase::Migrating { .. }) && !record.died_frozen
        };
        self.services.get(other).is_some_and(|record| !runs(record))
    }

    fn overfull(&self, config: &Cluster, vm: &Vm, name: &ServiceName, to: NodeId, load: &Load) -> Option<String> {
        if config.placement.overcommit {
            return None;
        }
        let (memory, cpus) = self.capacity(to);
        let limit = cpus.map(|cpus| u64::from(cpus) * u64::from(config.placement.cpu_ratio.max(1)));
        let own = self.services.get(name).map(|record| size(Some(vm), record)).unwrap_or_default();
        let place = self.node_name(to);
        match (memory, limit) {
            (Some(has), _) if own.0 > 0 && load.memory > has => {
                Some(format!("{place} is given {} MiB and has {has}", load.memory))
            }
            (_, Some(has)) if own.1 > 0 && load.vcpus > has => {
                Some(format!("{place} is given {} virtual CPUs and may have {has}", load.vcpus))
            }
            _ => None,
        }
    }

    /// A required rule about VMs together or apart.
    fn against_rule(&self, config: &Cluster, placed: &Placed) -> Option<String> {
        let mut rules =
            config.placement.affinities.iter().filter(|rule| rule.required && rule.vms.contains(&placed.name));
        rules.find_map(|rule| {
            let others = rule.vms.iter().filter(|other| **other != placed.name);
            let mut hosts = others.filter_map(|other| self.services.get(other)).flat_map(everywhere);
            let broken = hosts.any(|host| (host == placed.to) != rule.together && config.nodes.contains_key(&host));
            let place = self.node_name(placed.to);
            broken.then(|| format!("it is placed on {place} against the required rule {}", rule.name))
        })
    }

    /// What the hosts have that were given something. Both maps are in the order of names, and are walked side by side.
    fn loads(&self, config: &Cluster, placed: &[Placed]) -> BTreeMap<NodeId, Load> {
        let new = placed.iter().filter(|placed| !placed.again);
        let mut loads: BTreeMap<NodeId, Load> = new.map(|placed| (placed.to, Load::default())).collect();
        if loads.is_empty() {
            return loads;
        }
        let mut vms = config.vms.iter().peekable();
        for (name, record) in self.services.iter() {
            while vms.next_if(|(other, _)| *other < name).is_some() {}
            let vm = vms.peek().filter(|(other, _)| *other == name).map(|(_, vm)| *vm);
            let (memory, vcpus) = size(vm, record);
            let mut add = |host: NodeId| {
                if let Some(load) = loads.get_mut(&host) {
                    load.vms += 1;
                    load.loners += u32::from(vm.is_some_and(|vm| vm.exclusive.is_some()));
                    // Whatever a host reported.
                    load.memory = load.memory.saturating_add(memory);
                    load.vcpus = load.vcpus.saturating_add(vcpus);
                }
            };
            match record.phase {
                // Nearly all of them.
                Phase::Started { owner } if record.rivals.is_empty() && record.suspects.is_empty() => add(owner),
                _ => everywhere(record).into_iter().for_each(add),
            }
        }
        loads
    }
}

/// Every host a service takes room on, once.
fn everywhere(record: &ServiceRecord) -> Vec<NodeId> {
    let mut hosts = holders_of(record);
    match record.phase {
        Phase::Starting { owner } | Phase::Started { owner } | Phase::Stopping { owner, .. } => {
            hosts.insert(owner);
        }
        Phase::Failed { at } => {
            hosts.insert(at);
        }
        Phase::Migrating { from, to, .. } => hosts.extend([from, to]),
        Phase::Stopped { .. } | Phase::Disabled => {}
    }
    hosts.into_iter().collect()
}

fn size(vm: Option<&Vm>, record: &ServiceRecord) -> (u64, u64) {
    let reported = record.size.unwrap_or_default();
    let memory = vm.and_then(|vm| vm.memory_mib).unwrap_or(reported.memory_mib);
    (memory, u64::from(vm.and_then(|vm| vm.vcpus).unwrap_or(reported.vcpus)))
}
