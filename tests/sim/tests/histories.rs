//! States that are old, or know nothing: what a host does that comes back with one, and with nobody who knows better.

#![allow(clippy::unwrap_used)]

use belay_engine::state::service::Phase;
use belay_proto::NodeId;
use belay_sim::scenario::Story;
use belay_sim::shape::Shape;

const ONE: NodeId = NodeId(1);
const TWO: NodeId = NodeId(2);
const THREE: NodeId = NodeId(3);

#[test]
fn a_member_that_knows_nothing_is_not_quorate_with_living_hosts_whose_daemons_are_dead() {
    let mut story = Story::cold(Shape::new(3, &["a"]));
    story.sim.odds.stays_off = 100;
    story.sim.power_on(ONE);
    story.sim.power_on(TWO);
    story.until("a runs", |story| story.runs_on("a").is_some());
    story.run(20_000);
    story.sim.leave(ONE, false);
    story.sim.leave(TWO, false);
    let alone = |story: &Story| story.state(1).is_none() && story.state(2).is_none();
    story.until("both have left", alone);
    story.sim.power_on(THREE);
    story.until("the third is there", |story| story.state(3).is_some());
    assert!(alone(&story), "otherwise this shows nothing");
    while alone(&story) {
        story.run(10);
        assert!(!story.sim.quorate(THREE) || !alone(&story));
    }
    story.settle();
}

fn two_nodes(vms: &[&str]) -> Story {
    let story = Story::with(Shape::new(2, vms));
    assert!(story.sim.conf().contains("two_node"));
    story
}

#[test]
fn with_two_nodes_a_start_in_an_old_state_is_not_carried_on_by_a_host_that_comes_back_alone() {
    let mut story = two_nodes(&["a"]);
    story.sim.odds.fence_fails = 100;
    let home = story.runs_on("a").unwrap();
    let (home, other) = (NodeId(home), NodeId(3 - home));
    // Its host is to start it, and never learns that it could not.
    story.sim.odds.start_fails = 100;
    story.sim.kill_guest(home, "a");
    story.until("it is to be started there", |story| {
        story.record(home.0, "a").is_some_and(|record| record.phase == Phase::Starting { owner: home })
    });
    story.run(30);
    story.sim.fill_disk(home, 600_000);
    story.until("the other one is to have it", |story| {
        story.record(other.0, "a").is_some_and(|record| record.phase == Phase::Starting { owner: other })
    });
    story.sim.odds.start_fails = 0;
    story.sim.leave(home, false);
    story.until("it runs on the other one", |story| story.runs_on("a") == Some(other.0));
    story.run(3000);
    story.sim.leave(other, false);
    story.sim.fill_disk(home, 0);
    story.until("its daemon is back alone", |story| story.sim.quorate(home) && story.state(other.0).is_none());
    story.run(3000);
    assert_eq!(story.runs_on("a"), Some(other.0));
    story.sim.heal();
    story.settle();
}

#[test]
fn with_two_nodes_what_is_missing_waits_for_the_other_host_whose_daemon_is_dead() {
    let mut story = two_nodes(&["a"]);
    story.sim.odds.fence_fails = 100;
    let home = story.runs_on("a").unwrap();
    let (home, other) = (NodeId(home), NodeId(3 - home));
    story.sim.leave(home, false);
    story.sim.leave(other, false);
    story.run(1000);
    story.sim.move_by_hand(home, "a", other);
    assert_eq!(story.runs_on("a"), Some(other.0));
    story.until("one is quorate alone", |story| story.sim.quorate(home) != story.sim.quorate(other));
    story.run(3000);
    assert_eq!(story.runs_on("a"), Some(other.0));
    story.sim.heal();
    story.settle();
    assert_eq!(story.runs_on("a"), Some(other.0));
}
