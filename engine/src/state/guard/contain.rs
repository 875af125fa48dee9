//! What is done about a decision that must not be: it is taken back, and the service is left as it was, frozen.
//!
//! As it was, that is: with every host on its list that may still have it. What this very entry proves is kept, since it is
//! true whatever was made of it. Work that was under way before goes on, as nobody can call it back; nothing new begins.

use super::super::State;
use super::super::history::{Cause, event};
use super::super::service::{AfterStop, MigrationStage, Phase, Rival, ServiceRecord, Wanted};
use super::{Before, Evidence, Invariant, Tripped, holders};
use belay_proto::entry::{What, WorkOutcome};
use belay_proto::history::{EventKind, HistoryEvent, Severity};
use belay_proto::{Code, NodeId, OwnershipEpoch, ServiceName};
use std::collections::BTreeSet;

impl State {
    /// Takes a decision about a service back, and freezes the service.
    pub(super) fn contain(
        &mut self,
        name: &ServiceName,
        before: &Before,
        evidence: &Evidence<'_>,
        invariant: Invariant,
        what: String,
    ) {
        let Some(mut record) = self.services.remove(name) else { return };
        let held: BTreeSet<NodeId> =
            before.holders().into_iter().filter(|node| !evidence.frees(self, name, before, *node)).collect();
        let tripped = Tripped {
            invariant,
            entry: self.index,
            what,
            before: self.phase_words(&before.phase, before.epoch),
            decided: self.phase_words(&record.phase, record.epoch),
        };
        restore(&mut record, before, evidence, held);
        record.decided = self.index;
        let text = format!("frozen by Belay itself, as a decision would have broken {}", tripped.words());
        let seen = HistoryEvent { node: record.phase.owner(), ..event(EventKind::Guard, Severity::Critical, text) };
        self.note_service(name, &mut record, seen, Cause::Before);
        self.answer(&mut record, Code::Frozen, format!("Belay has frozen it: {}", tripped.words()));
        record.tripped = Some(tripped);
        self.services.insert(name.clone(), record);
    }

    fn phase_words(&self, phase: &Phase, epoch: OwnershipEpoch) -> String {
        let place = |node: &NodeId| self.node_name(*node);
        let words = match phase {
            Phase::Stopped { wanted: Wanted::Now } => "stopped, to be started".to_owned(),
            Phase::Stopped { .. } => "stopped".to_owned(),
            Phase::Disabled => "disabled".to_owned(),
            Phase::Failed { at } => format!("failed on {}", place(at)),
            Phase::Starting { owner } => format!("starting on {}", place(owner)),
            Phase::Started { owner } => format!("started on {}", place(owner)),
            Phase::Stopping { owner, then } => {
                let then = match then {
                    AfterStop::Stop => "stopped",
                    AfterStop::Disable { .. } => "disabled",
                    AfterStop::Start { .. } => "started again",
                };
                format!("stopping on {}, to be {then}", place(owner))
            }
            Phase::Migrating { from, to, .. } => format!("migrating from {} to {}", place(from), place(to)),
        };
        format!("{words} in epoch {epoch}")
    }
}

/// Puts a record back, with these hosts on its list.
fn restore(record: &mut ServiceRecord, before: &Before, evidence: &Evidence<'_>, held: BTreeSet<NodeId>) {
    record.phase = resting(before, evidence, &held);
    if record.phase == before.phase {
        // Nobody has seen the other epoch, and whoever is at work reports with this one.
        record.epoch = before.epoch;
        (record.ended, record.died_frozen) = (before.ended, before.died_frozen);
        record.sought.clone_from(&before.sought);
    } else {
        record.epoch = record.epoch.max(before.epoch);
        (record.ended, record.died_frozen) = (None, false);
    }
    record.rivals.retain(|node, _| held.contains(node));
    for node in before.rivals.keys().filter(|node| held.contains(node)) {
        record.rivals.entry(*node).or_insert(Rival::Tolerated);
    }
    let gone = record.ended.is_some() || record.died_frozen;
    let of_phase = holders(&record.phase, gone, &record.rivals, &BTreeSet::new());
    record.suspects =
        held.into_iter().filter(|node| !of_phase.contains(node) || before.suspects.contains(node)).collect();
    record.frozen = true;
    record.waits_turn = false;
    record.drawn_to.clear();
    record.moves.asked = None;
}

/// The phase in which a service is left: as it was, where that may still be so.
fn resting(before: &Before, evidence: &Evidence<'_>, held: &BTreeSet<NodeId>) -> Phase {
    let stopped = Phase::Stopped { wanted: Wanted::Now };
    let outcome = match &evidence.entry.what {
        What::Outcome { outcome, .. } => Some(outcome),
        _ => None,
    };
    match &before.phase {
        Phase::Stopped { .. } | Phase::Disabled | Phase::Failed { .. } => before.phase.clone(),
        Phase::Stopping { owner, .. }
            if held.contains(owner) && matches!(outcome, Some(WorkOutcome::StopFailed { .. })) =>
        {
            Phase::Failed { at: *owner }
        }
        Phase::Starting { owner } | Phase::Stopping { owner, .. } if held.contains(owner) => before.phase.clone(),
        Phase::Started { owner } if before.gone() || held.contains(owner) => before.phase.clone(),
        Phase::Migrating { .. } if *held == before.holders() && outcome.is_none() => before.phase.clone(),
        Phase::Migrating { from, to, .. } if held.contains(from) || held.contains(to) => {
            // Its call has ended, or one end is known: both are looked at, as far as that is not done.
            let absent = |end: &NodeId| (!held.contains(end)).then_some(false);
            Phase::Migrating {
                from: *from,
                to: *to,
                stage: MigrationStage::Looking { source: absent(from), target: absent(to) },
            }
        }
        Phase::Starting { .. } | Phase::Stopping { .. } | Phase::Started { .. } | Phase::Migrating { .. } => stopped,
    }
}
