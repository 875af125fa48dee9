//! The node: what one host does on its own account, as a pure machine.
//!
//! It joins, synchronises, proposes, applies, persists and hands out work. The shell around it (tokio in the daemon, the
//! event queue in the simulator) calls [`Node::step`] with everything that happens and carries out the actions that come
//! back, in order. The node never blocks, never waits and never asks what time it is.
//!
//! ```text
//!        RingView              all Hellos in            Quorate in order
//!  out ───────────► syncing ─────────────────► joined ───────────────────► quorate: entries apply
//!   ▲                  ▲                         │ behind: wait for the snapshot first
//!   │ RingDown         └──── RingView ───────────┘
//!   └──── from anywhere
//! ```
//!
//! What must never happen here: an entry applied while inquorate; work handed out that a majority does not have on disk;
//! a request answered before a majority has the answer on disk.

mod commit;
mod proposals;
mod step;
mod sync;
#[cfg(test)]
mod tests;

use crate::mutant::{self, Mutant};
use crate::state::State;
use crate::state::work::Assignments;
use belay_config::Validated;
use belay_proto::control::{Phase, Status, Verdict, WhyReply};
use belay_proto::entry::Entry;
use belay_proto::history::Severity;
use belay_proto::ring::{RingId, RingMessage};
use belay_proto::{Index, NodeId, RequestId, ServiceName, Term, Timestamp};
use commit::Commit;
use proposals::Proposals;
use std::collections::BTreeSet;
pub use step::{Action, Event, History, Identity, Now, PersistRecord};
use sync::{Round, Sync};

/// How often a member says that it is there.
pub const HEARTBEAT_MS: u64 = 1000;
/// After how long without a word a member of the ring counts as silent.
pub const SILENT_AFTER_MS: u64 = 15_000;
/// How long other members give the lowest one to propose a tick.
const TICK_STEP_MS: u64 = 300;

/// One host's part in the cluster.
#[derive(Debug)]
pub struct Node {
    identity: Identity,
    state: State,
    sync: Sync,
    commit: Commit,
    proposals: Proposals,
    /// Requests whose asker waits at this host.
    waiters: BTreeSet<RequestId>,
    /// What the quorum service said last.
    ring_quorum: Option<(RingId, bool)>,
    quorate: bool,
    file: Option<(u64, String)>,
    file_config: Option<Validated>,
    file_offered_in: Option<Term>,
    disk_trouble: Option<String>,
    /// The highest term that it promised to help to open, and what of that is on disk.
    promised: Term,
    promised_on_disk: Term,
    leaving: Option<bool>,
    leave_proposed: bool,
    left: bool,
    /// Cluster time at a moment of the monotonic clock.
    anchor: (u64, Timestamp),
    last_ring_ms: u64,
    heartbeat_due_ms: u64,
    tick_due_ms: u64,
    /// The entry that opened the present term.
    opened: Index,
    assigned: Option<Assignments>,
    assigned_for: Option<(Index, Index)>,
    /// When the state wants to be woken, and for which state that was worked out.
    wake: Option<((History, Index), Option<Timestamp>)>,
    actions: Vec<Action>,
}

impl Node {
    /// A node that has just started, with the state its store had. `persisted` is the last entry of that state.
    #[must_use]
    pub fn new(identity: Identity, state: State, now: Now) -> Self {
        let anchor = (now.mono_ms, now.wall.max(state.time()));
        let (persisted, promised) = (state.index(), state.term());
        Self {
            promised,
            promised_on_disk: promised,
            commit: Commit::new(persisted),
            proposals: Proposals::default(),
            sync: Sync::Out,
            waiters: BTreeSet::new(),
            ring_quorum: None,
            quorate: false,
            file: None,
            file_config: None,
            file_offered_in: None,
            disk_trouble: None,
            leaving: None,
            leave_proposed: false,
            left: false,
            anchor,
            last_ring_ms: now.mono_ms,
            heartbeat_due_ms: now.mono_ms,
            tick_due_ms: now.mono_ms,
            opened: Index(0),
            assigned: None,
            assigned_for: None,
            wake: None,
            actions: Vec::new(),
            identity,
            state,
        }
    }

    /// With what its store says it has promised.
    #[must_use]
    pub fn having_promised(mut self, term: Term) -> Self {
        self.promised = self.promised.max(term);
        self.promised_on_disk = self.promised;
        self
    }

    /// The replicated state as this host has it.
    #[must_use]
    pub fn state(&self) -> &State {
        &self.state
    }

    /// Who this is.
    #[must_use]
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Whether entries apply.
    #[must_use]
    pub fn quorate(&self) -> bool {
        self.quorate
    }

    /// Which history the state is of, for what the store writes.
    #[must_use]
    pub fn history(&self) -> History {
        self.commit.history()
    }

    /// The last entry a majority has on disk.
    #[must_use]
    pub fn committed(&self) -> Index {
        self.commit.committed()
    }

    /// Takes in something that happened and says what to do about it.
    pub fn step(&mut self, now: Now, event: Event) -> Vec<Action> {
        match event {
            Event::RingView { ring, members, hosts } => self.ring_view(now, ring, members, hosts),
            Event::RingMessage { from, message } => self.ring_message(now, from, message),
            Event::RingQuorum { ring, quorate } => self.ring_quorum_says(now, ring, quorate),
            Event::RingDown { reason } => self.ring_down(&reason),
            Event::Persisted { history, index } => self.persisted(history, index),
            Event::Promised(term) => self.promised(now, term),
            Event::PersistFailed { reason } => self.persist_failed(reason),
            Event::Submit { id, by, request } => self.submit(now, id, by, request),
            Event::Report(what) => self.report(now, what),
            Event::ConfigFile { version, text } => self.file_changed(version, text),
            Event::Timer => {}
            Event::Leave { stop_vms } => self.leaving = Some(stop_vms),
        }
        self.offer_config(now);
        self.leave_if_told(now);
        self.keep_time(now);
        self.hand_out();
        std::mem::take(&mut self.actions)
    }

    /// Cluster time: runs with the monotonic clock and is never behind an entry that was applied, so that a jump of the
    /// calendar on one host does not move the cluster's clock.
    fn clock(&self, now: Now) -> Timestamp {
        let (mono, time) = self.anchor;
        Timestamp(time.0.saturating_add(now.mono_ms.saturating_sub(mono)))
    }

    fn ring_message(&mut self, now: Now, from: NodeId, message: RingMessage) {
        self.last_ring_ms = now.mono_ms;
        if let Some(round) = self.sync.round_mut() {
            round.heard.insert(from, now.mono_ms);
        }
        match message {
            RingMessage::Sync { round, ring, hosts } => self.sync_opened(now, from, round, ring, hosts),
            RingMessage::Hello(hello) => self.hello(now, from, hello),
            RingMessage::Snapshot(part) => self.snapshot_part(now, part),
            ordered => self.in_order(now, from, ordered),
        }
    }

    /// Messages that depend on the state wait for the snapshot while this host is behind.
    fn in_order(&mut self, now: Now, from: NodeId, message: RingMessage) {
        let Some(round) = self.sync.joined_mut() else { return };
        if let Some(awaited) = &mut round.awaiting {
            awaited.buffer.push((from, message));
            return;
        }
        match message {
            RingMessage::Quorate { round, term, time } => self.became_quorate(now, from, (round, term), time),
            RingMessage::QuorumLost { round } => self.lost_quorum(now, round),
            RingMessage::Entry(entry) => self.entry(now, from, &entry),
            RingMessage::Persisted { round, index } => self.peer_persisted(from, round, index),
            RingMessage::Sync { .. } | RingMessage::Hello(_) | RingMessage::Snapshot(_) => {}
        }
    }

    fn entry(&mut self, now: Now, from: NodeId, entry: &Entry) {
        let may = self.quorate || mutant::is(Mutant::ApplyInquorate);
        if !may || entry.from != from {
            return;
        }
        self.apply(now, entry);
        if from == self.identity.node {
            self.proposals.delivered(&entry.what);
        }
    }

    fn apply(&mut self, now: Now, entry: &Entry) {
        let events = self.state.apply(entry);
        if self.state.time() > self.clock(now) {
            self.anchor = (now.mono_ms, self.state.time());
        }
        let record = PersistRecord {
            history: self.commit.history(),
            index: self.state.index(),
            term: self.state.term(),
            chain: self.state.chain(),
            entry: entry.clone(),
            events: events.clone(),
        };
        self.actions.push(Action::Persist(vec![record]));
        if !events.is_empty() {
            self.actions.push(Action::Publish(events));
        }
    }

    /// Gives executors what changed, and askers the answers that are safe to give.
    fn hand_out(&mut self) {
        let committed = self.commit.committed();
        let answered: Vec<(RequestId, Verdict)> = self
            .waiters
            .iter()
            .filter_map(|id| {
                let (verdict, at) = self.state.answer_to(id)?;
                let safe = at <= committed || mutant::is(Mutant::AnswerBeforeMajority);
                safe.then(|| (id.clone(), verdict.clone()))
            })
            .collect();
        for (id, verdict) in answered {
            self.waiters.remove(&id);
            self.actions.push(Action::Reply { id, verdict });
        }
        self.answer_forgotten();
        // Until this term's view is on a majority's disks nothing is known to be committed after a snapshot was taken, and
        // the list would lack what the executors are at: they would begin it a second time when it comes back.
        if committed < self.opened {
            return;
        }
        let key = (self.state.index(), committed);
        if !self.quorate || self.assigned_for == Some(key) {
            return;
        }
        self.assigned_for = Some(key);
        let first = self.assigned.is_none();
        let assigned = self.assigned.get_or_insert_default();
        let changed = self.state.assign(self.identity.node, committed, assigned);
        if changed || first {
            self.actions.push(Action::Assign(assigned.clone()));
        }
    }

    /// Entries stop applying. Executors keep their list, so that a change of membership does not cancel what is under
    /// way (the loss of a victim is one!), but begin nothing new: they ask for quorum right before they act.
    fn stop_working(&mut self) {
        self.assigned_for = None;
        if self.quorate {
            self.quorate = false;
            self.actions.push(Action::Quorate(false));
        }
    }

    fn log(&mut self, severity: Severity, text: impl Into<String>) {
        self.actions.push(Action::Log(severity, text.into()));
    }

    fn phase(&self) -> Phase {
        match &self.sync {
            _ if self.leaving.is_some() => Phase::Leaving,
            Sync::Out => Phase::Joining,
            Sync::Syncing(_) => Phase::Synchronising,
            Sync::Joined(round) if round.awaiting.is_some() => Phase::Synchronising,
            Sync::Joined(_) => Phase::Working,
        }
    }

    /// The whole picture for people, from this host's own copy of the state.
    #[must_use]
    pub fn status(&self, now: Now) -> Status {
        let state = &self.state;
        let mut alarms = state.alarms();
        if let Some(reason) = &self.disk_trouble {
            alarms.insert(0, format!("this host cannot write its store, so it acknowledges nothing: {reason}"));
        }
        if let Some(why) = self.sync.round().and_then(|round| round.trouble.clone()) {
            alarms.insert(0, why);
        }
        let present: Vec<NodeId> = self.sync.members().to_vec();
        let mut members = state.member_statuses(self.identity.node);
        for member in &mut members {
            // The state's members are those of the last quorate view; without quorum only the ring knows who is there.
            if !self.quorate {
                member.online = present.contains(&member.id);
            }
        }
        Status {
            cluster: state.config().map(|config| config.name.clone()).unwrap_or_default(),
            config_version: state.config().map_or(0, |config| config.version),
            node: self.identity.node,
            phase: self.phase(),
            quorate: self.quorate,
            term: state.term(),
            index: state.index(),
            committed: self.commit.committed(),
            time: self.clock(now),
            age_ms: now.mono_ms.saturating_sub(self.last_ring_ms),
            locked: state.locked(),
            disarmed: state.disarmed().cloned(),
            members,
            services: state.service_statuses(),
            alarms,
        }
    }

    /// How a service came to be in its state.
    #[must_use]
    pub fn why(&self, service: &ServiceName) -> Option<WhyReply> {
        self.state.why(service)
    }

    fn round(&self) -> Option<&Round> {
        self.sync.round()
    }
}
