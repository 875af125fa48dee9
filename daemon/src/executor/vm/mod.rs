//! The VM executor: carries out this host's work on virtual machines and reports, in the order things happened, what
//! came of it and what its hypervisors show.
//!
//! ```text
//!  Assignments ──► actor ──► one task per service: start, stop, migrate, look
//!                  │   ▲                    │
//!   reports ◄──────┘   └── how it ended ◄───┤
//!  (one queue)         └── agent's notices ◄┴──► libvirt agents
//! ```
//!
//! One [`actor`] owns everything that is known and is the only one that reports, so that reports keep the order of
//! events. Tasks do the waiting. What an event means is decided in [`world`], which is pure.
//!
//! What this module must never do: report "stopped" or "gone" because something could not be asked. Unknown stays
//! unknown until an agent that sees everything says otherwise (design S8). And it never starts or moves anything
//! without asking for quorum right before (S3).

mod actor;
mod definition;
mod job;
mod migrate;
mod start;
mod stop;
mod world;

use super::agent::AgentSettings;
use belay_engine::state::work::Assignments;
use belay_proto::BootId;
use belay_proto::entry::What;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

/// How the executor works.
#[derive(Clone, Debug)]
pub struct VmSettings {
    /// How agents are run.
    pub agent: AgentSettings,
    /// The hypervisor of VMs that name none.
    pub hypervisor: String,
    /// This host's boot, for inventories.
    pub boot: BootId,
    /// How many starts run at once. Each takes CPU and storage from the others; too many and all run out of time.
    pub starts_at_once: usize,
    /// How often hypervisors are asked what runs, as the net below the events.
    pub check_every: Duration,
    /// A hypervisor that does not answer for this long is reported as unknown.
    pub unknown_after: Duration,
    /// How long a domain may run where the state has none before that is reported. An event may be faster than the
    /// entry that explains it.
    pub settle: Duration,
    /// How long reading a definition may take.
    pub definition_within: Duration,
    /// How long an agent may take to list its domains.
    pub list_within: Duration,
    /// How long an ended attempt is waited for beyond what it was granted, before it counts as failed.
    pub slack: Duration,
}

impl VmSettings {
    /// The usual settings.
    #[must_use]
    pub fn new(agent: AgentSettings, hypervisor: impl Into<String>, boot: BootId) -> Self {
        Self {
            agent,
            hypervisor: hypervisor.into(),
            boot,
            starts_at_once: 8,
            check_every: Duration::from_secs(30),
            unknown_after: Duration::from_secs(10),
            settle: Duration::from_millis(500),
            definition_within: Duration::from_secs(10),
            list_within: Duration::from_secs(10),
            slack: Duration::from_secs(30),
        }
    }
}

/// Whether this host is quorate at this very moment.
pub(crate) type Quorate = Arc<dyn Fn() -> bool + Send + Sync>;

/// The VM executor.
#[derive(Debug)]
pub struct VmExecutor;

impl VmExecutor {
    /// Starts it. Must be called within a tokio runtime. `quorate` is asked right before each start and migration.
    /// It ends, its agents with it and no VM, when the handle is dropped or told to.
    #[must_use]
    pub fn spawn(
        settings: VmSettings,
        reports: mpsc::Sender<What>,
        quorate: impl Fn() -> bool + Send + Sync + 'static,
    ) -> VmExecutorHandle {
        let (assignments, incoming) = watch::channel(Assignments::default());
        let actor = actor::Actor::new(settings, reports, Arc::new(quorate));
        let actor = tokio::spawn(actor.run(incoming));
        VmExecutorHandle { assignments, actor }
    }
}

/// Hands work to the executor.
#[derive(Debug)]
pub struct VmExecutorHandle {
    assignments: watch::Sender<Assignments>,
    actor: JoinHandle<()>,
}

impl VmExecutorHandle {
    /// Replaces everything this host has to do and know. Never waits; only the newest list counts.
    pub fn assign(&self, assignments: Assignments) {
        self.assignments.send_replace(assignments);
    }

    /// Ends the executor and waits until its agents are gone, a few seconds at most. Domains run on.
    pub async fn end(self) {
        drop(self.assignments);
        let _ = self.actor.await;
    }
}
