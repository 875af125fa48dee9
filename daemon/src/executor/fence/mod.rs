//! The fence executor: runs the fence agents that [`FenceDriver`](belay_driver::fence::FenceDriver) asks for, and tells
//! it how they ended.
//!
//! Which agent is run when, what its end means and what is reported is decided there. Here are the processes: each run
//! is a task of its own, with its time limit, its bounded output, and its secrets kept out of what is said.
//!
//! What it must never do: let an agent count as successful without its exit status 0, run one while the quorum service
//! says no, let a password out, or let an agent outlive the daemon.

mod capture;
#[doc(hidden)]
pub mod fuzzing;
mod mask;
mod program;
mod run;
mod starter;
#[cfg(test)]
mod tests;

use super::clock::Clock;
use crate::ring::QuorumProbe;
use belay_driver::fence::{self, FenceAction, FenceDriver, FenceEvent, RunEnd, RunId, Wanted};
use belay_engine::state::work::Assignments;
use belay_proto::entry::What;
use belay_proto::history::Severity;
use starter::Starter;
use std::collections::{BTreeMap, VecDeque};
use std::ffi::OsString;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::task::{self, JoinError, JoinSet};
use tokio::time::sleep_until;

/// How agents are run.
#[derive(Clone, Debug)]
pub struct FenceSettings {
    /// How long an agent may take, on top of the `delay` and `power_wait` it is told to wait (60 s).
    pub time_limit: Duration,
    /// How long it has between SIGTERM and SIGKILL (1 s).
    pub kill_grace: Duration,
    /// Where agents are looked for, in the form of `PATH`; the daemon's own `PATH` if not given.
    pub path: Option<OsString>,
    /// How often quorum is asked for again while there is none (100 ms).
    pub quorum_poll: Duration,
    /// How often an outcome is reported again while its work stays on the list (5 s).
    pub report_again: Duration,
    /// What agents bear in their environment, to be told from those of other daemons. What an earlier daemon with the
    /// same mark has left running is ended first.
    pub mark: Option<OsString>,
}

impl Default for FenceSettings {
    fn default() -> Self {
        let fence::Settings { time_limit, quorum_poll, report_again } = fence::Settings::default();
        Self { time_limit, kill_grace: Duration::from_secs(1), path: None, quorum_poll, report_again, mark: None }
    }
}

/// The executor, from outside. Dropping it stops the agents that run.
#[derive(Debug)]
pub struct FenceExecutor {
    wanted: watch::Sender<Wanted>,
}

impl FenceExecutor {
    /// Starts it on the current tokio runtime. Outcomes go to `reports`.
    #[must_use]
    pub fn spawn(settings: FenceSettings, reports: mpsc::Sender<What>, quorate: QuorumProbe) -> Self {
        let (wanted, list) = watch::channel(Wanted::new());
        let FenceSettings { time_limit, quorum_poll, report_again, .. } = settings;
        let actor = Actor {
            clock: Clock::start(),
            driver: FenceDriver::new(fence::Settings { time_limit, quorum_poll, report_again }),
            starter: Arc::new(Starter::new(settings.mark.clone())),
            settings: Arc::new(settings),
            reports,
            unsent: VecDeque::new(),
            quorate,
            wanted: list,
            tasks: JoinSet::new(),
            runs: BTreeMap::new(),
        };
        tokio::spawn(actor.run());
        Self { wanted }
    }

    /// Hands it the whole list. Never blocks; of two lists in quick succession only the later one counts.
    pub fn assign(&self, assignments: &Assignments) {
        let list = fence::wanted(assignments);
        self.wanted.send_if_modified(|old| {
            let changed = *old != list;
            *old = list;
            changed
        });
    }
}

/// A run that goes on, to stop it.
struct Running {
    run: RunId,
    cancel: watch::Sender<bool>,
}

struct Actor {
    clock: Clock,
    driver: FenceDriver,
    settings: Arc<FenceSettings>,
    starter: Arc<Starter>,
    reports: mpsc::Sender<What>,
    /// Reports for which there was no room yet.
    unsent: VecDeque<What>,
    quorate: QuorumProbe,
    wanted: watch::Receiver<Wanted>,
    tasks: JoinSet<RunEnd>,
    runs: BTreeMap<task::Id, Running>,
}

impl Actor {
    async fn run(mut self) {
        let reports = self.reports.clone();
        loop {
            let now = self.clock.now();
            let wake_at = self.driver.wake_at();
            let woken = sleep_until(self.clock.instant(wake_at.unwrap_or(now)));
            let event = tokio::select! {
                changed = self.wanted.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    FenceEvent::Wanted(self.wanted.borrow_and_update().clone())
                }
                Some(ended) = self.tasks.join_next_with_id() => match self.ended(ended) {
                    Some(event) => event,
                    None => continue,
                },
                permit = reports.reserve(), if !self.unsent.is_empty() => {
                    // Nobody listens only when the daemon is ending.
                    let Ok(permit) = permit else { return };
                    if let Some(report) = self.unsent.pop_front() {
                        permit.send(report);
                    }
                    continue;
                }
                () = woken, if wake_at.is_some() => FenceEvent::Woken,
            };
            for action in self.driver.step(self.clock.now(), event) {
                self.carry_out(action);
            }
        }
    }

    fn carry_out(&mut self, action: FenceAction) {
        match action {
            FenceAction::Run(run) => {
                let (cancel, cancelled) = watch::channel(false);
                let (id, settings, quorate) = (run.id, Arc::clone(&self.settings), Arc::clone(&self.quorate));
                let starter = Arc::clone(&self.starter);
                let task =
                    self.tasks.spawn(async move { run::run(run, &settings, &starter, quorate, cancelled).await });
                self.runs.insert(task.id(), Running { run: id, cancel });
            }
            FenceAction::Stop(run) => {
                for running in self.runs.values().filter(|running| running.run == run) {
                    running.cancel.send_replace(true);
                }
            }
            FenceAction::Report(what) => self.unsent.push_back(what),
            FenceAction::Tell { severity, victim, attempt, text } => match severity {
                Severity::Critical | Severity::Error => tracing::error!(belay_node = %victim, attempt, "{text}"),
                Severity::Warning => tracing::warn!(belay_node = %victim, attempt, "{text}"),
                Severity::Notice | Severity::Info => tracing::info!(belay_node = %victim, attempt, "{text}"),
            },
        }
    }

    fn ended(&mut self, ended: Result<(task::Id, RunEnd), JoinError>) -> Option<FenceEvent> {
        let (task, how) = match ended {
            Ok(ended) => ended,
            // A run that panicked is a fault of ours; to the cluster it is one that did not work.
            Err(error) => {
                let why = format!("belayd failed while it ran the fence agent: {error}");
                (error.id(), RunEnd::Failed { why })
            }
        };
        let run = self.runs.remove(&task)?.run;
        Some(FenceEvent::Ended { run, how })
    }
}
