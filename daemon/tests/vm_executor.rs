//! How the VM executor gets through what an agent can do to it: each test orders the scripted agent
//! (`executor/scripted-agent.sh`) to fail in one way. What real VMs do is in `vm_executor_qemu.rs`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod executor;

use belay_config::model::Vm;
use belay_engine::state::work::WorkKind;
use belay_proto::{ServiceState, Span};
use belayd::executor::agent::AgentSettings;
use executor::{Host, migration, vm, work_on};
use std::fs;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tempfile::TempDir;

const URI: &str = "test:///scripted";

/// A host with a scripted agent.
struct Scripted {
    host: Host,
    dir: TempDir,
    web1: Vm,
}

impl Scripted {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        Self::prepared(dir)
    }

    fn prepared(dir: TempDir) -> Self {
        let program = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/executor/scripted-agent.sh");
        let agent = AgentSettings {
            arguments: vec![dir.path().into()],
            hang_grace: Duration::from_millis(200),
            pause_first: Duration::from_millis(50),
            pause_longest: Duration::from_millis(200),
            ..AgentSettings::new(program)
        };
        let host = Host::new(agent, URI, |settings| {
            settings.driver.list_within = Duration::from_secs(5);
            settings.driver.slack = Duration::from_secs(1);
        });
        let xml = dir.path().join("web1.xml");
        fs::write(&xml, "<domain/>").unwrap();
        let web1 = vm("web1", xml.to_str().unwrap());
        Self { host, dir, web1 }
    }

    fn order(&self, call: &str, what: &str) {
        fs::write(self.dir.path().join(format!("on-{call}")), what).unwrap();
    }

    fn runs(&self) -> bool {
        self.dir.path().join("running/web1").exists()
    }

    fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }

    /// How many calls of a kind the agent has had.
    fn calls(&self, call: &str) -> usize {
        self.log().lines().filter(|line| line.split(' ').next() == Some(call)).count()
    }

    async fn start(&mut self, epoch: u64) -> String {
        let web1 = self.web1.clone();
        self.host.start(&web1, epoch).await
    }

    async fn stop(&mut self, epoch: u64) -> String {
        self.host.state("web1", epoch, ServiceState::Stopping, true);
        self.host.work(vec![WorkKind::Stop(work_on(&self.web1, epoch))]);
        self.host.report().await
    }
}

#[tokio::test]
async fn work_that_is_listed_again_and_again_is_done_once() {
    let mut test = Scripted::new();
    test.host.state("web1", 1, ServiceState::Starting, true);
    for _ in 0..20 {
        test.host.work(vec![WorkKind::Start(work_on(&test.web1, 1))]);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(test.host.report().await, "vm:web1 1 Started");
    test.host.silent_for(Duration::from_millis(300)).await;
    assert_eq!(test.calls("start"), 1);
}

#[tokio::test]
async fn an_agent_that_dies_before_during_or_after_a_start_leaves_one_started_domain() {
    for fault in ["die", "die-after", "deadline", "unreachable", "wrong"] {
        let mut test = Scripted::new();
        test.order("start", fault);
        assert_eq!(test.start(1).await, "vm:web1 1 Started", "{fault}");
        assert!(test.runs());
        assert_eq!(fs::read_to_string(test.dir.path().join("count")).unwrap().trim(), "1001", "{fault}: started once");
        test.host.silent_for(Duration::from_millis(300)).await;
    }
}

#[tokio::test]
async fn a_refused_start_is_failed_only_when_the_domain_does_not_run() {
    for fault in ["failed", "bad_definition", "wrong_name", "unsupported"] {
        let mut test = Scripted::new();
        test.order("start", fault);
        let said = test.start(1).await;
        assert_eq!(said, format!("vm:web1 1 StartFailed {{ reason: \"scripted {fault}\" }}"));
        test.order("start", fault);
        fs::write(test.dir.path().join("running/web1"), "77").unwrap();
        assert_eq!(test.start(2).await, "vm:web1 2 Started", "{fault}");
    }
}

#[tokio::test]
async fn a_missing_definition_fails_the_start_unless_the_domain_runs_already() {
    let mut test = Scripted::new();
    test.web1 = vm("web1", "/nowhere/web1.xml");
    let said = test.start(1).await;
    assert!(said.contains("StartFailed") && said.contains("/nowhere/web1.xml"), "{said}");
    fs::write(test.dir.path().join("running/web1"), "77").unwrap();
    assert_eq!(test.start(2).await, "vm:web1 2 Started");
    assert_eq!(test.calls("start"), 0);
}

#[tokio::test]
async fn a_missing_definition_is_not_reported_while_nobody_knows_whether_the_domain_runs() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("unconnected"), "").unwrap();
    let mut test = Scripted::prepared(dir);
    test.host.state("web1", 1, ServiceState::Starting, true);
    test.host.work(vec![WorkKind::Start(work_on(&vm("web1", "/nowhere/web1.xml"), 1))]);
    test.host.silent_for(Duration::from_secs(2)).await;
    assert!(test.calls("list") > 1);
    fs::remove_file(test.dir.path().join("unconnected")).unwrap();
    test.order("list", "die");
    assert!(test.host.report().await.contains("StartFailed"));
}

#[tokio::test]
async fn a_start_that_never_answers_is_made_sure_not_to_run_before_it_counts_as_failed() {
    let mut test = Scripted::new();
    test.web1.start_timeout = Span::seconds(1);
    // The agent starts nothing, and says for all of the start's time that it cannot tell.
    fs::create_dir_all(test.dir.path().join("running")).unwrap();
    fs::write(test.dir.path().join("always-on-start"), "deadline").unwrap();
    let said = test.start(1).await;
    assert!(said.contains("StartFailed") && said.contains("did not start within 1s"), "{said}");
    assert_eq!(test.calls("stop"), 1, "by force, to be sure: {}", test.log());
    assert!(!test.runs());
}

#[tokio::test]
async fn nothing_is_started_or_moved_without_quorum() {
    let mut test = Scripted::new();
    test.host.quorate.store(false, Ordering::SeqCst);
    test.host.state("web1", 1, ServiceState::Starting, true);
    test.host.work(vec![WorkKind::Start(work_on(&test.web1, 1))]);
    test.host.silent_for(Duration::from_secs(1)).await;
    assert_eq!(test.calls("start"), 0);
    test.host.quorate.store(true, Ordering::SeqCst);
    assert_eq!(test.host.report().await, "vm:web1 1 Started", "as soon as there is quorum again");
    test.host.quorate.store(false, Ordering::SeqCst);
    test.host.work(vec![migration(&test.web1, 2)]);
    test.host.silent_for(Duration::from_millis(500)).await;
    assert_eq!(test.calls("migrate"), 0);
}

#[tokio::test]
async fn a_start_that_is_not_listed_any_more_is_not_tried_again() {
    let mut test = Scripted::new();
    test.order("start", "hang");
    test.web1.start_timeout = Span::seconds(2);
    test.host.state("web1", 1, ServiceState::Starting, true);
    test.host.work(vec![WorkKind::Start(work_on(&test.web1, 1))]);
    while !test.runs() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    fs::remove_file(test.dir.path().join("running/web1")).unwrap();
    test.host.state("web1", 2, ServiceState::Stopped, false);
    test.host.work(Vec::new());
    test.host.no_outcome_for(Duration::from_secs(4)).await;
    assert_eq!(test.calls("start"), 1);
}

#[tokio::test]
async fn stopped_is_reported_only_when_the_agent_has_said_so() {
    for fault in ["die", "die-after", "deadline", "hang"] {
        let mut test = Scripted::new();
        assert_eq!(test.start(1).await, "vm:web1 1 Started");
        test.order("stop", fault);
        assert_eq!(test.stop(2).await, "vm:web1 2 Stopped", "{fault}");
        assert!(!test.runs(), "{fault}");
        test.host.silent_for(Duration::from_millis(300)).await;
    }
}

#[tokio::test]
async fn a_stop_waits_for_the_start_before_it_and_then_stops_what_that_started() {
    let mut test = Scripted::new();
    test.order("start", "die-after");
    test.host.state("web1", 1, ServiceState::Starting, true);
    test.host.work(vec![WorkKind::Start(work_on(&test.web1, 1))]);
    while test.calls("start") == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let said = test.stop(2).await;
    let last = if said.contains("Stopped") { said } else { test.host.report().await };
    assert_eq!(last, "vm:web1 2 Stopped");
    assert!(!test.runs());
}

#[tokio::test]
async fn looks_and_strays_are_answered_when_the_agent_can_tell() {
    let mut test = Scripted::new();
    test.order("list", "die");
    test.host.state("web1", 1, ServiceState::Migrating, false);
    test.host.work(vec![WorkKind::Look(work_on(&test.web1, 1))]);
    assert_eq!(test.host.report().await, "vm:web1 1 Looked { running: false }");
    fs::write(test.dir.path().join("running/web1"), "77").unwrap();
    test.host.work(vec![WorkKind::Look(work_on(&test.web1, 2))]);
    assert_eq!(test.host.report().await, "vm:web1 2 Looked { running: true }");
    test.order("stop", "die");
    test.host.work(vec![WorkKind::StopStray(work_on(&test.web1, 3))]);
    assert_eq!(test.host.report().await, "vm:web1 3 StrayStopped");
    assert!(!test.runs());
}

#[tokio::test]
async fn a_migration_always_ends_with_a_report() {
    for (fault, ended) in [
        ("", "MigrateEnded { ok: true, reason: \"\" }"),
        ("failed", "MigrateEnded { ok: false, reason: \"scripted failed\" }"),
        ("deadline", "MigrateEnded { ok: false, reason: \"scripted deadline\" }"),
        ("die", "MigrateEnded { ok: false, reason: \"the agent for test:///scripted ended with exit status: 1;"),
    ] {
        let mut test = Scripted::new();
        assert_eq!(test.start(1).await, "vm:web1 1 Started");
        if !fault.is_empty() {
            test.order("migrate", fault);
        }
        test.host.state("web1", 2, ServiceState::Migrating, true);
        test.host.work(vec![migration(&test.web1, 2)]);
        let said = test.host.report().await;
        assert!(said.starts_with(&format!("vm:web1 2 {ended}")), "{fault}: {said}");
        assert!(test.log().contains("qemu+ssh://node2/system"));
        assert_eq!(test.calls("cancel_migration"), usize::from(!fault.is_empty()), "{fault}: nothing may move on");
    }
}

#[tokio::test]
async fn a_migration_is_given_up_when_its_time_is_over_or_other_work_waits() {
    for time_is_over in [true, false] {
        let mut test = Scripted::new();
        assert_eq!(test.start(1).await, "vm:web1 1 Started");
        fs::write(test.dir.path().join("slow-migration"), "").unwrap();
        test.web1.migrate_timeout = Span::seconds(if time_is_over { 1 } else { 600 });
        test.host.state("web1", 2, ServiceState::Migrating, true);
        test.host.work(vec![migration(&test.web1, 2)]);
        while test.calls("migrate") == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        if !time_is_over {
            test.host.work(vec![WorkKind::Stop(work_on(&test.web1, 3))]);
        }
        assert_eq!(test.host.report().await, "vm:web1 2 MigrateEnded { ok: false, reason: \"scripted failed\" }");
        assert!(test.calls("cancel_migration") >= 1);
        if !time_is_over {
            assert_eq!(test.host.report().await, "vm:web1 3 Stopped");
        }
    }
}

#[tokio::test]
async fn an_inventory_is_reported_for_each_term_and_after_each_reconnection() {
    let mut test = Scripted::new();
    fs::create_dir_all(test.dir.path().join("running")).unwrap();
    fs::write(test.dir.path().join("running/web1"), "77").unwrap();
    test.order("list", "deadline");
    test.host.assignments.inventory_wanted = Some(1);
    test.host.work(Vec::new());
    assert_eq!(test.host.report().await, "inventory [\"web1\"]", "not before a list has come");
    test.host.work(Vec::new());
    test.host.silent_for(Duration::from_millis(300)).await;
    test.host.assignments.inventory_wanted = Some(2);
    test.host.work(Vec::new());
    assert_eq!(test.host.report().await, "inventory [\"web1\"]");
    let pid = fs::read_to_string(test.dir.path().join("pid")).unwrap();
    assert!(Path::new("/proc").join(pid.trim()).exists());
    kill(&pid);
    assert_eq!(test.host.report().await, "inventory [\"web1\"]");
}

fn kill(pid: &str) {
    let pid = nix::unistd::Pid::from_raw(pid.trim().parse().unwrap());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).unwrap();
}
