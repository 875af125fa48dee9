//! Changing a service's record: what a decision is, and what every change of phase does beside.
//!
//! Each decision takes a new epoch, so that the outcome of an earlier one cannot be taken for the outcome of this one
//! (design S9).

use super::State;
use super::guard::Watch;
use super::history::{Cause, event};
use super::service::{AfterStop, Phase, Rival, Search, ServiceRecord, Wanted};
use crate::mutant::{self, Mutant};
use belay_proto::history::{EventKind, HistoryEvent, Severity};
use belay_proto::{NodeId, ServiceName};

impl State {
    /// The service's record.
    #[must_use]
    pub fn service(&self, name: &ServiceName) -> Option<&ServiceRecord> {
        self.services.get(name)
    }

    /// All services, by name.
    pub fn services(&self) -> impl Iterator<Item = (&ServiceName, &ServiceRecord)> {
        self.services.iter()
    }

    /// Takes a record out to change it, and puts it back.
    pub(crate) fn with_service<R>(
        &mut self,
        name: &ServiceName,
        change: impl FnOnce(&mut Self, &mut ServiceRecord) -> R,
    ) -> Option<R> {
        let mut taken = self.services.take(name)?;
        let before = Watch::before(&taken.record);
        let result = change(self, &mut taken.record);
        self.watch.note(name, before, &taken.record);
        self.services.put_back(taken);
        Some(result)
    }

    /// Changes every record, where no decision is made for one of them. The guards see it as they see any other change.
    pub(crate) fn change_each(&mut self, change: impl Fn(&mut ServiceRecord)) {
        let watch = &mut self.watch;
        self.services.change_each(|name, record| {
            let before = Watch::before(record);
            change(record);
            watch.note(name, before, record);
        });
    }

    /// Makes a decision: a new phase under a new epoch.
    pub(crate) fn decide(
        &mut self,
        name: &ServiceName,
        record: &mut ServiceRecord,
        phase: Phase,
        text: String,
        cause: Cause,
    ) {
        let kept = mutant::is(Mutant::StartWithoutNewEpoch) && matches!(phase, Phase::Starting { .. });
        record.epoch = if kept { record.epoch } else { record.epoch.next() };
        // Whatever is decided, an earlier migration is over.
        record.lost_end = None;
        self.enter(name, record, phase, Severity::Notice, text, cause);
    }

    /// Enters a phase without a new decision: the present one ended.
    pub(crate) fn enter(
        &mut self,
        name: &ServiceName,
        record: &mut ServiceRecord,
        phase: Phase,
        severity: Severity,
        text: String,
        cause: Cause,
    ) {
        if let Some(owner) = record.phase.owner()
            && phase.owner() != Some(owner)
        {
            record.last_owner = Some(owner);
        }
        let node = phase.owner().or_else(|| record.phase.owner());
        let runs_nowhere = |phase: &Phase| matches!(phase, Phase::Stopped { .. } | Phase::Disabled);
        if !(runs_nowhere(&record.phase) && runs_nowhere(&phase)) {
            record.sought.clear();
        }
        record.sought_until = None;
        record.phase = phase;
        record.decided = self.index;
        record.transition = Some(self.time);
        record.waiting = None;
        record.waits_turn = false;
        record.trouble = None;
        if record.phase.owner().is_none() || matches!(record.phase, Phase::Migrating { .. }) {
            // Whatever places it next knows which hosts there are.
            record.drawn_to.clear();
        }
        if !matches!(record.phase, Phase::Started { .. }) {
            // There is no owner to ask any more.
            record.rivals.values_mut().filter(|r| **r == Rival::AskingOwner).for_each(|r| *r = Rival::Tolerated);
        }
        // Whatever died while it was frozen, this is another life.
        record.died_frozen = false;
        record.ended = None;
        let event = HistoryEvent { node, ..event(EventKind::Service, severity, text) };
        self.note_service(name, record, event, cause);
    }

    /// Tells a service to start on a host that placement chose.
    pub(crate) fn start_on(&mut self, name: &ServiceName, record: &mut ServiceRecord, owner: NodeId) {
        let text = format!("starting on {}", self.node_name(owner));
        self.order_start(name, record, owner, text);
    }

    /// The one place where a start is decided. What a lost host had comes here only after it was taken from that host, for
    /// which a `FencedProof` is needed ([`State::release`]).
    pub(crate) fn order_start(&mut self, name: &ServiceName, record: &mut ServiceRecord, owner: NodeId, text: String) {
        record.search.retry_at = None;
        self.decide(name, record, Phase::Starting { owner }, text, Cause::Before);
    }

    /// Tells the owner to stop a service.
    pub(crate) fn stop_at(&mut self, name: &ServiceName, record: &mut ServiceRecord, owner: NodeId, then: AfterStop) {
        let text = format!("stopping on {}", self.node_name(owner));
        self.decide(name, record, Phase::Stopping { owner, then }, text, Cause::Before);
    }

    /// The service stopped for good reason; what was planned for afterwards happens.
    pub(crate) fn after_stop(&mut self, name: &ServiceName, record: &mut ServiceRecord, then: AfterStop, cause: Cause) {
        match then {
            AfterStop::Stop => {
                let phase = Phase::Stopped { wanted: Wanted::AtNextView };
                self.enter(name, record, phase, Severity::Notice, "stopped".into(), cause);
                self.answer_success(record);
            }
            AfterStop::Disable { .. } => {
                record.search = Search::default();
                record.restarts.clear();
                self.enter(name, record, Phase::Disabled, Severity::Notice, "disabled".into(), cause);
                self.answer_success(record);
            }
            AfterStop::Start { wish, avoid } => {
                let owner = record.phase.owner();
                record.search = Search { wish, avoid, ..Search::default() };
                let phase = Phase::Stopped { wanted: Wanted::Now };
                self.enter(name, record, phase, Severity::Info, "stopped, to be started again".into(), cause);
                if let Some(owner) = owner.filter(|owner| wish == Some(*owner) && !record.frozen) {
                    self.restart_in_place(name, record, owner);
                }
            }
        }
    }
}
