//! What placement has to know of hosts and domains: how big they are.

use serde::{Deserialize, Serialize};

/// What a host offers to VMs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostFacts {
    /// Memory in MiB.
    pub memory_mib: u64,
    /// Logical CPUs.
    pub cpus: u32,
}

/// What a domain takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Size {
    /// Memory in MiB, at most.
    pub memory_mib: u64,
    /// Virtual CPUs, at most.
    pub vcpus: u32,
}
