//! The fence executor: makes sure that a lost host is off, by running the fence agents its configuration names.
//!
//! It is handed the whole list of victims whenever that changes ([`FenceExecutor::assign`]). Victims are fenced side by
//! side, each by a task of its own, so that one stuck device holds up nobody else. Every attempt the engine asks for is
//! carried out once and reported once as `FenceOutcome`; the report is repeated now and then while the work stays on
//! the list, because a proposal can be lost with its ring. A victim that leaves the list (it came back, or a person
//! vouched for it) has its agent stopped.
//!
//! What it must never do: report `Confirmed` without an agent's exit status 0 for every device of a method, act while
//! the quorum service says no, or let a password out.

mod attempt;
mod capture;
mod cycle;
mod input;
mod mask;
mod program;
#[cfg(test)]
mod tests;

use crate::ring::QuorumProbe;
use attempt::Ending;
use belay_engine::state::work::{Assignments, FenceWork, WorkKind};
use belay_proto::NodeId;
use belay_proto::entry::{FenceOutcome, What};
use cycle::Defaults;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::task::{Id, JoinSet};

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
}

impl Default for FenceSettings {
    fn default() -> Self {
        Self {
            time_limit: Duration::from_secs(60),
            kill_grace: Duration::from_secs(1),
            path: None,
            quorum_poll: Duration::from_millis(100),
            report_again: Duration::from_secs(5),
        }
    }
}

type Wanted = BTreeMap<NodeId, FenceWork>;

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
        let actor = Actor {
            settings: Arc::new(settings),
            reports,
            quorate,
            wanted: list,
            victims: BTreeMap::new(),
            tasks: JoinSet::new(),
            defaults: Arc::default(),
            switching_on: JoinSet::new(),
        };
        tokio::spawn(actor.run());
        Self { wanted }
    }

    /// Hands it the whole list. Never blocks; of two lists in quick succession only the later one counts.
    pub fn assign(&self, assignments: &Assignments) {
        let fence = assignments.work.iter().filter_map(|work| match &work.what {
            WorkKind::Fence(fence) => Some((fence.victim, fence.clone())),
            _ => None,
        });
        let list: Wanted = fence.collect();
        self.wanted.send_if_modified(|old| {
            let changed = *old != list;
            *old = list;
            changed
        });
    }
}

/// What is known of one victim on the list.
enum Victim {
    Running {
        attempt: u32,
        task: Id,
        cancel: watch::Sender<bool>,
    },
    /// Proven off, and being switched on again. No other attempt begins before that has ended: it might end with the
    /// host on.
    SwitchingOn {
        attempt: u32,
        outcome: FenceOutcome,
    },
    Done {
        attempt: u32,
        outcome: FenceOutcome,
    },
}

struct Actor {
    settings: Arc<FenceSettings>,
    reports: mpsc::Sender<What>,
    quorate: QuorumProbe,
    wanted: watch::Receiver<Wanted>,
    victims: BTreeMap<NodeId, Victim>,
    tasks: JoinSet<Option<Ending>>,
    defaults: Arc<Defaults>,
    /// Second halves of power cycles.
    switching_on: JoinSet<NodeId>,
}

impl Actor {
    async fn run(mut self) {
        let mut again = tokio::time::interval(self.settings.report_again);
        again.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                changed = self.wanted.changed() => {
                    if changed.is_err() {
                        return;
                    }
                }
                Some(ended) = self.tasks.join_next_with_id() => match ended {
                    Ok((task, outcome)) => self.ended(task, outcome).await,
                    // An attempt that panicked is a fault of ours; to the cluster it is one that did not work.
                    Err(error) => {
                        let reason = format!("belayd failed while it ran the fence agents: {error}");
                        let outcome = FenceOutcome::Failed { reason };
                        self.ended(error.id(), Some(Ending { outcome, power_on: Vec::new() })).await;
                    }
                },
                Some(Ok(node)) = self.switching_on.join_next() => self.switched_on(node),
                _ = again.tick() => self.report_again().await,
            }
            self.reconcile();
        }
    }

    /// Stops what is no longer wanted and starts what is not yet under way.
    fn reconcile(&mut self) {
        let wanted = self.wanted.borrow_and_update().clone();
        self.victims.retain(|node, victim| match victim {
            // Kept until its task has ended: no two agents may work on one victim at a time.
            Victim::Running { attempt, cancel, .. } => {
                if wanted.get(node).is_none_or(|work| work.attempt != *attempt) {
                    cancel.send_replace(true);
                }
                true
            }
            Victim::SwitchingOn { .. } => true,
            Victim::Done { attempt, .. } => wanted.get(node).is_some_and(|work| work.attempt == *attempt),
        });
        for (node, work) in wanted {
            if self.victims.contains_key(&node) {
                continue;
            }
            let (cancel, cancelled) = watch::channel(false);
            let attempt = work.attempt;
            let (settings, defaults) = (Arc::clone(&self.settings), Arc::clone(&self.defaults));
            let run = attempt::run(work, settings, defaults, Arc::clone(&self.quorate), cancelled);
            let task = self.tasks.spawn(run).id();
            self.victims.insert(node, Victim::Running { attempt, task, cancel });
        }
    }

    /// A task came to its end; `None` if it was cancelled.
    async fn ended(&mut self, ended: Id, ending: Option<Ending>) {
        let found = self.victims.iter().find_map(|(node, victim)| match victim {
            Victim::Running { attempt, task, .. } if *task == ended => Some((*node, *attempt)),
            _ => None,
        });
        let Some((node, attempt)) = found else { return };
        match ending {
            None => {
                self.victims.remove(&node);
            }
            Some(Ending { outcome, power_on }) if power_on.is_empty() => {
                self.victims.insert(node, Victim::Done { attempt, outcome: outcome.clone() });
                self.report(node, attempt, outcome).await;
            }
            Some(Ending { outcome, power_on }) => {
                self.victims.insert(node, Victim::SwitchingOn { attempt, outcome: outcome.clone() });
                // The proof first: VMs wait for it, nobody waits for the host.
                self.report(node, attempt, outcome).await;
                let settings = Arc::clone(&self.settings);
                self.switching_on.spawn(async move {
                    for device in power_on {
                        device.run(&settings).await;
                    }
                    node
                });
            }
        }
    }

    fn switched_on(&mut self, node: NodeId) {
        if let Some(Victim::SwitchingOn { attempt, outcome }) = self.victims.remove(&node) {
            self.victims.insert(node, Victim::Done { attempt, outcome });
        }
    }

    async fn report_again(&self) {
        for (node, victim) in &self.victims {
            if let Victim::Done { attempt, outcome } | Victim::SwitchingOn { attempt, outcome } = victim {
                self.report(*node, *attempt, outcome.clone()).await;
            }
        }
    }

    async fn report(&self, victim: NodeId, attempt: u32, outcome: FenceOutcome) {
        // Nobody listens only when the daemon is ending.
        let _ = self.reports.send(What::FenceOutcome { victim, attempt, outcome }).await;
    }
}
