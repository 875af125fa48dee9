//! The shell around a daemon's VM driver, and the libvirt agent it talks to: carries out what the driver says on the
//! simulated hypervisor, and tells it how that went.
//!
//! The agent is a process of its own. When it dies, the calls it had in flight fail as unknown, what it had asked of
//! libvirt goes on, and after a while another one comes up. It dies with its daemon.

use crate::hypervisor::Asker;
use crate::sim::{DaemonEv, Ev, Sim, WorldEv};
use belay_driver::Moment;
use belay_driver::vm::{Call, CallId, Kind, NoticeKind, Question, Reply, Settings, VmAction, VmDriver, VmEvent};
use belay_engine::state::work::Assignments;
use belay_proto::agent::{AgentEvent, Answer, CallKind, Fault, FaultKind};
use belay_proto::{BootId, HostFacts, NodeId, Size};
use std::collections::BTreeMap;

/// The hypervisor of every simulated host.
const HYPERVISOR: &str = "sim:///system";

/// How big every simulated host says that it is, where its configuration says nothing else.
const HOST: HostFacts = HostFacts { memory_mib: 65_536, cpus: 16 };
/// How big every simulated VM is that the configuration gives no size: there is always room for it.
pub(crate) const GUEST: Size = Size { memory_mib: 1, vcpus: 1 };

#[derive(Debug)]
pub(crate) enum ExecEv {
    /// The time the driver named.
    Woken { at: u64 },
    /// The reply to a call, if it is the first one.
    Replied { call: CallId, reply: Reply },
    /// The agent of that life makes a list now.
    Lists { agent: u64, call: CallId },
    /// The agent of that life says something.
    Said { agent: u64, what: NoticeKind },
    /// The agent of that life tries to reach libvirt again.
    Connects { agent: u64 },
}

/// The shell's own part.
#[derive(Debug)]
pub(crate) struct Executor {
    driver: VmDriver,
    /// When the driver is woken next, if it is.
    wakes_at: Option<u64>,
    agent: Agent,
    /// Calls without a reply, and whether it is the agent's to give.
    in_flight: BTreeMap<CallId, bool>,
}

/// The libvirt agent as the daemon sees it.
#[derive(Debug, Default)]
struct Agent {
    up: bool,
    /// Counts its processes.
    life: u64,
    connected: bool,
}

impl Executor {
    pub(crate) fn new(boot: BootId, now: u64) -> Self {
        Self {
            driver: VmDriver::new(Settings::new(HYPERVISOR, boot), Moment(now)),
            wakes_at: None,
            agent: Agent::default(),
            in_flight: BTreeMap::new(),
        }
    }
}

/// The fault of a call of which nobody knows what came of it.
pub(crate) fn unknown(kind: FaultKind, message: &str) -> Fault {
    Fault { kind, message: message.to_owned() }
}

impl Sim {
    fn exec_mut(&mut self, host: NodeId) -> Option<&mut Executor> {
        self.daemon_mut(host).map(|daemon| &mut daemon.exec)
    }

    /// Whether the daemon has an agent that listens to libvirt's and the kernel's events, and which.
    pub(crate) fn agent_listens(&self, host: NodeId) -> Option<u64> {
        self.daemon(host).map(|daemon| &daemon.exec.agent).filter(|agent| agent.up).map(|agent| agent.life)
    }

    fn exec_after(&mut self, host: NodeId, delay: u64, event: ExecEv) {
        self.daemon_after(host, delay, DaemonEv::Exec(event));
    }

    pub(crate) fn executor_starts(&mut self, host: NodeId) {
        self.drive(host, VmEvent::Woken);
    }

    pub(crate) fn assign(&mut self, host: NodeId, assignments: Assignments) {
        self.drive(host, VmEvent::Assigned(assignments));
    }

    pub(crate) fn exec_event(&mut self, host: NodeId, event: ExecEv) {
        let Some(exec) = self.exec_mut(host) else { return };
        let same = |agent: u64| exec.agent.life == agent;
        match event {
            ExecEv::Woken { at } if exec.wakes_at == Some(at) => {
                exec.wakes_at = None;
                self.drive(host, VmEvent::Woken);
            }
            ExecEv::Replied { call, reply } if exec.in_flight.remove(&call).is_some() => {
                self.drive(host, VmEvent::Answered { call, reply });
            }
            ExecEv::Lists { agent, call } if same(agent) => self.make_list(host, call, 0),
            ExecEv::Said { agent, what } if same(agent) => {
                self.drive(host, VmEvent::Notice { uri: HYPERVISOR.to_owned(), what });
            }
            ExecEv::Connects { agent } if same(agent) => self.agent_connects(host),
            _ => {}
        }
    }

    /// Lets the driver take one step, and carries out what it says.
    fn drive(&mut self, host: NodeId, event: VmEvent) {
        let now = self.now;
        let Some(daemon) = self.daemon_mut(host) else { return };
        let life = daemon.life;
        let actions = daemon.exec.driver.step(Moment(now), event);
        for action in actions {
            if self.daemon(host).is_none_or(|daemon| daemon.life != life) {
                return;
            }
            match action {
                VmAction::EnsureAgent(_) => {
                    let delay = self.rng.range(10, 200);
                    self.after(delay, Ev::World(WorldEv::AgentUp(host, life)));
                }
                VmAction::Call(call) => self.calls(host, call),
                VmAction::Report(what) => self.report(host, what),
                VmAction::Warn { service, text } => self.trace.note(self.now, host, || format!("{service}: {text}")),
            }
        }
        let Some(exec) = self.exec_mut(host) else { return };
        let at = exec.driver.wake_at().0.max(now);
        if exec.wakes_at.is_none_or(|earlier| at < earlier) {
            exec.wakes_at = Some(at);
            self.exec_after(host, at - now, ExecEv::Woken { at });
        }
    }

    fn calls(&mut self, host: NodeId, call: Call) {
        let Some(life) = self.daemon(host).map(|daemon| daemon.life) else { return };
        let may_act = self.may_act(host);
        let Some(exec) = self.exec_mut(host) else { return };
        exec.in_flight.insert(call.id, matches!(call.question, Question::Agent(_)));
        let (up, agent) = (exec.agent.up, exec.agent.life);
        let asker = Asker { life, agent, call: call.id };
        if call.needs_quorum && !may_act {
            return self.reply(host, 0, &asker, Reply::NotQuorate);
        }
        let within = u64::try_from(call.within.as_millis()).unwrap_or(u64::MAX);
        let what = match call.question {
            Question::Agent(ref what) => what.clone(),
            Question::Definition(vm) => {
                let delay = self.rng.range(0, 5);
                let memory = GUEST.memory_mib;
                let text = format!("<domain><name>{}</name><memory unit='MiB'>{memory}</memory></domain>", vm.name);
                return self.reply(host, delay, &asker, Reply::Definition(Ok(text)));
            }
        };
        self.truth_of_call(host, &call);
        let late = unknown(FaultKind::Deadline, "the call ran out of time");
        if !up {
            let fault = unknown(FaultKind::Unreachable, "there is no libvirt agent");
            return self.reply(host, 1, &asker, failed(&what, fault));
        }
        self.reply(host, within, &asker, failed(&what, late));
        match what {
            CallKind::List => self.list_for(host, asker),
            CallKind::Start { name, .. } => self.call_start(host, &name, asker),
            CallKind::Stop { name, grace_ms, destroy } => self.call_stop(host, &name, grace_ms, destroy, asker),
            CallKind::Migrate { name, to, .. } => match node_of(&to) {
                Some(to) => self.call_migrate(host, &name, to, asker),
                None => self.violated("the simulator", format!("a migration to {to}")),
            },
            CallKind::CancelMigration { name } => self.call_cancel(host, &name, asker),
        }
    }

    /// Tells what is held against the promises.
    fn truth_of_call(&mut self, host: NodeId, call: &Call) {
        let (Some(work), Question::Agent(what)) = (&call.work, &call.question) else { return };
        match (work.kind, what) {
            (_, CallKind::Start { .. }) => self.begins_start(host, &work.service, work.epoch),
            (_, CallKind::Migrate { to, .. }) => {
                if let Some(to) = node_of(to) {
                    self.begins_migration(host, &work.service, to);
                }
            }
            (Kind::Stop, CallKind::Stop { .. }) => self.begins_stop(host, &work.service),
            _ => {}
        }
    }

    /// Replies after a while, unless the daemon is gone or the call has been answered by then.
    pub(crate) fn reply(&mut self, host: NodeId, delay: u64, asker: &Asker, reply: Reply) {
        let Asker { life, call, .. } = *asker;
        let what = DaemonEv::Exec(ExecEv::Replied { call, reply });
        self.after(delay, Ev::Daemon { host, life, what });
    }

    /// Lists what runs as it was when the agent was asked, or as it is a little later.
    fn list_for(&mut self, host: NodeId, asker: Asker) {
        let takes = self.rng.range(2, 40);
        if self.rng.chance(50) {
            self.make_list(host, asker.call, takes);
        } else {
            self.exec_after(host, takes, ExecEv::Lists { agent: asker.agent, call: asker.call });
        }
    }

    fn make_list(&mut self, host: NodeId, call: CallId, delay: u64) {
        let silent = self.libvirt_is_silent(host);
        if silent {
            self.agent_disconnected(host);
        }
        let Some(h) = self.hosts.get(&host) else { return };
        let Some(daemon) = &h.daemon else { return };
        let agent = &daemon.exec.agent;
        let asker = Asker { life: daemon.life, agent: agent.life, call };
        let mut listing = h.hyper.list(agent.connected);
        if !listing.complete {
            // Without libvirt a process may be missed.
            let missed: Vec<bool> = listing.domains.iter().map(|_| self.rng.chance(30)).collect();
            let mut missed = missed.into_iter();
            listing.domains.retain(|_| !missed.next().unwrap_or(false));
        }
        self.reply(host, delay, &asker, Reply::List(Ok(listing)));
    }

    /// The agent notices that libvirt does not answer.
    pub(crate) fn agent_disconnected(&mut self, host: NodeId) {
        let Some(exec) = self.exec_mut(host) else { return };
        let agent = exec.agent.life;
        if std::mem::replace(&mut exec.agent.connected, false) {
            let what = NoticeKind::Event(AgentEvent::Disconnected { reason: "libvirtd does not answer".into() });
            self.exec_after(host, 0, ExecEv::Said { agent, what });
            self.exec_after(host, 200, ExecEv::Connects { agent });
        }
    }

    fn agent_connects(&mut self, host: NodeId) {
        let silent = self.libvirt_is_silent(host);
        let again = self.rng.range(200, 3000);
        let Some(exec) = self.exec_mut(host) else { return };
        let agent = exec.agent.life;
        if silent {
            return self.exec_after(host, again, ExecEv::Connects { agent });
        }
        if !std::mem::replace(&mut exec.agent.connected, true) {
            for event in [AgentEvent::Host(HOST), AgentEvent::Connected] {
                self.exec_after(host, 0, ExecEv::Said { agent, what: NoticeKind::Event(event) });
            }
        }
    }

    /// The agent dies: what it was asked stays unanswered, what it asked of libvirt goes on.
    pub(crate) fn agent_dies(&mut self, host: NodeId) {
        let back = self.rng.range(100, 3000);
        let Some(daemon) = self.daemon_mut(host).filter(|daemon| daemon.exec.agent.up) else { return };
        let life = daemon.life;
        let agent = &mut daemon.exec.agent;
        agent.life += 1;
        (agent.up, agent.connected) = (false, false);
        let new = agent.life;
        let asked = daemon.exec.in_flight.iter().filter(|(_, by_agent)| **by_agent);
        for call in asked.map(|(call, _)| *call).collect::<Vec<_>>() {
            let fault = unknown(FaultKind::Unreachable, "the libvirt agent was killed");
            let asker = Asker { life, agent: new, call };
            let delay = self.rng.range(0, 3);
            self.reply(host, delay, &asker, Reply::Answer(Err(fault)));
        }
        let delay = self.rng.range(0, 3);
        let what = NoticeKind::Down { reason: "was killed".to_owned() };
        self.exec_after(host, delay, ExecEv::Said { agent: new, what });
        self.after(back.max(5), Ev::World(WorldEv::AgentUp(host, life)));
    }

    /// An agent says hello.
    pub(crate) fn agent_up(&mut self, host: NodeId, life: u64) {
        let Some(daemon) = self.daemon_mut(host).filter(|daemon| daemon.life == life) else { return };
        daemon.exec.agent.up = true;
        let agent = daemon.exec.agent.life;
        self.exec_after(host, 0, ExecEv::Said { agent, what: NoticeKind::Up });
        let delay = self.rng.range(1, 50);
        self.exec_after(host, delay, ExecEv::Connects { agent });
    }
}

/// The reply to a call that failed.
fn failed(what: &CallKind, fault: Fault) -> Reply {
    match what {
        CallKind::List => Reply::List(Err(fault)),
        _ => Reply::Answer(Err(fault)),
    }
}

/// The answer to a call that did what it should.
pub(crate) fn done(answer: Answer) -> Reply {
    Reply::Answer(Ok(answer))
}

/// The host that a migration's URI leads to.
fn node_of(uri: &str) -> Option<NodeId> {
    let name = uri.strip_prefix("qemu+ssh://")?.strip_suffix("/system")?;
    name.strip_prefix("node")?.parse().ok().map(NodeId)
}
