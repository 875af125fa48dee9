//! The simulated world: its hosts, what is about to happen in it, and the loop that makes it happen.
//!
//! Everything that happens is an [`Ev`] in one queue, ordered by time. Events belong to a life of a daemon, to a boot of
//! a host, or to the world; those whose daemon or host is gone are dropped, those of a frozen one wait until it thaws.

use crate::disk::Disk;
use crate::executor::{ExecEv, Executor};
use crate::fence::{FenceEv, Fencer};
use crate::hypervisor::{HyperEv, Hypervisor};
use crate::ring::{Group, Item, Link};
use crate::rng::Rng;
use crate::rules::Rules;
use crate::shape::Shape;
use crate::swarm::{Chaos, Odds};
use crate::trace::Trace;
use crate::truth::Truth;
use belay_engine::node::{Event, Node};
use belay_proto::control::Verdict;
use belay_proto::entry::{Request, What};
use belay_proto::ring::{RingId, RingMessage};
use belay_proto::{Index, NodeId, RequestId};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// When simulated time begins on the calendar.
pub(crate) const EPOCH_MS: u64 = 1_700_000_000_000;

/// Something that is about to happen.
#[derive(Debug)]
pub(crate) enum Ev {
    Daemon { host: NodeId, life: u64, what: DaemonEv },
    Host { host: NodeId, boot: u32, what: HostEv },
    World(WorldEv),
}

#[derive(Debug)]
pub(crate) enum DaemonEv {
    Attach,
    Order,
    Deliver,
    Echo(Box<RingMessage>),
    Quorum { ring: RingId, quorate: bool },
    Written,
    Timer { generation: u64 },
    Report,
    Config,
    Exec(ExecEv),
    Fence(FenceEv),
}

#[derive(Debug)]
pub(crate) enum HostEv {
    StartDaemon,
    Hyper(HyperEv),
}

#[derive(Debug)]
pub(crate) enum WorldEv {
    Reform(NodeId),
    PowerOn(NodeId),
    PowerOff(NodeId, &'static str),
    Thaw(NodeId),
    ThawDaemon(NodeId, u64),
    CorosyncUp(NodeId, u32),
    AgentUp(NodeId, u64),
    Rejoin,
    Split(Vec<u32>, Vec<u32>),
    ConfigArrives(NodeId),
    /// Somebody brings a domain to a host, or to none.
    BroughtBack(NodeId, String),
    Asks(NodeId, Box<Request>),
    /// A moment that a story waits for.
    Moment,
    Chaos,
    Ask,
}

#[derive(Debug)]
pub(crate) struct Daemon {
    pub(crate) life: u64,
    pub(crate) node: Node,
    pub(crate) attached: bool,
    pub(crate) inbox: VecDeque<(u64, Item)>,
    pub(crate) outgoing: VecDeque<RingMessage>,
    pub(crate) last_delivery: u64,
    pub(crate) last_verdict: u64,
    pub(crate) delivered: u64,
    pub(crate) may_act: bool,
    pub(crate) wake: u64,
    pub(crate) reports: VecDeque<What>,
    pub(crate) last_report: u64,
    pub(crate) exec: Executor,
    pub(crate) fencer: Fencer,
    pub(crate) frozen: Option<Vec<Ev>>,
    /// What it proposed last, of what may come again.
    pub(crate) sent: VecDeque<RingMessage>,
    /// The last entry it knew a majority to have, and the histories it has been in since then.
    pub(crate) committed: Index,
    pub(crate) chains: BTreeMap<Index, u64>,
    /// Its state when it applied the last entry.
    pub(crate) before: Option<crate::decisions::Before>,
    /// Since when it is in its ring without a break, as the ring knows.
    pub(crate) quorate_since: Option<u64>,
}

#[derive(Debug)]
pub(crate) struct Host {
    pub(crate) id: NodeId,
    pub(crate) powered: bool,
    pub(crate) boots: u32,
    pub(crate) incarnations: u64,
    pub(crate) frozen: Option<Vec<Ev>>,
    pub(crate) corosync: bool,
    pub(crate) partition: u32,
    pub(crate) group: Option<u64>,
    pub(crate) verdict: Option<(RingId, bool)>,
    /// It has not been in a ring with all others since it booted.
    pub(crate) waits_for_all: bool,
    pub(crate) wall_skew: i64,
    /// How much faster its clock runs, in parts per million.
    pub(crate) drift_ppm: i64,
    /// Its `cluster.conf`, with its version.
    pub(crate) conf: (u64, String),
    pub(crate) disk: Disk,
    pub(crate) hyper: Hypervisor,
    pub(crate) daemon: Option<Daemon>,
    /// Nothing starts its daemon again.
    pub(crate) stays_dead: bool,
    /// The daemon dies after so many more actions.
    pub(crate) dies_in: Option<u32>,
}

/// A cluster that is simulated.
#[derive(Debug)]
pub struct Sim {
    pub(crate) now: u64,
    pub(crate) rng: Rng,
    pub(crate) shape: Shape,
    /// How likely things go wrong.
    pub odds: Odds,
    queue: BTreeMap<(u64, u64), Ev>,
    sequence: u64,
    pub(crate) lives: u64,
    pub(crate) hosts: BTreeMap<NodeId, Host>,
    pub(crate) groups: BTreeMap<u64, Group>,
    /// Links that carry nothing.
    pub(crate) broken: BTreeSet<Link>,
    pub(crate) rings: u64,
    pub(crate) position: u64,
    pub(crate) conf: String,
    pub(crate) conf_version: u64,
    /// What fails because a scenario says so.
    pub rules: Rules,
    pub(crate) steps: u64,
    /// What is printed when something is wrong.
    pub trace: Trace,
    pub(crate) truth: Truth,
    pub(crate) chaos: Option<Chaos>,
    pub(crate) healed: bool,
}

impl Sim {
    /// A cluster whose hosts are all off.
    #[must_use]
    pub fn new(shape: Shape, seed: u64) -> Self {
        let conf = (shape.version, shape.conf());
        let host = |id: u32| Host {
            id: NodeId(id),
            powered: false,
            boots: 0,
            incarnations: 0,
            frozen: None,
            corosync: false,
            partition: 0,
            group: None,
            verdict: None,
            waits_for_all: true,
            wall_skew: 0,
            drift_ppm: 0,
            conf: conf.clone(),
            disk: Disk::default(),
            hyper: Hypervisor::default(),
            daemon: None,
            stays_dead: false,
            dies_in: None,
        };
        Self {
            now: 0,
            rng: Rng::new(seed),
            hosts: (1..=shape.hosts).map(|id| (NodeId(id), host(id))).collect(),
            shape,
            odds: Odds::default(),
            queue: BTreeMap::new(),
            sequence: 0,
            lives: 0,
            groups: BTreeMap::new(),
            broken: BTreeSet::new(),
            rings: 0,
            position: 0,
            conf: conf.1,
            conf_version: 1,
            rules: Rules::default(),
            steps: 0,
            trace: Trace::default(),
            truth: Truth::default(),
            chaos: None,
            healed: false,
        }
    }

    /// Simulated milliseconds so far.
    #[must_use]
    pub fn now(&self) -> u64 {
        self.now
    }

    /// How often a node was stepped.
    #[must_use]
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// Whether a host's daemon runs and is in a quorate view.
    #[must_use]
    pub fn quorate(&self, host: NodeId) -> bool {
        self.daemon(host).is_some_and(|daemon| daemon.node.quorate())
    }

    pub(crate) fn after(&mut self, delay: u64, event: Ev) {
        self.sequence += 1;
        self.queue.insert((self.now + delay, self.sequence), event);
    }

    pub(crate) fn daemon_after(&mut self, host: NodeId, delay: u64, what: DaemonEv) {
        if let Some(life) = self.daemon(host).map(|daemon| daemon.life) {
            self.after(delay, Ev::Daemon { host, life, what });
        }
    }

    pub(crate) fn host_after(&mut self, host: NodeId, delay: u64, what: HostEv) {
        let boot = self.hosts.get(&host).map_or(0, |h| h.boots);
        self.after(delay, Ev::Host { host, boot, what });
    }

    pub(crate) fn daemon(&self, host: NodeId) -> Option<&Daemon> {
        self.hosts.get(&host)?.daemon.as_ref()
    }

    pub(crate) fn daemon_mut(&mut self, host: NodeId) -> Option<&mut Daemon> {
        self.hosts.get_mut(&host)?.daemon.as_mut()
    }

    pub(crate) fn ids(&self) -> Vec<NodeId> {
        self.hosts.keys().copied().collect()
    }

    /// Lets the next thing happen; false when something that must never happen did.
    pub fn step(&mut self) -> bool {
        let Some(((at, sequence), event)) = self.queue.pop_first() else { return false };
        self.now = self.now.max(at);
        self.trace.mix(at);
        self.trace.mix(sequence);
        self.dispatch(event);
        self.check();
        self.truth.violation.is_none()
    }

    fn dispatch(&mut self, event: Ev) {
        match event {
            Ev::World(what) => self.world_event(what),
            Ev::Host { host, boot, what } => {
                let Some(h) = self.hosts.get_mut(&host).filter(|h| h.powered && h.boots == boot) else { return };
                if let Some(waiting) = &mut h.frozen {
                    waiting.push(Ev::Host { host, boot, what });
                    return;
                }
                match what {
                    HostEv::StartDaemon => self.start_daemon(host),
                    HostEv::Hyper(event) => self.hyper_event(host, event),
                }
            }
            Ev::Daemon { host, life, what } => {
                let Some(h) = self.hosts.get_mut(&host) else { return };
                let Some(daemon) = h.daemon.as_mut().filter(|daemon| daemon.life == life) else { return };
                let corosync = matches!(what, DaemonEv::Order);
                if let Some(waiting) = &mut h.frozen {
                    waiting.push(Ev::Daemon { host, life, what });
                } else if let Some(waiting) = daemon.frozen.as_mut().filter(|_| !corosync) {
                    waiting.push(Ev::Daemon { host, life, what });
                } else {
                    self.daemon_event(host, what);
                }
            }
        }
    }

    fn daemon_event(&mut self, host: NodeId, what: DaemonEv) {
        match what {
            DaemonEv::Attach => self.attach(host),
            DaemonEv::Order => self.order(host),
            DaemonEv::Deliver => self.deliver(host),
            DaemonEv::Echo(message) => self.echo(host, *message),
            DaemonEv::Quorum { ring, quorate } => {
                if let Some(daemon) = self.daemon_mut(host).filter(|daemon| daemon.attached) {
                    daemon.may_act &= quorate;
                    self.node_event(host, Event::RingQuorum { ring, quorate });
                }
            }
            DaemonEv::Written => self.written(host),
            DaemonEv::Timer { generation } => {
                if self.daemon(host).is_some_and(|daemon| daemon.wake == generation) {
                    self.node_event(host, Event::Timer);
                }
            }
            DaemonEv::Report => {
                let report = self.daemon_mut(host).and_then(|daemon| daemon.reports.pop_front());
                if let Some(what) = report {
                    self.node_event(host, Event::Report(what));
                }
            }
            DaemonEv::Config => {
                if let Some((version, text)) = self.hosts.get(&host).map(|h| h.conf.clone()) {
                    self.node_event(host, Event::ConfigFile { version, text });
                }
            }
            DaemonEv::Exec(event) => self.exec_event(host, event),
            DaemonEv::Fence(event) => self.fence_event(host, event),
        }
    }

    /// The answer that `id` got, if it got one.
    #[must_use]
    pub fn verdict(&self, id: &str) -> Option<&Verdict> {
        let id: RequestId = id.parse().ok()?;
        self.truth.requests.get(&id)?.answer.as_ref()
    }
}
