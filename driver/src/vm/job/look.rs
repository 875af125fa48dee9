//! Looking: asks until it is known whether the domain runs, or nobody wants to know any more.

use super::cancel::Cancelling;
use super::desk::{Core, Desk, WAITS};
use super::{DROPPED, End, Input, Pauses};
use crate::Moment;
use belay_engine::mutant::{self, Mutant};
use belay_proto::entry::WorkOutcome;

/// What a look showed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Sight {
    Running(Option<u32>),
    Absent,
    Unknown(String),
}

/// A look that is repeated until it is known whether the domain runs, the patience is over, or the work is not wanted
/// any more; the latter two end as unknown.
#[derive(Debug)]
pub(super) struct Looking {
    until: Option<Moment>,
    began: Moment,
    told: bool,
    pauses: Pauses,
}

impl Looking {
    pub(super) fn begin(core: &mut Core, desk: &mut Desk<'_>, until: Option<Moment>) -> Self {
        core.look(desk);
        Self { until, began: desk.now, told: false, pauses: Pauses::new() }
    }

    pub(super) fn step(&mut self, core: &mut Core, desk: &mut Desk<'_>, input: Input) -> Option<Sight> {
        let Input::Reply(reply) = input else {
            core.look(desk);
            return None;
        };
        let reason = match core.sight(reply) {
            Sight::Unknown(reason) => reason,
            known => return Some(known),
        };
        if !core.wanted() || self.until.is_some_and(|until| desk.now >= until) {
            return Some(Sight::Unknown(reason));
        }
        if !self.told && desk.now.since(self.began) >= desk.settings.unknown_after {
            self.told = true;
            core.tell_trouble(desk, &reason);
        }
        core.pause(desk, &mut self.pauses);
        None
    }
}

/// Looking as a piece of work.
#[derive(Debug)]
pub(super) enum Look {
    /// For its turn.
    Waits,
    /// Ends a migration that may still be under way: what is seen now is to hold a moment later.
    Cancels(Cancelling),
    Looks(Looking),
}

impl Look {
    pub(super) fn step(&mut self, core: &mut Core, desk: &mut Desk<'_>, input: Input) -> Option<End> {
        match (&mut *self, input) {
            (Self::Waits, _) if core.task.migrates && !mutant::is(Mutant::FailedMigrationGoesOn) => {
                *self = Self::Cancels(Cancelling::begin(core, desk));
                WAITS
            }
            (Self::Cancels(_), Input::GoOn) if !core.wanted() => Some(DROPPED),
            (Self::Cancels(cancelling), input) => {
                if cancelling.step(core, desk, input) {
                    *self = Self::Looks(Looking::begin(core, desk, None));
                }
                WAITS
            }
            (Self::Waits, _) => {
                *self = Self::Looks(Looking::begin(core, desk, None));
                WAITS
            }
            (Self::Looks(looking), input) => Some(match looking.step(core, desk, input)? {
                Sight::Running(pid) => (Some(WorkOutcome::Looked { running: true }), pid),
                Sight::Absent => (Some(WorkOutcome::Looked { running: false }), None),
                Sight::Unknown(_) => DROPPED,
            }),
        }
    }
}
