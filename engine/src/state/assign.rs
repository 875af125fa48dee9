//! What one host has to do, derived from the state.

use super::State;
use super::service::{MigrationStage, Phase, Rival, ServiceRecord};
use super::work::{Assigned, Assignments, FenceWork, SwitchOnWork, VmWork, Work, WorkKind};
use crate::mutant::{self, Mutant};
use belay_proto::{Index, NodeId, ServiceName};
use std::collections::BTreeMap;

impl State {
    /// All that a host's executors need: its work as far as `committed` allows, and what it must know to tell news.
    ///
    /// Work decided by an entry that a majority does not have on disk yet is held back: if this host did it and then
    /// died, nobody would know.
    #[must_use]
    pub fn assignments(&self, me: NodeId, committed: Index) -> Assignments {
        let mut assignments = Assignments::default();
        self.assign(me, committed, &mut assignments);
        assignments
    }

    /// Brings a host's assignments up to date and tells whether anything in them has changed. One entry changes one of
    /// ten thousand services, so what is the same is only compared.
    pub fn assign(&self, me: NodeId, committed: Index, assignments: &mut Assignments) -> bool {
        let node = self.nodes.get(&me);
        let rest =
            (node.is_some_and(|node| node.facts.is_some()), node.filter(|node| node.in_view()).map(|_| self.inquiry));
        let work: Vec<Work> = self
            .services
            .restless()
            .filter(|(_, record)| record.decided <= committed || mutant::is(Mutant::ActBeforeCommit))
            .filter_map(|(name, record)| {
                Some(Work { decided: record.decided, what: self.service_work(me, name, record)? })
            })
            .chain(self.fence_work(me).chain(self.switch_on_work(me)).filter(|work| work.decided <= committed))
            .collect();
        let since = assignments.as_of.0.replace(self.services.told());
        let mut changed = self.assign_domains(me, since, &mut assignments.domains);
        changed |= rest != (assignments.facts_known, assignments.inventory_wanted) || work != assignments.work;
        (assignments.facts_known, assignments.inventory_wanted) = rest;
        assignments.work = work;
        changed
    }

    /// Of ten thousand domains it looks only at those that have changed since the last time, if that is known.
    fn assign_domains(&self, me: NodeId, since: Option<u64>, domains: &mut BTreeMap<String, Assigned>) -> bool {
        let Some(names) = since.and_then(|since| self.services.told_since(since)) else {
            return self.assign_all_domains(me, domains);
        };
        let mut changed = false;
        for name in names {
            let (Some(record), Some(assigned)) = (self.services.get(name), domains.get_mut(name.name())) else {
                // One that came or went.
                return self.assign_all_domains(me, domains);
            };
            changed |= assigned.becomes(me, record);
        }
        debug_assert!(!self.assign_all_domains(me, &mut domains.clone()), "a change of a service went untold");
        changed
    }

    fn assign_all_domains(&self, me: NodeId, domains: &mut BTreeMap<String, Assigned>) -> bool {
        let mut changed = false;
        let mut known = domains.iter_mut();
        let mut alike = true;
        for (name, record, uri) in self.with_uris() {
            let Some((_, assigned)) = known.next().filter(|(domain, _)| *domain == name.name()) else {
                alike = false;
                break;
            };
            changed |= assigned.becomes(me, record);
            if assigned.hypervisor_uri.as_ref() != uri {
                assigned.hypervisor_uri = uri.cloned();
                changed = true;
            }
        }
        if alike && known.next().is_none() {
            return changed;
        }
        let assigned = |(name, record, uri): (&ServiceName, &ServiceRecord, Option<&String>)| {
            let assigned = Assigned {
                service: name.clone(),
                epoch: record.epoch,
                state: record.phase.shown(),
                mine: record.phase.owner() == Some(me),
                hypervisor_uri: uri.cloned(),
            };
            (name.name().to_owned(), assigned)
        };
        *domains = self.with_uris().map(assigned).collect();
        true
    }

    /// All services with the hypervisors they are on. Both maps are in the order of names, and are walked side by side.
    fn with_uris(&self) -> impl Iterator<Item = (&ServiceName, &ServiceRecord, Option<&String>)> {
        let mut vms = self.config.iter().flat_map(|config| &config.vms).peekable();
        self.services.iter().map(move |(name, record)| {
            while vms.next_if(|(other, _)| *other < name).is_some() {}
            let vm = vms.peek().filter(|(other, _)| *other == name);
            (name, record, vm.and_then(|(_, vm)| vm.hypervisor_uri.as_ref()))
        })
    }

    fn service_work(&self, me: NodeId, name: &ServiceName, record: &ServiceRecord) -> Option<WorkKind> {
        // Looked for only where there is work: nearly all services rest.
        let work = || Some(VmWork { service: name.clone(), epoch: record.epoch, vm: self.vm(name)?.clone() });
        if record.rivals.get(&me) == Some(&Rival::BeingStopped) {
            return Some(WorkKind::StopStray(work()?));
        }
        // What is only new is told by the inventory that was asked for.
        let asked_for = matches!(record.phase, Phase::Started { .. }) || record.rivals.contains_key(&me);
        if record.sought.contains(&me) && asked_for {
            return Some(WorkKind::Look(work()?));
        }
        let rival_asked = record.rivals.values().any(|rival| *rival == Rival::AskingOwner);
        match record.phase {
            // Another host may have what an old state has this one start.
            Phase::Starting { owner }
                if owner == me
                    && (record.suspects.iter().all(|id| *id == me) || mutant::is(Mutant::SuspectsIgnored)) =>
            {
                Some(WorkKind::Start(work()?))
            }
            Phase::Stopping { owner, .. } if owner == me => Some(WorkKind::Stop(work()?)),
            Phase::Started { owner } if owner == me && rival_asked => Some(WorkKind::Look(work()?)),
            Phase::Migrating { from, to, stage: MigrationStage::Moving } if from == me => {
                Some(WorkKind::Migrate { vm: work()?, to, to_name: self.node_name(to) })
            }
            Phase::Migrating { from, stage: MigrationStage::Looking { source: None, .. }, .. } if from == me => {
                Some(WorkKind::Look(work()?))
            }
            // Only when the source has answered: until it does, the VM may still arrive after a look at the target.
            Phase::Migrating { to, stage: MigrationStage::Looking { source, target: None }, .. }
                if to == me && (source.is_some() || mutant::is(Mutant::MigrationByTargetOnly)) =>
            {
                Some(WorkKind::Look(work()?))
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

    fn switch_on_work(&self, me: NodeId) -> impl Iterator<Item = Work> {
        self.nodes.iter().filter_map(move |(node, record)| {
            let attempt = record.switch_on.as_ref()?.attempt().filter(|attempt| attempt.by == me)?;
            let work = SwitchOnWork {
                victim: *node,
                victim_name: self.node_name(*node),
                attempt: attempt.number,
                uses: self.switched_on_by(*node)?,
                devices: self.config.as_ref()?.fence_devices.clone(),
            };
            Some(Work { decided: attempt.decided, what: WorkKind::SwitchOn(work) })
        })
    }
}

impl Assigned {
    /// Takes over what the record says, and tells whether that is anything new.
    fn becomes(&mut self, me: NodeId, record: &ServiceRecord) -> bool {
        let now = (record.epoch, record.phase.shown(), record.phase.owner() == Some(me));
        let changed = (self.epoch, self.state, self.mine) != now;
        (self.epoch, self.state, self.mine) = now;
        changed
    }
}
