//! Administrators: what they ask, through which host, and what they were told (S5, S12).

use crate::rng::Rng;
use crate::sim::{Ev, Sim, WorldEv};
use crate::truth::Asked;
use belay_engine::node::Event;
use belay_proto::control::Verdict;
use belay_proto::entry::Request;
use belay_proto::{Index, NodeId, RequestId, ServiceName};

/// How long answers are kept, by the cluster's clock.
const KEPT_MS: u64 = 3_600_000;
/// How many answers it keeps.
const KEPT_MAX: usize = 1000;

impl Sim {
    /// Asks through a host. Asking again with the same id, through any host, must change nothing.
    pub fn ask(&mut self, host: NodeId, id: &RequestId, request: &Request) {
        if self.daemon(host).is_none_or(|daemon| daemon.frozen.is_some())
            || self.hosts.get(&host).is_none_or(|h| h.frozen.is_some())
        {
            return;
        }
        let now = self.now;
        self.trace.fault(now, &format!("asks node{host} ({id}): {request:?}"));
        if let Request::AcknowledgeFence { node } = request {
            if self.hosts.get(node).is_some_and(|h| h.powered) {
                self.swear_falsely(*node);
            }
            self.truth.proven_off(*node);
        }
        self.truth.asked_about(request.service());
        let cluster_ms = self.daemon(host).map_or(0, |daemon| daemon.node.state().time().0);
        let asked = self.truth.requests.entry(id.clone()).or_insert_with(|| Asked::not_yet(request.clone(), now));
        asked.sent += 1;
        if asked.cluster_ms == 0 {
            asked.cluster_ms = cluster_ms;
        }
        asked.at.push(host);
        let event = Event::Submit { id: id.clone(), by: "root".to_owned(), request: request.clone() };
        self.node_event(host, event);
    }

    pub(crate) fn asker_lost(&mut self, host: NodeId) {
        for asked in self.truth.requests.values_mut() {
            asked.at.retain(|at| *at != host);
        }
    }

    pub(crate) fn replied(&mut self, host: NodeId, id: RequestId, verdict: Verdict) {
        self.trace.note(self.now, host, || format!("answers {id}: {} {}", verdict.code, verdict.reason));
        let of_cluster = self.daemon(host).is_some_and(|daemon| daemon.node.state().answer_to(&id).is_some());
        let state = self.daemon(host).map(|daemon| daemon.node.state());
        let (cluster_now, index) = state.map_or((0, Index(0)), |state| (state.time().0, state.index()));
        let (now, two_node) = (self.now, self.shape.two_node);
        let newest = self.newest_answers();
        let Some(asked) = self.truth.requests.get_mut(&id) else { return };
        asked.at.retain(|at| *at != host);
        if !of_cluster {
            asked.refused = asked.answer.is_none();
            asked.refusal = Some(verdict);
            return;
        }
        asked.refused = false;
        let forgotten = cluster_now.saturating_sub(asked.cluster_ms) >= KEPT_MS || asked.answered_index < newest;
        match &asked.answer {
            None => {
                (asked.answer, asked.answered_ms) = (Some(verdict), now);
                asked.answered_index = index;
            }
            Some(before) if *before != verdict && !two_node && !forgotten => {
                let what = format!("{id} was answered '{}' and then '{}'", before.code, verdict.code);
                self.violated("S12", what);
            }
            Some(_) => {}
        }
    }

    /// A quorate member has what was ever answered (S5). Two hosts that were quorate apart forget one side's.
    pub(crate) fn remembers(&mut self, host: NodeId) {
        if self.shape.two_node {
            return;
        }
        let Some(state) = self.daemon(host).map(|daemon| daemon.node.state()) else { return };
        // The clock of the cluster may have jumped with the calendar of a host that joined.
        // A member that is behind will hear of it; the others have gone on.
        let newest = self.newest_answers();
        let kept = |asked: &Asked| {
            let recent = state.time().0.saturating_sub(asked.cluster_ms) < KEPT_MS && asked.answered_index >= newest;
            state.index() >= asked.answered_index && recent
        };
        let lost = self.truth.requests.iter().find(|(id, asked)| {
            asked.answer.is_some()
                && kept(asked)
                && state.answer_to(id).map(|(verdict, _)| verdict) != asked.answer.as_ref()
        });
        let lost = lost.map(|(id, _)| format!("node{host} is quorate and does not know the answer to {id}"));
        if let Some(what) = lost.or_else(|| self.remembers_modes(host, state)) {
            self.violated("S5", what);
        }
    }

    /// From which entry on answers must be remembered. Of many only the newest are kept, by when they were asked; of those
    /// that were answered last, half as many are surely among them.
    fn newest_answers(&self) -> Index {
        let answers = self.truth.requests.values().filter(|asked| asked.answer.is_some());
        let mut given: Vec<Index> = answers.map(|asked| asked.answered_index).collect();
        given.sort_unstable_by_key(|index| std::cmp::Reverse(*index));
        given.get(KEPT_MAX / 2).copied().filter(|_| given.len() > KEPT_MAX).unwrap_or_default()
    }

    /// An administrator asks for something or other.
    pub(crate) fn admin_asks(&mut self) {
        let Some(chaos) = &mut self.chaos else { return };
        let mut stroke = chaos.next_ask();
        self.after(stroke.next_ms, Ev::World(WorldEv::Ask));
        if stroke.counts {
            self.ask_something(&mut stroke.rng);
        }
    }

    /// Many ask at the same moment.
    pub(crate) fn ask_many(&mut self, rng: &mut Rng) {
        for _ in 0..rng.range(5, 40) {
            self.ask_something(rng);
        }
    }

    fn ask_something(&mut self, rng: &mut Rng) {
        let ids = self.ids();
        let Some(host) = rng.pick(&ids) else { return };
        if rng.chance(20) {
            let old: Vec<(RequestId, Request)> =
                self.truth.requests.iter().map(|(id, asked)| (id.clone(), asked.request.clone())).collect();
            if let Some((id, request)) = rng.pick(&old).filter(|(_, request)| request.service().is_some()) {
                return self.ask(host, &id, &request);
            }
        }
        if rng.chance(15) {
            let request = self.draw_mode_request(rng);
            return self.ask_anew(host, &request);
        }
        let names: Vec<String> = self.shape.vms.iter().map(|vm| vm.name.clone()).collect();
        let Some(Ok(service)) = rng.pick(&names).map(|name| ServiceName::vm(&name)) else { return };
        let some_host = rng.pick(&ids).filter(|_| rng.chance(60));
        let request = match rng.range(0, 12) {
            0..=2 => {
                let by_domain = some_host.is_none() && rng.chance(50);
                Request::Enable { service, target: some_host, by_domain }
            }
            3 => Request::Disable { service },
            4 => Request::Stop { service },
            5 => Request::Restart { service },
            6 | 7 => Request::Relocate { service, target: some_host },
            8 | 9 => Request::Migrate { service, target: rng.pick(&ids).unwrap_or_default() },
            10 => Request::Freeze { service },
            11 => Request::Convalesce { service },
            _ => Request::Unfreeze { service },
        };
        self.ask_anew(host, &request);
    }

    pub(crate) fn ask_anew(&mut self, host: NodeId, request: &Request) {
        if let Ok(id) = format!("r{}", self.truth.requests.len() + 1).parse::<RequestId>() {
            self.ask(host, &id, request);
        }
    }

    /// A person who sees that a host is off says so, through any other host.
    pub(crate) fn vouch(&mut self, host: NodeId, rng: &mut Rng) {
        let others: Vec<NodeId> = self.ids().into_iter().filter(|other| *other != host).collect();
        let waits = self
            .hosts
            .values()
            .filter_map(|h| h.daemon.as_ref())
            .any(|daemon| daemon.node.quorate() && daemon.node.state().victims().any(|(victim, _)| victim == host));
        if self.hosts.get(&host).is_some_and(|h| !h.powered)
            && waits
            && let Some(through) = rng.pick(&others)
        {
            self.ask_anew(through, &Request::AcknowledgeFence { node: host });
        }
    }

    /// Asks again, through any host, what nobody waits for and nobody was told.
    pub(crate) fn ask_again(&mut self) {
        // Whoever vouched for a host and lost his daemon looks for himself whether it still matters.
        let vouched = |asked: &Asked| matches!(asked.request, Request::AcknowledgeFence { .. });
        self.truth.requests.retain(|_, asked| asked.answer.is_some() || !asked.at.is_empty() || !vouched(asked));
        let open: Vec<(RequestId, Request)> = self
            .truth
            .requests
            .iter()
            .filter(|(_, asked)| asked.answer.is_none() && asked.at.is_empty() && self.may_ask_again(asked))
            .map(|(id, asked)| (id.clone(), asked.request.clone()))
            .collect();
        let ids = self.ids();
        for (id, request) in open {
            if let Some(host) = self.rng.pick(&ids) {
                self.ask(host, &id, &request);
            }
        }
    }
}
