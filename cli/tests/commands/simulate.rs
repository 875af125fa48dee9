//! `belay simulate` and `belay check --survives`, on a file and on a copy of a running cluster's state.

use crate::support::{Said, Script, World, alpha, run};
use belay_engine::rehearsal::Rehearsal;
use std::collections::BTreeSet;
use std::path::Path;

/// Three hosts of 8 GiB and three VMs of 5.
const ROOMY: &str = r#"<cluster name="try" config_version="1">
  <clusternodes>
    <clusternode name="node1" nodeid="1" memory="8G" cpus="8"><fence><method name="bmc"><device name="b1"/></method></fence></clusternode>
    <clusternode name="node2" nodeid="2" memory="8G" cpus="8"><fence><method name="bmc"><device name="b2"/></method></fence></clusternode>
    <clusternode name="node3" nodeid="3" memory="8G" cpus="8"><fence><method name="bmc"><device name="b3"/></method></fence></clusternode>
  </clusternodes>
  <fencedevices>
    <fencedevice name="b1" agent="fence_ipmilan"/>
    <fencedevice name="b2" agent="fence_ipmilan"/>
    <fencedevice name="b3" agent="fence_ipmilan" passwd="secret"/>
  </fencedevices>
  <rm>
    <vm name="db" path="/vms" memory="3G" vcpus="2"/>
    <vm name="web1" path="/vms" memory="3G" vcpus="2"/>
    <vm name="web2" path="/vms" memory="3G" vcpus="2"/>
  </rm>
</cluster>
"#;

/// A stand-in for a daemon that has this configuration and runs it.
fn world(conf: &str) -> World {
    let (rehearsal, _) = Rehearsal::cold(conf, &BTreeSet::new()).unwrap();
    let world = World::new(Script { snapshot: rehearsal.state().snapshot(), ..Script::new(alpha()) });
    std::fs::write(world.folder.path().join("cluster.conf"), conf).unwrap();
    world
}

fn ask(world: &World, line: &str) -> Said {
    let file = world.folder.path().join("cluster.conf");
    let mut said = run(world.socket(), 100, &line.replace("FILE", &shown(&file)));
    said.out = said.out.replace(&shown(&file), "cluster.conf");
    said.err = said.err.replace(&shown(&file), "cluster.conf");
    said
}

fn shown(file: &Path) -> String {
    file.display().to_string()
}

#[test]
fn the_loss_of_a_host_and_its_return_are_told_step_by_step() {
    let world = world(ROOMY);
    insta::assert_snapshot!("simulate_fail_join", ask(&world, "belay simulate --fail node2 --join node2").to_string());
}

#[test]
fn a_configuration_is_tried_as_a_cluster_that_has_just_been_switched_on() {
    let world = world(ROOMY);
    let line = "belay simulate --config FILE --set vm:db.memory=9000 --fail node1";
    insta::assert_snapshot!("simulate_config", ask(&world, line).to_string());
}

#[test]
fn what_would_be_left_without_a_place_is_named_and_makes_the_exit_status() {
    let world = world(&ROOMY.replace("3G", "5G"));
    let said = ask(&world, "belay simulate --fail node1 --set node:node2.memory=1G --fail node3");
    assert_eq!(said.status, 3, "{said}");
    assert!(said.out.contains("no quorum") && said.out.contains("is left without a place"), "{said}");
}

#[test]
fn no_password_is_shown() {
    let world = world(ROOMY);
    for line in ["belay simulate --verbose --fail node3", "belay check --survives 1"] {
        let said = ask(&world, line);
        assert!(!said.out.contains("secret") && !said.err.contains("secret"), "{said}");
    }
}

#[test]
fn whether_any_one_host_may_be_lost_is_answered_and_why_not() {
    insta::assert_snapshot!("check_survives", ask(&world(ROOMY), "belay check --survives 1").to_string());
    let tight = world(&ROOMY.replace("3G", "5G"));
    insta::assert_snapshot!("check_survives_not", ask(&tight, "belay check --survives 1 FILE").to_string());
    let unknown = ROOMY
        .replace(" memory=\"3G\" vcpus=\"2\"", "")
        .replace("node1\" nodeid=\"1\" memory=\"8G\"", "node1\" nodeid=\"1\"");
    insta::assert_snapshot!("check_survives_unknown", ask(&world(&unknown), "belay check --survives 1").to_string());
}

#[test]
fn what_the_configurations_reader_finds_in_a_setting_is_told() {
    let said = ask(&world(ROOMY), "belay simulate --set vm:web1.recovery=maybe");
    assert!(said.out.contains("warning") && said.out.contains("maybe"), "{said}");
}

#[test]
fn what_cannot_be_played_is_said_with_what_to_write_instead() {
    let world = world(ROOMY);
    for (line, status, part) in [
        ("belay simulate", 2, "say what should happen"),
        ("belay simulate --fail node7", 244, "the members are: node1, node2, node3"),
        ("belay simulate --join node1", 1, "node1 is online already"),
        ("belay simulate --set web1=3", 2, "SUBJECT.ATTRIBUTE=VALUE"),
        ("belay simulate --set vm:web9.memory=3", 1, "there is no <vm name=\"web9\">"),
        ("belay simulate --set node:node1.nodeid=2", 1, "cannot be used"),
        ("belay simulate --request status", 2, "is no request"),
        ("belay simulate --config /nowhere --fail node1", 1, "cannot read /nowhere"),
    ] {
        let said = ask(&world, line);
        assert_eq!((said.status, said.out.as_str()), (status, ""), "{line}: {said}");
        assert!(said.err.contains(part), "{line}: {said}");
    }
}
