//! The VM executor with the real libvirt agent and real QEMU processes, each test in a hypervisor of its own.
//!
//! The agent is the program that `BELAY_AGENT` names, or `belay-agent-libvirt` in the target folder.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod executor;
#[path = "executor/qemu.rs"]
mod qemu;

use belay_config::model::Vm;
use belay_engine::state::work::WorkKind;
use belay_proto::ServiceState;
use belayd::executor::agent::AgentSettings;
use executor::{Host, PATIENCE, vm, work_on};
use nix::sys::signal::Signal;
use qemu::{Root, agent_program, kill};
use std::time::Duration;
use tokio::time::{Instant, sleep};

struct Real {
    host: Host,
    root: Root,
    web1: Vm,
}

fn host_of(root: &Root) -> Host {
    let agent = AgentSettings { hang_grace: Duration::from_millis(500), ..AgentSettings::new(agent_program()) };
    Host::new(agent, &root.uri(), |settings| {
        settings.driver.check_every = Duration::from_secs(1);
        settings.driver.list_within = Duration::from_secs(6);
    })
}

impl Real {
    fn new() -> Self {
        let root = Root::new();
        let host = host_of(&root);
        let web1 = vm("web1", &root.define("web1"));
        Self { host, root, web1 }
    }

    async fn start(&mut self, epoch: u64) -> String {
        let web1 = self.web1.clone();
        self.host.start(&web1, epoch).await
    }

    /// The one emulator that runs.
    fn emulator(&self) -> i32 {
        let emulators = self.root.emulators();
        assert_eq!(emulators.len(), 1, "{emulators:?}");
        emulators[0]
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_vm_is_observed_gone_and_started_again() {
    let mut test = Real::new();
    assert_eq!(test.start(1).await, "vm:web1 1 Started");
    for epoch in 1..4 {
        let emulator = test.emulator();
        let killed = Instant::now();
        kill(emulator, Signal::SIGKILL);
        assert_eq!(test.host.report().await, format!("vm:web1 {epoch} Gone {{ why: Died }}"));
        let seen = killed.elapsed();
        assert_eq!(test.start(epoch + 1).await, format!("vm:web1 {} Started", epoch + 1));
        println!("death reported after {seen:?}, started again after {:?}", killed.elapsed());
        assert_ne!(test.emulator(), emulator);
    }
    test.host.silent_for(Duration::from_secs(3)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_killed_during_a_start_leaves_one_vm_that_is_reported_started() {
    for delay_ms in [0, 60, 150, 300, 500] {
        let mut test = Real::new();
        let agent = test.root.agent().await;
        test.host.state("web1", 1, ServiceState::Starting, true);
        test.host.work(vec![WorkKind::Start(work_on(&test.web1, 1))]);
        sleep(Duration::from_millis(delay_ms)).await;
        kill(agent, Signal::SIGKILL);
        let mut most = 0;
        let until = Instant::now() + PATIENCE;
        let said = loop {
            most = most.max(test.root.emulators().len());
            if let Ok(report) = tokio::time::timeout(Duration::from_millis(20), test.host.report()).await {
                break report;
            }
            assert!(Instant::now() < until, "after {delay_ms} ms");
        };
        assert_eq!(said, "vm:web1 1 Started", "killed after {delay_ms} ms");
        sleep(Duration::from_millis(500)).await;
        test.emulator();
        assert!(most <= 1, "{most} at once, killed after {delay_ms} ms");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_definition_that_is_missing_not_xml_or_of_another_vm_fails_the_start_with_a_reason() {
    let mut test = Real::new();
    let not_xml = test.root.write("broken", "<domain><name>web1</name");
    let other = test.root.define("other");
    for (epoch, (file, said)) in
        [("/nowhere/web1.xml", "/nowhere/web1.xml"), (&not_xml, ""), (&other, "other")].into_iter().enumerate()
    {
        test.web1.xmlfile = Some(file.to_owned());
        let report = test.start(epoch as u64 + 1).await;
        println!("{report}");
        assert!(report.contains("StartFailed") && report.contains(said), "{report}");
    }
    assert!(test.root.emulators().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_agent_is_replaced_and_its_vm_neither_touched_nor_reported() {
    let mut test = Real::new();
    assert_eq!(test.start(1).await, "vm:web1 1 Started");
    let (emulator, agent) = (test.emulator(), test.root.agent().await);
    kill(agent, Signal::SIGSTOP);
    let until = Instant::now() + PATIENCE;
    while test.root.agent().await == agent {
        assert!(Instant::now() < until, "the frozen agent is still there");
        test.host.silent_for(Duration::from_millis(50)).await;
    }
    test.host.silent_for(Duration::from_secs(3)).await;
    assert_eq!(test.emulator(), emulator);
    kill(emulator, Signal::SIGKILL);
    assert_eq!(test.host.report().await, "vm:web1 1 Gone { why: Died }", "the new agent watches it");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vm_that_dies_while_there_is_no_agent_is_missed_when_there_is_one_again() {
    let mut test = Real::new();
    assert_eq!(test.start(1).await, "vm:web1 1 Started");
    let (emulator, agent) = (test.emulator(), test.root.agent().await);
    kill(agent, Signal::SIGSTOP);
    kill(emulator, Signal::SIGKILL);
    kill(agent, Signal::SIGKILL);
    let said = test.host.report().await;
    assert!(said.starts_with("vm:web1 1 Gone"), "{said}");
    assert_eq!(test.start(2).await, "vm:web1 2 Started");
    test.emulator();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_that_does_not_shut_down_is_destroyed_after_its_time() {
    let mut test = Real::new();
    assert_eq!(test.start(1).await, "vm:web1 1 Started");
    test.host.state("web1", 2, ServiceState::Stopping, true);
    let asked = Instant::now();
    test.host.work(vec![WorkKind::Stop(work_on(&test.web1, 2))]);
    assert_eq!(test.host.report().await, "vm:web1 2 Stopped");
    assert!(asked.elapsed() >= Duration::from_secs(2), "{:?}", asked.elapsed());
    assert!(test.root.emulators().is_empty());
    test.host.silent_for(Duration::from_secs(2)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn vms_outlive_the_executor_and_the_next_one_finds_them() {
    let mut test = Real::new();
    assert_eq!(test.start(1).await, "vm:web1 1 Started");
    let emulator = test.emulator();
    let Real { host, root, .. } = test;
    host.executor.end().await;
    assert!(root.agents().is_empty());
    assert_eq!(root.emulators(), [emulator]);
    let mut host = host_of(&root);
    host.state("web1", 1, ServiceState::Started, true);
    host.assignments.inventory_wanted = Some(2);
    host.work(Vec::new());
    assert_eq!(host.report().await, "inventory [\"web1\"]");
    host.silent_for(Duration::from_secs(2)).await;
    kill(emulator, Signal::SIGKILL);
    assert_eq!(host.report().await, "vm:web1 1 Gone { why: Died }");
}
