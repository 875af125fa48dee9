//! What executors do, held against the promises at the moment they do it: a start, a stop, a migration, a fencing.

use crate::sim::Sim;
use belay_engine::state::member::Standing;
use belay_proto::entry::Request;
use belay_proto::{NodeId, OwnershipEpoch, ServiceName};
use std::collections::BTreeMap;

impl Sim {
    fn acts(&mut self, host: NodeId, what: &str) {
        let quorate = self.daemon(host).is_some_and(|daemon| daemon.node.quorate());
        if !quorate || !self.may_act(host) {
            self.violated("S3", format!("node{host} {what} without quorum"));
        }
    }

    /// An executor is about to start a domain.
    pub(crate) fn begins_start(&mut self, host: NodeId, service: &ServiceName, epoch: OwnershipEpoch) {
        self.truth.starts += 1;
        self.trace.note(self.now, host, || format!("begins to start {service} (epoch {epoch})"));
        self.acts(host, "starts");
        let elsewhere =
            self.truth.held.get(service).and_then(|held| held.iter().find(|other| **other != host)).copied();
        // What died here was there already: to start it again makes no second copy. With two nodes somebody may have
        // started it by hand on the one that knew nothing of the other.
        let again = self.shape.two_node && self.truth.died.get(service.name()) == Some(&host);
        if let Some(other) = elsewhere.filter(|_| !again) {
            self.violated(
                "S2",
                format!("{service} is started on node{host}; nothing proves that node{other} has it not"),
            );
        }
        self.untouched(host, service, "started", true);
        self.in_its_epoch(host, service, epoch);
        self.starts_on_host_in_use(host, service);
        self.restarts(host, service, epoch);
        self.truth.held.entry(service.clone()).or_default().insert(host);
    }

    /// What was decided before something that is already under way has no effect any more (S9).
    fn in_its_epoch(&mut self, host: NodeId, service: &ServiceName, epoch: OwnershipEpoch) {
        // Each of two nodes may be quorate with a history of its own.
        if self.shape.two_node {
            return;
        }
        let newest = self.truth.epochs.entry(service.clone()).or_default();
        let before = std::mem::replace(newest, epoch.max(*newest));
        if epoch < before {
            let what = format!("node{host} begins in epoch {epoch} on {service}, which is in epoch {before}");
            self.violated("S9", what);
        }
    }

    /// No more restarts in place within the window than allowed (S6).
    fn restarts(&mut self, host: NodeId, service: &ServiceName, epoch: OwnershipEpoch) {
        let config = self.daemon(host).and_then(|daemon| daemon.node.state().config());
        let Some(vm) = config.and_then(|config| config.vms.get(service)) else { return };
        let (allowed, window) = (vm.max_restarts as usize, vm.restart_expire_time.0);
        let died_here = self.truth.died.remove(service.name()) == Some(host);
        let (at, last, restarts) = self.truth.in_place.entry(service.clone()).or_insert((host, epoch, BTreeMap::new()));
        // A restart in place is one decision; with more of them the policy has moved on, even if only to the same host.
        let moved_on = *at != host || epoch > last.next();
        if moved_on {
            (*at, *restarts) = (host, BTreeMap::new());
        }
        let begun_again = *last == epoch && !moved_on;
        *last = epoch;
        // One that is begun again, since its daemon died before it could report, is still the same.
        if moved_on || begun_again || !died_here {
            return;
        }
        restarts.insert(epoch, self.now);
        let since = if window == 0 { 0 } else { (self.now + 2000).saturating_sub(window) };
        let recent = restarts.values().filter(|at| **at >= since).count();
        if allowed > 0 && recent > allowed && !self.truth.clock_jumped && self.truth.moved_by_hand == 0 {
            self.violated(
                "S6",
                format!("{service} is restarted in place for the {recent}. time; {allowed} are allowed"),
            );
        }
    }

    pub(crate) fn begins_migration(&mut self, host: NodeId, service: &ServiceName, to: NodeId) {
        self.trace.note(self.now, host, || format!("begins to migrate {service} to node{to}"));
        self.acts(host, "migrates");
        self.untouched(host, service, "migrated", false);
        self.truth.held.entry(service.clone()).or_default().insert(to);
    }

    pub(crate) fn begins_stop(&mut self, host: NodeId, service: &ServiceName) {
        self.trace.note(self.now, host, || format!("begins to stop {service}"));
        if !self.apart() {
            self.untouched(host, service, "stopped", false);
        }
    }

    /// Disabled stays stopped and frozen stays untouched (S7).
    fn untouched(&mut self, host: NodeId, service: &ServiceName, done: &str, starts: bool) {
        // With two_node both sides of a split may be right, and one of them forgets.
        if self.shape.two_node {
            return;
        }
        let forbidden = match self.truth.settled(service).map(|asked| &asked.request) {
            Some(Request::Disable { .. }) => starts,
            Some(Request::Freeze { .. }) => true,
            _ => false,
        };
        if forbidden {
            self.violated("S7", format!("{service} is {done} on node{host} though it is disabled or frozen"));
        }
    }

    fn apart(&self) -> bool {
        let mut groups = self.hosts.values().map(|host| (host.group, host.frozen.is_some()));
        let first = groups.next();
        groups.any(|group| Some(group) != first)
    }

    /// An executor is about to run a fence agent.
    pub(crate) fn begins_fencing(&mut self, host: NodeId, victim: NodeId) {
        self.trace.note(self.now, host, || format!("begins to fence node{victim}"));
        self.acts(host, "fences");
        self.fences_armed(host, victim);
        if host == victim {
            self.violated("S11", format!("node{host} fences itself"));
        }
        self.is_its_turn(host, victim);
        let (Some(fencer), Some(other)) = (self.hosts.get(&host), self.hosts.get(&victim)) else { return };
        let same = fencer.group.is_some() && fencer.group == other.group && other.frozen.is_none();
        let now = self.now;
        let answers = other.daemon.as_ref().is_some_and(|daemon| {
            daemon.frozen.is_none()
                && daemon.node.quorate()
                && daemon.quorate_since.is_some_and(|since| now - since > 2000)
                && Some(daemon.node.state().quorate_round())
                    == fencer.daemon.as_ref().map(|daemon| daemon.node.state().quorate_round())
        });
        if same && answers {
            self.violated("S11", format!("node{host} fences node{victim}, a member that answers"));
        }
    }

    /// A fenced host is switched on by one member at a time, and never by itself.
    pub(crate) fn begins_switching_on(&mut self, host: NodeId, victim: NodeId) {
        self.trace.note(self.now, host, || format!("begins to switch node{victim} on"));
        let Some(state) = self.daemon(host).map(|daemon| daemon.node.state()) else { return };
        let record = state.node(victim);
        let by = record.and_then(|record| Some(record.switch_on.as_ref()?.attempt()?.by));
        let down = record.is_some_and(|record| matches!(record.standing, Standing::Down(_)));
        if host == victim || by != Some(host) || !down {
            self.violated("power", format!("node{host} switches node{victim} on, which is up to {by:?}"));
        }
    }

    /// One member at a time fences a victim, and a daemon that is away from a living host has its grace (S11).
    fn is_its_turn(&mut self, host: NodeId, victim: NodeId) {
        let Some(state) = self.daemon(host).map(|daemon| daemon.node.state()) else { return };
        let by = state.victims().find(|(id, _)| *id == victim).and_then(|(_, v)| Some(v.attempt.as_ref()?.by));
        if let Some(by) = by.filter(|by| *by != host) {
            return self.violated("S11", format!("node{host} fences node{victim} while node{by} is at it"));
        }
        let record = state.node(victim).filter(|node| node.standing == (Standing::Lost { host_alive: true }));
        let Some(away) = record.map(|node| state.time().since(node.since)) else { return };
        if let Some(grace) = state.config().map(|config| config.fence_daemon.daemon_grace)
            && away < grace
        {
            let what = format!("node{victim} lives and its daemon is away for {away} only, but node{host} fences it");
            self.violated("S11", what);
        }
    }
}
