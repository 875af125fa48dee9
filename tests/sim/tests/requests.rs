//! Stories of requests: a whole cluster carries them out, with hypervisors that do or do not do their part, and hosts that
//! are lost at the wrong moment. What each request answers in each state is pinned with the engine (`engine/tests/policy`).

use belay_engine::state::service::Phase;
use belay_proto::entry::Request;
use belay_proto::{Code, NodeId};
use belay_sim::scenario::{Story, vm};
use belay_sim::shape::Shape;

fn enable(name: &str, target: Option<u32>, by_domain: bool) -> Request {
    Request::Enable { service: vm(name), target: target.map(NodeId), by_domain }
}

/// Three hosts and `a`, which nobody has enabled yet.
fn disabled() -> Story {
    let mut shape = Shape::new(3, &["a"]);
    shape.vms[0].autostart = false;
    Story::with(shape)
}

#[test]
fn an_enable_starts_the_vm_where_it_was_typed() {
    for host in 1..=3 {
        let mut story = disabled();
        assert_eq!(story.told(host, enable("a", None, false)), Code::Success);
        assert_eq!(story.runs_on("a"), Some(host));
    }
}

#[test]
fn an_enable_by_domain_starts_the_vm_in_the_same_place_wherever_it_is_typed() {
    let places: Vec<_> = (1..=3)
        .map(|host| {
            let mut story = disabled();
            assert_eq!(story.told(host, enable("a", None, true)), Code::Success);
            story.runs_on("a")
        })
        .collect();
    assert_eq!(places[0], places[1]);
    assert_eq!(places[1], places[2]);
}

#[test]
fn an_enable_typed_outside_of_a_restricted_domain_starts_the_vm_inside() {
    let mut shape = Shape::new(3, &["a"]);
    shape.vms[0].autostart = false;
    shape.vms[0].restricted_to = vec![1, 2];
    let mut story = Story::with(shape);
    assert_eq!(story.told(3, enable("a", None, false)), Code::Success);
    assert!(matches!(story.runs_on("a"), Some(1 | 2)));
}

#[test]
fn a_locked_cluster_starts_nothing_a_lost_host_ran_until_it_is_unlocked() {
    let mut story = Story::of(3, &["a", "b", "c"]);
    let lost = story.runs_on("a").unwrap();
    let other = lost % 3 + 1;
    assert_eq!(story.told(other, Request::Lock {}), Code::Success);
    story.sim.odds.stays_off = 100;
    story.sim.power_off(NodeId(lost), "loses power");
    story.run(60_000);
    assert_eq!(story.runs_on("a"), None);
    let record = story.record(other, "a").unwrap();
    assert!(record.waiting.as_ref().is_some_and(|why| why.contains("locked")), "{record:?}");
    assert_eq!(story.told(other, Request::Unlock {}), Code::Success);
    story.until("a runs elsewhere", |story| story.runs_on("a").is_some());
}

#[test]
fn a_locked_cluster_restarts_what_dies_and_migrates_and_stops_what_it_is_asked_to() {
    let mut story = Story::of(3, &["a", "b"]);
    let home = story.runs_on("a").unwrap();
    let other = home % 3 + 1;
    assert_eq!(story.told(home, Request::Lock {}), Code::Success);
    story.sim.kill_guest(NodeId(home), "a");
    story.until("a runs again", |story| story.runs_on("a") == Some(home));
    story.settle();
    assert_eq!(story.told(home, Request::Relocate { service: vm("a"), target: None }), Code::Again);
    assert_eq!(story.told(home, Request::Restart { service: vm("a") }), Code::Again);
    assert_eq!(story.runs_on("a"), Some(home), "nothing was stopped for what may not be started");
    assert_eq!(story.told(home, Request::Migrate { service: vm("a"), target: NodeId(other) }), Code::Success);
    assert_eq!(story.told(home, Request::Disable { service: vm("a") }), Code::Success);
    assert_eq!(story.told(home, enable("a", None, false)), Code::Again);
}

#[test]
fn a_lock_outlives_a_loss_of_power_of_the_whole_cluster() {
    let mut story = Story::of(3, &["a"]);
    assert_eq!(story.told(1, Request::Lock {}), Code::Success);
    for host in 1..=3 {
        story.sim.power_off(NodeId(host), "loses power");
    }
    story.run(5_000);
    story.sim.power_on_all();
    story.run(60_000);
    assert_eq!(story.runs_on("a"), None, "it is locked still");
    assert_eq!(story.told(2, Request::Unlock {}), Code::Success);
    story.settle();
    assert!(story.runs_on("a").is_some());
}

#[test]
fn a_relocation_whose_every_start_fails_says_so_and_the_vm_runs_once_a_host_can_start_it() {
    let mut story = Story::of(3, &["a"]);
    let home = story.runs_on("a").unwrap();
    story.sim.odds.start_fails = 100;
    assert_eq!(story.told(home, Request::Relocate { service: vm("a"), target: None }), Code::Failure);
    assert_eq!(story.runs_on("a"), None);
    story.sim.odds.start_fails = 0;
    story.settle();
    assert!(story.runs_on("a").is_some());
}

#[test]
fn a_restart_of_a_vm_whose_host_is_lost_meanwhile_ends_on_another_host_after_fencing() {
    let mut story = Story::of(3, &["a"]);
    let home = story.runs_on("a").unwrap();
    let other = home % 3 + 1;
    story.sim.odds.stays_off = 100;
    let id = story.ask(other, Request::Restart { service: vm("a") });
    story.until("it is being stopped", |story| {
        story.record(other, "a").is_some_and(|record| matches!(record.phase, Phase::Stopping { .. }))
    });
    story.sim.power_off(NodeId(home), "loses power");
    story.until("it is answered", |story| story.answer(&id).is_some());
    assert_eq!(story.answer(&id), Some(Code::Success));
    assert!(story.runs_on("a").is_some_and(|place| place != home));
}

#[test]
fn two_relocations_at_once_move_it_once() {
    let mut story = Story::of(3, &["a"]);
    let home = story.runs_on("a").unwrap();
    let (one, other) = (home % 3 + 1, (home + 1) % 3 + 1);
    let first = story.ask(one, Request::Relocate { service: vm("a"), target: None });
    let second = story.ask(other, Request::Relocate { service: vm("a"), target: None });
    story.until("both are answered", |story| story.answer(&first).is_some() && story.answer(&second).is_some());
    let mut answers = [story.answer(&first), story.answer(&second)];
    answers.sort();
    assert_eq!(answers, [Some(Code::Success), Some(Code::Deadlock)]);
}

#[test]
fn a_disable_after_a_failed_stop_ends_it_even_when_its_host_was_fenced_since() {
    let mut story = Story::of(3, &["a"]);
    let home = story.runs_on("a").unwrap();
    let other = home % 3 + 1;
    story.sim.odds.stop_fails = 100;
    assert_eq!(story.told(other, Request::Stop { service: vm("a") }), Code::Failure);
    story.sim.odds.stop_fails = 0;
    story.sim.odds.stays_off = 100;
    story.sim.power_off(NodeId(home), "loses power");
    story.until("its host is proven down", |story| {
        matches!(story.standing(other, home), Some(belay_engine::state::member::Standing::Down(_)))
    });
    assert_eq!(story.told(other, Request::Disable { service: vm("a") }), Code::Success);
    assert_eq!(story.told(other, enable("a", Some(other), false)), Code::Success);
    assert_eq!(story.runs_on("a"), Some(other));
}

#[test]
fn a_relocation_while_somebody_moves_the_vm_by_hand_never_runs_it_twice() {
    let mut story = Story::of(3, &["a"]);
    let home = story.runs_on("a").unwrap();
    let (to, other) = (home % 3 + 1, (home + 1) % 3 + 1);
    story.sim.move_by_hand(NodeId(home), "a", NodeId(to));
    let id = story.ask(other, Request::Relocate { service: vm("a"), target: None });
    story.until("it is answered", |story| story.answer(&id).is_some());
    story.settle();
    assert!(story.runs_on("a").is_some());
}
