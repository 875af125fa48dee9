//! What a simulated cluster looks like: its hosts, its services, and the `cluster.conf` that says so.

use crate::rng::Rng;
use belay_proto::NodeId;
use std::collections::BTreeMap;
use std::fmt::Write;

/// A service of the cluster.
#[derive(Clone, Debug)]
pub struct VmShape {
    /// The domain's name.
    pub name: String,
    /// `recovery`.
    pub recovery: &'static str,
    /// `max_restarts`.
    pub max_restarts: u32,
    /// `restart_expire_time`, in seconds.
    pub expire_s: u64,
    /// The members of its restricted failover domain, if it has one.
    pub restricted_to: Vec<u32>,
    /// `autostart`.
    pub autostart: bool,
    /// More attributes, as they are written.
    pub attributes: String,
}

impl VmShape {
    /// A VM as the guide has it.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            recovery: "restart",
            max_restarts: 2,
            expire_s: 600,
            restricted_to: Vec::new(),
            autostart: true,
            attributes: String::new(),
        }
    }

    /// One drawn by chance.
    pub fn draw(rng: &mut Rng, name: &str, hosts: u32) -> Self {
        let mut vm = Self::new(name);
        vm.recovery =
            rng.pick(&["restart", "restart", "restart", "relocate", "disable", "restart-disable"]).unwrap_or("restart");
        vm.max_restarts = u32::try_from(rng.range(0, 3)).unwrap_or(0);
        vm.expire_s = rng.pick(&[0, 30, 600]).unwrap_or(600);
        vm.autostart = rng.chance(85);
        if rng.chance(20) {
            vm.attributes.push_str(" guest_shutdown=\"stop\"");
        }
        if rng.chance(25) {
            let low = rng.range(1, u64::from(hosts) - 1);
            vm.restricted_to = vec![u32::try_from(low).unwrap_or(1), u32::try_from(low + 1).unwrap_or(2)];
        }
        vm
    }
}

/// A cluster.
#[derive(Clone, Debug)]
pub struct Shape {
    /// `config_version`.
    pub version: u64,
    /// How many hosts it has, numbered from 1.
    pub hosts: u32,
    /// One of two hosts is quorate alone.
    pub two_node: bool,
    /// Hosts that have no fence method.
    pub unfenceable: Vec<u32>,
    /// What it runs.
    pub vms: Vec<VmShape>,
    /// More attributes of every host, as they are written.
    pub node_attributes: String,
    /// More failover domains, as they are written.
    pub domains: String,
    /// The `placement` element, as it is written.
    pub placement: String,
    /// The votes of hosts that do not have one each.
    pub votes: BTreeMap<NodeId, u32>,
    /// How many votes make a quorum; more than half of the hosts if it is 0.
    pub quorum: u32,
    /// The `cluster.conf`, where a scenario says it word by word.
    pub told: Option<String>,
}

impl Shape {
    /// So many hosts, and VMs of these names.
    #[must_use]
    pub fn new(hosts: u32, vms: &[&str]) -> Self {
        let vms = vms.iter().map(|name| VmShape::new(name)).collect();
        Self {
            version: 1,
            hosts,
            two_node: hosts == 2,
            unfenceable: Vec::new(),
            vms,
            node_attributes: String::new(),
            domains: String::new(),
            placement: String::new(),
            votes: BTreeMap::new(),
            quorum: 0,
            told: None,
        }
    }

    /// A cluster drawn by chance.
    pub fn draw(rng: &mut Rng, hosts: Option<u32>) -> Self {
        let hosts = hosts.unwrap_or_else(|| rng.pick(&[2, 3, 3, 3, 4, 5]).unwrap_or(3));
        let count = rng.range(1, 5);
        let mut shape = Self::new(hosts, &[]);
        for number in 1..=count {
            shape.vms.push(VmShape::draw(rng, &format!("vm{number}"), hosts));
        }
        shape.draw_rules(rng);
        shape
    }

    /// Its `cluster.conf`.
    #[must_use]
    pub fn conf(&self) -> String {
        if let Some(text) = &self.told {
            return text.clone();
        }
        let mut text = format!("<?xml version=\"1.0\"?>\n<cluster name=\"sim\" config_version=\"{}\">\n", self.version);
        if self.two_node {
            text.push_str("  <cman two_node=\"1\" expected_votes=\"1\"/>\n");
        }
        text.push_str("  <clusternodes>\n");
        let mut devices = String::new();
        for id in 1..=self.hosts {
            let fence = if self.unfenceable.contains(&id) {
                String::new()
            } else {
                let _ = writeln!(devices, "    <fencedevice name=\"bmc{id}\" agent=\"fence_sim\"/>");
                format!("<fence><method name=\"bmc\"><device name=\"bmc{id}\"/></method></fence>")
            };
            let more = &self.node_attributes;
            let _ = writeln!(text, "    <clusternode name=\"node{id}\" nodeid=\"{id}\"{more}>{fence}</clusternode>");
        }
        let _ = writeln!(text, "  </clusternodes>\n  <fencedevices>\n{devices}  </fencedevices>\n  <rm>");
        text.push_str("    <failoverdomains>\n");
        for vm in self.vms.iter().filter(|vm| !vm.restricted_to.is_empty()) {
            let _ = writeln!(text, "      <failoverdomain name=\"only-{}\" restricted=\"1\">", vm.name);
            for id in &vm.restricted_to {
                let _ = writeln!(text, "        <failoverdomainnode name=\"node{id}\"/>");
            }
            text.push_str("      </failoverdomain>\n");
        }
        text.push_str(&self.domains);
        text.push_str("    </failoverdomains>\n");
        text.push_str(&self.placement);
        for vm in &self.vms {
            let domain =
                if vm.restricted_to.is_empty() { String::new() } else { format!(" domain=\"only-{}\"", vm.name) };
            let _ = writeln!(
                text,
                "    <vm name=\"{}\" path=\"/vms\"{domain}{} autostart=\"{}\" recovery=\"{}\" max_restarts=\"{}\" \
                 restart_expire_time=\"{}\"><action name=\"start\" timeout=\"20\"/><action name=\"stop\" timeout=\"5\"/>\
                 <action name=\"migrate\" timeout=\"20\"/></vm>",
                vm.name,
                vm.attributes,
                u8::from(vm.autostart),
                vm.recovery,
                vm.max_restarts,
                vm.expire_s
            );
        }
        text.push_str("  </rm>\n</cluster>\n");
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_drawn_is_a_valid_configuration() {
        for seed in 0..300 {
            let shape = Shape::draw(&mut Rng::new(seed), None);
            let reading = belay_config::read("cluster.conf", &shape.conf());
            assert!(reading.cluster.is_some(), "seed {seed}: {:?}", reading.diagnostics);
            let serious = |d: &&belay_config::Diagnostic| {
                // A cluster by chance may well have a window of zero, or VMs that cannot all run at once.
                d.severity == belay_config::Severity::Error
            };
            assert_eq!(reading.diagnostics.iter().find(serious), None, "seed {seed}");
        }
    }
}
