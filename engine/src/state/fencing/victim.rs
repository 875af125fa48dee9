//! What is known of a host that must be fenced.

use belay_proto::history::EventId;
use belay_proto::{Index, NodeId, Timestamp};
use serde::{Deserialize, Serialize};

/// A host that must be fenced.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Victim {
    /// Since when.
    pub since: Timestamp,
    /// When the next attempt may begin.
    pub not_before: Timestamp,
    /// The number of the first attempt of this loss; reports of lower ones are about an earlier loss.
    pub first_attempt: u32,
    /// The attempt under way.
    pub attempt: Option<Attempt>,
    /// How many attempts failed.
    pub failures: u32,
    /// What the last one said.
    pub last_failure: Option<String>,
    /// It has no fence method, so only an administrator's word or its return helps.
    pub no_method: bool,
    /// What made it a victim.
    pub cause: Option<EventId>,
}

/// One attempt to fence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// Its number, never used again for this host.
    pub number: u32,
    /// Who carries it out.
    pub by: NodeId,
    /// The entry that decided it.
    pub decided: Index,
}

impl Victim {
    /// Which attempt of this loss has this number: 1 is the first.
    pub(crate) fn nth(&self, number: u32) -> u32 {
        number.saturating_sub(self.first_attempt).saturating_add(1)
    }

    /// When there is something to decide about it, if that lies ahead.
    pub(crate) fn wake_at(&self, now: Timestamp) -> Option<Timestamp> {
        (self.attempt.is_none() && !self.no_method && self.not_before > now).then_some(self.not_before)
    }
}
