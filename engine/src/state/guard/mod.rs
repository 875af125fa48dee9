//! What must never happen, held against every decision before anybody can act on it.
//!
//! The rest of `state` is written so that these things do not happen. This part assumes that it is wrong: after each entry
//! it looks at the services and hosts which that entry changed, and judges by what was so before, what is so now, and what
//! the entry itself proves. It asks none of the functions that decide, or it would repeat their mistakes. Where a promise is
//! broken, the decision is taken back before any host is told of it, the service is frozen ([`Tripped`]) with what is known,
//! and everybody is told. An administrator who has looked unfreezes it. For a host the decision to fence is taken back.
//!
//! ```text
//!   open ──► the entry is applied; each record that changes is noted as it was ([`Watch`])
//!        ──► evidence.rs  which hosts this entry proves, or reports, to have nothing
//!            service.rs   one service, before and after (S1 S2 S6 S7 S8 S9 S10)
//!            room.rs      new places, all others being where they are (S13)
//!            hosts.rs     who is fenced, and who counts as down (S2 S11)
//!        ──► contain.rs   what is done about it
//! ```
//!
//! What must never happen here: that a guard goes off though nothing is wrong, since it takes a service out of Belay's
//! hands. So each rule is one that holds whatever the policy is, and the simulator counts a guard that goes off as a broken
//! promise of its own.

mod contain;
mod evidence;
mod hosts;
mod room;
mod service;
pub mod tripped;

use super::State;
use super::service::{MigrationStage, Phase, Rival, ServiceRecord};
use crate::mutant;
use belay_proto::entry::GoneReason;
use belay_proto::{NodeId, OwnershipEpoch, ServiceName};
pub(super) use evidence::Evidence;
use std::collections::{BTreeMap, BTreeSet};
pub use tripped::{Invariant, Tripped};

/// What is remembered of a service that an entry changes.
#[derive(Clone, Debug)]
pub(super) struct Before {
    phase: Phase,
    epoch: OwnershipEpoch,
    frozen: bool,
    restarts: usize,
    /// A request waits for its turn.
    queued: bool,
    ended: Option<GoneReason>,
    died_frozen: bool,
    rivals: BTreeMap<NodeId, Rival>,
    suspects: BTreeSet<NodeId>,
    sought: BTreeSet<NodeId>,
}

impl Before {
    /// Nothing here is copied that has a size, for nearly all records: they have no rivals, and nobody seeks them.
    fn of(record: &ServiceRecord) -> Self {
        Self {
            phase: record.phase.clone(),
            epoch: record.epoch,
            frozen: record.frozen,
            restarts: record.restarts.len(),
            queued: !record.queue.is_empty(),
            ended: record.ended,
            died_frozen: record.died_frozen,
            rivals: record.rivals.clone(),
            suspects: record.suspects.clone(),
            sought: record.sought.clone(),
        }
    }

    /// Whether anything changed that a guard judges by.
    fn differs(&self, record: &ServiceRecord) -> bool {
        self.phase != record.phase
            || self.epoch != record.epoch
            || self.frozen != record.frozen
            || self.restarts != record.restarts.len()
            || (self.ended, self.died_frozen) != (record.ended, record.died_frozen)
            || self.rivals != record.rivals
            || self.suspects != record.suspects
            || self.sought != record.sought
    }

    /// Its copy is known to be gone from its owner, which the phase does not say.
    fn gone(&self) -> bool {
        self.ended.is_some() || self.died_frozen
    }

    fn holders(&self) -> BTreeSet<NodeId> {
        holders(&self.phase, self.gone(), &self.rivals, &self.suspects)
    }
}

/// The records that the present entry has changed, as they were before.
#[derive(Clone, Debug, Default)]
pub(super) struct Watch {
    changed: BTreeMap<ServiceName, Before>,
}

/// No part of what a member knows: it is empty between two entries.
impl PartialEq for Watch {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Watch {
    /// An entry is about to be applied.
    pub(super) fn open(&mut self) {
        self.changed.clear();
    }

    /// A record is about to be changed.
    pub(super) fn before(record: &ServiceRecord) -> Option<Before> {
        (!mutant::unguarded()).then(|| Before::of(record))
    }

    /// It was changed. How it was at first counts, however often it changes.
    pub(super) fn note(&mut self, name: &ServiceName, before: Option<Before>, record: &ServiceRecord) {
        if let Some(before) = before.filter(|before| before.differs(record))
            && !self.changed.contains_key(name)
        {
            self.changed.insert(name.clone(), before);
        }
    }
}

/// The hosts that may have a copy, as far as anybody knows. A failed stop leaves its host among the suspects, so the phase
/// says nothing more.
fn holders(
    phase: &Phase,
    gone: bool,
    rivals: &BTreeMap<NodeId, Rival>,
    suspects: &BTreeSet<NodeId>,
) -> BTreeSet<NodeId> {
    let of_phase = match phase {
        Phase::Starting { owner } | Phase::Stopping { owner, .. } => [Some(*owner), None],
        Phase::Started { owner } => [(!gone).then_some(*owner), None],
        Phase::Migrating { from, to, stage } => {
            let (source, target) = match stage {
                MigrationStage::Moving => (None, None),
                MigrationStage::Looking { source, target } => (*source, *target),
            };
            [(source != Some(false)).then_some(*from), (target != Some(false)).then_some(*to)]
        }
        Phase::Stopped { .. } | Phase::Disabled | Phase::Failed { .. } => [None, None],
    };
    of_phase.into_iter().flatten().chain(rivals.keys().copied()).chain(suspects.iter().copied()).collect()
}

fn holders_of(record: &ServiceRecord) -> BTreeSet<NodeId> {
    let gone = record.ended.is_some() || record.died_frozen;
    holders(&record.phase, gone, &record.rivals, &record.suspects)
}

impl State {
    /// Judges what the entry has done, and takes back what must not be.
    pub(super) fn guard(&mut self, evidence: &Evidence<'_>) {
        if mutant::unguarded() {
            return;
        }
        self.guard_hosts(evidence);
        let changed = std::mem::take(&mut self.watch.changed);
        if changed.is_empty() {
            return;
        }
        let mut tripped = Vec::new();
        let mut placed = Vec::new();
        for (name, before) in &changed {
            let Some(record) = self.services.get(name) else { continue };
            match self.judge(name, before, record, evidence) {
                Some((invariant, what)) => tripped.push((name, before, invariant, what)),
                None => placed.extend(room::placed(name, before, record)),
            }
        }
        for (name, what) in self.without_room(&placed) {
            if let Some((name, before)) = changed.get_key_value(&name) {
                tripped.push((name, before, Invariant::S13, what));
            }
        }
        for (name, before, invariant, what) in tripped {
            self.contain(name, before, evidence, invariant, what);
        }
    }
}
