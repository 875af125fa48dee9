//! One service before and after an entry: what may not have become of it.

use super::super::State;
use super::super::member::{NodeRecord, Standing};
use super::super::service::{Phase, ServiceRecord, Wanted};
use super::{Before, Evidence, Invariant, holders_of};
use belay_proto::entry::{GoneReason, Seen, What};
use belay_proto::{NodeId, ServiceName};

/// A promise that is broken, and how.
type Broken = Option<(Invariant, String)>;

impl State {
    /// The first promise that is broken.
    pub(super) fn judge(
        &self,
        name: &ServiceName,
        before: &Before,
        after: &ServiceRecord,
        evidence: &Evidence<'_>,
    ) -> Broken {
        judge_epoch(before, after)
            .or_else(|| judge_wish(name, before, after, evidence))
            .or_else(|| self.judge_release(name, before, after, evidence))
            .or_else(|| judge_moved_away(name, before, after, evidence))
            .or_else(|| self.judge_start(before, after))
            .or_else(|| self.judge_migration(before, after, evidence))
            .or_else(|| self.judge_restarts(name, after))
    }

    /// A host is struck from those that may have a service only by its own word or by proof (S2). Everything else follows
    /// from this: who is on nobody's list can be started.
    fn judge_release(
        &self,
        name: &ServiceName,
        before: &Before,
        after: &ServiceRecord,
        evidence: &Evidence<'_>,
    ) -> Broken {
        let still = holders_of(after);
        let struck = before.holders().into_iter().filter(|node| !still.contains(node));
        let held_start = |node: NodeId| {
            // An old state knew of a start that another host was asked about first, and that one has it.
            before.phase == Phase::Starting { owner: node }
                && before.suspects.contains(&evidence.entry.from)
                && after.phase == (Phase::Started { owner: evidence.entry.from })
        };
        let node = struck.into_iter().find(|node| !evidence.frees(self, name, before, *node) && !held_start(*node))?;
        let place = self.node_name(node);
        let invariant = match (&before.phase, &after.phase) {
            (Phase::Migrating { .. }, _) => Invariant::S10,
            (Phase::Stopping { owner, .. }, _) if *owner == evidence.entry.from => Invariant::S8,
            (Phase::Started { .. }, Phase::Started { .. }) => Invariant::S1,
            _ => Invariant::S2,
        };
        Some((invariant, format!("nothing proves that {place} does not have it")))
    }

    /// Nothing is started where another host may have it, nor on a host that is not there (S1, S2).
    fn judge_start(&self, before: &Before, after: &ServiceRecord) -> Broken {
        let Phase::Starting { owner } = after.phase else { return None };
        if before.phase == after.phase && before.epoch == after.epoch {
            return None;
        }
        if let Some(other) = holders_of(after).into_iter().find(|node| *node != owner) {
            let absent = !self.nodes.get(&other).is_some_and(NodeRecord::in_view);
            let invariant = if absent { Invariant::S2 } else { Invariant::S1 };
            let (here, there) = (self.node_name(owner), self.node_name(other));
            return Some((invariant, format!("it is to start on {here}, and {there} may have it")));
        }
        if !self.is_there(owner) {
            return Some((Invariant::S2, format!("it is to start on {}, which is not there", self.node_name(owner))));
        }
        let sought =
            before.sought.iter().find(|node| matches!(before.phase, Phase::Stopped { .. }) && self.silent(**node));
        let node = sought?;
        Some((Invariant::S2, format!("{} has not said whether it has it", self.node_name(*node))))
    }

    fn is_there(&self, node: NodeId) -> bool {
        self.nodes.get(&node).is_some_and(|node| node.standing == Standing::Online)
    }

    /// A host that was asked for a service, and is neither there to answer nor proven to have nothing.
    fn silent(&self, node: NodeId) -> bool {
        self.nodes.get(&node).is_some_and(|node| matches!(node.standing, Standing::Lost { .. }))
    }

    /// Only what runs is migrated, from where it runs, to a host that is there (S10).
    fn judge_migration(&self, before: &Before, after: &ServiceRecord, evidence: &Evidence<'_>) -> Broken {
        let Phase::Migrating { from, to, .. } = after.phase else { return None };
        if !is_newly_told(&before.phase, &after.phase) {
            return None;
        }
        let (here, there) = (self.node_name(from), self.node_name(to));
        if from == to || !self.is_there(to) {
            return Some((Invariant::S10, format!("it is to migrate from {here} to {there}, which cannot take it")));
        }
        // What was under way may end, or a copy be found, in the entry that begins the migration.
        let reported = evidence.entry.from == from;
        let ran = before.phase.may_run_on(from) || before.rivals.contains_key(&from) || reported;
        (!ran).then(|| (Invariant::S10, format!("it is to migrate from {here}, where it does not run")))
    }

    /// No more restarts within the window than allowed (S6).
    fn judge_restarts(&self, name: &ServiceName, after: &ServiceRecord) -> Broken {
        let vm = self.cluster()?.vms.get(name)?;
        let (max, window) = (vm.max_restarts as usize, vm.restart_expire_time);
        if max == 0 || after.restarts.len() <= max {
            return None;
        }
        let recent = after.restarts.iter().filter(|at| window.is_zero() || self.time.since(**at) < window).count();
        let newest = after.restarts.last().is_some_and(|at| *at == self.time);
        (newest && recent > max).then(|| {
            (Invariant::S6, format!("this would be restart {recent} within the window, and {max} are allowed"))
        })
    }
}

/// The epoch never goes back, and what is newly decided has a new one (S9).
fn judge_epoch(before: &Before, after: &ServiceRecord) -> Broken {
    if after.epoch < before.epoch {
        return Some((Invariant::S9, format!("its epoch would fall from {} to {}", before.epoch, after.epoch)));
    }
    (is_newly_told(&before.phase, &after.phase) && after.epoch == before.epoch)
        .then(|| (Invariant::S9, format!("it is told something new in epoch {}, which is used", before.epoch)))
}

/// Whether a host is told something it was not told before.
fn is_newly_told(before: &Phase, after: &Phase) -> bool {
    match (before, after) {
        (Phase::Starting { owner: was }, Phase::Starting { owner })
        | (Phase::Stopping { owner: was, .. }, Phase::Stopping { owner, .. }) => was != owner,
        (Phase::Migrating { from: a, to: b, .. }, Phase::Migrating { from, to, .. }) => (a, b) != (from, to),
        (_, Phase::Starting { .. } | Phase::Stopping { .. } | Phase::Migrating { .. }) => true,
        (_, Phase::Stopped { .. } | Phase::Disabled | Phase::Failed { .. } | Phase::Started { .. }) => false,
    }
}

/// What an administrator disabled stays stopped, and what is frozen is left alone, until somebody asks (S7).
fn judge_wish(name: &ServiceName, before: &Before, after: &ServiceRecord, evidence: &Evidence<'_>) -> Broken {
    if before.frozen && !after.frozen && !evidence.is_unfrozen(name) {
        return Some((Invariant::S7, "it would be unfrozen, and nobody asked for that".to_owned()));
    }
    let told = is_newly_told(&before.phase, &after.phase) || before.epoch != after.epoch;
    let at_work = matches!(after.phase, Phase::Starting { .. } | Phase::Stopping { .. } | Phase::Migrating { .. });
    if before.frozen && after.frozen && told && at_work {
        return Some((Invariant::S7, "it is frozen, and something would be done with it".to_owned()));
    }
    let wanted = at_work || after.phase == (Phase::Stopped { wanted: Wanted::Now });
    (before.phase == Phase::Disabled && wanted && !evidence.is_asked(name) && !before.queued)
        .then(|| (Invariant::S7, "it is disabled, and would be started though nobody asked".to_owned()))
}

/// What somebody migrated away is looked for, and never started again without (S8).
fn judge_moved_away(name: &ServiceName, before: &Before, after: &ServiceRecord, evidence: &Evidence<'_>) -> Broken {
    let What::Observation { service, epoch, seen: Seen::Gone { why: GoneReason::Migrated } } = &evidence.entry.what
    else {
        return None;
    };
    let ours =
        service == name && *epoch == before.epoch && before.phase == Phase::Started { owner: evidence.entry.from };
    let looked_after = match after.phase {
        Phase::Started { .. } | Phase::Failed { .. } => true,
        // The copy that was known elsewhere is its own now, and somebody had asked to have that moved.
        Phase::Migrating { from: owner, .. } | Phase::Stopping { owner, .. } => owner != evidence.entry.from,
        Phase::Starting { .. } | Phase::Stopped { .. } | Phase::Disabled => false,
    };
    (ours && !looked_after)
        .then(|| (Invariant::S8, "it was migrated away, and nobody has looked for it on the other hosts".to_owned()))
}
