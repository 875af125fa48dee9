//! What changes under a running cluster: its configuration, which reaches the hosts one after the other, and a store that
//! somebody puts back from an old copy.

use crate::rng::Rng;
use crate::shape::VmShape;
use crate::sim::{DaemonEv, Ev, Sim, WorldEv};
use belay_proto::NodeId;

impl Sim {
    /// Somebody writes a new version of the configuration on one host and copies it to the others that are up.
    pub(crate) fn change_config(&mut self, host: NodeId, rng: &mut Rng) {
        if !self.hosts.get(&host).is_some_and(|h| h.powered && h.frozen.is_none()) {
            return;
        }
        let before = self.shape.clone();
        self.shape.version = self.conf_version + 1;
        let last = self.shape.vms.len().saturating_sub(1);
        let place = usize::try_from(rng.range(0, last as u64)).unwrap_or(0);
        match rng.range(0, 3) {
            0 if self.shape.vms.len() < 8 => {
                let name = format!("new{}", self.shape.version);
                self.shape.vms.push(VmShape::draw(rng, &name, self.shape.hosts));
            }
            1 if self.shape.vms.len() > 1 => {
                self.shape.vms.remove(place);
            }
            _ => {
                if let Some(vm) = self.shape.vms.get_mut(place) {
                    let name = vm.name.clone();
                    *vm = VmShape::draw(rng, &name, self.shape.hosts);
                }
            }
        }
        let reading = belay_config::read("cluster.conf", &self.shape.conf());
        if reading.cluster.is_none() {
            self.shape = before;
            return;
        }
        (self.conf, self.conf_version) = (self.shape.conf(), self.shape.version);
        self.truth.limits_changed();
        self.trace.fault(self.now, &format!("configuration version {} is written on node{host}", self.shape.version));
        self.config_arrives(host);
        for other in self.ids() {
            let delay = rng.range(0, 5000);
            self.after(delay, Ev::World(WorldEv::ConfigArrives(other)));
        }
    }

    /// The newest file is copied to a host.
    pub(crate) fn config_arrives(&mut self, host: NodeId) {
        let (version, text) = (self.conf_version, self.conf.clone());
        let Some(h) = self.hosts.get_mut(&host).filter(|h| h.powered && h.frozen.is_none() && h.conf.0 < version)
        else {
            return;
        };
        h.conf = (version, text);
        self.daemon_after(host, 200, DaemonEv::Config);
    }

    /// A host comes back with an older copy of its store. One disk may be lost: the others have all that it had.
    pub(crate) fn lose_store(&mut self, host: NodeId, for_ms: u64, rng: &mut Rng) {
        let Some(last) = self.hosts.get(&host).map(|h| h.disk.last()) else { return };
        let have = self.hosts.values().filter(|h| h.id != host && h.powered && h.disk.last() >= last).count();
        self.power_off(host, "loses power");
        self.after(for_ms, Ev::World(WorldEv::PowerOn(host)));
        if self.shape.two_node || have * 2 <= self.hosts.len() {
            return;
        }
        if let Some(h) = self.hosts.get_mut(&host) {
            let keep = usize::try_from(rng.range(0, h.disk.entries() as u64)).unwrap_or(0);
            h.disk.roll_back(keep);
            let text = format!("node{host} gets an older copy of its store, up to entry {}", h.disk.last());
            self.trace.fault(self.now, &text);
        }
    }
}
