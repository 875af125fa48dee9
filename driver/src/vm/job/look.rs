//! Looking: asks until it is known whether the domain runs, or nobody wants to know any more.

use super::desk::{Core, Desk};
use super::{Input, Pauses};
use crate::Moment;

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
