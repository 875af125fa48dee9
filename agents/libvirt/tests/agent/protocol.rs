//! The protocol itself, against libvirt's fake hypervisor.

use crate::agent::{Agent, PATIENCE, stop};
use belay_proto::agent::{AGENT_VERSION, AgentEvent, AgentLine, Answer, CallKind, FaultKind, MAX_LINE_BYTES, Witness};
use belay_proto::{HostFacts, Size};
use std::time::Duration;

const URI: &str = "test:///default";

fn xml(name: &str) -> String {
    format!("<domain type='test'><name>{name}</name><memory>1024</memory><os><type>hvm</type></os></domain>")
}

#[test]
fn it_says_hello_before_anything_else() {
    let agent = Agent::connected(URI, &[]);
    let (read, first, _) = agent.wait(0, "line", |line| Some(line.clone()));
    assert_eq!(read, 1);
    assert_eq!(first, AgentLine::Hello { version: AGENT_VERSION, uri: URI.into() });
}

#[test]
fn it_goes_when_the_daemon_hangs_up_and_answers_first() {
    let mut agent = Agent::start(URI, &[]);
    let id = agent.send(CallKind::List, PATIENCE);
    assert_eq!(agent.hang_up().code(), Some(0));
    assert!(
        matches!(agent.answer(id), Ok(Answer::Domains(domains)) if domains.len() == 1),
        "the fake one has one domain"
    );
}

#[test]
fn a_domain_is_started_listed_and_stopped() {
    let mut agent = Agent::connected(URI, &[]);
    let started = agent.call(CallKind::Start { name: "web1".into(), xml: xml("web1") });
    assert_eq!(started, Ok(Answer::Started { pid: None, already: false }));
    let again = agent.call(CallKind::Start { name: "web1".into(), xml: xml("web1") });
    assert_eq!(again, Ok(Answer::Started { pid: None, already: true }), "a repeated start changes nothing");
    assert!(agent.list().iter().any(|domain| domain.name == "web1"));
    assert_eq!(agent.call(stop("web1", 5000, true)), Ok(Answer::Stopped { destroyed: false }));
    assert_eq!(
        agent.call(stop("web1", 5000, true)),
        Ok(Answer::Stopped { destroyed: false }),
        "so does a repeated stop"
    );
    assert!(agent.list().iter().all(|domain| domain.name != "web1"));
    agent.expect("start", |event| matches!(event, AgentEvent::Started { name, .. } if name == "web1").then_some(()));
    let witness = agent.expect("end", |event| match event {
        AgentEvent::Gone { name, witness, .. } if name == "web1" => Some(*witness),
        _ => None,
    });
    assert_eq!(witness, Witness::Libvirt, "there is no process that the kernel could tell about");
    let ends = agent.events().iter().filter(|event| matches!(event, AgentEvent::Gone { .. })).count();
    assert_eq!(ends, 1, "one end, one event");
}

#[test]
fn how_big_the_host_and_its_domains_are_is_told() {
    let agent = &mut Agent::connected(URI, &[]);
    let host = agent.events().into_iter().find_map(|event| match event {
        AgentEvent::Host(facts) => Some(facts),
        _ => None,
    });
    // libvirt's fake one has 3 GiB and 16 CPUs, and a domain of 8 GiB and 2 CPUs.
    assert_eq!(host, Some(HostFacts { memory_mib: 3072, cpus: 16 }));
    assert_eq!(agent.list()[0].size, Some(Size { memory_mib: 8192, vcpus: 2 }));
    let xml = xml("web1").replace("<memory>", "<vcpu current='1'>3</vcpu><memory>");
    agent.call(CallKind::Start { name: "web1".into(), xml }).expect("it starts");
    let web1 = agent.list().into_iter().find(|domain| domain.name == "web1").expect("it is listed");
    assert_eq!(web1.size.map(|size| size.vcpus), Some(3), "what it may have, not what it has");
}

#[test]
fn a_definition_that_is_no_domain_or_another_one_is_refused() {
    let mut agent = Agent::connected(URI, &[]);
    let cases = [
        ("not XML at all".to_owned(), FaultKind::BadDefinition),
        ("<domain><name>web1</name>".to_owned(), FaultKind::BadDefinition),
        ("<network><name>web1</name></network>".to_owned(), FaultKind::BadDefinition),
        (xml("web2"), FaultKind::WrongName),
        ("<domain type='test'><name>web1</name></domain>".to_owned(), FaultKind::BadDefinition),
    ];
    for (xml, kind) in cases {
        let fault = agent.call(CallKind::Start { name: "web1".into(), xml: xml.clone() }).expect_err(&xml);
        assert_eq!(fault.kind, kind, "{xml}: {fault}");
    }
    assert_eq!(agent.list().len(), 1, "nothing was started");
}

#[test]
fn a_domain_of_the_same_name_and_another_uuid_is_not_taken_for_it() {
    let mut agent = Agent::connected(URI, &[]);
    let other = xml("test").replace("<memory>", "<uuid>be1a0000-0000-4000-8000-000000000001</uuid><memory>");
    let fault = agent.call(CallKind::Start { name: "test".into(), xml: other }).expect_err("the fake one runs 'test'");
    assert_eq!(fault.kind, FaultKind::Failed);
    assert!(fault.message.contains("another UUID"), "{fault}");
}

#[test]
fn what_the_hypervisor_cannot_do_is_unsupported() {
    let mut agent = Agent::connected(URI, &[]);
    let migrate = CallKind::Migrate { name: "test".into(), to: "test:///default".into(), live: true, tunnelled: false };
    assert_eq!(agent.call(migrate).expect_err("a fake migration").kind, FaultKind::Unsupported);
    let cancel = CallKind::CancelMigration { name: "test".into() };
    assert_eq!(agent.call(cancel).expect_err("a fake migration").kind, FaultKind::Unsupported);
}

#[test]
fn nonsense_is_answered_if_it_has_an_id_and_harms_nothing() {
    let mut agent = Agent::connected(URI, &[]);
    agent.write(b"nonsense\n\n\x00\xff\xfe\n{\"id\":900,\"deadline_ms\":5,\"what\":\"dance\"}\n{\"id\":901,");
    agent.write(&vec![b' '; MAX_LINE_BYTES]);
    agent.write(b"\n{\"id\":902}\n");
    for id in [900, 901, 902] {
        let fault = agent.answer(id).expect_err("a bad call");
        assert_eq!(fault.kind, FaultKind::BadCall, "{id}: {fault}");
    }
    assert_eq!(agent.list().len(), 1, "it still works");
}

#[test]
fn a_call_whose_time_is_up_is_answered_once() {
    let mut agent = Agent::connected(URI, &[]);
    let id = agent.send(CallKind::List, Duration::ZERO);
    let result = agent.answer(id);
    assert!(!matches!(&result, Err(fault) if fault.kind != FaultKind::Deadline), "{result:?}");
    assert_eq!(agent.list().len(), 1);
    assert_eq!(agent.hang_up().code(), Some(0));
    agent.wait_end();
    let answers =
        agent.lines().iter().filter(|line| matches!(line, AgentLine::Answer { id: of, .. } if *of == id)).count();
    assert_eq!(answers, 1);
}

#[test]
fn a_hypervisor_that_is_not_there_is_unreachable_and_tried_again() {
    let mut agent = Agent::start("qemu+unix:///system?socket=/nonexistent/belay-test", &[]);
    let reason = agent.expect("disconnection", |event| match event {
        AgentEvent::Disconnected { reason } => Some(reason.clone()),
        _ => None,
    });
    assert!(reason.contains("/nonexistent/belay-test"), "{reason}");
    let start = CallKind::Start { name: "web1".into(), xml: xml("web1") };
    assert_eq!(agent.call(start).expect_err("no libvirt").kind, FaultKind::Unreachable);
    assert_eq!(agent.call(stop("web1", 0, true)).expect_err("no libvirt").kind, FaultKind::Unreachable);
}

#[test]
fn wrong_arguments_are_explained() {
    let run = |arguments: &[&str]| {
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_belay-agent-libvirt")).args(arguments).output();
        output.expect("the agent's binary starts")
    };
    assert_eq!(run(&[]).status.code(), Some(2));
    assert_eq!(run(&["--uri"]).status.code(), Some(2));
    let help = String::from_utf8(run(&["--help"]).stdout).expect("text");
    for part in ["--uri", "--reap", "qemu:///embed", "Exit codes", "stdin"] {
        assert!(help.contains(part), "{part}: {help}");
    }
}
