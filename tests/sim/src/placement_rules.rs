//! Rules of placement: drawn by chance for a cluster, and held against every place the state decides (S13).
//!
//! What is allowed is worked out here anew, from the configuration and from what the state says of each service. It shares
//! nothing with the engine's own placement but the sizes of hosts and domains.

use crate::rng::Rng;
use crate::shape::Shape;
use crate::sim::Sim;
use belay_engine::state::State;
use belay_engine::state::member::Standing;
use belay_engine::state::service::{Phase, ServiceRecord};
use belay_proto::{Index, NodeId, ServiceName};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

/// Where a daemon had each service after the last entry it applied.
#[derive(Clone, Debug, Default)]
pub(crate) struct Before {
    index: Index,
    places: BTreeMap<ServiceName, Vec<NodeId>>,
    /// What was being started then: under another number that is no other start.
    starting: BTreeSet<ServiceName>,
}

impl Shape {
    /// Draws rules for a cluster that has its hosts and VMs; half of the clusters get none.
    pub(crate) fn draw_rules(&mut self, rng: &mut Rng) {
        if rng.chance(50) {
            return;
        }
        let sized = (rng.chance(40), rng.chance(25));
        if sized.0 {
            self.node_attributes.push_str(" memory=\"1000\"");
        }
        if sized.1 {
            self.node_attributes.push_str(" cpus=\"2\"");
        }
        let ranked = rng.chance(50);
        if ranked {
            self.domains = ranked_domain(rng, self.hosts);
        }
        for number in 0..self.vms.len() {
            let earlier = number.checked_sub(1).map(|last| rng.range(0, last as u64));
            let mut extra = String::new();
            if sized.0 && rng.chance(80) {
                let _ = write!(extra, " memory=\"{}\"", rng.range(1, 7) * 100);
            }
            if sized.1 && rng.chance(80) {
                let _ = write!(extra, " vcpus=\"{}\"", rng.range(1, 5));
            }
            if rng.chance(12) {
                let _ = write!(extra, " exclusive=\"{}\"", rng.range(1, 3));
            }
            if let Some(other) = earlier.filter(|_| rng.chance(20)) {
                let mode = rng.pick(&["hard", "soft"]).unwrap_or("hard");
                let _ = write!(extra, " depend=\"vm:vm{}\" depend_mode=\"{mode}\"", other + 1);
            }
            if let Some(vm) = self.vms.get_mut(number) {
                if ranked && vm.restricted_to.is_empty() && rng.chance(60) {
                    extra.push_str(" domain=\"ranked\"");
                }
                vm.attributes.push_str(&extra);
            }
        }
        self.placement = rule(rng, self);
    }
}

fn ranked_domain(rng: &mut Rng, hosts: u32) -> String {
    let flag = |name: &str, yes: bool| format!(" {name}=\"{}\"", u8::from(yes));
    let (restricted, nofailback) = (rng.chance(30), rng.chance(30));
    let flags = flag("restricted", restricted) + &flag("nofailback", nofailback);
    let mut text = format!("      <failoverdomain name=\"ranked\" ordered=\"1\"{flags}>\n");
    let skipped = rng.range(0, u64::from(hosts));
    for id in (1..=hosts).filter(|id| u64::from(*id) != skipped) {
        let priority = rng.range(1, 3);
        let _ = writeln!(text, "        <failoverdomainnode name=\"node{id}\" priority=\"{priority}\"/>");
    }
    text + "      </failoverdomain>\n"
}

/// A rule between two VMs that nothing else speaks against.
fn rule(rng: &mut Rng, shape: &Shape) -> String {
    let plain = |attributes: &str| !attributes.contains("exclusive") && !attributes.contains("domain");
    let able = shape.vms.iter().filter(|vm| vm.restricted_to.is_empty() && plain(&vm.attributes));
    let names: Vec<String> = able.map(|vm| vm.name.clone()).collect();
    let (Some(one), Some(other)) = (rng.pick(&names), rng.pick(&names)) else { return String::new() };
    if one == other || rng.chance(30) {
        return String::new();
    }
    let element = rng.pick(&["affinity", "anti-affinity"]).unwrap_or("affinity");
    let required = u8::from(rng.chance(60));
    format!("    <placement><{element} name=\"rule\" vms=\"{one} {other}\" required=\"{required}\"/></placement>\n")
}

/// What the rules say against a service on a host, all others being where the state has them.
pub(crate) fn forbids(state: &State, name: &ServiceName, node: NodeId) -> Option<String> {
    let config = state.config()?;
    let vm = config.vms.get(name)?;
    let others = |at: NodeId| state.services().filter(move |(other, r)| *other != name && may_be_on(r, at));
    let domain = vm.domain.as_ref().and_then(|domain| config.failover_domains.get(domain));
    if domain.is_some_and(|domain| domain.restricted && !domain.members.iter().any(|(id, _)| *id == node)) {
        return Some("its domain does not contain it".into());
    }
    let company = others(node).next().map(|(other, _)| other);
    let loner = others(node).find(|(other, _)| config.vms.get(*other).is_some_and(|vm| vm.exclusive.is_some()));
    if let Some(other) = company.filter(|_| vm.exclusive.is_some()).or(loner.map(|(other, _)| other)) {
        return Some(format!("it and {other} cannot be on one host"));
    }
    if let Some(room) = overfull(state, name, node) {
        return Some(room);
    }
    for rule in config.placement.affinities.iter().filter(|rule| rule.required && rule.vms.contains(name)) {
        let of_rule = |other: &ServiceName| rule.vms.contains(other);
        let here = others(node).any(|(other, _)| of_rule(other));
        let hosts = config.nodes.keys().filter(|id| **id != node);
        let elsewhere = hosts.copied().any(|id| others(id).any(|(other, _)| of_rule(other)));
        if rule.together && elsewhere || !rule.together && here {
            return Some(format!("rule {} is broken", rule.name));
        }
    }
    None
}

fn may_be_on(record: &ServiceRecord, node: NodeId) -> bool {
    record.phase.may_run_on(node) || record.rivals.contains_key(&node) || record.suspects.contains(&node)
}

fn overfull(state: &State, name: &ServiceName, node: NodeId) -> Option<String> {
    let placement = &state.config()?.placement;
    if placement.overcommit {
        return None;
    }
    let (memory, cpus) = state.capacity(node);
    let sizes =
        || state.services().filter(|(other, r)| *other != name && may_be_on(r, node)).map(|(n, _)| state.size(n));
    let own = state.size(name);
    let taken: u64 = sizes().filter_map(|size| size.0).sum();
    let vcpus: u64 = sizes().filter_map(|size| size.1).map(u64::from).sum();
    let limit = cpus.map(|cpus| u64::from(cpus) * u64::from(placement.cpu_ratio));
    match (own.0, memory, own.1, limit) {
        (Some(own), Some(memory), ..) if own > 0 && taken + own > memory => {
            Some(format!("{taken} + {own} MiB are more than {memory}"))
        }
        (.., Some(own), Some(limit)) if own > 0 && vcpus + u64::from(own) > limit => {
            Some(format!("{vcpus} + {own} CPUs are more than {limit}"))
        }
        _ => None,
    }
}

/// Whether what the service depends on keeps it from being started.
fn lacks(state: &State, name: &ServiceName) -> bool {
    let other = state.config().and_then(|config| config.vms.get(name)?.depend.clone());
    let record = other.and_then(|other| state.service(&other));
    record.is_some_and(|r| !matches!(r.phase, Phase::Started { .. } | Phase::Migrating { .. }) || r.died_frozen)
}

/// Whether a service that waits does so for a good reason: no member that is there may have it.
pub(crate) fn waits_with_reason(state: &State, name: &ServiceName) -> bool {
    let there = |id: &NodeId| state.node(*id).is_some_and(|node| node.standing == Standing::Online);
    let hosts = state.config().into_iter().flat_map(|config| config.nodes.keys()).copied();
    let able = hosts.filter(there).any(|id| forbids(state, name, id).is_none());
    let told = state.service(name).is_some_and(|record| record.waiting.is_some());
    told && (lacks(state, name) || !able)
}

impl Sim {
    /// A daemon has applied an entry: each place it gave keeps to the rules (S13). To start a service where it already
    /// was is always allowed.
    pub(crate) fn placed_by_the_rules(&mut self, host: NodeId) {
        let Some(state) = self.daemon(host).map(|daemon| daemon.node.state()) else { return };
        let places = state.services().map(|(name, record)| (name.clone(), places(record))).collect();
        let starting = |(_, record): &(&ServiceName, &ServiceRecord)| matches!(record.phase, Phase::Starting { .. });
        let starting = state.services().filter(starting).map(|(name, _)| name.clone()).collect();
        let now = Before { index: state.index(), places, starting };
        let before = self.truth.placed.get(&host).filter(|before| before.index.next() == now.index);
        let broken = before.and_then(|before| {
            state.services().filter(|(_, record)| record.decided == now.index).find_map(|(name, record)| {
                let (to, starts) = match record.phase {
                    Phase::Starting { owner } => (owner, !before.starting.contains(name)),
                    Phase::Migrating { to, .. } => (to, false),
                    _ => return None,
                };
                if starts && lacks(state, name) {
                    return Some(format!("{name} is started on node{to} without what it depends on"));
                }
                let was_there = before.places.get(name).is_some_and(|places| places.contains(&to));
                let why = forbids(state, name, to).filter(|_| !was_there)?;
                Some(format!("{name} is placed on node{to}: {why}"))
            })
        });
        self.truth.placed.insert(host, now);
        if let Some(what) = broken {
            self.violated("S13", what);
        }
    }
}

/// Every host that a service is on, or on its way to.
fn places(record: &ServiceRecord) -> Vec<NodeId> {
    match record.phase {
        Phase::Migrating { from, to, .. } => vec![from, to],
        _ => record.phase.owner().into_iter().collect(),
    }
}
