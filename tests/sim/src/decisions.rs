//! What the engine decides, seen from outside: each entry's effect on each service is held against what really runs and
//! against what may follow from what (S6, S8, S9, S10, and the cluster's clock).
//!
//! The first member to apply an entry is looked at; that all others decide the same is S4's business.

use crate::hypervisor::Origin;
use crate::sim::Sim;
use belay_config::model::{GuestShutdown, Recovery};
use belay_engine::state::State;
use belay_engine::state::member::NodeRecord;

use belay_engine::state::service::{MigrationStage, Phase, ServiceRecord, Wanted};
use belay_proto::entry::{GoneReason, Seen, What};
use belay_proto::{Index, NodeId, OwnershipEpoch, ServiceName, Timestamp};
use std::collections::{BTreeMap, BTreeSet};

/// For how long a domain must have run that nobody may have missed it.
const SEEN_AFTER: u64 = 2500;

/// What is remembered of a service until the next entry.
#[derive(Clone, Debug)]
struct Brief {
    phase: Phase,
    epoch: OwnershipEpoch,
    restarts: Vec<Timestamp>,
}

/// What is remembered of a member's state until its next entry.
#[derive(Clone, Debug, Default)]
pub(crate) struct Before {
    index: Index,
    time: Timestamp,
    services: BTreeMap<ServiceName, Brief>,
}

impl Before {
    fn of(state: &State) -> Self {
        let brief = |record: &ServiceRecord| Brief {
            phase: record.phase.clone(),
            epoch: record.epoch,
            restarts: record.restarts.clone(),
        };
        let services = state.services().map(|(name, record)| (name.clone(), brief(record))).collect();
        Self { index: state.index(), time: state.time(), services }
    }
}

/// One service, before and after an entry.
struct Change<'a> {
    host: NodeId,
    service: &'a ServiceName,
    before: &'a Brief,
    after: Brief,
    entry: &'a What,
}

impl Sim {
    /// A member applied an entry and nothing after it. `first`: nobody did so before.
    pub(crate) fn decided(&mut self, host: NodeId, entry: &What, first: bool) {
        let Some(daemon) = self.daemon_mut(host) else { return };
        let after = Before::of(daemon.node.state());
        let before = daemon.before.replace(after.clone());
        if first {
            self.clock_runs(host, entry, after.time);
        }
        let Some(before) = before.filter(|before| before.index.next() == after.index) else { return };
        if !first {
            return;
        }
        for (service, brief) in &before.services {
            let Some(changed) = after.services.get(service) else { continue };
            if brief.phase == changed.phase && brief.epoch == changed.epoch {
                continue;
            }
            let change = Change { host, service, before: brief, after: changed.clone(), entry };
            self.epoch_grows(&change);
            self.nobody_is_held_for_dead(&change);
            self.migration_is_closed_rightly(&change);
            self.window_is_used_up(&change, after.time);
        }
    }

    /// The cluster's clock goes on as clocks do, whatever some calendar says: where anybody goes on, it is ahead of the
    /// real time by no more than it was. (It falls behind when an entry takes long to arrive.)
    fn clock_runs(&mut self, host: NodeId, entry: &What, time: Timestamp) {
        let ahead = i64::try_from(time.0).unwrap_or(0) - i64::try_from(self.now).unwrap_or(0);
        let drifts = 3000 + i64::try_from(self.now / 300).unwrap_or(0);
        let truth = &mut self.truth;
        if let What::View(view) = entry {
            let members: BTreeSet<_> = view.members.iter().map(|m| (m.node, m.incarnation)).collect();
            let goes_on = members.intersection(&truth.last_members).next().is_some();
            truth.last_members = members;
            if !goes_on {
                truth.clock_ahead = truth.clock_ahead.max(ahead);
            }
        }
        if let What::Silent { node, incarnation } = entry {
            // It does not go on as far as the others know.
            truth.last_members.remove(&(*node, *incarnation));
        }
        let leap = ahead - truth.clock_ahead;
        truth.clock_ahead = truth.clock_ahead.max(ahead);
        // Each of two nodes may have a clock of its own.
        if leap > drifts && !self.shape.two_node {
            self.violated("clock", format!("the cluster's clock leaps by {leap} ms on node{host}"));
        }
    }

    /// Each decision has a number of its own (S9).
    fn epoch_grows(&mut self, change: &Change<'_>) {
        let (before, after) = (change.before, &change.after);
        if after.epoch < before.epoch {
            let what = format!("the epoch of {} falls from {} to {}", change.service, before.epoch, after.epoch);
            return self.violated("S9", what);
        }
        let ordered = match (&before.phase, &after.phase) {
            (Phase::Starting { owner: was }, Phase::Starting { owner }) => was != owner,
            (Phase::Stopping { owner: was, .. }, Phase::Stopping { owner, .. }) => was != owner,
            (_, Phase::Starting { .. } | Phase::Stopping { .. }) => true,
            (Phase::Migrating { from: a, to: b, .. }, Phase::Migrating { from, to, .. }) => a != from || b != to,
            (_, Phase::Migrating { .. }) => true,
            _ => false,
        };
        if ordered && after.epoch == before.epoch {
            let what = format!("{} is told {:?} in the epoch of {:?}", change.service, after.phase, before.phase);
            self.violated("S9", what);
        }
    }

    /// Whether Belay's copy has been running on a host for so long that nobody can have missed it.
    fn runs_for_long(&self, host: NodeId, service: &ServiceName) -> bool {
        self.hosts
            .get(&host)
            .and_then(|h| h.hyper.domains.get(service.name()))
            .is_some_and(|dom| dom.origin == Origin::Belay && self.now - dom.since > SEEN_AFTER)
    }

    /// What runs on its owner is not recovered from its death (S8).
    fn nobody_is_held_for_dead(&mut self, change: &Change<'_>) {
        let Phase::Started { owner } = change.before.phase else { return };
        let taken = match &change.after.phase {
            Phase::Starting { .. } | Phase::Stopped { .. } | Phase::Disabled | Phase::Failed { .. } => true,
            Phase::Started { owner: other } => *other != owner,
            Phase::Stopping { .. } | Phase::Migrating { .. } => false,
        };
        let seen = if let What::Observation { seen, .. } = change.entry { Some(seen) } else { None };
        if taken && seen == Some(&Seen::Gone { why: GoneReason::Migrated }) && !Self::adopted(&change.after.phase) {
            let what =
                format!("{} was migrated away and is {:?} without being looked for", change.service, change.after);
            return self.violated("S8", what);
        }
        // With two nodes apart, the one cannot know what the other has started again since; it starts nothing without proof (S2).
        let heard = self.daemon(change.host).and_then(|daemon| daemon.node.state().node(owner));
        let heard = heard.is_some_and(NodeRecord::in_view);
        if taken && (heard || !self.shape.two_node) && self.runs_for_long(owner, change.service) {
            let what = format!("{} runs on node{owner} and is now {:?}", change.service, change.after.phase);
            self.violated("S8", what);
        }
    }

    /// It goes on where it was found, or is left alone until somebody says where it is.
    fn adopted(phase: &Phase) -> bool {
        matches!(phase, Phase::Started { .. } | Phase::Failed { .. })
    }

    /// A migration is closed where the VM is (S10).
    fn migration_is_closed_rightly(&mut self, change: &Change<'_>) {
        let Phase::Migrating { from, to, stage } = change.before.phase else { return };
        let Phase::Started { owner } = change.after.phase else { return };
        let there = |sim: &Self, host: NodeId| {
            sim.hosts.get(&host).is_some_and(|h| h.hyper.domains.contains_key(change.service.name()))
        };
        let other = if owner == from { to } else { from };
        let left = self.runs_for_long(other, change.service) && (owner == to || !there(self, owner));
        if left {
            let what = format!("the migration of {} is closed on node{owner}; it runs on node{other}", change.service);
            self.violated("S10", what);
        }
        if stage == MigrationStage::Moving && self.hosts.get(&other).is_some_and(|h| h.powered && h.frozen.is_none()) {
            let what = format!("the migration of {} is closed before anybody looked at both ends", change.service);
            self.violated("S10", what);
        }
    }

    /// A service with restarts left is restarted in place (S6): of those it remembers, only those within the window count.
    fn window_is_used_up(&mut self, change: &Change<'_>, now: Timestamp) {
        let Phase::Started { owner } = change.before.phase else { return };
        let given_up = match &change.after.phase {
            Phase::Starting { owner: other } => *other != owner,
            Phase::Stopped { wanted: Wanted::Now } | Phase::Disabled => true,
            _ => false,
        };
        let died = matches!(
            change.entry,
            What::Observation { .. } | What::Inventory { .. } | What::Outcome { .. } | What::Tick
        );
        let Some(state) = self.daemon(change.host).map(|daemon| daemon.node.state()) else { return };
        let Some(vm) = state.config().and_then(|config| config.vms.get(change.service)) else { return };
        let able = state.node(owner).is_some_and(NodeRecord::takes_services) && state.legal(vm, owner);
        let waits_for_owner = state.service(change.service).is_some_and(|record| record.search.wish == Some(owner));
        let restarts = matches!(vm.recovery, Recovery::Restart | Recovery::RestartDisable);
        let accepted = vm.guest_shutdown == GuestShutdown::Stop && change.after.phase == Phase::Disabled;
        let asked =
            self.truth.requests.values().any(|asked| {
                asked.answer.is_none() && asked.sent > 0 && asked.request.service() == Some(change.service)
            });
        if !given_up || asked || !died || !able || waits_for_owner || !restarts || accepted {
            return;
        }
        let window = vm.restart_expire_time;
        let recent = change.before.restarts.iter().filter(|at| window.is_zero() || now.since(**at) < window).count();
        if vm.max_restarts == 0 || recent < vm.max_restarts as usize {
            let what = format!("{} is given up on node{owner} after {recent} restarts", change.service);
            self.violated("S6", what);
        }
    }
}
