//! What goes into a step of the node and what comes out: the whole border between it and the shell.

use crate::state::work::Assignments;
use belay_proto::control::Verdict;
use belay_proto::entry::{Entry, Request, What};
use belay_proto::history::{HistoryEvent, Severity};
use belay_proto::ring::{RingId, RingMessage};
use belay_proto::{BootId, Incarnation, Index, NodeId, RequestId, Term, Timestamp};

/// The present moment, as the shell measures it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Now {
    /// Milliseconds on a clock that never jumps and goes on during suspend.
    pub mono_ms: u64,
    /// What the host's calendar says.
    pub wall: Timestamp,
}

/// Who this node is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Its id.
    pub node: NodeId,
    /// This life of the host.
    pub boot: BootId,
    /// This life of the daemon.
    pub incarnation: Incarnation,
    /// The software's version, for the history.
    pub software: String,
}

/// Something that happened to this host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The ring's membership changed.
    RingView {
        /// The ring's id.
        ring: RingId,
        /// The members, this one included.
        members: Vec<NodeId>,
        /// The hosts the ring itself contains.
        hosts: Vec<NodeId>,
    },
    /// The ring delivered a message.
    RingMessage {
        /// Who sent it.
        from: NodeId,
        /// What.
        message: RingMessage,
    },
    /// The quorum service spoke.
    RingQuorum {
        /// Of which ring.
        ring: RingId,
        /// Its verdict.
        quorate: bool,
    },
    /// The ring is gone.
    RingDown {
        /// Why.
        reason: String,
    },
    /// The store has everything up to here on disk.
    Persisted {
        /// Which history, as the action said.
        history: History,
        /// The last entry.
        index: Index,
    },
    /// The store has this promise on disk.
    Promised(Term),
    /// The store cannot write; it goes on trying.
    PersistFailed {
        /// Why.
        reason: String,
    },
    /// Somebody asks for something through this host.
    Submit {
        /// The request's id.
        id: RequestId,
        /// Who asks.
        by: String,
        /// What.
        request: Request,
    },
    /// An executor reports.
    Report(What),
    /// The local `cluster.conf`, checked.
    ConfigFile {
        /// Its `config_version`.
        version: u64,
        /// Its text.
        text: String,
    },
    /// The wake-up that was asked for, or any other moment.
    Timer,
    /// The daemon is told to end.
    Leave {
        /// Whether its VMs are stopped first.
        stop_vms: bool,
    },
}

/// Something the shell has to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Send through the ring.
    Propose(RingMessage),
    /// Write entries to the store and report [`Event::Persisted`] when they are on disk.
    Persist(Vec<PersistRecord>),
    /// Replace everything in the store by this snapshot, and report when it is on disk.
    PersistSnapshot {
        /// Of which history.
        history: History,
        /// The last entry it contains.
        index: Index,
        /// Its term.
        term: Term,
        /// The state.
        json: String,
        /// The newest of what happened, as the state remembers it: this host may not have been there.
        events: Vec<HistoryEvent>,
    },
    /// Write down that no term up to this one is opened by this host again, and report [`Event::Promised`]. It outlasts
    /// snapshots.
    Promise(Term),
    /// Hand to the executors. They get the whole list each time.
    Assign(Assignments),
    /// Whether executors may act at all.
    Quorate(bool),
    /// Answer a request that came in through this host.
    Reply {
        /// Which.
        id: RequestId,
        /// The answer.
        verdict: Verdict,
    },
    /// Show these to whoever follows the history.
    Publish(Vec<HistoryEvent>),
    /// Send [`Event::Timer`] at this moment of the monotonic clock, replacing what was asked before.
    WakeAt(u64),
    /// Leave the ring and end.
    LeaveRing,
    /// Tell the host's log.
    Log(Severity, String),
}

/// Counts how often this node's history was replaced by a peer's. The store hands it back, so that an entry of a history
/// that is gone, which reaches the disk late, is not taken for the entry at the same place of the present one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct History(pub u64);

/// An entry for the store.
#[derive(Clone, Debug, PartialEq)]
pub struct PersistRecord {
    /// Of which history.
    pub history: History,
    /// Its position.
    pub index: Index,
    /// The term it was applied in.
    pub term: Term,
    /// The running hash with it.
    pub chain: u64,
    /// The entry.
    pub entry: Entry,
    /// What happened because of it.
    pub events: Vec<HistoryEvent>,
}
