//! Whatever somebody writes is answered, and what is accepted is consistent: nobody who holds a `Validated` has to ask again.

use super::properties::{mutate, sound};
use super::written::{Dice, file};
use belay_config::model::Affinity;
use belay_config::{Cluster, Severity, read};
use belay_proto::{NodeId, ServiceName, Span};
use proptest::prelude::*;
use proptest::sample::Index;
use std::collections::{BTreeMap, BTreeSet};

/// Everything that code which holds an accepted configuration relies on.
fn check_consistent(cluster: &Cluster) {
    nodes_are_consistent(cluster);
    vms_are_consistent(cluster);
    placement_is_consistent(cluster);
    let json = serde_json::to_string(cluster).unwrap();
    assert_eq!(serde_json::from_str::<Cluster>(&json).unwrap(), *cluster);
}

fn nodes_are_consistent(cluster: &Cluster) {
    assert!(!cluster.nodes.is_empty());
    let names: BTreeSet<String> = cluster.nodes.values().map(|node| node.name.to_ascii_lowercase()).collect();
    assert_eq!(names.len(), cluster.nodes.len(), "names are unique");
    for (id, node) in &cluster.nodes {
        assert_eq!((*id, cluster.node_named(&node.name)), (node.id, Some(node)));
        assert!(node.memory_mib != Some(0) && node.cpus != Some(0));
        for device in node.methods.iter().flat_map(|method| &method.devices) {
            assert!(!cluster.fence_devices[&device.fence_device].agent.is_empty());
        }
    }
    for (key, domain) in &cluster.failover_domains {
        assert_eq!(*key, domain.name.to_lowercase());
        let members: BTreeSet<NodeId> = domain.members.iter().map(|(id, _)| *id).collect();
        assert_eq!(members.len(), domain.members.len(), "each once");
        assert!(members.iter().all(|id| cluster.nodes.contains_key(id)));
        assert!(domain.members.iter().all(|(_, priority)| *priority <= 100));
    }
}

fn vms_are_consistent(cluster: &Cluster) {
    for (name, vm) in &cluster.vms {
        assert_eq!(*name, ServiceName::vm(&vm.name).unwrap());
        assert!(vm.domain.as_ref().is_none_or(|domain| cluster.failover_domains.contains_key(domain)));
        assert!(vm.memory_mib != Some(0) && vm.vcpus != Some(0) && vm.exclusive != Some(0));
        assert!(![vm.start_timeout, vm.stop_timeout, vm.migrate_timeout].contains(&Span::ZERO));
        let mut at = vm;
        let mut steps = 0;
        while let Some(next) = &at.depend {
            at = &cluster.vms[next];
            steps += 1;
            assert!(steps < cluster.vms.len(), "{name} waits in a circle");
        }
    }
}

fn placement_is_consistent(cluster: &Cluster) {
    let placement = &cluster.placement;
    assert!(placement.cpu_ratio > 0 && placement.max_starts > 0 && placement.max_migrations > 0);
    let names: BTreeSet<&str> = placement.affinities.iter().map(|rule| rule.name.as_str()).collect();
    assert_eq!(names.len(), placement.affinities.len());
    for rule in &placement.affinities {
        assert!(rule.vms.len() >= 2 && rule.vms.iter().all(|vm| cluster.vms.contains_key(vm)), "{rule:?}");
    }
    let groups = groups(cluster);
    for rule in placement.affinities.iter().filter(|rule| rule.required && !rule.together) {
        let together = |group: &BTreeSet<ServiceName>| group.intersection(&rule.vms).count() > 1;
        assert!(!groups.iter().any(together), "{rule:?} contradicts {groups:?}");
    }
    for group in &groups {
        assert!(group.iter().all(|vm| cluster.vms[vm].exclusive.is_none()));
        // A domain without members was warned of; its VM runs nowhere, alone or in company.
        let hosts = group.iter().filter_map(|vm| confined(cluster, vm)).filter(|hosts| !hosts.is_empty());
        let common = hosts.reduce(|a, b| a.intersection(&b).copied().collect());
        assert!(common.is_none_or(|common| !common.is_empty()), "{group:?} meets nowhere");
    }
}

fn confined(cluster: &Cluster, vm: &ServiceName) -> Option<BTreeSet<NodeId>> {
    let domain = &cluster.failover_domains[cluster.vms[vm].domain.as_ref()?];
    domain.restricted.then(|| domain.members.iter().map(|(id, _)| *id).collect())
}

/// The VMs that required rules put on one host, found by joining sets until none meet: slow, and unlike the reader's way.
fn groups(cluster: &Cluster) -> Vec<BTreeSet<ServiceName>> {
    let required = |rule: &&Affinity| rule.required && rule.together;
    let mut groups: Vec<BTreeSet<ServiceName>> =
        cluster.placement.affinities.iter().filter(required).map(|rule| rule.vms.clone()).collect();
    loop {
        let pairs = (0..groups.len()).flat_map(|a| (a + 1..groups.len()).map(move |b| (a, b)));
        let Some((a, b)) = pairs.into_iter().find(|(a, b)| !groups[*a].is_disjoint(&groups[*b])) else {
            return groups;
        };
        let joined = groups.remove(b);
        groups[a].extend(joined);
    }
}

proptest! {
    #[test]
    fn whatever_is_written_is_answered_and_what_is_accepted_is_consistent(
        rolls in proptest::collection::vec(any::<u32>(), 0..400),
    ) {
        let text = file(&mut Dice::new(&rolls), 1);
        let reading = read("f", &text);
        sound(&reading, &text)?;
        let shown = format!("{:?}{}", reading, reading.render(false));
        prop_assert!(!shown.contains("s3cret"));
        if let Some(cluster) = &reading.cluster {
            check_consistent(cluster);
        }
        prop_assert_eq!(read("f", &text).cluster, reading.cluster);
    }

    #[test]
    fn what_is_damaged_and_still_accepted_is_consistent(
        rolls in proptest::collection::vec(any::<u32>(), 0..400),
        changes in proptest::collection::vec((any::<Index>(), any::<Index>(), any::<u8>(), r#"[<>/="' \n&a-z0-9ä]{0,8}"#), 1..4),
    ) {
        let text = mutate(&file(&mut Dice::new(&rolls), 1), &changes);
        let reading = read("f", &text);
        sound(&reading, &text)?;
        if let Some(cluster) = &reading.cluster {
            check_consistent(cluster);
        }
    }
}

/// Numbers that look like chance and are always the same.
fn rolls(seed: u64) -> Vec<u32> {
    let mut at = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let next = |_| {
        at = at.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (at >> 33) as u32
    };
    (0..400).map(next).collect()
}

/// A property about files that are all refused, or all plain, would prove nothing.
#[test]
fn the_written_files_reach_what_there_is_to_find() {
    let mut accepted = 0;
    let mut said: BTreeMap<&str, usize> = BTreeMap::new();
    let expected = [
        "wait for each other",
        "apart, but rule",
        "them together",
        "keeps them apart",
        "is exclusive: it runs alone",
        "no host is in both of their restricted failover domains",
        "can run at a time: the cluster has",
        "can run at a time: their restricted failover domains",
        "it will not be started",
        "not all of it can run",
        "it has no effect",
        "restarts are never forgotten",
        "have no effect: it is not ordered",
        "is restricted to no node",
        "is not a node; it is left out",
        "is not a VM; it is left out",
        "is not from 1 to 100",
        "is not an amount of memory",
        "is not a length of time",
        "does not wait for it",
        "exists already",
        "is not known",
    ];
    for seed in 0..3000 {
        let reading = read("f", &file(&mut Dice::new(&rolls(seed)), 1));
        accepted += usize::from(reading.cluster.is_some());
        for part in expected {
            *said.entry(part).or_default() += reading.diagnostics.iter().filter(|d| d.message.contains(part)).count();
        }
        let errors = reading.of(Severity::Error).count();
        assert_eq!(errors == 0, reading.cluster.is_some());
    }
    assert!((600..2400).contains(&accepted), "{accepted} of 3000 are accepted");
    let never: Vec<&&str> = said.iter().filter(|(_, times)| **times == 0).map(|(part, _)| part).collect();
    assert!(never.is_empty(), "never said: {never:?}");
}
