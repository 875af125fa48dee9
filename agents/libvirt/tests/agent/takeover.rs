//! An agent dies; its guests live on, and the next agent takes them over.

use crate::agent::{Agent, gone, stop};
use crate::embedded::{Embedded, emulators_of, kill};
use crate::guest::Guest;
use belay_proto::agent::{AgentEvent, Answer, CallKind, DomainState, Witness};
use belay_proto::entry::GoneReason;
use std::collections::BTreeSet;
use std::time::Duration;

#[test]
fn guests_outlive_a_killed_agent_and_are_adopted_three_times_over() {
    let world = Embedded::new();
    let mut agent = world.agent();
    let mut pids = BTreeSet::new();
    for name in ["web1", "web2"] {
        pids.insert(agent.start_domain(name, &world.definition(name, Guest::Idle)));
    }
    for _ in 0..3 {
        agent.kill();
        agent.wait_end();
        agent = world.agent();
        let listed = agent.list();
        assert_eq!(listed.iter().filter_map(|d| d.pid).collect::<BTreeSet<_>>(), pids);
        assert!(listed.iter().all(|domain| domain.state == DomainState::Running), "{listed:?}");
        assert!(!agent.events().iter().any(|e| matches!(e, AgentEvent::Started { .. })), "nothing has started");
    }
    let again = agent.call(CallKind::Start { name: "web1".into(), xml: world.definition("web1", Guest::Idle) });
    assert!(matches!(again, Ok(Answer::Started { already: true, .. })), "{again:?}");
    let victim = agent.list()[0].clone();
    kill(victim.pid.expect("it has a process"), "KILL");
    let expected =
        AgentEvent::Gone { name: victim.name, why: GoneReason::Died, pid: victim.pid, witness: Witness::Pidfd };
    assert_eq!(agent.expect("end", gone), expected, "an adopted guest is watched as well as any");
}

#[test]
fn guests_outlive_an_agent_that_is_told_to_go() {
    let world = Embedded::new();
    let mut agent = world.agent();
    let pid = agent.start_domain("web1", &world.definition("web1", Guest::Idle));
    assert_eq!(agent.hang_up().code(), Some(0));
    assert_eq!(emulators_of(world.dir()), [pid]);
    let mut agent = world.agent();
    assert_eq!(agent.list()[0].pid, Some(pid));
}

#[test]
fn a_guest_that_dies_while_no_agent_looks_is_not_listed_by_the_next() {
    let world = Embedded::new();
    let mut agent = world.agent();
    let pid = agent.start_domain("web1", &world.definition("web1", Guest::Idle));
    agent.kill();
    kill(pid, "KILL");
    let mut agent = world.agent();
    assert!(agent.list().is_empty());
    agent.start_domain("web1", &world.definition("web1", Guest::Idle));
}

#[test]
fn an_agent_killed_in_the_middle_of_a_start_leaves_one_guest_or_none() {
    for delay_ms in [20, 150, 300] {
        let world = Embedded::new();
        let mut agent = world.agent();
        let xml = world.definition("web1", Guest::Idle);
        let start = CallKind::Start { name: "web1".into(), xml: xml.clone() };
        agent.send(start.clone(), Duration::from_secs(30));
        std::thread::sleep(Duration::from_millis(delay_ms));
        agent.kill();
        let mut agent = world.agent();
        let result = agent.call(start);
        assert!(matches!(result, Ok(Answer::Started { pid: Some(_), .. })), "{delay_ms} ms: {result:?}");
        assert_eq!(emulators_of(world.dir()).len(), 1, "after {delay_ms} ms");
        assert_eq!(agent.list().len(), 1);
        assert_eq!(agent.call(stop("web1", 0, true)), Ok(Answer::Stopped { destroyed: true }));
        assert!(emulators_of(world.dir()).is_empty(), "after {delay_ms} ms");
    }
}

#[test]
fn a_second_agent_on_the_same_hypervisor_waits_until_the_first_has_gone() {
    let world = Embedded::new();
    let mut first = world.agent();
    let pid = first.start_domain("web1", &world.definition("web1", Guest::Idle));
    let mut second = Agent::start(&world.uri(), &[]);
    second.expect("refusal", |event| matches!(event, AgentEvent::Disconnected { .. }).then_some(()));
    let listed = second.list();
    assert_eq!(
        (listed.len(), listed[0].pid, listed[0].state),
        (1, Some(pid), DomainState::Alive),
        "unknown is not stopped"
    );
    assert_eq!(first.hang_up().code(), Some(0));
    second.expect("connection", |event| matches!(event, AgentEvent::Connected).then_some(()));
    assert_eq!(second.list()[0].state, DomainState::Running);
}

#[test]
fn an_embedded_hypervisor_that_cannot_start_ends_the_agent_with_its_reason() {
    let world = Embedded::new();
    std::fs::write(world.dir().join("root/etc/qemu.conf"), "this is no configuration").expect("it can be written");
    let mut agent = Agent::start(&world.uri(), &[]);
    agent.expect("refusal", |event| matches!(event, AgentEvent::Disconnected { .. }).then_some(()));
    assert_eq!(agent.process.wait().expect("it can be waited for").code(), Some(4));
}
