//! Work on victims: makes sure that a lost host is off, by the fence agents its configuration names.
//!
//! A driver is handed the whole list of victims whenever that changes. Victims are fenced side by side, so that one
//! stuck device holds up nobody else. Every attempt the engine asks for is carried out once and reported once as
//! `FenceOutcome`; the report is repeated now and then while the work stays on the list, because a proposal can be lost
//! with its ring. A victim that leaves the list (it came back, or a person vouched for it) has its agent stopped.
//!
//! Of a power cycle an attempt carries out the first half only and tells which devices are to be switched on again. That is
//! work of its own ([`Task::SwitchOn`]), which comes back through the cluster's state, to this member or to another one.
//!
//! What it must never do: report `Confirmed` without the success of every device of a method, have two agents work on
//! one victim at a time, or have one run without [`Run::needs_quorum`] that may switch a host off.

mod attempt;
mod cycle;
mod driver;
mod input;
mod switch_on;
#[cfg(test)]
mod tests;

#[doc(hidden)] // For the fuzz targets.
pub use cycle::default_in as default_action_in;
pub use driver::FenceDriver;

use belay_engine::state::work::{Assignments, FenceWork, SwitchOnWork, WorkKind};
use belay_proto::NodeId;
use belay_proto::entry::What;
use belay_proto::history::Severity;
use std::collections::BTreeMap;
use std::time::Duration;

/// How it works.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How long an agent may take, on top of the `delay` and `power_wait` it is told to wait (60 s).
    pub time_limit: Duration,
    /// How often quorum is asked for again while there is none (100 ms).
    pub quorum_poll: Duration,
    /// How often an outcome is reported again while its work stays on the list (5 s).
    pub report_again: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            time_limit: Duration::from_secs(60),
            quorum_poll: Duration::from_millis(100),
            report_again: Duration::from_secs(5),
        }
    }
}

/// The victims to work on.
pub type Wanted = BTreeMap<NodeId, Task>;

/// What is to be done to a victim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Task {
    /// It is to be fenced.
    Fence(FenceWork),
    /// It was fenced and is to be switched on again.
    SwitchOn(SwitchOnWork),
}

impl Task {
    /// The number of the attempt.
    #[must_use]
    pub fn attempt(&self) -> u32 {
        match self {
            Self::Fence(work) => work.attempt,
            Self::SwitchOn(work) => work.attempt,
        }
    }
}

/// The victims in a host's work.
#[must_use]
pub fn wanted(assignments: &Assignments) -> Wanted {
    let tasks = assignments.work.iter().filter_map(|work| match &work.what {
        WorkKind::Fence(fence) => Some((fence.victim, Task::Fence(fence.clone()))),
        WorkKind::SwitchOn(on) => Some((on.victim, Task::SwitchOn(on.clone()))),
        _ => None,
    });
    tasks.collect()
}

/// Something that a driver is told.
#[derive(Clone, Debug)]
pub enum FenceEvent {
    /// All victims to work on, instead of what they were before.
    Wanted(Wanted),
    /// A run ended. Each ends once.
    Ended {
        /// Which.
        run: RunId,
        /// How.
        how: RunEnd,
    },
    /// The time that [`FenceDriver::wake_at`] named has come.
    Woken,
}

/// Something that the shell has to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FenceAction {
    /// Run an agent, and tell how it ended.
    Run(Run),
    /// Stop this run. It ends as [`RunEnd::Cancelled`], unless it has just ended otherwise.
    Stop(RunId),
    /// Tell the cluster. Reports keep their order.
    Report(What),
    /// Tell whoever reads the log.
    Tell {
        /// How bad it is.
        severity: Severity,
        /// The victim's name.
        victim: String,
        /// Which attempt.
        attempt: u32,
        /// What.
        text: String,
    },
}

/// Names a run among all of one driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RunId(pub u64);

/// One run of an agent.
#[derive(Clone, PartialEq, Eq)]
pub struct Run {
    /// To tell its end with.
    pub id: RunId,
    /// The agent's name.
    pub agent: String,
    /// What it reads, in order. There may be passwords among it.
    pub arguments: Vec<(String, String)>,
    /// How long it may take.
    pub within: Duration,
    /// Whether it must not be run without quorum. Asked right before: otherwise this host may be the one to be fenced.
    pub needs_quorum: bool,
    /// What for.
    pub purpose: Purpose,
    /// Whom it is about.
    pub victim: NodeId,
    /// The victim's name.
    pub victim_name: String,
    /// Which attempt.
    pub attempt: u32,
}

impl std::fmt::Debug for Run {
    /// Without the arguments: this may end up in a log.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { id, agent, purpose, victim, attempt, .. } = self;
        write!(f, "Run({id:?}, {agent}, {purpose:?}, node{victim}, attempt {attempt})")
    }
}

/// The text that an agent reads on its standard input.
#[must_use]
pub fn input_text(arguments: &[(String, String)]) -> String {
    input::text(arguments)
}

/// What an agent is run for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// To learn what it does unless told otherwise.
    Metadata,
    /// To fence.
    Fence {
        /// By which method.
        method: String,
        /// And which device of it.
        device: String,
    },
    /// To switch a victim on again that is proven off.
    SwitchOn {
        /// By which device.
        device: String,
    },
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RunEnd {
    /// With exit status 0.
    Succeeded {
        /// What it printed; needed of metadata only.
        output: String,
    },
    /// Otherwise, or it could not be run at all.
    Failed {
        /// Why, in words that may be shown: without secrets.
        why: String,
    },
    /// It was stopped.
    Cancelled,
    /// It was not run, because this host has no quorum.
    NotQuorate,
}
