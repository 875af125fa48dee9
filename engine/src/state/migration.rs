//! Migration as one transaction (design S10): the source moves the VM, then both ends are looked at, and only what was
//! seen closes it. An exit code is a hint.
//!
//! The source is looked at first. libvirt goes on with a migration when the daemon that ordered it is dead: a VM that was
//! not yet at the target when that was looked at, and not at the source any more when that was, runs at the target.

use super::State;
use super::history::{Cause, event};
use super::service::{LostEnd, MigrationStage, Phase, Rival, ServiceRecord};
use crate::mutant::{self, Mutant};
use belay_proto::history::{EventKind, HistoryEvent, Severity};
use belay_proto::{Code, NodeId, ServiceName};

impl State {
    /// The migration call returned.
    pub(crate) fn migrate_ended(
        &mut self,
        name: &ServiceName,
        record: &mut ServiceRecord,
        reporter: NodeId,
        ok: bool,
        reason: &str,
    ) {
        let Phase::Migrating { from, to, stage: MigrationStage::Moving } = record.phase else { return };
        if reporter != from {
            return;
        }
        if !ok {
            let text = format!("the migration to {} failed: {reason}", self.node_name(to));
            self.note_service(name, record, event(EventKind::Service, Severity::Error, text), Cause::Before);
            record.search.last_failure = Some(reason.to_owned());
        }
        if mutant::is(Mutant::MigrationByExitCode) {
            return self.close_migration(name, record, (from, to), !ok, ok);
        }
        record.decided = self.index;
        record.phase = Phase::Migrating { from, to, stage: MigrationStage::Looking { source: None, target: None } };
        // A host that is proven down needs no look.
        for end in [from, to] {
            if let Some(super::member::Standing::Down(proof)) = self.nodes.get(&end).map(|node| &node.standing) {
                let (proof, words) = (proof.clone(), proof.verb().to_owned());
                let Phase::Migrating { stage, .. } = record.phase else { return };
                record.lose_end(LostEnd { node: end, proof, words }, from);
                self.migration_end_known(name, record, (from, to), stage, end, false);
            }
        }
    }

    /// One end said, or proved, whether the VM runs there.
    pub(crate) fn migration_end_known(
        &mut self,
        name: &ServiceName,
        record: &mut ServiceRecord,
        (from, to): (NodeId, NodeId),
        stage: MigrationStage,
        end: NodeId,
        running: bool,
    ) {
        let (mut source, mut target) = match stage {
            MigrationStage::Moving => (None, None),
            MigrationStage::Looking { source, target } => (source, target),
        };
        if end == from {
            source = Some(running);
        } else if end == to {
            target = Some(running);
            if mutant::is(Mutant::MigrationByTargetOnly) {
                source = source.or(Some(!running));
            }
        }
        let (Some(at_source), Some(at_target)) = (source, target) else {
            record.decided = self.index;
            record.phase = Phase::Migrating { from, to, stage: MigrationStage::Looking { source, target } };
            return;
        };
        self.close_migration(name, record, (from, to), at_source, at_target);
    }

    fn close_migration(
        &mut self,
        name: &ServiceName,
        record: &mut ServiceRecord,
        (from, to): (NodeId, NodeId),
        at_source: bool,
        at_target: bool,
    ) {
        let (here, there) = (self.node_name(from), self.node_name(to));
        let lost = record.lost_end.take();
        let failure = record.search.last_failure.take();
        let why = failure.unwrap_or_else(|| "libvirt did not move it".into());
        match (at_source, at_target) {
            (false, true) => {
                let text = format!("migrated to {there}");
                self.decide(name, record, Phase::Started { owner: to }, text, Cause::Before);
                self.moved(record, from);
                self.answer_success(record);
            }
            (true, false) => {
                let text = format!("stays on {here}, where it runs");
                self.decide(name, record, Phase::Started { owner: from }, text, Cause::Before);
                self.not_moved(record, from, to, &why);
                self.answer(record, Code::RunningOnOriginal, why);
            }
            (true, true) => {
                let text = format!("runs on {here}; the copy the migration left on {there} is being destroyed");
                self.decide(name, record, Phase::Started { owner: from }, text, Cause::Before);
                record.rivals.insert(to, Rival::BeingStopped);
                self.not_moved(record, from, to, &why);
                self.answer(record, Code::RunningOnOriginal, why);
            }
            (false, false) if lost.is_some() => {
                let Some(LostEnd { node, proof, words }) = lost else { return };
                let text = if node == from {
                    format!("ran on {here}, which {words}, before its migration to {there} was done")
                } else {
                    format!("was on its way to {there}, which {words}, and runs on {here} no more")
                };
                let answer = format!("{} was lost during the migration; it is started elsewhere", self.node_name(node));
                self.lost_with_host(name, record, &proof, text);
                self.answer(record, Code::Failure, answer);
            }
            (false, false) => {
                let text = format!("runs neither on {here} nor on {there} after the migration");
                let seen = HistoryEvent { node: Some(from), ..event(EventKind::Observation, Severity::Error, text) };
                self.note_service(name, record, seen, Cause::Before);
                record.phase = Phase::Started { owner: from };
                self.answer(record, Code::Failure, "it died during the migration and is being recovered".into());
                self.recover(name, record, from, "it died during a migration");
            }
        }
    }

    /// After a change of membership: a migration whose source is gone cannot report its end; what can be asked is.
    pub(crate) fn migrations_after_view(&mut self) {
        let cut_off: Vec<ServiceName> = self
            .services
            .restless()
            .filter(|(_, record)| match record.phase {
                Phase::Migrating { from, stage: MigrationStage::Moving, .. } => {
                    !self.nodes.get(&from).is_some_and(super::member::NodeRecord::in_view)
                }
                _ => false,
            })
            .map(|(name, _)| name.clone())
            .collect();
        for name in cut_off {
            self.with_service(&name, |state, record| {
                let Phase::Migrating { from, to, .. } = record.phase else { return };
                record.decided = state.index;
                let stage = MigrationStage::Looking { source: None, target: None };
                record.phase = Phase::Migrating { from, to, stage };
            });
        }
    }
}
