//! The inventory: everything that runs on this host, complete or not at all.
//!
//! What it does not name counts as not running here, so it waits until every hypervisor that a managed domain may run
//! on has answered since it was asked for.

use super::World;
use super::hypervisor::Hypervisor;
use super::review::contradicts;
use belay_engine::mutant::{self, Mutant};
use belay_proto::entry::What;
use std::collections::BTreeSet;

impl World {
    /// Reports the inventory if it is due and complete.
    pub(super) fn inventory(&mut self) {
        let Some(due) = self.inventory_due else { return };
        let managed = self.assignments.domains.values().map(|assigned| self.uri_of(assigned));
        let needed: BTreeSet<&str> = managed.chain([self.settings.hypervisor.as_str()]).collect();
        let answered = |hypervisor: &Hypervisor| {
            hypervisor.outage.is_none() && hypervisor.listed.is_some_and(|issued| issued >= due)
        };
        let complete = needed.iter().all(|uri| self.hypervisors.get(*uri).is_some_and(answered));
        if !complete && !mutant::is(Mutant::InventoryTooEarly) {
            return;
        }
        // A domain that should run and was missed once is about to be looked for again.
        if self.services.values().any(|watched| watched.strikes > 0) {
            return;
        }
        let mut running = BTreeSet::new();
        for (uri, hypervisor) in self.hypervisors.iter().filter(|(uri, _)| needed.contains(uri.as_str())) {
            let names = hypervisor.domains.iter().filter(|(_, known)| known.running).map(|(name, _)| name);
            // A managed domain counts on its own hypervisor only: its namesake on another one is somebody else's.
            running.extend(
                names.filter(|name| self.assignments.domains.get(*name).is_none_or(|a| self.uri_of(a) == uri)).cloned(),
            );
        }
        for (name, assigned) in &self.assignments.domains {
            if running.contains(name) && contradicts(assigned) {
                self.services.entry(assigned.service.clone()).or_default().told_of_copy = true;
            }
        }
        self.inventory_due = None;
        let boot = self.settings.boot.clone();
        self.reports.push_back(What::Inventory { boot, running: running.into_iter().collect() });
    }
}
