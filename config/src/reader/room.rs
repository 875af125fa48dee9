//! VMs, and VMs that must share a host, that are larger than any host they may run on.
//!
//! It is said only where the file gives the sizes of both: what hosts and definitions report themselves is not known
//! here. A VM that is too large waits and is no error, since a larger host may come.

use super::findings::Findings;
use super::rules::Rules;
use super::together::{Together, VmIndex};
use super::values::Values;
use super::xml;
use crate::model::Node;
use belay_proto::ServiceName;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// What a VM or a group needs.
#[derive(Clone, Copy, Default)]
struct Need {
    memory_mib: u64,
    vcpus: u64,
}

/// The most that any of some hosts has; `None` where a host's own report decides.
#[derive(Clone, Copy)]
struct Most {
    memory_mib: Option<u64>,
    vcpus: Option<u64>,
}

/// What there is too little of.
enum Shortage {
    Memory { need: u64, most: u64 },
    Processors { need: u64, most: u64 },
}

impl fmt::Display for Shortage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (need, most, unit) = match self {
            Self::Memory { need, most } => (need, most, "MiB of memory"),
            Self::Processors { need, most } => (need, most, "virtual CPUs"),
        };
        write!(f, "{need} {unit}, and no host for it has more than {most}")
    }
}

impl Need {
    fn of(rules: &Rules<'_, '_>, name: &ServiceName) -> Self {
        let vm = rules.vm(name);
        Self {
            memory_mib: vm.and_then(|vm| vm.memory_mib).unwrap_or(0),
            vcpus: vm.and_then(|vm| vm.vcpus).unwrap_or(0).into(),
        }
    }

    fn and(self, other: Self) -> Self {
        Self {
            memory_mib: self.memory_mib.saturating_add(other.memory_mib),
            vcpus: self.vcpus.saturating_add(other.vcpus),
        }
    }

    fn beyond(self, most: Most) -> Option<Shortage> {
        let memory = most.memory_mib.filter(|most| self.memory_mib > *most);
        let processors = most.vcpus.filter(|most| self.vcpus > *most);
        memory
            .map(|most| Shortage::Memory { need: self.memory_mib, most })
            .or_else(|| processors.map(|most| Shortage::Processors { need: self.vcpus, most }))
    }
}

impl Most {
    fn of<'n>(hosts: impl Iterator<Item = &'n Node> + Clone, vcpus_a_cpu: u32) -> Self {
        let vcpus = |node: &Node| node.cpus.map(|cpus| u64::from(cpus) * u64::from(vcpus_a_cpu));
        // One host that does not say makes it unknown; without any host there is no room to speak of.
        let memory = hosts.clone().map(|node| node.memory_mib).reduce(|a, b| Some(a?.max(b?)));
        let vcpus = hosts.map(vcpus).reduce(|a, b| Some(a?.max(b?)));
        Self { memory_mib: memory.flatten(), vcpus: vcpus.flatten() }
    }
}

/// What hosts have, found once for each restricted failover domain and once for all hosts.
struct Rooms<'r, 'c, 'a> {
    rules: &'r Rules<'c, 'a>,
    found: BTreeMap<Option<&'c str>, Most>,
}

impl Rooms<'_, '_, '_> {
    /// The most that a host has which may run this VM.
    fn of(&mut self, name: &ServiceName) -> Most {
        let cluster = self.rules.cluster;
        let domain = self.rules.confines(name);
        *self.found.entry(domain.map(|domain| domain.name.as_str())).or_insert_with(|| match domain {
            Some(domain) => {
                let hosts = domain.members.iter().filter_map(|(id, _)| cluster.nodes.get(id));
                Most::of(hosts, cluster.placement.cpu_ratio)
            }
            None => Most::of(cluster.nodes.values(), cluster.placement.cpu_ratio),
        })
    }
}

/// Warns of each VM and each group of VMs that no host has room for.
pub(super) fn check(
    rules: &Rules<'_, '_>,
    together: &Together<'_>,
    groups: &[Vec<VmIndex>],
    findings: &mut Findings<'_>,
) {
    if rules.cluster.placement.overcommit {
        return;
    }
    let mut rooms = Rooms { rules, found: BTreeMap::new() };
    let mut too_large: BTreeSet<&ServiceName> = BTreeSet::new();
    for (name, element) in rules.elements {
        if let Some(shortage) = Need::of(rules, name).beyond(rooms.of(name)) {
            too_large.insert(name);
            let attribute = if matches!(shortage, Shortage::Memory { .. }) { "memory" } else { "vcpus" };
            let at = Values::of(*element, findings).at(attribute).unwrap_or_else(|| xml::tag(*element));
            findings
                .warning(at, format!("{name} needs {shortage}: it will not be started"))
                .help("overcommit=\"1\" in <placement> lets a host be given more than it has");
        }
    }
    for group in groups {
        let names: Vec<&ServiceName> = group.iter().map(|vm| together.name(*vm)).collect();
        if names.iter().any(|name| too_large.contains(name)) {
            continue;
        }
        let sum = names.iter().map(|name| Need::of(rules, name)).fold(Need::default(), Need::and);
        // The group fits nowhere if it does not fit where one of its VMs is confined to.
        let shortage = names.iter().find_map(|name| sum.beyond(rooms.of(name)));
        let rule = group.first().and_then(|vm| together.rule_of(*vm));
        if let (Some(shortage), Some(rule)) = (shortage, rule) {
            let (at, called) = (rules.place(rule, findings), rules.called(rule));
            findings
                .warning(at, format!("what rule {called} keeps together needs {shortage}: not all of it can run"))
                .help("leave required out, or write overcommit=\"1\" in <placement>");
        }
    }
}
