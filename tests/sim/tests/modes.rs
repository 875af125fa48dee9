//! Stories of turns and limits, of hosts in maintenance and standby, and of disarmed times.
#![allow(clippy::unwrap_used)] // The tests' own tools stop a test that cannot go on.

use belay_engine::state::member::Standing;
use belay_engine::state::service::{MigrationStage, Phase};
use belay_proto::entry::Request;
use belay_proto::{Code, NodeId, NodeMode, Span};
use belay_sim::scenario::{Story, vm};
use belay_sim::shape::{Shape, VmShape};

const ONE: NodeId = NodeId(1);
const TWO: NodeId = NodeId(2);

fn set(node: u32, mode: NodeMode) -> Request {
    Request::SetMode { node: NodeId(node), mode, reason: "new memory".into() }
}

fn maintenance(node: u32) -> Request {
    set(node, NodeMode::Maintenance)
}

fn active(node: u32) -> Request {
    set(node, NodeMode::Active)
}

fn disarm(span: Span) -> Request {
    Request::Disarm { span, reason: "new switch".into() }
}

fn reason(story: &Story, id: &str) -> String {
    story.sim.verdict(id).map(|verdict| verdict.reason.clone()).unwrap_or_default()
}

fn detail(story: &Story, asked: u32, of: u32) -> String {
    let state = story.state(asked).unwrap();
    let member = state.member_statuses(NodeId(asked)).into_iter().find(|member| member.id.0 == of);
    member.unwrap().detail
}

/// Asks a host that is not the one it is about.
fn beside(node: u32) -> u32 {
    node % 3 + 1
}

/// A cluster of VMs named vm00, vm01, …
fn crowd(hosts: u32, count: usize) -> Shape {
    let names: Vec<String> = (0..count).map(|number| format!("vm{number:02}")).collect();
    let mut shape = Shape::new(hosts, &[]);
    shape.vms = names.iter().map(|name| VmShape::new(name)).collect();
    shape
}

fn in_phase(story: &Story, asked: u32, of: impl Fn(&Phase) -> bool) -> Vec<String> {
    let Some(state) = story.state(asked) else { return Vec::new() };
    state.services().filter(|(_, record)| of(&record.phase)).map(|(name, _)| name.name().to_owned()).collect()
}

/// Steps on until something is so, and checks each step.
fn watched(story: &mut Story, done: impl Fn(&Story) -> bool, check: impl Fn(&Story)) {
    let until = story.sim.now() + 400_000;
    while !done(story) {
        assert!(story.sim.now() < until, "it took too long");
        story.sim.step();
        assert_eq!(story.sim.violation(), None);
        check(story);
    }
}

#[test]
fn a_host_starts_eight_vms_at_once_and_the_rest_waits_its_turn_without_an_alarm() {
    let mut story = Story::cold(crowd(3, 60));
    story.sim.power_on_all();
    let most = std::cell::Cell::new(0);
    let waited = std::cell::Cell::new(false);
    let all =
        |story: &Story| (1..=3).all(|host| in_phase(story, host, |p| matches!(p, Phase::Started { .. })).len() == 60);
    watched(&mut story, all, |story| {
        let Some(state) = story.state(1) else { return };
        for host in 1..=3 {
            let starting = |phase: &Phase| *phase == Phase::Starting { owner: NodeId(host) };
            most.set(most.get().max(in_phase(story, 1, starting).len()));
        }
        if state.services().any(|(_, r)| r.waiting.as_ref().is_some_and(|text| text.contains("waits its turn"))) {
            waited.set(true);
            assert!(state.alarms().is_empty(), "{:?}", state.alarms());
        }
    });
    assert_eq!(most.get(), 8);
    assert!(waited.get());
}

#[test]
fn a_vm_that_dies_is_restarted_at_once_though_its_host_starts_many_others() {
    let mut story = Story::with(crowd(2, 40));
    let home = story.runs_on("vm00").unwrap();
    let other = 3 - home;
    let lost = NodeId(other);
    story.sim.odds.stays_off = 100;
    story.sim.power_off(lost, "loses power");
    let starting = |story: &Story| in_phase(story, home, |p| matches!(p, Phase::Starting { .. })).len();
    story.until("many are started", |story| starting(story) == 8);
    story.sim.kill_guest(NodeId(home), "vm00");
    story.until("it is started beside them", |story| {
        matches!(story.record(home, "vm00").map(|r| &r.phase), Some(Phase::Starting { .. }))
    });
    assert!(starting(&story) >= 8, "the others have not all been started before");
}

#[test]
fn a_host_in_maintenance_is_emptied_by_migration_and_gets_its_vms_back() {
    let mut story = Story::of(3, &["a", "b", "c", "d", "e", "f"]);
    let epochs = story.sim.fenced();
    let names = ["a", "b", "c", "d", "e", "f"];
    let before: Vec<_> = names.iter().map(|name| story.runs_on(name)).collect();
    assert_eq!(story.told(2, maintenance(1)), Code::Success);
    assert!(names.iter().all(|name| story.runs_on(name).is_some_and(|place| place != 1)), "all moved, none stopped");
    assert_eq!(detail(&story, 2, 1), "maintenance (new memory): no VM is left here");
    story.run(20_000).settle();
    assert!(names.iter().all(|name| story.runs_on(name) != Some(1)), "nothing comes back by itself");
    assert_eq!(story.told(2, active(1)), Code::Success);
    story.settle();
    let after: Vec<_> = names.iter().map(|name| story.runs_on(name)).collect();
    assert_eq!(after, before);
    assert_eq!(story.sim.fenced(), epochs);
}

#[test]
fn no_more_migrations_run_at_a_host_than_allowed() {
    let mut story = Story::with(crowd(3, 30));
    let id = story.ask(2, maintenance(1));
    let most = std::cell::Cell::new(0);
    watched(
        &mut story,
        |story| story.answer(&id).is_some(),
        |story| {
            for host in [ONE, TWO] {
                let at = |phase: &Phase| matches!(phase, Phase::Migrating { from, to, stage: MigrationStage::Moving } if *from == host || *to == host);
                most.set(most.get().max(in_phase(story, 2, at).len()));
            }
        },
    );
    assert_eq!(most.get(), 2);
    assert_eq!(story.answer(&id), Some(Code::Success));
}

#[test]
fn a_migration_beyond_the_limit_waits_its_turn_and_is_answered_when_it_is_done() {
    let mut story = Story::with(crowd(2, 10));
    let here: Vec<String> =
        (0..10).map(|n| format!("vm{n:02}")).filter(|name| story.runs_on(name) == Some(1)).collect();
    let ids: Vec<String> =
        here.iter().map(|name| story.ask(1, Request::Migrate { service: vm(name), target: TWO })).collect();
    story.until("two are on their way", |story| {
        in_phase(story, 1, |p| matches!(p, Phase::Migrating { .. })).len() == 2
            && story.state(1).unwrap().services().filter(|(_, r)| r.moves.asked.is_some()).count() == 3
    });
    story.until("all are answered", |story| ids.iter().all(|id| story.answer(id) == Some(Code::Success)));
    assert!(here.iter().all(|name| story.runs_on(name) == Some(2)));
}

#[test]
fn a_vm_that_is_disabled_while_it_waits_to_be_moved_is_not_moved() {
    let mut story = Story::with(crowd(2, 10));
    let here: Vec<String> =
        (0..10).map(|n| format!("vm{n:02}")).filter(|name| story.runs_on(name) == Some(1)).collect();
    let ids: Vec<String> =
        here.iter().map(|name| story.ask(1, Request::Migrate { service: vm(name), target: TWO })).collect();
    let last = here.last().unwrap().clone();
    story.until("it waits", |story| story.record(1, &last).unwrap().moves.asked.is_some());
    assert_eq!(story.told(1, Request::Disable { service: vm(&last) }), Code::Success);
    assert_eq!(story.answer(ids.last().unwrap()), Some(Code::Again));
    story.settle();
    assert_eq!(story.runs_on(&last), None);
}

#[test]
fn a_vm_that_dies_while_it_waits_to_be_moved_is_restarted_and_the_request_fails() {
    let mut story = Story::with(crowd(2, 10));
    let here: Vec<String> =
        (0..10).map(|n| format!("vm{n:02}")).filter(|name| story.runs_on(name) == Some(1)).collect();
    let ids: Vec<String> =
        here.iter().map(|name| story.ask(1, Request::Migrate { service: vm(name), target: TWO })).collect();
    let last = here.last().unwrap().clone();
    story.until("it waits", |story| story.record(1, &last).unwrap().moves.asked.is_some());
    story.sim.kill_guest(ONE, &last);
    story.settle();
    assert_eq!(story.answer(ids.last().unwrap()), Some(Code::Failure));
    assert_eq!(story.runs_on(&last), Some(1));
}

#[test]
fn maintenance_outlives_its_host_its_daemons_and_a_loss_of_power_to_all() {
    let mut story = Story::of(3, &["a", "b", "c"]);
    let home = story.runs_on("a").unwrap();
    assert_eq!(story.told(beside(home), maintenance(home)), Code::Success);
    for host in 1..=3 {
        story.sim.kill_daemon(NodeId(host));
    }
    story.settle();
    for host in 1..=3 {
        story.sim.power_off(NodeId(host), "the power fails");
    }
    story.run(2000);
    story.sim.heal();
    story.settle();
    assert!(["a", "b", "c"].iter().all(|name| story.runs_on(name).is_some_and(|place| place != home)));
    assert!(detail(&story, 1, home).starts_with("maintenance (new memory)"));
    assert_eq!(story.told(beside(home), active(home)), Code::Success);
    story.until("a is back where it came from", |story| story.runs_on("a") == Some(home));
}

#[test]
fn nothing_is_brought_back_after_standby() {
    let mut story = Story::of(3, &["a", "b", "c"]);
    let home = story.runs_on("a").unwrap();
    assert_eq!(story.told(beside(home), set(home, NodeMode::Standby)), Code::Success);
    assert_eq!(story.told(beside(home), active(home)), Code::Success);
    story.run(30_000).settle();
    assert_ne!(story.runs_on("a"), Some(home));
}

#[test]
fn what_an_admin_moved_meanwhile_is_not_brought_back() {
    let mut story = Story::of(3, &["a", "b", "c"]);
    let home = story.runs_on("a").unwrap();
    assert_eq!(story.told(beside(home), maintenance(home)), Code::Success);
    let place = story.runs_on("a").unwrap();
    let third = 6 - home - place;
    assert_eq!(story.told(1, Request::Migrate { service: vm("a"), target: NodeId(third) }), Code::Success);
    assert_eq!(story.told(1, active(home)), Code::Success);
    story.run(30_000).settle();
    assert_eq!(story.runs_on("a"), Some(third));
}

#[test]
fn a_frozen_vm_stays_and_is_named_and_leaves_when_it_is_unfrozen() {
    let mut story = Story::of(3, &["a"]);
    let home = story.runs_on("a").unwrap();
    assert_eq!(story.told(home, Request::Freeze { service: vm("a") }), Code::Success);
    let id = story.ask(home, maintenance(home));
    story.until("it is answered", |story| story.answer(&id).is_some());
    assert_eq!(story.answer(&id), Some(Code::Warning));
    assert!(reason(&story, &id).contains("vm:a is frozen"), "{}", reason(&story, &id));
    assert_eq!(story.told(home, Request::Unfreeze { service: vm("a") }), Code::Success);
    story.until("it has left", |story| story.runs_on("a").is_some_and(|place| place != home));
}

#[test]
fn a_vm_that_may_run_nowhere_else_stays_and_is_named() {
    let mut shape = Shape::new(3, &["a"]);
    shape.vms[0].restricted_to = vec![2];
    let mut story = Story::with(shape);
    let id = story.ask(1, maintenance(2));
    story.until("it is answered", |story| story.answer(&id).is_some());
    assert_eq!(story.answer(&id), Some(Code::Warning));
    assert!(reason(&story, &id).starts_with("1 VM stays there: vm:a"), "{}", reason(&story, &id));
    assert_eq!(story.runs_on("a"), Some(2));
}

#[test]
fn a_vm_that_cannot_be_migrated_is_not_stopped_but_named_and_tried_again() {
    let mut story = Story::of(3, &["a"]);
    let home = story.runs_on("a").unwrap();
    story.sim.odds.migration_lies = 100;
    let id = story.ask(home, maintenance(home));
    story.run(200_000);
    // Whatever became of the migrations, it was answered and the VM lives somewhere.
    assert!(story.answer(&id).is_some());
    assert!(story.runs_on("a").is_some());
    story.sim.odds.migration_lies = 0;
    story.until("it has left", |story| story.runs_on("a").is_some_and(|place| place != home));
}

#[test]
fn the_last_host_cannot_be_emptied_and_its_vms_keep_running() {
    let mut story = Story::of(2, &["a", "b"]);
    assert_eq!(story.told(1, maintenance(1)), Code::Success);
    let id = story.ask(1, maintenance(2));
    story.until("it is answered", |story| story.answer(&id).is_some());
    assert_eq!(story.answer(&id), Some(Code::Warning));
    assert!(reason(&story, &id).starts_with("2 VMs stay there"), "{}", reason(&story, &id));
    assert_eq!((story.runs_on("a"), story.runs_on("b")), (Some(2), Some(2)));
}

#[test]
fn an_empty_host_in_maintenance_that_leaves_in_order_is_not_fenced_and_one_that_vanishes_is() {
    let mut story = Story::of(3, &["a", "b", "c"]);
    assert_eq!(story.told(2, maintenance(1)), Code::Success);
    story.sim.leave(ONE, true);
    story.until("it has left", |story| matches!(story.standing(2, 1), Some(Standing::Left { stopped: true })));
    story.run(60_000).settle();
    assert_eq!(story.sim.fenced(), 0);
    assert!(detail(&story, 3, 1).starts_with("maintenance"), "it is back, and still is what it was");
    assert_eq!(story.told(3, maintenance(2)), Code::Success);
    story.sim.freeze(TWO, 400_000);
    story.until("it is fenced", |story| story.sim.fenced() == 1);
}

#[test]
fn a_vm_that_dies_on_a_host_in_maintenance_starts_elsewhere_and_counts_as_moved() {
    let mut story = Story::of(3, &["a"]);
    let home = story.runs_on("a").unwrap();
    assert_eq!(story.told(home, Request::Freeze { service: vm("a") }), Code::Success);
    assert_eq!(story.told(home, maintenance(home)), Code::Warning);
    story.sim.kill_guest(NodeId(home), "a");
    story.run(2000);
    assert_eq!(story.told(home, Request::Unfreeze { service: vm("a") }), Code::Success);
    story.until("it runs elsewhere", |story| story.runs_on("a").is_some_and(|place| place != home));
    assert_eq!(story.told(home, active(home)), Code::Success);
    story.until("it is brought back", |story| story.runs_on("a") == Some(home));
}

#[test]
fn a_host_in_maintenance_is_refused_as_a_target() {
    let mut story = Story::of(3, &["a"]);
    let home = story.runs_on("a").unwrap();
    let away = beside(home);
    assert_eq!(story.told(home, maintenance(away)), Code::Success);
    let migrate = Request::Migrate { service: vm("a"), target: NodeId(away) };
    assert_eq!(story.told(home, migrate), Code::Depend);
    let relocate = Request::Relocate { service: vm("a"), target: Some(NodeId(away)) };
    assert_eq!(story.told(home, relocate), Code::Domain);
}

#[test]
fn a_second_wish_for_a_host_supersedes_the_drain_that_is_under_way() {
    let mut story = Story::with(crowd(3, 30));
    let id = story.ask(2, maintenance(1));
    story.until("it has begun", |story| !in_phase(story, 2, |p| matches!(p, Phase::Migrating { .. })).is_empty());
    assert_eq!(story.told(2, active(1)), Code::Success);
    assert_eq!(story.answer(&id), Some(Code::Again));
    story.settle();
    assert_eq!((0..30).filter(|n| story.runs_on(&format!("vm{n:02}")) == Some(1)).count(), 10);
}

#[test]
fn while_disarmed_a_lost_host_is_not_fenced_and_when_armed_again_it_is() {
    let mut story = Story::of(3, &["a", "b", "c"]);
    let lost = story.runs_on("a").unwrap();
    let other = beside(lost);
    assert_eq!(story.told(other, disarm(Span::seconds(120))), Code::Success);
    assert!(story.state(other).unwrap().alarms()[0].contains("disarmed"));
    story.sim.freeze(NodeId(lost), 800_000);
    story.run(100_000);
    assert_eq!(story.sim.fenced(), 0);
    assert_eq!(story.runs_on("a"), Some(lost));
    story.until("it arms itself and fences", |story| story.sim.fenced() == 1);
    story.until("a runs elsewhere", |story| story.runs_on("a").is_some_and(|place| place != lost));
    assert!(story.state(other).unwrap().disarmed().is_none());
}

#[test]
fn hosts_that_lose_sight_of_each_other_while_disarmed_are_unharmed_when_they_meet_again() {
    let mut story = Story::of(3, &["a", "b", "c"]);
    let places: Vec<_> = ["a", "b", "c"].iter().map(|name| story.runs_on(name)).collect();
    assert_eq!(story.told(1, disarm(Span::seconds(600))), Code::Success);
    for _ in 0..3 {
        story.sim.partition(&[&[1, 2], &[3]]);
        story.run(40_000);
        story.sim.rejoin();
        story.run(20_000);
    }
    story.settle();
    assert_eq!(story.sim.fenced(), 0);
    let after: Vec<_> = ["a", "b", "c"].iter().map(|name| story.runs_on(name)).collect();
    assert_eq!(after, places);
}

#[test]
fn what_a_host_ran_that_was_restarted_while_disarmed_waits_until_it_is_armed_or_asked_for() {
    let mut story = Story::of(3, &["a", "b", "c", "d", "e", "f"]);
    let lost = story.runs_on("a").unwrap();
    let there: Vec<&str> =
        ["a", "b", "c", "d", "e", "f"].into_iter().filter(|name| story.runs_on(name) == Some(lost)).collect();
    let other = beside(lost);
    assert_eq!(story.told(other, disarm(Span::seconds(3600))), Code::Success);
    story.sim.power_off(NodeId(lost), "is rebooted");
    story.run(10_000);
    story.sim.power_on(NodeId(lost));
    story.run(60_000);
    assert!(there.iter().all(|name| story.runs_on(name).is_none()), "nothing is recovered while disarmed");
    let waiting = story.record(other, there[0]).unwrap().waiting.clone().unwrap_or_default();
    assert!(waiting.contains("disarmed (new switch)"), "{waiting}");
    let enable = Request::Enable { service: vm(there[0]), target: None, by_domain: false };
    assert_eq!(story.told(other, enable), Code::Success);
    assert!(story.runs_on(there[1]).is_none());
    assert_eq!(story.told(other, Request::Arm {}), Code::Success);
    story.settle();
    assert!(story.runs_on(there[1]).is_some());
}

#[test]
fn while_disarmed_a_vm_that_dies_on_a_living_host_is_restarted() {
    let mut story = Story::of(3, &["a"]);
    let home = story.runs_on("a").unwrap();
    assert_eq!(story.told(1, disarm(Span::seconds(3600))), Code::Success);
    story.sim.kill_guest(NodeId(home), "a");
    story.settle();
    assert_eq!(story.runs_on("a"), Some(home));
}

#[test]
fn while_disarmed_a_host_that_an_admin_vouches_for_is_recovered() {
    let mut story = Story::of(3, &["a"]);
    let lost = story.runs_on("a").unwrap();
    let other = beside(lost);
    assert_eq!(story.told(other, disarm(Span::seconds(3600))), Code::Success);
    story.sim.odds.stays_off = 100;
    story.sim.power_off(NodeId(lost), "loses power");
    story.until("it is missed", |story| matches!(story.standing(other, lost), Some(Standing::Lost { .. })));
    assert_eq!(story.told(other, Request::AcknowledgeFence { node: NodeId(lost) }), Code::Success);
    story.until("a runs elsewhere", |story| story.runs_on("a").is_some_and(|place| place != lost));
}

#[test]
fn a_disarmed_time_needs_a_length_within_a_day_and_a_reason_and_a_later_one_replaces_it() {
    let mut story = Story::of(3, &["a"]);
    for (span, reason) in [(Span::ZERO, "x"), (Span::seconds(24 * 3600 + 1), "x"), (Span::seconds(60), "  ")] {
        assert_eq!(story.told(1, Request::Disarm { span, reason: reason.into() }), Code::Invalid, "{span} {reason:?}");
    }
    assert!(story.state(1).unwrap().disarmed().is_none());
    assert_eq!(story.told(1, disarm(Span::seconds(24 * 3600))), Code::Success);
    assert_eq!(story.told(1, disarm(Span::seconds(60))), Code::Success);
    story.run(61_000);
    story.until("it is armed", |story| story.state(1).unwrap().disarmed().is_none());
}

#[test]
fn a_disarmed_time_outlives_a_loss_of_power_to_all() {
    let mut story = Story::of(3, &["a"]);
    assert_eq!(story.told(1, disarm(Span::seconds(3600))), Code::Success);
    for host in 1..=3 {
        story.sim.power_off(NodeId(host), "the power fails");
    }
    story.run(2000);
    for host in 1..=2 {
        story.sim.power_on(NodeId(host));
    }
    story.run(100_000);
    assert!(story.state(1).unwrap().disarmed().is_some());
    assert_eq!(story.sim.fenced(), 0);
}
