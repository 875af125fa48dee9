//! What a host has to do, derived from the state. Executors are given the whole list each time it changes, and carry
//! out what they are not already doing: work is a level, not a message, so nothing is lost with a daemon's death.

use belay_config::model::{Device, FenceDevice, Method, Vm};
use belay_proto::{Index, NodeId, OwnershipEpoch, ServiceName, ServiceState};
use std::collections::BTreeMap;

/// One thing to do, for the host it was derived for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Work {
    /// The entry that decided it. Nothing is done before a majority has that entry on disk: a host that acted on an
    /// entry only it has seen would act alone after a crash.
    pub decided: Index,
    /// What to do.
    pub what: WorkKind,
}

/// The kinds of work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WorkKind {
    /// See to it that the domain runs here; report `Started` or, when it surely does not run here, `StartFailed`.
    Start(VmWork),
    /// See to it that the domain does not run here; report `Stopped` or `StopFailed`.
    Stop(VmWork),
    /// Move the domain to another host; report `MigrateEnded` whatever libvirt says.
    Migrate {
        /// The VM.
        vm: VmWork,
        /// The target.
        to: NodeId,
        /// The target's name in the configuration.
        to_name: String,
    },
    /// Look whether the domain runs here; report `Looked`.
    Look(VmWork),
    /// Destroy a copy that must not be here; report `StrayStopped`.
    StopStray(VmWork),
    /// Run a victim's fence methods; report `FenceOutcome`.
    Fence(FenceWork),
    /// Switch on again a host that is proven off; report `FenceOutcome`.
    SwitchOn(SwitchOnWork),
}

/// The VM a piece of work is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VmWork {
    /// The service.
    pub service: ServiceName,
    /// The epoch to report with.
    pub epoch: OwnershipEpoch,
    /// Its configuration; the domain's name is `vm.name`.
    pub vm: Vm,
}

/// One attempt to fence one host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FenceWork {
    /// Whom.
    pub victim: NodeId,
    /// The victim's name in the configuration (`nodename=` for the agent).
    pub victim_name: String,
    /// Which attempt, to report with.
    pub attempt: u32,
    /// The victim's methods in order.
    pub methods: Vec<Method>,
    /// The devices they use.
    pub devices: BTreeMap<String, FenceDevice>,
}

/// One attempt to switch on again a host that was fenced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SwitchOnWork {
    /// Whom.
    pub victim: NodeId,
    /// The victim's name in the configuration (`nodename=` for the agent).
    pub victim_name: String,
    /// Which attempt, to report with.
    pub attempt: u32,
    /// What switches it on, in order.
    pub uses: Vec<Device>,
    /// The devices these use.
    pub devices: BTreeMap<String, FenceDevice>,
}

/// What the vm executor must know of a service to tell whether something it sees is news.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assigned {
    /// The service.
    pub service: ServiceName,
    /// Its present epoch, to report observations with.
    pub epoch: OwnershipEpoch,
    /// Its state.
    pub state: ServiceState,
    /// Whether this host is its owner.
    pub mine: bool,
    /// `vm/@hypervisor_uri`; the daemon's own default if not given. A daemon that has just started knows from here
    /// which hypervisors it must ask before it can say what runs on this host.
    pub hypervisor_uri: Option<String>,
}

/// Everything this host's executors need to know of the state.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Assignments {
    /// What to do, all of it.
    pub work: Vec<Work>,
    /// All VMs of the configuration by domain name.
    pub domains: BTreeMap<String, Assigned>,
    /// Changes whenever executors should report an `Inventory` afresh: once for each quorate term this host is in.
    pub inventory_wanted: Option<u64>,
    /// Whether the cluster knows how big this host is. If not, it has to be told, even if it was told before.
    pub facts_known: bool,
    /// Up to which change of its state that is.
    pub as_of: AsOf,
}

/// A place among the changes of one state.
#[derive(Clone, Copy, Debug, Default)]
pub struct AsOf(pub(super) Option<u64>);

/// No part of what a host has to do.
impl PartialEq for AsOf {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for AsOf {}

impl Assignments {
    /// The state they were derived from was replaced by another one, which counts its changes anew: the next time all
    /// services are looked at.
    pub fn of_another_state(&mut self) {
        self.as_of = AsOf::default();
    }
}
