//! What a `cluster.conf` means: members, fence methods, failover domains and virtual machines.
//!
//! Everything here is plain data in a fixed order, so that every member derives the same decisions from the same file.

use crate::secret::Masked;
use belay_proto::{NodeId, ServiceName, Span};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::ops::Deref;

/// A configuration that was checked: the only way to hold a [`Cluster`] outside this crate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Validated(Cluster);

impl Validated {
    /// Only the reader may call this, after it found no error.
    pub(crate) fn new(cluster: Cluster) -> Self {
        Self(cluster)
    }
}

impl Deref for Validated {
    type Target = Cluster;

    fn deref(&self) -> &Cluster {
        &self.0
    }
}

/// A whole configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cluster {
    /// `cluster/@name`.
    pub name: String,
    /// `cluster/@config_version`; grows with every change.
    pub version: u64,
    /// The members by id.
    pub nodes: BTreeMap<NodeId, Node>,
    /// `cman/@two_node`: one of two members is quorate alone.
    pub two_node: bool,
    /// `cman/@expected_votes`, where given.
    pub expected_votes: Option<u32>,
    /// `fence_daemon`: delays before fencing.
    pub fence_daemon: FenceDaemon,
    /// `fencedevices/fencedevice` by name.
    pub fence_devices: BTreeMap<String, FenceDevice>,
    /// `rm/failoverdomains/failoverdomain` by name in lower case, since the reference matches names without case.
    pub failover_domains: BTreeMap<String, FailoverDomain>,
    /// `rm/vm` by full name (`vm:web1`).
    pub vms: BTreeMap<ServiceName, Vm>,
}

/// A member.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    /// `@nodeid`.
    pub id: NodeId,
    /// `@name`.
    pub name: String,
    /// `@votes`, 1 unless given.
    pub votes: u32,
    /// `fence/method` in document order.
    pub methods: Vec<Method>,
}

/// A way to fence a member. It succeeds when all its devices do, in order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Method {
    /// `@name`.
    pub name: String,
    /// `device` in document order.
    pub devices: Vec<Device>,
}

/// One use of a fence device by a method. Its debug output hides passwords.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Device {
    /// `@name`: which `fencedevice`.
    pub fence_device: String,
    /// All other attributes in document order; they reach the agent before the device's own.
    pub arguments: Vec<(String, String)>,
}

/// Something that can fence: a program and how to reach its hardware. Its debug output hides passwords.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FenceDevice {
    /// `@name`.
    pub name: String,
    /// `@agent`: the program.
    pub agent: String,
    /// All other attributes in document order, without `agent`. They hold passwords: never print them.
    pub arguments: Vec<(String, String)>,
}

impl fmt::Debug for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { fence_device, arguments } = self;
        f.debug_struct("Device").field("fence_device", fence_device).field("arguments", &Masked(arguments)).finish()
    }
}

impl fmt::Debug for FenceDevice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, agent, arguments } = self;
        let mut shown = f.debug_struct("FenceDevice");
        shown.field("name", name).field("agent", agent).field("arguments", &Masked(arguments)).finish()
    }
}

/// `fence_daemon`: how long to wait before fencing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FenceDaemon {
    /// After a member joined, give absent ones this long to come too (6 s).
    pub post_join_delay: Span,
    /// After a member was lost, wait this long (0 s).
    pub post_fail_delay: Span,
    /// Do not fence at start whoever is absent.
    pub clean_start: bool,
}

impl Default for FenceDaemon {
    fn default() -> Self {
        Self { post_join_delay: Span::seconds(6), post_fail_delay: Span::ZERO, clean_start: false }
    }
}

/// A set of members a service prefers or is confined to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailoverDomain {
    /// `@name` as written.
    pub name: String,
    /// Priorities count.
    pub ordered: bool,
    /// Only these members are allowed.
    pub restricted: bool,
    /// Do not move back when a better member comes.
    pub nofailback: bool,
    /// Members in document order with their priority (1 best to 100; 0 where not given).
    pub members: Vec<(NodeId, u8)>,
}

/// What to do when a service fails (rgmanager.md §5.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Recovery {
    /// Start it again in place; after too many restarts, elsewhere.
    #[default]
    Restart,
    /// Start it elsewhere at once.
    Relocate,
    /// Leave it stopped.
    Disable,
    /// Start it again in place; after too many restarts, leave it stopped.
    RestartDisable,
}

/// How `clusvcadm -M` moves a VM.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Migration {
    /// While it runs.
    #[default]
    Live,
    /// Paused during the move.
    Pause,
}

/// A virtual machine, with the attributes of rgmanager.md §7.1.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vm {
    /// The libvirt domain's name.
    pub name: String,
    /// Its failover domain's key in [`Cluster::failover_domains`].
    pub domain: Option<String>,
    /// Start it when the cluster forms (1).
    pub autostart: bool,
    /// Runs alone on its host; the number is its priority, `None` if it does not mind company.
    pub exclusive: Option<u32>,
    /// What to do when it fails.
    pub recovery: Recovery,
    /// Restarts in place within the window before recovery moves on; 0 counts nothing and never moves on.
    pub max_restarts: u32,
    /// The window; zero means that restarts are never forgotten.
    pub restart_expire_time: Span,
    /// The definition's file.
    pub xmlfile: Option<String>,
    /// Folders searched for `<name>` and then `<name>.xml`, as a colon-separated list.
    pub path: Vec<String>,
    /// How to migrate.
    pub migrate: Migration,
    /// Through libvirt's own connection.
    pub tunnelled: bool,
    /// The URI to migrate to, `%s` standing for the target's name (default `qemu+ssh://%s/system`).
    pub migration_uri: Option<String>,
    /// Other names for members as migration targets.
    pub migration_mapping: BTreeMap<String, String>,
    /// The hypervisor to talk to; the daemon's own default if not given.
    pub hypervisor_uri: Option<String>,
    /// Never destroy it when it does not shut down.
    pub no_kill: bool,
    /// How long a start may take (300 s).
    pub start_timeout: Span,
    /// How long a guest may take to shut down before it is destroyed (120 s, the stop timeout of the original agent).
    pub stop_timeout: Span,
    /// How long a migration may take (600 s).
    pub migrate_timeout: Span,
}

impl Vm {
    /// A VM with every attribute at its default.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            domain: None,
            autostart: true,
            exclusive: None,
            recovery: Recovery::Restart,
            max_restarts: 0,
            restart_expire_time: Span::ZERO,
            xmlfile: None,
            path: Vec::new(),
            migrate: Migration::Live,
            tunnelled: false,
            migration_uri: None,
            migration_mapping: BTreeMap::new(),
            hypervisor_uri: None,
            no_kill: false,
            start_timeout: Span::seconds(300),
            stop_timeout: Span::seconds(120),
            migrate_timeout: Span::seconds(600),
        }
    }
}

impl Cluster {
    /// The member of this name, by exact, then short name, ignoring case (`node1` finds `node1.example.com`).
    #[must_use]
    pub fn node_named(&self, name: &str) -> Option<&Node> {
        let short = |n: &str| n.split('.').next().unwrap_or(n).to_ascii_lowercase();
        self.nodes
            .values()
            .find(|node| node.name.eq_ignore_ascii_case(name))
            .or_else(|| self.nodes.values().find(|node| short(&node.name) == short(name)))
    }

    /// The member's name, or its number where the configuration does not know it.
    #[must_use]
    pub fn node_name(&self, id: NodeId) -> String {
        self.nodes.get(&id).map_or_else(|| format!("node {id}"), |node| node.name.clone())
    }

    /// The votes of all members together, or `expected_votes` where that is more.
    #[must_use]
    pub fn expected_votes(&self) -> u32 {
        let sum = self.nodes.values().map(|node| node.votes).sum();
        self.expected_votes.map_or(sum, |expected| expected.max(sum))
    }

    /// How many votes make a quorum (cluster_conf.md §3): more than half, and 1 with `two_node`.
    #[must_use]
    pub fn quorum(&self) -> u32 {
        if self.two_node { 1 } else { self.expected_votes() / 2 + 1 }
    }
}
