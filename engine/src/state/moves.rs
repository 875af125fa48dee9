//! Moves of running services: who wishes them, in which order they get their turn, and what a failed one leads to.
//!
//! Everything that migrates a service goes through here. At each entry the wished moves are listed afresh from the state:
//! what an administrator asked for, what has to leave a host in maintenance or standby, what is to be brought back to a
//! host that is active again. As many are begun as the limit of migrations allows at
//! both ends, in that order, and within it by the services' priority; what is left of the limit goes to what would be better off
//! elsewhere (`placement/failback.rs`). Nothing is kept of a wish but the administrator's:
//! one whose reason has gone is simply not listed any more.
//!
//! A migration that fails leaves the VM where it runs. It is never stopped for the sake of a move: the next member is
//! tried, and when all have been, the VM is named as what is in the way, and tried again later.

use super::State;
use super::history::Cause;
use super::limits::MigrationSlots;
use super::member::NodeRecord;
use super::placement::Place;
use super::placement::capacity::Board;
use super::placement::choice::{Obstacle, best};
use super::placement::domain::permits;
use super::service::{MigrationStage, MoveWait, Moves, Phase, Search, ServiceRecord};
use belay_config::Validated;
use belay_config::model::Vm;
use belay_proto::history::EventId;
use belay_proto::{Code, NodeId, NodeMode, ServiceName, Span, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// The first pause after a service could be moved nowhere; it doubles each time.
const RETRY_FIRST: Span = Span::seconds(30);
/// The longest pause.
const RETRY_MAX: Span = Span::seconds(300);

/// Why a service is to be moved, in the order in which moves get their turns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) enum Why {
    /// An administrator asked for it.
    Asked,
    /// Its host is in maintenance or standby.
    Drain,
    /// The host that it had to leave is active again.
    Home,
}

/// A move somebody wishes. The order of these is the order of their turns.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Wished {
    why: Why,
    priority: u32,
    service: ServiceName,
    from: NodeId,
    /// Where to; anywhere else if not given.
    to: Option<NodeId>,
    /// The event that made it wished.
    cause: Option<EventId>,
}

impl State {
    /// Begins the moves whose turn it is, and says of the others what they wait for.
    pub(crate) fn advance_moves(&mut self) {
        let drains = self.nodes.values().any(|node| node.drain.is_some());
        if self.view.is_none() || !drains && !self.services.restless().any(|(_, record)| record.minds_moves()) {
            return;
        }
        self.drop_overtaken();
        self.arrive_home();
        let wished = self.wished_here();
        self.forget_waits(&wished);
        if !wished.is_empty() {
            let mut slots = self.migration_slots();
            let mut board = self.board();
            for wish in wished {
                self.begin_if_its_turn(&wish, &mut slots, &mut board);
            }
        }
        self.judge_drains();
    }

    /// An administrator wants a started service elsewhere: now, or when it is its turn.
    pub(super) fn ask_move(&mut self, name: &ServiceName, record: &mut ServiceRecord, from: NodeId, to: NodeId) {
        record.moves = Moves::default();
        if self.migration_slot_free(from, to) {
            self.begin_move(name, record, (from, to), Cause::Before);
        } else {
            // The list of this same entry says what it waits for.
            record.moves.asked = Some(to);
        }
    }

    fn begin_move(
        &mut self,
        name: &ServiceName,
        record: &mut ServiceRecord,
        (from, to): (NodeId, NodeId),
        cause: Cause,
    ) {
        let text = format!("migrating from {} to {}", self.node_name(from), self.node_name(to));
        record.moves.asked = None;
        record.moves.waits = None;
        self.note_drain_progress(from);
        let phase = Phase::Migrating { from, to, stage: MigrationStage::Moving };
        self.decide(name, record, phase, text, cause);
    }

    /// A migration ended, and the service runs where it was to go.
    pub(super) fn moved(&mut self, record: &mut ServiceRecord, from: NodeId) {
        record.moves = Moves::default();
        self.note_drain_progress(from);
    }

    /// A migration ended, and the service runs where it ran.
    pub(super) fn not_moved(&mut self, record: &mut ServiceRecord, from: NodeId, to: NodeId, why: &str) {
        if record.request.is_some() {
            // It was asked for: whoever asked is told, and nobody tries again.
            record.moves = Moves::default();
            return;
        }
        record.moves.failed.insert(to);
        record.moves.failure = Some(format!("{}: {why}", self.node_name(to)));
        self.note_drain_progress(from);
    }

    /// When a service that could be moved nowhere is tried again.
    pub(super) fn move_retry_due(&self) -> Option<Timestamp> {
        let started = self.services.restless().filter(|(_, record)| matches!(record.phase, Phase::Started { .. }));
        started.filter_map(|(_, record)| record.moves.retry_at).min()
    }

    /// What was asked for before something else happened to the service is not done any more, and whoever asked is told.
    fn drop_overtaken(&mut self) {
        let asked: Vec<(ServiceName, NodeId)> =
            self.services.restless().filter_map(|(name, r)| r.moves.asked.map(|to| (name.clone(), to))).collect();
        for (name, to) in asked {
            let refusal = self.refuse_move(&name, to);
            self.with_service(&name, |state, record| {
                let runs = matches!(record.phase, Phase::Started { .. }) && !record.frozen;
                let refusal = if runs { refusal } else { Some((Code::Failure, "it does not run any more".into())) };
                if record.request.is_none() {
                    record.moves.asked = None;
                } else if let Some((code, reason)) = refusal {
                    record.moves.asked = None;
                    state.answer(record, code, reason);
                }
            });
        }
        self.services.change_restless(|_, record| {
            // What became of its last move says nothing of one that begins from another host, or after another start.
            let runs = matches!(record.phase, Phase::Started { .. } | Phase::Migrating { .. });
            if !runs && record.moves != Moves::default() && record.moves.asked.is_none() {
                record.moves = Moves::default();
            }
        });
    }

    fn refuse_move(&self, name: &ServiceName, to: NodeId) -> Option<(Code, String)> {
        let (code, reason) = self.refuse_target(name, to).err()?;
        Some((if code == Code::Domain { Code::Depend } else { code }, reason))
    }

    /// A service that runs where it belongs is not brought back any more, nor one that may not run there: somebody had
    /// moved it there by hand, or the configuration has changed.
    fn arrive_home(&mut self) {
        let (config, nodes) = (self.config.as_ref(), &self.nodes);
        self.services.change_restless(|name, record| {
            let Some(home) = record.home else { return };
            let active = nodes.get(&home).is_some_and(|node| node.mode == NodeMode::Active);
            let there = matches!(record.phase, Phase::Started { owner } if owner == home);
            let vm = config.and_then(|config| config.vms.get(name));
            let may = |(config, vm): (&Validated, &Vm)| config.nodes.contains_key(&home) && permits(config, vm, home);
            let legal = config.zip(vm).is_some_and(may);
            if active && there || !legal {
                record.home = None;
                record.moves = Moves { asked: record.moves.asked, ..Moves::default() };
            }
        });
    }

    /// All moves that must or should be made, in the order of their turns; those to better hosts come after them.
    fn wished_here(&self) -> Vec<Wished> {
        let draining: BTreeMap<NodeId, Option<EventId>> = self
            .nodes
            .iter()
            .filter(|(_, node)| node.mode != NodeMode::Active && node.in_view())
            .map(|(id, node)| (*id, node.drain.as_ref().map(|drain| drain.cause)))
            .collect();
        // What rests and is on no host that is emptied, nobody wishes elsewhere.
        let restless = self.services.restless();
        let concerned: BTreeMap<_, _> = restless.chain(draining.keys().flat_map(|id| self.services.on(*id))).collect();
        let mut wished = Vec::new();
        for (name, record) in concerned {
            let Phase::Started { owner: from } = record.phase else { continue };
            if record.frozen || record.died_frozen || !record.sought.is_empty() {
                continue;
            }
            let home = record.home.filter(|home| self.nodes.get(home).is_some_and(NodeRecord::takes_services));
            let (why, to, cause) = if let Some(to) = record.moves.asked {
                (Why::Asked, Some(to), None)
            } else if record.request.is_some() {
                continue;
            } else if let Some(cause) = draining.get(&from) {
                (Why::Drain, home, *cause)
            } else if let Some(home) = home {
                (Why::Home, Some(home), self.nodes.get(&home).and_then(|node| node.mode_event))
            } else {
                continue;
            };
            let priority = self.priority(name);
            wished.push(Wished { why, priority, service: name.clone(), from, to, cause });
        }
        wished.sort();
        wished
    }

    /// What is not wished any more waits for nothing.
    fn forget_waits(&mut self, wished: &[Wished]) {
        let named: BTreeSet<&ServiceName> = wished.iter().map(|wish| &wish.service).collect();
        self.services.change_restless(|name, record| {
            if record.moves.waits.is_some() && !named.contains(name) {
                record.moves.waits = None;
            }
        });
    }

    fn begin_if_its_turn(&mut self, wish: &Wished, slots: &mut MigrationSlots, board: &mut Board) {
        self.with_service(&wish.service, |state, record| {
            if record.moves.retry_at.is_some_and(|at| at <= state.time) {
                record.moves.retry_at = None;
                record.moves.failed.clear();
            }
            // With no turn left there, nobody asks where it would go: a host may have a thousand of them.
            if !slots.free_at(wish.from) {
                record.moves.waits = Some(state.turn(wish.from, slots));
                return;
            }
            let vm = state.vm(&wish.service).cloned();
            board.remove(&state.rules, &wish.service, vm.as_ref(), record);
            match state.move_target(wish, record, board) {
                Place::On(to) if slots.free(wish.from, to) => {
                    slots.take(wish.from, to);
                    let cause = wish.cause.map_or(Cause::Before, Cause::Event);
                    state.remember_home(wish, record);
                    state.begin_move(&wish.service, record, (wish.from, to), cause);
                }
                Place::On(to) => record.moves.waits = Some(state.turn(to, slots)),
                Place::Wait { code, reason } if wish.why == Why::Asked => {
                    record.moves.asked = None;
                    state.answer(record, code, reason);
                }
                Place::Wait { code: Code::Again, reason } => record.moves.waits = Some(MoveWait::Turn(reason)),
                Place::Wait { reason, .. } => record.moves.waits = Some(MoveWait::Blocked(reason)),
                Place::Exhausted => state.move_later(record),
            }
            board.add(&state.rules, &wish.service, vm.as_ref(), record);
        });
    }

    fn turn(&self, busy: NodeId, slots: &MigrationSlots) -> MoveWait {
        let text = format!("waits its turn: {} migrates {} at once", self.node_name(busy), slots.max());
        MoveWait::Turn(text)
    }

    /// What leaves a host in maintenance is brought back there later.
    fn remember_home(&self, wish: &Wished, record: &mut ServiceRecord) {
        let mode = self.nodes.get(&wish.from).map(|node| node.mode);
        if wish.why == Why::Drain && mode == Some(NodeMode::Maintenance) {
            record.home.get_or_insert(wish.from);
        }
    }

    /// Where a service is to be moved. The board must not have it.
    ///
    /// What a service has to wait for before it is started does not matter here: it runs, and everybody knows where.
    fn move_target(&self, wish: &Wished, record: &ServiceRecord, board: &Board) -> Place {
        let name = &wish.service;
        let wait = |code, reason| Place::Wait { code, reason };
        let Some(vm) = self.vm(name) else { return wait(Code::NoService, "it is not in the configuration".into()) };
        if let Some(other) = record.rivals.keys().chain(&record.suspects).next() {
            let reason = format!("a copy of it may be on {}, which must be gone first", self.node_name(*other));
            return wait(Code::Depend, reason);
        }
        let mut tried = record.moves.failed.clone();
        tried.insert(wish.from);
        let search = Search { wish: wish.to, avoid: Some(wish.from), tried, ..Search::default() };
        let probe = ServiceRecord { search, size: record.size, ..ServiceRecord::new(record.phase.clone()) };
        if let (Some(to), Why::Asked | Why::Home) = (wish.to, wish.why) {
            // It goes there or stays: nobody asked for it to be moved anywhere else.
            return match self.obstacle(name, &probe, vm, to, board) {
                None => Place::On(to),
                Some(Obstacle::Tried) => Place::Exhausted,
                Some(what) => wait(Code::Depend, self.in_words(name, to, what)),
            };
        }
        let weighed = self.weigh(name, &probe, vm, board);
        let free = |node: NodeId| weighed.iter().any(|host| host.node == node && host.obstacle.is_none());
        let has = |what: Obstacle| weighed.iter().any(|host| host.obstacle == Some(what));
        match wish.to.filter(|to| free(*to)).or_else(|| best(&weighed)) {
            Some(to) => Place::On(to),
            // One that answers in a moment is waited for, rather than called no place.
            None if has(Obstacle::NotReady) => wait(Code::Again, "the other hypervisors have not answered yet".into()),
            None if !record.moves.failed.is_empty() => Place::Exhausted,
            None => self.no_place(name, vm, &weighed),
        }
    }

    fn move_later(&self, record: &mut ServiceRecord) {
        let failure = record.moves.failure.clone().unwrap_or_else(|| "no other member can have it".into());
        if record.moves.retry_at.is_none() {
            let pause = Span(RETRY_FIRST.0.saturating_mul(1 << record.moves.rounds.min(10)).min(RETRY_MAX.0));
            record.moves.rounds += 1;
            record.moves.retry_at = Some(self.time + pause);
        }
        record.moves.waits = Some(MoveWait::Blocked(format!("could not be migrated ({failure})")));
    }
}
