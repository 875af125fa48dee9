//! What the cluster knows of each host: whether its daemon is in the view, and if not, what its VMs may be doing.

use super::fencing::owed::SwitchOn;
use super::fencing::proof::FencedProof;
use super::guard::tripped::Tripped;
use crate::mutant::{self, Mutant};
use belay_proto::entry::DomainName;
use belay_proto::history::EventId;
use belay_proto::{BootId, HostFacts, Incarnation, NodeMode, RequestId, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// One host.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NodeRecord {
    /// What is known of it.
    pub standing: Standing,
    /// When that began.
    pub since: Timestamp,
    /// The last life of the host that was in a view.
    pub boot: Option<BootId>,
    /// That life is proven to have ended, and no other one has been in a view since.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub ended: bool,
    /// The last life of its daemon that was in a view.
    pub incarnation: Option<Incarnation>,
    /// Whether its hypervisor has said what runs there since its daemon came into the view. Until then nothing is
    /// placed on it, since nobody could tell what came of it.
    pub ready: bool,
    /// It came into the view without anything being known of its past, and has not said what it runs: any service might
    /// run there.
    pub unverified: bool,
    /// The managed domains it said it runs that the state did not expect there are handled at once; this is the last
    /// full list, for the status.
    pub running: BTreeSet<DomainName>,
    /// Domains that ran here when they were taken out of the configuration: they were left running, and nobody looks after
    /// them.
    #[serde(default)]
    pub left_behind: BTreeSet<DomainName>,
    /// How many times its fencing was attempted, over all its losses: attempt numbers are never used twice, so a late
    /// report of an earlier loss cannot pass for a proof of this one.
    pub fence_attempts: u32,
    /// The second half of a power cycle, while it is off because it was fenced.
    #[serde(default)]
    pub switch_on: Option<SwitchOn>,
    /// What it is used for.
    #[serde(default)]
    pub mode: NodeMode,
    /// Why.
    #[serde(default)]
    pub mode_reason: String,
    /// The event that made it so.
    #[serde(default)]
    pub mode_event: Option<EventId>,
    /// How far it is emptied, while it is not active.
    #[serde(default)]
    pub drain: Option<Drain>,
    /// What it offers to VMs, as it said.
    #[serde(default)]
    pub facts: Option<HostFacts>,
    /// A decision about it that would have broken a promise, and was not carried out. Kept for people to see until it next
    /// joins or is proven down.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<Tripped>,
    /// What last happened to it.
    pub last_event: Option<EventId>,
    /// Whether services could be placed on it after the last entry.
    #[serde(default)]
    pub available: bool,
}

/// How far the emptying of a host is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Drain {
    /// The request that waits for the end of it.
    pub request: Option<RequestId>,
    /// The event that began it.
    pub cause: EventId,
    /// When the request is answered at the latest, unless something moves before.
    pub deadline: Timestamp,
    /// Nothing is left on the host.
    pub empty: bool,
    /// What is in the way, as it was last told.
    pub blocked: Option<String>,
}

/// What is known of a host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Standing {
    /// Never seen since the cluster formed: it may run anything.
    Unknown,
    /// Its daemon is in the view.
    Online,
    /// Its daemon is in the view and about to leave it.
    Leaving {
        /// Whether it stopped its VMs.
        stopped: bool,
    },
    /// Its daemon is gone. Its VMs may run on.
    Lost {
        /// Whether the host itself still shows signs of life.
        host_alive: bool,
    },
    /// It runs nothing, which is proven.
    Down(FencedProof),
    /// Its daemon left on purpose.
    Left {
        /// Whether it stopped its VMs first; otherwise they run on without supervision.
        stopped: bool,
    },
}

impl NodeRecord {
    pub(crate) fn new(time: Timestamp) -> Self {
        Self {
            standing: Standing::Unknown,
            since: time,
            boot: None,
            ended: false,
            incarnation: None,
            ready: false,
            unverified: false,
            running: BTreeSet::new(),
            left_behind: BTreeSet::new(),
            fence_attempts: 0,
            switch_on: None,
            mode: NodeMode::Active,
            mode_reason: String::new(),
            mode_event: None,
            drain: None,
            facts: None,
            refused: None,
            last_event: None,
            available: false,
        }
    }

    /// Whether its daemon is in the view.
    #[must_use]
    pub fn in_view(&self) -> bool {
        matches!(self.standing, Standing::Online | Standing::Leaving { .. })
    }

    /// Whether services may be placed on it.
    #[must_use]
    pub fn takes_services(&self) -> bool {
        let active = self.mode == NodeMode::Active || mutant::is(Mutant::MaintenanceIsForgotten);
        self.standing == Standing::Online && self.ready && active
    }
}
