//! One service's record: its phase, the decision it stands on, and what is left to try.
//!
//! [`Phase`] is what the engine decides by; the state that `clustat` shows is derived from it. Each decision
//! (`decision.rs`) takes a new epoch, so that the outcome of an earlier one cannot be taken for the outcome of this one.

use super::fencing::proof::FencedProof;
use super::guard::tripped::Tripped;
use belay_proto::entry::GoneReason;
use belay_proto::history::HistoryEvent;
use belay_proto::{Index, NodeId, OwnershipEpoch, RequestId, ServiceState, Size, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// What a service is doing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Phase {
    /// Runs nowhere.
    Stopped {
        /// Whether and when it should be started again.
        wanted: Wanted,
    },
    /// Runs nowhere, and stays so until an administrator enables it.
    Disabled,
    /// A stop failed: nobody knows what is left of it.
    Failed {
        /// Where that was.
        at: NodeId,
    },
    /// Its owner was told to start it.
    Starting {
        /// Who.
        owner: NodeId,
    },
    /// It runs on its owner.
    Started {
        /// Who.
        owner: NodeId,
    },
    /// Its owner was told to stop it.
    Stopping {
        /// Who.
        owner: NodeId,
        /// What comes after.
        then: AfterStop,
    },
    /// It is on its way between two hosts.
    Migrating {
        /// Where it ran.
        from: NodeId,
        /// Where it goes.
        to: NodeId,
        /// How far that is.
        stage: MigrationStage,
    },
}

/// How far a migration is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum MigrationStage {
    /// The source is moving it.
    Moving,
    /// The call ended; both ends are asked what they have.
    Looking {
        /// Whether it runs at the source.
        source: Option<bool>,
        /// Whether it runs at the target.
        target: Option<bool>,
    },
}

/// When a stopped service should be started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Wanted {
    /// As soon as there is a place.
    Now,
    /// An administrator stopped it: at the next change of membership.
    AtNextView,
    /// Its host was lost while the cluster was disarmed: when it is armed again.
    WhenArmed,
}

/// What follows a stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum AfterStop {
    /// Stays stopped until the next change of membership.
    Stop,
    /// Stays disabled.
    Disable {
        /// Even when the stop fails: the way out of `failed`.
        even_if_failed: bool,
    },
    /// Is started again.
    Start {
        /// Rather here.
        wish: Option<NodeId>,
        /// Anywhere but here, unless nothing else works.
        avoid: Option<NodeId>,
    },
}

impl Phase {
    /// The state people are shown.
    #[must_use]
    pub fn shown(&self) -> ServiceState {
        match self {
            Self::Stopped { .. } => ServiceState::Stopped,
            Self::Disabled => ServiceState::Disabled,
            Self::Failed { .. } => ServiceState::Failed,
            Self::Starting { .. } => ServiceState::Starting,
            Self::Started { .. } => ServiceState::Started,
            Self::Stopping { .. } => ServiceState::Stopping,
            Self::Migrating { .. } => ServiceState::Migrating,
        }
    }

    /// The member that has it now.
    #[must_use]
    pub fn owner(&self) -> Option<NodeId> {
        match self {
            Self::Starting { owner } | Self::Started { owner } | Self::Stopping { owner, .. } => Some(*owner),
            Self::Migrating { from, .. } => Some(*from),
            Self::Stopped { .. } | Self::Disabled | Self::Failed { .. } => None,
        }
    }

    /// Whether the state allows for a copy on this host.
    #[must_use]
    pub fn may_run_on(&self, node: NodeId) -> bool {
        self.hosts().contains(&Some(node))
    }

    /// The hosts on which the state allows for a copy, each once.
    #[must_use]
    pub fn hosts(&self) -> [Option<NodeId>; 2] {
        match self {
            Self::Starting { owner } | Self::Started { owner } | Self::Stopping { owner, .. } => [Some(*owner), None],
            Self::Failed { at } => [Some(*at), None],
            Self::Migrating { from, to, .. } => [Some(*from), Some(*to).filter(|to| to != from)],
            Self::Stopped { .. } | Self::Disabled => [None, None],
        }
    }

    /// Whether nothing is being done with it, so that the next request can be looked at.
    #[must_use]
    pub fn rests(&self) -> bool {
        matches!(self, Self::Stopped { .. } | Self::Disabled | Self::Failed { .. } | Self::Started { .. })
    }
}

/// A copy seen where the state has none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Rival {
    /// The owner is asked whether it still has its own: an administrator may have moved it.
    AskingOwner,
    /// The owner has its own, which is the one that lives; this one is being destroyed.
    BeingStopped,
    /// Shown, and left alone for now: the service is disabled, failed, frozen, or its owner is busy with it.
    Tolerated,
}

/// What is left to try for a service that should run and does not.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Search {
    /// Where a start failed in this round.
    pub tried: BTreeSet<NodeId>,
    /// Where it should be started rather.
    pub wish: Option<NodeId>,
    /// Where it should be started only if nothing else works.
    pub avoid: Option<NodeId>,
    /// How many rounds through all members have failed.
    pub rounds: u32,
    /// When the next round begins.
    pub retry_at: Option<Timestamp>,
    /// What the last failed start said.
    pub last_failure: Option<String>,
}

/// What a service's record remembers of its moves.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Moves {
    /// Where an administrator's request wants it, once it is its turn.
    pub asked: Option<NodeId>,
    /// Where it could not be moved to.
    pub failed: BTreeSet<NodeId>,
    /// What the last failed migration said.
    pub failure: Option<String>,
    /// How often all members were tried in vain.
    pub rounds: u32,
    /// When they are tried again.
    pub retry_at: Option<Timestamp>,
    /// Why it has not been moved yet, if it should be.
    pub waits: Option<MoveWait>,
}

/// Why a move has not begun.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum MoveWait {
    /// It will begin by itself.
    Turn(String),
    /// Something else has to happen first.
    Blocked(String),
}

impl MoveWait {
    /// The reason.
    #[must_use]
    pub fn words(&self) -> &str {
        match self {
            Self::Turn(text) | Self::Blocked(text) => text,
        }
    }
}

/// An end of a migration that is gone and proven to run nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LostEnd {
    /// Which.
    pub(super) node: NodeId,
    /// How that was proven.
    pub(super) proof: FencedProof,
    /// The same in words: "was fenced".
    pub(super) words: String,
}

/// One service.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ServiceRecord {
    /// What it is doing.
    pub phase: Phase,
    /// It is left untouched: an administrator wants it so, or a guard went off.
    pub frozen: bool,
    /// Belay has frozen it by itself, since a decision about it would have broken a promise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tripped: Option<Tripped>,
    /// Who had it before.
    pub last_owner: Option<NodeId>,
    /// The number of the last decision.
    pub epoch: OwnershipEpoch,
    /// The entry that made it.
    pub decided: Index,
    /// When the phase last changed; never, if it was never started since the record was made.
    pub transition: Option<Timestamp>,
    /// When it was restarted in place, within the window.
    pub restarts: Vec<Timestamp>,
    /// The search for a place.
    pub search: Search,
    /// The request that is being carried out.
    pub request: Option<RequestId>,
    /// Requests that wait for their turn, oldest first.
    pub queue: Vec<RequestId>,
    /// Copies seen elsewhere.
    pub rivals: BTreeMap<NodeId, Rival>,
    /// Hosts where a copy may have been left behind by a stop that failed. It is started nowhere else until each has
    /// said that it is not there.
    pub suspects: BTreeSet<NodeId>,
    /// The end of its migration that is gone and proven to run nothing. If it turns out that it runs at the other end
    /// neither, it was lost with this one.
    #[serde(default)]
    pub lost_end: Option<LostEnd>,
    /// Why it does not run although it should.
    pub waiting: Option<String>,
    /// What its hypervisor reports: paused, an I/O error, not answering.
    pub trouble: Option<String>,
    /// It died while it was frozen.
    pub died_frozen: bool,
    /// The members that have not said yet whether they have it: it left its owner, or nothing is known of it yet.
    pub sought: BTreeSet<NodeId>,
    /// How its owner's copy ended, as long as that is not settled: while it is sought, when it was frozen, and when it
    /// failed because it was moved to where nobody sees it.
    #[serde(default)]
    pub ended: Option<GoneReason>,
    /// Until when it is sought; for as long as it takes if there is no such moment.
    #[serde(default)]
    pub sought_until: Option<Timestamp>,
    /// How big its domain is, as it was last reported.
    #[serde(default)]
    pub size: Option<Size>,
    /// Where it ran before its host went into maintenance: it is brought back there.
    #[serde(default)]
    pub home: Option<NodeId>,
    /// What is known of its moves.
    #[serde(default)]
    pub moves: Moves,
    /// It has a place, and waits for its turn to be started there.
    #[serde(default)]
    pub waits_turn: bool,
    /// Better hosts that have come since it was placed, to which it was not moved yet.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub drawn_to: BTreeSet<NodeId>,
    /// How it came to be in its state, oldest first.
    pub chain: Vec<HistoryEvent>,
}

impl ServiceRecord {
    pub(crate) fn new(phase: Phase) -> Self {
        Self {
            phase,
            frozen: false,
            tripped: None,
            last_owner: None,
            epoch: OwnershipEpoch(0),
            decided: Index(0),
            transition: None,
            restarts: Vec::new(),
            search: Search::default(),
            request: None,
            queue: Vec::new(),
            rivals: BTreeMap::new(),
            suspects: BTreeSet::new(),
            lost_end: None,
            waiting: None,
            trouble: None,
            died_frozen: false,
            sought: BTreeSet::new(),
            ended: None,
            sought_until: None,
            size: None,
            home: None,
            moves: Moves::default(),
            waits_turn: false,
            drawn_to: BTreeSet::new(),
            chain: Vec::new(),
        }
    }

    /// An end of its migration is gone. That of the source counts more: it ran there.
    pub(super) fn lose_end(&mut self, lost: LostEnd, source: NodeId) {
        if self.lost_end.is_none() || lost.node == source {
            self.lost_end = Some(lost);
        }
    }

    /// When the engine should look at it again.
    pub(crate) fn retry_at(&self) -> Option<Timestamp> {
        match self.phase {
            Phase::Stopped { wanted: Wanted::Now } if !self.frozen => self.search.retry_at,
            _ => None,
        }
    }

    /// Whether there is anything about its moves to look at.
    pub(crate) fn minds_moves(&self) -> bool {
        self.home.is_some() || self.moves != Moves::default()
    }
}
