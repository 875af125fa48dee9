//! What a `cluster.conf` means: members, fence methods, failover domains and virtual machines.
//!
//! Everything here is plain data in a fixed order, so that every member derives the same decisions from the same file.

use crate::secret::Masked;
use belay_proto::{NodeId, ServiceName, Span};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;
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
    /// `rm/placement`: what all placement minds.
    pub placement: Placement,
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
    /// `@memory`: what VMs may use, in MiB; what the host reports if not given.
    pub memory_mib: Option<u64>,
    /// `@cpus`: logical CPUs for VMs; what the host reports if not given.
    pub cpus: Option<u32>,
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
    /// How long a daemon may be away from a host that is alive before the host is fenced (30 s).
    pub daemon_grace: Span,
    /// Do not fence at start whoever is absent.
    pub clean_start: bool,
}

impl Default for FenceDaemon {
    fn default() -> Self {
        Self {
            post_join_delay: Span::seconds(6),
            post_fail_delay: Span::ZERO,
            daemon_grace: Span::seconds(30),
            clean_start: false,
        }
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
    /// Members in document order with their priority (1 best to 100; 0 where none is given, and that comes last).
    pub members: Vec<(NodeId, u8)>,
}

/// `rm/placement`: limits and rules for all services. An old file has none of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Placement {
    /// Whether a host may be given more memory or CPUs than it has (no).
    pub overcommit: bool,
    /// How many virtual CPUs may share a logical one (4).
    pub cpu_ratio: u32,
    /// How many VMs a host starts at once (8).
    pub max_starts: u32,
    /// How many VMs a host migrates at once, in either direction (2).
    pub max_migrations: u32,
    /// `affinity` and `anti-affinity`, in document order.
    pub affinities: Vec<Affinity>,
}

impl Default for Placement {
    fn default() -> Self {
        Self { overcommit: false, cpu_ratio: 4, max_starts: 8, max_migrations: 2, affinities: Vec::new() }
    }
}

/// VMs that belong together, or apart.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Affinity {
    /// `@name`.
    pub name: String,
    /// Together on one host (`affinity`), or no two on the same (`anti-affinity`).
    pub together: bool,
    /// `@required`: rather not run than break it (no).
    pub required: bool,
    /// `@vms`.
    pub vms: BTreeSet<ServiceName>,
}

/// How strictly a service depends on another one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DependMode {
    /// It is stopped when the other one stops.
    #[default]
    Hard,
    /// It only waits for the other one to start.
    Soft,
}

/// What it means when a guest powers itself off.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum GuestShutdown {
    /// A failure, to be recovered.
    #[default]
    Recover,
    /// The guest's user wanted it so: it stays off until an administrator enables it.
    Stop,
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
    /// `@priority`: the order in which VMs are started, lower first (0, before all others).
    pub priority: u32,
    /// `@depend`: started only while this one is.
    pub depend: Option<ServiceName>,
    /// `@depend_mode`.
    pub depend_mode: DependMode,
    /// `@guest_shutdown`: `recover` or `stop`.
    pub guest_shutdown: GuestShutdown,
    /// `@memory` in MiB; what its definition says if not given.
    pub memory_mib: Option<u64>,
    /// `@vcpus`; what its definition says if not given.
    pub vcpus: Option<u32>,
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
            priority: 0,
            depend: None,
            depend_mode: DependMode::Hard,
            guest_shutdown: GuestShutdown::Recover,
            memory_mib: None,
            vcpus: None,
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
    /// The member of this name, ignoring case, where one side may be a host name without its domain (`node1` finds
    /// `node1.example.com`). A name that could be two members' is nobody's: a service would move to the wrong host.
    #[must_use]
    pub fn node_named(&self, name: &str) -> Option<&Node> {
        if let Some(node) = self.nodes.values().find(|node| node.name.eq_ignore_ascii_case(name)) {
            return Some(node);
        }
        let mut short = self.nodes.values().filter(|node| short_of(&node.name, name) || short_of(name, &node.name));
        short.next().filter(|_| short.next().is_none())
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

/// Whether `short` is the first part of `full`, a host name with its domain and not an address.
fn short_of(full: &str, short: &str) -> bool {
    let address = full.parse::<IpAddr>().is_ok();
    !address && full.split_once('.').is_some_and(|(first, _)| first.eq_ignore_ascii_case(short))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cluster(names: &[&str]) -> Cluster {
        let node = |(index, name): (u32, &&str)| {
            let id = NodeId(index + 1);
            (id, Node { id, name: (*name).to_owned(), votes: 1, methods: Vec::new(), memory_mib: None, cpus: None })
        };
        Cluster { nodes: (0..).zip(names).map(node).collect(), ..Cluster::default() }
    }

    fn found(names: &[&str], name: &str) -> Option<u32> {
        cluster(names).node_named(name).map(|node| node.id.0)
    }

    #[test]
    fn a_member_is_found_by_its_full_or_its_short_name() {
        let names = ["node1.example.com", "node2"];
        for (name, id) in [("node1", 1), ("NODE1.example.com", 1), ("node2", 2), ("node2.example.com", 2)] {
            assert_eq!(found(&names, name), Some(id), "{name}");
        }
        for name in ["node1.elsewhere.org", "node3", "", "node"] {
            assert_eq!(found(&names, name), None, "{name}");
        }
    }

    #[test]
    fn a_name_that_could_be_two_members_is_nobodys() {
        assert_eq!(found(&["node1.a", "node1.b"], "node1"), None);
        assert_eq!(found(&["10.0.0.1", "10.0.0.2"], "10"), None);
        assert_eq!(found(&["10.0.0.1", "10.0.0.2"], "10.9.9.9"), None);
        assert_eq!(found(&["10.0.0.1", "10.0.0.2"], "10.0.0.2"), Some(2));
    }

    #[test]
    fn quorum_is_more_than_half_and_one_of_two_with_two_node() {
        for (nodes, quorum) in [(1, 1), (2, 2), (3, 2), (4, 3), (5, 3)] {
            assert_eq!(cluster(&["a", "b", "c", "d", "e"][..nodes]).quorum(), quorum);
        }
        let pair = Cluster { two_node: true, ..cluster(&["a", "b"]) };
        assert_eq!(pair.quorum(), 1);
    }
}
