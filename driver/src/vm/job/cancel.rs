//! Ending a migration that may still be under way, so that what is seen or said afterwards holds a moment later.

use super::desk::{Core, Desk};
use super::{Input, Pauses, Wait, unsure};
use crate::Moment;
use belay_proto::agent::CallKind;

/// Best effort: where nobody answers for long enough it is given up.
#[derive(Debug)]
pub(super) struct Cancelling {
    until: Moment,
    pauses: Pauses,
}

impl Cancelling {
    pub(super) fn begin(core: &mut Core, desk: &mut Desk<'_>) -> Self {
        let cancelling = Self { until: desk.now + desk.settings.slack, pauses: Pauses::new() };
        cancelling.attempt(core, desk);
        cancelling
    }

    /// Calls for it, once there is an agent.
    fn attempt(&self, core: &mut Core, desk: &mut Desk<'_>) {
        if desk.agent_up || desk.now >= self.until {
            core.ask(desk, CallKind::CancelMigration { name: core.domain() }, desk.settings.list_within);
        } else {
            core.wait = Wait::Agent(self.until);
        }
    }

    /// Tells whether it is over with it.
    pub(super) fn step(&mut self, core: &mut Core, desk: &mut Desk<'_>, input: Input) -> bool {
        match input {
            Input::Reply(reply) => {
                // The agent may be gone with the call, and that is not always heard of first.
                let again = reply.answer().is_err_and(|fault| unsure(&fault)) && desk.now < self.until;
                if again {
                    core.pause(desk, &mut self.pauses);
                }
                !again
            }
            Input::GoOn => {
                self.attempt(core, desk);
                false
            }
        }
    }
}
