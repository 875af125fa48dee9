//! Three hosts and their state, fed by hand. The hosts do only what a test says.

use belay_engine::state::State;
use belay_engine::state::service::{AfterStop, Phase, ServiceRecord, Wanted};
use belay_proto::control::Verdict;
use belay_proto::entry::{
    ENTRY_VERSION, Entry, FenceOutcome, GoneReason, Member, Request, Seen, View, What, WorkOutcome,
};
use belay_proto::ring::{RingId, RoundId};
use belay_proto::{Incarnation, NodeId, RequestId, ServiceName, Span, Term, Timestamp};

pub(crate) const ONE: NodeId = NodeId(1);
pub(crate) const TWO: NodeId = NodeId(2);
pub(crate) const THREE: NodeId = NodeId(3);

/// The service all of this is about.
pub(crate) fn a() -> ServiceName {
    ServiceName::vm("a").unwrap()
}

pub(crate) struct Cluster {
    pub(crate) state: State,
    now: Timestamp,
    asked: u32,
    rounds: u64,
    /// What happened, for tests that look for words.
    pub(crate) said: Vec<String>,
}

impl Cluster {
    /// With `vm:a`, not started yet by itself, that has these attributes; everything runs nowhere.
    pub(crate) fn with(attributes: &str) -> Self {
        let nodes: String = (1..=3)
            .map(|id| {
                format!(
                    "<clusternode name=\"node{id}\" nodeid=\"{id}\"><fence><method name=\"m\"><device name=\"d\"/>\
                     </method></fence></clusternode>"
                )
            })
            .collect();
        let conf = format!(
            "<cluster name=\"c\" config_version=\"1\"><clusternodes>{nodes}</clusternodes><fencedevices>\
             <fencedevice name=\"d\" agent=\"fence_d\"/></fencedevices><rm><failoverdomains>\
             <failoverdomain name=\"low\" restricted=\"1\"><failoverdomainnode name=\"node1\"/>\
             <failoverdomainnode name=\"node2\"/></failoverdomain></failoverdomains>\
             <vm name=\"a\" path=\"/vms\" autostart=\"0\" {attributes}/></rm></cluster>"
        );
        let mut cluster =
            Self { state: State::new(), now: Timestamp(1_000_000), asked: 0, rounds: 0, said: Vec::new() };
        cluster.view(&[ONE, TWO, THREE]);
        cluster.apply(ONE, What::Config { text: conf });
        for node in [ONE, TWO, THREE] {
            cluster.inventory(node, &[]);
        }
        cluster
    }

    /// A new configuration with one more VM.
    pub(crate) fn add_vm(&mut self, name: &str) {
        let text = self.state.config_text().replace("config_version=\"1\"", "config_version=\"2\"");
        let text = text.replace("</rm>", &format!("<vm name=\"{name}\" path=\"/vms\"/></rm>"));
        self.apply(ONE, What::Config { text });
    }

    pub(crate) fn new() -> Self {
        Self::with("")
    }

    pub(crate) fn apply(&mut self, from: NodeId, what: What) {
        self.now = self.now + Span(1);
        let entry = Entry { version: ENTRY_VERSION, from, time: self.now, what };
        self.said.extend(self.state.apply(&entry).into_iter().map(|event| event.text));
    }

    pub(crate) fn view(&mut self, members: &[NodeId]) {
        self.view_on(members, members);
    }

    /// A view of these members, and of these hosts that live.
    pub(crate) fn view_on(&mut self, members: &[NodeId], hosts: &[NodeId]) {
        self.view_of(members, hosts, "boot", 1);
    }

    /// All of these come back from a loss of power.
    #[allow(dead_code)] // Only the stories of the guards (tests/sim/tests/guards) need it.
    pub(crate) fn reborn(&mut self, members: &[NodeId]) {
        self.view_of(members, members, "reborn", 2);
    }

    fn view_of(&mut self, members: &[NodeId], hosts: &[NodeId], boot: &str, life: u64) {
        self.rounds += 1;
        let member = |node: &NodeId| Member {
            node: *node,
            boot: format!("{boot}{node}").parse().unwrap(),
            incarnation: Incarnation(life),
            diverged: false,
        };
        let view = View {
            round: RoundId { initiator: ONE, incarnation: Incarnation(1), serial: self.rounds },
            ring: RingId::default(),
            term: Term(0),
            members: members.iter().map(member).collect(),
            hosts: hosts.to_vec(),
        };
        self.apply(members[0], What::View(view));
    }

    pub(crate) fn inventory(&mut self, node: NodeId, running: &[&str]) {
        let running = running.iter().map(|name| (*name).to_owned()).collect();
        self.apply(node, What::Inventory { boot: format!("boot{node}").parse().unwrap(), running });
    }

    /// Lets so many seconds pass.
    pub(crate) fn pass(&mut self, seconds: u64) -> &mut Self {
        self.now = self.now + Span::seconds(seconds);
        self.apply(ONE, What::Tick);
        self
    }

    /// Asks, typed on node1, and gives the request's id.
    pub(crate) fn ask(&mut self, request: Request) -> RequestId {
        self.ask_on(ONE, request)
    }

    pub(crate) fn ask_on(&mut self, via: NodeId, request: Request) -> RequestId {
        self.asked += 1;
        let id: RequestId = format!("r{}", self.asked).parse().unwrap();
        self.apply(via, What::Request { id: id.clone(), by: "root".into(), request });
        id
    }

    pub(crate) fn answer(&self, id: &RequestId) -> Option<Verdict> {
        self.state.answer_to(id).map(|(verdict, _)| verdict.clone())
    }

    pub(crate) fn record(&self) -> &ServiceRecord {
        self.state.service(&a()).unwrap()
    }

    /// The host that has work with the service reports how it ended.
    pub(crate) fn ends(&mut self, node: NodeId, outcome: WorkOutcome) -> &mut Self {
        let epoch = self.record().epoch;
        self.apply(node, What::Outcome { service: a(), epoch, outcome });
        self
    }

    pub(crate) fn start_fails(&mut self, node: NodeId) -> &mut Self {
        self.ends(node, WorkOutcome::StartFailed { reason: "no disk".into() })
    }

    pub(crate) fn stop_fails(&mut self, node: NodeId) -> &mut Self {
        self.ends(node, WorkOutcome::StopFailed { reason: "libvirt hangs".into() })
    }

    pub(crate) fn dies(&mut self, node: NodeId) -> &mut Self {
        let epoch = self.record().epoch;
        self.apply(node, What::Observation { service: a(), epoch, seen: Seen::Gone { why: GoneReason::Died } });
        self
    }

    pub(crate) fn fenced(&mut self, victim: NodeId, attempt: u32) -> &mut Self {
        let outcome = FenceOutcome::Confirmed { method: "m".into(), switch_on: Vec::new() };
        self.apply(ONE, What::FenceOutcome { victim, attempt, outcome });
        self
    }

    /// Enabled on a host and running there.
    pub(crate) fn started_on(mut self, node: NodeId) -> Self {
        self.ask(Request::Enable { service: a(), target: Some(node), by_domain: false });
        self.ends(node, WorkOutcome::Started);
        assert_eq!(self.record().phase, Phase::Started { owner: node });
        self
    }

    /// What the service does, in a few words.
    pub(crate) fn does(&self) -> String {
        let record = self.record();
        let name = |node: &NodeId| format!("node{node}");
        let mut words = match &record.phase {
            Phase::Stopped { wanted: Wanted::AtNextView } => "stopped".to_owned(),
            Phase::Stopped { wanted: Wanted::Now } => "waits".to_owned(),
            Phase::Stopped { wanted: Wanted::WhenArmed } => "waits until armed".to_owned(),
            Phase::Disabled => "disabled".to_owned(),
            Phase::Failed { at } => format!("failed {}", name(at)),
            Phase::Starting { owner } => format!("starting {}", name(owner)),
            Phase::Started { owner } => format!("started {}", name(owner)),
            Phase::Stopping { owner, then } => format!("stopping {}, {}", name(owner), then_words(*then)),
            Phase::Migrating { from, to, .. } => format!("migrating {} to {}", name(from), name(to)),
        };
        if record.frozen {
            words.push_str(" [Z]");
        }
        words
    }
}

fn then_words(then: AfterStop) -> String {
    match then {
        AfterStop::Stop => "then stopped".into(),
        AfterStop::Disable { even_if_failed: false } => "then disabled".into(),
        AfterStop::Disable { even_if_failed: true } => "then disabled anyway".into(),
        AfterStop::Start { wish: None, avoid: Some(avoid) } => format!("then not node{avoid}"),
        AfterStop::Start { wish: Some(wish), .. } => format!("then node{wish}"),
        AfterStop::Start { wish: None, avoid: None } => "then anywhere".into(),
    }
}
