//! Every request in every state. The table is `requests.table`: change it there, and say why in docs/departures.md where
//! it leaves the original.

use crate::cluster::{Cluster, ONE, THREE, TWO, a};
use belay_proto::entry::{NodeMode, Request, WorkOutcome};
use belay_proto::{Code, NodeId, ServiceName};

/// How the service comes to be in a state.
type Story = fn() -> Cluster;

/// The states of the service. The requests are typed on node1.
fn states() -> Vec<(&'static str, Story)> {
    vec![
        ("stopped", || {
            let mut cluster = Cluster::new().started_on(TWO);
            cluster.ask(Request::Stop { service: a() });
            cluster.ends(TWO, WorkOutcome::Stopped);
            cluster
        }),
        ("started on node1", || Cluster::new().started_on(ONE)),
        ("started on node2", || Cluster::new().started_on(TWO)),
        ("started on node2, which is lost", || {
            let mut cluster = Cluster::new().started_on(TWO);
            cluster.view(&[ONE, THREE]);
            cluster
        }),
        ("starting on node2", || {
            let mut cluster = Cluster::new();
            cluster.ask(Request::Enable { service: a(), target: Some(TWO), by_domain: false });
            cluster
        }),
        ("stopping on node2", || {
            let mut cluster = Cluster::new().started_on(TWO);
            cluster.ask(Request::Stop { service: a() });
            cluster
        }),
        ("restarting on node2", || {
            let mut cluster = Cluster::new().started_on(TWO);
            cluster.ask(Request::Restart { service: a() });
            cluster
        }),
        ("relocating from node2", || {
            let mut cluster = Cluster::new().started_on(TWO);
            cluster.ask(Request::Relocate { service: a(), target: None });
            cluster
        }),
        ("migrating from node2 to node3", || {
            let mut cluster = Cluster::new().started_on(TWO);
            cluster.ask(Request::Migrate { service: a(), target: THREE });
            cluster
        }),
        ("recovering: it died and no member could start it", || {
            let mut cluster = Cluster::new().started_on(TWO);
            cluster.dies(TWO).start_fails(TWO).start_fails(ONE).start_fails(THREE);
            cluster
        }),
        ("failed on node2", || {
            let mut cluster = Cluster::new().started_on(TWO);
            cluster.ask(Request::Stop { service: a() });
            cluster.stop_fails(TWO);
            cluster
        }),
        ("failed on node2, which was fenced since", || {
            let mut cluster = Cluster::new().started_on(TWO);
            cluster.ask(Request::Stop { service: a() });
            cluster.stop_fails(TWO);
            cluster.view(&[ONE, THREE]);
            cluster.fenced(TWO, 1);
            cluster
        }),
        ("disabled", Cluster::new),
        ("frozen on node2", || {
            let mut cluster = Cluster::new().started_on(TWO);
            cluster.ask(Request::Freeze { service: a() });
            cluster
        }),
        ("frozen while stopped", || {
            let mut cluster = Cluster::new();
            cluster.ask(Request::Freeze { service: a() });
            cluster
        }),
        ("started on node2, locked", || {
            let mut cluster = Cluster::new().started_on(TWO);
            cluster.ask(Request::Lock {});
            cluster
        }),
        ("disabled, locked", || {
            let mut cluster = Cluster::new();
            cluster.ask(Request::Lock {});
            cluster
        }),
    ]
}

/// Every request about a service, as `clusvcadm` has it.
pub(crate) fn requests(service: &ServiceName) -> Vec<(&'static str, Request)> {
    let service = || service.clone();
    vec![
        ("-e", Request::Enable { service: service(), target: None, by_domain: false }),
        ("-e -m node2", Request::Enable { service: service(), target: Some(TWO), by_domain: false }),
        ("-e -m node3", Request::Enable { service: service(), target: Some(THREE), by_domain: false }),
        ("-e -F", Request::Enable { service: service(), target: None, by_domain: true }),
        ("-d", Request::Disable { service: service() }),
        ("-s", Request::Stop { service: service() }),
        ("-R", Request::Restart { service: service() }),
        ("-r", Request::Relocate { service: service(), target: None }),
        ("-r -m node2", Request::Relocate { service: service(), target: Some(TWO) }),
        ("-r -m node3", Request::Relocate { service: service(), target: Some(THREE) }),
        ("-M -m node2", Request::Migrate { service: service(), target: TWO }),
        ("-M -m node3", Request::Migrate { service: service(), target: THREE }),
        ("-Z", Request::Freeze { service: service() }),
        ("-U", Request::Unfreeze { service: service() }),
        ("-c", Request::Convalesce { service: service() }),
    ]
}

#[test]
fn every_request_in_every_state_is_answered_and_carried_out_as_the_table_says() {
    let mut lines: Vec<String> = Vec::new();
    for (state, make) in states() {
        let name: String = make().does();
        lines.push(format!("== {state}: {name}"));
        for (letters, request) in requests(&a()) {
            let mut cluster = make();
            let before = cluster.does();
            let id = cluster.ask(request);
            let answer = match cluster.answer(&id) {
                Some(verdict) => verdict.code.text().to_owned(),
                None if cluster.record().queue.contains(&id) => "(waits for its turn)".into(),
                None => "(under way)".into(),
            };
            let after = cluster.does();
            let after = if after == before { "as it was" } else { &after };
            lines.push(format!("{letters:<12} {answer:<43} {after}"));
        }
        lines.push(String::new());
    }
    let found = lines.join("\n");
    let table = include_str!("requests.table");
    let expected = table.split_once("\n\n").map_or("", |(_, rest)| rest);
    assert_eq!(expected.lines().count(), found.lines().count(), "{found}");
    for (expected, found) in expected.lines().zip(found.lines()) {
        assert_eq!(expected.trim_end(), found.trim_end());
    }
}

#[test]
fn a_service_that_does_not_exist_has_one_answer_to_everything() {
    for (letters, request) in requests(&ServiceName::vm("nosuch").unwrap()) {
        let mut cluster = Cluster::new();
        let id = cluster.ask(request);
        assert_eq!(cluster.answer(&id).unwrap().code, Code::NoService, "{letters}");
    }
}

#[test]
fn without_quorum_every_request_is_refused_at_once_and_nothing_is_proposed() {
    use belay_engine::node::{Action, Event, Identity, Node, Now};
    let identity = Identity {
        node: ONE,
        boot: "boot".parse().unwrap(),
        incarnation: belay_proto::Incarnation(1),
        software: "test".into(),
    };
    let now = Now { mono_ms: 0, wall: belay_proto::Timestamp(1000) };
    let all = requests(&a()).into_iter().chain([("-l", Request::Lock {}), ("-u", Request::Unlock {})]);
    for (letters, request) in all {
        let mut node = Node::new(identity.clone(), Cluster::new().started_on(ONE).state, now);
        let id: belay_proto::RequestId = "r".parse().unwrap();
        let actions = node.step(now, Event::Submit { id, by: "root".into(), request });
        let told = actions.iter().find_map(|action| match action {
            Action::Reply { verdict, .. } => Some(verdict.code),
            _ => None,
        });
        assert_eq!(told, Some(Code::Quorum), "{letters}");
        assert!(!actions.iter().any(|action| matches!(action, Action::Propose(_))), "{letters}");
    }
}

#[test]
fn a_member_that_is_lost_or_was_never_there_is_no_target() {
    for target in [THREE, NodeId(9)] {
        for (of, request) in [
            ("enable", Request::Enable { service: a(), target: Some(target), by_domain: false }),
            ("relocate", Request::Relocate { service: a(), target: Some(target) }),
            ("migrate", Request::Migrate { service: a(), target }),
        ] {
            let mut cluster = if of == "enable" { Cluster::new() } else { Cluster::new().started_on(ONE) };
            cluster.view(&[ONE, TWO]);
            let before = cluster.does();
            let id = cluster.ask(request);
            let code = cluster.answer(&id).unwrap().code;
            // §7.4 tells an unknown target of a migration from a dead one.
            let expected = if of == "migrate" && target != THREE { Code::Invalid } else { Code::NoNode };
            assert_eq!(code, expected, "{of} to {target}");
            assert_eq!(cluster.does(), before, "nothing is done");
        }
    }
}

#[test]
fn a_member_outside_of_a_restricted_domain_is_refused_before_anything_is_stopped() {
    for (code, request) in [
        (Code::Domain, Request::Relocate { service: a(), target: Some(THREE) }),
        (Code::Depend, Request::Migrate { service: a(), target: THREE }),
    ] {
        let mut cluster = Cluster::with("domain=\"low\"").started_on(ONE);
        let id = cluster.ask(request);
        assert_eq!(cluster.answer(&id).unwrap().code, code);
        assert_eq!(cluster.does(), "started node1");
    }
    let mut cluster = Cluster::with("domain=\"low\"");
    let id = cluster.ask(Request::Enable { service: a(), target: Some(THREE), by_domain: false });
    assert_eq!(cluster.answer(&id).unwrap().code, Code::Domain);
    assert_eq!(cluster.does(), "disabled");
}

#[test]
fn an_enable_starts_it_where_it_was_typed_if_that_member_may_have_it_and_else_where_placement_wants_it() {
    let enable = |by_domain| Request::Enable { service: a(), target: None, by_domain };
    let started_by = |attributes: &str, via, by_domain| {
        let mut cluster = Cluster::with(attributes);
        cluster.ask_on(via, enable(by_domain));
        cluster.does()
    };
    assert_eq!(started_by("", THREE, false), "starting node3");
    assert_eq!(started_by("", THREE, true), "starting node1");
    assert_eq!(started_by("domain=\"low\"", TWO, false), "starting node2");
    assert_eq!(started_by("domain=\"low\"", THREE, false), "starting node1");
}

#[test]
fn an_enable_that_fails_where_it_was_typed_goes_on_elsewhere_and_says_where_it_is() {
    let mut cluster = Cluster::new();
    let id = cluster.ask_on(TWO, Request::Enable { service: a(), target: None, by_domain: false });
    cluster.start_fails(TWO);
    assert_eq!(cluster.does(), "starting node1");
    cluster.ends(ONE, WorkOutcome::Started);
    let verdict = cluster.answer(&id).unwrap();
    assert_eq!((verdict.code, verdict.owner), (Code::Success, Some(ONE)));
}

#[test]
fn a_relocation_tries_the_other_members_in_order_and_falls_back_to_where_it_was() {
    let mut cluster = Cluster::new().started_on(ONE);
    let id = cluster.ask(Request::Relocate { service: a(), target: None });
    cluster.ends(ONE, WorkOutcome::Stopped);
    assert_eq!(cluster.does(), "starting node2");
    cluster.start_fails(TWO);
    assert_eq!(cluster.does(), "starting node3");
    cluster.start_fails(THREE);
    assert_eq!(cluster.does(), "starting node1");
    assert_eq!(cluster.answer(&id), None);
    cluster.ends(ONE, WorkOutcome::Started);
    let verdict = cluster.answer(&id).unwrap();
    assert_eq!((verdict.code, verdict.owner), (Code::RunningOnOriginal, Some(ONE)));
}

#[test]
fn a_relocation_that_works_nowhere_fails_and_is_tried_again_later() {
    let mut cluster = Cluster::new().started_on(ONE);
    let id = cluster.ask(Request::Relocate { service: a(), target: None });
    cluster.ends(ONE, WorkOutcome::Stopped).start_fails(TWO).start_fails(THREE).start_fails(ONE);
    assert_eq!(cluster.answer(&id).unwrap().code, Code::Failure);
    assert_eq!(cluster.does(), "waits");
    cluster.pass(11);
    assert_eq!(cluster.does(), "starting node1");
}

#[test]
fn a_relocation_to_a_member_that_cannot_start_it_goes_on_elsewhere_and_says_where_it_is() {
    let mut cluster = Cluster::new().started_on(ONE);
    let id = cluster.ask(Request::Relocate { service: a(), target: Some(THREE) });
    cluster.ends(ONE, WorkOutcome::Stopped);
    assert_eq!(cluster.does(), "starting node3");
    cluster.start_fails(THREE);
    assert_eq!(cluster.does(), "starting node2");
    cluster.ends(TWO, WorkOutcome::Started);
    let verdict = cluster.answer(&id).unwrap();
    assert_eq!((verdict.code, verdict.owner), (Code::Success, Some(TWO)));
}

#[test]
fn a_relocation_to_where_it_runs_starts_it_there_again() {
    let mut cluster = Cluster::new().started_on(ONE);
    let id = cluster.ask(Request::Relocate { service: a(), target: Some(ONE) });
    cluster.ends(ONE, WorkOutcome::Stopped);
    assert_eq!(cluster.does(), "starting node1");
    cluster.ends(ONE, WorkOutcome::Started);
    assert_eq!(cluster.answer(&id).unwrap().code, Code::Success);
}

#[test]
fn a_relocation_that_nobody_else_could_take_stops_nothing() {
    let mut cluster = Cluster::new().started_on(ONE);
    cluster.view(&[ONE]);
    cluster.pass(10).fenced(TWO, 1).fenced(THREE, 1);
    let id = cluster.ask(Request::Relocate { service: a(), target: None });
    assert_eq!(cluster.answer(&id).unwrap().code, Code::RunningOnOriginal);
    assert_eq!(cluster.does(), "started node1");
}

#[test]
fn a_stop_that_fails_ends_a_relocation_as_aborted_and_a_stop_as_failed() {
    for (request, code) in [
        (Request::Relocate { service: a(), target: None }, Code::Aborted),
        (Request::Restart { service: a() }, Code::Aborted),
        (Request::Stop { service: a() }, Code::Failure),
        (Request::Disable { service: a() }, Code::Failure),
    ] {
        let mut cluster = Cluster::new().started_on(ONE);
        let id = cluster.ask(request);
        cluster.stop_fails(ONE);
        assert_eq!(cluster.answer(&id).unwrap().code, code);
        assert_eq!(cluster.does(), "failed node1");
    }
}

#[test]
fn a_disable_ends_failed_whatever_its_stop_comes_to() {
    for (outcome, code) in [
        (WorkOutcome::Stopped, Code::Success),
        (WorkOutcome::StopFailed { reason: "libvirt hangs".into() }, Code::Warning),
    ] {
        let mut cluster = Cluster::new().started_on(ONE);
        cluster.ask(Request::Stop { service: a() });
        cluster.stop_fails(ONE);
        let id = cluster.ask(Request::Disable { service: a() });
        assert_eq!(cluster.does(), "stopping node1, then disabled anyway");
        cluster.ends(ONE, outcome);
        assert_eq!(cluster.answer(&id).unwrap().code, code);
        assert_eq!(cluster.does(), "disabled");
    }
}

#[test]
fn a_restart_waits_for_nobody_who_has_nothing_to_do_with_it() {
    let mut cluster = Cluster::new().started_on(ONE);
    cluster.ask(Request::Restart { service: a() });
    // Nothing may be placed while a member has not said what it runs, but this one is known to run nowhere.
    cluster.view(&[ONE, TWO]);
    cluster.ends(ONE, WorkOutcome::Stopped);
    assert_eq!(cluster.does(), "starting node1");
}

#[test]
fn a_restart_whose_start_fails_relocates() {
    let mut cluster = Cluster::new().started_on(ONE);
    let id = cluster.ask(Request::Restart { service: a() });
    cluster.ends(ONE, WorkOutcome::Stopped).start_fails(ONE);
    assert_eq!(cluster.does(), "starting node2");
    cluster.ends(TWO, WorkOutcome::Started);
    let verdict = cluster.answer(&id).unwrap();
    assert_eq!((verdict.code, verdict.owner), (Code::Success, Some(TWO)));
}

#[test]
fn what_waits_for_its_turn_is_carried_out_in_the_order_in_which_it_was_asked() {
    let mut cluster = Cluster::new();
    let enable = cluster.ask(Request::Enable { service: a(), target: None, by_domain: false });
    let restart = cluster.ask(Request::Restart { service: a() });
    let disable = cluster.ask(Request::Disable { service: a() });
    cluster.ends(ONE, WorkOutcome::Started);
    assert_eq!(cluster.answer(&enable).unwrap().code, Code::Success);
    assert_eq!(cluster.does(), "stopping node1, then node1");
    cluster.ends(ONE, WorkOutcome::Stopped);
    assert_eq!(cluster.does(), "starting node1");
    cluster.ends(ONE, WorkOutcome::Started);
    assert_eq!(cluster.answer(&restart).unwrap().code, Code::Success);
    assert_eq!(cluster.does(), "stopping node1, then disabled");
    cluster.ends(ONE, WorkOutcome::Stopped);
    assert_eq!(cluster.answer(&disable).unwrap().code, Code::Success);
}

#[test]
fn a_disable_ends_a_relocation_as_soon_as_it_runs_nowhere() {
    let mut cluster = Cluster::new().started_on(ONE);
    let relocate = cluster.ask(Request::Relocate { service: a(), target: None });
    let disable = cluster.ask(Request::Disable { service: a() });
    cluster.ends(ONE, WorkOutcome::Stopped);
    assert_eq!(cluster.does(), "disabled");
    assert_eq!(cluster.answer(&disable).unwrap().code, Code::Success);
    assert_eq!(cluster.answer(&relocate).unwrap().code, Code::Again);
}

#[test]
fn a_request_whose_turn_comes_when_no_member_could_start_it_is_not_left_lying() {
    let mut cluster = Cluster::new();
    let enable = cluster.ask(Request::Enable { service: a(), target: None, by_domain: false });
    let restart = cluster.ask(Request::Restart { service: a() });
    cluster.start_fails(ONE).start_fails(TWO).start_fails(THREE);
    assert_eq!(cluster.answer(&enable).unwrap().code, Code::Failure);
    assert_eq!(cluster.does(), "starting node1", "the restart began at once");
    cluster.ends(ONE, WorkOutcome::Started);
    assert_eq!(cluster.answer(&restart).unwrap().code, Code::Success);
}

#[test]
fn a_request_that_is_refused_changes_neither_the_one_before_it_nor_the_causes() {
    let mut cluster = Cluster::new();
    // Nothing can be placed, because a member that has just joined has not said what it runs.
    cluster.view(&[ONE, TWO]);
    cluster.pass(10).fenced(THREE, 1);
    cluster.ask(Request::Lock {});
    cluster.ask(Request::Unlock {});
    let first = cluster.ask(Request::Enable { service: a(), target: None, by_domain: false });
    let chain = cluster.record().chain.clone();
    let second = cluster.ask(Request::Enable { service: a(), target: Some(THREE), by_domain: false });
    assert_eq!(cluster.answer(&second).unwrap().code, Code::Running);
    assert_eq!(cluster.record().chain, chain);
    assert_eq!(cluster.answer(&first), None, "it is still under way");
    assert!(cluster.said.iter().any(|text| text.contains("Service is already running")), "{:?}", cluster.said);
}

#[test]
fn the_same_id_again_does_nothing_twice() {
    let mut cluster = Cluster::new().started_on(ONE);
    let id = cluster.ask(Request::Restart { service: a() });
    cluster.ends(ONE, WorkOutcome::Stopped).ends(ONE, WorkOutcome::Started);
    let (answer, epoch) = (cluster.answer(&id), cluster.record().epoch);
    let again = belay_proto::entry::What::Request {
        id: id.clone(),
        by: "root".into(),
        request: Request::Restart { service: a() },
    };
    cluster.apply(TWO, again);
    assert_eq!((cluster.answer(&id), cluster.record().epoch), (answer, epoch));
}

#[test]
fn while_members_are_asked_where_it_was_moved_no_request_stops_or_starts_it() {
    use belay_proto::entry::{GoneReason, Seen, What};
    let mut cluster = Cluster::new().started_on(ONE);
    let epoch = cluster.record().epoch;
    cluster.apply(ONE, What::Observation { service: a(), epoch, seen: Seen::Gone { why: GoneReason::Migrated } });
    let relocate = cluster.ask(Request::Relocate { service: a(), target: None });
    assert_eq!(cluster.does(), "started node1");
    cluster.inventory(TWO, &["a"]);
    assert_eq!(cluster.does(), "stopping node2, then not node2", "it was found there, and is relocated from there");
    assert_eq!(cluster.answer(&relocate), None);
}

#[test]
fn what_runs_nowhere_is_disabled_at_once_though_a_member_may_not_have_said_yet_whether_it_runs_it() {
    let mut cluster = Cluster::new();
    cluster.view(&[ONE, TWO]);
    // A VM that is new to the configuration: node3, which is lost, may run it already.
    cluster.add_vm("b");
    cluster.inventory(ONE, &[]);
    cluster.inventory(TWO, &[]);
    let b = ServiceName::vm("b").unwrap();
    let enable = cluster.ask(Request::Enable { service: b.clone(), target: None, by_domain: false });
    let verdict = cluster.answer(&enable).unwrap();
    assert_eq!(verdict.code, Code::Fencing, "{}", verdict.reason);
    let disable = cluster.ask(Request::Disable { service: b });
    assert_eq!(cluster.answer(&disable).unwrap().code, Code::Success);
}

#[test]
fn one_that_failed_while_it_was_frozen_can_be_unfrozen() {
    use belay_proto::entry::{GoneReason, Seen, What, WorkOutcome};
    let mut cluster = Cluster::new().started_on(ONE);
    cluster.ask(Request::Freeze { service: a() });
    let epoch = cluster.record().epoch;
    cluster.apply(ONE, What::Observation { service: a(), epoch, seen: Seen::Gone { why: GoneReason::Migrated } });
    let asked = cluster.record().epoch;
    for node in [TWO, THREE] {
        let outcome = WorkOutcome::Looked { running: false };
        cluster.apply(node, What::Outcome { service: a(), epoch: asked, outcome });
    }
    assert_eq!(cluster.does(), "failed node1 [Z]");
    let id = cluster.ask(Request::Unfreeze { service: a() });
    assert_eq!(cluster.answer(&id).unwrap().code, Code::Success);
    let id = cluster.ask(Request::Disable { service: a() });
    assert_eq!(cluster.answer(&id).unwrap().code, Code::Success);
    assert_eq!(cluster.does(), "disabled");
}

#[test]
fn a_member_that_is_not_in_service_is_no_target_that_could_be_asked_for() {
    let mut cluster = Cluster::new();
    cluster.ask(Request::SetMode { node: TWO, mode: NodeMode::Maintenance, reason: String::new() });
    let in_service = cluster.state.node(TWO).unwrap().mode == NodeMode::Active;
    let id = cluster.ask(Request::Enable { service: a(), target: Some(TWO), by_domain: false });
    let refused = cluster.answer(&id).is_some_and(|verdict| verdict.code == Code::Domain);
    assert_eq!(refused, !in_service);
}
