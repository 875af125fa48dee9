//! What the engine decides, seen from outside: each entry's effect on each service is held against what really runs and
//! against what may follow from what (S6, S8, S9, S10, S13, and the cluster's clock).
//!
//! The first member to apply an entry is looked at; that all others decide the same is S4's business.

use crate::hypervisor::Origin;
use crate::sim::Sim;
use belay_config::model::{GuestShutdown, Recovery};
use belay_engine::state::State;
use belay_engine::state::member::Standing;

use belay_engine::state::service::{MigrationStage, Phase, Wanted};
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
        let brief = |r: &belay_engine::state::service::ServiceRecord| Brief { phase: r.phase.clone(), epoch: r.epoch };
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
            self.place_is_legal(&change);
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
                truth.clock_ahead = ahead;
            }
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
        if taken && self.runs_for_long(owner, change.service) {
            let what = format!("{} runs on node{owner} and is now {:?}", change.service, change.after.phase);
            self.violated("S8", what);
        }
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

    /// A service with restarts left is restarted in place (S6).
    fn window_is_used_up(&mut self, change: &Change<'_>, now: Timestamp) {
        let owner = match change.before.phase {
            Phase::Started { owner } | Phase::Migrating { from: owner, .. } => owner,
            _ => return,
        };
        let Some(state) = self.daemon(change.host).map(|daemon| daemon.node.state()) else { return };
        let Some(vm) = state.config().and_then(|config| config.vms.get(change.service)).cloned() else { return };
        let able = state.node(owner).is_some_and(|node| node.standing == Standing::Online && node.takes_services())
            && state.legal(&vm, owner);
        let waits_for_owner = state.service(change.service).is_some_and(|r| r.search.wish == Some(owner));
        let died = matches!(
            change.entry,
            What::Observation { .. } | What::Inventory { .. } | What::Outcome { .. } | What::Request { .. }
        );
        let restarts = self.truth.decided_restarts.entry(change.service.clone()).or_default();
        match &change.after.phase {
            Phase::Starting { owner: again } if *again == owner => restarts.push(now),
            // It waits for what keeps it from starting there at once.
            Phase::Stopped { wanted: Wanted::Now } if !able || waits_for_owner => restarts.push(now),
            Phase::Starting { .. } | Phase::Stopped { wanted: Wanted::Now } | Phase::Disabled => {
                let counts = matches!(vm.recovery, Recovery::Restart | Recovery::RestartDisable);
                let window = vm.restart_expire_time;
                let recent = restarts.iter().filter(|at| window.is_zero() || now.since(**at) < window).count();
                let left = vm.max_restarts == 0 || recent < vm.max_restarts as usize;
                // The guest switched itself off, and may: nothing died.
                let off = matches!(
                    change.entry,
                    What::Observation { seen: Seen::Gone { why: GoneReason::GuestShutdown }, .. }
                );
                let accepted = off && vm.guest_shutdown == GuestShutdown::Stop;
                let dead = matches!(change.before.phase, Phase::Started { .. }) && died && !accepted;
                if counts && left && able && dead && !matches!(change.entry, What::Request { .. }) {
                    let what = format!("{} is given up on node{owner} after {recent} restarts", change.service);
                    self.violated("S6", what);
                }
            }
            _ => {}
        }
    }

    /// Nothing is started where it may not run (S13).
    fn place_is_legal(&mut self, change: &Change<'_>) {
        let Phase::Starting { owner } = change.after.phase else { return };
        if matches!(change.before.phase, Phase::Starting { owner: same } if same == owner) {
            return;
        }
        let Some(state) = self.daemon(change.host).map(|daemon| daemon.node.state()) else { return };
        let name = change.service.name();
        let (domain, present) = match state.config().and_then(|config| Some((config, config.vms.get(change.service)?)))
        {
            Some((config, vm)) => (
                vm.domain
                    .as_ref()
                    .and_then(|domain| config.failover_domains.get(domain))
                    .filter(|d| d.restricted)
                    .cloned(),
                true,
            ),
            None => (None, false),
        };
        let allowed = domain.is_none_or(|domain| domain.members.iter().any(|(id, _)| *id == owner));
        if !allowed || !present {
            self.violated("S13", format!("{name} is started on node{owner}, where it may not run"));
        }
    }
}
