//! Work on virtual machines: starts, stops, moves and looks, and what of all that shows on the hypervisors is news.
//!
//! ```text
//!   Assigned, Notice, Answered, Woken ──► VmDriver::step ──► Call, EnsureAgent, Report
//!                                          │         │
//!                           one `job` a service    `world`: what is known of the domains
//! ```
//!
//! What this module must never do: report "stopped" or "gone" because something could not be asked. Unknown stays
//! unknown until an agent that sees everything says otherwise (design S8). And whatever starts or moves a domain is
//! marked [`Call::needs_quorum`]: the shell asks at the very moment it makes the call, and does not make it without (S3).

mod driver;
mod job;
mod places;
mod settings;
#[cfg(test)]
mod tests;
mod world;

pub use driver::VmDriver;
pub use job::{Kind, WorkId};
pub use settings::Settings;
#[doc(hidden)] // For the fuzz targets.
pub use world::size_of;

use belay_config::model::Vm;
use belay_engine::state::work::Assignments;
use belay_proto::ServiceName;
use belay_proto::agent::{AgentEvent, Answer, CallKind, Domain, Fault, FaultKind};
use belay_proto::entry::What;
use std::time::Duration;

/// Something that a driver is told.
#[derive(Clone, Debug)]
pub enum VmEvent {
    /// Everything this host has to do and to know, instead of what it was before.
    Assigned(Assignments),
    /// An agent came, went, or said something.
    Notice {
        /// Whose agent.
        uri: String,
        /// What.
        what: NoticeKind,
    },
    /// How a call ended. Each is answered once, also when nobody can know how it ended.
    Answered {
        /// Which.
        call: CallId,
        /// How.
        reply: Reply,
    },
    /// The time that [`VmDriver::wake_at`] named has come.
    Woken,
}

/// Something that the shell has to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VmAction {
    /// See to it that this hypervisor has an agent, for as long as the driver lives.
    EnsureAgent(String),
    /// Make a call, and tell how it ended.
    Call(Call),
    /// Tell the cluster. Reports keep their order.
    Report(What),
    /// Tell whoever reads the log.
    Warn {
        /// What it is about.
        service: ServiceName,
        /// What.
        text: String,
    },
}

/// Names a call among all of one driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct CallId(pub u64);

/// Something to ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// To answer with.
    pub id: CallId,
    /// Whose agent to ask.
    pub uri: String,
    /// What.
    pub question: Question,
    /// How long it may take.
    pub within: Duration,
    /// Whether it must not be made without quorum. Asked right before: otherwise another host may be about to do the
    /// same.
    pub needs_quorum: bool,
    /// The work it is made for, if for any.
    pub work: Option<WorkId>,
}

/// The kinds of question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Question {
    /// To the agent.
    Agent(CallKind),
    /// To whoever keeps definitions: this VM's.
    Definition(Box<Vm>),
}

/// How a call ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// To [`CallKind::List`].
    List(Result<Listing, Fault>),
    /// To any other question to an agent.
    Answer(Result<Answer, Fault>),
    /// To [`Question::Definition`]: its text, or why there is none.
    Definition(Result<String, String>),
    /// It was not made, because this host has no quorum.
    NotQuorate,
}

/// What an agent listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listing {
    /// The domains that run.
    pub domains: Vec<Domain>,
    /// Whether a domain that is not listed surely does not run. Without libvirt an agent lists the processes it can
    /// see, and what it does not see is unknown.
    pub complete: bool,
}

/// What an agent's user should know of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoticeKind {
    /// It takes calls.
    Up,
    /// It ended; every call in flight has failed as unknown. Another one will be started.
    Down {
        /// Why.
        reason: String,
    },
    /// It reported an event.
    Event(AgentEvent),
}

impl Reply {
    fn listing(self) -> Result<Listing, Fault> {
        match self {
            Self::List(result) => result,
            other => Err(other.misfit()),
        }
    }

    fn answer(self) -> Result<Answer, Fault> {
        match self {
            Self::Answer(result) => result,
            other => Err(other.misfit()),
        }
    }

    fn definition(self) -> Result<String, String> {
        match self {
            Self::Definition(result) => result,
            other => Err(other.misfit().message),
        }
    }

    /// The fault of a call that was answered with something else than was asked: nobody knows what came of it.
    fn misfit(self) -> Fault {
        match self {
            Self::List(Err(fault)) | Self::Answer(Err(fault)) => fault,
            other => nonsense(&other),
        }
    }
}

fn nonsense(answer: &dyn std::fmt::Debug) -> Fault {
    let message = format!("the agent gave an answer that does not fit the call ({answer:?})");
    Fault { kind: FaultKind::Unreachable, message }
}
