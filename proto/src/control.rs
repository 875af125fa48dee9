//! The control interface `io.belay.Cluster`: what `clustat`, `clusvcadm` and `belay` ask the daemon over its socket, in
//! [Varlink](https://varlink.org) (NUL-terminated JSON). The interface's description for introspection is
//! [`INTERFACE`]; these types are its rows.

use crate::code::Code;
use crate::history::{EventFilter, HistoryEvent};
use crate::ids::{Index, NodeId, OwnershipEpoch, RequestId, ServiceName, Term};
use crate::request::{NodeMode, Request};
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
    /// Whether services are locked (`clusvcadm -l`): nothing is started or recovered.
    #[serde(default)]
    pub locked: bool,
    /// Set while the cluster is disarmed: nothing is fenced or recovered.
    #[serde(default)]
    pub disarmed: Option<Disarmed>,
    /// All configured members, ascending by id, then members that are not configured.
    pub members: Vec<MemberStatus>,
    /// All services, in byte order of their names.
    pub services: Vec<ServiceStatus>,
    /// What needs a person, most urgent first: each a sentence with what to do.
    pub alarms: Vec<String>,
}

/// A time in which nothing is fenced or recovered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Disarmed {
    /// When it ends by itself.
    pub until: Timestamp,
    /// Why.
    pub reason: String,
    /// Who asked for it.
    pub by: String,
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
    /// What it is used for.
    #[serde(default)]
    pub mode: NodeMode,
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
    /// Copies that run where the state has none, ascending by node.
    #[serde(default)]
    pub copies: Vec<Copy>,
}

/// A copy of a service where it should not be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Copy {
    /// Where it runs.
    pub node: NodeId,
    /// What is done about it.
    pub fate: CopyFate,
}

/// What is done about a copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CopyFate {
    /// The owner is asked whether it has one too. If it has, this one is destroyed; if not, this is the service now.
    AskingOwner,
    /// It is being destroyed: the owner's lives.
    BeingDestroyed,
    /// Its host is asked whether it is still there; then it is the service now.
    BeingAdopted,
    /// Nothing, for now or until an administrator decides.
    LeftAlone,
}

impl CopyFate {
    /// A few words for it.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::AskingOwner => "is doubtful, and its owner is asked",
            Self::BeingDestroyed => "is being destroyed",
            Self::BeingAdopted => "is to be looked after there if it still runs",
            Self::LeftAlone => "is left alone",
        }
    }
}

/// Parameters of `Submit`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubmitParameters {
    /// Chosen by the asker. Asking again with the same id gives the same answer and does nothing twice.
    pub id: RequestId,
    /// What is asked.
    #[serde(deserialize_with = "the_one_that_is_set")]
    pub request: Request,
}

/// In Varlink a request is an object of which one field is set; clients with fixed types send the others as `null`,
/// which serde's reading of an enum would refuse.
fn the_one_that_is_set<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Request, D::Error> {
    let mut fields = serde_json::Map::<String, serde_json::Value>::deserialize(deserializer)?;
    fields.retain(|_, value| !value.is_null());
    serde_json::from_value(serde_json::Value::Object(fields)).map_err(serde::de::Error::custom)
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
    /// Only this member, and what was seen on it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<NodeId>,
    /// Only what happened then or later, in cluster time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// At most this many of the newest events that are already there; 100 if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<u32>,
}

impl EventsParameters {
    /// What they say about the events that are wanted, now and later.
    #[must_use]
    pub fn filter(&self) -> EventFilter {
        EventFilter { service: self.service.clone(), node: self.node, since: self.since }
    }
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
    /// What speaks for and against each host as its place, ascending by node.
    #[serde(default)]
    pub hosts: Vec<HostVerdict>,
}

/// What placement says of a host for a service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostVerdict {
    /// Which host.
    pub node: NodeId,
    /// What keeps the service from it, in a sentence; empty if nothing does.
    pub obstacle: String,
}

/// What `Snapshot` answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotReply {
    /// The whole replicated state as this host has it, as members exchange it. It holds the configuration, and with it
    /// the passwords of fence devices.
    pub snapshot: String,
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
    /// What arrived is no call, or is longer than [`MAX_MESSAGE_BYTES`]; the connection is closed after this.
    #[serde(rename = "io.belay.Cluster.InvalidMessage")]
    #[error("{reason}")]
    InvalidMessage {
        /// What is wrong with it.
        reason: String,
    },
}

/// The interface in Varlink's description language, for `org.varlink.service.GetInterfaceDescription`.
pub const INTERFACE: &str = include_str!("io.belay.Cluster.varlink");

#[cfg(test)]
mod tests {
    use super::*;

    fn submit(request: &str) -> Result<Request, serde_json::Error> {
        let text = format!(r#"{{"id":"1","request":{request}}}"#);
        serde_json::from_str::<SubmitParameters>(&text).map(|parameters| parameters.request)
    }

    #[test]
    fn a_request_is_an_object_with_one_field_set() {
        let service: ServiceName = "vm:web1".parse().unwrap();
        let enable = Request::Enable { service: service.clone(), target: None, by_domain: false };
        assert_eq!(submit(r#"{"enable":{"service":"vm:web1"}}"#).unwrap(), enable);
        let explicit = r#"{"enable":{"service":"vm:web1","target":null},"disable":null,"acknowledge_fence":null}"#;
        assert_eq!(submit(explicit).unwrap(), enable);
        let migrate = Request::Migrate { service, target: NodeId(2) };
        assert_eq!(submit(r#"{"migrate":{"service":"vm:web1","target":2}}"#).unwrap(), migrate);
    }

    #[test]
    fn a_request_with_no_field_set_or_with_two_is_refused() {
        for bad in [
            "{}",
            r#"{"enable":null}"#,
            r#"{"enable":{"service":"vm:a"},"stop":{"service":"vm:a"}}"#,
            r#"{"explode":{"service":"vm:a"}}"#,
            r#""enable""#,
        ] {
            assert!(submit(bad).is_err(), "{bad}");
        }
    }
}
