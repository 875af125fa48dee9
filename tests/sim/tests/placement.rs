//! Stories of placement that take a whole cluster: hypervisors that are slow to answer, and what a lost host ran.

use belay_engine::state::member::Standing;
use belay_proto::NodeId;
use belay_sim::scenario::Story;
use belay_sim::shape::Shape;

const VMS: [&str; 6] = ["a", "b", "c", "d", "e", "f"];

fn running(story: &Story) -> usize {
    VMS.iter().filter(|name| story.runs_on(name).is_some()).count()
}

fn on(story: &Story, host: u32) -> usize {
    VMS.iter().filter(|name| story.runs_on(name) == Some(host)).count()
}

/// Six VMs on three hosts that lost their power and have it again, libvirt on node3 answering nothing for so long.
fn switched_on_with_a_silent_hypervisor(ms: u64) -> Story {
    let mut story = Story::with(Shape::new(3, &VMS));
    for host in 1..=3 {
        story.sim.power_off(NodeId(host), "loses power");
    }
    story.sim.power_on_all();
    story.sim.silence_libvirt(NodeId(3), ms);
    story
}

#[test]
fn a_hypervisor_that_answers_seconds_after_the_others_gets_its_share() {
    let mut story = switched_on_with_a_silent_hypervisor(4000);
    story.until("all of them run", |story| running(story) == VMS.len());
    assert_eq!([1, 2, 3].map(|host| on(&story, host)), [2, 2, 2]);
}

#[test]
fn a_hypervisor_that_does_not_answer_is_waited_for_but_not_for_long() {
    let mut story = switched_on_with_a_silent_hypervisor(300_000);
    let began = story.sim.now();
    story.until("all of them run", |story| running(story) == VMS.len());
    assert!(story.sim.now() - began < 12_000, "after {} ms", story.sim.now() - began);
    assert_eq!([1, 2, 3].map(|host| on(&story, host)), [3, 3, 0]);
}

#[test]
fn what_a_lost_host_ran_starts_at_once_when_it_is_fenced() {
    let mut story = Story::with(Shape::new(3, &VMS));
    story.sim.odds.stays_off = 100;
    story.sim.power_off(NodeId(3), "loses power");
    let down = |story: &Story| matches!(story.standing(1, 3), Some(Standing::Down(_)));
    story.until("node3 is proven to be down", down);
    let proven = story.sim.now();
    story.until("all of them run", |story| running(story) == VMS.len());
    assert!(story.sim.now() - proven < 2000, "after {} ms", story.sim.now() - proven);
    assert_eq!([1, 2].map(|host| on(&story, host)), [3, 3]);
}
