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

use super::desk::{Core, Desk, WAITS};
use super::sure::Sure;
use super::{DROPPED, End, Input, Looking, Pauses, Sight, Wait, unsure};
use crate::Moment;
use crate::vm::{Reply, nonsense};
use belay_engine::mutant::{self, Mutant};
use belay_proto::agent::{Answer, CallKind, Fault};
use belay_proto::entry::WorkOutcome;
use std::time::Duration;

pub(super) fn started(pid: Option<u32>) -> End {
    (Some(WorkOutcome::Started), pid)
}

pub(super) fn failed(reason: String) -> End {
    (Some(WorkOutcome::StartFailed { reason }), None)
}

/// A start.
#[derive(Debug)]
pub(super) struct Start {
    /// Its time is over then; counted from its turn.
    until: Moment,
    xml: String,
    pauses: Pauses,
    /// What went wrong last.
    last: String,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    /// For its turn.
    Waits,
    /// Reads the definition.
    Reads,
    /// For an agent. Waited for before the question about quorum, so that the call follows it at once.
    WaitsForAgent,
    /// Start is called.
    Asks,
    /// Nobody knows what became of the call.
    Looks(Looking),
    Pauses,
    /// The start was refused, which says nothing about a copy that already runs: looks before it reports.
    Refused(Looking, String),
    /// Its time is over.
    MakesSure(Sure),
}

impl Start {
    pub(super) fn new(now: Moment) -> Self {
        Self { until: now, xml: String::new(), pauses: Pauses::new(), last: String::new(), stage: Stage::Waits }
    }

    pub(super) fn step(&mut self, core: &mut Core, desk: &mut Desk<'_>, input: Input) -> Option<End> {
        match (&mut self.stage, input) {
            (Stage::Waits, _) if !core.wanted() => Some(DROPPED),
            (Stage::Waits, _) => {
                self.until = desk.now + timeout(core);
                self.stage = Stage::Reads;
                core.read(desk);
                WAITS
            }
            (Stage::Reads, Input::Reply(reply)) => match reply.definition() {
                Ok(xml) => {
                    self.xml = xml;
                    self.attempt(core, desk)
                }
                Err(reason) => self.refused(core, desk, reason),
            },
            (Stage::Asks, Input::Reply(Reply::NotQuorate)) => Some(DROPPED),
            (Stage::Asks, Input::Reply(reply)) => match process(reply) {
                Ok(pid) => Some(started(pid)),
                Err(fault) if mutant::is(Mutant::FailedStartIsNotLookedAt) => Some(failed(fault.message)),
                Err(fault) if !unsure(&fault) => self.refused(core, desk, fault.message),
                Err(fault) => {
                    self.last = fault.message;
                    self.stage = Stage::Looks(Looking::begin(core, desk, Some(self.until)));
                    WAITS
                }
            },
            (Stage::Looks(looking), input) => {
                match looking.step(core, desk, input)? {
                    Sight::Running(pid) => return Some(started(pid)),
                    Sight::Absent => {}
                    Sight::Unknown(reason) => self.last = reason,
                }
                self.pause(core, desk)
            }
            (Stage::Refused(looking, reason), input) => Some(match looking.step(core, desk, input)? {
                Sight::Running(pid) => started(pid),
                Sight::Absent => failed(std::mem::take(reason)),
                Sight::Unknown(_) => DROPPED,
            }),
            (Stage::MakesSure(sure), input) => sure.step(core, desk, input),
            (Stage::Pauses | Stage::WaitsForAgent, _) => self.attempt(core, desk),
            (Stage::Reads | Stage::Asks, Input::GoOn) => WAITS,
        }
    }

    fn pause(&mut self, core: &mut Core, desk: &mut Desk<'_>) -> Option<End> {
        if !core.wanted() {
            // Other work waits for this one's end.
            return self.attempt(core, desk);
        }
        self.stage = Stage::Pauses;
        core.pause(desk, &mut self.pauses);
        WAITS
    }

    /// Calls for the start if there is time left, an agent, and somebody who wants it.
    fn attempt(&mut self, core: &mut Core, desk: &mut Desk<'_>) -> Option<End> {
        if desk.now >= self.until {
            let reason = format!("did not start within {:?}: {}", timeout(core), self.last);
            if mutant::is(Mutant::LateStartIsNoStart) {
                return Some(failed(reason));
            }
            self.stage = Stage::MakesSure(Sure::begin(core, desk, reason));
            return WAITS;
        }
        // When the state has moved on, another host may be about to start it.
        if !core.wanted() {
            return Some(DROPPED);
        }
        if !desk.agent_up {
            "there is no libvirt agent".clone_into(&mut self.last);
            self.stage = Stage::WaitsForAgent;
            core.wait = Wait::Agent(self.until);
            return WAITS;
        }
        let what = CallKind::Start { name: core.domain(), xml: self.xml.clone() };
        self.stage = Stage::Asks;
        core.ask_with_quorum(desk, what, self.until.since(desk.now));
        WAITS
    }

    fn refused(&mut self, core: &mut Core, desk: &mut Desk<'_>, reason: String) -> Option<End> {
        self.stage = Stage::Refused(Looking::begin(core, desk, None), reason);
        WAITS
    }
}

fn timeout(core: &Core) -> Duration {
    Duration::from(core.task.vm.start_timeout)
}

fn process(reply: Reply) -> Result<Option<u32>, Fault> {
    match reply.answer()? {
        Answer::Started { pid, .. } => Ok(pid),
        other => Err(nonsense(&other)),
    }
}
