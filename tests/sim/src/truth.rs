//! What really is so, whatever any host believes, and the promises that are held against it after every step.

use crate::hypervisor::Origin;
use crate::sim::Sim;
use belay_engine::node::PersistRecord;
use belay_engine::state::State;
use belay_engine::state::member::Standing;
use belay_engine::state::service::Phase;
use belay_proto::control::Verdict;
use belay_proto::entry::{Request, Seen, What, WorkOutcome};
use belay_proto::history::EventKind;
use belay_proto::{Code, Incarnation, Index, NodeId, OwnershipEpoch, RequestId, ServiceName, Term};
use std::collections::{BTreeMap, BTreeSet};

/// A request that somebody made.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) request: Request,
    pub(crate) at: Vec<NodeId>,
    pub(crate) answer: Option<Verdict>,
    pub(crate) sent: u32,
    pub(crate) cluster_ms: u64,
    pub(crate) answered_index: Index,
    pub(crate) asked_ms: u64,
    pub(crate) answered_ms: u64,
    /// The answer was a refusal of the host, which is no answer of the cluster.
    pub(crate) refused: bool,
    /// What that host said.
    pub(crate) refusal: Option<Verdict>,
}

impl Asked {
    /// What somebody will ask as soon as anybody can take it.
    pub(crate) fn not_yet(request: Request, now: u64) -> Self {
        Self {
            request,
            at: Vec::new(),
            answer: None,
            sent: 0,
            cluster_ms: 0,
            answered_index: Index(u64::MAX),
            asked_ms: now,
            answered_ms: u64::MAX,
            refused: false,
            refusal: None,
        }
    }
}

/// Everything known outside of the cluster.
#[derive(Debug, Default)]
pub(crate) struct Truth {
    pub(crate) violation: Option<(String, String)>,
    pub(crate) requests: BTreeMap<RequestId, Asked>,
    /// Which hosts may run a service as far as anybody can have been told (S2).
    held: BTreeMap<ServiceName, BTreeSet<NodeId>>,
    /// What was applied, by the hash of all that was applied with it (S4).
    applied: BTreeSet<(Index, u64)>,
    /// What a majority had on disk (S4).
    committed: BTreeMap<Index, u64>,
    /// How far that got in each term (S5).
    reached: BTreeMap<Term, Index>,
    /// The members of the newest view, and how far the cluster's clock is ahead of the simulator's.
    pub(crate) last_members: BTreeSet<(NodeId, Incarnation)>,
    pub(crate) clock_ahead: i64,
    off: BTreeSet<NodeId>,
    /// Where a domain's process last died by itself.
    died: BTreeMap<String, NodeId>,
    /// When a service was restarted in place, since it was last moved or asked for (S6).
    in_place: BTreeMap<ServiceName, (NodeId, OwnershipEpoch, BTreeMap<OwnershipEpoch, u64>)>,
    /// Some host's calendar jumped: windows of the cluster's time cannot be judged from outside.
    pub(crate) clock_jumped: bool,
    pub(crate) moved_by_hand: u64,
    /// The newest epoch in which anybody began to start or move a service (S9).
    epochs: BTreeMap<ServiceName, OwnershipEpoch>,
    /// Where each daemon had each service after the last entry it applied (S13).
    pub(crate) placed: BTreeMap<NodeId, crate::placement_rules::Before>,
    pub(crate) fenced: u64,
    /// How often a process of a domain began; one that is migrated goes on.
    pub(crate) begun: BTreeMap<String, u64>,
    pub(crate) starts: u64,
}

impl Truth {
    /// Somebody proved that a host is off.
    pub(crate) fn proven_off(&mut self, host: NodeId) {
        self.fenced += 1;
        self.held.values_mut().for_each(|hosts| {
            hosts.remove(&host);
        });
    }

    pub(crate) fn host_off(&mut self, host: NodeId) {
        self.off.insert(host);
        self.died.retain(|_, at| *at != host);
    }

    /// A daemon that joins with a new boot proves that the former one is over.
    pub(crate) fn joins(&mut self, host: NodeId) {
        if self.off.remove(&host) {
            self.held.values_mut().for_each(|hosts| {
                hosts.remove(&host);
            });
        }
    }

    pub(crate) fn domain_died(&mut self, host: NodeId, name: &str) {
        self.died.insert(name.to_owned(), host);
    }

    /// A new configuration allows for more restarts, or for fewer.
    pub(crate) fn limits_changed(&mut self) {
        self.in_place.clear();
    }

    /// Whatever somebody asks begins a new count of restarts.
    pub(crate) fn asked_about(&mut self, service: Option<&ServiceName>) {
        if let Some(service) = service {
            self.in_place.remove(service);
            self.died.remove(service.name());
        }
    }

    /// No requests about the service are under way, and the last one was this.
    fn settled(&self, service: &ServiceName) -> Option<&Asked> {
        let about = |asked: &&Asked| asked.request.service() == Some(service) && !(asked.refused && asked.sent == 1);
        if self.requests.values().filter(about).any(|asked| asked.answer.is_none()) {
            return None;
        }
        let last = self.requests.values().filter(about).max_by_key(|asked| asked.answered_ms)?;
        let overlaps =
            self.requests.values().filter(about).filter(|asked| asked.answered_ms >= last.asked_ms).count() > 1;
        (!overlaps && last.answer.as_ref().is_some_and(|verdict| verdict.code == Code::Success)).then_some(last)
    }
}

impl Sim {
    pub(crate) fn violated(&mut self, promise: &str, what: String) {
        self.trace.fault(self.now, &format!("VIOLATED {promise}: {what}"));
        self.truth.violation.get_or_insert((promise.to_owned(), what));
    }

    /// What went wrong, if anything did.
    #[must_use]
    pub fn violation(&self) -> Option<String> {
        self.truth.violation.as_ref().map(|(promise, what)| format!("{promise}: {what}"))
    }

    /// Where a domain runs, as nobody but the simulator can know.
    #[must_use]
    pub fn places(&self, name: &str) -> Vec<u32> {
        let runs = |id: &&NodeId| self.hosts.get(id).is_some_and(|host| host.hyper.domains.contains_key(name));
        self.hosts.keys().filter(runs).map(|id| id.0).collect()
    }

    /// After each step: a domain that Belay started runs once (S1).
    pub(crate) fn check(&mut self) {
        let mut double = None;
        let mut seen: BTreeMap<&str, NodeId> = BTreeMap::new();
        for (id, host) in &self.hosts {
            for (name, dom) in &host.hyper.domains {
                if dom.origin == Origin::Belay
                    && let Some(other) = seen.insert(name, *id)
                {
                    double = Some(format!("{name} runs on node{other} and on node{id}"));
                }
            }
        }
        if let Some(what) = double {
            self.violated("S1", what);
        }
    }

    /// An entry was applied: all who apply it in this history have the same one and the same state (S4).
    pub(crate) fn applied(&mut self, host: NodeId, quorate: bool, record: &PersistRecord) {
        let Some(daemon) = self.daemon(host) else { return };
        let opens_term = matches!(record.entry.what, What::View(_));
        if !quorate && !daemon.node.quorate() {
            return self.violated("S3", format!("node{host} applies entry {} without quorum", record.index));
        }
        let state = daemon.node.state();
        if state.index() != record.index {
            return;
        }
        if opens_term {
            self.remembers(host);
        }
        self.no_guard_went_off(host, record);
        self.placed_by_the_rules(host);
        let first = self.truth.applied.insert((record.index, record.chain));
        if first && opens_term {
            self.nothing_is_lost(host, record);
        }
        self.decided(host, &record.entry.what, first);
        if !first {
            self.same_state(host);
        }
        if record.index.0.is_multiple_of(8) {
            self.adopt_by_hand();
        }
    }

    /// Whatever a guard of the engine kept from happening, something had decided it.
    fn no_guard_went_off(&mut self, host: NodeId, record: &PersistRecord) {
        let Some(event) = record.events.iter().find(|event| event.kind == EventKind::Guard) else { return };
        let Some(state) = self.daemon(host).map(|daemon| daemon.node.state()) else { return };
        let of_service = event.service.as_ref().and_then(|service| state.service(service)?.tripped.as_ref());
        let of_host = event.node.and_then(|node| state.node(node)?.refused.as_ref());
        let promise = of_service.or(of_host).map(|tripped| tripped.invariant.to_string()).unwrap_or_default();
        let about = event.service.as_ref().map(|service| format!("{service} ")).unwrap_or_default();
        self.violated(&format!("guard {promise}"), format!("{about}{}", event.text));
    }

    /// Who applied the same entries has the same state, and so has whoever reads its snapshot (S4).
    fn same_state(&mut self, host: NodeId) {
        let Some(state) = self.daemon(host).map(|daemon| daemon.node.state()) else { return };
        let (index, chain) = (state.index(), state.chain());
        let peers = self.hosts.values().filter(|h| h.id != host);
        let states = peers.filter_map(|h| Some((h.id, h.daemon.as_ref()?.node.state())));
        let mut alike = states.filter(|(_, other)| other.index() == index && other.chain() == chain);
        let differs = alike.find(|(_, other)| *other != state).map(|(id, _)| id);
        if let Some(other) = differs {
            return self.violated("S4", format!("node{host} and node{other} differ in their state at entry {index}"));
        }
        if !index.0.is_multiple_of(64) {
            return;
        }
        let text = state.snapshot();
        let read = State::restore(&text).map(|state| state.snapshot());
        if read.as_ref().ok() != Some(&text) {
            let reason = read.err().map_or_else(|| "it reads otherwise".to_owned(), |e| e.to_string());
            self.violated("S4", format!("the snapshot of node{host} at entry {index}: {reason}"));
        }
    }

    /// What a member tells the others to be on its disk is there, and is what it applied (S5).
    pub(crate) fn has_on_disk(&mut self, host: NodeId, index: Index) {
        let Some(h) = self.hosts.get(&host) else { return };
        let applied = h.daemon.as_ref().and_then(|daemon| daemon.chains.get(&index));
        let differs = h.disk.chain(index).zip(applied.copied()).is_some_and(|(written, applied)| written != applied);
        if differs || index > h.disk.last() {
            let last = h.disk.last();
            let what = format!(
                "node{host} says that entry {index} is on its disk, which has another history or ends at {last}"
            );
            self.violated("S5", what);
        }
    }

    /// A term begins with all that a majority had on disk in an earlier one (S5).
    fn nothing_is_lost(&mut self, host: NodeId, record: &PersistRecord) {
        let earlier = self.truth.reached.range(..record.term).map(|(_, index)| *index).max();
        if let Some(had) = earlier.filter(|had| *had >= record.index) {
            let (term, index) = (record.term, record.index);
            let what =
                format!("term {term} begins with entry {index} on node{host}; a majority had entry {had} before");
            self.violated("S5", what);
        }
    }

    /// What a majority has is never replaced by something else (S4, S5). Before that it may be: whoever is cut off from the
    /// others may have been given its own last messages without theirs.
    pub(crate) fn committed(&mut self, host: NodeId) {
        // With two nodes either may have a history of its own.
        if self.shape.two_node {
            return;
        }
        let Some(daemon) = self.daemon_mut(host) else { return };
        let committed = daemon.node.committed();
        if committed <= daemon.committed {
            return;
        }
        daemon.committed = committed;
        let term = daemon.node.state().term();
        let chain = daemon.chains.get(&committed).copied();
        daemon.chains.retain(|index, _| *index >= committed);
        let reached = self.truth.reached.entry(term).or_default();
        *reached = committed.max(*reached);
        let Some(chain) = chain else { return };
        let known = *self.truth.committed.entry(committed).or_insert(chain);
        if known != chain {
            let what = format!("entry {committed}, which a majority had on disk, is another one on node{host}");
            self.violated("S4", what);
        }
    }

    /// A domain somebody started that a quorate member has taken into its care counts as Belay's from then on.
    fn adopt_by_hand(&mut self) {
        // Each of two nodes may be quorate with a state of its own.
        if self.shape.two_node {
            return;
        }
        let mut adopted = Vec::new();
        for (id, host) in &self.hosts {
            for (name, dom) in &host.hyper.domains {
                let alone = self.places(name).len() == 1;
                let Ok(service) = ServiceName::vm(name) else { continue };
                let owned = self.hosts.values().filter_map(|h| h.daemon.as_ref()).any(|daemon| {
                    let record = daemon.node.state().service(&service);
                    let cared_for = daemon.node.state().node(*id).is_some_and(|node| node.takes_services());
                    cared_for
                        && daemon.node.quorate()
                        && record.is_some_and(|r| r.phase == Phase::Started { owner: *id })
                });
                if dom.origin == Origin::Other && alone && owned {
                    adopted.push((*id, name.clone()));
                }
            }
        }
        for (id, name) in adopted {
            if let Some(dom) = self.hosts.get_mut(&id).and_then(|host| host.hyper.domains.get_mut(&name)) {
                dom.origin = Origin::Belay;
            }
        }
    }

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

    /// What an executor tells of its host is what others may rely on.
    pub(crate) fn truth_of_report(&mut self, host: NodeId, what: &What) {
        let free = match what {
            What::Outcome {
                service,
                outcome:
                    WorkOutcome::StartFailed { .. }
                    | WorkOutcome::Stopped
                    | WorkOutcome::StrayStopped
                    | WorkOutcome::Looked { running: false },
                ..
            } => Some(service.clone()),
            What::Observation { service, seen: Seen::Gone { .. }, .. } => Some(service.clone()),
            What::Inventory { running, .. } => {
                for (service, held) in &mut self.truth.held {
                    if !running.iter().any(|name| name == service.name()) {
                        held.remove(&host);
                    }
                }
                None
            }
            _ => None,
        };
        if let Some(held) = free.and_then(|service| self.truth.held.get_mut(&service)) {
            held.remove(&host);
        }
    }
}
