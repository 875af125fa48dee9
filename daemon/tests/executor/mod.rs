//! What the executor's tests share: an executor under test and ways to give it work and to read its reports.

#![allow(missing_docs, unreachable_pub, dead_code)]

use belay_config::model::Vm;
use belay_engine::state::work::{Assigned, Assignments, VmWork, Work, WorkKind};
use belay_proto::entry::What;
use belay_proto::{Index, NodeId, OwnershipEpoch, ServiceName, ServiceState, Span};
use belayd::executor::agent::AgentSettings;
use belayd::executor::vm::{VmExecutor, VmExecutorHandle, VmSettings};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::timeout;

/// How long a report may take on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// An executor under test.
pub struct Host {
    pub executor: VmExecutorHandle,
    pub reports: mpsc::Receiver<What>,
    pub quorate: Arc<AtomicBool>,
    pub assignments: Assignments,
    /// What was told of sizes, whatever else a test waits for.
    pub facts: Vec<What>,
}

impl Host {
    pub fn new(agent: AgentSettings, uri: &str, adjust: impl FnOnce(&mut VmSettings)) -> Self {
        let mut settings = VmSettings::new(agent, uri, "boot-1".parse().unwrap());
        adjust(&mut settings);
        let quorate = Arc::new(AtomicBool::new(true));
        let asked = Arc::clone(&quorate);
        let (sender, reports) = mpsc::channel(16);
        let executor = VmExecutor::spawn(settings, sender, move || asked.load(Ordering::SeqCst));
        Self { executor, reports, quorate, assignments: Assignments::default(), facts: Vec::new() }
    }

    /// What the state says of a VM.
    pub fn state(&mut self, name: &str, epoch: u64, state: ServiceState, mine: bool) {
        let service = ServiceName::vm(name).unwrap();
        let assigned = Assigned { service, epoch: OwnershipEpoch(epoch), state, mine, hypervisor_uri: None };
        self.assignments.domains.insert(name.to_owned(), assigned);
    }

    /// Replaces the list of work, and hands it over.
    pub fn work(&mut self, work: Vec<WorkKind>) {
        self.assignments.work = work.into_iter().map(|what| Work { decided: Index(1), what }).collect();
        self.executor.assign(self.assignments.clone());
    }

    /// Asks for a start, and what follows from its success.
    pub async fn start(&mut self, vm: &Vm, epoch: u64) -> String {
        self.state(&vm.name, epoch, ServiceState::Starting, true);
        self.work(vec![WorkKind::Start(work_on(vm, epoch))]);
        let said = self.report().await;
        let state = if said.ends_with("Started") { ServiceState::Started } else { ServiceState::Stopped };
        self.state(&vm.name, epoch, state, state == ServiceState::Started);
        self.work(Vec::new());
        said
    }

    /// The next report in words.
    pub async fn report(&mut self) -> String {
        loop {
            let report = timeout(PATIENCE, self.reports.recv()).await.expect("nothing was reported").unwrap();
            if !matches!(report, What::Facts { .. }) {
                return in_words(&report);
            }
            self.facts.push(report);
        }
    }

    /// Fails if anything is reported for so long.
    pub async fn silent_for(&mut self, time: Duration) {
        self.only_for(time, |report| matches!(report, What::Facts { .. })).await;
    }

    /// Fails if the end of any work is reported for so long; what is seen, or cannot be seen, may be.
    pub async fn no_outcome_for(&mut self, time: Duration) {
        self.only_for(time, |report| matches!(report, What::Facts { .. } | What::Observation { .. })).await;
    }

    async fn only_for(&mut self, time: Duration, may_be: impl Fn(&What) -> bool) {
        let end = tokio::time::Instant::now() + time;
        while let Ok(report) = tokio::time::timeout_at(end, self.reports.recv()).await {
            assert!(report.as_ref().is_some_and(&may_be), "unexpected: {report:?}");
        }
    }
}

fn in_words(report: &What) -> String {
    match report {
        What::Outcome { service, epoch, outcome } => format!("{service} {epoch} {outcome:?}"),
        What::Observation { service, epoch, seen } => format!("{service} {epoch} {seen:?}"),
        What::Inventory { running, .. } => format!("inventory {running:?}"),
        other => panic!("not for an executor: {other:?}"),
    }
}

pub fn work_on(vm: &Vm, epoch: u64) -> VmWork {
    VmWork { service: ServiceName::vm(&vm.name).unwrap(), epoch: OwnershipEpoch(epoch), vm: vm.clone() }
}

pub fn migration(vm: &Vm, epoch: u64) -> WorkKind {
    WorkKind::Migrate { vm: work_on(vm, epoch), to: NodeId(2), to_name: "node2".into() }
}

/// A VM whose definition is this file.
pub fn vm(name: &str, xmlfile: &str) -> Vm {
    let (start_timeout, stop_timeout) = (Span::seconds(20), Span::seconds(2));
    Vm { xmlfile: Some(xmlfile.to_owned()), start_timeout, stop_timeout, ..Vm::new(name) }
}
