//! Stopping: see to it that the domain does not run here. Only an agent that says so, or a list of everything without
//! it, counts as stopped.

use super::job::{DROPPED, End, Job, Pauses, Sight};
use belay_proto::entry::WorkOutcome;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// How many times its own time limit a stop may take with all its attempts.
const PATIENCE: u32 = 3;
/// The least a stop is given in all: a short time limit is for the guest, an agent that restarts needs its own.
const PATIENCE_LEAST: Duration = Duration::from_secs(15);

impl Job {
    /// Stops the domain, by force when its time is over and the configuration allows it.
    pub(super) async fn stop(&mut self) -> End {
        let Some(_place) = self.place_among(Arc::clone(&self.stops)).await else { return DROPPED };
        let grace = Duration::from(self.task.vm.stop_timeout);
        let destroy = !self.task.vm.no_kill;
        let began = Instant::now();
        let until = began + (grace * PATIENCE).max(PATIENCE_LEAST);
        let mut pauses = Pauses::new();
        loop {
            // The guest has been asked at the first attempt: a later one gives it what is left of its time. Where it
            // must not be destroyed it is asked anew, and never with no time at all, which would mean force.
            let left = if destroy { grace.saturating_sub(began.elapsed()) } else { grace.max(Duration::from_secs(1)) };
            let answer = self.agent.stop(&self.task.vm.name, left, destroy, left + self.settings.slack).await;
            let Err(fault) = answer else { return (Some(WorkOutcome::Stopped), None) };
            let sight = self.look().await;
            if sight == Sight::Absent {
                return (Some(WorkOutcome::Stopped), None);
            }
            if Instant::now() >= until {
                let now = match sight {
                    Sight::Running(_) => "it still runs".to_owned(),
                    Sight::Absent => String::new(),
                    Sight::Unknown(reason) => format!("whether it runs is unknown ({reason})"),
                };
                return (Some(WorkOutcome::StopFailed { reason: format!("{}; {now}", fault.message) }), None);
            }
            if !self.wanted() {
                return DROPPED;
            }
            self.pause(pauses.next()).await;
        }
    }

    /// Destroys a copy that must not be here. There is no giving up: the owner's copy may share its disks.
    pub(super) async fn stop_stray(&mut self) -> End {
        let mut pauses = Pauses::new();
        let began = Instant::now();
        let mut told = false;
        loop {
            let answer = self.agent.stop(&self.task.vm.name, Duration::ZERO, true, self.settings.slack).await;
            let Err(fault) = answer else { return (Some(WorkOutcome::StrayStopped), None) };
            if self.look().await == Sight::Absent {
                return (Some(WorkOutcome::StrayStopped), None);
            }
            if !told && began.elapsed() >= self.settings.unknown_after {
                told = true;
                self.tell_trouble(&format!("a copy that must not run here cannot be stopped: {}", fault.message));
            }
            if !self.wanted() {
                return DROPPED;
            }
            self.pause(pauses.next()).await;
        }
    }
}
