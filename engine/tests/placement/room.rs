//! Memory, virtual CPUs, and how VMs spread when there is enough of both.

use crate::cluster::{Cluster, conf};
use belay_proto::Code;

#[test]
fn a_cluster_that_is_switched_on_spreads_its_vms_whichever_hypervisor_answers_first() {
    let vms: String = (0..30).map(|n| format!("<vm name='v{n}'/>")).collect();
    let cluster = Cluster::of(conf(3, "", &vms));
    let mut counts = [0; 3];
    for n in 0..30 {
        counts[cluster.on(&format!("v{n}")).unwrap() as usize - 1] += 1;
    }
    assert_eq!(counts, [10, 10, 10]);
}

#[test]
fn what_has_no_room_waits_and_says_how_much_each_host_has() {
    let rm =
        "<vm name='a' memory='700'/><vm name='b' memory='700'/><vm name='c' memory='700'/><vm name='d' memory='400'/>";
    let mut cluster = Cluster::of(conf(3, "memory='1000'", rm));
    assert_eq!(cluster.waits("d"), "no host has 400 MiB free: node1 has 300, node2 has 300, node3 has 300");
    cluster.disable("b");
    assert!(cluster.on("d").is_some(), "{}", cluster.waits("d"));
}

#[test]
fn the_loss_of_a_host_never_gives_another_one_more_than_it_has() {
    let vms: String = (0..6).map(|n| format!("<vm name='v{n}' memory='400'/>")).collect();
    let mut cluster = Cluster::of(conf(3, "memory='1000'", &vms));
    cluster.fail(&[3]);
    let waiting: Vec<String> = (0..6).map(|n| cluster.waits(&format!("v{n}"))).filter(|w| !w.is_empty()).collect();
    assert_eq!(waiting, vec!["no host has 400 MiB free: node1 has 200, node2 has 200"; 2]);
    cluster.join(3);
    assert!((0..6).all(|n| cluster.on(&format!("v{n}")).is_some()));
}

#[test]
fn an_administrator_may_allow_too_much() {
    let vms: String = (0..6).map(|n| format!("<vm name='v{n}' memory='400'/>")).collect();
    let rm = format!("<placement overcommit='1'/>{vms}");
    let mut cluster = Cluster::of(conf(3, "memory='1000'", &rm));
    cluster.fail(&[3]);
    assert!((0..6).all(|n| cluster.on(&format!("v{n}")).is_some()));
}

#[test]
fn virtual_cpus_share_logical_ones_as_far_as_the_ratio_goes() {
    let vms: String = (0..3).map(|n| format!("<vm name='v{n}' vcpus='8'/>")).collect();
    let rm = format!("<placement cpu_ratio='2'/>{vms}");
    let mut cluster = Cluster::of(conf(3, "cpus='4'", &rm));
    cluster.fail(&[3]);
    assert_eq!((0..3).filter(|n| cluster.on(&format!("v{n}")).is_some()).count(), 2);
    let waits: String = (0..3).map(|n| cluster.waits(&format!("v{n}"))).collect();
    assert_eq!(waits, "no host has 8 CPUs free: node1 has 0, node2 has 0");
}

#[test]
fn an_old_configuration_that_names_no_sizes_has_no_limits() {
    let vms: String = (0..9).map(|n| format!("<vm name='v{n}'/>")).collect();
    let mut cluster = Cluster::of(conf(3, "", &vms));
    cluster.fail(&[3]);
    assert!((0..9).all(|n| cluster.on(&format!("v{n}")).is_some()));
}

#[test]
fn a_host_without_room_is_refused_to_whoever_names_it() {
    let rm = "<vm name='a' memory='700'/><vm name='b' memory='700'/>";
    let mut cluster = Cluster::of(conf(2, "memory='1000'", rm));
    let (a, b) = (cluster.on("a").unwrap(), cluster.on("b").unwrap());
    let full = format!("node{b} has 300 of 700 MiB free");
    assert_eq!(cluster.migrate("a", b), (Code::Depend, full.clone()));
    assert_eq!(cluster.relocate("a", Some(b)), (Code::Domain, format!("{full}; it was left on node{a}")));
    let nowhere = format!("no host has 700 MiB free: node{b} has 300; it was left on node{a}");
    assert_eq!(cluster.relocate("a", None), (Code::RunningOnOriginal, nowhere));
    cluster.disable("a");
    assert_eq!(cluster.enable("a", Some(b)), (Code::Domain, full));
    assert_eq!(cluster.enable("a", Some(a)).0, Code::Success);
}

#[test]
fn of_hosts_with_as_many_vms_the_one_with_less_memory_given_away_is_taken() {
    let rm = "<vm name='a' memory='100'/><vm name='b' memory='900'/><vm name='c' memory='50' autostart='0'/>";
    let mut cluster = Cluster::of(conf(2, "memory='1000'", rm));
    assert_ne!(cluster.on("a"), cluster.on("b"));
    cluster.enable("c", None);
    assert_eq!(cluster.on("c"), cluster.on("a"));
}

#[test]
fn a_restart_in_place_is_never_refused_for_lack_of_room() {
    let rm = "<vm name='a' memory='700'/><vm name='b' memory='200'/>";
    let mut cluster = Cluster::of(conf(1, "memory='1000'", rm));
    cluster.change("memory='1000'", "memory='500'");
    let request = belay_proto::entry::Request::Restart { service: crate::cluster::vm("a") };
    assert_eq!(cluster.ask(request), Code::Success);
    assert_eq!(cluster.on("a"), Some(1));
}
