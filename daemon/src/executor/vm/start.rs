//! Starting: see to it that the domain runs here, or that it surely does not.
//!
//! ```text
//!  definition ──► Start ──► answered ───────────────────────────► Started
//!      │            ▲  │ refused ──► look ─┬─ runs ─────────────► Started
//!      │ none       │  │                   └─ does not ──────────► StartFailed
//!      └──► look    │  └ unknown ──► look ─┬─ runs ─────────────► Started
//!                   └─── does not, time ◄──┤
//!                                          └─ time is over: Stop by force ──► StartFailed
//! ```

use super::job::{DROPPED, End, Job, Pauses, Sight, unsure};
use belay_proto::entry::WorkOutcome;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

fn started(pid: Option<u32>) -> End {
    (Some(WorkOutcome::Started), pid)
}

fn failed(reason: String) -> End {
    (Some(WorkOutcome::StartFailed { reason }), None)
}

impl Job {
    /// Starts the domain.
    pub(super) async fn start(&mut self) -> End {
        let Some(_place) = self.place_among(Arc::clone(&self.starts)).await else { return DROPPED };
        let timeout = Duration::from(self.task.vm.start_timeout);
        let until = Instant::now() + timeout;
        let xml = match self.definitions.read(&self.task.vm).await {
            Ok(xml) => xml,
            Err(reason) => return self.refused(reason.to_string()).await,
        };
        let mut pauses = Pauses::new();
        let mut last = String::new();
        while let Some(left) = until.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) {
            // Waited for before the question about quorum, so that the call follows it at once.
            if !self.agent_within(left).await && self.wanted() {
                "there is no libvirt agent".clone_into(&mut last);
                continue;
            }
            // Without quorum, or when the state has moved on, another host may be about to start it.
            if !self.wanted() || !(self.quorate)() {
                return DROPPED;
            }
            last = match self.agent.start(&self.task.vm.name, &xml, left).await {
                Ok(pid) => return started(pid),
                Err(fault) if !unsure(&fault) => return self.refused(fault.message).await,
                Err(fault) => fault.message,
            };
            match self.look_until_known(Some(until)).await {
                Sight::Running(pid) => return started(pid),
                Sight::Absent => {}
                Sight::Unknown(reason) => last = reason,
            }
            self.pause(pauses.next()).await;
        }
        self.make_sure(format!("did not start within {timeout:?}: {last}")).await
    }

    /// The start was refused, which says nothing about a copy that already runs: looks before it reports.
    async fn refused(&mut self, reason: String) -> End {
        match self.look_until_known(None).await {
            Sight::Running(pid) => started(pid),
            Sight::Absent => failed(reason),
            Sight::Unknown(_) => DROPPED,
        }
    }

    /// Time is over and an attempt may still be under way somewhere: nothing may be left running when another host is
    /// given the domain.
    async fn make_sure(&mut self, reason: String) -> End {
        if let Sight::Running(pid) = self.look().await {
            return started(pid);
        }
        let mut pauses = Pauses::new();
        let mut told = false;
        loop {
            match self.agent.stop(&self.task.vm.name, Duration::ZERO, true, self.settings.slack).await {
                Ok(_) => return failed(reason),
                Err(fault) if !told => {
                    told = true;
                    self.tell_trouble(&format!("{reason}; whether it runs cannot be found out: {}", fault.message));
                }
                Err(_) => {}
            }
            match self.look().await {
                Sight::Running(pid) => return started(pid),
                _ if !self.wanted() => return DROPPED,
                _ => self.pause(pauses.next()).await,
            }
        }
    }
}
