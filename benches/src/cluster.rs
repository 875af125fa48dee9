//! A cluster in memory: a state with as many hosts and VMs as wanted, all of them running.

use belay_engine::state::State;
use belay_proto::entry::{ENTRY_VERSION, Entry, FenceOutcome, GoneReason, Member, Seen, View, What, WorkOutcome};
use belay_proto::ring::{RingId, RoundId};
use belay_proto::{BootId, Incarnation, NodeId, ServiceName, Term, Timestamp};
use std::fmt::Write as _;

/// How many hosts and VMs, and how many of the VMs are on the last host.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    /// Hosts.
    pub hosts: u32,
    /// VMs.
    pub vms: u32,
    /// VMs on the last host; the others share the rest evenly.
    pub on_last: u32,
    /// Whether hosts and VMs have sizes, and VMs rules among each other.
    pub rules: bool,
}

/// Three hosts, five VMs: the guide's cluster.
pub const SMALL: Size = Size { hosts: 3, vms: 5, on_last: 2, rules: false };
/// Sixteen hosts, 10,000 VMs, a thousand of them on the host that will be lost.
pub const LARGE: Size = Size { hosts: 16, vms: 10_000, on_last: 1_000, rules: false };
/// The same, with memory, CPUs and affinities to mind.
pub const RULED: Size = Size { rules: true, ..LARGE };

/// Makes entries for one state, with ever later times.
#[derive(Clone, Debug)]
pub struct Cluster {
    /// The state.
    pub state: State,
    size: Size,
    now_ms: u64,
}

/// The name of the VM with this number.
fn vm(number: u32) -> String {
    format!("vm{number:05}")
}

/// A host's boot id.
///
/// # Panics
/// Never: the text is one.
#[must_use]
#[allow(clippy::expect_used)]
pub fn boot(node: NodeId) -> BootId {
    format!("boot-{}", node.0).parse().expect("a boot id of letters and digits")
}

/// A `cluster.conf` with fence devices, and failover domains where there are enough hosts for them.
#[must_use]
pub fn cluster_conf(size: Size) -> String {
    let mut text = String::from("<cluster name=\"bench\" config_version=\"1\">\n<clusternodes>\n");
    for id in 1..=size.hosts {
        let _ = writeln!(
            text,
            "<clusternode name=\"node{id}\" nodeid=\"{id}\"{}><fence><method name=\"power\"><device name=\"bmc{id}\"/>\
             </method></fence></clusternode>",
            if size.rules { " memory=\"900000\" cpus=\"256\"" } else { "" }
        );
    }
    text += "</clusternodes>\n<fencedevices>\n";
    for id in 1..=size.hosts {
        let _ = writeln!(
            text,
            "<fencedevice name=\"bmc{id}\" agent=\"fence_ipmilan\" ipaddr=\"192.0.2.{id}\" login=\"fence\" passwd=\"secret\"/>"
        );
    }
    text += "</fencedevices>\n<rm>\n";
    text += &placement(size);
    for number in 0..size.vms {
        let _ = writeln!(
            text,
            "<vm name=\"{}\" path=\"/var/lib/libvirt/images/xml_defs/\" recovery=\"restart\"{}/>",
            vm(number),
            if size.rules { " memory=\"1024\" vcpus=\"2\"" } else { "" }
        );
    }
    text + "</rm>\n</cluster>\n"
}

/// The limits, which let everything start at once: what is measured is how places are found. With rules, each VM of the
/// last host is in one: half of them apart from a VM of another host, the others together in pairs.
fn placement(size: Size) -> String {
    let mut text = String::from("<placement max_starts=\"10000\" cpu_ratio=\"8\">\n");
    let half = size.on_last / 2;
    for number in 0..if size.rules { half } else { 0 } {
        let (one, other) = (vm(number), vm(size.on_last + number));
        let _ = writeln!(text, "<anti-affinity name=\"apart{number}\" vms=\"{one} {other}\" required=\"1\"/>");
        let (one, other) = (vm(half + number / 2 * 2), vm(half + number / 2 * 2 + 1));
        if number % 2 == 0 {
            let _ = writeln!(text, "<affinity name=\"pair{number}\" vms=\"{one} {other}\" required=\"1\"/>");
        }
    }
    text + "</placement>\n"
}

impl Cluster {
    /// All hosts in the view, all VMs running.
    #[must_use]
    pub fn running(size: Size) -> Self {
        let mut cluster = Self { state: State::new(), size, now_ms: 1_700_000_000_000 };
        cluster.apply(1, What::View(cluster.view(size.hosts, 1)));
        cluster.apply(1, What::Config { text: cluster_conf(size) });
        cluster.apply(1, What::View(cluster.view(size.hosts, 2)));
        for host in 1..=size.hosts {
            let running = (0..size.vms).filter(|number| cluster.host_of(*number) == host).map(vm).collect();
            cluster.apply(host, What::Inventory { boot: boot(NodeId(host)), running });
        }
        assert_eq!(cluster.started(), size.vms as usize, "not all VMs of the benchmark run");
        cluster
    }

    fn host_of(&self, number: u32) -> u32 {
        let Size { hosts, on_last, .. } = self.size;
        if number < on_last { hosts } else { 1 + number % (hosts - 1).max(1) }
    }

    /// How many services run.
    #[must_use]
    pub fn started(&self) -> usize {
        self.state.service_statuses().iter().filter(|status| status.owner.is_some()).count()
    }

    fn view(&self, hosts: u32, serial: u64) -> View {
        let ids = || (1..=hosts).map(NodeId);
        let member = |node| Member { node, boot: boot(node), incarnation: Incarnation(1), diverged: false };
        View {
            round: RoundId { initiator: NodeId(1), incarnation: Incarnation(1), serial },
            ring: RingId { representative: NodeId(1), sequence: serial },
            term: Term(0),
            members: ids().map(member).collect(),
            hosts: ids().collect(),
        }
    }

    /// An entry with the next moment's time.
    pub fn entry(&mut self, from: u32, what: What) -> Entry {
        self.now_ms += 1;
        Entry { version: ENTRY_VERSION, from: NodeId(from), time: Timestamp(self.now_ms), what }
    }

    fn apply(&mut self, from: u32, what: What) -> usize {
        let entry = self.entry(from, what);
        self.state.apply(&entry).len()
    }

    /// A VM's service, its epoch and its owner.
    ///
    /// # Panics
    /// When there is no such VM: the benchmark is wrong then.
    #[must_use]
    #[allow(clippy::expect_used)]
    pub fn service(&self, number: u32) -> (ServiceName, belay_proto::OwnershipEpoch, u32) {
        let name = ServiceName::vm(&vm(number)).expect("a name");
        let record = self.state.service(&name).expect("a service of the benchmark");
        (name, record.epoch, record.phase.owner().map_or(0, |id| id.0))
    }

    /// What a host proposes when one of its VMs died.
    #[must_use]
    pub fn death_of(&self, number: u32) -> (u32, What) {
        let (service, epoch, owner) = self.service(number);
        (owner, What::Observation { service, epoch, seen: Seen::Gone { why: GoneReason::Died } })
    }

    /// A VM dies and is started again: two entries.
    pub fn die_and_restart(&mut self, number: u32) -> usize {
        let (owner, death) = self.death_of(number);
        let seen = self.apply(owner, death);
        let (service, epoch, owner) = self.service(number);
        seen + self.apply(owner, What::Outcome { service, epoch, outcome: WorkOutcome::Started })
    }

    /// Time passes.
    pub fn tick(&mut self) -> usize {
        self.apply(1, What::Tick)
    }

    /// The last host is lost: a view without it.
    pub fn lose_last(&mut self) -> usize {
        let view = self.view(self.size.hosts - 1, 3);
        self.apply(1, What::View(view))
    }

    /// The last host is proven off.
    pub fn last_is_fenced(&mut self) -> usize {
        let outcome = FenceOutcome::Confirmed { method: "power".into(), switch_on: Vec::new() };
        self.apply(1, What::FenceOutcome { victim: NodeId(self.size.hosts), attempt: 1, outcome })
    }

    /// How many VMs are being started.
    #[must_use]
    pub fn starting(&self) -> usize {
        use belay_proto::service::ServiceState::Starting;
        self.state.service_statuses().iter().filter(|status| status.state == Starting).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_lost_host_ran_and_nothing_else_gets_a_new_place() {
        let mut cluster = Cluster::running(Size { hosts: 4, vms: 40, on_last: 10, rules: false });
        cluster.lose_last();
        assert_eq!(cluster.starting(), 0, "nothing before the proof");
        cluster.last_is_fenced();
        assert_eq!(cluster.starting(), 10);
    }

    #[test]
    fn a_vm_that_dies_is_started_again_in_place() {
        let mut cluster = Cluster::running(SMALL);
        let before = cluster.service(0).2;
        assert!(cluster.die_and_restart(0) > 0);
        assert_eq!((cluster.service(0).2, cluster.starting()), (before, 0));
    }
}
