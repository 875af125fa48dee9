//! Stories of VMs that run where they should not: started by hand, moved with `virsh`, left behind by hosts that were
//! away. Found by whatever tells of them first, and resolved so that one copy lives.
#![allow(clippy::unwrap_used)] // The tests' own tools stop a test that cannot go on.

use belay_engine::state::member::Standing;
use belay_engine::state::service::{Phase, Rival};
use belay_proto::control::{CopyFate, ServiceStatus};
use belay_proto::entry::{GoneReason, Request};
use belay_proto::{Code, NodeId, NodeMode, ServiceState};
use belay_sim::scenario::{Story, vm};
use belay_sim::shape::Shape;

/// Where `a` runs, and the two other hosts.
fn places(story: &Story) -> (u32, u32, u32) {
    let home = story.runs_on("a").unwrap();
    (home, home % 3 + 1, (home + 1) % 3 + 1)
}

fn status(story: &Story, host: u32) -> ServiceStatus {
    let state = story.state(host).unwrap();
    state.service_statuses().into_iter().find(|service| service.name == vm("a")).unwrap()
}

fn alarms(story: &Story, host: u32) -> String {
    story.state(host).unwrap().alarms().join("\n")
}

fn owned_by(story: &Story, owner: u32) -> bool {
    (1..=3)
        .filter_map(|host| story.record(host, "a"))
        .any(|record| record.phase == Phase::Started { owner: NodeId(owner) })
}

fn enable() -> Request {
    Request::Enable { service: vm("a"), target: None, by_domain: false }
}

/// Time passes, and at no moment of it is there more than one copy.
fn run_with_one_copy_at_most(story: &mut Story, ms: u64) {
    let end = story.sim.now() + ms;
    while story.sim.now() < end {
        story.sim.step();
        let places = story.sim.places("a");
        assert!(places.len() <= 1, "it runs on {places:?}\n{}", story.sim.trace.tail());
    }
}

#[test]
fn a_second_copy_is_shown_with_what_is_done_about_it_until_it_is_gone() {
    let mut story = Story::of(3, &["a"]);
    let (home, other, third) = places(&story);
    story.sim.start_by_hand(NodeId(other), "a");
    story.until("the owner is asked", |story| {
        status(story, third).copies.iter().any(|copy| copy.fate == CopyFate::AskingOwner)
    });
    assert!(alarms(&story, third).contains(&format!("runs on node{other}")), "{}", alarms(&story, third));
    story.until("it is to be destroyed", |story| {
        status(story, third).copies.iter().any(|copy| copy.fate == CopyFate::BeingDestroyed)
    });
    story.settle();
    assert_eq!((story.runs_on("a"), status(&story, third).copies), (Some(home), vec![]));
    assert_eq!(alarms(&story, third), "");
}

#[test]
fn a_second_copy_is_found_by_the_safety_net_when_its_event_was_lost() {
    let mut story = Story::of(3, &["a"]);
    let (home, other, _) = places(&story);
    story.sim.odds.event_lost = 100;
    story.sim.start_by_hand(NodeId(other), "a");
    story.sim.odds.event_lost = 0;
    story.until("one copy is left", |story| story.runs_on("a").is_some());
    assert_eq!(story.runs_on("a"), Some(home));
}

#[test]
fn a_copy_of_a_disabled_service_is_shown_and_left_alone_and_adopted_when_it_is_enabled() {
    let mut story = Story::of(3, &["a"]);
    let (_, other, third) = places(&story);
    assert_eq!(story.told(1, Request::Disable { service: vm("a") }), Code::Success);
    story.sim.start_by_hand(NodeId(other), "a");
    run_with_one_copy_at_most(&mut story, 60_000);
    assert_eq!(story.runs_on("a"), Some(other));
    assert_eq!(status(&story, third).copies.first().map(|copy| copy.fate), Some(CopyFate::LeftAlone));
    assert!(alarms(&story, third).contains("is disabled and runs on"), "{}", alarms(&story, third));
    let id = story.ask(third, Request::Enable { service: vm("a"), target: Some(NodeId(third)), by_domain: false });
    run_with_one_copy_at_most(&mut story, 5000);
    assert_eq!((story.answer(&id), story.runs_on("a")), (Some(Code::Success), Some(other)));
    assert!(owned_by(&story, other));
    assert_eq!(alarms(&story, third), "");
}

#[test]
fn a_copy_of_a_disabled_service_that_is_gone_again_does_not_count_when_it_is_enabled() {
    let mut story = Story::of(3, &["a"]);
    let (_, other, third) = places(&story);
    assert_eq!(story.told(1, Request::Disable { service: vm("a") }), Code::Success);
    story.sim.start_by_hand(NodeId(other), "a");
    story.until("it is known", |story| !status(story, third).copies.is_empty());
    story.sim.odds.event_lost = 100;
    story.sim.kill_guest(NodeId(other), "a");
    story.sim.odds.event_lost = 0;
    assert_eq!(story.told(third, enable()), Code::Success);
    story.settle();
    assert_eq!(status(&story, third).restarts, 0, "it was not taken for a service that died");
}

#[test]
fn what_was_stopped_and_is_started_by_hand_is_looked_after_where_it_runs() {
    let mut story = Story::of(3, &["a"]);
    let (_, other, _) = places(&story);
    assert_eq!(story.told(1, Request::Stop { service: vm("a") }), Code::Success);
    story.sim.start_by_hand(NodeId(other), "a");
    story.until("it is adopted", |story| owned_by(story, other));
    story.settle();
    assert_eq!(story.runs_on("a"), Some(other));
}

#[test]
fn a_second_copy_of_a_frozen_service_is_left_alone_and_resolved_when_it_is_unfrozen() {
    let mut story = Story::of(3, &["a"]);
    let (home, other, third) = places(&story);
    assert_eq!(story.told(1, Request::Freeze { service: vm("a") }), Code::Success);
    story.sim.start_by_hand(NodeId(other), "a");
    story.run(60_000);
    assert_eq!(story.sim.places("a").len(), 2);
    assert_eq!(status(&story, third).copies.first().map(|copy| copy.fate), Some(CopyFate::LeftAlone));
    assert!(alarms(&story, third).contains("is frozen"), "{}", alarms(&story, third));
    assert_eq!(story.told(1, Request::Unfreeze { service: vm("a") }), Code::Success);
    story.until("one copy is left", |story| story.runs_on("a").is_some());
    assert_eq!(story.runs_on("a"), Some(home));
}

#[test]
fn a_copy_that_is_being_destroyed_is_left_alone_from_the_moment_its_service_is_frozen() {
    let mut story = Story::of(3, &["a"]);
    let (_, other, third) = places(&story);
    story.sim.odds.stop_fails = 100;
    story.sim.start_by_hand(NodeId(other), "a");
    story.until("it is to be destroyed", |story| {
        status(story, third).copies.iter().any(|copy| copy.fate == CopyFate::BeingDestroyed)
    });
    assert_eq!(story.told(third, Request::Freeze { service: vm("a") }), Code::Success);
    story.run(5000);
    story.sim.odds.stop_fails = 0;
    story.run(60_000);
    assert_eq!(story.sim.places("a").len(), 2);
}

#[test]
fn a_frozen_service_that_is_moved_by_hand_belongs_to_where_it_runs() {
    let mut story = Story::of(3, &["a"]);
    let (home, other, _) = places(&story);
    assert_eq!(story.told(1, Request::Freeze { service: vm("a") }), Code::Success);
    story.sim.move_by_hand(NodeId(home), "a", NodeId(other));
    story.until("it is known there", |story| owned_by(story, other));
    assert!(story.record(1, "a").unwrap().frozen);
    assert_eq!(story.runs_on("a"), Some(other));
}

/// A VM is moved with `virsh`, while some of what would tell of it is lost.
fn moved_by_hand(lose: impl Fn(&mut Story, u32, u32)) {
    for step in 0..12 {
        let mut story = Story::of(3, &["a"]);
        let (home, other, _) = places(&story);
        story.run(37 * step);
        lose(&mut story, home, other);
        story.sim.move_by_hand(NodeId(home), "a", NodeId(other));
        story.sim.odds.event_lost = 0;
        run_with_one_copy_at_most(&mut story, 90_000);
        story.settle();
        assert_eq!(story.runs_on("a"), Some(other));
        assert!(owned_by(&story, other));
        assert_eq!(status(&story, other).restarts, 0);
    }
}

#[test]
fn what_was_moved_by_hand_is_adopted_when_both_ends_tell() {
    moved_by_hand(|_, _, _| {});
}

#[test]
fn what_was_moved_by_hand_is_adopted_though_neither_end_saw_it() {
    moved_by_hand(|story, _, _| story.sim.odds.event_lost = 100);
}

#[test]
fn what_was_moved_by_hand_is_adopted_though_the_sources_daemon_was_dead() {
    moved_by_hand(|story, home, _| story.sim.kill_daemon(NodeId(home)));
}

#[test]
fn what_was_moved_by_hand_is_adopted_though_the_targets_daemon_was_dead() {
    moved_by_hand(|story, _, other| story.sim.kill_daemon(NodeId(other)));
}

#[test]
fn what_was_moved_by_hand_is_adopted_though_both_daemons_were_dead() {
    moved_by_hand(|story, home, other| {
        story.sim.kill_daemon(NodeId(home));
        story.sim.kill_daemon(NodeId(other));
    });
}

#[test]
fn what_was_moved_by_hand_is_adopted_though_the_targets_libvirt_says_nothing() {
    moved_by_hand(|story, _, other| {
        story.sim.odds.event_lost = 100;
        story.sim.silence_libvirt(NodeId(other), 40_000);
    });
}

#[test]
fn what_was_moved_by_hand_to_a_host_it_may_not_have_is_adopted_there_and_that_is_said() {
    let mut shape = Shape::new(3, &["a"]);
    shape.vms[0].restricted_to = vec![1, 2];
    let mut story = Story::with(shape);
    let home = story.runs_on("a").unwrap();
    story.sim.move_by_hand(NodeId(home), "a", NodeId(3));
    story.until("it is adopted", |story| owned_by(story, 3));
    run_with_one_copy_at_most(&mut story, 5000);
    let why = story.state(1).unwrap().why(&vm("a")).unwrap();
    let text: Vec<String> = why.chain.into_iter().map(|event| event.text).collect();
    assert!(text.iter().any(|text| text.contains("its failover domain does not allow it")), "{text:?}");
}

#[test]
fn what_was_moved_by_hand_to_a_host_in_maintenance_is_adopted_there_and_then_leaves_it_by_migration() {
    let mut story = Story::of(3, &["a"]);
    let (home, other, third) = places(&story);
    let request = Request::SetMode { node: NodeId(other), mode: NodeMode::Maintenance, reason: "memory".into() };
    assert_eq!(story.told(third, request), Code::Success);
    story.sim.move_by_hand(NodeId(home), "a", NodeId(other));
    // It is on its way again with the same entry.
    run_with_one_copy_at_most(&mut story, 60_000);
    assert!([Some(home), Some(third)].contains(&story.runs_on("a")), "{:?}", story.runs_on("a"));
    assert_eq!(status(&story, third).restarts, 0);
}

#[test]
fn what_is_moved_and_whose_former_host_then_dies_is_not_started_again() {
    for after in [0, 10, 30, 80, 200, 600, 1500] {
        let mut story = Story::of(3, &["a"]);
        let (home, other, _) = places(&story);
        story.sim.odds.stays_off = 100;
        story.sim.move_by_hand(NodeId(home), "a", NodeId(other));
        story.run(after);
        story.sim.power_off(NodeId(home), "loses power");
        run_with_one_copy_at_most(&mut story, 60_000);
        assert_eq!(story.runs_on("a"), Some(other));
        assert!(owned_by(&story, other));
    }
}

#[test]
fn what_was_moved_to_a_host_that_then_dies_is_recovered_once_that_host_is_proven_down() {
    let mut story = Story::of(3, &["a"]);
    let (home, other, _) = places(&story);
    story.sim.odds.stays_off = 100;
    story.sim.kill_daemon(NodeId(other));
    story.sim.move_by_hand(NodeId(home), "a", NodeId(other));
    story.sim.freeze(NodeId(other), 600_000);
    // Nobody else has it. The host that froze may, and what was on it is lost with it; but it may also have been moved out.
    run_with_one_copy_at_most(&mut story, 60_000);
    assert_eq!(status(&story, home).state, ServiceState::Failed);
    assert_eq!(story.told(home, Request::Disable { service: vm("a") }), Code::Success);
    assert_eq!(story.told(home, enable()), Code::Success);
}

#[test]
fn what_left_the_cluster_is_started_nowhere_and_says_what_to_do() {
    let mut story = Story::of(3, &["a"]);
    let (home, _, third) = places(&story);
    story.sim.move_outside(NodeId(home), "a");
    run_with_one_copy_at_most(&mut story, 120_000);
    assert_eq!(story.runs_on("a"), None);
    let shown = status(&story, third);
    assert_eq!(shown.state, ServiceState::Failed);
    assert!(shown.waiting.unwrap().contains("to a host that is no member"));
    assert!(alarms(&story, third).contains("bring it back, or stop it there"), "{}", alarms(&story, third));
    // Neither the loss of its former host nor a power cut of all makes it forget that.
    for host in 1..=3 {
        story.sim.power_off(NodeId(host), "loses power");
    }
    story.sim.power_on_all();
    story.settle();
    assert_eq!(story.runs_on("a"), None);
    assert!(alarms(&story, third).contains("bring it back, or stop it there"), "{}", alarms(&story, third));
    assert_eq!(story.told(third, Request::Disable { service: vm("a") }), Code::Success);
    assert_eq!(story.told(third, enable()), Code::Success);
    story.settle();
    assert!(story.runs_on("a").is_some());
    assert_eq!(alarms(&story, third), "");
}

#[test]
fn what_comes_back_into_the_cluster_is_looked_after_wherever_that_is() {
    for back_on in 1..=3 {
        let mut story = Story::of(3, &["a"]);
        let (home, _, _) = places(&story);
        story.sim.move_outside(NodeId(home), "a");
        story.run(10_000);
        story.sim.bring_back(NodeId(back_on), "a");
        story.until("it is adopted", |story| owned_by(story, back_on));
        story.settle();
        assert_eq!(story.runs_on("a"), Some(back_on));
    }
}

#[test]
fn a_frozen_service_that_left_the_cluster_is_not_started_when_it_is_unfrozen() {
    let mut story = Story::of(3, &["a"]);
    let (home, other, third) = places(&story);
    assert_eq!(story.told(1, Request::Freeze { service: vm("a") }), Code::Success);
    story.sim.move_outside(NodeId(home), "a");
    story.run(10_000);
    assert!(alarms(&story, third).contains("to a host that is no member"), "{}", alarms(&story, third));
    assert_eq!(story.told(1, Request::Unfreeze { service: vm("a") }), Code::Success);
    story.run(60_000);
    assert_eq!((story.runs_on("a"), status(&story, third).state), (None, ServiceState::Failed));
    story.sim.bring_back(NodeId(other), "a");
    story.until("it is adopted", |story| owned_by(story, other));
}

#[test]
fn a_host_that_comes_back_with_a_copy_has_it_destroyed() {
    let mut story = Story::of(3, &["a"]);
    let (home, _, third) = places(&story);
    story.sim.odds.fence_fails = 100;
    story.sim.freeze(NodeId(home), 60_000);
    story.until("it is lost", |story| matches!(story.standing(third, home), Some(Standing::Lost { .. })));
    // Somebody is wrong: the host is only frozen. The promise is broken by them, and what is left is to tidy up.
    story.sim.swear_falsely(NodeId(home));
    story.ask(third, Request::AcknowledgeFence { node: NodeId(home) });
    story.until("it runs elsewhere", |story| {
        story
            .record(third, "a")
            .is_some_and(|record| matches!(record.phase, Phase::Started { owner } if owner.0 != home))
    });
    let owner = story.record(third, "a").unwrap().phase.owner().unwrap();
    story.run(60_000).until("one copy is left", |story| story.sim.places("a").len() == 1);
    assert_eq!(story.runs_on("a"), Some(owner.0));
}

#[test]
fn of_two_copies_that_are_both_not_the_owners_one_is_adopted_and_the_other_destroyed() {
    let mut story = Story::of(3, &["a"]);
    let (home, other, third) = places(&story);
    story.sim.odds.event_lost = 100;
    story.sim.kill_guest(NodeId(home), "a");
    story.sim.start_by_hand(NodeId(other), "a");
    story.sim.start_by_hand(NodeId(third), "a");
    story.sim.odds.event_lost = 0;
    story.until("one copy is left", |story| story.runs_on("a").is_some());
    story.settle();
    let left = story.runs_on("a").unwrap();
    assert!(left != home && owned_by(&story, left), "on node{left}");
}

#[test]
fn two_copies_of_a_disabled_service_become_one_when_it_is_enabled() {
    let mut story = Story::of(3, &["a"]);
    assert_eq!(story.told(1, Request::Disable { service: vm("a") }), Code::Success);
    story.sim.start_by_hand(NodeId(2), "a");
    story.sim.start_by_hand(NodeId(3), "a");
    story.until("both are known", |story| status(story, 1).copies.len() == 2);
    assert_eq!(story.told(1, enable()), Code::Success);
    story.until("one copy is left", |story| story.runs_on("a").is_some());
    story.settle();
    assert!(owned_by(&story, story.runs_on("a").unwrap()));
}

#[test]
fn a_vm_that_is_taken_out_of_the_configuration_runs_on_and_is_found_when_it_is_put_in_again() {
    let mut story = Story::of(3, &["a", "b"]);
    let (home, _, third) = places(&story);
    let whole = story.sim.conf().to_owned();
    let without =
        |text: &str| text.lines().filter(|line| !line.contains("vm name=\"a\"")).collect::<Vec<_>>().join("\n");
    story.sim.reconfigure(without);
    story.until("it is not a service any more", |story| story.record(third, "a").is_none());
    run_with_one_copy_at_most(&mut story, 60_000);
    let members = story.state(third).unwrap().member_statuses(NodeId(third));
    let there = members.into_iter().find(|member| member.id.0 == home).unwrap();
    assert!(there.detail.contains("left running there when taken out of the configuration: a"), "{}", there.detail);
    story.sim.reconfigure(|text| whole.replacen("config_version=\"1\"", &version_of(text), 1));
    run_with_one_copy_at_most(&mut story, 10_000);
    assert_eq!(story.runs_on("a"), Some(home));
    assert!(owned_by(&story, home));
}

fn version_of(text: &str) -> String {
    let start = text.find("config_version=").unwrap();
    text[start..].split_whitespace().next().unwrap().trim_end_matches('>').to_owned()
}

#[test]
fn a_vm_that_was_made_and_started_by_hand_is_adopted_when_it_is_put_into_the_configuration() {
    for lost in [0, 100] {
        let mut story = Story::of(3, &["b"]);
        story.sim.odds.event_lost = lost;
        story.sim.start_by_hand(NodeId(3), "a");
        story.sim.odds.event_lost = 0;
        story.sim.reconfigure(|text| text.replacen("  </rm>", "    <vm name=\"a\" path=\"/vms\"/>\n  </rm>", 1));
        run_with_one_copy_at_most(&mut story, 10_000);
        assert_eq!(story.runs_on("a"), Some(3));
        assert!(owned_by(&story, 3));
    }
}

#[test]
fn a_vm_that_is_put_into_the_configuration_and_enabled_at_once_is_asked_for_all_the_same() {
    let mut story = Story::of(3, &["b"]);
    story.sim.odds.event_lost = 100;
    story.sim.start_by_hand(NodeId(3), "a");
    story
        .sim
        .reconfigure(|text| text.replacen("  </rm>", "    <vm name=\"a\" path=\"/vms\" autostart=\"0\"/>\n  </rm>", 1));
    story.until("it is a service", |story| story.record(1, "a").is_some());
    let id = story.ask(1, enable());
    run_with_one_copy_at_most(&mut story, 10_000);
    assert_eq!((story.runs_on("a"), story.answer(&id)), (Some(3), Some(Code::Success)));
}

#[test]
fn a_vm_that_died_unseen_is_restarted_when_the_others_have_said_that_they_do_not_have_it() {
    let mut story = Story::of(3, &["a"]);
    let (home, _, _) = places(&story);
    story.sim.odds.event_lost = 100;
    story.sim.kill_guest(NodeId(home), "a");
    story.sim.odds.event_lost = 0;
    story.until("it is missed", |story| {
        story.record(1, "a").is_some_and(|record| record.ended == Some(GoneReason::Missing))
    });
    story.settle();
    assert_eq!((story.runs_on("a"), status(&story, home).restarts), (Some(home), 1));
}

#[test]
fn a_vm_that_died_unseen_is_restarted_though_another_hosts_libvirt_says_nothing() {
    let mut story = Story::of(3, &["a"]);
    let (home, other, _) = places(&story);
    story.sim.silence_libvirt(NodeId(other), 3_600_000);
    story.run(40_000);
    story.sim.odds.event_lost = 100;
    story.sim.kill_guest(NodeId(home), "a");
    story.sim.odds.event_lost = 0;
    story.run(120_000);
    assert_eq!(story.runs_on("a"), Some(home));
}

#[test]
fn a_guest_that_may_switch_itself_off_and_does_while_there_is_no_quorum_is_not_started_when_there_is() {
    let mut story = may_stop_itself();
    let (home, other, third) = places(&story);
    story.sim.partition(&[&[home], &[other], &[third]]);
    story.run(4000);
    story.sim.guest_powers_off(NodeId(home), "a");
    story.run(1000);
    story.sim.rejoin();
    story.settle();
    assert_eq!((story.runs_on("a"), status(&story, third).state), (None, ServiceState::Disabled));
}

/// A cluster whose VM may be switched off by its guest.
fn may_stop_itself() -> Story {
    let mut story = Story::of(3, &["a"]);
    story.sim.reconfigure(|text| text.replace("<vm name=\"a\"", "<vm name=\"a\" guest_shutdown=\"stop\""));
    story.until("it is in force", |story| {
        story.state(1).and_then(|state| state.config()).is_some_and(|config| config.version == 2)
    });
    story
}

#[test]
fn a_guest_that_switches_itself_off_is_started_again_by_default() {
    let mut story = Story::of(3, &["a"]);
    let (home, _, third) = places(&story);
    story.sim.guest_powers_off(NodeId(home), "a");
    story.run(1000).settle();
    assert_eq!((story.runs_on("a"), status(&story, third).restarts), (Some(home), 1));
}

#[test]
fn a_guest_that_may_switch_itself_off_stays_off_until_it_is_enabled() {
    let mut story = may_stop_itself();
    let (home, _, third) = places(&story);
    story.sim.guest_powers_off(NodeId(home), "a");
    story.run(5000).settle();
    let shown = status(&story, third);
    assert_eq!((story.runs_on("a"), shown.state), (None, ServiceState::Disabled));
    assert!(shown.waiting.unwrap().contains("its guest powered itself off"));
    // A change of membership, and a loss of all power.
    story.sim.kill_daemon(NodeId(third));
    story.run(10_000).settle();
    for host in 1..=3 {
        story.sim.power_off(NodeId(host), "loses power");
    }
    story.sim.power_on_all();
    story.settle();
    assert_eq!((story.runs_on("a"), status(&story, home).state), (None, ServiceState::Disabled));
    assert_eq!(story.told(home, enable()), Code::Success);
    story.settle();
    assert!(story.runs_on("a").is_some());
}

#[test]
fn a_guest_that_may_switch_itself_off_and_dies_is_recovered() {
    let mut story = may_stop_itself();
    let (home, _, _) = places(&story);
    story.sim.kill_guest(NodeId(home), "a");
    story.settle();
    assert_eq!(story.runs_on("a"), Some(home));
}

#[test]
fn a_guest_that_switched_itself_off_while_frozen_is_not_started_when_unfrozen() {
    let mut story = may_stop_itself();
    let (home, _, third) = places(&story);
    assert_eq!(story.told(1, Request::Freeze { service: vm("a") }), Code::Success);
    story.sim.guest_powers_off(NodeId(home), "a");
    story.run(5000);
    assert_eq!(story.told(1, Request::Unfreeze { service: vm("a") }), Code::Success);
    story.settle();
    assert_eq!((story.runs_on("a"), status(&story, third).state), (None, ServiceState::Disabled));
}

#[test]
fn a_stop_by_belay_is_not_taken_for_the_guests_own() {
    let mut story = may_stop_itself();
    let (home, _, _) = places(&story);
    assert_eq!(story.told(1, Request::Restart { service: vm("a") }), Code::Success);
    story.settle();
    assert_eq!(story.runs_on("a"), Some(home));
}

#[test]
fn what_was_tolerated_while_its_owner_was_busy_is_dealt_with_as_soon_as_it_is_not() {
    let mut story = Story::of(3, &["a"]);
    let (_, other, third) = places(&story);
    story.sim.odds.stubborn_guest = 100;
    let id = story.ask(third, Request::Restart { service: vm("a") });
    story.run(200);
    story.sim.start_by_hand(NodeId(other), "a");
    story.until("it is seen", |story| {
        story.record(third, "a").is_some_and(|record| record.rivals.get(&NodeId(other)) == Some(&Rival::Tolerated))
    });
    story.until("it is answered", |story| story.answer(&id).is_some());
    story.until("one copy is left", |story| story.runs_on("a").is_some());
    story.settle();
    assert!(owned_by(&story, story.runs_on("a").unwrap()));
}
