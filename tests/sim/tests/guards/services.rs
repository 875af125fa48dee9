//! Decisions about services that would run one twice, forget one, or do what nobody wanted.

use crate::cluster::{Cluster, ONE, THREE, TWO, a};
use crate::{Fault, is_contained, starts_nowhere, tripped};
use belay_engine::mutant::Mutant;
use belay_engine::state::guard::Invariant;
use belay_engine::state::service::Phase;
use belay_proto::entry::{Request, Seen, What, WorkOutcome};
use belay_proto::{Code, NodeMode};

fn enable(on: belay_proto::NodeId) -> Request {
    Request::Enable { service: a(), target: Some(on), by_domain: false }
}

#[test]
fn what_a_victim_runs_does_not_start_elsewhere_while_it_is_being_fenced() {
    let mut cluster = Cluster::new().started_on(THREE);
    let fault = Fault::on(Mutant::StartBeforeFenced);
    cluster.view(&[ONE, TWO]);
    cluster.pass(10);
    is_contained(&cluster, Invariant::S2);
    assert_eq!(cluster.does(), "started node3 [Z]", "for all anybody knows it runs there");
    fault.off();
    cluster.fenced(THREE, 1);
    assert_eq!(cluster.does(), "waits [Z]", "now that is proven, and still nobody touches it");
    assert!(starts_nowhere(&cluster));
    let id = cluster.ask(Request::Unfreeze { service: a() });
    assert_eq!(cluster.answer(&id).unwrap().code, Code::Success);
    assert!(cluster.record().tripped.is_none() && !cluster.record().frozen);
    assert_eq!(cluster.does(), "starting node1", "whoever has looked says that it may go on");
}

#[test]
fn nothing_but_unfreezing_moves_what_a_guard_has_frozen() {
    let mut cluster = Cluster::new().started_on(THREE);
    let fault = Fault::on(Mutant::StartBeforeFenced);
    cluster.view(&[ONE, TWO]);
    cluster.pass(10);
    fault.off();
    cluster.fenced(THREE, 1);
    let first = tripped(&cluster).clone();
    for request in [enable(ONE), Request::Restart { service: a() }, Request::Disable { service: a() }] {
        let id = cluster.ask(request);
        let answer = cluster.answer(&id).unwrap();
        assert_eq!(answer.code, Code::Frozen);
        assert!(answer.reason.contains("Belay froze it by itself (S2)"), "{}", answer.reason);
    }
    cluster.view(&[ONE, TWO, THREE]);
    cluster.pass(1000);
    assert!(starts_nowhere(&cluster));
    assert_eq!(tripped(&cluster), &first, "the evidence is kept");
}

#[test]
fn what_ran_on_a_host_that_left_with_it_is_not_taken_to_be_stopped() {
    let mut cluster = Cluster::new().started_on(THREE);
    let _fault = Fault::on(Mutant::LeaveRunningIsClean);
    cluster.apply(THREE, What::Leave { stopped: false });
    cluster.view_on(&[ONE, TWO], &[ONE, TWO, THREE]);
    is_contained(&cluster, Invariant::S2);
    assert_eq!(cluster.does(), "started node3 [Z]");
}

#[test]
fn a_stop_that_failed_is_no_stop() {
    let mut cluster = Cluster::new().started_on(ONE);
    let _fault = Fault::on(Mutant::FailedStopIsStopped);
    let id = cluster.ask(Request::Relocate { service: a(), target: Some(TWO) });
    cluster.stop_fails(ONE);
    is_contained(&cluster, Invariant::S8);
    assert_eq!(cluster.does(), "failed node1 [Z]");
    assert!(cluster.record().suspects.contains(&ONE), "a copy may be there");
    assert_eq!(cluster.answer(&id).unwrap().code, Code::Frozen);
}

#[test]
fn what_a_failed_stop_may_have_left_keeps_it_from_starting_elsewhere() {
    let mut cluster = Cluster::new().started_on(ONE);
    cluster.ask(Request::Disable { service: a() });
    cluster.stop_fails(ONE);
    cluster.ask(Request::Disable { service: a() });
    cluster.stop_fails(ONE);
    assert_eq!(cluster.does(), "disabled");
    let _fault = Fault::on(Mutant::SuspectsIgnored);
    cluster.ask(enable(TWO));
    is_contained(&cluster, Invariant::S1);
    assert_eq!(cluster.does(), "disabled [Z]");
    assert!(cluster.record().suspects.contains(&ONE));
}

#[test]
fn of_two_copies_the_owners_is_not_given_up() {
    let mut cluster = Cluster::new().started_on(ONE);
    let epoch = cluster.record().epoch;
    cluster.apply(TWO, What::Observation { service: a(), epoch, seen: Seen::Running });
    let _fault = Fault::on(Mutant::OwnersCopyDestroyed);
    cluster.ends(ONE, WorkOutcome::Looked { running: true });
    is_contained(&cluster, Invariant::S1);
    assert_eq!(cluster.does(), "started node1 [Z]");
    assert!(cluster.record().rivals.contains_key(&TWO), "the other copy is not forgotten either");
}

#[test]
fn what_was_migrated_away_by_hand_is_not_started_again_unseen() {
    let mut cluster = Cluster::new().started_on(ONE);
    let _fault = Fault::on(Mutant::SoughtIsDead);
    let epoch = cluster.record().epoch;
    let seen = Seen::Gone { why: belay_proto::entry::GoneReason::Migrated };
    cluster.apply(ONE, What::Observation { service: a(), epoch, seen });
    is_contained(&cluster, Invariant::S8);
}

#[test]
fn one_restart_more_than_allowed_is_not_made() {
    let attributes = "recovery=\"restart\" max_restarts=\"1\" restart_expire_time=\"600\"";
    let mut cluster = Cluster::with(attributes).started_on(ONE);
    let _fault = Fault::on(Mutant::MiscountRestarts);
    cluster.pass(5).dies(ONE);
    cluster.ends(ONE, WorkOutcome::Started);
    cluster.pass(5).dies(ONE);
    is_contained(&cluster, Invariant::S6);
    assert_eq!(cluster.does(), "waits [Z]", "that it died is true");
}

#[test]
fn what_is_disabled_stays_so_when_the_power_returns() {
    let mut cluster = Cluster::new();
    assert_eq!(cluster.does(), "disabled");
    let _fault = Fault::on(Mutant::DisabledForgottenInPowerLoss);
    cluster.reborn(&[ONE, TWO, THREE]);
    is_contained(&cluster, Invariant::S7);
    assert_eq!(cluster.does(), "disabled [Z]");
}

#[test]
fn a_start_without_an_epoch_of_its_own_is_none() {
    let mut cluster = Cluster::new().started_on(ONE);
    let _fault = Fault::on(Mutant::StartWithoutNewEpoch);
    cluster.dies(ONE);
    is_contained(&cluster, Invariant::S9);
}

#[test]
fn an_exit_code_alone_does_not_close_a_migration() {
    let mut cluster = Cluster::new().started_on(ONE);
    cluster.ask(Request::Migrate { service: a(), target: TWO });
    assert_eq!(cluster.does(), "migrating node1 to node2");
    let fault = Fault::on(Mutant::MigrationByExitCode);
    cluster.ends(ONE, WorkOutcome::MigrateEnded { ok: true, reason: String::new() });
    is_contained(&cluster, Invariant::S10);
    fault.off();
    assert_eq!(cluster.does(), "migrating node1 to node2 [Z]");
    cluster.ends(ONE, WorkOutcome::Looked { running: true });
    cluster.ends(TWO, WorkOutcome::Looked { running: false });
    assert_eq!(cluster.does(), "started node1 [Z]", "both ends were looked at");
}

#[test]
fn a_place_that_a_rule_forbids_is_not_given() {
    let mut cluster = Cluster::with("domain=\"low\"");
    let _fault = Fault::on(Mutant::DomainIgnored);
    cluster.ask(enable(THREE));
    is_contained(&cluster, Invariant::S13);
    assert_eq!(cluster.does(), "disabled [Z]");
}

#[test]
fn a_host_in_maintenance_is_given_nothing() {
    let mut cluster = Cluster::with("domain=\"low\"");
    for node in [ONE, TWO] {
        cluster.ask(Request::SetMode { node, mode: NodeMode::Maintenance, reason: String::new() });
    }
    let _fault = Fault::on(Mutant::MaintenanceIsForgotten);
    cluster.ask(Request::Enable { service: a(), target: None, by_domain: true });
    is_contained(&cluster, Invariant::S13);
}

#[test]
fn a_report_of_an_earlier_decision_frees_nobody() {
    let mut cluster = Cluster::new().started_on(ONE);
    let earlier = cluster.record().epoch;
    cluster.ask(Request::Relocate { service: a(), target: Some(TWO) });
    let _fault = Fault::on(Mutant::LateOutcomeCounts);
    cluster.apply(ONE, What::Outcome { service: a(), epoch: earlier, outcome: WorkOutcome::Stopped });
    is_contained(&cluster, Invariant::S8);
    assert!(matches!(cluster.record().phase, Phase::Stopping { .. }), "its stop goes on");
}
