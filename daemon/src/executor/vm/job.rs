//! One piece of work on one service, as a task of its own.
//!
//! A task asks its agent, waits, and asks again until it knows how the work ended. Where it cannot know and the work is
//! not wanted any more, it ends without an outcome: whatever comes next looks for itself.

use super::definition::Definitions;
use super::{Quorate, VmSettings};
use crate::executor::agent::Agent;
use belay_config::model::Vm;
use belay_engine::state::work::{Work, WorkKind};
use belay_proto::agent::{Fault, FaultKind};
use belay_proto::entry::WorkOutcome;
use belay_proto::{OwnershipEpoch, ServiceName};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio::time::{Instant, sleep};

/// The first pause between attempts; it doubles up to [`PAUSE_LONGEST`].
const PAUSE: Duration = Duration::from_millis(200);
const PAUSE_LONGEST: Duration = Duration::from_secs(5);
/// The longest reason that goes into the replicated history.
const REASON: usize = 2000;

/// The kinds of work, as part of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Start,
    Stop,
    Migrate,
    Look,
    StopStray,
}

/// Identifies a piece of work: it is done once.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    pub(super) service: ServiceName,
    pub(super) epoch: OwnershipEpoch,
    pub(super) kind: Kind,
}

/// What a piece of work asks for.
#[derive(Clone, Debug)]
pub(super) struct Task {
    pub(super) key: Key,
    pub(super) vm: Vm,
    /// The target's name, for a migration.
    pub(super) to_name: String,
}

impl Task {
    /// The task of a piece of work, if it is one for this executor.
    pub(super) fn of(work: &Work) -> Option<Self> {
        let (kind, vm, to_name) = match &work.what {
            WorkKind::Start(vm) => (Kind::Start, vm, ""),
            WorkKind::Stop(vm) => (Kind::Stop, vm, ""),
            WorkKind::Migrate { vm, to_name, .. } => (Kind::Migrate, vm, to_name.as_str()),
            WorkKind::Look(vm) => (Kind::Look, vm, ""),
            WorkKind::StopStray(vm) => (Kind::StopStray, vm, ""),
            WorkKind::Fence(_) => return None,
        };
        let key = Key { service: vm.service.clone(), epoch: vm.epoch, kind };
        Some(Self { key, vm: vm.vm.clone(), to_name: to_name.to_owned() })
    }
}

/// Whether a task's work is still listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// It is.
    Wanted,
    /// It is not: nothing new may be begun for it.
    Unlisted,
    /// Other work on the same service waits for its end.
    Superseded,
}

/// A task that cannot tell what runs, for status to show.
#[derive(Debug)]
pub(super) struct Trouble {
    pub(super) service: ServiceName,
    pub(super) epoch: OwnershipEpoch,
    pub(super) reason: String,
}

/// How a task ended.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) service: ServiceName,
    pub(super) epoch: OwnershipEpoch,
    pub(super) domain: String,
    pub(super) uri: String,
    /// What to report; nothing if the work was dropped before its outcome was known.
    pub(super) outcome: Option<WorkOutcome>,
    /// The process, if the domain runs.
    pub(super) pid: Option<u32>,
}

/// An outcome and the process that runs.
pub(super) type End = (Option<WorkOutcome>, Option<u32>);

/// The end of work that is dropped.
pub(super) const DROPPED: End = (None, None);

/// What a look showed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Sight {
    Running(Option<u32>),
    Absent,
    Unknown(String),
}

/// A task with all it needs.
pub(super) struct Job {
    pub(super) task: Task,
    pub(super) agent: Agent,
    pub(super) standing: watch::Receiver<Standing>,
    pub(super) quorate: Quorate,
    pub(super) starts: Arc<Semaphore>,
    pub(super) stops: Arc<Semaphore>,
    pub(super) definitions: Definitions,
    pub(super) settings: Arc<VmSettings>,
    pub(super) troubles: mpsc::UnboundedSender<Trouble>,
}

impl Job {
    /// Runs it to its end.
    pub(super) async fn run(mut self) -> Ended {
        tracing::debug!(service = %self.task.key.service, kind = ?self.task.key.kind, "work begins");
        let (outcome, pid) = match self.task.key.kind {
            Kind::Start => self.start().await,
            Kind::Stop => self.stop().await,
            Kind::Migrate => self.migrate().await,
            Kind::Look => self.look_and_tell().await,
            Kind::StopStray => self.stop_stray().await,
        };
        tracing::debug!(service = %self.task.key.service, kind = ?self.task.key.kind, ?outcome, "work ended");
        Ended {
            service: self.task.key.service,
            epoch: self.task.key.epoch,
            domain: self.task.vm.name,
            uri: self.agent.uri().to_owned(),
            outcome: outcome.map(bounded),
            pid,
        }
    }

    pub(super) fn domain(&self) -> &str {
        &self.task.vm.name
    }

    pub(super) fn wanted(&self) -> bool {
        *self.standing.borrow() == Standing::Wanted
    }

    /// A place among those that may work at once, when there is one; none when the work is not wanted any more, so that
    /// what waits for this work need not wait for others too.
    pub(super) async fn place_among(&self, places: Arc<Semaphore>) -> Option<OwnedSemaphorePermit> {
        tokio::select! {
            biased;
            () = self.unwanted() => None,
            place = places.acquire_owned() => place.ok(),
        }
    }

    /// Waits for an agent that takes calls, at most this long and only while the work is wanted; tells whether there
    /// is one.
    pub(super) async fn agent_within(&self, patience: Duration) -> bool {
        tokio::select! {
            biased;
            () = self.unwanted() => false,
            up = self.agent.up_within(patience) => up,
        }
    }

    async fn unwanted(&self) {
        let mut standing = self.standing.clone();
        // An error means that the actor is gone, and this task with it.
        let _ = standing.wait_for(|standing| *standing != Standing::Wanted).await;
    }

    async fn look_and_tell(&mut self) -> End {
        match self.look_until_known(None).await {
            Sight::Running(pid) => (Some(WorkOutcome::Looked { running: true }), pid),
            Sight::Absent => (Some(WorkOutcome::Looked { running: false }), None),
            Sight::Unknown(_) => DROPPED,
        }
    }

    /// Asks once whether the domain runs.
    pub(super) async fn look(&self) -> Sight {
        match self.agent.list(self.settings.list_within).await {
            Ok(list) => match list.domains.into_iter().find(|domain| domain.name == self.task.vm.name) {
                Some(domain) => Sight::Running(domain.pid),
                None if list.complete => Sight::Absent,
                None => Sight::Unknown("libvirt does not answer".to_owned()),
            },
            Err(fault) => Sight::Unknown(fault.message),
        }
    }

    /// Asks until it is known whether the domain runs, the patience is over, or the work is not wanted any more; the
    /// latter two end as unknown.
    pub(super) async fn look_until_known(&mut self, until: Option<Instant>) -> Sight {
        let mut pauses = Pauses::new();
        let began = Instant::now();
        let mut told = false;
        loop {
            let reason = match self.look().await {
                Sight::Unknown(reason) => reason,
                known => return known,
            };
            if !self.wanted() || until.is_some_and(|until| Instant::now() >= until) {
                return Sight::Unknown(reason);
            }
            if !told && began.elapsed() >= self.settings.unknown_after {
                told = true;
                self.tell_trouble(&reason);
            }
            self.pause(pauses.next()).await;
        }
    }

    /// Has status show that the outcome is not known.
    pub(super) fn tell_trouble(&self, reason: &str) {
        let Key { service, epoch, .. } = self.task.key.clone();
        let _ = self.troubles.send(Trouble { service, epoch, reason: shortened(reason.to_owned()) });
    }

    /// Waits; less when the work's standing changes meanwhile or the agent comes back.
    pub(super) async fn pause(&mut self, length: Duration) {
        let came_up = async {
            match self.agent.status() {
                crate::executor::agent::Status::Up { .. } => sleep(length).await,
                crate::executor::agent::Status::Down { .. } => {
                    self.agent.up_within(length).await;
                }
            }
        };
        tokio::select! {
            () = came_up => {}
            // An error means that the actor is gone, and this task with it.
            _ = self.standing.changed() => {}
        }
    }
}

/// Growing pauses between attempts.
pub(super) struct Pauses(Duration);

impl Pauses {
    pub(super) fn new() -> Self {
        Self(PAUSE)
    }

    pub(super) fn next(&mut self) -> Duration {
        let pause = self.0;
        self.0 = (pause * 2).min(PAUSE_LONGEST);
        pause
    }
}

/// Whether a call that failed like this may have had its effect nevertheless.
pub(super) fn unsure(fault: &Fault) -> bool {
    matches!(fault.kind, FaultKind::Deadline | FaultKind::Unreachable)
}

/// Keeps a reason within what is worth replicating: an agent may quote a whole definition.
fn bounded(outcome: WorkOutcome) -> WorkOutcome {
    match outcome {
        WorkOutcome::StartFailed { reason } => WorkOutcome::StartFailed { reason: shortened(reason) },
        WorkOutcome::StopFailed { reason } => WorkOutcome::StopFailed { reason: shortened(reason) },
        WorkOutcome::MigrateEnded { ok, reason } => WorkOutcome::MigrateEnded { ok, reason: shortened(reason) },
        other => other,
    }
}

fn shortened(mut reason: String) -> String {
    if let Some((end, _)) = reason.char_indices().nth(REASON) {
        reason.truncate(end);
        reason.push('…');
    }
    reason
}
