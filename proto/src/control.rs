//! The control interface `io.belay.Cluster`: what `clustat`, `clusvcadm` and `belay` ask the daemon over its socket, in
//! [Varlink](https://varlink.org) (NUL-terminated JSON). The interface's description for introspection is
//! [`INTERFACE`]; these types are its rows.

use crate::code::Code;
use crate::entry::Request;
use crate::history::HistoryEvent;
use crate::ids::{Index, NodeId, OwnershipEpoch, RequestId, ServiceName, Term};
use crate::service::ServiceState;
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};

/// The interface's name.
pub const INTERFACE_NAME: &str = "io.belay.Cluster";

/// Where the daemon listens unless told otherwise.
pub const DEFAULT_SOCKET: &str = "/run/belay/control.sock";

/// The longest message the daemon reads, in bytes. No honest request comes near it.
pub const MAX_MESSAGE_BYTES: usize = 1024 * 1024;

/// What `Status` answers: the whole picture, from this host's own copy of the state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// The cluster's name; empty while there is no configuration.
    pub cluster: String,
    /// `cluster/@config_version`; 0 while there is none.
    pub config_version: u64,
    /// The member that answers.
    pub node: NodeId,
    /// What this daemon is doing.
    pub phase: Phase,
    /// Whether entries are accepted.
    pub quorate: bool,
    /// How often the cluster became quorate.
    pub term: Term,
    /// How many entries this host has applied.
    pub index: Index,
    /// How many of them a majority has on disk.
    pub committed: Index,
    /// Cluster time.
    pub time: Timestamp,
    /// Milliseconds since this host last heard from the ring.
    pub age_ms: u64,
    /// All configured members, ascending by id, then members that are not configured.
    pub members: Vec<MemberStatus>,
    /// All services, in byte order of their names.
    pub services: Vec<ServiceStatus>,
    /// What needs a person, most urgent first: each a sentence with what to do.
    pub alarms: Vec<String>,
}

/// What a daemon is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// It is not in a ring.
    Joining,
    /// Members compare and exchange their states.
    Synchronising,
    /// Entries apply.
    Working,
    /// It is about to leave.
    Leaving,
}

/// One member in the status.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberStatus {
    /// Its id.
    pub id: NodeId,
    /// Its name in `cluster.conf`.
    pub name: String,
    /// Whether its daemon is in the view.
    pub online: bool,
    /// Whether it is this host.
    pub local: bool,
    /// Whether `cluster.conf` names it.
    pub configured: bool,
    /// What the cluster knows of it.
    pub state: MemberState,
    /// One sentence on it: being fenced, waiting for what, since when.
    pub detail: String,
}

/// What the cluster knows of a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MemberState {
    /// Never seen since the cluster formed: it may run anything.
    Unknown,
    /// Its daemon is in the view.
    Online,
    /// Its daemon is gone, and its VMs may run on.
    Lost,
    /// Proven to be off, or to have been restarted.
    Down,
    /// Left on purpose.
    Left,
}

/// One service in the status.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceStatus {
    /// Its name.
    pub name: ServiceName,
    /// Its state.
    pub state: ServiceState,
    /// Whether it is frozen (`Z`).
    pub frozen: bool,
    /// Whether parts of it were left stopped (`P`); a VM has no parts.
    pub partial: bool,
    /// Its owner.
    pub owner: Option<NodeId>,
    /// Its owner before.
    pub last_owner: Option<NodeId>,
    /// How often it was restarted in place within its window.
    pub restarts: u32,
    /// When its state last changed; `None` if it was never started.
    pub transition: Option<Timestamp>,
    /// The epoch of the last decision about it.
    pub epoch: OwnershipEpoch,
    /// What it waits for, if it should run and does not.
    pub waiting: Option<String>,
}

/// Parameters of `Submit`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubmitParameters {
    /// Chosen by the asker. Asking again with the same id gives the same answer and does nothing twice.
    pub id: RequestId,
    /// What is asked.
    pub request: Request,
}

/// What `Submit` answers once the request has taken effect or was rejected.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// The result.
    pub code: Code,
    /// Why, in a sentence; may be empty.
    pub reason: String,
    /// Where the service runs now.
    pub owner: Option<NodeId>,
}

/// Parameters of `Events`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventsParameters {
    /// Only this service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<ServiceName>,
    /// At most this many of the newest events that are already there; 100 if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<u32>,
}

/// What `Events` answers: with `more`, first what is there, then one reply for each new batch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventsReply {
    /// Oldest first.
    pub events: Vec<HistoryEvent>,
}

/// Parameters of `Why`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WhyParameters {
    /// Which service.
    pub service: ServiceName,
}

/// What `Why` answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WhyReply {
    /// The service as it is now.
    pub service: ServiceStatus,
    /// The chain from the first cause to the present state, oldest first.
    pub chain: Vec<HistoryEvent>,
}

/// The errors of the interface, by their last part: `io.belay.Cluster.NoSuchService` and so on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(tag = "error", content = "parameters")]
pub enum ControlError {
    /// The caller may look but not touch.
    #[serde(rename = "io.belay.Cluster.PermissionDenied")]
    #[error("Permission denied: only root and members of group belay may change the cluster")]
    PermissionDenied {},
    /// No such service.
    #[serde(rename = "io.belay.Cluster.NoSuchService")]
    #[error("Service {name} does not exist")]
    NoSuchService {
        /// The name that was asked for.
        name: String,
    },
    /// The daemon cannot take requests now.
    #[serde(rename = "io.belay.Cluster.Unavailable")]
    #[error("{reason}")]
    Unavailable {
        /// Why, and what to do.
        reason: String,
    },
}

/// The interface in Varlink's description language, for `org.varlink.service.GetInterfaceDescription`.
pub const INTERFACE: &str = include_str!("io.belay.Cluster.varlink");
