//! What people do to a simulated cluster without asking Belay: guests that switch themselves off, VMs that leave the
//! cluster, and a `cluster.conf` that changes while everything runs.

use crate::hypervisor::Origin;
use crate::sim::Sim;
use belay_engine::node::Event;
use belay_proto::NodeId;
use belay_proto::entry::GoneReason;

impl Sim {
    /// A guest switches itself off, as its user told it to.
    pub fn guest_powers_off(&mut self, host: NodeId, name: &str) {
        self.trace.fault(self.now, &format!("{name} powers itself off"));
        self.end_domain(host, name, GoneReason::GuestShutdown);
    }

    /// Somebody migrates a domain with `virsh` to a host that is no member.
    pub fn move_outside(&mut self, host: NodeId, name: &str) {
        self.trace.fault(self.now, &format!("{name} is moved by hand to a host outside of the cluster"));
        self.end_domain(host, name, GoneReason::Migrated);
    }

    /// Somebody migrates a domain with `virsh` from a host that is no member.
    pub fn bring_back(&mut self, host: NodeId, name: &str) {
        self.trace.fault(self.now, &format!("{name} is moved by hand into the cluster"));
        self.create(host, name, Origin::Other);
    }

    /// `cluster.conf` as it is.
    #[must_use]
    pub fn conf(&self) -> &str {
        &self.conf
    }

    /// From here on the promise that a VM runs once is not held against a host that somebody will vouch for wrongly.
    pub fn swear_falsely(&mut self, host: NodeId) {
        if let Some(h) = self.hosts.get_mut(&host) {
            h.hyper.domains.values_mut().for_each(|dom| dom.origin = Origin::Disowned);
        }
    }

    /// Somebody changes `cluster.conf` on all hosts.
    pub fn reconfigure(&mut self, change: impl FnOnce(&str) -> String) {
        let version = self.conf_version + 1;
        let text = change(&self.conf);
        let raised = format!("config_version=\"{version}\"");
        self.conf = text.replacen(&format!("config_version=\"{}\"", self.conf_version), &raised, 1);
        self.conf_version = version;
        self.trace.fault(self.now, &format!("cluster.conf has version {version} now"));
        for host in self.ids() {
            let text = self.conf.clone();
            if let Some(h) = self.hosts.get_mut(&host) {
                h.conf = (version, text.clone());
            }
            self.node_event(host, Event::ConfigFile { version, text });
        }
    }
}
