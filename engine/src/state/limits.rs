//! Whose turn it is: the order in which services are started, and how many starts and migrations a host has at once.
//!
//! After a host is lost or the power returns, hundreds of services want to start in one moment. They get their places in
//! the order of their priority, but a host starts only `max_starts` of them at a time, so that the first ones are up
//! before the last ones compete with them for the same disks. Whoever waits for a turn takes the next one that gets free,
//! again by priority: a service of high priority that comes late is not queued behind the rest. Priority is an order of
//! beginning, not a chain: nobody waits for somebody else's start to succeed (that is `depend`).
//!
//! A turn lasts as long as the start, and no longer than the start's own time limit. A start that nobody can tell the end
//! of would otherwise keep all others waiting for ever.
//!
//! A service that died on its owner is started again at once, whoever waits there: it was running, it is known to fit,
//! and its users notice every second. It does count for the others.

use super::State;
use super::service::{MigrationStage, Phase, ServiceRecord, Wanted};
use belay_proto::{NodeId, ServiceName, Timestamp};
use std::collections::BTreeMap;

/// How many more services each host may begin to start now.
#[derive(Clone, Debug)]
pub(crate) struct StartTurns {
    max: u32,
    taken: BTreeMap<NodeId, u32>,
    /// Where the service that was looked at last has its place, though it has to wait for its turn.
    promised: Option<NodeId>,
}

impl StartTurns {
    /// Takes a turn on a host, if it has one left.
    fn take(&mut self, node: NodeId) -> bool {
        let taken = self.taken.entry(node).or_default();
        if *taken >= self.max {
            return false;
        }
        *taken += 1;
        true
    }

    /// Where the service that was looked at last will be started when it is its turn. Asking takes it.
    pub(crate) fn promised(&mut self) -> Option<NodeId> {
        self.promised.take()
    }

    /// What a service waits for that found no turn on this host. It names no changing number: a reason that differs at
    /// every entry would be told at every entry.
    fn reason(&self, called: &str) -> String {
        format!("waits its turn: {called} starts {} at once, and so many others are before it", self.max)
    }
}

impl State {
    /// The limits of starts and migrations per host. A limit of zero would be a cluster that never does anything.
    fn limit(&self, of: impl Fn(&belay_config::model::Placement) -> u32) -> u32 {
        let configured = self.config.as_ref().map(|config| of(&config.placement));
        configured.unwrap_or_else(|| of(&belay_config::model::Placement::default())).max(1)
    }

    /// Starts a service on the host that placement chose, or lets it wait for its turn there.
    pub(crate) fn start_in_turn(
        &mut self,
        name: &ServiceName,
        record: &mut ServiceRecord,
        owner: NodeId,
        turns: &mut StartTurns,
    ) {
        if turns.take(owner) {
            return self.start_on(name, record, owner);
        }
        turns.promised = Some(owner);
        record.waits_turn = true;
        let reason = turns.reason(&self.node_name(owner));
        if record.waiting.as_ref() != Some(&reason) {
            record.waiting = Some(reason);
        }
    }

    pub(super) fn priority(&self, name: &ServiceName) -> u32 {
        self.config.as_ref().and_then(|config| config.vms.get(name)).map_or(0, |vm| vm.priority)
    }

    /// The turns that are left on each host.
    pub(crate) fn start_turns(&self) -> StartTurns {
        let max = self.limit(|placement| placement.max_starts);
        let mut turns = StartTurns { max, taken: BTreeMap::new(), promised: None };
        for (name, record) in self.services.restless() {
            if let Phase::Starting { owner } = record.phase
                && self.turn_ends(name, record).is_some_and(|end| end > self.time)
            {
                *turns.taken.entry(owner).or_default() += 1;
            }
        }
        turns
    }

    /// When a start gives its turn up at the latest.
    fn turn_ends(&self, name: &ServiceName, record: &ServiceRecord) -> Option<Timestamp> {
        let vm = self.config.as_ref()?.vms.get(name)?;
        Some(record.transition? + vm.start_timeout)
    }

    /// When the next turn gets free though nobody says so, if anybody waits for one.
    pub(crate) fn turn_due(&self) -> Option<Timestamp> {
        let waits = |record: &ServiceRecord| {
            record.phase == (Phase::Stopped { wanted: Wanted::Now }) && !record.frozen && record.waits_turn
        };
        if !self.services.restless().any(|(_, record)| waits(record)) {
            return None;
        }
        let starting = self.services.restless().filter(|(_, record)| matches!(record.phase, Phase::Starting { .. }));
        starting.filter_map(|(name, record)| self.turn_ends(name, record)).filter(|end| *end > self.time).min()
    }

    /// Whether a migration may begin between these hosts now: neither has as many under way as `max_migrations` allows.
    #[must_use]
    pub fn migration_slot_free(&self, from: NodeId, to: NodeId) -> bool {
        self.migration_slots().free(from, to)
    }

    /// The migrations under way at each host. Those whose call has ended only wait to be looked at, and load nothing.
    pub(crate) fn migration_slots(&self) -> MigrationSlots {
        let mut slots =
            MigrationSlots { max: self.limit(|placement| placement.max_migrations), taken: BTreeMap::new() };
        for (_, record) in self.services.restless() {
            if let Phase::Migrating { from, to, stage: MigrationStage::Moving } = record.phase {
                slots.take(from, to);
            }
        }
        slots
    }
}

/// How many migrations each host has under way, in either direction.
#[derive(Clone, Debug)]
pub(crate) struct MigrationSlots {
    max: u32,
    taken: BTreeMap<NodeId, u32>,
}

impl MigrationSlots {
    /// Whether this host may have one more.
    pub(crate) fn free_at(&self, node: NodeId) -> bool {
        self.taken.get(&node).copied().unwrap_or(0) < self.max
    }

    /// Whether both ends may have one more.
    pub(crate) fn free(&self, from: NodeId, to: NodeId) -> bool {
        self.free_at(from) && self.free_at(to)
    }

    /// One more is under way.
    pub(crate) fn take(&mut self, from: NodeId, to: NodeId) {
        *self.taken.entry(from).or_default() += 1;
        *self.taken.entry(to).or_default() += 1;
    }

    /// How many a host may have.
    pub(crate) fn max(&self) -> u32 {
        self.max
    }
}
