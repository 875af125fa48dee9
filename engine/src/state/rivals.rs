//! Copies where the state has none: what is done about each (design S1).
//!
//! A copy is told of by its host, at any time: by an event, a list, or an inventory. What it means depends on what the
//! state says of its service, and that changes: so what is to be done about every known copy is looked at again after
//! every entry, not only when it was seen.
//!
//! | the service is | and the copy is |
//! |---|---|
//! | started | the second one, or somebody moved it: the owner is asked. If it has its own, that one lives and the other is destroyed; if not, it is adopted |
//! | started, but gone from its owner | adopted |
//! | stopped | adopted, rather than a second one started; asked for again first if it was not seen just now |
//! | to be started by an old state, and not there yet | adopted |
//! | starting, stopping, migrating | left alone until that has ended |
//! | disabled, failed | shown and left alone |
//! | frozen | shown and left alone; where its owner has none it counts as the service's own |
//! | failed, since it was moved to where nobody sees it | adopted: it is back |
//!
//! What must never happen here: that a copy is destroyed without its owner having said that it has its own.

use super::State;
use super::history::{Cause, event};
use super::member::NodeRecord;
use super::service::{Phase, Rival, Search, ServiceRecord};
use crate::mutant::{self, Mutant};
use belay_proto::entry::GoneReason;
use belay_proto::history::{EventKind, HistoryEvent, Severity};
use belay_proto::{NodeId, ServiceName};

impl State {
    /// A copy runs on a host. Whether that is as it should be depends on what the state says.
    pub(crate) fn seen_running(&mut self, name: &ServiceName, record: &mut ServiceRecord, from: NodeId) {
        let place = self.node_name(from);
        let known = record.rivals.get(&from).copied();
        match record.phase.clone() {
            Phase::Failed { .. } if record.ended == Some(GoneReason::Migrated) => {
                self.adopt(name, record, from, format!("is back on {place}; it is looked after there"));
            }
            Phase::Started { owner } if owner != from && mutant::is(Mutant::RivalsIgnored) => {}
            phase if phase.may_run_on(from) => Self::runs_there_after_all(record, &phase),
            // Its end is on its way already.
            _ if known == Some(Rival::BeingStopped) => {}
            Phase::Stopped { .. } if !record.frozen => {
                self.adopt(name, record, from, format!("was found running on {place}; it is looked after there"));
            }
            Phase::Started { owner } if !record.sought.is_empty() => self.adopt_moved(name, record, owner, from),
            Phase::Started { .. } if known.is_some() => {}
            Phase::Started { .. } => {
                self.note_rival(name, record, from, Rival::AskingOwner, "besides its owner; the owner is asked");
            }
            // Its start waits for what this host has to say: an old state knew of it.
            Phase::Starting { owner } if record.suspects.remove(&from) && !self.said_running(owner, name) => {
                self.adopt(name, record, from, format!("was started on {place} meanwhile; it is looked after there"));
            }
            Phase::Disabled | Phase::Stopped { .. } => {
                record.sought.remove(&from);
                self.note_rival(name, record, from, Rival::Tolerated, "though it should not; it is left alone");
            }
            Phase::Starting { .. } | Phase::Stopping { .. } | Phase::Migrating { .. } | Phase::Failed { .. } => {
                self.note_rival(name, record, from, Rival::Tolerated, "while its owner is busy with it");
            }
        }
    }

    /// Whether a host has listed a service's copy since it came into the view.
    fn said_running(&self, node: NodeId, name: &ServiceName) -> bool {
        self.nodes.get(&node).is_some_and(|node| node.ready && node.running.contains(name.name()))
    }

    /// It was believed to be gone, and somebody has started it again by hand where it was.
    fn runs_there_after_all(record: &mut ServiceRecord, phase: &Phase) {
        if matches!(phase, Phase::Started { .. }) && record.ended.take().is_some() {
            record.died_frozen = false;
            record.sought.clear();
            record.sought_until = None;
            record.waiting = None;
            record.trouble = None;
        }
    }

    /// A host has no copy.
    pub(crate) fn seen_absent(&mut self, name: &ServiceName, record: &mut ServiceRecord, from: NodeId) {
        record.rivals.remove(&from);
        record.suspects.remove(&from);
        match record.phase {
            // What is sought has left its owner within the last moment: only an answer to the question itself counts.
            Phase::Started { owner } if owner == from && record.ended.is_none() => {
                self.ended(name, record, from, GoneReason::Missing);
            }
            Phase::Started { .. } => {}
            _ => self.not_found_on(name, record, from),
        }
    }

    fn note_rival(&mut self, name: &ServiceName, record: &mut ServiceRecord, from: NodeId, rival: Rival, words: &str) {
        if record.rivals.insert(from, rival) == Some(rival) {
            return;
        }
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

    /// Looks again at what is to be done about every copy.
    pub(crate) fn review_rivals(&mut self) {
        let with_rivals = self.services.restless().filter(|(_, record)| !record.rivals.is_empty());
        let names: Vec<ServiceName> = with_rivals.map(|(name, _)| name.clone()).collect();
        for name in names {
            self.with_service(&name, |state, record| state.review(&name, record));
        }
    }

    fn review(&mut self, name: &ServiceName, record: &mut ServiceRecord) {
        if record.frozen {
            record.rivals.values_mut().filter(|r| **r == Rival::BeingStopped).for_each(|r| *r = Rival::Tolerated);
        }
        match record.phase {
            Phase::Started { owner } => {
                record.rivals.remove(&owner);
                if !record.frozen {
                    for other in tolerated(record) {
                        let words = "besides its owner; the owner is asked";
                        self.note_rival(name, record, other, Rival::AskingOwner, words);
                    }
                }
            }
            Phase::Stopped { .. } if !record.frozen && record.sought.is_empty() => self.ask_rivals(record),
            _ => {}
        }
    }

    /// It is to run, and copies were seen some time ago: their hosts are asked whether they still have them.
    fn ask_rivals(&mut self, record: &mut ServiceRecord) {
        let there = |id: &NodeId| self.nodes.get(id).is_some_and(NodeRecord::in_view);
        record.sought = tolerated(record).into_iter().filter(there).collect();
        if !record.sought.is_empty() {
            record.epoch = record.epoch.next();
            record.decided = self.index;
        }
    }

    /// A host that was asked for a copy has answered.
    pub(crate) fn looked_for(&mut self, name: &ServiceName, record: &mut ServiceRecord, from: NodeId, running: bool) {
        if running {
            self.seen_running(name, record, from);
        } else {
            record.rivals.remove(&from);
            self.not_found_on(name, record, from);
        }
    }

    /// The owner was asked whether its own copy is there, because another was seen.
    pub(crate) fn owner_looked(
        &mut self,
        name: &ServiceName,
        record: &mut ServiceRecord,
        owner: NodeId,
        running: bool,
    ) {
        let Some(other) = asking(record) else { return };
        if !running || mutant::is(Mutant::OwnersCopyDestroyed) {
            return self.adopt_moved(name, record, owner, other);
        }
        let (here, there) = (self.node_name(owner), self.node_name(other));
        let (fate, words) = if record.frozen {
            (Rival::Tolerated, "is left alone, since it is frozen")
        } else {
            (Rival::BeingStopped, "is being destroyed")
        };
        record.rivals.values_mut().filter(|rival| **rival == Rival::AskingOwner).for_each(|rival| *rival = fate);
        record.decided = self.index;
        let text = format!("runs on {here}; the second copy on {there} {words}");
        let seen = HistoryEvent { node: Some(other), ..event(EventKind::Observation, Severity::Critical, text) };
        self.note_service(name, record, seen, Cause::Before);
    }

    /// A copy that must not be is gone, whoever saw to that.
    pub(crate) fn rival_gone(&mut self, name: &ServiceName, record: &mut ServiceRecord, from: NodeId) {
        if record.rivals.remove(&from).is_some() {
            let text = format!("the copy on {} is gone", self.node_name(from));
            self.note_service(name, record, event(EventKind::Observation, Severity::Notice, text), Cause::Before);
            self.not_found_on(name, record, from);
        }
    }

    /// A service that was started runs elsewhere.
    pub(crate) fn adopt_moved(&mut self, name: &ServiceName, record: &mut ServiceRecord, owner: NodeId, to: NodeId) {
        let (here, there) = (self.node_name(owner), self.node_name(to));
        let text = format!("was moved from {here} to {there} behind Belay's back; it is looked after there");
        self.adopt(name, record, to, text);
    }

    /// A service is found running somewhere, and stays there: whatever the rules say, moving it is better than starting
    /// another.
    fn adopt(&mut self, name: &ServiceName, record: &mut ServiceRecord, owner: NodeId, mut text: String) {
        let vm = self.config.as_ref().and_then(|config| config.vms.get(name));
        if vm.is_some_and(|vm| !self.legal(vm, owner)) {
            text.push_str(", though its failover domain does not allow it: migrate it to a member that may have it");
        }
        record.rivals.remove(&owner);
        record.suspects.remove(&owner);
        record.search = Search::default();
        self.decide(name, record, Phase::Started { owner }, text, Cause::Root);
        self.answer_success(record);
    }

    /// The copy that a service goes on with when its owner has none: the first whose owner was to be asked.
    pub(crate) fn heir(record: &ServiceRecord) -> Option<NodeId> {
        asking(record).or_else(|| tolerated(record).first().copied().filter(|_| record.frozen))
    }
}

fn asking(record: &ServiceRecord) -> Option<NodeId> {
    record.rivals.iter().find(|(_, rival)| **rival == Rival::AskingOwner).map(|(id, _)| *id)
}

fn tolerated(record: &ServiceRecord) -> Vec<NodeId> {
    record.rivals.iter().filter(|(_, rival)| **rival == Rival::Tolerated).map(|(id, _)| *id).collect()
}

#[cfg(test)]
mod tests;
