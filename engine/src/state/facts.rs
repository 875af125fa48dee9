//! How big hosts and domains are, as far as the configuration or the hosts themselves say.

use super::State;
use belay_proto::entry::DomainName;
use belay_proto::{HostFacts, NodeId, ServiceName, Size};
use std::collections::BTreeMap;

impl State {
    /// A host says what it offers and how big the domains are that it knows.
    pub(crate) fn apply_facts(&mut self, from: NodeId, host: HostFacts, domains: &BTreeMap<DomainName, Size>) {
        if let Some(node) = self.nodes.get_mut(&from) {
            node.facts = Some(host);
        }
        for (domain, size) in domains {
            let Ok(name) = ServiceName::vm(domain) else { continue };
            self.services.change(&name, |record| record.size = Some(*size));
        }
    }

    /// What a host offers to VMs: what the configuration says, else what it reported; `None` where neither does.
    #[must_use]
    pub fn capacity(&self, node: NodeId) -> (Option<u64>, Option<u32>) {
        let configured = self.config.as_ref().and_then(|config| config.nodes.get(&node));
        let facts = self.nodes.get(&node).and_then(|record| record.facts);
        let memory = configured.and_then(|node| node.memory_mib).or(facts.map(|facts| facts.memory_mib));
        let cpus = configured.and_then(|node| node.cpus).or(facts.map(|facts| facts.cpus));
        (memory, cpus)
    }

    /// What a service takes: what the configuration says, else what was last reported of its domain.
    #[must_use]
    pub fn size(&self, name: &ServiceName) -> (Option<u64>, Option<u32>) {
        let vm = self.config.as_ref().and_then(|config| config.vms.get(name));
        let size = self.services.get(name).and_then(|record| record.size);
        let memory = vm.and_then(|vm| vm.memory_mib).or(size.map(|size| size.memory_mib));
        (memory, vm.and_then(|vm| vm.vcpus).or(size.map(|size| size.vcpus)))
    }
}
