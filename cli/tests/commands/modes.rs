//! `belay maintenance`, `standby`, `disarm` and `arm`, and what the other commands show of them.

use crate::support::{Script, World, alpha, run, verdict};
use belay_proto::control::{Disarmed, Status};
use belay_proto::entry::{NodeMode, Request};
use belay_proto::{Code, NodeId, Span};

fn snapshot(name: &str, script: Script, line: &str) {
    let world = World::new(script);
    insta::assert_snapshot!(name, run(world.socket(), 80, line).to_string());
}

fn disarmed() -> Status {
    let mut status = alpha();
    let until = status.time + Span::seconds(1500);
    status.disarmed = Some(Disarmed { until, reason: "new switch".into(), by: "root".into() });
    status
}

fn in_mode(node: usize, mode: NodeMode, detail: &str) -> Status {
    let mut status = alpha();
    status.members[node - 1].mode = mode;
    detail.clone_into(&mut status.members[node - 1].detail);
    status
}

fn script(status: Status, code: Code, reason: &str) -> Script {
    let mut script = Script::new(status);
    script.verdict = verdict(code, reason, 0);
    script
}

#[test]
fn each_command_asks_for_what_it_says() {
    let set = |node, mode, reason: &str| Request::SetMode { node: NodeId(node), mode, reason: reason.into() };
    for (line, status, request) in [
        ("belay maintenance node2", alpha(), set(2, NodeMode::Maintenance, "")),
        ("belay maintenance 2 --reason memory", alpha(), set(2, NodeMode::Maintenance, "memory")),
        ("belay maintenance node2 --off", in_mode(2, NodeMode::Maintenance, ""), set(2, NodeMode::Active, "")),
        ("belay maintenance node2 --off", alpha(), set(2, NodeMode::Active, "")),
        ("belay standby node1", alpha(), set(1, NodeMode::Standby, "")),
        ("belay standby node1 --off", in_mode(1, NodeMode::Standby, ""), set(1, NodeMode::Active, "")),
        (
            "belay disarm --for 30m --reason x",
            alpha(),
            Request::Disarm { span: Span::seconds(1800), reason: "x".into() },
        ),
        ("belay arm", alpha(), Request::Arm {}),
    ] {
        let world = World::new(Script::new(status));
        assert_eq!(run(world.socket(), 80, line).status, 0, "{line}");
        assert_eq!(world.daemon.submitted.lock().unwrap().pop().unwrap().request, request, "{line}");
    }
}

#[test]
fn an_empty_host_is_reported_in_one_line_and_one_that_is_not_with_what_is_in_the_way() {
    let script = |code, reason: &str| script(alpha(), code, reason);
    let empty = script(Code::Success, "no VM is left there");
    snapshot("maintenance", empty, "belay maintenance node2");
    let blocked = script(Code::Warning, "1 VM stays there: vm:guest1 is frozen");
    snapshot("maintenance_blocked", blocked, "belay maintenance node2");
    let back = script(Code::Success, "3 VMs are brought back");
    snapshot("maintenance_off", back, "belay maintenance node2 --off");
    snapshot("maintenance_no_quorum", script(Code::Quorum, "this host is alone"), "belay standby node2");
    snapshot("maintenance_no_member", script(Code::Success, ""), "belay maintenance node9");
}

#[test]
fn standby_is_not_ended_by_ending_maintenance() {
    let world = World::new(Script::new(in_mode(2, NodeMode::Standby, "")));
    let said = run(world.socket(), 80, "belay maintenance node2 --off");
    assert_eq!(said.status, 2);
    assert_eq!(
        said.err,
        "belay: node2.example.com is in standby: end that with: belay standby node2.example.com --off\n"
    );
    assert!(world.daemon.submitted.lock().unwrap().is_empty());
}

#[test]
fn whoever_waits_is_told_what_is_still_there_and_a_limited_wait_leaves_it_in_force() {
    let mut script =
        Script::new(in_mode(2, NodeMode::Maintenance, "maintenance: 2 VMs still here: vm:a is moving to node1"));
    script.hangs = true;
    snapshot("maintenance_waits", script, "belay maintenance node2 --wait 3s");
}

#[test]
fn whoever_does_not_wait_is_told_as_soon_as_the_host_is_in_maintenance() {
    let mut script = Script::new(in_mode(2, NodeMode::Maintenance, "maintenance: 2 VMs still here"));
    script.hangs = true;
    snapshot("maintenance_no_wait", script, "belay maintenance node2 --no-wait");
}

#[test]
fn a_disarmed_time_is_confirmed_and_what_is_wrong_with_one_is_said() {
    snapshot("disarm", Script::new(alpha()), "belay disarm --for 30m --reason x");
    snapshot("arm", Script::new(disarmed()), "belay arm");
    snapshot("disarm_no_reason", Script::new(alpha()), "belay disarm --for 30m");
    snapshot("disarm_no_span", Script::new(alpha()), "belay disarm --reason x");
    let too_long = script(alpha(), Code::Invalid, "2d is too long: at most 1d at once, and it can be repeated");
    snapshot("disarm_too_long", too_long, "belay disarm --for 2d --reason x");
}

#[test]
fn a_disarmed_cluster_is_told_by_every_command_and_leaves_what_scripts_read_as_it_is() {
    snapshot("disarmed_status", Script::new(disarmed()), "belay status");
    let world = World::new(Script::new(disarmed()));
    for line in ["belay events", "belay why vm:guest1", "belay enable vm:guest1", "belay maintenance node2"] {
        let said = run(world.socket(), 80, line);
        assert!(said.err.starts_with("The cluster is DISARMED for another 25m by root"), "{line}: {}", said.err);
    }
    let armed = World::new(Script::new(alpha()));
    for line in ["belay clustat", "belay clustat -x", "belay events --json"] {
        assert_eq!(run(world.socket(), 80, line).out, run(armed.socket(), 80, line).out, "{line}");
    }
}

#[test]
fn the_status_shows_what_a_host_is_used_for() {
    let mut status = in_mode(2, NodeMode::Maintenance, "maintenance (memory): 1 VM still here: vm:guest1 is frozen");
    status.members[2].mode = NodeMode::Standby;
    snapshot("modes_status", Script::new(status), "belay status");
}

#[test]
fn the_help_says_when_one_wants_it_and_shows_how() {
    snapshot("maintenance_help", Script::new(alpha()), "belay maintenance --help");
    snapshot("standby_help", Script::new(alpha()), "belay standby --help");
    snapshot("disarm_help", Script::new(alpha()), "belay disarm --help");
}
