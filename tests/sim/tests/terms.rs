//! Terms that are lost before a majority has them on disk.

#![allow(clippy::unwrap_used)]

use belay_proto::entry::Request;
use belay_proto::{Code, NodeId};
use belay_sim::scenario::{Story, vm};

const ONE: NodeId = NodeId(1);
const TWO: NodeId = NodeId(2);
const THREE: NodeId = NodeId(3);

#[test]
fn a_term_that_was_lost_does_not_overrule_the_one_that_got_its_number() {
    let mut story = Story::of(3, &["a"]);
    story.sim.odds.stays_off = 100;
    // The first and the third open a term that the third cannot write down; the first notes a lot in it.
    story.sim.partition(&[&[1, 3], &[2]]);
    story.until("the second is lost", |story| !story.sim.quorate(ONE));
    story.until("the first opens a term", |story| story.sim.quorate(ONE));
    story.sim.fill_disk(THREE, 60_000);
    story.run(1000);
    for _ in 0..30 {
        story.ask(1, Request::Freeze { service: vm("a") });
        story.run(20);
    }
    story.sim.power_off(ONE, "loses power");
    story.sim.power_off(THREE, "loses power");
    story.sim.rejoin();
    story.sim.fill_disk(THREE, 0);
    story.sim.power_on(THREE);
    story.until("the others go on without it", |story| story.sim.quorate(TWO) && story.sim.quorate(THREE));
    assert_eq!(story.told(2, Request::Disable { service: vm("a") }), Code::Success);
    story.sim.power_on(ONE);
    story.until("it is back", |story| story.sim.quorate(ONE));
    story.settle();
    assert_eq!(story.runs_on("a"), None);
}
