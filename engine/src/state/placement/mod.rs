//! Finding a service a place: who may run it, who should, and if nobody can, why not.
//!
//! The rules have a file each: [`domain`] who is allowed and who is better, [`capacity`] what is on each host,
//! [`affinity`] who belongs together or apart, [`exclusive`] who has to be alone, [`depend`] who needs whom. [`choice`]
//! weighs the hosts by all of them, [`explain`] says in words what came of it, [`failback`] moves what runs to a better
//! host when one comes. The answer is deterministic, and comes with its reason either way.
//!
//! What must never happen here: a host given more than it has, or a required rule broken. Only to start a VM again where
//! it ran does not go through here: whatever has changed since it was placed, that is no reason to keep it down.

pub mod affinity;
pub mod capacity;
pub mod choice;
pub mod depend;
pub mod domain;
pub mod exclusive;
pub mod explain;
pub mod failback;
pub(crate) mod rules;
mod waiting;

use super::State;
use super::history::{Cause, event};
use super::limits::StartTurns;
use super::service::{Phase, Search, ServiceRecord, Wanted};
use belay_proto::history::{EventKind, Severity};
use belay_proto::{Code, NodeId, ServiceName, Span};
use capacity::{Board, size_of};
use choice::{Obstacle, Weighed, best};

/// The first pause after no member could start a service; it doubles each time.
const RETRY_FIRST: Span = Span::seconds(10);
/// The longest pause.
const RETRY_MAX: Span = Span::seconds(300);

/// What placement says of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// Start it here.
    On(NodeId),
    /// It cannot be started now; something must happen first.
    Wait {
        /// The code for a request that waits for it.
        code: Code,
        /// What must happen.
        reason: String,
    },
    /// Every member that may run it has failed to start it.
    Exhausted,
}

impl State {
    /// Gives every service that should run and does not a place, or a reason.
    pub(crate) fn settle(&mut self) {
        self.run_queues();
        if self.view.is_none() {
            return;
        }
        let pending: Vec<ServiceName> = self
            .services
            .restless()
            .filter(|(_, record)| {
                record.phase == Phase::Stopped { wanted: Wanted::Now }
                    && !record.frozen
                    && record.search.retry_at.is_none_or(|at| at <= self.time)
            })
            .map(|(name, _)| name.clone())
            .collect();
        if pending.is_empty() {
            return;
        }
        let mut board = self.board();
        let mut turns = self.start_turns();
        for name in self.in_order(pending) {
            self.with_service(&name, |state, record| {
                let vm = state.vm(&name).cloned();
                board.remove(&state.rules, &name, vm.as_ref(), record);
                if record.search.retry_at.take().is_some() {
                    record.search.tried.clear();
                }
                state.settle_one(&name, record, &board, &mut turns);
                board.add(&state.rules, &name, vm.as_ref(), record);
                if let Some(node) = turns.promised() {
                    // Whoever waits for a turn keeps its place among those that are yet to come.
                    board.add_at(&state.rules, &name, vm.as_ref(), size_of(vm.as_ref(), record), node);
                }
            });
        }
    }

    /// The order in which places are given: first what needs a host for itself, the most important first, since it finds
    /// none when the others have spread; then by priority.
    fn in_order(&self, mut pending: Vec<ServiceName>) -> Vec<ServiceName> {
        pending.sort_by_cached_key(|name| {
            let (exclusive, priority) = self.vm(name).map_or((None, 0), |vm| (vm.exclusive, vm.priority));
            (exclusive.is_none(), exclusive, priority, name.clone())
        });
        pending
    }

    fn settle_one(&mut self, name: &ServiceName, record: &mut ServiceRecord, board: &Board, turns: &mut StartTurns) {
        record.waits_turn = false;
        if self.locked {
            return self.wait_for_unlock(name, record);
        }
        let (place, weighed) = self.place_weighed(name, record, board);
        match place {
            Place::On(owner) => self.start_in_turn(name, record, owner, turns),
            Place::Wait { code, reason } => {
                let taken_over = self.displace(name, record, &weighed, board);
                self.keep_waiting(name, record, code, taken_over.unwrap_or(reason));
            }
            Place::Exhausted => self.retry_later(name, record),
        }
    }

    /// A service waits. The event is written when the reason changes, not with every number in it.
    fn keep_waiting(&mut self, name: &ServiceName, record: &mut ServiceRecord, code: Code, reason: String) {
        let gist = |text: &str| text.split(": ").next().unwrap_or_default().to_owned();
        if record.waiting.as_deref().map(gist) != Some(gist(&reason)) {
            let text = format!("cannot be started: {reason}");
            self.note_service(name, record, event(EventKind::Blocked, Severity::Warning, text), Cause::Before);
        }
        if record.waiting.as_ref() != Some(&reason) {
            record.waiting = Some(reason.clone());
        }
        // What passes within moments is waited for; what may take long is told.
        if code != Code::Again {
            self.answer(record, code, format!("it will be started when it can: {reason}"));
        }
    }

    fn retry_later(&mut self, name: &ServiceName, record: &mut ServiceRecord) {
        let pause = Span(RETRY_FIRST.0.saturating_mul(1 << record.search.rounds.min(10)).min(RETRY_MAX.0));
        let failure = record.search.last_failure.clone().unwrap_or_else(|| "no member could start it".into());
        let text = format!("no member could start it, trying again in {pause}: {failure}");
        self.note_service(name, record, event(EventKind::Blocked, Severity::Error, text), Cause::Before);
        record.search = Search {
            rounds: record.search.rounds + 1,
            retry_at: Some(self.time + pause),
            tried: std::mem::take(&mut record.search.tried),
            last_failure: Some(failure.clone()),
            ..Search::default()
        };
        record.waiting = Some(format!("no member could start it: {failure}"));
        self.answer(record, Code::Failure, failure);
    }

    /// Where a service that runs nowhere should be started. The board must not have the service itself.
    #[must_use]
    pub fn place(&self, name: &ServiceName, record: &ServiceRecord, board: &Board) -> Place {
        self.place_weighed(name, record, board).0
    }

    /// The same, with the hosts as they were weighed for it.
    fn place_weighed(&self, name: &ServiceName, record: &ServiceRecord, board: &Board) -> (Place, Vec<Weighed>) {
        let Some(vm) = self.vm(name) else {
            return (wait(Code::NoService, "it is not in the configuration".into()), Vec::new());
        };
        if let Some(wait) = self.must_wait(record).or_else(|| self.dependency_missing(vm)) {
            return (wait, Vec::new());
        }
        if let Some(wait) = self.not_all_there(vm, record) {
            return (wait, Vec::new());
        }
        let weighed = self.weigh(name, record, vm, board);
        let free = |node: NodeId| weighed.iter().any(|host| host.node == node && host.obstacle.is_none());
        let tried = weighed.iter().any(|host| host.obstacle == Some(Obstacle::Tried));
        let place = match record.search.wish.filter(|wish| free(*wish)).or_else(|| best(&weighed)) {
            Some(node) => Place::On(node),
            None if tried => Place::Exhausted,
            None => self.no_place(name, vm, &weighed),
        };
        (place, weighed)
    }
}

fn wait(code: Code, reason: String) -> Place {
    Place::Wait { code, reason }
}
