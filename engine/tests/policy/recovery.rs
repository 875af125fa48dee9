//! What a death leads to by the service's policy, and what a failed start, a failed stop and silence lead to.

use crate::cluster::{Cluster, ONE, THREE, TWO, a};
use belay_proto::Code;
use belay_proto::entry::{Request, WorkOutcome};

/// What it does after each of four deaths, 10 s apart, where every start works.
fn after_deaths(attributes: &str) -> Vec<String> {
    let mut cluster = Cluster::with(attributes).started_on(ONE);
    let mut seen = Vec::new();
    for _ in 0..4 {
        let Some(owner) = cluster.record().phase.owner() else { break };
        cluster.pass(10).dies(owner);
        seen.push(cluster.does());
        if let Some(owner) = cluster.record().phase.owner() {
            cluster.ends(owner, WorkOutcome::Started);
        }
    }
    seen
}

#[test]
fn each_policy_does_what_it_says_when_the_vm_dies() {
    let window = "max_restarts=\"2\" restart_expire_time=\"600\"";
    for (attributes, expected) in [
        // Two restarts, then it is moved, and counting begins anew.
        (format!("recovery=\"restart\" {window}"), "1 1 2 2"),
        (window.to_owned(), "1 1 2 2"),
        (format!("recovery=\"restart-disable\" {window}"), "1 1 disabled"),
        // Without a threshold there is no end to it.
        ("recovery=\"restart\"".into(), "1 1 1 1"),
        ("recovery=\"restart-disable\"".into(), "1 1 1 1"),
        // Without an expire time none is ever forgotten.
        ("recovery=\"restart\" max_restarts=\"1\"".into(), "1 2 2 1"),
        // A window that is shorter than the time between deaths never fills.
        ("recovery=\"restart\" max_restarts=\"1\" restart_expire_time=\"5\"".into(), "1 1 1 1"),
        ("recovery=\"restart\" max_restarts=\"1\" restart_expire_time=\"15\"".into(), "1 2 2 1"),
        ("recovery=\"relocate\"".into(), "2 1 2 1"),
        ("recovery=\"disable\"".into(), "disabled"),
    ] {
        let found: Vec<String> =
            after_deaths(&attributes).iter().map(|does| does.replace("starting node", "")).collect();
        assert_eq!(found.join(" "), expected, "{attributes}");
    }
}

#[test]
fn a_start_that_fails_relocates_whatever_the_policy() {
    for policy in ["restart", "relocate", "restart-disable", "disable"] {
        let mut cluster = Cluster::with(&format!("recovery=\"{policy}\" max_restarts=\"1\""));
        cluster.ask(Request::Enable { service: a(), target: None, by_domain: false });
        cluster.start_fails(ONE);
        assert_eq!(cluster.does(), "starting node2", "{policy}");
    }
}

#[test]
fn a_restart_in_place_that_fails_goes_on_elsewhere() {
    for policy in ["restart", "restart-disable"] {
        let mut cluster = Cluster::with(&format!("recovery=\"{policy}\" max_restarts=\"3\"")).started_on(TWO);
        cluster.dies(TWO);
        assert_eq!(cluster.does(), "starting node2");
        cluster.start_fails(TWO);
        assert_eq!(cluster.does(), "starting node1", "{policy}");
    }
}

#[test]
fn a_relocation_after_a_death_tries_the_other_members_and_then_this_one() {
    let mut cluster = Cluster::with("recovery=\"relocate\"").started_on(ONE);
    cluster.dies(ONE);
    assert_eq!(cluster.does(), "starting node2");
    cluster.start_fails(TWO);
    assert_eq!(cluster.does(), "starting node3");
    cluster.start_fails(THREE);
    assert_eq!(cluster.does(), "starting node1");
}

#[test]
fn when_no_member_can_start_it_each_is_tried_again_later_and_later() {
    let mut cluster = Cluster::new();
    let id = cluster.ask(Request::Enable { service: a(), target: None, by_domain: false });
    for pause in [10, 20, 40] {
        cluster.start_fails(ONE).start_fails(TWO).start_fails(THREE);
        assert_eq!(cluster.does(), "waits");
        assert_eq!(cluster.answer(&id).unwrap().code, Code::Failure);
        assert!(cluster.state.wake_at_or_due().is_some());
        cluster.pass(pause - 1);
        assert_eq!(cluster.does(), "waits", "not before {pause} s");
        cluster.pass(1);
        assert_eq!(cluster.does(), "starting node1", "after {pause} s");
    }
}

#[test]
fn after_a_failed_stop_it_is_started_nowhere_until_its_host_is_proven_down() {
    let mut cluster = Cluster::new().started_on(ONE);
    cluster.ask(Request::Relocate { service: a(), target: None });
    cluster.stop_fails(ONE);
    assert_eq!(cluster.does(), "failed node1");
    cluster.ask(Request::Disable { service: a() });
    cluster.stop_fails(ONE);
    assert_eq!(cluster.does(), "disabled");
    cluster.ask(Request::Enable { service: a(), target: Some(TWO), by_domain: false });
    assert!(cluster.does() != "starting node2", "a copy may be left on node1");
}

#[test]
fn a_host_that_is_lost_while_it_starts_or_stops_is_neither_started_nor_stopped_until_it_is_fenced() {
    for request in [Request::Restart { service: a() }, Request::Relocate { service: a(), target: None }] {
        let mut cluster = Cluster::new().started_on(TWO);
        cluster.ask(request);
        let before = cluster.does();
        cluster.view(&[ONE, THREE]);
        cluster.pass(60);
        assert_eq!(cluster.does(), before, "nobody knows");
        cluster.fenced(TWO, 1);
        assert_eq!(cluster.does(), "starting node1");
    }
    let mut cluster = Cluster::new();
    let id = cluster.ask(Request::Enable { service: a(), target: Some(TWO), by_domain: false });
    cluster.view(&[ONE, THREE]);
    cluster.pass(60);
    assert_eq!(cluster.does(), "starting node2");
    cluster.fenced(TWO, 1);
    assert_eq!(cluster.does(), "starting node1");
    cluster.ends(ONE, WorkOutcome::Started);
    assert_eq!(cluster.answer(&id).unwrap().owner, Some(ONE));
}

#[test]
fn a_stop_or_disable_of_what_a_lost_host_ran_is_done_when_that_is_fenced() {
    for (request, after) in
        [(Request::Stop { service: a() }, "stopped"), (Request::Disable { service: a() }, "disabled")]
    {
        let mut cluster = Cluster::new().started_on(TWO);
        cluster.view(&[ONE, THREE]);
        let id = cluster.ask(request);
        assert_eq!(cluster.answer(&id), None);
        cluster.pass(10).fenced(TWO, 1);
        assert_eq!(cluster.answer(&id).unwrap().code, Code::Success);
        assert_eq!(cluster.does(), after);
    }
}

#[test]
fn a_second_copy_that_is_being_destroyed_is_waited_for_before_its_owners_is_restarted() {
    use belay_proto::entry::{Seen, What};
    let mut cluster = Cluster::new().started_on(ONE);
    let epoch = cluster.record().epoch;
    cluster.apply(TWO, What::Observation { service: a(), epoch, seen: Seen::Running });
    cluster.ends(ONE, WorkOutcome::Looked { running: true });
    cluster.dies(ONE);
    assert_eq!(cluster.does(), "waits", "the copy on node2 still runs");
    cluster.ends(TWO, WorkOutcome::StrayStopped);
    assert_eq!(cluster.does(), "starting node1");
}

#[test]
fn a_copy_that_may_be_left_elsewhere_is_waited_for_before_one_is_restarted_in_place() {
    use belay_proto::entry::{Seen, What};
    let mut cluster = Cluster::new().started_on(ONE);
    cluster.ask(Request::Disable { service: a() });
    cluster.stop_fails(ONE);
    cluster.ask(Request::Disable { service: a() });
    cluster.stop_fails(ONE);
    cluster.view(&[TWO, THREE]);
    cluster.ask_on(TWO, Request::Enable { service: a(), target: None, by_domain: false });
    assert_eq!(cluster.does(), "waits");
    let epoch = cluster.record().epoch;
    cluster.apply(TWO, What::Observation { service: a(), epoch, seen: Seen::Running });
    assert_eq!(cluster.does(), "started node2", "somebody started it there by hand");
    cluster.dies(TWO);
    assert_eq!(cluster.does(), "waits", "node1, which is lost, may have the copy that could not be stopped");
    cluster.pass(10).fenced(ONE, 1);
    assert_eq!(cluster.does(), "starting node2");
}

#[test]
fn what_a_lost_host_has_to_stop_says_what_it_waits_for() {
    let mut cluster = Cluster::new().started_on(TWO);
    cluster.ask(Request::Disable { service: a() });
    assert_eq!(cluster.state.service_statuses()[0].waiting, None);
    cluster.view(&[ONE, THREE]);
    let waiting = cluster.state.service_statuses()[0].waiting.clone().unwrap();
    let expected = "node2 is lost: it has to come back, or be proven to be down; being fenced by node1";
    assert_eq!(waiting, expected);
}

#[test]
fn a_late_report_of_an_earlier_decision_changes_nothing() {
    use belay_proto::entry::What;
    let mut cluster = Cluster::new().started_on(ONE);
    let old = cluster.record().epoch;
    cluster.dies(ONE);
    let before = cluster.does();
    for outcome in [WorkOutcome::Started, WorkOutcome::StartFailed { reason: String::new() }, WorkOutcome::Stopped] {
        cluster.apply(ONE, What::Outcome { service: a(), epoch: old, outcome });
        assert_eq!(cluster.does(), before);
    }
}
