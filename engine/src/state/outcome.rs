//! What executors report of their work, and what hypervisors show by themselves.
//!
//! A report counts only for the epoch it was made in and from the host it was asked of (design S9).

use super::State;
use super::history::{Cause, event};
use super::service::{AfterStop, Phase, Rival, ServiceRecord, Wanted};
use crate::mutant::{self, Mutant};
use belay_proto::entry::{Seen, WorkOutcome};
use belay_proto::history::{EventKind, HistoryEvent, Severity};
use belay_proto::{Code, NodeId, OwnershipEpoch, ServiceName};

impl State {
    /// A piece of work ended on a host.
    pub(crate) fn apply_outcome(
        &mut self,
        from: NodeId,
        name: &ServiceName,
        epoch: OwnershipEpoch,
        outcome: &WorkOutcome,
    ) {
        self.with_service(name, |state, record| {
            if record.epoch != epoch && !mutant::is(Mutant::LateOutcomeCounts) {
                return;
            }
            match (record.phase.clone(), outcome) {
                (Phase::Starting { owner }, WorkOutcome::Started) if owner == from => {
                    state.started(name, record, owner);
                }
                (Phase::Starting { owner }, WorkOutcome::StartFailed { reason }) if owner == from => {
                    state.start_failed(name, record, owner, reason);
                }
                (Phase::Stopping { owner, then }, WorkOutcome::Stopped) if owner == from => {
                    record.suspects.remove(&owner);
                    state.after_stop(name, record, then, Cause::Before);
                }
                (Phase::Stopping { owner, then }, WorkOutcome::StopFailed { reason }) if owner == from => {
                    state.stop_failed(name, record, owner, then, reason);
                }
                (Phase::Migrating { .. }, WorkOutcome::MigrateEnded { ok, reason }) => {
                    state.migrate_ended(name, record, from, *ok, reason);
                }
                (Phase::Migrating { from: source, to, stage }, WorkOutcome::Looked { running }) => {
                    state.migration_end_known(name, record, (source, to), stage, from, *running);
                }
                (Phase::Started { owner }, WorkOutcome::Looked { running }) if owner == from => {
                    state.owner_looked(name, record, owner, *running);
                }
                (Phase::Started { .. } | Phase::Stopped { .. }, WorkOutcome::Looked { running })
                    if record.sought.contains(&from) =>
                {
                    state.looked_for(name, record, from, *running);
                }
                (_, WorkOutcome::StrayStopped) => state.rival_gone(name, record, from),
                _ => {}
            }
        });
    }

    fn started(&mut self, name: &ServiceName, record: &mut ServiceRecord, owner: NodeId) {
        let avoided = record.search.avoid == Some(owner);
        record.search = super::service::Search::default();
        // Its hypervisor has one of that name at most: what may have been left there is this one.
        record.suspects.remove(&owner);
        // A copy that was seen elsewhere meanwhile is the second one: the owner's lives.
        for rival in record.rivals.values_mut() {
            *rival = Rival::BeingStopped;
        }
        let text = format!("started on {}", self.node_name(owner));
        self.enter(name, record, Phase::Started { owner }, Severity::Notice, text, Cause::Before);
        if avoided {
            let reason = "no other member could start it".to_owned();
            self.answer(record, Code::RunningOnOriginal, reason);
        } else {
            self.answer_success(record);
        }
    }

    fn start_failed(&mut self, name: &ServiceName, record: &mut ServiceRecord, owner: NodeId, reason: &str) {
        record.search.tried.insert(owner);
        record.search.last_failure = Some(format!("{}: {reason}", self.node_name(owner)));
        let text = format!("could not be started on {}: {reason}", self.node_name(owner));
        let phase = Phase::Stopped { wanted: Wanted::Now };
        self.enter(name, record, phase, Severity::Error, text, Cause::Before);
    }

    fn stop_failed(
        &mut self,
        name: &ServiceName,
        record: &mut ServiceRecord,
        owner: NodeId,
        then: AfterStop,
        reason: &str,
    ) {
        if mutant::is(Mutant::FailedStopIsStopped) {
            return self.after_stop(name, record, then, Cause::Before);
        }
        let place = self.node_name(owner);
        record.suspects.insert(owner);
        if then == (AfterStop::Disable { even_if_failed: true }) {
            let text = format!("disabled, but a copy may be left on {place}: {reason}");
            self.enter(name, record, Phase::Disabled, Severity::Critical, text, Cause::Before);
            self.answer(record, Code::Warning, format!("a copy may be left on {place}: {reason}"));
        } else {
            let text = format!("could not be stopped on {place}, look there and then disable it: {reason}");
            self.enter(name, record, Phase::Failed { at: owner }, Severity::Critical, text, Cause::Before);
            let code = if matches!(then, AfterStop::Start { .. }) { Code::Aborted } else { Code::Failure };
            self.answer(record, code, reason.to_owned());
        }
    }

    /// A hypervisor shows something about a service.
    pub(crate) fn apply_observation(&mut self, from: NodeId, name: &ServiceName, epoch: OwnershipEpoch, seen: &Seen) {
        self.with_service(name, |state, record| match seen {
            Seen::Running => state.seen_running(name, record, from),
            // Whatever was decided since, what its host has not any more is gone.
            Seen::Gone { .. } if record.rivals.contains_key(&from) => state.rival_gone(name, record, from),
            _ if record.epoch != epoch || record.phase.owner() != Some(from) => {}
            Seen::Gone { why } => {
                if record.phase == (Phase::Started { owner: from }) && record.ended.is_none() {
                    state.ended(name, record, from, *why);
                }
            }
            Seen::Paused { why } => state.show_trouble(name, record, from, Some(format!("paused ({why})"))),
            Seen::IoError { detail } => state.show_trouble(name, record, from, Some(format!("I/O error: {detail}"))),
            Seen::Unknown { reason } => {
                let text = format!("nothing is known of it, so nothing is done: {reason}");
                state.show_trouble(name, record, from, Some(text));
            }
            Seen::Resumed => state.show_trouble(name, record, from, None),
            Seen::Rebooted => {
                let seen = HistoryEvent {
                    node: Some(from),
                    ..event(EventKind::Observation, Severity::Info, "the guest rebooted itself")
                };
                state.note_service(name, record, seen, Cause::Before);
            }
        });
    }

    fn show_trouble(&mut self, name: &ServiceName, record: &mut ServiceRecord, from: NodeId, trouble: Option<String>) {
        if record.trouble == trouble {
            return;
        }
        let place = self.node_name(from);
        let (severity, text) = trouble.as_ref().map_or_else(
            || (Severity::Notice, format!("goes on running on {place}")),
            |trouble| (Severity::Warning, format!("on {place}: {trouble}")),
        );
        let seen = HistoryEvent { node: Some(from), ..event(EventKind::Observation, severity, text) };
        self.note_service(name, record, seen, Cause::Before);
        record.trouble = trouble;
    }
}
