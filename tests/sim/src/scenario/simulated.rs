//! How the simulator gets the cluster of a scenario, and how it is asked what has become of it.

use super::look::World;
use super::play::Player;
use super::setup::{Ground, Setup};
use crate::shape::{Shape, VmShape};
use belay_config::model::Recovery;
use belay_config::{Cluster, Diagnostic, Severity};
use belay_proto::control::{Status, Verdict};
use belay_proto::history::HistoryEvent;
use belay_proto::{NodeId, ServiceName};
use std::collections::BTreeMap;

/// The cluster for the simulator.
pub(super) fn shape(setup: &Setup, warnings: &[String]) -> Result<Shape, String> {
    let conf = setup.text(&Ground::default());
    let reading = belay_config::read("cluster.conf", &conf);
    let serious = || reading.diagnostics.iter().filter(|found| found.severity != Severity::Info);
    let expected = |found: &Diagnostic| warnings.iter().any(|part| found.message.contains(part));
    if let Some(part) = warnings.iter().find(|part| !serious().any(|found| found.message.contains(*part))) {
        return Err(format!("nothing is warned of with '{part}'"));
    }
    if let Some(found) = serious().find(|found| !expected(found)) {
        let line = conf.lines().nth(found.line.saturating_sub(1)).unwrap_or_default();
        return Err(format!("{found}\n  {}", line.trim()));
    }
    let cluster = reading.cluster.ok_or("the configuration is not valid")?;
    let mut shape = Shape::new(setup.hosts(), &[]);
    shape.two_node = cluster.two_node;
    shape.unfenceable = cluster.nodes.values().filter(|node| node.methods.is_empty()).map(|node| node.id.0).collect();
    shape.vms = cluster.vms.values().map(|vm| vm_shape(&cluster, vm)).collect();
    shape.votes = cluster.nodes.values().map(|node| (node.id, node.votes)).collect();
    shape.quorum = cluster.quorum();
    shape.told = Some(conf);
    Ok(shape)
}

fn vm_shape(cluster: &Cluster, vm: &belay_config::model::Vm) -> VmShape {
    let domain = vm.domain.as_ref().and_then(|name| cluster.failover_domains.get(name));
    let members = domain.filter(|domain| domain.restricted).map(|domain| domain.members.iter().map(|(id, _)| id.0));
    VmShape {
        recovery: match vm.recovery {
            Recovery::Restart => "restart",
            Recovery::Relocate => "relocate",
            Recovery::Disable => "disable",
            Recovery::RestartDisable => "restart-disable",
        },
        max_restarts: vm.max_restarts,
        expire_s: vm.restart_expire_time.0 / 1000,
        restricted_to: members.map(Iterator::collect).unwrap_or_default(),
        autostart: vm.autostart,
        ..VmShape::new(&vm.name)
    }
}

impl Player<'_> {
    /// The first host that is in a quorate view, or else the first that answers.
    fn first(&self) -> Option<NodeId> {
        let answer: Vec<NodeId> = self.sim.ids().into_iter().filter(|id| self.sim.can_be_asked(*id)).collect();
        let quorate = |id: &&NodeId| self.sim.daemon(**id).is_some_and(|daemon| daemon.node.quorate());
        answer.iter().find(quorate).or(answer.first()).copied()
    }
}

impl World for Player<'_> {
    fn status(&self, by: Option<NodeId>) -> Result<Status, String> {
        let status = |id: NodeId| Some(self.sim.daemon(id)?.node.status(self.sim.now_of(id)));
        match by {
            Some(id) => status(id).ok_or_else(|| format!("there is no daemon on node{id}")),
            None => self.first().and_then(status).ok_or_else(|| "no daemon answers".to_owned()),
        }
    }

    fn places(&self, vm: &str) -> Vec<u32> {
        self.sim.places(vm)
    }

    fn begun(&self, vm: &str) -> u64 {
        let count = |all: &BTreeMap<String, u64>| all.get(vm).copied().unwrap_or(0);
        count(&self.sim.truth.begun) - count(&self.begun_before)
    }

    fn events(&self) -> Vec<HistoryEvent> {
        // What the host that is asked has not applied yet has not happened for it.
        let known = self.first().and_then(|id| self.sim.daemon(id)).map(|daemon| daemon.node.state().index());
        let since = self.sim.trace.history().get(self.events_before..).unwrap_or_default();
        since.iter().filter(|event| known.is_none_or(|index| event.id.index <= index)).cloned().collect()
    }

    fn chain(&self, service: &ServiceName) -> Vec<String> {
        let ids = self.sim.ids();
        let node = ids.iter().find_map(|id| self.sim.daemon(*id).filter(|daemon| daemon.node.quorate()));
        let why = node.and_then(|daemon| daemon.node.why(service));
        why.map(|why| why.chain.into_iter().map(|event| event.text).collect()).unwrap_or_default()
    }

    fn powered(&self, host: NodeId) -> bool {
        self.sim.powered(host)
    }

    fn answer(&self, name: &str) -> Option<Verdict> {
        self.sim.told(self.names.get(name)?).cloned()
    }

    fn settled(&self) -> Result<(), String> {
        self.sim.amiss().map_or(Ok(()), Err)
    }
}
