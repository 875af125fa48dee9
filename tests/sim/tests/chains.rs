//! What depends on what depends on something.

use belay_proto::NodeId;
use belay_sim::scenario::Story;
use belay_sim::shape::Shape;

#[test]
fn nothing_is_started_for_the_sake_of_what_is_about_to_be_stopped_itself() {
    let mut shape = Shape::new(3, &["a", "b", "c"]);
    for (vm, (hosts, depends)) in shape.vms.iter_mut().zip([
        (vec![2], ""),
        (vec![3], r#" depend="vm:a" depend_mode="hard""#),
        (vec![2, 3], r#" depend="vm:b" depend_mode="hard""#),
    ]) {
        vm.restricted_to = hosts;
        depends.clone_into(&mut vm.attributes);
    }
    let mut story = Story::with(shape);
    assert_eq!(story.runs_on("c"), Some(2));
    let starts = story.sim.starts();
    story.sim.odds.stays_off = 100;
    story.sim.power_off(NodeId(2), "loses power");
    story.until("b is stopped", |story| story.sim.places("b").is_empty());
    story.run(10_000);
    assert_eq!(story.sim.starts(), starts);
}
