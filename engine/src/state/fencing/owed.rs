//! What is known of a fenced host that is to be switched on again.

use super::victim::Attempt;
use belay_proto::history::EventId;
use belay_proto::{NodeId, Timestamp};
use serde::{Deserialize, Serialize};

/// A fenced host that is to be switched on again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SwitchOn {
    /// The method that fenced it.
    pub(in crate::state) method: String,
    /// The places of the devices in that method.
    pub(in crate::state) uses: Vec<u32>,
    /// Who is told next, or the first member after that one. At first it is who fenced it: that one has just reached the
    /// devices.
    pub(in crate::state) next: NodeId,
    /// How many times it was tried.
    pub(in crate::state) tries: u32,
    pub(in crate::state) stage: Stage,
    pub(in crate::state) last_failure: Option<String>,
    pub(in crate::state) cause: Option<EventId>,
}

/// How far it is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(in crate::state) enum Stage {
    /// The next attempt may begin then.
    Waits { not_before: Timestamp },
    /// A member tries it.
    Tried(Attempt),
    /// Its devices say that it is on. It has to boot.
    Done { by: NodeId },
    /// It was tried often enough.
    GivenUp,
}

impl SwitchOn {
    /// The attempt under way.
    #[must_use]
    pub fn attempt(&self) -> Option<&Attempt> {
        match &self.stage {
            Stage::Tried(attempt) => Some(attempt),
            Stage::Waits { .. } | Stage::Done { .. } | Stage::GivenUp => None,
        }
    }
}
