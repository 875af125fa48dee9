//! One piece of work on one service, as a machine of its own.
//!
//! A job asks its agent, waits, and asks again until it knows how the work ended. Where it cannot know and the work is
//! not wanted any more, it ends without an outcome: whatever comes next looks for itself.

mod cancel;
mod desk;
mod look;
mod migrate;
mod start;
mod stop;
mod sure;

pub(super) use desk::{Asker, Calls, Desk};

use super::{CallId, Reply};
use crate::Moment;
use belay_config::model::Vm;
use belay_engine::state::work::{Assigned, Work, WorkKind};
use belay_proto::agent::{Fault, FaultKind};
use belay_proto::entry::WorkOutcome;
use belay_proto::{OwnershipEpoch, ServiceName, ServiceState};
use desk::Core;
use look::{Look, Looking, Sight};
use migrate::Migrate;
use start::Start;
use std::collections::BTreeMap;
use std::time::Duration;
use stop::{Stop, Stray};

/// The first pause between attempts; it doubles up to [`PAUSE_LONGEST`].
const PAUSE: Duration = Duration::from_millis(200);
const PAUSE_LONGEST: Duration = Duration::from_secs(5);
/// The longest reason that goes into the replicated history.
const REASON: usize = 2000;

/// The kinds of work on VMs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// See to it that it runs here.
    Start,
    /// See to it that it does not.
    Stop,
    /// Move it.
    Migrate,
    /// Look whether it runs.
    Look,
    /// Destroy a copy that must not be here.
    StopStray,
}

/// Identifies a piece of work: it is done once.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct WorkId {
    /// On what.
    pub service: ServiceName,
    /// By which decision.
    pub epoch: OwnershipEpoch,
    /// What.
    pub kind: Kind,
}

/// What a piece of work asks for.
#[derive(Clone, Debug)]
pub(super) struct Task {
    pub(super) id: WorkId,
    pub(super) vm: Vm,
    /// The target's name, for a migration.
    pub(super) to_name: String,
    /// The domain is being moved away from here, as far as the state knows.
    pub(super) migrates: bool,
}

impl Task {
    /// The task of a piece of work, if it is one on a VM.
    pub(super) fn of(work: &Work, domains: &BTreeMap<String, Assigned>) -> Option<Self> {
        let (kind, vm, to_name) = match &work.what {
            WorkKind::Start(vm) => (Kind::Start, vm, ""),
            WorkKind::Stop(vm) => (Kind::Stop, vm, ""),
            WorkKind::Migrate { vm, to_name, .. } => (Kind::Migrate, vm, to_name.as_str()),
            WorkKind::Look(vm) => (Kind::Look, vm, ""),
            WorkKind::StopStray(vm) => (Kind::StopStray, vm, ""),
            WorkKind::Fence(_) | WorkKind::SwitchOn(_) => return None,
        };
        let id = WorkId { service: vm.service.clone(), epoch: vm.epoch, kind };
        let migrates =
            domains.get(&vm.vm.name).is_some_and(|known| known.mine && known.state == ServiceState::Migrating);
        Some(Self { id, vm: vm.vm.clone(), to_name: to_name.to_owned(), migrates })
    }
}

/// Whether a job's work is still listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// It is.
    Wanted,
    /// It is not: nothing new may be begun for it.
    Unlisted,
    /// Other work on the same service waits for its end.
    Superseded,
}

/// How a job ended.
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
type End = (Option<WorkOutcome>, Option<u32>);

/// The end of work that is dropped.
const DROPPED: End = (None, None);

/// What a job waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wait {
    /// Its turn.
    Turn,
    /// An answer.
    Call(CallId),
    /// The end of a pause. The return of the agent ends it too, and a change of its standing.
    Pause(Moment),
    /// An agent that takes calls, until then at most and only while the work is wanted.
    Agent(Moment),
}

/// What may let a job go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    /// It is its turn.
    Turn,
    /// Its standing changed.
    Standing,
    /// Its agent takes calls again.
    AgentUp,
    /// Time passed.
    Time,
}

/// What lets a job go on.
#[derive(Debug)]
pub(super) enum Input {
    /// What it waited for came, or its time is over.
    GoOn,
    /// The answer it waited for.
    Reply(Reply),
}

#[derive(Debug)]
enum Doing {
    Start(Start),
    Stop(Stop),
    StopStray(Stray),
    Migrate(Migrate),
    Look(Look),
}

/// A job.
#[derive(Debug)]
pub(super) struct Job {
    core: Core,
    doing: Doing,
}

impl Job {
    /// It waits for its turn.
    pub(super) fn new(now: Moment, task: Task, uri: String) -> Self {
        let doing = match task.id.kind {
            Kind::Start => Doing::Start(Start::new(now)),
            Kind::Stop => Doing::Stop(Stop::new(now)),
            Kind::Migrate => Doing::Migrate(Migrate::new()),
            Kind::Look => Doing::Look(Look::Waits),
            Kind::StopStray => Doing::StopStray(Stray::new(now)),
        };
        Self { core: Core { task, uri, standing: Standing::Wanted, wait: Wait::Turn }, doing }
    }

    pub(super) fn id(&self) -> &WorkId {
        &self.core.task.id
    }

    pub(super) fn uri(&self) -> &str {
        &self.core.uri
    }

    /// Takes in whether its work is still listed; tells whether that is news.
    pub(super) fn stands(&mut self, standing: Standing) -> bool {
        std::mem::replace(&mut self.core.standing, standing) != standing
    }

    /// When time alone lets it go on.
    pub(super) fn due(&self) -> Option<Moment> {
        let until = match self.core.wait {
            Wait::Pause(until) | Wait::Agent(until) => Some(until),
            Wait::Turn | Wait::Call(_) => None,
        };
        let cancel = match &self.doing {
            Doing::Migrate(migrate) => migrate.cancel_at(),
            _ => None,
        };
        until.into_iter().chain(cancel).min()
    }

    /// Whether it has to go on because of this.
    pub(super) fn goes_on(&self, now: Moment, cause: Cause) -> bool {
        let unwanted = cause == Cause::Standing && !self.core.wanted();
        let over = |until: Moment| cause == Cause::Time && until <= now;
        match self.core.wait {
            Wait::Turn => unwanted || cause == Cause::Turn,
            Wait::Pause(until) => matches!(cause, Cause::Standing | Cause::AgentUp) || over(until),
            Wait::Agent(until) => unwanted || cause == Cause::AgentUp || over(until),
            Wait::Call(_) => match &self.doing {
                Doing::Migrate(migrate) => {
                    let superseded = cause == Cause::Standing && self.core.standing == Standing::Superseded;
                    superseded || migrate.cancel_at().is_some_and(over)
                }
                _ => false,
            },
        }
    }

    /// The answer to one of its calls.
    pub(super) fn answered(&mut self, desk: &mut Desk<'_>, call: CallId, reply: Reply) -> Option<Ended> {
        if self.core.wait == Wait::Call(call) {
            return self.step(desk, Input::Reply(reply));
        }
        if let Doing::Migrate(migrate) = &mut self.doing {
            migrate.cancelled(&self.core, desk, call, reply);
        }
        None
    }

    /// Goes on, until it has to wait again or has come to its end.
    pub(super) fn step(&mut self, desk: &mut Desk<'_>, input: Input) -> Option<Ended> {
        let core = &mut self.core;
        let (outcome, pid) = match &mut self.doing {
            Doing::Start(start) => start.step(core, desk, input),
            Doing::Stop(stop) => stop.step(core, desk, input),
            Doing::StopStray(stray) => stray.step(core, desk, input),
            Doing::Migrate(migrate) => migrate.step(core, desk, input),
            Doing::Look(look) => look.step(core, desk, input),
        }?;
        Some(self.ended(outcome, pid))
    }

    fn ended(&self, outcome: Option<WorkOutcome>, pid: Option<u32>) -> Ended {
        let Core { task, uri, .. } = &self.core;
        Ended {
            service: task.id.service.clone(),
            epoch: task.id.epoch,
            domain: task.vm.name.clone(),
            uri: uri.clone(),
            outcome: outcome.map(bounded),
            pid,
        }
    }
}

/// Growing pauses between attempts.
#[derive(Debug)]
struct Pauses(Duration);

impl Pauses {
    fn new() -> Self {
        Self(PAUSE)
    }

    fn next(&mut self) -> Duration {
        let pause = self.0;
        self.0 = (pause * 2).min(PAUSE_LONGEST);
        pause
    }
}

/// Whether a call that failed like this may have had its effect nevertheless.
fn unsure(fault: &Fault) -> bool {
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
