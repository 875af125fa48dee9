//! What one host has to do, derived from the state.

use super::State;
use super::migration::MigrationStage;
use super::service::{Phase, Rival, ServiceRecord};
use super::work::{Assigned, Assignments, FenceWork, VmWork, Work, WorkKind};
use crate::mutant::{self, Mutant};
use belay_config::model::Vm;
use belay_proto::{Index, NodeId, ServiceName};

impl State {
    /// All that a host's executors need: its work as far as `committed` allows, and what it must know to tell news.
    ///
    /// Work decided by an entry that a majority does not have on disk yet is held back: if this host did it and then
    /// died, nobody would know.
    #[must_use]
    pub fn assignments(&self, me: NodeId, committed: Index) -> Assignments {
        let mut assignments = Assignments::default();
        for (name, record) in &self.services {
            let vm = self.config.as_ref().and_then(|config| config.vms.get(name));
            let assigned = Assigned {
                service: name.clone(),
                epoch: record.epoch,
                state: record.phase.shown(),
                mine: record.phase.owner() == Some(me),
                hypervisor_uri: vm.and_then(|vm| vm.hypervisor_uri.clone()),
            };
            assignments.domains.insert(name.name().to_owned(), assigned);
            if let Some(vm) = vm
                && let Some(what) = self.service_work(me, name, record, vm)
                && (record.decided <= committed || mutant::is(Mutant::ActBeforeCommit))
            {
                assignments.work.push(Work { decided: record.decided, what });
            }
        }
        assignments.work.extend(self.fence_work(me).filter(|work| work.decided <= committed));
        assignments.facts_known = self.nodes.get(&me).is_some_and(|node| node.facts.is_some());
        assignments.inventory_wanted = self.nodes.get(&me).filter(|node| node.in_view()).map(|_| self.inquiry);
        assignments
    }

    fn service_work(&self, me: NodeId, name: &ServiceName, record: &ServiceRecord, vm: &Vm) -> Option<WorkKind> {
        let work = || VmWork { service: name.clone(), epoch: record.epoch, vm: vm.clone() };
        if record.rivals.get(&me) == Some(&Rival::BeingStopped) {
            return Some(WorkKind::StopStray(work()));
        }
        // What is only new is told by the inventory that was asked for.
        let asked_for = matches!(record.phase, Phase::Started { .. }) || record.rivals.contains_key(&me);
        if record.sought.contains(&me) && asked_for {
            return Some(WorkKind::Look(work()));
        }
        let rival_asked = record.rivals.values().any(|rival| *rival == Rival::AskingOwner);
        match record.phase {
            Phase::Starting { owner } if owner == me => Some(WorkKind::Start(work())),
            Phase::Stopping { owner, .. } if owner == me => Some(WorkKind::Stop(work())),
            Phase::Started { owner } if owner == me && rival_asked => Some(WorkKind::Look(work())),
            Phase::Migrating { from, to, stage: MigrationStage::Moving } if from == me => {
                Some(WorkKind::Migrate { vm: work(), to, to_name: self.node_name(to) })
            }
            Phase::Migrating { from, stage: MigrationStage::Looking { source: None, .. }, .. } if from == me => {
                Some(WorkKind::Look(work()))
            }
            // Only when the source has answered: until it does, the VM may still arrive after a look at the target.
            Phase::Migrating { to, stage: MigrationStage::Looking { source, target: None }, .. }
                if to == me && (source.is_some() || mutant::is(Mutant::MigrationByTargetOnly)) =>
            {
                Some(WorkKind::Look(work()))
            }
            _ => None,
        }
    }

    fn fence_work(&self, me: NodeId) -> impl Iterator<Item = Work> {
        self.victims.iter().filter_map(move |(node, victim)| {
            let both = mutant::is(Mutant::TwoFencers);
            let attempt = victim.attempt.as_ref().filter(|attempt| attempt.by == me || both)?;
            let config = self.config.as_ref()?;
            let work = FenceWork {
                victim: *node,
                victim_name: self.node_name(*node),
                attempt: attempt.number,
                methods: config.nodes.get(node).map(|n| n.methods.clone()).unwrap_or_default(),
                devices: config.fence_devices.clone(),
            };
            Some(Work { decided: attempt.decided, what: WorkKind::Fence(work) })
        })
    }
}
