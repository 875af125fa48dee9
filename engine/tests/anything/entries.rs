//! Any entry: what a cluster would say next, what it would never say, and every mixture.
//!
//! An entry out of the blue is mostly old news to a state and changes nothing. So half of them answer what the state wants
//! done, as an executor would, with the outcomes of good and of bad days; only such a stream reaches the deeper phases.

use super::written::{Dice, NONSENSE, file};
use belay_engine::state::State;
use belay_engine::state::work::WorkKind;
use belay_proto::entry::{ENTRY_VERSION, Entry, FenceOutcome, GoneReason, Member, Seen, View, What, WorkOutcome};
use belay_proto::ring::{RingId, RoundId};
use belay_proto::{
    BootId, HostFacts, Incarnation, NodeId, NodeMode, OwnershipEpoch, Request, RequestId, ServiceName, ServiceState,
    Size, Span, Term, Timestamp,
};
use std::collections::BTreeMap;

/// The members of the plainest file, one that it does not know, and numbers at the borders.
const NODES: [u32; 10] = [1, 2, 3, 1, 2, 3, 4, 5, 9, 0];

const SERVICES: [&str; 14] = [
    "vm:a",
    "vm:b",
    "vm:c",
    "vm:a",
    "vm:b",
    "vm:c",
    "vm:d",
    "vm:e",
    "vm:f",
    "vm:g",
    "vm:h",
    "vm:nobody",
    "service:a",
    "x:ä€😀",
];

/// What strangers may write into a stream.
const HOSTILE: [&str; 8] = [
    "",
    "\0",
    "line\nbreak\r\n",
    "\u{1b}[31mred",
    "\u{202e}gnp.exe",
    "{\"json\":[",
    "a:b:c",
    "'; drop table history; --",
];

/// Makes one entry after another.
pub(crate) struct Speaker<'w, 'd> {
    pub(crate) dice: &'w mut Dice<'d>,
    pub(crate) clock: u64,
    pub(crate) version: u64,
    pub(crate) round: u64,
}

impl<'w, 'd> Speaker<'w, 'd> {
    pub(crate) fn new(dice: &'w mut Dice<'d>) -> Self {
        Self { dice, clock: 1_000_000, version: 1, round: 0 }
    }

    /// A cluster begins: its configuration, and a first view of three members that say what they run.
    pub(crate) fn beginning(&mut self) -> Vec<Entry> {
        let written = file(self.dice, 1);
        let usable = belay_config::read("cluster.conf", &written).cluster.is_some();
        // Without a configuration there would be nothing to decide.
        let config = What::Config { text: if usable { written } else { file(&mut Dice::new(&[]), 1) } };
        let member =
            |node| Member { node: NodeId(node), boot: boot("boot"), incarnation: Incarnation(1), diverged: false };
        let members: Vec<Member> = (1..=3).map(member).collect();
        let hosts = members.iter().map(|member| member.node).collect();
        let view = What::View(View { round: self.round(), ring: RingId::default(), term: Term(1), members, hosts });
        let inventory = |node| (node, What::Inventory { boot: boot("boot"), running: Vec::new() });
        let said = [(1, config), (1, view)].into_iter().chain((1..=3).map(inventory));
        let time = Timestamp(self.clock);
        said.map(|(from, what)| Entry { version: ENTRY_VERSION, from: NodeId(from), time, what }).collect()
    }

    /// What comes next.
    pub(crate) fn next(&mut self, state: &State) -> Entry {
        let (from, what) = match self.dice.below(24) {
            0 => (self.node(), What::Tick),
            1..=11 => self.answer(state),
            12 => self.inventory(state),
            13 | 14 => (self.node(), self.view(state)),
            15 => (self.node(), self.config()),
            16..=18 => (self.node(), self.request()),
            19 => (self.node(), self.outcome(state)),
            20 => (self.node(), self.observation(state)),
            21 => (self.node(), self.facts()),
            22 => (self.node(), self.fence_outcome()),
            _ => (self.node(), self.leave_or_silence(state)),
        };
        Entry {
            version: [ENTRY_VERSION, ENTRY_VERSION, 0, u16::MAX][self.dice.below(4)],
            from,
            time: self.time(),
            what,
        }
    }

    /// Time mostly passes; a member's clock may also be far behind, and once in a long while it is out of its mind.
    fn time(&mut self) -> Timestamp {
        match self.dice.below(40) {
            36 => return Timestamp(0),
            37 => self.clock = self.clock.saturating_add(86_400_000),
            38 => self.clock = self.clock.saturating_add(660_000),
            39 if self.dice.once_in(20) => return Timestamp(u64::MAX),
            step => self.clock = self.clock.saturating_add(step as u64 * 400),
        }
        Timestamp(self.clock)
    }

    fn node(&mut self) -> NodeId {
        if self.dice.once_in(50) { NodeId(u32::MAX) } else { NodeId(NODES[self.dice.below(NODES.len())]) }
    }

    fn service(&mut self) -> ServiceName {
        self.dice.pick(&SERVICES).parse().unwrap()
    }

    fn text(&mut self) -> String {
        match self.dice.below(4) {
            0 | 1 => "a reason".to_owned(),
            2 => self.dice.pick(&HOSTILE).to_owned(),
            _ => self.dice.pick(&NONSENSE).repeat(1 + 100 * self.dice.below(3)),
        }
    }

    fn domain(&mut self) -> String {
        if self.dice.once_in(5) { self.text() } else { self.service().name().to_owned() }
    }

    fn incarnation(&mut self) -> Incarnation {
        Incarnation([1, 1, 1, 2, 3, u64::MAX][self.dice.below(6)])
    }

    fn round(&mut self) -> RoundId {
        self.round += 1;
        RoundId { initiator: NodeId(1), incarnation: Incarnation(1), serial: self.round }
    }

    /// Mostly the present epoch of the service.
    fn epoch(&mut self, state: &State, service: &ServiceName) -> OwnershipEpoch {
        let statuses = state.service_statuses();
        let present = statuses.iter().find(|status| status.name == *service).map_or(0, |status| status.epoch.0);
        OwnershipEpoch(match self.dice.below(8) {
            5 => present.saturating_sub(1),
            6 => present.saturating_add(1),
            7 => [0, u64::MAX][self.dice.below(2)],
            _ => present,
        })
    }

    /// A member reports what came of the work that it was given.
    fn answer(&mut self, state: &State) -> (NodeId, What) {
        let first = self.dice.below(5);
        for offset in 0..5 {
            let node = NodeId(1 + (first + offset) as u32 % 5);
            let work = state.assignments(node, state.index()).work;
            if !work.is_empty() {
                let which = self.dice.below(work.len());
                return (node, self.report(&work[which].what));
            }
        }
        (self.node(), What::Tick)
    }

    fn report(&mut self, work: &WorkKind) -> What {
        let bad = self.dice.once_in(4);
        let (vm, outcome) = match work {
            WorkKind::Start(vm) if bad => (vm, WorkOutcome::StartFailed { reason: self.text() }),
            WorkKind::Start(vm) => (vm, WorkOutcome::Started),
            WorkKind::Stop(vm) if bad => (vm, WorkOutcome::StopFailed { reason: self.text() }),
            WorkKind::Stop(vm) => (vm, WorkOutcome::Stopped),
            WorkKind::Migrate { vm, .. } => (vm, WorkOutcome::MigrateEnded { ok: !bad, reason: self.text() }),
            WorkKind::Look(vm) => (vm, WorkOutcome::Looked { running: self.dice.once_in(2) }),
            WorkKind::StopStray(vm) => (vm, WorkOutcome::StrayStopped),
            WorkKind::Fence(fence) => {
                let outcome = if bad {
                    FenceOutcome::Failed { reason: self.text() }
                } else {
                    let switch_on = if self.dice.once_in(2) { vec![0] } else { Vec::new() };
                    FenceOutcome::Confirmed { method: "1".to_owned(), switch_on }
                };
                return What::FenceOutcome { victim: fence.victim, attempt: fence.attempt, outcome };
            }
            WorkKind::SwitchOn(on) => {
                let outcome =
                    if bad { FenceOutcome::StaysOff { reason: self.text() } } else { FenceOutcome::SwitchedOn };
                return What::FenceOutcome { victim: on.victim, attempt: on.attempt, outcome };
            }
        };
        What::Outcome { service: vm.service.clone(), epoch: vm.epoch, outcome }
    }

    /// Mostly what the member should run, with something missing or added now and then.
    fn inventory(&mut self, state: &State) -> (NodeId, What) {
        let node = self.node();
        let present = state.view().and_then(|view| view.members.iter().find(|member| member.node == node));
        let boot = if self.dice.once_in(8) { boot("other") } else { present.map_or(boot("boot"), |m| m.boot.clone()) };
        let statuses = state.service_statuses();
        let here = statuses.iter().filter(|status| status.owner == Some(node) && status.state == ServiceState::Started);
        let mut running: Vec<String> = here.map(|status| status.name.name().to_owned()).collect();
        running.retain(|_| !self.dice.once_in(6));
        while self.dice.once_in(4) {
            let stranger = self.domain();
            running.push(stranger);
        }
        (node, What::Inventory { boot, running })
    }

    /// Members come and go, mostly in good order.
    fn view(&mut self, state: &State) -> What {
        let mut members = Vec::new();
        let mut hosts = Vec::new();
        for node in 1..=5 {
            let before = state.view().and_then(|view| view.members.iter().find(|member| member.node == NodeId(node)));
            let mut member = before.cloned().unwrap_or(Member {
                node: NodeId(node),
                boot: boot("boot"),
                incarnation: self.incarnation(),
                diverged: false,
            });
            match self.dice.below(8) {
                4 => {
                    member.boot = boot(self.dice.pick(&["boot2", "boot3"]));
                    member.incarnation = Incarnation(member.incarnation.0.saturating_add(1));
                }
                5 => member.incarnation = self.incarnation(),
                6 => member.diverged = true,
                7 => {
                    if self.dice.once_in(2) {
                        hosts.push(member.node);
                    }
                    continue;
                }
                _ => {}
            }
            if node <= 3 || self.dice.once_in(3) {
                hosts.push(member.node);
                members.push(member);
            }
        }
        if self.dice.once_in(10) {
            members.reverse();
            members.extend(members.first().cloned());
            hosts.clear();
        }
        let ring = RingId { representative: self.node(), sequence: self.round };
        let term = Term(if self.dice.once_in(10) { u64::MAX } else { self.round });
        What::View(View { round: self.round(), ring, term, members, hosts })
    }

    fn config(&mut self) -> What {
        self.version += 1;
        let version = if self.dice.once_in(6) { 0 } else { self.version };
        let text = if self.dice.once_in(10) { self.text() } else { file(self.dice, version) };
        What::Config { text }
    }

    fn request(&mut self) -> What {
        let service = self.service();
        let node = self.node();
        let target = if self.dice.once_in(2) { Some(node) } else { None };
        let span = Span([60_000, 0, u64::MAX][self.dice.below(3)]);
        let request = match self.dice.below(18) {
            0 | 1 => Request::Enable { service, target, by_domain: self.dice.once_in(3) },
            2 => Request::Disable { service },
            3 => Request::Stop { service },
            4 => Request::Restart { service },
            5 | 6 => Request::Relocate { service, target },
            7 | 8 => Request::Migrate { service, target: node },
            9 => Request::Freeze { service },
            10 => Request::Unfreeze { service },
            11 => Request::Convalesce { service },
            12 => Request::Lock {},
            13 => Request::Unlock {},
            14 | 15 => {
                let mode = [NodeMode::Active, NodeMode::Maintenance, NodeMode::Standby][self.dice.below(3)];
                Request::SetMode { node, mode, reason: self.text() }
            }
            16 if self.dice.once_in(2) => Request::Disarm { span, reason: self.text() },
            16 => Request::Arm {},
            _ => Request::AcknowledgeFence { node },
        };
        // Now and then an id that was used before.
        let id = if self.dice.once_in(5) {
            "again".to_owned()
        } else {
            format!("r-{}-{}", self.clock, self.dice.below(1000))
        };
        What::Request { id: id.parse::<RequestId>().unwrap(), by: self.text(), request }
    }

    fn outcome(&mut self, state: &State) -> What {
        let service = self.service();
        let epoch = self.epoch(state, &service);
        let outcome = match self.dice.below(7) {
            0 => WorkOutcome::Started,
            1 => WorkOutcome::StartFailed { reason: self.text() },
            2 => WorkOutcome::Stopped,
            3 => WorkOutcome::StopFailed { reason: self.text() },
            4 => WorkOutcome::MigrateEnded { ok: self.dice.once_in(2), reason: self.text() },
            5 => WorkOutcome::Looked { running: self.dice.once_in(2) },
            _ => WorkOutcome::StrayStopped,
        };
        What::Outcome { service, epoch, outcome }
    }

    fn observation(&mut self, state: &State) -> What {
        let service = self.service();
        let epoch = self.epoch(state, &service);
        let seen = match self.dice.below(10) {
            0 => Seen::Gone { why: GoneReason::Died },
            1 => Seen::Gone { why: GoneReason::GuestShutdown },
            2 => Seen::Gone { why: GoneReason::Missing },
            3 => Seen::Gone { why: GoneReason::Migrated },
            4 => Seen::Running,
            5 => Seen::Paused { why: self.text() },
            6 => Seen::Resumed,
            7 => Seen::Rebooted,
            8 => Seen::IoError { detail: self.text() },
            _ => Seen::Unknown { reason: self.text() },
        };
        What::Observation { service, epoch, seen }
    }

    fn facts(&mut self) -> What {
        let host = HostFacts {
            memory_mib: [16_384, 1024, 0, u64::MAX][self.dice.below(4)],
            cpus: [8, 1, 0, u32::MAX][self.dice.below(4)],
        };
        let mut domains = BTreeMap::new();
        for _ in 0..self.dice.below(4) {
            let memory_mib = [512, 8192, 0, u64::MAX][self.dice.below(4)];
            domains.insert(self.domain(), Size { memory_mib, vcpus: [1, 16, 0, u32::MAX][self.dice.below(4)] });
        }
        What::Facts { host, domains }
    }

    fn fence_outcome(&mut self) -> What {
        let outcome = match self.dice.below(4) {
            0 => FenceOutcome::Confirmed { method: self.text(), switch_on: vec![0, u32::MAX] },
            1 => FenceOutcome::Failed { reason: self.text() },
            2 => FenceOutcome::SwitchedOn,
            _ => FenceOutcome::StaysOff { reason: self.text() },
        };
        What::FenceOutcome { victim: self.node(), attempt: [1, 2, 3, 0, u32::MAX][self.dice.below(5)], outcome }
    }

    fn leave_or_silence(&mut self, state: &State) -> What {
        if self.dice.once_in(2) {
            return What::Leave { stopped: self.dice.once_in(2) };
        }
        let node = self.node();
        let present = state.view().and_then(|view| view.members.iter().find(|member| member.node == node));
        let known = present.map(|member| member.incarnation).filter(|_| !self.dice.once_in(4));
        What::Silent { node, incarnation: known.unwrap_or_else(|| self.incarnation()) }
    }
}

fn boot(name: &str) -> BootId {
    name.parse().unwrap()
}

/// What [`kind`] answers.
pub(crate) const KINDS: [&str; 42] = [
    "acknowledge fencing",
    "arm",
    "config",
    "convalesce",
    "disable",
    "disarm",
    "enable",
    "facts",
    "fence confirmed",
    "fence failed",
    "freeze",
    "gone",
    "inventory",
    "io error",
    "leave",
    "lock",
    "looked",
    "migrate",
    "migrate ended",
    "paused",
    "put into maintenance",
    "put into service",
    "put into standby",
    "rebooted",
    "relocate",
    "restart",
    "resumed",
    "running",
    "silent",
    "start failed",
    "started",
    "stays off",
    "stop",
    "stop failed",
    "stopped",
    "stray stopped",
    "switched on",
    "tick",
    "unfreeze",
    "unknown",
    "unlock",
    "view",
];

/// The kind of an entry. It is here so that a new kind does not compile before somebody has thought of saying it above.
pub(crate) fn kind(what: &What) -> &'static str {
    match what {
        What::View(_) => "view",
        What::Config { .. } => "config",
        What::Request { request, .. } => request_kind(request),
        What::Outcome { outcome, .. } => match outcome {
            WorkOutcome::Started => "started",
            WorkOutcome::StartFailed { .. } => "start failed",
            WorkOutcome::Stopped => "stopped",
            WorkOutcome::StopFailed { .. } => "stop failed",
            WorkOutcome::MigrateEnded { .. } => "migrate ended",
            WorkOutcome::Looked { .. } => "looked",
            WorkOutcome::StrayStopped => "stray stopped",
        },
        What::Observation { seen, .. } => match seen {
            Seen::Gone { .. } => "gone",
            Seen::Running => "running",
            Seen::Paused { .. } => "paused",
            Seen::Resumed => "resumed",
            Seen::Rebooted => "rebooted",
            Seen::IoError { .. } => "io error",
            Seen::Unknown { .. } => "unknown",
        },
        What::Inventory { .. } => "inventory",
        What::Facts { .. } => "facts",
        What::FenceOutcome { outcome: FenceOutcome::Confirmed { .. }, .. } => "fence confirmed",
        What::FenceOutcome { outcome: FenceOutcome::Failed { .. }, .. } => "fence failed",
        What::FenceOutcome { outcome: FenceOutcome::SwitchedOn, .. } => "switched on",
        What::FenceOutcome { outcome: FenceOutcome::StaysOff { .. }, .. } => "stays off",
        What::Leave { .. } => "leave",
        What::Silent { .. } => "silent",
        What::Tick => "tick",
    }
}

/// Likewise for requests.
fn request_kind(request: &Request) -> &'static str {
    match request {
        Request::Enable { .. }
        | Request::Disable { .. }
        | Request::Stop { .. }
        | Request::Restart { .. }
        | Request::Relocate { .. }
        | Request::Migrate { .. }
        | Request::Freeze { .. }
        | Request::Unfreeze { .. }
        | Request::Convalesce { .. }
        | Request::Lock {}
        | Request::Unlock {}
        | Request::SetMode { .. }
        | Request::Disarm { .. }
        | Request::Arm {}
        | Request::AcknowledgeFence { .. } => request.verb(),
    }
}
