//! Stopping: see to it that the domain does not run here. Only an agent that says so, or a list of everything without
//! it, counts as stopped.

use super::desk::{Core, Desk, WAITS, stopped};
use super::{DROPPED, End, Input, Pauses, Sight};
use crate::Moment;
use crate::vm::Reply;
use belay_proto::entry::WorkOutcome;
use std::time::Duration;

/// How many times its own time limit a stop may take with all its attempts.
const PATIENCE: u32 = 3;
/// The least a stop is given in all: a short time limit is for the guest, an agent that restarts needs its own.
const PATIENCE_LEAST: Duration = Duration::from_secs(15);

#[derive(Debug)]
enum Stage {
    /// For its turn.
    Waits,
    /// Stop is called.
    Asks,
    /// It failed like this, and whether the domain runs nevertheless is looked at.
    Looks(String),
    Pauses,
}

/// A stop, by force when its time is over and the configuration allows it.
#[derive(Debug)]
pub(super) struct Stop {
    /// Counted from its turn.
    began: Moment,
    pauses: Pauses,
    stage: Stage,
}

impl Stop {
    pub(super) fn new(now: Moment) -> Self {
        Self { began: now, pauses: Pauses::new(), stage: Stage::Waits }
    }

    pub(super) fn step(&mut self, core: &mut Core, desk: &mut Desk<'_>, input: Input) -> Option<End> {
        match (&mut self.stage, input) {
            (Stage::Waits, _) if !core.wanted() => Some(DROPPED),
            (Stage::Waits, _) => {
                self.began = desk.now;
                self.attempt(core, desk)
            }
            (Stage::Asks, Input::Reply(reply)) => {
                let Err(fault) = stopped(reply) else { return Some((Some(WorkOutcome::Stopped), None)) };
                self.stage = Stage::Looks(fault.message);
                core.look(desk);
                WAITS
            }
            (Stage::Looks(fault), Input::Reply(reply)) => {
                let fault = std::mem::take(fault);
                self.looked(core, desk, fault, reply)
            }
            (Stage::Pauses, _) => self.attempt(core, desk),
            (Stage::Asks | Stage::Looks(_), Input::GoOn) => WAITS,
        }
    }

    fn attempt(&mut self, core: &mut Core, desk: &mut Desk<'_>) -> Option<End> {
        let (grace, destroy) = (grace(core), !core.task.vm.no_kill);
        // The guest has been asked at the first attempt: a later one gives it what is left of its time. Where it must
        // not be destroyed it is asked anew, and never with no time at all, which would mean force.
        let spent = desk.now.since(self.began);
        let left = if destroy { grace.saturating_sub(spent) } else { grace.max(Duration::from_secs(1)) };
        self.stage = Stage::Asks;
        core.ask_to_stop(desk, left, destroy);
        WAITS
    }

    fn looked(&mut self, core: &mut Core, desk: &mut Desk<'_>, fault: String, reply: Reply) -> Option<End> {
        let now = match core.sight(reply) {
            Sight::Absent => return Some((Some(WorkOutcome::Stopped), None)),
            Sight::Running(_) => "it still runs".to_owned(),
            Sight::Unknown(reason) => format!("whether it runs is unknown ({reason})"),
        };
        if desk.now >= self.began + (grace(core) * PATIENCE).max(PATIENCE_LEAST) {
            return Some((Some(WorkOutcome::StopFailed { reason: format!("{fault}; {now}") }), None));
        }
        if !core.wanted() {
            return Some(DROPPED);
        }
        self.stage = Stage::Pauses;
        core.pause(desk, &mut self.pauses);
        WAITS
    }
}

fn grace(core: &Core) -> Duration {
    Duration::from(core.task.vm.stop_timeout)
}

/// The end of a copy that must not be here. There is no giving up: the owner's copy may share its disks.
#[derive(Debug)]
pub(super) struct Stray {
    began: Moment,
    told: bool,
    pauses: Pauses,
    stage: Stage,
}

impl Stray {
    pub(super) fn new(now: Moment) -> Self {
        Self { began: now, told: false, pauses: Pauses::new(), stage: Stage::Waits }
    }

    pub(super) fn step(&mut self, core: &mut Core, desk: &mut Desk<'_>, input: Input) -> Option<End> {
        match (&mut self.stage, input) {
            (Stage::Waits | Stage::Pauses, _) => {
                self.stage = Stage::Asks;
                core.ask_to_stop(desk, Duration::ZERO, true);
                WAITS
            }
            (Stage::Asks, Input::Reply(reply)) => {
                let Err(fault) = stopped(reply) else { return Some((Some(WorkOutcome::StrayStopped), None)) };
                self.stage = Stage::Looks(fault.message);
                core.look(desk);
                WAITS
            }
            (Stage::Looks(fault), Input::Reply(reply)) => {
                if core.sight(reply) == Sight::Absent {
                    return Some((Some(WorkOutcome::StrayStopped), None));
                }
                if !self.told && desk.now.since(self.began) >= desk.settings.unknown_after {
                    self.told = true;
                    core.tell_trouble(desk, &format!("a copy that must not run here cannot be stopped: {fault}"));
                }
                if !core.wanted() {
                    return Some(DROPPED);
                }
                self.stage = Stage::Pauses;
                core.pause(desk, &mut self.pauses);
                WAITS
            }
            (Stage::Asks | Stage::Looks(_), Input::GoOn) => WAITS,
        }
    }
}
