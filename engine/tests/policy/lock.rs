//! The lock: what it holds back and what not.

use crate::cluster::{Cluster, ONE, THREE, TWO, a};
use belay_proto::Code;
use belay_proto::entry::{Request, WorkOutcome};

fn locked(mut cluster: Cluster) -> Cluster {
    let id = cluster.ask(Request::Lock {});
    assert_eq!(cluster.answer(&id).unwrap().code, Code::Success);
    assert!(cluster.state.locked());
    cluster
}

#[test]
fn what_a_lost_host_ran_waits_for_the_unlocking_and_starts_with_it() {
    let mut cluster = locked(Cluster::new().started_on(TWO));
    cluster.view(&[ONE, THREE]);
    cluster.pass(10).fenced(TWO, 1);
    assert_eq!(cluster.does(), "waits");
    assert!(cluster.record().waiting.as_ref().unwrap().contains("locked"));
    cluster.ask(Request::Unlock {});
    assert_eq!(cluster.does(), "starting node1");
}

#[test]
fn a_vm_that_dies_is_restarted_in_place_all_the_same_but_not_elsewhere() {
    let mut cluster = locked(Cluster::with("max_restarts=\"1\" restart_expire_time=\"600\"").started_on(TWO));
    cluster.dies(TWO);
    assert_eq!(cluster.does(), "starting node2");
    cluster.ends(TWO, WorkOutcome::Started).dies(TWO);
    assert_eq!(cluster.does(), "waits", "its restarts are used up, and to move it is a start like any other");
    cluster.ask(Request::Unlock {});
    assert_eq!(cluster.does(), "starting node1");
}

#[test]
fn a_start_that_fails_is_not_tried_elsewhere_until_it_is_unlocked_and_its_asker_is_told() {
    let mut cluster = Cluster::new();
    let id = cluster.ask(Request::Enable { service: a(), target: None, by_domain: false });
    let mut cluster = locked(cluster);
    cluster.start_fails(ONE);
    assert_eq!(cluster.does(), "waits");
    let verdict = cluster.answer(&id).unwrap();
    assert_eq!(verdict.code, Code::Again);
    assert!(verdict.reason.contains("locked"), "{}", verdict.reason);
    cluster.ask(Request::Unlock {});
    assert_eq!(cluster.does(), "starting node2");
}

#[test]
fn a_restart_under_way_is_finished() {
    let mut cluster = Cluster::new().started_on(ONE);
    let id = cluster.ask(Request::Restart { service: a() });
    let mut cluster = locked(cluster);
    cluster.ends(ONE, WorkOutcome::Stopped).ends(ONE, WorkOutcome::Started);
    assert_eq!(cluster.answer(&id).unwrap().code, Code::Success);
}

#[test]
fn it_outlives_a_loss_of_quorum_and_is_an_alarm_until_it_is_taken_away() {
    let mut cluster = locked(Cluster::new());
    cluster.view(&[TWO, THREE]);
    cluster.view(&[ONE, TWO, THREE]);
    assert!(cluster.state.locked());
    assert!(cluster.state.alarms().first().is_some_and(|alarm| alarm.contains("belay unlock")));
    let again = cluster.ask(Request::Lock {});
    assert_eq!(cluster.answer(&again).unwrap().code, Code::Success);
    let unlock = cluster.ask(Request::Unlock {});
    assert_eq!(cluster.answer(&unlock).unwrap().code, Code::Success);
    assert!(!cluster.state.locked());
    assert!(cluster.state.alarms().is_empty());
}

#[test]
fn what_waits_says_so_once() {
    let mut cluster = locked(Cluster::new().started_on(TWO));
    cluster.view(&[ONE, THREE]);
    cluster.pass(10).fenced(TWO, 1);
    cluster.pass(1).pass(1).pass(1);
    let blocked = cluster.said.iter().filter(|text| text.starts_with("cannot be started: the services are locked"));
    assert_eq!(blocked.count(), 1);
}
