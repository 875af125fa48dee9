//! What takes a service from a lost host, and all ways to come by it (design S2).

use belay_proto::history::EventId;
use serde::{Deserialize, Serialize};

/// Proof that a host runs nothing that Belay started. Whoever holds one may start elsewhere what that host ran.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FencedProof {
    how: How,
    event: EventId,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum How {
    Confirmed,
    Acknowledged,
    NewBoot,
    CleanStart,
}

impl FencedProof {
    /// The host is in the view with a boot id it did not have before: all its processes are gone.
    pub(in crate::state) fn new_boot(event: EventId) -> Self {
        Self { how: How::NewBoot, event }
    }

    /// Every device of a method said so.
    pub(super) fn confirmed(event: EventId) -> Self {
        Self { how: How::Confirmed, event }
    }

    /// A person vouched for it.
    pub(in crate::state) fn acknowledged(event: EventId) -> Self {
        Self { how: How::Acknowledged, event }
    }

    /// The operator says so of every host that was never seen.
    pub(super) fn clean_start(event: EventId) -> Self {
        Self { how: How::CleanStart, event }
    }

    pub(super) fn how(&self) -> How {
        self.how
    }

    /// The event that proves it.
    pub(in crate::state) fn event(&self) -> EventId {
        self.event
    }

    /// What befell the host, after "which".
    pub(in crate::state) fn verb(&self) -> &'static str {
        match self.how {
            How::Confirmed => "was fenced",
            How::Acknowledged => "an administrator vouched to be off",
            How::NewBoot => "was restarted",
            How::CleanStart => "is taken to be off",
        }
    }

    /// A few words for the status.
    #[must_use]
    pub fn words(&self) -> &'static str {
        match self.how {
            How::Confirmed => "fenced",
            How::Acknowledged => "acknowledged as off by an administrator",
            How::NewBoot => "was restarted",
            How::CleanStart => "taken to be off when the cluster formed (clean_start)",
        }
    }
}
