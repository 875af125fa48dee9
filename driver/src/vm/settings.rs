//! How a driver of VMs works.

use belay_proto::BootId;
use std::time::Duration;

/// How it works.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The hypervisor of VMs that name none.
    pub hypervisor: String,
    /// This host's boot, for inventories.
    pub boot: BootId,
    /// How many starts run at once. The limit that counts is the cluster's own (`max_starts`), which hands out no more; this
    /// is the net below it, for VMs that all die in one moment: they are restarted in place without waiting for a turn,
    /// and too many at once would take CPU and storage from each other until all run out of time.
    pub starts_at_once: usize,
    /// How many stops run at once. Guests shut down side by side, but an agent takes only so many calls.
    pub stops_at_once: usize,
    /// How often hypervisors are asked what runs, as the net below the events.
    pub check_every: Duration,
    /// A hypervisor that does not answer for this long is reported as unknown.
    pub unknown_after: Duration,
    /// How long a domain may run where the state has none before that is reported. An event may be faster than the
    /// entry that explains it.
    pub settle: Duration,
    /// How long reading a definition may take.
    pub definition_within: Duration,
    /// How long an agent may take to list its domains.
    pub list_within: Duration,
    /// How long an ended attempt is waited for beyond what it was granted, before it counts as failed.
    pub slack: Duration,
}

impl Settings {
    /// The usual settings.
    #[must_use]
    pub fn new(hypervisor: impl Into<String>, boot: BootId) -> Self {
        Self {
            hypervisor: hypervisor.into(),
            boot,
            starts_at_once: 32,
            stops_at_once: 256,
            check_every: Duration::from_secs(30),
            unknown_after: Duration::from_secs(10),
            settle: Duration::from_millis(500),
            definition_within: Duration::from_secs(10),
            list_within: Duration::from_secs(10),
            slack: Duration::from_secs(30),
        }
    }
}
