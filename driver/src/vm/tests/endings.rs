//! Stops, migrations and looks: what is done until their end is known.

use super::*;

#[test]
fn a_guest_that_was_asked_to_stop_is_given_what_is_left_of_its_time() {
    let mut host = Host::new();
    host.list(vec![stop("web1", 1)]);
    let (first, _) = host.called();
    host.wait(seconds(7));
    host.answer_to(first, fails(FaultKind::Deadline));
    host.expect("list", seen(&["web1"]));
    host.wait(Duration::from_millis(200));
    host.expect("stop web1 in 2800", ok(Answer::Stopped { destroyed: true }));
    assert_eq!(host.reported(), ["web1 1 Stopped"]);
}

#[test]
fn a_stop_that_does_not_succeed_fails_in_the_end_and_a_strays_does_not() {
    let mut host = Host::new();
    host.list(vec![stop("web1", 1), WorkKind::StopStray(vm_work("web2", 1))]);
    for _ in 0..100 {
        while !host.calls.is_empty() {
            let (id, what) = host.called();
            let both = seen(&["web1", "web2"]);
            host.answer_to(id, if what == "list" { both } else { fails(FaultKind::Failed) });
        }
        host.wait(seconds(1));
    }
    let reports = host.reported();
    assert!(reports.iter().any(|report| report.starts_with("web1 1 StopFailed")), "{reports:?}");
    assert!(!reports.iter().any(|report| report.starts_with("web2 1")), "{reports:?}");
    assert!(reports.iter().any(|report| report.starts_with("web2 Unknown")), "status shows it: {reports:?}");
}

#[test]
fn a_failed_migration_is_cancelled_before_it_is_reported() {
    for kind in [FaultKind::Failed, FaultKind::Deadline] {
        let mut host = Host::new();
        host.list(vec![migration("web1", 1)]);
        host.expect("migrate web1 with quorum", fails(kind));
        assert!(host.reported().is_empty(), "an earlier one may still be under way");
        host.expect("cancel web1", ok(Answer::Cancelled));
        assert!(host.reported()[0].starts_with("web1 1 MigrateEnded { ok: false"));
    }
}

#[test]
fn a_migration_whose_agent_died_is_cancelled_by_the_next_agent() {
    // The call's end may be heard of before the agent's, or after it.
    for down_first in [true, false] {
        let mut host = Host::new();
        host.list(vec![migration("web1", 1)]);
        let (call, _) = host.called();
        if down_first {
            host.down();
        }
        host.answer_to(call, fails(FaultKind::Unreachable));
        if !down_first {
            host.expect("cancel web1", fails(FaultKind::Unreachable));
            host.down();
            host.wait(seconds(1));
        }
        assert!(host.calls.is_empty() && host.reported().is_empty());
        host.up();
        host.expect("cancel web1", ok(Answer::Cancelled));
        assert!(host.reported()[0].starts_with("web1 1 MigrateEnded { ok: false"));
    }
}

#[test]
fn a_migration_that_nobody_can_cancel_is_reported_in_the_end() {
    let mut host = Host::new();
    host.list(vec![migration("web1", 1)]);
    host.expect("migrate web1 with quorum", fails(FaultKind::Unreachable));
    for _ in 0..200 {
        if host.calls.is_empty() {
            host.wait(seconds(1));
        } else {
            host.expect("cancel web1", fails(FaultKind::Unreachable));
        }
    }
    assert!(host.reported()[0].starts_with("web1 1 MigrateEnded { ok: false"));
}

#[test]
fn a_migration_is_cancelled_again_and_again_when_its_time_is_over_or_other_work_waits() {
    for superseded in [true, false] {
        let mut host = Host::new();
        host.list(vec![migration("web1", 1)]);
        let (call, _) = host.called();
        if superseded {
            host.list(vec![stop("web1", 2)]);
        } else {
            host.wait(Duration::from(Vm::new("web1").migrate_timeout));
        }
        host.expect("cancel web1", fails(FaultKind::Failed));
        host.wait(seconds(4));
        assert!(host.calls.is_empty());
        host.wait(seconds(1));
        let (second, _) = host.called();
        host.wait(seconds(20));
        assert!(host.calls.is_empty(), "one at a time");
        host.answer_to(call, ok(Answer::Migrated));
        assert_eq!(host.reported(), ["web1 1 MigrateEnded { ok: true, reason: \"\" }"]);
        host.answer_to(second, ok(Answer::Cancelled));
    }
}

#[test]
fn where_a_migration_may_be_under_way_it_is_ended_before_anybody_looks() {
    let mut host = Host::new();
    host.state("web1", ServiceState::Migrating, true);
    host.list(vec![WorkKind::Look(vm_work("web1", 1))]);
    host.expect("cancel web1", fails(FaultKind::Unreachable));
    host.wait(seconds(1));
    host.expect("cancel web1", ok(Answer::Cancelled));
    host.expect("list", seen(&["web1"]));
    assert_eq!(host.reported(), ["web1 1 Looked { running: true }"]);
    // At the target there is none to end.
    host.state("web2", ServiceState::Migrating, false);
    host.list(vec![WorkKind::Look(vm_work("web2", 1))]);
    host.expect("list", seen(&[]));
    assert_eq!(host.reported(), ["web2 1 Looked { running: false }"]);
}

#[test]
fn a_look_goes_on_until_somebody_knows() {
    let mut host = Host::new();
    host.list(vec![WorkKind::Look(vm_work("web1", 1))]);
    for _ in 0..10 {
        host.expect("list", Reply::List(Ok(Listing { domains: Vec::new(), complete: false })));
        host.wait(seconds(5));
    }
    assert!(host.reported().iter().all(|report| report.starts_with("web1 Unknown")));
    host.expect("list", seen(&[]));
    assert_eq!(host.reported(), ["web1 1 Looked { running: false }"]);
}

#[test]
fn answers_to_calls_that_nobody_made_have_no_effect() {
    let mut host = Host::new();
    host.list(vec![start("web1", 1)]);
    let (definition, _) = host.called();
    host.answer_to(CallId(9_999), runs());
    host.answer_to(definition, defined());
    host.answer_to(definition, defined());
    host.expect("start web1 with quorum", runs());
    assert_eq!(host.reported(), ["web1 1 Started"]);
}
