//! Stopping real guests, gently and not.

use crate::agent::{gone, stop};
use crate::embedded::{Embedded, emulators_of};
use crate::guest::Guest;
use belay_proto::agent::{AgentEvent, Answer, CallKind, FaultKind};
use belay_proto::entry::GoneReason;
use std::time::{Duration, Instant};

#[test]
fn a_guest_that_obeys_is_not_destroyed() {
    let world = Embedded::new();
    let mut agent = world.agent();
    agent.start_domain("web1", &world.definition("web1", Guest::Obedient));
    // Repeated until the guest has booted and listens.
    let begun = Instant::now();
    assert_eq!(agent.call(stop("web1", 50_000, true)), Ok(Answer::Stopped { destroyed: false }));
    assert!(begun.elapsed() < Duration::from_secs(45), "it was waited for no longer than it took");
    let end = agent.expect("end", gone);
    assert!(matches!(end, AgentEvent::Gone { why: GoneReason::GuestShutdown, .. }), "{end:?}");
    assert!(emulators_of(world.dir()).is_empty());
}

#[test]
fn a_guest_that_is_deaf_is_destroyed_after_its_grace_unless_that_is_forbidden() {
    let world = Embedded::new();
    let mut agent = world.agent();
    let pid = agent.start_domain("web1", &world.definition("web1", Guest::Idle));
    let fault = agent.call(stop("web1", 300, false)).expect_err("it cannot hear");
    assert_eq!(fault.kind, FaultKind::Failed);
    assert_eq!(agent.list()[0].pid, Some(pid), "it was left alone");
    let begun = Instant::now();
    assert_eq!(agent.call(stop("web1", 1000, true)), Ok(Answer::Stopped { destroyed: true }));
    assert!(begun.elapsed() >= Duration::from_secs(1), "it had its grace");
    assert!(agent.list().is_empty() && emulators_of(world.dir()).is_empty());
    assert_eq!(agent.call(stop("web1", 1000, true)), Ok(Answer::Stopped { destroyed: false }));
}

#[test]
fn an_embedded_hypervisor_says_that_it_cannot_migrate() {
    let world = Embedded::new();
    let mut agent = world.agent();
    let pid = agent.start_domain("web1", &world.definition("web1", Guest::Idle));
    let to = "qemu+tcp://elsewhere/system".to_owned();
    let migrate = CallKind::Migrate { name: "web1".into(), to, live: true, tunnelled: false };
    assert_eq!(agent.call(migrate).expect_err("not in an embedded one").kind, FaultKind::Unsupported);
    assert_eq!(agent.list()[0].pid, Some(pid), "it stays where it runs");
}

#[test]
fn a_definition_that_qemu_refuses_is_a_failure_and_leaves_nothing() {
    let world = Embedded::new();
    let mut agent = world.agent();
    let xml = world.definition("web1", Guest::Idle).replace("Idle.img", "missing.img");
    let fault = agent.call(CallKind::Start { name: "web1".into(), xml }).expect_err("there is no such disk");
    assert_eq!(fault.kind, FaultKind::Failed);
    assert!(fault.message.contains("missing.img"), "{fault}");
    assert!(agent.list().is_empty() && emulators_of(world.dir()).is_empty());
    agent.start_domain("web1", &world.definition("web1", Guest::Idle));
}
