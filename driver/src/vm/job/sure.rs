//! Making sure: the time for a start is over and an attempt may still be under way somewhere. Nothing may be left
//! running when another host is given the domain.

use super::desk::{Core, Desk, WAITS, stopped};
use super::start::{failed, started};
use super::{DROPPED, End, Input, Pauses, Sight};
use std::time::Duration;

/// A start that is taken back, unless it runs after all.
#[derive(Debug)]
pub(super) struct Sure {
    reason: String,
    pauses: Pauses,
    told: bool,
    stage: Stage,
}

#[derive(Clone, Copy, Debug)]
enum Stage {
    /// Looks before anything is destroyed.
    LooksFirst,
    Stops,
    Looks,
    Pauses,
}

impl Sure {
    pub(super) fn begin(core: &mut Core, desk: &mut Desk<'_>, reason: String) -> Self {
        core.look(desk);
        Self { reason, pauses: Pauses::new(), told: false, stage: Stage::LooksFirst }
    }

    pub(super) fn step(&mut self, core: &mut Core, desk: &mut Desk<'_>, input: Input) -> Option<End> {
        match (self.stage, input) {
            (Stage::LooksFirst, Input::Reply(reply)) => {
                if let Sight::Running(pid) = core.sight(reply) {
                    return Some(started(pid));
                }
                self.stops(core, desk)
            }
            (Stage::Stops, Input::Reply(reply)) => {
                let Err(fault) = stopped(reply) else { return Some(failed(std::mem::take(&mut self.reason))) };
                if !self.told {
                    self.told = true;
                    let what = format!("{}; whether it runs cannot be found out: {}", self.reason, fault.message);
                    core.tell_trouble(desk, &what);
                }
                self.stage = Stage::Looks;
                core.look(desk);
                WAITS
            }
            (Stage::Looks, Input::Reply(reply)) => match core.sight(reply) {
                Sight::Running(pid) => Some(started(pid)),
                _ if !core.wanted() => Some(DROPPED),
                _ => {
                    self.stage = Stage::Pauses;
                    core.pause(desk, &mut self.pauses);
                    WAITS
                }
            },
            (Stage::Pauses, _) => self.stops(core, desk),
            (Stage::LooksFirst | Stage::Stops | Stage::Looks, Input::GoOn) => WAITS,
        }
    }

    fn stops(&mut self, core: &mut Core, desk: &mut Desk<'_>) -> Option<End> {
        self.stage = Stage::Stops;
        core.ask_to_stop(desk, Duration::ZERO, true);
        WAITS
    }
}
