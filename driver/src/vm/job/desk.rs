//! What every job can do: ask, look, pause, and say that it has trouble.

use super::{End, Pauses, Sight, Standing, Task, Wait, WorkId, shortened};
use crate::Moment;
use crate::vm::{Call, CallId, Question, Reply, Settings, VmAction, nonsense};
use belay_engine::mutant::{self, Mutant};
use belay_proto::agent::{Answer, CallKind, Fault};
use belay_proto::{OwnershipEpoch, ServiceName};
use std::collections::BTreeMap;
use std::time::Duration;

/// Who waits for an answer.
#[derive(Clone, Debug)]
pub(in crate::vm) enum Asker {
    /// The world asked for a list, at this reading of its clock.
    World { uri: String, issued: u64 },
    /// The job on a service.
    Job(ServiceName),
}

/// A job that cannot tell what runs, for status to show.
#[derive(Debug)]
pub(in crate::vm) struct Trouble {
    pub(in crate::vm) service: ServiceName,
    pub(in crate::vm) epoch: OwnershipEpoch,
    pub(in crate::vm) reason: String,
}

/// What a job is given to work with for a moment.
#[derive(Debug)]
pub(in crate::vm) struct Desk<'a> {
    pub(in crate::vm) now: Moment,
    pub(in crate::vm) settings: &'a Settings,
    /// Whether the job's agent takes calls.
    pub(in crate::vm) agent_up: bool,
    pub(in crate::vm) calls: &'a mut Calls,
    pub(in crate::vm) out: &'a mut Vec<VmAction>,
    pub(in crate::vm) troubles: &'a mut Vec<Trouble>,
}

/// Calls that are not answered yet.
#[derive(Debug, Default)]
pub(in crate::vm) struct Calls {
    last: u64,
    askers: BTreeMap<CallId, Asker>,
}

impl Calls {
    /// A name for a new call.
    pub(in crate::vm) fn begin(&mut self, asker: Asker) -> CallId {
        self.last += 1;
        self.askers.insert(CallId(self.last), asker);
        CallId(self.last)
    }

    /// Who asked; nobody if it was answered before.
    pub(in crate::vm) fn end(&mut self, call: CallId) -> Option<Asker> {
        self.askers.remove(&call)
    }
}

/// What every job knows of itself.
#[derive(Debug)]
pub(super) struct Core {
    pub(super) task: Task,
    pub(super) uri: String,
    pub(super) standing: Standing,
    pub(super) wait: Wait,
}

impl Core {
    pub(super) fn wanted(&self) -> bool {
        self.standing == Standing::Wanted
    }

    pub(super) fn domain(&self) -> String {
        self.task.vm.name.clone()
    }

    /// Asks something beside what the job waits for.
    pub(super) fn ask_besides(&self, desk: &mut Desk<'_>, what: CallKind, within: Duration) -> CallId {
        self.call(desk, Question::Agent(what), within, false)
    }

    /// Asks the agent, and waits for its answer.
    pub(super) fn ask(&mut self, desk: &mut Desk<'_>, what: CallKind, within: Duration) {
        self.wait = Wait::Call(self.call(desk, Question::Agent(what), within, false));
    }

    /// Asks for what only a quorate host may do.
    pub(super) fn ask_with_quorum(&mut self, desk: &mut Desk<'_>, what: CallKind, within: Duration) {
        let needs_quorum = !mutant::is(Mutant::QuorumNotAsked);
        self.wait = Wait::Call(self.call(desk, Question::Agent(what), within, needs_quorum));
    }

    /// Asks for the definition.
    pub(super) fn read(&mut self, desk: &mut Desk<'_>) {
        let question = Question::Definition(Box::new(self.task.vm.clone()));
        self.wait = Wait::Call(self.call(desk, question, desk.settings.definition_within, false));
    }

    fn call(&self, desk: &mut Desk<'_>, question: Question, within: Duration, needs_quorum: bool) -> CallId {
        let work = self.task.id.clone();
        let id = desk.calls.begin(Asker::Job(work.service.clone()));
        let uri = self.uri.clone();
        desk.out.push(VmAction::Call(Call { id, uri, question, within, needs_quorum, work: Some(work) }));
        id
    }

    /// Asks once whether the domain runs.
    pub(super) fn look(&mut self, desk: &mut Desk<'_>) {
        self.ask(desk, CallKind::List, desk.settings.list_within);
    }

    /// What that showed.
    pub(super) fn sight(&self, reply: Reply) -> Sight {
        match reply.listing() {
            Ok(list) => match list.domains.into_iter().find(|domain| domain.name == self.task.vm.name) {
                Some(domain) => Sight::Running(domain.pid),
                None if list.complete || mutant::is(Mutant::UnknownIsStopped) => Sight::Absent,
                None => Sight::Unknown("libvirt does not answer".to_owned()),
            },
            Err(fault) => Sight::Unknown(fault.message),
        }
    }

    /// Asks for a stop; a grace of zero is force.
    pub(super) fn ask_to_stop(&mut self, desk: &mut Desk<'_>, grace: Duration, destroy: bool) {
        let grace_ms = u64::try_from(grace.as_millis()).unwrap_or(u64::MAX);
        let what = CallKind::Stop { name: self.domain(), grace_ms, destroy };
        self.ask(desk, what, grace + desk.settings.slack);
    }

    pub(super) fn pause(&mut self, desk: &Desk<'_>, pauses: &mut Pauses) {
        self.wait = Wait::Pause(desk.now + pauses.next());
    }

    /// Has status show that the outcome is not known.
    pub(super) fn tell_trouble(&self, desk: &mut Desk<'_>, reason: &str) {
        let WorkId { service, epoch, .. } = self.task.id.clone();
        desk.troubles.push(Trouble { service, epoch, reason: shortened(reason.to_owned()) });
    }
}

/// The answer to a stop: that it does not run, or why that is not so.
pub(super) fn stopped(reply: Reply) -> Result<(), Fault> {
    match reply.answer() {
        Err(_) if mutant::is(Mutant::DeadAgentIsStopped) => Ok(()),
        Err(fault) => Err(fault),
        Ok(Answer::Stopped { .. }) => Ok(()),
        Ok(other) => Err(nonsense(&other)),
    }
}

/// Nothing yet: the job waits.
pub(super) const WAITS: Option<End> = None;
