//! Failover domains: where a VM starts, where it goes when its host is lost, and when it comes back.

use crate::cluster::{Cluster, conf, vm};
use belay_proto::Code;
use belay_proto::entry::Request;

fn domain(attributes: &str, members: &[(u32, u32)]) -> String {
    let member = |(id, priority): &(u32, u32)| format!("<failoverdomainnode name='node{id}' priority='{priority}'/>");
    let members: String = members.iter().map(member).collect();
    format!("<failoverdomains><failoverdomain name='d' {attributes}>{members}</failoverdomain></failoverdomains>")
}

fn with(attributes: &str, members: &[(u32, u32)]) -> String {
    conf(3, "", &(domain(attributes, members) + "<vm name='a' domain='d'/>"))
}

#[test]
fn in_an_ordered_domain_the_lowest_number_is_the_first_choice() {
    let mut cluster = Cluster::of(with("ordered='1'", &[(1, 3), (2, 2), (3, 1)]));
    assert_eq!(cluster.on("a"), Some(3));
    cluster.fail(&[3]);
    assert_eq!(cluster.on("a"), Some(2));
}

#[test]
fn it_comes_back_by_migration_when_the_better_host_does() {
    let mut cluster = Cluster::of(with("ordered='1'", &[(1, 2), (2, 1)]));
    cluster.fail(&[2]);
    assert_eq!(cluster.on("a"), Some(1));
    cluster.join(2);
    assert_eq!(cluster.on("a"), Some(2));
    let said = cluster.said.join("\n");
    assert!(said.contains("migrating from node1 to node2"), "{said}");
    assert!(!said.contains("stopping"), "a better host is no reason for an outage: {said}");
}

#[test]
fn with_nofailback_it_stays_until_there_is_a_reason() {
    let mut cluster = Cluster::of(with("ordered='1' nofailback='1'", &[(1, 2), (2, 1)]));
    cluster.fail(&[2]).join(2);
    assert_eq!(cluster.on("a"), Some(1));
    cluster.fail(&[1]);
    assert_eq!(cluster.on("a"), Some(2));
}

#[test]
fn nofailback_does_not_keep_it_outside_of_its_domain() {
    let mut cluster = Cluster::without(with("ordered='1' nofailback='1'", &[(3, 1)]), &[3]);
    assert!(matches!(cluster.on("a"), Some(1 | 2)));
    cluster.join(3);
    assert_eq!(cluster.on("a"), Some(3));
}

#[test]
fn within_an_unordered_domain_nothing_moves_and_into_it_everything_does() {
    let mut cluster = Cluster::of(with("", &[(2, 0), (3, 0)]));
    let first = cluster.on("a").unwrap();
    assert_ne!(first, 1);
    cluster.fail(&[first]);
    let second = cluster.on("a").unwrap();
    assert_eq!(second, 5 - first, "the other member of the domain");
    cluster.join(first);
    assert_eq!(cluster.on("a"), Some(second));
    let mut outside = Cluster::without(with("", &[(3, 0)]), &[3]);
    assert_ne!(outside.on("a"), None);
    outside.join(3);
    assert_eq!(outside.on("a"), Some(3));
}

#[test]
fn a_restricted_domain_without_members_is_waited_for() {
    let mut cluster = Cluster::without(with("restricted='1'", &[(3, 0)]), &[3]);
    assert_eq!(
        (cluster.on("a"), cluster.waits("a").as_str()),
        (None, "no member of its restricted failover domain d is online")
    );
    cluster.join(3);
    assert_eq!(cluster.on("a"), Some(3));
}

#[test]
fn what_an_administrator_moved_away_stays_until_the_better_host_comes_again() {
    let mut cluster = Cluster::of(with("ordered='1'", &[(1, 2), (2, 1)]));
    assert_eq!(cluster.migrate("a", 1).0, Code::Success);
    assert_eq!(cluster.on("a"), Some(1));
    cluster.fail(&[3]).join(3);
    assert_eq!(cluster.on("a"), Some(1), "node3 is not better");
    cluster.fail(&[2]).join(2);
    assert_eq!(cluster.on("a"), Some(2));
}

#[test]
fn a_frozen_vm_is_not_moved_to_a_better_host() {
    let mut cluster = Cluster::of(with("ordered='1'", &[(1, 2), (2, 1)]));
    cluster.fail(&[2]);
    assert_eq!(cluster.ask(Request::Freeze { service: vm("a") }), Code::Success);
    cluster.join(2);
    assert_eq!(cluster.on("a"), Some(1));
}

#[test]
fn nothing_moves_while_the_services_are_locked_and_it_does_when_they_are_not_any_more() {
    let mut cluster = Cluster::of(with("ordered='1'", &[(1, 2), (2, 1)]));
    cluster.fail(&[2]);
    assert_eq!(cluster.ask(Request::Lock {}), Code::Success);
    cluster.join(2);
    assert_eq!(cluster.on("a"), Some(1));
    assert_eq!(cluster.ask(Request::Unlock {}), Code::Success);
    assert_eq!(cluster.on("a"), Some(2));
}

#[test]
fn a_better_host_without_room_is_moved_to_once_it_has_some() {
    let rm =
        domain("ordered='1'", &[(1, 2), (2, 1)]) + "<vm name='a' domain='d' memory='600'/><vm name='b' memory='600'/>";
    let mut cluster = Cluster::of(conf(3, "memory='1000'", &rm));
    assert_eq!(cluster.all_on(["a", "b"]), [Some(2), Some(1)]);
    cluster.fail(&[2]);
    assert_eq!(cluster.on("a"), Some(3), "node1 has no room");
    assert_eq!(cluster.ask(Request::Lock {}), Code::Success);
    cluster.join(2);
    assert_eq!(cluster.migrate("b", 2).0, Code::Success);
    assert_eq!(cluster.ask(Request::Unlock {}), Code::Success);
    assert_eq!(cluster.all_on(["a", "b"]), [Some(3), Some(2)]);
    assert_eq!(cluster.migrate("b", 1).0, Code::Success);
    assert_eq!(cluster.on("a"), Some(2));
}
