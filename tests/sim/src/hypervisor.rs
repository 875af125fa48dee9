//! A host's hypervisor: its domains, and calls that take time, fail, hang, or end otherwise than they say.
//!
//! A call goes on when whoever made it dies, as libvirtd's do.

use crate::executor::{ExecEv, GUEST, done, unknown};
use crate::rules::{Course, Deed};
use crate::sim::{DaemonEv, HostEv, Sim};
use belay_driver::vm::{CallId, Listing, NoticeKind, Reply};
use belay_proto::NodeId;
use belay_proto::agent::{AgentEvent, Answer, Domain, DomainState, FaultKind, Witness};
use belay_proto::entry::GoneReason;
use std::collections::BTreeMap;

/// Who brought a domain up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// Belay, or a migration that Belay ordered.
    Belay,
    /// A person, or a migration gone wrong: not Belay's doing.
    Other,
    /// It ran on a host that somebody swore to be off: what comes of that is theirs.
    Disowned,
}

#[derive(Clone, Debug)]
pub(crate) struct Dom {
    pub(crate) pid: u32,
    pub(crate) origin: Origin,
    /// Not Belay brought it here, whoever cares for it now.
    pub(crate) by_hand: bool,
    /// Since when it runs here.
    pub(crate) since: u64,
}

/// A call that is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Op {
    Starting(u64),
    Migrating(u64),
}

#[derive(Debug, Default)]
pub(crate) struct Hypervisor {
    pub(crate) domains: BTreeMap<String, Dom>,
    pub(crate) ops: BTreeMap<String, Op>,
    /// It answers nothing before this moment.
    pub(crate) silent_until: u64,
    /// Domains that cannot be stopped before a moment.
    pub(crate) wedged: BTreeMap<String, u64>,
}

/// Whom to answer: a daemon's life, its agent's life, and the call.
#[derive(Clone, Debug)]
pub(crate) struct Asker {
    pub(crate) life: u64,
    pub(crate) agent: u64,
    pub(crate) call: CallId,
}

#[derive(Debug)]
pub(crate) enum HyperEv {
    Started { name: String, op: u64, answer: Option<Asker> },
    Stopped { name: String, pid: u32, destroyed: bool, answer: Option<Asker> },
    Migrated { name: String, pid: u32, op: u64, to: NodeId, answer: Option<Asker> },
}

impl Hypervisor {
    /// What runs, and what is on its way up.
    pub(crate) fn present(&self) -> BTreeMap<String, Option<u32>> {
        let starting = self.ops.iter().filter(|(_, op)| matches!(op, Op::Starting(_)));
        let mut list: BTreeMap<String, Option<u32>> = starting.map(|(name, _)| (name.clone(), None)).collect();
        list.extend(self.domains.iter().map(|(name, dom)| (name.clone(), Some(dom.pid))));
        list
    }

    /// What a list shows: without libvirt only processes, and not all of them can be relied upon to be seen.
    pub(crate) fn list(&self, connected: bool) -> Listing {
        let seen = self.present().into_iter().filter(|(_, pid)| connected || pid.is_some());
        let state = if connected { DomainState::Running } else { DomainState::Alive };
        let size = connected.then_some(GUEST);
        let domains = seen.map(|(name, pid)| Domain { name, uuid: String::new(), state, pid, size }).collect();
        Listing { domains, complete: connected }
    }
}

impl Sim {
    fn failed(&mut self, host: NodeId, delay: u64, asker: &Asker, kind: FaultKind, why: &str) {
        self.reply(host, delay, asker, Reply::Answer(Err(unknown(kind, why))));
    }

    pub(crate) fn libvirt_is_silent(&self, host: NodeId) -> bool {
        self.hosts.get(&host).is_none_or(|h| h.hyper.silent_until > self.now)
    }

    fn extra_time(&mut self) -> u64 {
        if self.rng.chance(self.odds.call_slow) { self.rng.range(500, 12_000) } else { 0 }
    }

    /// A guest cannot be stopped for a while: its process hangs in the kernel.
    pub fn wedge_guest(&mut self, host: NodeId, name: &str, for_ms: u64) {
        let until = self.now + for_ms;
        self.trace.fault(self.now, &format!("{name} on node{host} cannot be stopped for {for_ms} ms"));
        if let Some(h) = self.hosts.get_mut(&host) {
            h.hyper.wedged.insert(name.to_owned(), until);
        }
    }

    /// libvirtd is started anew: who asked it something gets no answer, and starts that were under way fail.
    pub fn restart_libvirt(&mut self, host: NodeId, takes_ms: u64) {
        self.trace.fault(self.now, &format!("libvirtd of node{host} is restarted"));
        if let Some(h) = self.hosts.get_mut(&host) {
            h.hyper.ops.retain(|_, op| !matches!(op, Op::Starting(_)));
        }
        self.silence_libvirt(host, takes_ms);
        self.agent_dies(host);
    }

    /// Whether libvirt does not answer; then neither does the call.
    fn silent(&mut self, host: NodeId, asker: &Asker) -> bool {
        let silent = self.libvirt_is_silent(host);
        if silent {
            self.agent_disconnected(host);
            self.failed(host, 1000, asker, FaultKind::Unreachable, "libvirt does not answer");
        }
        silent
    }

    /// Whether a call hangs: it goes on, but its caller hears early that its time is over, or nothing until it is.
    fn hangs(&mut self, host: NodeId, asker: &Asker) -> bool {
        let hangs = self.rng.chance(self.odds.call_hangs);
        if hangs && self.rng.chance(70) {
            let delay = self.rng.range(1000, 3000);
            self.failed(host, delay, asker, FaultKind::Deadline, "the call ran out of time");
        }
        hangs
    }

    fn pid_of(&self, host: NodeId, name: &str) -> Option<u32> {
        self.hosts.get(&host)?.hyper.domains.get(name).map(|dom| dom.pid)
    }

    pub(crate) fn call_start(&mut self, host: NodeId, name: &str, asker: Asker) {
        if self.silent(host, &asker) {
            return;
        }
        if let Some(pid) = self.pid_of(host, name) {
            return self.reply(host, 5, &asker, done(Answer::Started { pid: Some(pid), already: true }));
        }
        let Some(h) = self.hosts.get_mut(&host) else { return };
        if h.hyper.ops.contains_key(name) {
            return self.failed(host, 300, &asker, FaultKind::Unreachable, "another call is under way");
        }
        let course = self.rules.of_vm(Deed::Start, host, name);
        if course == Some(Course::Hangs) {
            return;
        }
        if course == Some(Course::Fails) || course.is_none() && self.rng.chance(self.odds.start_fails) {
            let delay = self.rng.range(50, 400);
            return self.failed(host, delay, &asker, FaultKind::Failed, "no such image");
        }
        self.rings += 1;
        let op = self.rings;
        if let Some(h) = self.hosts.get_mut(&host) {
            h.hyper.ops.insert(name.to_owned(), Op::Starting(op));
        }
        let hangs = self.hangs(host, &asker);
        let mut takes = if hangs { self.rng.range(300, 4000) } else { self.rng.range(300, 600) } + self.extra_time();
        if let Some(Course::Takes(ms)) = course {
            takes = ms;
        }
        let answer = (!hangs).then_some(asker);
        self.host_after(host, takes, HostEv::Hyper(HyperEv::Started { name: name.to_owned(), op, answer }));
    }

    pub(crate) fn call_stop(&mut self, host: NodeId, name: &str, grace: u64, destroy: bool, asker: Asker) {
        if self.silent(host, &asker) {
            return;
        }
        if let Some(h) = self.hosts.get_mut(&host)
            && matches!(h.hyper.ops.get(name), Some(Op::Starting(_)))
        {
            h.hyper.ops.remove(name);
        }
        let Some(pid) = self.pid_of(host, name) else {
            return self.reply(host, 5, &asker, done(Answer::Stopped { destroyed: false }));
        };
        let course = self.rules.of_vm(Deed::Stop, host, name);
        if course == Some(Course::Hangs) {
            // The hypervisor does not come to it, and the caller's time runs out.
            return;
        }
        let wedged =
            self.hosts.get(&host).and_then(|h| h.hyper.wedged.get(name)).is_some_and(|until| *until > self.now);
        if wedged || course == Some(Course::Fails) || course.is_none() && self.rng.chance(self.odds.stop_fails) {
            return self.failed(host, 500, &asker, FaultKind::Failed, "the monitor does not answer");
        }
        let guest = match course {
            Some(Course::Takes(ms)) => ms,
            _ => self.rng.range(50, 1500) + self.extra_time(),
        };
        let stubborn = match self.rules.of_vm(Deed::Shutdown, host, name) {
            Some(course) => course == Course::Fails,
            None => self.rng.chance(self.odds.stubborn_guest),
        } || guest > grace;
        if stubborn && !destroy {
            return self.failed(host, grace, &asker, FaultKind::Failed, "the guest did not shut down");
        }
        let hangs = self.hangs(host, &asker);
        let takes = if stubborn { grace + 50 } else { guest } + if hangs { self.rng.range(0, 3000) } else { 0 };
        let answer = (!hangs).then_some(asker);
        let destroyed = stubborn;
        self.host_after(host, takes, HostEv::Hyper(HyperEv::Stopped { name: name.to_owned(), pid, destroyed, answer }));
    }

    pub(crate) fn call_migrate(&mut self, host: NodeId, name: &str, to: NodeId, asker: Asker) {
        if self.silent(host, &asker) {
            return;
        }
        let busy = self.hosts.get(&host).is_some_and(|h| h.hyper.ops.contains_key(name));
        let Some(pid) = self.pid_of(host, name).filter(|_| !busy) else {
            return self.failed(host, 20, &asker, FaultKind::Failed, "the domain is not running or is busy");
        };
        self.rings += 1;
        let op = self.rings;
        if let Some(h) = self.hosts.get_mut(&host) {
            h.hyper.ops.insert(name.to_owned(), Op::Migrating(op));
        }
        let course = self.rules.of_vm(Deed::Migration, host, name);
        let mut takes = self.rng.range(400, 5000) + self.extra_time();
        if let Some(Course::Takes(ms)) = course {
            takes = ms;
        }
        let hangs = course == Some(Course::Hangs) || self.hangs(host, &asker);
        let answer = (!hangs).then_some(asker);
        self.host_after(host, takes, HostEv::Hyper(HyperEv::Migrated { name: name.to_owned(), pid, op, to, answer }));
    }

    pub(crate) fn call_cancel(&mut self, host: NodeId, name: &str, asker: Asker) {
        if self.silent(host, &asker) {
            return;
        }
        self.cancel_migration(host, name);
        self.reply(host, 5, &asker, done(Answer::Cancelled));
    }

    fn cancel_migration(&mut self, host: NodeId, name: &str) {
        if let Some(h) = self.hosts.get_mut(&host)
            && matches!(h.hyper.ops.get(name), Some(Op::Migrating(_)))
        {
            h.hyper.ops.remove(name);
        }
    }

    pub(crate) fn hyper_event(&mut self, host: NodeId, event: HyperEv) {
        match event {
            HyperEv::Started { name, op, answer } => {
                let Some(h) = self.hosts.get_mut(&host) else { return };
                let result = if h.hyper.ops.get(&name) == Some(&Op::Starting(op)) {
                    h.hyper.ops.remove(&name);
                    self.create(host, &name, Origin::Belay);
                    Ok(Answer::Started { pid: self.pid_of(host, &name), already: false })
                } else {
                    Err("destroyed while it was started")
                };
                self.answers(host, answer, result);
            }
            HyperEv::Stopped { name, pid, destroyed, answer } => {
                if self.pid_of(host, &name) == Some(pid) {
                    let why = if destroyed { GoneReason::Died } else { GoneReason::GuestShutdown };
                    self.end_domain(host, &name, why);
                }
                self.answers(host, answer, Ok(Answer::Stopped { destroyed }));
            }
            HyperEv::Migrated { name, pid, op, to, answer } => {
                let result = self.migrated(host, &name, pid, op, to).map(|()| Answer::Migrated);
                self.answers(host, answer, result);
            }
        }
    }

    fn answers(&mut self, host: NodeId, asker: Option<Asker>, result: Result<Answer, &str>) {
        // The agent that was asked is gone: nobody hears it.
        let Some(asker) = asker.filter(|asker| self.agent_listens(host) == Some(asker.agent)) else { return };
        match result {
            Ok(answer) => self.reply(host, 3, &asker, done(answer)),
            Err(why) => self.failed(host, 3, &asker, FaultKind::Failed, why),
        }
    }

    fn migrated(&mut self, host: NodeId, name: &str, pid: u32, op: u64, to: NodeId) -> Result<(), &'static str> {
        let Some(h) = self.hosts.get_mut(&host) else { return Err("no host") };
        if h.hyper.ops.get(name) != Some(&Op::Migrating(op)) {
            return Err("cancelled");
        }
        h.hyper.ops.remove(name);
        if self.pid_of(host, name) != Some(pid) {
            return Err("the domain died");
        }
        let apart = self.hosts.get(&host).map(|h| h.partition) != self.hosts.get(&to).map(|h| h.partition);
        let there = self.hosts.get(&to).is_some_and(|h| h.powered && h.frozen.is_none());
        let taken = self.hosts.get(&to).is_some_and(|h| h.hyper.present().contains_key(name));
        if apart || !there || taken || self.libvirt_is_silent(to) {
            return Err("the target does not take it");
        }
        let lie = match self.rules.of_vm(Deed::Migration, host, name) {
            Some(Course::Fails | Course::Hangs) => return Err("the target does not take it"),
            Some(Course::Lies) => 0,
            Some(Course::WorksUnnoticed) => 1,
            Some(Course::LeavesTwo) => 2,
            Some(Course::LeavesNone) => 3,
            None if self.rng.chance(self.odds.migration_lies) => self.rng.range(0, 3),
            Some(Course::Works | Course::Takes(_)) | None => {
                self.moves(host, name, to);
                return Ok(());
            }
        };
        self.trace.note(self.now, host, || format!("the migration of {name} goes wrong"));
        match lie {
            0 => Ok(()),
            1 => {
                self.moves(host, name, to);
                Err("connection reset")
            }
            2 => {
                self.create(to, name, Origin::Other);
                Err("the target did not confirm")
            }
            _ => {
                self.end_domain(host, name, GoneReason::Migrated);
                Err("qemu crashed")
            }
        }
    }

    /// Somebody migrates a domain with `virsh`.
    pub fn move_by_hand(&mut self, host: NodeId, name: &str, to: NodeId) {
        let takes = |h: &&crate::sim::Host| h.powered && h.frozen.is_none() && !h.hyper.present().contains_key(name);
        let runs = self.pid_of(host, name).is_some();
        let idle = self.hosts.get(&host).is_some_and(|h| h.frozen.is_none() && !h.hyper.ops.contains_key(name));
        if runs && idle && self.hosts.get(&to).filter(takes).is_some() {
            self.trace.fault(self.now, &format!("{name} is moved by hand to node{to}"));
            self.truth.moved_by_hand += 1;
            self.end_domain(host, name, GoneReason::Migrated);
            self.create(to, name, Origin::Other);
            self.goes_on(name);
        }
    }

    /// A domain that was moved was not started.
    fn goes_on(&mut self, name: &str) {
        self.truth.begun.entry(name.to_owned()).and_modify(|count| *count = count.saturating_sub(1));
    }

    /// Somebody starts a domain with `virsh`.
    pub fn start_by_hand(&mut self, host: NodeId, name: &str) {
        self.create(host, name, Origin::Other);
    }

    fn moves(&mut self, host: NodeId, name: &str, to: NodeId) {
        let origin = self.hosts.get(&host).and_then(|h| h.hyper.domains.get(name)).map(|dom| dom.origin);
        self.end_domain(host, name, GoneReason::Migrated);
        self.create(to, name, origin.unwrap_or(Origin::Belay));
        self.goes_on(name);
    }

    pub(crate) fn create(&mut self, host: NodeId, name: &str, origin: Origin) {
        self.truth.moved_by_hand += u64::from(origin == Origin::Other);
        *self.truth.begun.entry(name.to_owned()).or_default() += 1;
        self.rings += 1;
        let pid = u32::try_from(self.rings).unwrap_or(u32::MAX);
        let since = self.now;
        let Some(h) = self.hosts.get_mut(&host).filter(|h| h.powered) else { return };
        let by_hand = origin == Origin::Other;
        h.hyper.domains.insert(name.to_owned(), Dom { pid, origin, by_hand, since });
        self.trace.note(self.now, host, || format!("+ {name} runs ({origin:?})"));
        self.witness(host, AgentEvent::Started { name: name.to_owned(), pid: Some(pid) });
    }

    /// A domain's process ends.
    pub(crate) fn end_domain(&mut self, host: NodeId, name: &str, why: GoneReason) {
        let Some(h) = self.hosts.get_mut(&host) else { return };
        let Some(dom) = h.hyper.domains.remove(name) else { return };
        h.hyper.ops.remove(name);
        self.trace.note(self.now, host, || format!("- {name} is gone ({why:?})"));
        let (name, witness) = (name.to_owned(), Witness::Pidfd);
        // Now and then the agent came too late to learn which process it was.
        let pid = (!self.rng.chance(5)).then_some(dom.pid);
        self.witness(host, AgentEvent::Gone { name, why, pid, witness });
    }

    /// The agent sees something happen, unless it looks away.
    pub(crate) fn witness(&mut self, host: NodeId, event: AgentEvent) {
        let lost = self.rng.chance(self.odds.event_lost);
        let delay = self.rng.range(0, 20);
        if let Some(agent) = self.agent_listens(host).filter(|_| !lost) {
            self.daemon_after(host, delay, DaemonEv::Exec(ExecEv::Said { agent, what: NoticeKind::Event(event) }));
        }
    }
}
