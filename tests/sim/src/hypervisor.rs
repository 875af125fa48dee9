//! A host's hypervisor: its domains, and calls that take time, fail, hang, or end otherwise than they say.
//!
//! A call goes on when whoever made it dies, as libvirtd's do.

use crate::executor::{Answer, DomEvent, ExecEv};
use crate::sim::{DaemonEv, Ev, HostEv, Sim};
use belay_proto::entry::GoneReason;
use belay_proto::{NodeId, ServiceName};
use std::collections::BTreeMap;

/// Who brought a domain up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// Belay, or a migration that Belay ordered.
    Belay,
    /// A person, or a migration gone wrong: not Belay's doing.
    Other,
}

#[derive(Clone, Debug)]
pub(crate) struct Dom {
    pub(crate) pid: u32,
    pub(crate) origin: Origin,
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

/// Whom to answer.
#[derive(Clone, Debug)]
pub(crate) struct Asker {
    pub(crate) life: u64,
    pub(crate) service: ServiceName,
    pub(crate) token: u64,
}

#[derive(Debug)]
pub(crate) enum HyperEv {
    Started { name: String, op: u64, answer: Option<Asker> },
    Stopped { name: String, pid: u32, answer: Option<Asker> },
    Migrated { name: String, pid: u32, op: u64, to: NodeId, answer: Option<Asker> },
}

impl Hypervisor {
    /// What a list shows: what runs, and what is on its way up.
    pub(crate) fn list(&self) -> BTreeMap<String, Option<u32>> {
        let starting = self.ops.iter().filter(|(_, op)| matches!(op, Op::Starting(_)));
        let mut list: BTreeMap<String, Option<u32>> = starting.map(|(name, _)| (name.clone(), None)).collect();
        list.extend(self.domains.iter().map(|(name, dom)| (name.clone(), Some(dom.pid))));
        list
    }
}

impl Sim {
    pub(crate) fn answer(&mut self, host: NodeId, delay: u64, asker: Asker, result: Answer) {
        let Asker { life, service, token } = asker;
        let what = DaemonEv::Exec(ExecEv::Answer { service, token, result });
        self.after(delay, Ev::Daemon { host, life, what });
    }

    fn silent(&self, host: NodeId) -> bool {
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

    fn pid_of(&self, host: NodeId, name: &str) -> Option<u32> {
        self.hosts.get(&host)?.hyper.domains.get(name).map(|dom| dom.pid)
    }

    pub(crate) fn call_start(&mut self, host: NodeId, name: &str, asker: Asker) {
        if self.silent(host) {
            return self.answer(host, 1000, asker, Answer::Unknown("libvirt does not answer"));
        }
        if self.pid_of(host, name).is_some() {
            return self.answer(host, 5, asker, Answer::Done);
        }
        let Some(h) = self.hosts.get_mut(&host) else { return };
        if h.hyper.ops.contains_key(name) {
            return self.answer(host, 300, asker, Answer::Unknown("another call is under way"));
        }
        if self.rng.chance(self.odds.start_fails) {
            let delay = self.rng.range(50, 400);
            return self.answer(host, delay, asker, Answer::Failed("no such image"));
        }
        self.rings += 1;
        let op = self.rings;
        if let Some(h) = self.hosts.get_mut(&host) {
            h.hyper.ops.insert(name.to_owned(), Op::Starting(op));
        }
        let mut takes = self.rng.range(300, 600) + self.extra_time();
        let mut answer = Some(asker);
        if self.rng.chance(self.odds.call_hangs)
            && let Some(asker) = answer.take()
        {
            takes = self.rng.range(300, 4000);
            let delay = self.rng.range(1000, 3000);
            self.answer(host, delay, asker, Answer::Unknown("the call ran out of time"));
        }
        self.host_after(host, takes, HostEv::Hyper(HyperEv::Started { name: name.to_owned(), op, answer }));
    }

    pub(crate) fn call_stop(&mut self, host: NodeId, name: &str, grace: u64, asker: Asker) {
        if self.silent(host) {
            return self.answer(host, 1000, asker, Answer::Unknown("libvirt does not answer"));
        }
        if let Some(h) = self.hosts.get_mut(&host)
            && matches!(h.hyper.ops.get(name), Some(Op::Starting(_)))
        {
            h.hyper.ops.remove(name);
        }
        let Some(pid) = self.pid_of(host, name) else { return self.answer(host, 5, asker, Answer::Done) };
        let wedged =
            self.hosts.get(&host).and_then(|h| h.hyper.wedged.get(name)).is_some_and(|until| *until > self.now);
        if wedged || self.rng.chance(self.odds.stop_fails) {
            return self.answer(host, 500, asker, Answer::Failed("the monitor does not answer"));
        }
        let guest = self.rng.range(50, 1500);
        let extra = self.extra_time();
        let mut takes =
            extra + if self.rng.chance(self.odds.stubborn_guest) { grace + 50 } else { guest.min(grace + 50) };
        let mut answer = Some(asker);
        if self.rng.chance(self.odds.call_hangs)
            && let Some(asker) = answer.take()
        {
            takes += self.rng.range(0, 3000);
            self.answer(host, 2000, asker, Answer::Unknown("the call ran out of time"));
        }
        self.host_after(host, takes, HostEv::Hyper(HyperEv::Stopped { name: name.to_owned(), pid, answer }));
    }

    pub(crate) fn call_migrate(&mut self, host: NodeId, name: &str, to: NodeId, asker: Asker) {
        if self.silent(host) {
            return self.answer(host, 1000, asker, Answer::Unknown("libvirt does not answer"));
        }
        let busy = self.hosts.get(&host).is_some_and(|h| h.hyper.ops.contains_key(name));
        let Some(pid) = self.pid_of(host, name).filter(|_| !busy) else {
            return self.answer(host, 20, asker, Answer::Failed("the domain is not running or is busy"));
        };
        self.rings += 1;
        let op = self.rings;
        if let Some(h) = self.hosts.get_mut(&host) {
            h.hyper.ops.insert(name.to_owned(), Op::Migrating(op));
        }
        let takes = self.rng.range(400, 5000) + self.extra_time();
        let mut answer = Some(asker);
        if self.rng.chance(self.odds.call_hangs)
            && let Some(asker) = answer.take()
        {
            let delay = self.rng.range(1000, 3000);
            self.answer(host, delay, asker, Answer::Unknown("the call ran out of time"));
        }
        self.host_after(host, takes, HostEv::Hyper(HyperEv::Migrated { name: name.to_owned(), pid, op, to, answer }));
    }

    pub(crate) fn cancel_migration(&mut self, host: NodeId, name: &str) {
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
                    Answer::Done
                } else {
                    Answer::Failed("destroyed while it was started")
                };
                if let Some(asker) = answer {
                    self.answer(host, 3, asker, result);
                }
            }
            HyperEv::Stopped { name, pid, answer } => {
                if self.pid_of(host, &name) == Some(pid) {
                    self.end_domain(host, &name, GoneReason::GuestShutdown);
                }
                if let Some(asker) = answer {
                    self.answer(host, 3, asker, Answer::Done);
                }
            }
            HyperEv::Migrated { name, pid, op, to, answer } => {
                let result = self.migrated(host, &name, pid, op, to);
                if let Some(asker) = answer {
                    self.answer(host, 3, asker, result);
                }
            }
        }
    }

    fn migrated(&mut self, host: NodeId, name: &str, pid: u32, op: u64, to: NodeId) -> Answer {
        let Some(h) = self.hosts.get_mut(&host) else { return Answer::Failed("no host") };
        if h.hyper.ops.get(name) != Some(&Op::Migrating(op)) {
            return Answer::Failed("cancelled");
        }
        h.hyper.ops.remove(name);
        if self.pid_of(host, name) != Some(pid) {
            return Answer::Failed("the domain died");
        }
        let apart = self.hosts.get(&host).map(|h| h.partition) != self.hosts.get(&to).map(|h| h.partition);
        let there = self.hosts.get(&to).is_some_and(|h| h.powered && h.frozen.is_none());
        let taken = self.hosts.get(&to).is_some_and(|h| h.hyper.list().contains_key(name));
        if apart || !there || taken || self.silent(to) {
            return Answer::Failed("the target does not take it");
        }
        if !self.rng.chance(self.odds.migration_lies) {
            self.moves(host, name, to);
            return Answer::Done;
        }
        self.trace.note(self.now, host, || format!("the migration of {name} goes wrong"));
        match self.rng.range(0, 3) {
            0 => Answer::Done,
            1 => {
                self.moves(host, name, to);
                Answer::Failed("connection reset")
            }
            2 => {
                self.create(to, name, Origin::Other);
                Answer::Failed("the target did not confirm")
            }
            _ => {
                self.end_domain(host, name, GoneReason::Migrated);
                Answer::Failed("qemu crashed")
            }
        }
    }

    /// Somebody migrates a domain with `virsh`.
    pub fn move_by_hand(&mut self, host: NodeId, name: &str, to: NodeId) {
        let takes = |h: &&crate::sim::Host| h.powered && h.frozen.is_none() && !h.hyper.list().contains_key(name);
        let runs = self.pid_of(host, name).is_some();
        let idle = self.hosts.get(&host).is_some_and(|h| h.frozen.is_none() && !h.hyper.ops.contains_key(name));
        if runs && idle && self.hosts.get(&to).filter(takes).is_some() {
            self.trace.fault(self.now, &format!("{name} is moved by hand to node{to}"));
            self.truth.moved_by_hand += 1;
            self.end_domain(host, name, GoneReason::Migrated);
            self.create(to, name, Origin::Other);
        }
    }

    /// Somebody starts a domain with `virsh`.
    pub fn start_by_hand(&mut self, host: NodeId, name: &str) {
        self.create(host, name, Origin::Other);
    }

    fn moves(&mut self, host: NodeId, name: &str, to: NodeId) {
        let origin = self.hosts.get(&host).and_then(|h| h.hyper.domains.get(name)).map(|dom| dom.origin);
        self.end_domain(host, name, GoneReason::Migrated);
        self.create(to, name, origin.unwrap_or(Origin::Belay));
    }

    pub(crate) fn create(&mut self, host: NodeId, name: &str, origin: Origin) {
        self.truth.moved_by_hand += u64::from(origin == Origin::Other);
        self.rings += 1;
        let pid = u32::try_from(self.rings).unwrap_or(u32::MAX);
        let since = self.now;
        let Some(h) = self.hosts.get_mut(&host).filter(|h| h.powered) else { return };
        h.hyper.domains.insert(name.to_owned(), Dom { pid, origin, since });
        self.trace.note(self.now, host, || format!("+ {name} runs ({origin:?})"));
        self.witness(host, name, DomEvent::Started { pid });
    }

    /// A domain's process ends.
    pub(crate) fn end_domain(&mut self, host: NodeId, name: &str, why: GoneReason) {
        let Some(h) = self.hosts.get_mut(&host) else { return };
        let Some(dom) = h.hyper.domains.remove(name) else { return };
        h.hyper.ops.remove(name);
        self.trace.note(self.now, host, || format!("- {name} is gone ({why:?})"));
        self.witness(host, name, DomEvent::Gone { pid: dom.pid, why });
    }

    fn witness(&mut self, host: NodeId, name: &str, what: DomEvent) {
        let lost = self.rng.chance(self.odds.event_lost);
        let delay = self.rng.range(0, 20);
        if !lost && self.daemon(host).is_some_and(|daemon| daemon.exec.agent_up) {
            let event = ExecEv::Dom { name: name.to_owned(), what };
            self.daemon_after(host, delay, DaemonEv::Exec(event));
        }
    }
}
