//! What runs where, as each host reports it when it joins and whenever its hypervisor answers again.
//!
//! An inventory is complete: a domain it does not name does not run on that host. So it proves that a service died
//! unnoticed, finds copies nobody knew of, and lets services be placed on the host from then on.

use super::State;
use belay_proto::entry::DomainName;
use belay_proto::{BootId, NodeId, ServiceName};
use std::collections::BTreeSet;

impl State {
    /// Asks every member what it runs.
    pub(crate) fn inquire(&mut self) {
        self.inquiry = self.next_question();
    }

    /// A host says what runs on it.
    pub(crate) fn apply_inventory(&mut self, from: NodeId, boot: &BootId, running: &[DomainName]) {
        let Some(node) = self.nodes.get_mut(&from) else { return };
        if !node.in_view() || node.boot.as_ref() != Some(boot) {
            return;
        }
        let running: BTreeSet<DomainName> = running.iter().cloned().collect();
        node.ready = true;
        node.unverified = false;
        node.left_behind.retain(|name| running.contains(name));
        node.running.clone_from(&running);
        let names: Vec<ServiceName> = self.services.keys().cloned().collect();
        for name in names {
            let here = running.contains(name.name());
            self.with_service(&name, |state, record| {
                if here {
                    state.seen_running(&name, record, from);
                } else {
                    state.seen_absent(&name, record, from);
                }
            });
        }
    }
}
