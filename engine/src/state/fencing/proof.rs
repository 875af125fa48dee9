//! What takes a service from a lost host, and all ways to come by it (design S2).

use super::super::member::Standing;
use super::victim::Victim;
use crate::mutant::{self, Mutant};
use belay_config::model::Cluster;
use belay_proto::BootId;
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

/// Each proof is made of what proves it: whoever has that and nothing else gets none.
impl FencedProof {
    /// The host is in the view with a boot id it did not have before: all its processes are gone.
    pub(in crate::state) fn new_boot(former: Option<&BootId>, now: &BootId, event: EventId) -> Option<Self> {
        former.is_some_and(|former| former != now).then_some(Self { how: How::NewBoot, event })
    }

    /// An attempt of this loss succeeded: every device of a method said so.
    pub(super) fn confirmed(victim: &Victim, tried: u32, number: u32, event: EventId) -> Option<Self> {
        (victim.first_attempt..=tried).contains(&number).then_some(Self { how: How::Confirmed, event })
    }

    /// A person vouched for a host that is not there.
    pub(in crate::state) fn acknowledged(standing: &Standing, event: EventId) -> Option<Self> {
        let absent = matches!(standing, Standing::Unknown | Standing::Lost { .. } | Standing::Left { stopped: false });
        absent.then_some(Self { how: How::Acknowledged, event })
    }

    /// The operator vouched in the configuration for hosts that were never seen.
    pub(super) fn clean_start(config: &Cluster, standing: &Standing, event: EventId) -> Option<Self> {
        let unseen = *standing == Standing::Unknown && config.fence_daemon.clean_start;
        unseen.then_some(Self { how: How::CleanStart, event })
    }

    /// What a deliberate fault takes for a proof; none, in a build that has no such faults.
    pub(in crate::state) fn forged(by: Mutant, event: EventId) -> Option<Self> {
        mutant::is(by).then_some(Self { how: How::Confirmed, event })
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
