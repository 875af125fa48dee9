//! What happened and why: the events that `belay events` lists and `belay why` chains together.

use crate::ids::{Index, NodeId, ServiceName};
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Identifies one event: the entry that brought it about, and which of that entry's events it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct EventId {
    /// The entry's position in the stream.
    pub index: Index,
    /// The event's number among those of the same entry, from 0.
    pub part: u32,
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.index, self.part)
    }
}

/// How much an event wants attention; the numbers are syslog's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Somebody must act.
    Critical,
    /// Something went wrong.
    Error,
    /// Something may go wrong.
    Warning,
    /// Worth knowing.
    Notice,
    /// Ordinary.
    Info,
}

/// What kind of thing happened. The word is stable: scripts and alerts select by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EventKind {
    /// The cluster became quorate with these members.
    Quorum,
    /// A configuration was taken or refused.
    Config,
    /// A member joined, left, was lost or came back.
    Member,
    /// Fencing was decided, tried, confirmed, failed or averted.
    Fence,
    /// An administrator asked for something.
    Request,
    /// An agent saw something: a VM that died, a pause, an I/O error.
    Observation,
    /// A service changed its state or its owner.
    Service,
    /// Nothing could be done, and why.
    Blocked,
}

impl EventKind {
    /// The stable word for it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Quorum => "quorum",
            Self::Config => "config",
            Self::Member => "member",
            Self::Fence => "fence",
            Self::Request => "request",
            Self::Observation => "observation",
            Self::Service => "service",
            Self::Blocked => "blocked",
        }
    }
}

/// Which events somebody wants; of what is not given, any.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EventFilter {
    /// Those about this service.
    pub service: Option<ServiceName>,
    /// Those about this member, or seen on it.
    pub node: Option<NodeId>,
    /// Those of this moment and later, in cluster time.
    pub since: Option<Timestamp>,
}

impl EventFilter {
    /// Whether an event is wanted.
    #[must_use]
    pub fn wants(&self, event: &HistoryEvent) -> bool {
        (self.service.is_none() || event.service == self.service)
            && (self.node.is_none() || event.node == self.node)
            && self.since.is_none_or(|since| event.time >= since)
    }
}

/// One thing that happened to the cluster, as every member recorded it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HistoryEvent {
    /// Which event it is.
    pub id: EventId,
    /// When, in cluster time.
    pub time: Timestamp,
    /// What kind of thing.
    pub kind: EventKind,
    /// How much it wants attention.
    pub severity: Severity,
    /// The member it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<NodeId>,
    /// The service it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<ServiceName>,
    /// A sentence for a person.
    pub text: String,
    /// The event that led to this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<EventId>,
}
