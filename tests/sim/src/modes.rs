//! Hosts in maintenance and standby, and disarmed times: what administrators ask of them by chance, what is held against
//! the cluster then, and what must have come of it when all is well.

use crate::rng::Rng;
use crate::sim::Sim;
use crate::truth::Asked;
use belay_engine::state::State;
use belay_engine::state::service::{MoveWait, Phase, ServiceRecord};
use belay_proto::entry::Request;
use belay_proto::history::EventKind;
use belay_proto::{Code, NodeId, NodeMode, RequestId, ServiceName, Span};

impl Sim {
    /// What an administrator may ask of a host or of the whole cluster.
    pub(crate) fn draw_mode_request(&self, rng: &mut Rng) -> Request {
        let ids = self.ids();
        let node = rng.pick(&ids).unwrap_or_default();
        match rng.range(0, 9) {
            0..=2 => Request::SetMode { node, mode: NodeMode::Maintenance, reason: "memory".into() },
            3 => Request::SetMode { node, mode: NodeMode::Standby, reason: String::new() },
            4..=7 => Request::SetMode { node, mode: NodeMode::Active, reason: String::new() },
            8 => Request::Disarm { span: Span::seconds(rng.range(5, 90)), reason: "new switch".into() },
            _ => Request::Arm {},
        }
    }

    /// When all is well, all hosts are to run VMs again and nobody works on the network.
    pub(crate) fn end_modes(&mut self) {
        let ids = self.ids();
        for (number, node) in ids.iter().enumerate() {
            let Ok(id) = format!("active{number}-{}", self.now).parse::<RequestId>() else { continue };
            self.keep_asking(&id, Request::SetMode { node: *node, mode: NodeMode::Active, reason: String::new() });
        }
        if let Ok(id) = format!("arm-{}", self.now).parse::<RequestId>() {
            self.keep_asking(&id, Request::Arm {});
        }
    }

    /// Notes a request that is asked, again and again if need be, as soon as somebody can take it.
    fn keep_asking(&mut self, id: &RequestId, request: Request) {
        let now = self.now;
        self.truth.requests.insert(id.clone(), Asked::not_yet(request, now));
    }

    /// Whether it is time to ask it: a host is put into service last, when nobody asks for the contrary any more. That
    /// somebody vouches for a host is never repeated, as it may be running by then.
    pub(crate) fn may_ask_again(&self, asked: &Asked) -> bool {
        let about_modes =
            |request: &Request| matches!(request, Request::SetMode { .. } | Request::Disarm { .. } | Request::Arm {});
        let known = |id: &RequestId| {
            self.hosts
                .values()
                .filter_map(|h| h.daemon.as_ref())
                .any(|daemon| daemon.node.quorate() && daemon.node.state().knows_request(id))
        };
        let others = || {
            self.truth.requests.iter().any(|(id, other)| {
                about_modes(&other.request) && other.sent > 0 && other.answer.is_none() && !known(id)
            })
        };
        let last = asked.sent == 0 && about_modes(&asked.request);
        let vouches = matches!(asked.request, Request::AcknowledgeFence { .. });
        !(vouches || last && others())
    }

    /// The last answered request of a kind that nothing overlaps: what it said holds.
    fn holds(&self, kind: impl Fn(&Request) -> bool) -> Option<&Asked> {
        let of_kind = || self.truth.requests.values().filter(|asked| kind(&asked.request) && asked.sent > 0);
        let last = of_kind().filter(|asked| asked.answer.is_some()).max_by_key(|asked| asked.answered_ms)?;
        let code = last.answer.as_ref()?.code;
        let alone = of_kind().filter(|asked| asked.answered_ms >= last.asked_ms).count() == 1;
        (alone && matches!(code, Code::Success | Code::Warning)).then_some(last)
    }

    /// What a quorate member must know of the modes, whatever happened meanwhile (S5, S7).
    pub(crate) fn remembers_modes(&self, host: NodeId, state: &State) -> Option<String> {
        self.ids().into_iter().find_map(|node| {
            let asked = self.holds(|request| matches!(request, Request::SetMode { node: n, .. } if *n == node))?;
            let Request::SetMode { mode, .. } = asked.request else { return None };
            let known = state.node(node).map(|record| record.mode);
            let forgot = state.index() >= asked.answered_index && known != Some(mode);
            forgot.then(|| format!("node{host} is quorate and has node{node} {known:?}, which was set {mode:?}"))
        })
    }

    /// Nothing is decided to start on a host that is in maintenance or standby.
    pub(crate) fn starts_on_host_in_use(&mut self, host: NodeId, service: &ServiceName) {
        let Some(state) = self.daemon(host).map(|daemon| daemon.node.state()) else { return };
        let Some(node) = state.node(host).filter(|node| node.mode != NodeMode::Active) else { return };
        let decided = state.service(service).filter(|record| record.phase == Phase::Starting { owner: host });
        // When the start was decided: that a second copy is seen meanwhile is no decision.
        let decision = |record: &ServiceRecord| {
            record.chain.iter().rev().find(|link| link.kind == EventKind::Service).map(|link| link.id.index)
        };
        let begun = decided.and_then(decision);
        let after = begun.zip(node.mode_event).is_some_and(|(begun, event)| begun > event.index);
        if after {
            let what = format!("{service} is started on node{host}, which is in {}", node.mode.word());
            self.violated("maintenance", what);
        }
    }

    /// Nothing is fenced while the cluster is disarmed, as everybody was told it is.
    pub(crate) fn fences_armed(&mut self, host: NodeId, victim: NodeId) {
        if self.shape.two_node {
            return;
        }
        let Some(asked) = self.holds(|request| matches!(request, Request::Disarm { .. } | Request::Arm {})) else {
            return;
        };
        let Request::Disarm { span, .. } = asked.request else { return };
        let Some(state) = self.daemon(host).map(|daemon| daemon.node.state()) else { return };
        let over = state.time().0 >= asked.cluster_ms + span.0;
        if !over && state.index() >= asked.answered_index {
            self.violated("disarmed", format!("node{host} fences node{victim} though the cluster is disarmed"));
        }
    }

    /// What is not yet as the modes of the hosts want it.
    pub(crate) fn mode_amiss(&self, state: &State, name: &ServiceName, record: &ServiceRecord) -> Option<String> {
        let Phase::Started { owner } = record.phase else { return None };
        // What is in its way is named; it will go when that has gone.
        if record.frozen || matches!(record.moves.waits, Some(MoveWait::Blocked(_))) {
            return None;
        }
        let takes = |node: NodeId| state.node(node).is_some_and(|node| node.mode == NodeMode::Active);
        let home = record.home.filter(|home| *home != owner && takes(*home));
        // What cannot be there now, and says why, is where it should be.
        let named = matches!(record.moves.waits, Some(MoveWait::Blocked(_)));
        if let Some(home) = home.filter(|_| !named) {
            return Some(format!("{name} is not brought back to node{home}: {:?}", record.moves.waits));
        }
        let elsewhere = self.ids().into_iter().any(|node| takes(node) && self.allowed(name, node));
        (!takes(owner) && elsewhere).then(|| format!("{name} is still on node{owner}, which is to be empty"))
    }

    fn allowed(&self, name: &ServiceName, node: NodeId) -> bool {
        let vm = self.shape.vms.iter().find(|vm| vm.name == name.name());
        vm.is_some_and(|vm| vm.restricted_to.is_empty() || vm.restricted_to.contains(&node.0))
    }
}
