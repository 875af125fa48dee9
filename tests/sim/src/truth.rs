//! What really is so, whatever any host believes, and the promises that are held against it after every step.

use crate::hypervisor::Origin;
use crate::sim::Sim;
use belay_engine::node::PersistRecord;
use belay_engine::state::State;
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
    pub(crate) held: BTreeMap<ServiceName, BTreeSet<NodeId>>,
    /// What was applied, by the hash of all that was applied with it (S4).
    pub(crate) applied: BTreeSet<(Index, u64)>,
    /// What a majority had on disk (S4).
    pub(crate) committed: BTreeMap<Index, u64>,
    /// How far that got in each term (S5).
    pub(crate) reached: BTreeMap<Term, Index>,
    /// The members of the newest view, and how far the cluster's clock is ahead of the simulator's.
    pub(crate) last_members: BTreeSet<(NodeId, Incarnation)>,
    pub(crate) clock_ahead: i64,
    pub(crate) off: BTreeSet<NodeId>,
    /// Where a domain's process last died by itself.
    pub(crate) died: BTreeMap<String, NodeId>,
    /// When a service was restarted in place, since it was last moved or asked for (S6).
    pub(crate) in_place: BTreeMap<ServiceName, (NodeId, OwnershipEpoch, BTreeMap<OwnershipEpoch, u64>)>,
    /// Some host's calendar jumped: windows of the cluster's time cannot be judged from outside.
    pub(crate) clock_jumped: bool,
    pub(crate) moved_by_hand: u64,
    /// The newest epoch in which anybody began to start or move a service (S9).
    pub(crate) epochs: BTreeMap<ServiceName, OwnershipEpoch>,
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
    pub(crate) fn settled(&self, service: &ServiceName) -> Option<&Asked> {
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
