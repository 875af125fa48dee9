//! What runs where, as each host reports it when it joins and whenever its hypervisor answers again.
//!
//! An inventory is complete: a domain it does not name does not run on that host. So it proves that a service died
//! unnoticed, finds copies nobody knew of, and lets services be placed on the host from then on.

use super::State;
use super::history::{Cause, event};
use super::service::{Phase, Rival, ServiceRecord, Wanted};
use crate::mutant::{self, Mutant};
use belay_proto::entry::{DomainName, GoneReason};
use belay_proto::history::{EventKind, HistoryEvent, Severity};
use belay_proto::{BootId, NodeId, ServiceName};
use std::collections::BTreeSet;

impl State {
    /// Asks every member what it runs.
    pub(crate) fn inquire(&mut self) {
        self.inquiry += 1;
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

    fn seen_absent(&mut self, name: &ServiceName, record: &mut ServiceRecord, from: NodeId) {
        record.rivals.remove(&from);
        record.suspects.remove(&from);
        self.not_found_on(name, record, from);
        if !record.sought.is_empty() {
            return;
        }
        if record.phase == (Phase::Started { owner: from }) && !record.died_frozen {
            self.gone(name, record, from, GoneReason::Missing.words());
        }
    }

    /// A copy runs on a host. Whether that is as it should be depends on what the state says.
    pub(crate) fn seen_running(&mut self, name: &ServiceName, record: &mut ServiceRecord, from: NodeId) {
        let place = self.node_name(from);
        match record.phase.clone() {
            Phase::Started { owner } if owner != from && mutant::is(Mutant::RivalsIgnored) => {}
            phase if phase.may_run_on(from) => {
                if record.died_frozen && phase == (Phase::Started { owner: from }) {
                    // Somebody started it again by hand while it was frozen.
                    record.died_frozen = false;
                    record.waiting = None;
                }
            }
            Phase::Stopped { wanted } if !record.frozen => {
                let text = match wanted {
                    Wanted::Now => format!("found running on {place}; it is looked after there"),
                    Wanted::AtNextView => format!("was started on {place} by hand; it is looked after there"),
                };
                self.adopt(name, record, from, text);
            }
            Phase::Disabled | Phase::Stopped { .. } => {
                self.note_rival(name, record, from, Rival::Tolerated, "though it should not; it is left alone");
            }
            Phase::Started { owner } if record.sought.contains(&from) => {
                let text = format!(
                    "was moved from {} to {place} behind Belay's back; it is looked after there",
                    self.node_name(owner)
                );
                self.adopt(name, record, from, text);
            }
            Phase::Started { .. } => {
                self.note_rival(name, record, from, Rival::AskingOwner, "besides its owner; the owner is asked");
            }
            Phase::Starting { .. } | Phase::Stopping { .. } | Phase::Migrating { .. } | Phase::Failed { .. } => {
                self.note_rival(name, record, from, Rival::Tolerated, "while its owner is busy with it");
            }
        }
    }

    fn note_rival(&mut self, name: &ServiceName, record: &mut ServiceRecord, from: NodeId, rival: Rival, words: &str) {
        let known = record.rivals.get(&from).copied();
        if known == Some(rival) || known == Some(Rival::BeingStopped) {
            return;
        }
        record.rivals.insert(from, rival);
        record.decided = self.index;
        if rival == Rival::AskingOwner {
            // Each question has an epoch of its own: the answer to an earlier one must not pass for the answer to this,
            // nor may whoever answered believe that it is the same question still.
            record.epoch = record.epoch.next();
        }
        let text = format!("a copy runs on {} {words}", self.node_name(from));
        let seen = HistoryEvent { node: Some(from), ..event(EventKind::Observation, Severity::Critical, text) };
        self.note_service(name, record, seen, Cause::Before);
    }
}
