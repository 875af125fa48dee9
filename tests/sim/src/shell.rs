//! The shell around a simulated daemon's node: hands it what happens, and carries out what it says.
//!
//! The place of `daemon/src/shell` in this world, with a disk that may be full, slow or torn, and a daemon that may die
//! between any two actions. What is decided is the node's alone.

use crate::disk::Write;
use crate::executor::Executor;
use crate::fence::Fencer;
use crate::sim::{Daemon, DaemonEv, EPOCH_MS, Sim};
use belay_engine::node::{Action, Event, Identity, Node, Now};
use belay_proto::entry::What;
use belay_proto::ring::RingMessage;
use belay_proto::{BootId, Incarnation, Index, NodeId, Timestamp};
use std::collections::{BTreeMap, VecDeque};

impl Sim {
    pub(crate) fn now_of(&self, host: NodeId) -> Now {
        let (skew, drift) = self.hosts.get(&host).map_or((0, 0), |h| (h.wall_skew, h.drift_ppm));
        let ahead = i64::try_from(self.now).unwrap_or(0).saturating_mul(drift) / 1_000_000;
        let present = self.now.saturating_add_signed(ahead);
        Now {
            mono_ms: present + u64::from(host.0) * 1000,
            wall: Timestamp((EPOCH_MS + present).saturating_add_signed(skew)),
        }
    }

    pub(crate) fn node_event(&mut self, host: NodeId, event: Event) {
        let now = self.now_of(host);
        let Some(daemon) = self.daemon_mut(host) else { return };
        let was_quorate = daemon.node.quorate();
        let actions = daemon.node.step(now, event);
        self.steps += 1;
        self.carry_out(host, was_quorate, actions);
        self.committed(host);
    }

    /// What the daemon's shell does with what the node says.
    pub(crate) fn carry_out(&mut self, host: NodeId, was_quorate: bool, actions: Vec<Action>) {
        let mut records = Vec::new();
        let mut quorate = was_quorate;
        for action in actions {
            if self.dies_now(host) {
                return;
            }
            match action {
                Action::Persist(more) => {
                    for record in &more {
                        if let Some(daemon) = self.daemon_mut(host) {
                            daemon.chains.insert(record.index, record.chain);
                        }
                        // In one step a view may come, and what applies in it, and the loss of its quorum.
                        quorate |= matches!(record.entry.what, What::View(_));
                        self.applied(host, quorate, record);
                    }
                    records.extend(more);
                }
                Action::PersistSnapshot { history, json, .. } => {
                    self.write(host, Write::Records(std::mem::take(&mut records)));
                    self.write(host, Write::Snapshot(history, json));
                    if let Some(daemon) = self.daemon_mut(host) {
                        // What comes next does not follow from what it had.
                        daemon.before = None;
                        daemon.chains.clear();
                        daemon.committed = Index(0);
                    }
                }
                Action::Promise(term) => {
                    self.write(host, Write::Records(std::mem::take(&mut records)));
                    self.write(host, Write::Promise(term));
                }
                Action::Propose(message) => {
                    if let RingMessage::Persisted { index, .. } = message {
                        self.has_on_disk(host, index);
                    }
                    self.propose(host, message);
                }
                Action::Assign(assignments) => {
                    self.assign_fencing(host, &assignments);
                    self.echo_with_work(host, &assignments.work);
                    self.assign(host, assignments);
                }
                Action::Quorate(quorate) => {
                    let now = self.now;
                    if let Some(daemon) = self.daemon_mut(host) {
                        daemon.may_act = quorate;
                        daemon.quorate_since = quorate.then_some(now);
                    }
                }
                Action::Reply { id, verdict } => self.replied(host, id, verdict),
                Action::Publish(events) => {
                    for event in events {
                        self.trace.published(self.now, host, &event);
                    }
                }
                Action::WakeAt(at) => {
                    let in_ms = at.saturating_sub(self.now_of(host).mono_ms);
                    let Some(daemon) = self.daemon_mut(host) else { continue };
                    daemon.wake += 1;
                    let generation = daemon.wake;
                    self.daemon_after(host, in_ms, DaemonEv::Timer { generation });
                }
                Action::LeaveRing => {
                    self.write(host, Write::Records(std::mem::take(&mut records)));
                    self.daemon_left(host);
                    return;
                }
                Action::Log(_, text) => self.trace.note(self.now, host, || text),
            }
        }
        self.write(host, Write::Records(records));
    }

    pub(crate) fn dies_now(&mut self, host: NodeId) -> bool {
        let Some(h) = self.hosts.get_mut(&host) else { return true };
        match &mut h.dies_in {
            Some(0) => {
                h.dies_in = None;
                self.kill_daemon(host);
                true
            }
            Some(left) => {
                *left -= 1;
                false
            }
            None => h.daemon.is_none(),
        }
    }

    pub(crate) fn write(&mut self, host: NodeId, write: Write) {
        if matches!(&write, Write::Records(records) if records.is_empty()) {
            return;
        }
        let Some(h) = self.hosts.get_mut(&host) else { return };
        h.disk.pending.push_back(write);
        if !std::mem::replace(&mut h.disk.busy, true) {
            self.write_goes_on(host);
        }
    }

    pub(crate) fn write_goes_on(&mut self, host: NodeId) {
        let slow = self.rng.chance(self.odds.write_slow);
        let delay = if slow { self.rng.range(50, 3000) } else { self.rng.range(1, 12) };
        self.daemon_after(host, delay, DaemonEv::Written);
    }

    pub(crate) fn written(&mut self, host: NodeId) {
        let now = self.now;
        let Some(h) = self.hosts.get_mut(&host) else { return };
        if h.disk.full_until > now {
            self.daemon_after(host, 500, DaemonEv::Written);
            return self.node_event(host, Event::PersistFailed { reason: "No space left on device".into() });
        }
        let result = h.disk.complete_one();
        h.disk.busy = !h.disk.pending.is_empty();
        let more = h.disk.busy;
        if more {
            self.write_goes_on(host);
        }
        match result {
            Err(reason) => self.violated("the store", format!("{host}: {reason}")),
            Ok(None) => {}
            Ok(Some(event)) => self.node_event(host, event),
        }
    }

    /// A report of an executor, through the one queue that a crash of the daemon loses.
    pub(crate) fn report(&mut self, host: NodeId, what: What) {
        self.trace.note(self.now, host, || format!("reports {what:?}"));
        self.truth_of_report(host, &what);
        let delay = self.rng.range(0, 10);
        let now = self.now;
        let Some(daemon) = self.daemon_mut(host) else { return };
        daemon.reports.push_back(what);
        let at = (now + delay).max(daemon.last_report);
        daemon.last_report = at;
        self.daemon_after(host, at - now, DaemonEv::Report);
    }

    pub(crate) fn start_daemon(&mut self, host: NodeId) {
        let now = self.now_of(host);
        self.lives += 1;
        let life = self.lives;
        let Some(h) = self.hosts.get_mut(&host).filter(|h| h.daemon.is_none() && !h.stays_dead) else { return };
        let (version, conf) = h.conf.clone();
        let state = match h.disk.load() {
            Ok(state) => state,
            Err(reason) => return self.violated("the store", format!("{host}: {reason}")),
        };
        h.incarnations += 1;
        let boot: BootId = match format!("boot-{host}-{}", h.boots).parse() {
            Ok(boot) => boot,
            Err(error) => return self.violated("the simulator", error.to_string()),
        };
        let exec = Executor::new(boot.clone(), self.now);
        let identity =
            Identity { node: host, boot, incarnation: Incarnation(h.incarnations), software: "simulated".to_owned() };
        self.trace.note(self.now, host, || format!("daemon starts with entry {}", state.index()));
        h.daemon = Some(Daemon {
            life,
            node: Node::new(identity, state, now).having_promised(h.disk.promised),
            attached: false,
            inbox: VecDeque::new(),
            outgoing: VecDeque::new(),
            last_delivery: 0,
            last_verdict: 0,
            delivered: 0,
            may_act: false,
            wake: 0,
            reports: VecDeque::new(),
            last_report: 0,
            exec,
            fencer: Fencer::default(),
            frozen: None,
            before: None,
            sent: VecDeque::new(),
            committed: Index(0),
            chains: BTreeMap::new(),
            quorate_since: None,
        });
        self.node_event(host, Event::ConfigFile { version, text: conf });
        self.executor_starts(host);
        let delay = self.rng.range(50, 400);
        self.daemon_after(host, delay, DaemonEv::Attach);
    }
}
