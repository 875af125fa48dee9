//! How a start goes, and what it waits for.

use super::*;

#[test]
fn a_start_reads_the_definition_and_calls_with_quorum() {
    let mut host = Host::new();
    host.list(vec![start("web1", 1)]);
    host.expect("define web1", defined());
    host.expect("start web1 with quorum", runs());
    assert_eq!(host.reported(), ["web1 1 Started"]);
    host.list(vec![start("web1", 1)]);
    host.wait(seconds(60));
    assert!(host.calls.is_empty(), "what is done is not done again");
}

#[test]
fn without_quorum_a_start_is_put_off_and_taken_up_again() {
    let mut host = Host::new();
    host.list(vec![start("web1", 1)]);
    host.expect("define web1", defined());
    host.expect("start web1 with quorum", Reply::NotQuorate);
    assert!(host.calls.is_empty() && host.reported().is_empty());
    host.wait(Duration::from_millis(200));
    host.expect("define web1", defined());
    host.expect("start web1 with quorum", runs());
    assert_eq!(host.reported(), ["web1 1 Started"]);
}

#[test]
fn a_start_waits_for_an_agent_and_asks_for_quorum_only_then() {
    let mut host = Host::without_agent();
    host.list(vec![start("web1", 1)]);
    host.expect("define web1", defined());
    host.wait(seconds(5));
    assert!(host.calls.is_empty());
    host.up();
    host.expect("start web1 with quorum", runs());
    assert_eq!(host.reported(), ["web1 1 Started"]);
}

#[test]
fn a_start_without_any_agent_is_made_sure_of_when_its_time_is_over() {
    let mut host = Host::without_agent();
    host.list(vec![start("web1", 1)]);
    host.expect("define web1", defined());
    host.wait(seconds(20));
    host.expect("list", fails(FaultKind::Unreachable));
    host.expect("stop web1 in 0", fails(FaultKind::Unreachable));
    host.expect("list", fails(FaultKind::Unreachable));
    assert!(host.reported().iter().all(|report| report.starts_with("web1 Unknown")), "nobody knows");
    host.up();
    host.expect("stop web1 in 0", ok(Answer::Stopped { destroyed: false }));
    assert!(host.reported()[0].starts_with("web1 1 StartFailed"));
}

#[test]
fn a_start_of_which_nothing_was_heard_is_looked_for_before_it_is_tried_again() {
    for (sight, next) in [(seen(&["web1"]), None), (seen(&[]), Some("start web1 with quorum"))] {
        let mut host = Host::new();
        host.list(vec![start("web1", 1)]);
        host.expect("define web1", defined());
        host.expect("start web1 with quorum", fails(FaultKind::Deadline));
        host.expect("list", sight);
        host.wait(seconds(1));
        match next {
            Some(call) => host.expect(call, runs()),
            None => assert!(host.calls.is_empty()),
        }
        assert_eq!(host.reported(), ["web1 1 Started"]);
    }
}

#[test]
fn an_answer_that_does_not_fit_says_nothing() {
    let mut host = Host::new();
    host.list(vec![start("web1", 1)]);
    host.expect("define web1", defined());
    host.expect("start web1 with quorum", ok(Answer::Migrated));
    host.expect("list", seen(&["web1"]));
    assert_eq!(host.reported(), ["web1 1 Started"]);
}

#[test]
fn a_refused_start_failed_only_if_it_does_not_run() {
    for (sight, outcome) in [(seen(&["web1"]), "web1 1 Started"), (seen(&[]), "web1 1 StartFailed")] {
        let mut host = Host::new();
        host.list(vec![start("web1", 1)]);
        host.expect("define web1", Reply::Definition(Err("no such file".into())));
        host.expect("list", sight);
        assert!(host.reported()[0].starts_with(outcome));
    }
}

#[test]
fn starts_beyond_the_limit_wait_their_turn_and_stops_do_not() {
    let mut host = Host::new();
    host.list(vec![start("a", 1), start("b", 1), start("c", 1), stop("d", 1)]);
    let ids: Vec<(CallId, String)> = (0..3).map(|_| host.called()).collect();
    let called: Vec<&str> = ids.iter().map(|(_, call)| call.as_str()).collect();
    assert_eq!(called, ["define a", "define b", "stop d in 10000"]);
    assert!(host.calls.is_empty());
    host.answer_to(ids[1].0, Reply::Definition(Ok("<domain/>".into())));
    host.expect("start b with quorum", runs());
    assert_eq!(host.called().1, "define c", "as soon as there is a place");
}

#[test]
fn a_start_that_waits_for_its_turn_gives_way_to_the_stop_that_replaces_it() {
    let mut host = Host::new();
    host.list(vec![start("a", 1), start("b", 1), start("c", 1)]);
    assert_eq!((host.called().1, host.called().1), ("define a".into(), "define b".into()));
    host.list(vec![start("a", 1), start("b", 1), stop("c", 2)]);
    host.expect("stop c in 10000", ok(Answer::Stopped { destroyed: false }));
    assert_eq!(host.reported(), ["c 2 Stopped"]);
}

#[test]
fn a_start_that_is_not_wanted_any_more_is_not_called_for() {
    let mut host = Host::new();
    host.list(vec![start("web1", 1)]);
    let (definition, _) = host.called();
    host.list(Vec::new());
    host.answer_to(definition, defined());
    host.wait(seconds(60));
    assert!(host.calls.is_empty() && host.reported().is_empty());
}

#[test]
fn a_pause_between_two_attempts_ends_when_the_agent_is_back() {
    let mut host = Host::new();
    host.list(vec![stop("web1", 1)]);
    for _ in 0..5 {
        host.expect("stop web1 in 10000", fails(FaultKind::Unreachable));
        host.expect("list", fails(FaultKind::Unreachable));
        host.down();
        assert!(host.calls.is_empty());
        host.up();
    }
    host.expect("stop web1 in 10000", ok(Answer::Stopped { destroyed: true }));
    assert_eq!(host.reported(), ["web1 1 Stopped"]);
}
