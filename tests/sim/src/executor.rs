//! The VM executor, modelled on the daemon's: what it knows of its domains, and when it tells.
//!
//! Knowledge comes from events, lists and its own work, which may overtake each other: a list says something about a
//! domain only if it was asked for after the last event or answer about it. What jobs do is in [`crate::job`].

use crate::job::Job;
use crate::sim::{DaemonEv, Sim};
use belay_engine::node::Identity;
use belay_engine::state::work::{Assigned, Assignments, Work, WorkKind};
use belay_proto::entry::{GoneReason, Seen, What, WorkOutcome};
use belay_proto::{NodeId, OwnershipEpoch, ServiceName, ServiceState};
use std::collections::{BTreeMap, BTreeSet};

const CHECK_EVERY: u64 = 30_000;
const SETTLE: u64 = 500;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Start,
    Stop,
    Migrate,
    Look,
    StopStray,
}

/// A piece of work is done once for each of these.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key {
    pub(crate) service: ServiceName,
    pub(crate) epoch: OwnershipEpoch,
    pub(crate) kind: Kind,
}

#[derive(Clone, Debug)]
pub(crate) enum Answer {
    Done,
    Failed(&'static str),
    Unknown(&'static str),
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum DomEvent {
    Started { pid: u32 },
    Gone { pid: u32, why: GoneReason },
}

#[derive(Debug)]
pub(crate) enum ExecEv {
    Answer { service: ServiceName, token: u64, result: Answer },
    Looked { service: ServiceName, token: u64, sight: Option<Option<u32>>, known: bool },
    Pause { service: ServiceName, token: u64 },
    Dom { name: String, what: DomEvent },
    List { issued: u64, list: Option<BTreeMap<String, Option<u32>>> },
    Pump,
    Check,
    Strays,
    PlanAgain,
}

#[derive(Debug, Default)]
struct Known {
    running: bool,
    pid: Option<u32>,
    changed: u64,
    why: Option<GoneReason>,
    last_gone: Option<u32>,
}

#[derive(Debug, Default)]
struct Watched {
    busy: bool,
    held: Vec<DomEvent>,
    started: Option<OwnershipEpoch>,
    expected: Option<(OwnershipEpoch, u64)>,
    strikes: u8,
    gone: Option<(OwnershipEpoch, u64)>,
    stray: Option<(OwnershipEpoch, Option<u32>, u64, bool)>,
}

#[derive(Debug, Default)]
pub(crate) struct Executor {
    pub(crate) assignments: Assignments,
    pub(crate) listed: BTreeSet<Key>,
    worked_on: BTreeSet<ServiceName>,
    pub(crate) jobs: BTreeMap<ServiceName, Job>,
    pub(crate) done: BTreeSet<Key>,
    pub(crate) postponed: BTreeSet<Key>,
    pub(crate) plans_again: bool,
    pumps_at: Option<u64>,
    known: BTreeMap<String, Known>,
    watched: BTreeMap<ServiceName, Watched>,
    clock: u64,
    inventory_due: Option<u64>,
    outage: bool,
    good_list: Option<u64>,
    asking: bool,
    ask: bool,
    not_before: u64,
    failures: u32,
    pub(crate) agent_up: bool,
    pub(crate) tokens: u64,
    out: Vec<What>,
    stray_at: Option<u64>,
}

pub(crate) fn key_of(work: &Work) -> Option<Key> {
    let (kind, vm) = match &work.what {
        WorkKind::Start(vm) => (Kind::Start, vm),
        WorkKind::Stop(vm) => (Kind::Stop, vm),
        WorkKind::Migrate { vm, .. } => (Kind::Migrate, vm),
        WorkKind::Look(vm) => (Kind::Look, vm),
        WorkKind::StopStray(vm) => (Kind::StopStray, vm),
        WorkKind::Fence(_) => return None,
    };
    Some(Key { service: vm.service.clone(), epoch: vm.epoch, kind })
}

fn tells_running(outcome: &WorkOutcome) -> Option<bool> {
    match outcome {
        WorkOutcome::Started => Some(true),
        WorkOutcome::StartFailed { .. } | WorkOutcome::Stopped | WorkOutcome::StrayStopped => Some(false),
        WorkOutcome::Looked { running } => Some(*running),
        WorkOutcome::StopFailed { .. } | WorkOutcome::MigrateEnded { .. } => None,
    }
}

impl Watched {
    fn expects(&self, assigned: &Assigned) -> bool {
        let reported = self.started == Some(assigned.epoch) && assigned.state == ServiceState::Starting;
        assigned.mine && (assigned.state == ServiceState::Started || reported)
    }
}

impl Executor {
    /// Takes in a new list; tells whether what was done before counts no more.
    pub(crate) fn take_assignments(&mut self, now: u64, assignments: Assignments) {
        self.clock += 1;
        let wanted_before = self.assignments.inventory_wanted;
        self.listed = assignments.work.iter().filter_map(key_of).collect();
        self.done.retain(|key| self.listed.contains(key));
        self.worked_on = self.listed.iter().map(|key| key.service.clone()).collect();
        self.assignments = assignments;
        let known: BTreeSet<&ServiceName> = self.assignments.domains.values().map(|a| &a.service).collect();
        self.watched.retain(|service, watched| watched.busy || known.contains(service));
        if self.assignments.inventory_wanted.is_some() && self.assignments.inventory_wanted != wanted_before {
            self.inventory_due = Some(self.clock);
            self.ask_now(now);
        }
        self.review_all(now);
    }

    fn ask_now(&mut self, now: u64) {
        self.ask = true;
        self.not_before = self.not_before.min(now);
        self.failures = 0;
    }

    fn observe(&mut self, assigned: &Assigned, seen: Seen) {
        self.out.push(What::Observation { service: assigned.service.clone(), epoch: assigned.epoch, seen });
    }

    fn review_all(&mut self, now: u64) {
        for name in self.assignments.domains.keys().cloned().collect::<Vec<_>>() {
            self.review(now, &name);
        }
    }

    fn review(&mut self, now: u64, name: &str) {
        let Some(assigned) = self.assignments.domains.get(name).cloned() else { return };
        let (running, pid) = self.known.get(name).map_or((false, None), |known| (known.running, known.pid));
        let has_work = self.worked_on.contains(&assigned.service);
        let clock = self.clock;
        let watched = self.watched.entry(assigned.service.clone()).or_default();
        let mut ask = false;
        if !watched.expects(&assigned) {
            watched.expected = None;
            watched.strikes = 0;
        } else if watched.expected.is_none_or(|(epoch, _)| epoch != assigned.epoch) {
            watched.expected = Some((assigned.epoch, clock));
            watched.strikes = 0;
            ask = !running;
        }
        let may_run = assigned.mine && assigned.state.has_owner() || assigned.state == ServiceState::Migrating;
        if !running || watched.busy || has_work || may_run {
            watched.stray = None;
        } else if !watched.stray.is_some_and(|(epoch, seen, ..)| {
            epoch == assigned.epoch && (seen == pid || seen.is_none() || pid.is_none())
        }) {
            watched.stray = Some((assigned.epoch, pid, now + SETTLE, false));
            self.stray_at = Some(now + SETTLE);
        }
        if ask {
            self.ask_now(now);
        }
    }

    fn tell_strays(&mut self, now: u64) {
        for assigned in self.assignments.domains.values().cloned().collect::<Vec<_>>() {
            let due = self.watched.get_mut(&assigned.service).and_then(|watched| watched.stray.as_mut());
            if let Some((.., told)) = due.filter(|(_, _, at, told)| !told && *at <= now) {
                *told = true;
                self.observe(&assigned, Seen::Running);
            }
        }
    }

    pub(crate) fn job_began(&mut self, service: &ServiceName) {
        self.clock += 1;
        let watched = self.watched.entry(service.clone()).or_default();
        watched.busy = true;
        watched.strikes = 0;
    }

    pub(crate) fn job_ended(&mut self, now: u64, key: &Key, outcome: Option<WorkOutcome>, pid: Option<u32>) {
        self.clock += 1;
        let name = key.service.name().to_owned();
        let watched = self.watched.entry(key.service.clone()).or_default();
        watched.busy = false;
        let held = std::mem::take(&mut watched.held);
        let running = outcome.as_ref().and_then(tells_running);
        if outcome == Some(WorkOutcome::Started) {
            watched.started = Some(key.epoch);
        }
        if let Some(running) = running {
            let clock = self.clock;
            let known = self.known.entry(name.clone()).or_default();
            (known.running, known.pid, known.changed, known.why) = (running, pid, clock, None);
        }
        if let Some(outcome) = outcome {
            self.out.push(What::Outcome { service: key.service.clone(), epoch: key.epoch, outcome });
        }
        self.review(now, &name);
        for event in held {
            let overtaken = match running {
                Some(true) => matches!(event, DomEvent::Started { .. }),
                Some(false) => true,
                None => false,
            };
            if !overtaken {
                self.take(now, &name, event);
            }
        }
    }

    fn hold_or_take(&mut self, now: u64, name: &str, event: DomEvent) {
        self.clock += 1;
        let service = self.assignments.domains.get(name).map(|assigned| assigned.service.clone());
        if let Some(watched) = service.and_then(|service| self.watched.get_mut(&service))
            && watched.busy
        {
            watched.held.push(event);
            return;
        }
        self.take(now, name, event);
    }

    fn take(&mut self, now: u64, name: &str, event: DomEvent) {
        let clock = self.clock;
        match event {
            DomEvent::Gone { pid, why } => self.gone(now, name, pid, why),
            DomEvent::Started { pid } => {
                let known = self.known.entry(name.to_owned()).or_default();
                if known.last_gone == Some(pid) {
                    return;
                }
                (known.running, known.pid, known.changed, known.why) = (true, Some(pid), clock, None);
                self.review(now, name);
            }
        }
    }

    fn gone(&mut self, now: u64, name: &str, pid: u32, why: GoneReason) {
        let clock = self.clock;
        let assigned = self.assignments.domains.get(name).cloned();
        let expected =
            assigned.as_ref().is_some_and(|a| self.watched.get(&a.service).is_some_and(|watched| watched.expects(a)));
        let known = self.known.entry(name.to_owned()).or_default();
        let certain = match (known.running, known.pid) {
            (true, Some(runs)) if runs != pid => return,
            (true, Some(_)) => true,
            (true, None) => false,
            (false, _) if expected => false,
            (false, _) => return,
        };
        known.why = Some(why);
        if certain {
            (known.running, known.pid, known.changed, known.last_gone) = (false, None, clock, Some(pid));
        } else {
            self.ask_now(now);
        }
        if let Some(assigned) = assigned.filter(|_| expected) {
            if certain {
                self.tell_gone(now, &assigned, why);
            } else if let Some(watched) = self.watched.get_mut(&assigned.service) {
                watched.strikes = watched.strikes.max(1);
            }
        }
        self.review(now, name);
    }

    fn tell_gone(&mut self, now: u64, assigned: &Assigned, why: GoneReason) {
        let watched = self.watched.entry(assigned.service.clone()).or_default();
        watched.gone = Some((assigned.epoch, now + CHECK_EVERY));
        watched.strikes = 0;
        self.observe(assigned, Seen::Gone { why });
    }

    fn listed(&mut self, now: u64, issued: u64, list: Option<BTreeMap<String, Option<u32>>>) {
        self.clock += 1;
        self.asking = false;
        let Some(list) = list else {
            self.outage = true;
            self.ask = true;
            self.not_before = now + (200u64 << self.failures.min(4)).min(5000);
            self.failures += 1;
            return;
        };
        self.failures = 0;
        self.good_list = Some(issued);
        for (name, known) in &mut self.known {
            if known.changed <= issued && !list.contains_key(name) {
                (known.running, known.pid) = (false, None);
            }
        }
        for (name, pid) in &list {
            let known = self.known.entry(name.clone()).or_default();
            if known.changed <= issued {
                (known.running, known.pid, known.why) = (true, pid.or(known.pid), None);
            }
        }
        if std::mem::take(&mut self.outage) && self.assignments.inventory_wanted.is_some() {
            self.inventory_due.get_or_insert(issued);
        }
        for (name, assigned) in self.assignments.domains.clone() {
            let news = self.known.get(&name).is_none_or(|known| known.changed <= issued);
            let watched = self.watched.entry(assigned.service.clone()).or_default();
            if news && !watched.busy {
                if list.contains_key(&name) {
                    watched.strikes = 0;
                    watched.gone = None;
                } else {
                    self.absent(now, issued, &name, &assigned);
                }
            }
            self.review(now, &name);
        }
    }

    fn absent(&mut self, now: u64, issued: u64, name: &str, assigned: &Assigned) {
        let why = self.known.get(name).and_then(|known| known.why).unwrap_or(GoneReason::Missing);
        let Some(watched) = self.watched.get_mut(&assigned.service) else { return };
        if watched.expected.is_none_or(|(_, since)| since >= issued) {
            return;
        }
        if let Some((_, again_at)) = watched.gone.filter(|(epoch, _)| *epoch == assigned.epoch) {
            if now >= again_at {
                self.tell_gone(now, assigned, why);
            }
            return;
        }
        watched.strikes += 1;
        if watched.strikes >= 2 {
            self.tell_gone(now, assigned, why);
        } else {
            self.ask_now(now);
        }
    }

    /// Everything that runs here, if that is asked for and known.
    fn inventory(&mut self, identity: &Identity) {
        let Some(due) = self.inventory_due else { return };
        let answered = !self.outage && self.good_list.is_some_and(|issued| issued >= due);
        if !answered || self.watched.values().any(|watched| watched.strikes > 0) {
            return;
        }
        self.inventory_due = None;
        let running = self.known.iter().filter(|(_, known)| known.running).map(|(name, _)| name.clone()).collect();
        self.out.push(What::Inventory { boot: identity.boot.clone(), running });
    }
}

impl Sim {
    /// Lets something happen to a host's executor, and sends what it then has to say.
    pub(crate) fn with_exec(&mut self, host: NodeId, change: impl FnOnce(&mut Self, &mut Executor)) {
        let Some(daemon) = self.daemon_mut(host) else { return };
        let life = daemon.life;
        let mut exec = std::mem::take(&mut daemon.exec);
        change(self, &mut exec);
        self.pump(host, &mut exec);
        let Some(daemon) = self.daemon_mut(host).filter(|daemon| daemon.life == life) else { return };
        exec.inventory(daemon.node.identity());
        let out = std::mem::take(&mut exec.out);
        let stray_at = exec.stray_at.take();
        daemon.exec = exec;
        for what in out {
            self.report(host, what);
        }
        if let Some(at) = stray_at {
            let delay = at.saturating_sub(self.now);
            self.daemon_after(host, delay, DaemonEv::Exec(ExecEv::Strays));
        }
    }

    pub(crate) fn executor_starts(&mut self, host: NodeId) {
        self.daemon_after(host, CHECK_EVERY, DaemonEv::Exec(ExecEv::Check));
        self.with_exec(host, |sim, exec| {
            exec.agent_up = true;
            exec.outage = true;
            exec.clock = 1;
            exec.not_before = sim.now + 50;
            exec.ask = true;
        });
    }

    pub(crate) fn assign(&mut self, host: NodeId, assignments: Assignments) {
        let now = self.now;
        self.with_exec(host, |sim, exec| {
            exec.take_assignments(now, assignments);
            sim.cancel_superseded(host, exec);
            sim.plan(host, exec);
        });
    }

    /// Asks for a list if one is due.
    fn pump(&mut self, host: NodeId, exec: &mut Executor) {
        if !exec.ask || exec.asking {
            return;
        }
        if exec.not_before > self.now {
            let delay = exec.not_before - self.now;
            if exec.pumps_at.replace(exec.not_before) == Some(exec.not_before) {
                return;
            }
            return self.daemon_after(host, delay, DaemonEv::Exec(ExecEv::Pump));
        }
        exec.ask = false;
        exec.asking = true;
        exec.clock += 1;
        let issued = exec.clock;
        let (delay, list) = self.ask_list(host, exec.agent_up);
        self.daemon_after(host, delay, DaemonEv::Exec(ExecEv::List { issued, list }));
    }

    /// What a list shows, and how long it takes.
    pub(crate) fn ask_list(&mut self, host: NodeId, agent_up: bool) -> (u64, Option<BTreeMap<String, Option<u32>>>) {
        let now = self.now;
        let list = self.hosts.get(&host).filter(|h| agent_up && h.hyper.silent_until <= now).map(|h| h.hyper.list());
        (self.rng.range(2, if list.is_some() { 40 } else { 500 }), list)
    }

    pub(crate) fn exec_event(&mut self, host: NodeId, event: ExecEv) {
        let now = self.now;
        self.with_exec(host, |sim, exec| match event {
            ExecEv::Answer { service, token, result } => sim.job_answer(host, exec, &service, token, result),
            ExecEv::Looked { service, token, sight, known } => {
                sim.job_looked(host, exec, &service, token, known.then_some(sight));
            }
            ExecEv::Pause { service, token } => sim.job_goes_on(host, exec, &service, token),
            ExecEv::Dom { name, what } => exec.hold_or_take(now, &name, what),
            ExecEv::List { issued, list } => exec.listed(now, issued, list),
            ExecEv::Pump => {}
            ExecEv::Check => {
                exec.ask = true;
                sim.daemon_after(host, CHECK_EVERY, DaemonEv::Exec(ExecEv::Check));
            }
            ExecEv::Strays => exec.tell_strays(now),
            ExecEv::PlanAgain => {
                exec.plans_again = false;
                exec.postponed.clear();
                sim.plan(host, exec);
            }
        });
    }

    /// The agent dies: what it was asked stays unanswered, what it asked of libvirt goes on.
    pub(crate) fn agent_dies(&mut self, host: NodeId) {
        let back = self.rng.range(100, 3000);
        let Some(life) = self.daemon(host).map(|daemon| daemon.life) else { return };
        self.with_exec(host, |sim, exec| {
            exec.agent_up = false;
            exec.outage = true;
            sim.agent_lost(host, exec);
        });
        self.after(back, crate::sim::Ev::World(crate::sim::WorldEv::AgentUp(host, life)));
    }

    pub(crate) fn agent_up(&mut self, host: NodeId, life: u64) {
        let now = self.now;
        if self.daemon(host).is_some_and(|daemon| daemon.life == life) {
            self.with_exec(host, |_, exec| {
                exec.agent_up = true;
                exec.ask_now(now);
            });
        }
    }
}
