//! What administrators can ask of the cluster.

use crate::ids::{NodeId, ServiceName};
use crate::time::Span;
use serde::{Deserialize, Serialize};

/// What an administrator can ask for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Request {
    /// Start it, and keep it running (`clusvcadm -e`).
    Enable {
        /// What.
        service: ServiceName,
        /// Where, if it matters (`-m`).
        #[serde(default, skip_serializing_if = "Option::is_none")]
        target: Option<NodeId>,
        /// On the best member by its failover domain, rather than on the one where it was typed (`-F`).
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        by_domain: bool,
    },
    /// Stop it, and keep it stopped (`-d`).
    Disable {
        /// What.
        service: ServiceName,
    },
    /// Stop it until something gives a reason to start it again (`-s`).
    Stop {
        /// What.
        service: ServiceName,
    },
    /// Stop it and start it where it was (`-R`).
    Restart {
        /// What.
        service: ServiceName,
    },
    /// Stop it and start it elsewhere (`-r`).
    Relocate {
        /// What.
        service: ServiceName,
        /// Where, if it matters (`-m`).
        #[serde(default, skip_serializing_if = "Option::is_none")]
        target: Option<NodeId>,
    },
    /// Move it without a stop (`-M`).
    Migrate {
        /// What.
        service: ServiceName,
        /// Where.
        target: NodeId,
    },
    /// Leave it untouched until unfrozen (`-Z`).
    Freeze {
        /// What.
        service: ServiceName,
    },
    /// Manage it again (`-U`).
    Unfreeze {
        /// What.
        service: ServiceName,
    },
    /// Start again the parts that were left stopped (`-c`).
    Convalesce {
        /// What.
        service: ServiceName,
    },
    /// Start nothing and recover nothing until unlocked (`-l`).
    Lock {},
    /// Go on (`-u`).
    Unlock {},
    /// Take a host out of service, or back into it.
    SetMode {
        /// Which host.
        node: NodeId,
        /// What it is to be.
        mode: NodeMode,
        /// Why, for whoever asks later; may be empty.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        reason: String,
    },
    /// Fence and recover nothing for a time, for work on the network.
    Disarm {
        /// For how long: it arms itself again.
        span: Span,
        /// Why, shown everywhere meanwhile.
        reason: String,
    },
    /// End a disarmed time early.
    Arm {},
    /// A person vouches that this host is off (`belay ack-fence`): the manual proof of design S2.
    AcknowledgeFence {
        /// Which host.
        node: NodeId,
    },
}

impl Request {
    /// The service it is about, if any.
    #[must_use]
    pub fn service(&self) -> Option<&ServiceName> {
        match self {
            Self::Enable { service, .. }
            | Self::Disable { service }
            | Self::Stop { service }
            | Self::Restart { service }
            | Self::Relocate { service, .. }
            | Self::Migrate { service, .. }
            | Self::Freeze { service }
            | Self::Unfreeze { service }
            | Self::Convalesce { service } => Some(service),
            Self::Lock {}
            | Self::Unlock {}
            | Self::SetMode { .. }
            | Self::Disarm { .. }
            | Self::Arm {}
            | Self::AcknowledgeFence { .. } => None,
        }
    }

    /// The verb for it, as the commands name it.
    #[must_use]
    pub fn verb(&self) -> &'static str {
        match self {
            Self::Enable { .. } => "enable",
            Self::Disable { .. } => "disable",
            Self::Stop { .. } => "stop",
            Self::Restart { .. } => "restart",
            Self::Relocate { .. } => "relocate",
            Self::Migrate { .. } => "migrate",
            Self::Freeze { .. } => "freeze",
            Self::Unfreeze { .. } => "unfreeze",
            Self::Convalesce { .. } => "convalesce",
            Self::Lock {} => "lock",
            Self::Unlock {} => "unlock",
            Self::SetMode { mode, .. } => mode.verb(),
            Self::Disarm { .. } => "disarm",
            Self::Arm {} => "arm",
            Self::AcknowledgeFence { .. } => "acknowledge fencing",
        }
    }
}

/// What a host is used for. It outlives restarts of the host and of the whole cluster.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NodeMode {
    /// It runs VMs.
    #[default]
    Active,
    /// Its VMs are moved away, as alive as they can be, and are brought back when it is active again.
    Maintenance,
    /// It takes no new VMs and loses those it has, like a host in maintenance, but nothing is brought back.
    Standby,
}

impl NodeMode {
    /// The verb for bringing a host into it.
    #[must_use]
    pub fn verb(self) -> &'static str {
        match self {
            Self::Active => "put into service",
            Self::Maintenance => "put into maintenance",
            Self::Standby => "put into standby",
        }
    }

    /// The word for it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Maintenance => "maintenance",
            Self::Standby => "standby",
        }
    }
}
