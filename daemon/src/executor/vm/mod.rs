//! The VM executor: carries out what [`VmDriver`](belay_driver::vm::VmDriver) decides, with real agents, files and time.
//!
//! ```text
//!  Assignments ──► shell ◄──────► VmDriver (pure): what to ask, what an answer means
//!                  │   ▲
//!   reports ◄──────┘   └── answers, notices ◄── one task a call ◄──► libvirt agents, definitions
//!  (one queue)
//! ```
//!
//! One task owns the driver and is the only one that reports, so that reports keep the order of events. Calls are tasks
//! of their own, which do the waiting.
//!
//! What this module must never do: answer a call that was not answered with anything but "unknown" (design S8), or make
//! one that needs quorum without asking for it right before (S3).

mod actor;
mod definition;

use super::agent::AgentSettings;
use belay_driver::vm::Settings;
use belay_engine::state::work::Assignments;
use belay_proto::BootId;
use belay_proto::entry::What;
use std::sync::Arc;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

/// How the executor works.
#[derive(Clone, Debug)]
pub struct VmSettings {
    /// How agents are run.
    pub agent: AgentSettings,
    /// How work is done with them.
    pub driver: Settings,
}

impl VmSettings {
    /// The usual settings.
    #[must_use]
    pub fn new(agent: AgentSettings, hypervisor: impl Into<String>, boot: BootId) -> Self {
        Self { agent, driver: Settings::new(hypervisor, boot) }
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
