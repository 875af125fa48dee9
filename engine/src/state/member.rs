//! What the cluster knows of each host: whether its daemon is in the view, and if not, what its VMs may be doing.

use super::State;
use super::fencing::FencedProof;
use super::history::node_event;
use super::mode::Drain;
use super::switch_on::SwitchOn;
use crate::mutant::{self, Mutant};
use belay_proto::entry::{DomainName, Member};
use belay_proto::history::{EventId, EventKind, Severity};
use belay_proto::{BootId, HostFacts, Incarnation, NodeId, NodeMode, Timestamp};
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
    /// What last happened to it.
    pub last_event: Option<EventId>,
    /// Whether services could be placed on it after the last entry.
    #[serde(default)]
    pub available: bool,
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

impl State {
    /// The host's record; a configured host always has one.
    #[must_use]
    pub fn node(&self, id: NodeId) -> Option<&NodeRecord> {
        self.nodes.get(&id)
    }

    /// The hosts whose daemons are in the view, ascending.
    pub fn online(&self) -> impl Iterator<Item = NodeId> {
        self.nodes.iter().filter(|(_, record)| record.in_view()).map(|(id, _)| *id)
    }

    /// The host's name, or its number.
    #[must_use]
    pub fn node_name(&self, id: NodeId) -> String {
        self.config.as_ref().map_or_else(|| format!("node {id}"), |config| config.node_name(id))
    }

    /// Whether a member of the new view was in the last one, in the same life of its daemon.
    pub(crate) fn stays(&self, member: &Member) -> bool {
        let record = self.nodes.get(&member.node);
        record.is_some_and(|r| r.in_view() && r.incarnation == Some(member.incarnation)) && !member.diverged
    }

    /// A member is in the view: it joined, came back, or stayed.
    pub(crate) fn member_in_view(&mut self, member: &Member) {
        if self.stays(member) {
            return;
        }
        let time = self.time;
        let mut record = self.nodes.remove(&member.node).unwrap_or_else(|| NodeRecord::new(time));
        let same_boot = record.boot.as_ref() == Some(&member.boot) && !mutant::is(Mutant::SameBootIsNewBoot);
        let was = record.standing.clone();
        let known = record.boot.is_some();
        record.boot = Some(member.boot.clone());
        record.incarnation = Some(member.incarnation);
        record.standing = Standing::Online;
        record.since = time;
        record.ready = false;
        record.running.clear();
        record.unverified = !known || member.diverged;
        let text = self.arrival_text(member, &was, known, same_boot);
        let severity = if member.diverged { Severity::Error } else { Severity::Notice };
        let id = self.note(node_event(EventKind::Member, severity, member.node, text), record.last_event);
        record.last_event = Some(id);
        self.nodes.insert(member.node, record);
        if known && !same_boot {
            self.release(member.node, FencedProof::new_boot(id), "was restarted");
        } else {
            self.avert_fencing(member.node, id);
        }
    }

    fn arrival_text(&self, member: &Member, was: &Standing, known: bool, same_boot: bool) -> String {
        let name = self.node_name(member.node);
        if member.diverged {
            return format!("{name} comes from the other side of a split; what it runs against the state is stopped");
        }
        match was {
            Standing::Unknown if !known => format!("{name} joined"),
            Standing::Online | Standing::Leaving { .. } if same_boot => {
                format!("the daemon on {name} was restarted; its VMs were not touched")
            }
            _ if same_boot => format!("{name} is back, without having been restarted"),
            _ => format!("{name} is back after a restart"),
        }
    }

    /// A host that was in the last view is not in this one.
    pub(crate) fn member_gone(&mut self, node: NodeId, host_alive: bool) {
        let Some(record) = self.nodes.get(&node) else { return };
        let name = self.node_name(node);
        let empty = !self.services.values().any(|service| service.phase.may_run_on(node));
        let (standing, severity, text) = match record.standing {
            Standing::Leaving { .. } if empty => {
                (Standing::Left { stopped: true }, Severity::Notice, format!("{name} left; no VM runs there"))
            }
            Standing::Leaving { .. } if host_alive => (
                Standing::Left { stopped: false },
                Severity::Notice,
                format!("{name} left; its VMs keep running there without supervision"),
            ),
            _ if host_alive => (
                Standing::Lost { host_alive },
                Severity::Warning,
                format!("the daemon on {name} is gone, the host is alive"),
            ),
            _ => (Standing::Lost { host_alive }, Severity::Error, format!("{name} is lost; its VMs may still run")),
        };
        let unclean = standing == Standing::Left { stopped: false };
        self.set_standing(node, standing, severity, text);
        if unclean
            && mutant::is(Mutant::LeaveRunningIsClean)
            && let Some(id) = self.nodes.get(&node).and_then(|record| record.last_event)
        {
            self.release(node, FencedProof::new_boot(id), "left");
        }
    }

    /// Changes what is known of a host and records why.
    pub(crate) fn set_standing(&mut self, node: NodeId, standing: Standing, severity: Severity, text: String) {
        let id = self.note(node_event(EventKind::Member, severity, node, text), None);
        let time = self.time;
        let record = self.nodes.entry(node).or_insert_with(|| NodeRecord::new(time));
        record.standing = standing;
        record.since = time;
        record.ready = false;
        record.unverified = false;
        record.last_event = Some(id);
    }
}
