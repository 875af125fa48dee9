//! Stories: what happens to a cluster, and what must come of it. The design's promises are checked after every step.

use belay_engine::state::member::Standing;
use belay_engine::state::service::Phase;
use belay_proto::entry::Request;
use belay_proto::{Code, NodeId};
use belay_sim::scenario::{Story, vm};
use belay_sim::shape::Shape;

const ONE: NodeId = NodeId(1);
const TWO: NodeId = NodeId(2);
const THREE: NodeId = NodeId(3);

#[test]
fn a_cluster_that_is_switched_on_starts_its_vms_spread_over_the_hosts() {
    let story = Story::of(3, &["a", "b", "c"]);
    let mut places: Vec<_> = ["a", "b", "c"].iter().filter_map(|name| story.runs_on(name)).collect();
    places.sort_unstable();
    assert_eq!(places, [1, 2, 3]);
}

#[test]
fn a_vm_that_dies_is_restarted_in_place_and_its_third_death_sends_it_elsewhere() {
    let mut story = Story::of(3, &["a"]);
    let home = story.runs_on("a").unwrap();
    for _ in 0..2 {
        story.sim.kill_guest(NodeId(home), "a");
        story.settle();
        assert_eq!(story.runs_on("a"), Some(home));
    }
    story.sim.kill_guest(NodeId(home), "a");
    story.settle();
    assert_ne!(story.runs_on("a"), Some(home));
}

#[test]
fn a_host_that_loses_power_is_fenced_and_its_vms_run_elsewhere() {
    let mut story = Story::of(3, &["a", "b", "c"]);
    let lost = story.runs_on("a").unwrap();
    story.sim.odds.stays_off = 100;
    story.sim.power_off(NodeId(lost), "loses power");
    story.until("a runs elsewhere", |story| story.runs_on("a").is_some_and(|place| place != lost));
}

#[test]
fn a_frozen_host_is_fenced_before_its_vms_start_elsewhere() {
    let mut story = Story::of(3, &["a"]);
    let lost = story.runs_on("a").unwrap();
    story.sim.freeze(NodeId(lost), 60_000);
    story.until("a runs elsewhere", |story| story.runs_on("a").is_some_and(|place| place != lost));
    story.settle();
}

#[test]
fn fencing_that_fails_is_tried_until_it_works_and_nothing_starts_before() {
    let mut story = Story::of(3, &["a"]);
    let lost = story.runs_on("a").unwrap();
    story.sim.odds.fence_fails = 100;
    story.sim.freeze(NodeId(lost), 600_000);
    story.run(20_000);
    assert_eq!(story.runs_on("a"), Some(lost), "nothing was proven, so nothing may be started");
    story.sim.odds.fence_fails = 0;
    story.until("a runs elsewhere", |story| story.runs_on("a").is_some_and(|place| place != lost));
}

#[test]
fn when_the_fencer_dies_another_member_takes_over() {
    let mut story = Story::of(4, &["a"]);
    let lost = story.runs_on("a").unwrap();
    story.sim.odds.stays_off = 100;
    story.sim.odds.fence_hangs = 100;
    story.sim.freeze(NodeId(lost), 600_000);
    let witness = if lost == 4 { 3 } else { 4 };
    story.until("somebody fences", |story| story.fencer_of(witness, lost).is_some());
    let fencer = story.fencer_of(witness, lost).unwrap();
    story.sim.odds.fence_hangs = 0;
    story.sim.kill_daemon(NodeId(fencer));
    story.until("a runs elsewhere", |story| story.runs_on("a").is_some_and(|place| place != lost));
}

#[test]
fn a_host_without_a_fence_method_is_recovered_when_an_admin_vouches_for_it() {
    let mut shape = Shape::new(3, &["a"]);
    shape.unfenceable = vec![1, 2, 3];
    let mut story = Story::with(shape);
    let lost = story.runs_on("a").unwrap();
    let other = if lost == 1 { 2 } else { 1 };
    story.sim.power_off(NodeId(lost), "loses power");
    story.run(30_000);
    assert_eq!(story.runs_on("a"), None);
    assert_eq!(story.told(other, Request::AcknowledgeFence { node: NodeId(lost) }), Code::Success);
    story.until("a runs elsewhere", |story| story.runs_on("a").is_some());
}

#[test]
fn a_daemon_that_dies_finds_its_vms_running_and_nothing_is_restarted() {
    let mut story = Story::of(3, &["a"]);
    let home = story.runs_on("a").unwrap();
    let epoch = story.record(home, "a").unwrap().epoch;
    story.sim.kill_daemon(NodeId(home));
    story.run(10_000).settle();
    assert_eq!(story.runs_on("a"), Some(home));
    assert_eq!(story.record(home, "a").unwrap().epoch, epoch);
}

#[test]
fn a_vm_that_dies_while_its_daemon_is_dead_is_restarted_when_the_daemon_is_back() {
    let mut story = Story::of(3, &["a"]);
    let home = story.runs_on("a").unwrap();
    story.sim.kill_daemon(NodeId(home));
    story.sim.kill_guest(NodeId(home), "a");
    story.settle();
    assert_eq!(story.runs_on("a"), Some(home));
}

/// kill -9 of a daemon at any of its next steps while it carries out a request.
fn survives_a_daemon_that_dies_at_any_step(request: impl Fn(NodeId, NodeId) -> Request) {
    for step in 0..40 {
        let mut story = Story::of(3, &["a", "b"]);
        let home = story.runs_on("a").unwrap_or_default();
        let other = home % 3 + 1;
        let third = other % 3 + 1;
        for victim in [home, other] {
            story.sim.daemon_dies_in(NodeId(victim), step);
        }
        let id = story.ask(third, request(NodeId(home), NodeId(other)));
        story.until("it is answered", |story| story.answer(&id).is_some());
        story.settle();
    }
}

#[test]
fn a_migration_is_answered_whatever_step_a_daemon_dies_at() {
    survives_a_daemon_that_dies_at_any_step(|_, other| Request::Migrate { service: vm("a"), target: other });
}

#[test]
fn a_relocation_is_answered_whatever_step_a_daemon_dies_at() {
    survives_a_daemon_that_dies_at_any_step(|_, other| Request::Relocate { service: vm("a"), target: Some(other) });
}

#[test]
fn a_stop_is_answered_whatever_step_a_daemon_dies_at() {
    survives_a_daemon_that_dies_at_any_step(|_, _| Request::Disable { service: vm("a") });
}

#[test]
fn a_host_is_fenced_whatever_step_the_fencers_die_at() {
    for step in (0..60).step_by(3) {
        let mut story = Story::of(4, &["a", "b", "c", "d"]);
        for fencer in [1, 2] {
            story.sim.daemon_dies_in(NodeId(fencer), step);
        }
        story.sim.power_off(NodeId(4), "loses power");
        story.settle();
    }
}

#[test]
fn of_two_nodes_apart_one_survives_and_no_vm_runs_twice() {
    let mut story = Story::of(2, &["a", "b", "c"]);
    story.sim.odds.stays_off = 100;
    story.sim.partition(&[&[1], &[2]]);
    story.until("one side runs everything", |story| {
        let places: Vec<_> = ["a", "b", "c"].iter().map(|name| story.runs_on(name)).collect();
        places.iter().all(|place| place.is_some() && *place == places[0])
    });
}

#[test]
fn two_nodes_apart_do_not_both_start_what_ran_on_neither() {
    let mut story = Story::of(2, &["a"]);
    assert_eq!(story.told(1, Request::Stop { service: vm("a") }), Code::Success);
    story.sim.odds.stays_off = 100;
    story.sim.odds.fence_fails = 100;
    // A stop by hand ends with the next change of membership: now each side would start it.
    story.sim.partition(&[&[1], &[2]]);
    story.run(20_000);
    assert!(story.sim.places("a").is_empty());
    story.sim.odds.fence_fails = 0;
    story.until("a runs", |story| story.runs_on("a").is_some());
}

#[test]
fn the_daemons_of_a_minority_do_not_decide_on_the_votes_of_living_hosts() {
    let mut story = Story::of(3, &["a"]);
    // The third host misses an answer; then it is the only one whose daemon runs, among three living hosts.
    story.sim.partition(&[&[1, 2], &[3]]);
    story.run(5000);
    assert_eq!(story.told(1, Request::Stop { service: vm("a") }), Code::Success);
    story.sim.odds.fence_fails = 100;
    story.sim.rejoin();
    story.sim.kill_daemon(ONE);
    story.sim.kill_daemon(TWO);
    story.until("the third is in a ring with living hosts", |story| story.sim.ring_of(THREE) == 3);
    story.run(10_000).settle();
    assert_eq!(story.answer("q1"), Some(Code::Success));
}

#[test]
fn after_a_power_cut_of_all_the_slowest_host_is_not_shot() {
    let mut story = Story::of(3, &["a", "b"]);
    for host in [ONE, TWO, THREE] {
        story.sim.power_off(host, "loses power");
    }
    story.sim.power_on(ONE);
    story.sim.power_on(TWO);
    story.run(4000);
    story.sim.power_on(THREE);
    story.settle();
    assert_eq!(story.sim.fenced(), 0);
}

#[test]
fn an_answered_request_outlives_a_power_cut_of_all() {
    let mut story = Story::of(3, &["a"]);
    assert_eq!(story.told(2, Request::Disable { service: vm("a") }), Code::Success);
    for host in [ONE, TWO, THREE] {
        story.sim.power_off(host, "loses power");
    }
    story.run(1000);
    story.sim.power_on_all();
    story.settle();
    assert_eq!(story.runs_on("a"), None);
    assert_eq!(story.record(1, "a").unwrap().phase, Phase::Disabled);
}

#[test]
fn a_request_asked_twice_through_two_hosts_takes_effect_once() {
    let mut story = Story::of(3, &["a"]);
    let ask = |story: &mut Story, host| {
        story.ask_as(host, "same", Request::Restart { service: vm("a") });
        story.until("it is answered", |story| story.answer("same").is_some());
    };
    ask(&mut story, 1);
    story.settle();
    let epoch = story.record(1, "a").unwrap().epoch;
    ask(&mut story, 2);
    story.run(5000);
    assert_eq!(story.record(1, "a").unwrap().epoch, epoch);
}

#[test]
fn a_start_that_fails_everywhere_is_answered_and_tried_again_later() {
    let mut story = Story::of(3, &["a"]);
    assert_eq!(story.told(1, Request::Disable { service: vm("a") }), Code::Success);
    story.sim.odds.start_fails = 100;
    assert_eq!(story.told(1, Request::Enable { service: vm("a"), target: None, by_domain: false }), Code::Failure);
    assert!(story.record(1, "a").unwrap().search.retry_at.is_some());
    story.sim.odds.start_fails = 0;
    story.until("a runs", |story| story.runs_on("a").is_some());
}

#[test]
fn a_vm_waits_for_its_restricted_domain_and_starts_nowhere_else() {
    let mut shape = Shape::new(3, &["a"]);
    shape.vms[0].restricted_to = vec![3];
    let mut story = Story::with(shape);
    assert_eq!(story.runs_on("a"), Some(3));
    story.sim.odds.stays_off = 100;
    story.sim.power_off(THREE, "loses power");
    story.run(30_000);
    assert_eq!(story.runs_on("a"), None);
    story.sim.power_on(THREE);
    story.settle();
    assert_eq!(story.runs_on("a"), Some(3));
}

#[test]
fn a_vm_moved_by_hand_is_looked_after_where_it_is() {
    let mut story = Story::of(3, &["a"]);
    let home = story.runs_on("a").unwrap();
    let other = home % 3 + 1;
    story.sim.move_by_hand(NodeId(home), "a", NodeId(other));
    story.until("it is adopted", |story| {
        story.record(1, "a").is_some_and(|record| record.phase == Phase::Started { owner: NodeId(other) })
    });
    story.settle();
    assert_eq!(story.runs_on("a"), Some(other));
}

#[test]
fn a_second_copy_started_by_hand_is_destroyed_and_the_owners_lives() {
    let mut story = Story::of(3, &["a"]);
    let home = story.runs_on("a").unwrap();
    story.sim.start_by_hand(NodeId(home % 3 + 1), "a");
    story.run(1000).until("one copy is left", |story| story.runs_on("a").is_some());
    assert_eq!(story.runs_on("a"), Some(home));
}

#[test]
fn a_host_that_leaves_with_a_stop_has_its_vms_run_elsewhere_and_is_not_fenced() {
    let mut story = Story::of(3, &["a", "b", "c"]);
    story.sim.leave(TWO, true);
    story.until("nothing runs there", |story| {
        ["a", "b", "c"].iter().all(|name| story.runs_on(name).is_some_and(|place| place != 2))
    });
    assert!(matches!(story.standing(1, 2), Some(Standing::Left { stopped: true } | Standing::Leaving { .. })));
    story.settle();
    assert_eq!(story.sim.fenced(), 0);
}

#[test]
fn a_host_that_leaves_without_a_stop_keeps_its_vms() {
    let mut story = Story::of(3, &["a"]);
    let home = story.runs_on("a").unwrap();
    story.sim.leave(NodeId(home), false);
    story.settle();
    assert_eq!((story.runs_on("a"), story.sim.fenced()), (Some(home), 0));
}

#[test]
fn a_silent_daemon_that_answers_again_is_not_fenced() {
    let mut story = Story::of(3, &["a"]);
    story.sim.freeze_daemon(TWO, 30_000);
    story.until("it is held for silent", |story| {
        matches!(story.standing(1, 2), Some(Standing::Lost { host_alive: true }))
    });
    story.run(90_000);
    assert_eq!(story.sim.fenced(), 0);
}

#[test]
fn a_daemon_that_stays_silent_is_fenced_after_its_grace() {
    let mut story = Story::of(3, &["a"]);
    let home = story.runs_on("a").unwrap();
    story.sim.freeze_daemon(NodeId(home), 600_000);
    story.until("a runs elsewhere", |story| story.runs_on("a").is_some_and(|place| place != home));
    story.settle();
}

#[test]
fn a_host_that_joins_with_a_wrong_calendar_does_not_move_the_clusters_clock() {
    let mut story = Story::of(3, &["a"]);
    story.sim.shift_clock(ONE, 50_000_000);
    for _ in 0..10 {
        let before = story.time(2);
        story.sim.kill_daemon(ONE);
        story.run(5000).settle();
        assert!(story.time(2).since(before).0 < 60_000);
    }
}

#[test]
fn a_full_disk_holds_answers_back_until_it_has_space() {
    let mut story = Story::of(3, &["a"]);
    story.sim.fill_disk(ONE, 5000);
    story.sim.fill_disk(TWO, 5000);
    let id = story.ask(3, Request::Disable { service: vm("a") });
    story.run(3000);
    assert_eq!(story.answer(&id), None, "a majority does not have it on disk");
    story.until("it is answered", |story| story.answer(&id).is_some());
}

#[test]
fn a_vm_moved_by_hand_while_there_is_no_quorum_is_not_started_again() {
    let mut story = Story::of(3, &["a"]);
    let home = story.runs_on("a").unwrap();
    let (other, third) = (home % 3 + 1, (home + 1) % 3 + 1);
    story.sim.partition(&[&[home], &[other], &[third]]);
    story.run(4000);
    story.sim.rejoin();
    story.sim.move_by_hand(NodeId(home), "a", NodeId(other));
    story.settle();
    assert_eq!(story.runs_on("a"), Some(other));
}

#[test]
fn quorum_that_comes_back_at_once_is_used_again() {
    let mut story = Story::of(3, &["a"]);
    for _ in 0..20 {
        story.sim.quorum_flickers(ONE);
        story.run(4000);
        assert_eq!(story.told(2, Request::Restart { service: vm("a") }), Code::Success);
    }
}

#[test]
fn a_vm_that_died_frozen_and_was_started_by_hand_is_not_recovered_when_unfrozen() {
    let mut shape = Shape::new(3, &["a"]);
    shape.vms[0].recovery = "relocate";
    let mut story = Story::with(shape);
    let home = story.runs_on("a").unwrap();
    let other = home % 3 + 1;
    assert_eq!(story.told(1, Request::Freeze { service: vm("a") }), Code::Success);
    story.sim.kill_guest(NodeId(home), "a");
    story.run(2000);
    story.sim.start_by_hand(NodeId(other), "a");
    story.run(5000);
    assert_eq!(story.told(1, Request::Unfreeze { service: vm("a") }), Code::Success);
    story.run(5000);
    assert_eq!(story.sim.places("a"), [other]);
}

#[test]
fn of_two_nodes_the_one_that_was_fenced_does_not_go_on_alone_with_what_it_remembers() {
    for seed in 0..20 {
        let mut story = Story::of(2, &["a"]);
        let home = story.runs_on("a").unwrap();
        let other = 3 - home;
        // The owner's host dies and is proven down; it comes back and fences the other in turn.
        story.sim.odds.stays_off = 100;
        story.sim.power_off(NodeId(other), "loses power");
        story.run(15_000);
        story.sim.power_on(NodeId(other));
        story.settle();
        story.sim.freeze(NodeId(home), 600_000);
        story.until("a runs elsewhere", |story| story.runs_on("a") == Some(other));
        story.sim.power_on(NodeId(home));
        story.run(100 * seed);
        story.sim.freeze_daemon(NodeId(other), 60_000);
        story.run(20_000);
        assert_eq!(story.sim.places("a"), [other]);
    }
}

#[test]
fn a_migration_that_ends_while_its_daemon_is_dead_leaves_one_copy() {
    for step in 0..30 {
        let mut story = Story::of(3, &["a"]);
        let home = story.runs_on("a").unwrap();
        let (other, third) = (home % 3 + 1, (home + 1) % 3 + 1);
        let id = story.ask(third, Request::Migrate { service: vm("a"), target: NodeId(other) });
        story.run(100 + 100 * step);
        story.sim.kill_daemon(NodeId(home));
        story.until("it is answered", |story| story.answer(&id).is_some());
        story.settle();
    }
}

#[test]
fn a_failed_start_is_not_begun_again_by_a_change_of_membership() {
    for step in 0..30 {
        let mut story = Story::of(3, &["a"]);
        assert_eq!(story.told(1, Request::Disable { service: vm("a") }), Code::Success);
        story.sim.odds.start_fails = 60;
        let id = story.ask(1, Request::Enable { service: vm("a"), target: None, by_domain: false });
        story.run(40 + 20 * step);
        story.sim.kill_daemon(THREE);
        story.until("it is answered", |story| story.answer(&id).is_some());
        story.sim.odds.start_fails = 0;
        story.settle();
    }
}

#[test]
fn a_member_that_is_back_but_has_not_said_what_it_runs_is_waited_for_by_what_was_asked_for_there() {
    let mut story = Story::of(3, &["a"]);
    let home = story.runs_on("a").unwrap();
    assert_eq!(story.told(home, Request::Disable { service: vm("a") }), Code::Success);
    let (back, asked) = (TWO, ONE.0);
    story.sim.kill_daemon(back);
    story.until("it is gone", |story| !matches!(story.standing(asked, back.0), Some(Standing::Online)));
    story.until("it is back", |story| matches!(story.standing(asked, back.0), Some(Standing::Online)));
    let enable = Request::Enable { service: vm("a"), target: Some(back), by_domain: false };
    assert_eq!(story.told(asked, enable), Code::Success);
    assert_eq!(story.runs_on("a"), Some(back.0));
}

#[test]
fn a_request_that_waits_for_a_place_is_answered_when_its_service_is_frozen() {
    let mut story = Story::of(3, &["a", "b"]);
    assert_eq!(story.told(1, Request::Disable { service: vm("a") }), Code::Success);
    // The member it is asked for has just come back and does not say what it runs.
    story.sim.silence_libvirt(TWO, 60_000);
    story.sim.kill_daemon(TWO);
    story.run(3000);
    let id = story.ask(1, Request::Enable { service: vm("a"), target: Some(TWO), by_domain: false });
    story.run(100);
    assert_eq!(story.told(1, Request::Freeze { service: vm("a") }), Code::Success);
    story.until("it is answered", |story| story.answer(&id) == Some(Code::Frozen));
}

#[test]
fn a_second_copy_that_is_started_again_and_again_is_destroyed_each_time() {
    let mut story = Story::of(3, &["a"]);
    let home = story.runs_on("a").unwrap_or_default();
    for pause in 0..40 {
        story.run(20 * pause);
        story.sim.start_by_hand(NodeId(home % 3 + 1), "a");
        story.run(520);
        story.sim.kill_guest(NodeId(home % 3 + 1), "a");
        story.sim.start_by_hand(NodeId(home % 3 + 1), "a");
    }
    story.run(5000).settle();
    assert_eq!(story.runs_on("a"), Some(home));
}
