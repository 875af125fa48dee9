//! Administrators: what they ask, through which host, and what they were told (S5, S12).

use crate::sim::{Ev, Sim, WorldEv};
use crate::truth::Asked;
use belay_engine::node::Event;
use belay_proto::control::Verdict;
use belay_proto::entry::Request;
use belay_proto::{Index, NodeId, RequestId, ServiceName};

/// How long answers are kept, by the cluster's clock.
const KEPT_MS: u64 = 3_600_000;

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
        let Some(asked) = self.truth.requests.get_mut(&id) else { return };
        asked.at.retain(|at| *at != host);
        if !of_cluster {
            asked.refused = asked.answer.is_none();
            asked.refusal = Some(verdict);
            return;
        }
        asked.refused = false;
        let forgotten = cluster_now.saturating_sub(asked.cluster_ms) >= KEPT_MS;
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
        let kept = |asked: &Asked| {
            state.index() >= asked.answered_index && state.time().0.saturating_sub(asked.cluster_ms) < KEPT_MS
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

    /// An administrator asks for something or other.
    pub(crate) fn admin_asks(&mut self) {
        if self.chaos.is_none() {
            return;
        }
        let next = self.rng.range(500, 8000);
        self.after(next, Ev::World(WorldEv::Ask));
        let ids = self.ids();
        let Some(host) = self.rng.pick(&ids) else { return };
        if self.rng.chance(20) {
            let old: Vec<(RequestId, Request)> =
                self.truth.requests.iter().map(|(id, asked)| (id.clone(), asked.request.clone())).collect();
            if let Some((id, request)) = self.rng.pick(&old).filter(|(_, request)| request.service().is_some()) {
                return self.ask(host, &id, &request);
            }
        }
        if self.rng.chance(15) {
            let request = self.draw_mode_request();
            let Ok(id) = format!("r{}", self.truth.requests.len() + 1).parse::<RequestId>() else { return };
            return self.ask(host, &id, &request);
        }
        let names: Vec<String> = self.shape.vms.iter().map(|vm| vm.name.clone()).collect();
        let Some(Ok(service)) = self.rng.pick(&names).map(|name| ServiceName::vm(&name)) else { return };
        let some_host = self.rng.pick(&ids).filter(|_| self.chance_of(60));
        let request = match self.rng.range(0, 11) {
            0..=2 => Request::Enable { service, target: some_host, by_domain: false },
            3 => Request::Disable { service },
            4 => Request::Stop { service },
            5 => Request::Restart { service },
            6 | 7 => Request::Relocate { service, target: some_host },
            8 | 9 => Request::Migrate { service, target: self.rng.pick(&ids).unwrap_or_default() },
            10 => Request::Freeze { service },
            _ => Request::Unfreeze { service },
        };
        let Ok(id) = format!("r{}", self.truth.requests.len() + 1).parse::<RequestId>() else { return };
        self.ask(host, &id, &request);
    }

    fn chance_of(&mut self, percent: u64) -> bool {
        self.rng.chance(percent)
    }

    /// Asks again, through any host, what nobody waits for and nobody was told.
    pub(crate) fn ask_again(&mut self) {
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
