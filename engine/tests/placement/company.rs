//! VMs together, apart, and alone.

use crate::cluster::{Cluster, conf};
use belay_proto::Code;

fn rules(rules: &str, vms: &[&str]) -> String {
    let vm = |line: &&str| {
        let (name, attributes) = line.split_once(' ').unwrap_or((line, ""));
        format!("<vm name='{name}' {attributes}/>")
    };
    let vms: String = vms.iter().map(vm).collect();
    format!("<placement>{rules}</placement>{vms}")
}

#[test]
fn vms_that_must_be_together_start_on_one_host_and_move_to_one_host() {
    let rm = rules("<affinity name='r' vms='a d' required='1'/>", &["a", "b", "c", "d"]);
    let mut cluster = Cluster::of(conf(3, "", &rm));
    let first = cluster.on("a").unwrap();
    assert_eq!(cluster.on("d"), Some(first));
    cluster.fail(&[first]);
    assert!(cluster.on("a").is_some());
    assert_eq!(cluster.on("d"), cluster.on("a"));
}

#[test]
fn rules_that_share_a_vm_bind_all_of_them() {
    let rm = rules(
        "<affinity name='r' vms='a c' required='1'/><affinity name='s' vms='b c' required='1'/>",
        &["a", "b", "c"],
    );
    let cluster = Cluster::of(conf(3, "", &rm));
    assert!(cluster.on("a").is_some());
    assert_eq!([cluster.on("b"), cluster.on("c")], [cluster.on("a"); 2]);
}

#[test]
fn the_first_of_a_group_goes_where_all_of_it_has_room() {
    let rm = "<placement><affinity name='r' vms='b c' required='1'/></placement><vm name='a' memory='500'/>\
              <vm name='b' memory='400'/><vm name='c' memory='400'/><vm name='x' memory='500'/>";
    let mut cluster = Cluster::of(conf(3, "memory='1000'", rm));
    let together = cluster.on("b").unwrap();
    assert_eq!(cluster.on("c"), Some(together));
    cluster.fail(&[together]);
    assert_eq!([cluster.on("b").is_some(), cluster.on("c").is_some()], [true, false], "no host has room for both");
    let reason = cluster.waits("c");
    assert!(reason.contains("rule r wants it on"), "{reason}");
    cluster.join(together);
    assert!(cluster.on("c").is_none(), "it may only be where b is, and that host is full: {}", cluster.waits("c"));
}

#[test]
fn vms_that_must_be_apart_are_and_the_one_too_many_waits() {
    let rm = rules("<anti-affinity name='spread' vms='a b c' required='1'/>", &["a", "b", "c", "d"]);
    let mut cluster = Cluster::of(conf(3, "", &rm));
    let lost = cluster.on("c").unwrap();
    cluster.fail(&[lost]);
    assert_eq!(cluster.on("c"), None);
    let reason = cluster.waits("c");
    assert!(reason.starts_with("no host can take it now: rule spread keeps it away from vm:"), "{reason}");
    cluster.join(lost);
    assert_eq!(cluster.on("c"), Some(lost));
}

#[test]
fn a_preference_yields_to_necessity() {
    let rm = rules("<anti-affinity name='spread' vms='a b c'/>", &["a", "b", "c"]);
    let mut cluster = Cluster::of(conf(3, "", &rm));
    let lost = cluster.on("c").unwrap();
    cluster.fail(&[lost]);
    assert!(cluster.on("c").is_some());
    let rm = rules("<affinity name='near' vms='a b'/>", &["a", "b", "c"]);
    let cluster = Cluster::of(conf(3, "", &rm));
    assert_eq!(cluster.on("a"), cluster.on("b"));
    assert_ne!(cluster.on("a"), cluster.on("c"));
}

#[test]
fn no_request_breaks_a_required_rule() {
    let rm = rules("<anti-affinity name='spread' vms='a b' required='1'/>", &["a", "b", "c"]);
    let mut cluster = Cluster::of(conf(3, "", &rm));
    let b = cluster.on("b").unwrap();
    let (code, reason) = cluster.migrate("a", b);
    assert_eq!((code, reason), (Code::Depend, format!("rule spread keeps it away from vm:b on node{b}")));
    assert_eq!(cluster.relocate("a", Some(b)).0, Code::Depend);
    cluster.disable("a");
    assert_eq!(cluster.enable("a", Some(b)).0, Code::Depend);
}

#[test]
fn a_rule_that_is_new_moves_nothing_that_runs() {
    let rm = rules("<affinity name='r' vms='a b' required='1'/>", &["a", "b", "c"]);
    let mut cluster = Cluster::of(conf(3, "", &rm));
    let before = cluster.all_on(["a", "b", "c"]);
    cluster.change("<affinity name='r'", "<anti-affinity name='r'");
    assert_eq!(cluster.all_on(["a", "b", "c"]), before);
}

#[test]
fn an_exclusive_vm_is_alone_and_the_others_keep_off_its_host() {
    let rm = rules("", &["a", "b", "z exclusive='1'", "c", "d"]);
    let cluster = Cluster::of(conf(3, "", &rm));
    let alone = cluster.on("z").unwrap();
    assert!(["a", "b", "c", "d"].iter().all(|name| cluster.on(name).is_some_and(|place| place != alone)));
}

#[test]
fn an_exclusive_vm_without_an_empty_host_waits_and_names_what_is_there() {
    let rm = rules("", &["a", "b exclusive='1' autostart='0'"]);
    let mut cluster = Cluster::of(conf(1, "", &rm));
    assert_eq!(cluster.enable("b", None).0, Code::Depend);
    assert_eq!(cluster.waits("b"), "no host can take it now: node1 runs vm:a, and it has to be alone");
    cluster.disable("a");
    assert_eq!(cluster.on("b"), Some(1));
    assert_eq!(cluster.enable("a", None).0, Code::Depend);
    assert_eq!(cluster.waits("a"), "no host can take it now: node1 runs vm:b, which has to be alone");
}

#[test]
fn a_more_important_exclusive_vm_takes_the_place_of_a_less_important_one() {
    let rm = rules("", &["low exclusive='3'", "mid exclusive='2'", "top exclusive='1'"]);
    let mut cluster = Cluster::of(conf(3, "", &rm));
    let places = cluster.all_on(["low", "mid", "top"]);
    assert!(places.iter().all(Option::is_some));
    let top = places[2].unwrap();
    cluster.fail(&[top]);
    assert_eq!(cluster.all_on(["low", "mid"]), [None, places[1]]);
    assert_eq!(cluster.on("top"), places[0]);
    let reason = cluster.waits("low");
    assert!(reason.contains("runs vm:mid, and it has to be alone") && reason.contains("vm:top"), "{reason}");
    cluster.join(top);
    assert_eq!(cluster.on("low"), Some(top));
    assert_eq!(cluster.all_on(["mid", "top"]), [places[1], places[0]], "nobody else moved");
}

#[test]
fn exclusive_vms_of_one_priority_never_displace_each_other() {
    let rm = rules("", &["a exclusive='1'", "b exclusive='1'"]);
    let mut cluster = Cluster::of(conf(2, "", &rm));
    let places = cluster.all_on(["a", "b"]);
    cluster.change("name='a' exclusive", "name='c' exclusive='1'/><vm name='a' exclusive");
    assert_eq!(cluster.all_on(["a", "b", "c"]), [places[0], places[1], None]);
}
