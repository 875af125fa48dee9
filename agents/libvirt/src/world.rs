//! What this agent knows of its hypervisor's domains: the registry, the pidfds behind it, and the queue that the
//! registry's events go to, under one lock, so that events leave in the order in which things became known.
//!
//! Every witness ends here: libvirt's notices, deaths from the watch, lists, and calls that started something.

use crate::emulators::{Emulator, Emulators};
use crate::native::{self, Change, Notice, Row};
use crate::output::Output;
use crate::pidfd::Process;
use crate::registry::{Registry, Sighting};
use crate::watch::Waker;
use belay_proto::agent::{AgentEvent, Domain, DomainState};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

/// See the module.
#[derive(Debug)]
pub(crate) struct World {
    inner: Mutex<Inner>,
    /// Notified whenever a domain may have gone.
    changed: Condvar,
    emulators: Emulators,
    output: Arc<Output>,
    waker: Waker,
    /// Where libvirt's notices go, for a death that waits for what libvirt has said before it.
    notices: OnceLock<Sender<Notice>>,
}

#[derive(Debug, Default)]
struct Inner {
    registry: Registry,
    processes: BTreeMap<u32, Arc<Process>>,
}

impl World {
    /// A world about whose domains nothing is known yet.
    pub(crate) fn new(emulators: Emulators, output: Arc<Output>, waker: Waker) -> Self {
        let (inner, changed, notices) = (Mutex::default(), Condvar::new(), OnceLock::new());
        Self { inner, changed, emulators, output, waker, notices }
    }

    /// From now on libvirt's notices go here.
    pub(crate) fn listens_to(&self, notices: &Sender<Notice>) {
        // Set once, when the link begins.
        let _ = self.notices.set(notices.clone());
    }

    /// Whether every domain here is a process of this machine.
    pub(crate) fn sees_processes(&self) -> bool {
        self.emulators.are_visible()
    }

    /// A domain's living process according to its pid file and its command line.
    pub(crate) fn emulator(&self, name: &str, uuid: &str) -> Option<Emulator> {
        self.emulators.find(name, uuid)
    }

    /// The living process of the domain of this name, whether libvirt knows it or not.
    pub(crate) fn living(&self, name: &str) -> Option<Arc<Process>> {
        let known = {
            let inner = self.lock();
            inner.registry.by_name(name).and_then(|(uuid, _)| inner.process(uuid))
        };
        known.filter(|process| !process.is_dead()).or_else(|| {
            let found = self.emulators.named(name)?;
            Some(found.process)
        })
    }

    /// libvirt says a domain runs, or a call has started it. Gives its pid, where there is one.
    pub(crate) fn started(&self, name: &str, uuid: &str, paused: bool) -> Option<u32> {
        let found = self.emulators.find(name, uuid);
        if found.is_none() && self.sees_processes() {
            // No process, no start: this is an old notice about a domain that is gone again.
            return None;
        }
        let mut inner = self.lock();
        let pid = inner.watch(found);
        let events = inner.registry.seen(&Sighting { name, uuid, pid, paused }, Instant::now());
        self.tell(&mut inner, events);
        self.waker.wake();
        pid
    }

    /// libvirt says that something happened to a domain.
    pub(crate) fn libvirt_says(&self, name: &str, uuid: &str, change: &Change) {
        if let Change::Started { arriving } = change {
            self.started(name, uuid, *arriving);
            return;
        }
        let mut inner = self.lock();
        let alive = inner.alive(uuid);
        let events = inner.registry.libvirt_says(uuid, change, alive, Instant::now());
        self.tell(&mut inner, events);
    }

    /// A call moves this domain elsewhere, or has given that up. While it does, the end of the process is no death.
    pub(crate) fn migrating(&self, uuid: &str, migrating: bool) {
        self.lock().registry.set_migrating(uuid, migrating);
    }

    /// The processes that have not been seen dead.
    pub(crate) fn watched(&self) -> Vec<Arc<Process>> {
        self.lock().processes.values().cloned().collect()
    }

    /// The kernel says these processes ended.
    pub(crate) fn processes_died(&self, pids: &[u32]) {
        let now = Instant::now();
        let mut inner = self.lock();
        for pid in pids {
            inner.processes.remove(pid);
            let events = inner.registry.process_died(*pid, now);
            self.tell(&mut inner, events);
        }
        let waiting = inner.registry.next_settlement().is_some();
        drop(inner);
        self.changed.notify_all();
        if let (true, Some(notices)) = (waiting, self.notices.get()) {
            native::flush(notices, now);
        }
    }

    /// What libvirt had to say until `asked` has been said: deaths until then need not wait for it any longer.
    pub(crate) fn flushed(&self, asked: Instant) {
        self.lock().registry.flushed(asked);
        self.waker.wake();
    }

    /// Reports the deaths whose reason nobody told in time; gives how long until there is more to do.
    pub(crate) fn settle(&self) -> Option<Duration> {
        let mut inner = self.lock();
        let events = inner.registry.settle(Instant::now());
        self.tell(&mut inner, events);
        inner.registry.next_settlement().map(|at| at.saturating_duration_since(Instant::now()))
    }

    /// Compares what is known with libvirt's list, begun at `asked`, and gives what runs. With `quietly`, what is new
    /// makes no event: the daemon has just been told to list, or is doing so.
    pub(crate) fn reconcile(&self, rows: &[Row], asked: Instant, quietly: bool) -> Vec<Domain> {
        let mut domains = Vec::with_capacity(rows.len());
        let mut listed = BTreeSet::new();
        for row in rows {
            if let Some(pid) = self.reconcile_row(row, asked, quietly) {
                listed.insert(row.uuid.as_str());
                let (name, uuid) = (row.name.clone(), row.uuid.clone());
                domains.push(Domain { name, uuid, state: row.state, pid, size: row.size });
            }
        }
        let unlisted: Vec<String> = {
            let inner = self.lock();
            inner.registry.iter().map(|(uuid, _)| uuid).filter(|u| !listed.contains(u.as_str())).cloned().collect()
        };
        for uuid in unlisted {
            let mut inner = self.lock();
            if inner.registry.get(&uuid).is_some_and(|running| running.pid.is_none()) {
                let events = inner.registry.missing(&uuid, asked, Instant::now());
                self.tell(&mut inner, events);
            }
        }
        let known: BTreeSet<String> = domains.iter().map(|d| d.uuid.clone()).collect();
        domains.extend(self.processes_alive().into_iter().filter(|d| !known.contains(&d.uuid)));
        domains
    }

    /// `None` if the domain does not run, whatever libvirt says; else its pid, where there is one.
    fn reconcile_row(&self, row: &Row, asked: Instant, quietly: bool) -> Option<Option<u32>> {
        let (known, gone) = {
            let inner = self.lock();
            (inner.process(&row.uuid), inner.registry.gone_since(&row.uuid, asked))
        };
        let known = known.filter(|process| !process.is_dead());
        if known.is_none() && gone && !self.sees_processes() {
            return None;
        }
        let found = if known.is_none() { self.emulators.find(&row.name, &row.uuid) } else { None };
        if self.sees_processes() && known.is_none() && found.is_none() {
            // libvirt still holds a domain whose process is dead.
            return None;
        }
        let mut inner = self.lock();
        let pid = known.map(|process| process.pid()).or_else(|| inner.watch(found));
        let paused = row.state == DomainState::Paused;
        let sighting = Sighting { name: &row.name, uuid: &row.uuid, pid, paused };
        let mut events = inner.registry.seen(&sighting, Instant::now());
        if quietly {
            events.retain(|event| !matches!(event, AgentEvent::Started { .. }));
        }
        self.tell(&mut inner, events);
        self.waker.wake();
        Some(pid)
    }

    /// All domains whose process lives, without asking libvirt. Those that were not known are watched from now on.
    pub(crate) fn processes_alive(&self) -> Vec<Domain> {
        let known = {
            let inner = self.lock();
            let living = inner.registry.iter().filter(|(uuid, _)| inner.alive(uuid));
            living.map(|(_, running)| running.name.clone()).collect()
        };
        let found = self.emulators.all_but(&known);
        let mut inner = self.lock();
        for emulator in found {
            let pid = inner.watch(Some(emulator.clone()));
            let sighting = Sighting { name: &emulator.name, uuid: &emulator.uuid, pid, paused: false };
            if inner.registry.get(&emulator.uuid).is_none() {
                let mut events = inner.registry.seen(&sighting, Instant::now());
                events.retain(|event| !matches!(event, AgentEvent::Started { .. }));
                self.tell(&mut inner, events);
            }
        }
        self.waker.wake();
        let alive = inner.registry.iter().filter(|(uuid, _)| inner.alive(uuid));
        let domain = |(uuid, r): (&String, &crate::registry::Running)| Domain {
            name: r.name.clone(),
            uuid: uuid.clone(),
            state: DomainState::Alive,
            pid: r.pid,
            size: None,
        };
        alive.map(domain).collect()
    }

    /// Waits until the domain's process is dead or, where it has none, until libvirt has reported its end; at most for
    /// `patience`. Gives whether that happened.
    pub(crate) fn wait_gone(&self, uuid: &str, process: Option<&Process>, patience: Duration) -> bool {
        let until = Instant::now() + patience;
        let mut inner = self.lock();
        loop {
            let gone = process.map_or_else(|| inner.registry.get(uuid).is_none(), Process::is_dead);
            let Some(left) = until.checked_duration_since(Instant::now()).filter(|_| !gone) else { return gone };
            // In slices, since nobody notifies the end of a process that is not in the watch.
            let slice = left.min(Duration::from_millis(250));
            inner = self.changed.wait_timeout(inner, slice).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn tell(&self, inner: &mut Inner, events: Vec<AgentEvent>) {
        for event in events {
            if let AgentEvent::Gone { pid: Some(pid), .. } = &event {
                inner.processes.remove(pid);
            }
            self.output.event(event);
        }
        self.changed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn watch(&mut self, found: Option<Emulator>) -> Option<u32> {
        let process = found?.process;
        let pid = process.pid();
        self.processes.entry(pid).or_insert(process);
        Some(pid)
    }

    fn process(&self, uuid: &str) -> Option<Arc<Process>> {
        self.processes.get(&self.registry.get(uuid)?.pid?).cloned()
    }

    fn alive(&self, uuid: &str) -> bool {
        self.process(uuid).is_some_and(|process| !process.is_dead())
    }
}
