//! Entries: whatever may change the cluster's mind, as one totally ordered stream.
//!
//! Members propose entries through the ring; every member applies the same ones in the same order to the same state.
//! An entry says what was asked, seen or done. It never says what to do: that is derived from the state.

use crate::facts::{HostFacts, Size};
use crate::ids::{BootId, Incarnation, NodeId, OwnershipEpoch, RequestId, ServiceName, Term};
pub use crate::request::{NodeMode, Request};
use crate::ring::{RingId, RoundId};
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The version of entries and snapshots that this build writes.
pub const ENTRY_VERSION: u16 = 1;

/// One element of the replicated stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// [`ENTRY_VERSION`] of the proposer.
    pub version: u16,
    /// The member that proposed it.
    pub from: NodeId,
    /// The proposer's cluster clock.
    pub time: Timestamp,
    /// What it says.
    pub what: What,
}

/// What an entry says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum What {
    /// A quorate membership view all its members agreed on; it opens a term. Made by each member when the quorum
    /// service has confirmed a finished round, from the same messages; never proposed.
    View(View),
    /// A new `cluster.conf`, verbatim.
    Config {
        /// The file's text, checked by the proposer.
        text: String,
    },
    /// Somebody asked for something.
    Request {
        /// Chosen by the asker: repeating it changes nothing (design S12).
        id: RequestId,
        /// Who asked, for the history (`root`, `uid 1000`).
        by: String,
        /// What was asked.
        request: Request,
    },
    /// A piece of work ended.
    Outcome {
        /// The service it was about.
        service: ServiceName,
        /// The epoch the work was decided in.
        epoch: OwnershipEpoch,
        /// How it ended.
        outcome: WorkOutcome,
    },
    /// The proposer's hypervisor showed something about a service.
    Observation {
        /// The service.
        service: ServiceName,
        /// The service's epoch as the proposer knew it when it saw this.
        epoch: OwnershipEpoch,
        /// What was seen.
        seen: Seen,
    },
    /// Everything that runs on the proposer, after it joined or its hypervisor answered again.
    Inventory {
        /// The proposer's boot.
        boot: BootId,
        /// Names of all domains whose process exists. A domain that is not listed does not run there.
        running: Vec<DomainName>,
    },
    /// What the proposer's host offers to VMs, and how big the domains are that it knows. Said again when it changes.
    Facts {
        /// The host.
        host: HostFacts,
        /// Domains by name; those it does not list keep the size that was last reported.
        domains: BTreeMap<DomainName, Size>,
    },
    /// An attempt to fence, or to switch on again what was fenced, ended.
    FenceOutcome {
        /// Whom.
        victim: NodeId,
        /// Which attempt. Every number is given once for a host, whatever the attempt is to do.
        attempt: u32,
        /// How it ended.
        outcome: FenceOutcome,
    },
    /// The proposer is about to leave the ring on purpose.
    Leave {
        /// Whether it stopped its VMs first; otherwise they keep running without supervision.
        stopped: bool,
    },
    /// A member is in the ring but has not been heard of.
    Silent {
        /// Which member.
        node: NodeId,
        /// Which life of its daemon.
        incarnation: Incarnation,
    },
    /// Time passed.
    Tick,
}

/// A libvirt domain's name.
pub type DomainName = String;

/// The members of a view and what each said of itself when it synchronised.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct View {
    /// The round in which it was agreed.
    pub round: RoundId,
    /// The ring it stands on.
    pub ring: RingId,
    /// The term it opens, a number that was never given to another one; 0 for the next number.
    #[serde(default)]
    pub term: Term,
    /// The members, ascending by node.
    pub members: Vec<Member>,
    /// The hosts that the ring's own membership still contains, daemon or not, ascending. A host in this list whose
    /// daemon is no member is alive.
    pub hosts: Vec<NodeId>,
}

/// One member of a view.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Which node.
    pub node: NodeId,
    /// Which life of its host.
    pub boot: BootId,
    /// Which life of its daemon.
    pub incarnation: Incarnation,
    /// Whether its own state was quorate in a history that is not this one: both sides of a split were quorate, and
    /// this member was on the side that did not win.
    pub diverged: bool,
}

/// How a piece of work on a service ended. "Unknown" is no outcome: whoever does not know keeps looking (design S8).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WorkOutcome {
    /// The domain runs here.
    Started,
    /// The domain does not run here, which was looked at after the failure.
    StartFailed {
        /// A sentence that says what to do about it.
        reason: String,
    },
    /// The domain does not run here any more.
    Stopped,
    /// The domain still runs, or nobody can tell, after everything was tried.
    StopFailed {
        /// What was tried last and what came of it.
        reason: String,
    },
    /// The migration call returned; `ok` is a hint only, both ends are looked at before it is believed (design S10).
    MigrateEnded {
        /// Whether the call said it worked.
        ok: bool,
        /// What it said otherwise.
        reason: String,
    },
    /// What a look at this end of a migration showed.
    Looked {
        /// Whether the domain runs here.
        running: bool,
    },
    /// A copy that should not be here was stopped.
    StrayStopped,
}

/// What a hypervisor showed about a service's domain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Seen {
    /// Its process is gone.
    Gone {
        /// As far as known.
        why: GoneReason,
    },
    /// It runs here although the state says otherwise.
    Running,
    /// Its CPUs stand still, for this reason.
    Paused {
        /// libvirt's word for it (`user`, `ioerror`, …).
        why: String,
    },
    /// It goes on after a pause.
    Resumed,
    /// The guest rebooted itself; the process stays.
    Rebooted,
    /// A disk failed under it.
    IoError {
        /// Which disk and what libvirt reports.
        detail: String,
    },
    /// The hypervisor does not answer: nothing is known, which is never "stopped".
    Unknown {
        /// Why.
        reason: String,
    },
}

/// Why a domain's process is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GoneReason {
    /// The process died: killed, crashed, or destroyed from outside.
    Died,
    /// The guest powered itself off.
    GuestShutdown,
    /// It was found missing, nobody saw why.
    Missing,
    /// Its process ended while libvirt was moving it elsewhere. Not a death: it is to be looked for at both ends
    /// before anything is started.
    Migrated,
}

impl GoneReason {
    /// A few words for it.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::Died => "its process died",
            Self::GuestShutdown => "the guest powered itself off",
            Self::Missing => "it was found not running",
            Self::Migrated => "it left this host by a migration",
        }
    }
}

/// How one attempt to fence a host, or to switch a fenced one on again, ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FenceOutcome {
    /// Every device of a method confirmed that the host is off.
    Confirmed {
        /// The method's name.
        method: String,
        /// The places, in that method, of the devices that are to switch the host on again: the second half of a power
        /// cycle, which is work of its own. Empty where the configuration wants it to stay off.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        switch_on: Vec<u32>,
    },
    /// No method worked.
    Failed {
        /// What each method said, without secrets.
        reason: String,
    },
    /// The host was fenced, and all of its devices have switched it on again.
    SwitchedOn,
    /// The host was fenced, and not all of its devices have switched it on again.
    StaysOff {
        /// What those said that did not, without secrets.
        reason: String,
    },
}
