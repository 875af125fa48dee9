//! The shell around the driver: passes on what happens, makes the calls it asks for, and sends its reports one after
//! the other.

use super::definition::Definitions;
use super::{Quorate, VmSettings};
use crate::executor::agent::{Agent, Agents, Notice};
use crate::executor::clock::Clock;
use belay_driver::vm::{Call, CallId, Question, Reply, VmAction, VmDriver, VmEvent};
use belay_engine::state::work::Assignments;
use belay_proto::agent::{CallKind, Fault, FaultKind};
use belay_proto::entry::What;
use std::collections::{BTreeMap, VecDeque};
use tokio::sync::{mpsc, watch};
use tokio::task::{self, JoinError, JoinSet};
use tokio::time::sleep_until;

/// Notices that may wait. The actor never waits for anything else, so this is only for bursts.
const NOTICES: usize = 1024;

/// The actor.
pub(super) struct Actor {
    clock: Clock,
    driver: VmDriver,
    reports: mpsc::Sender<What>,
    /// Reports for which there was no room yet.
    unsent: VecDeque<What>,
    quorate: Quorate,
    agents: Agents,
    notices: mpsc::Receiver<Notice>,
    definitions: Definitions,
    tasks: JoinSet<(CallId, Reply)>,
    calls: BTreeMap<task::Id, CallId>,
}

impl Actor {
    pub(super) fn new(settings: VmSettings, reports: mpsc::Sender<What>, quorate: Quorate) -> Self {
        let (sender, notices) = mpsc::channel(NOTICES);
        let clock = Clock::start();
        Self {
            definitions: Definitions::new(settings.driver.definition_within),
            driver: VmDriver::new(settings.driver, clock.now()),
            clock,
            reports,
            unsent: VecDeque::new(),
            quorate,
            agents: Agents::new(settings.agent, sender),
            notices,
            tasks: JoinSet::new(),
            calls: BTreeMap::new(),
        }
    }

    /// Runs until the handle is dropped or nobody takes reports any more.
    pub(super) async fn run(mut self, mut incoming: watch::Receiver<Assignments>) {
        self.serve(&mut incoming).await;
        // Tasks hold handles to agents.
        self.tasks.shutdown().await;
        // Nobody takes notices any more, and an agent must not wait to be heard before it ends.
        drop(self.notices);
        self.agents.end().await;
    }

    async fn serve(&mut self, incoming: &mut watch::Receiver<Assignments>) {
        let reports = self.reports.clone();
        loop {
            let wake_at = self.clock.instant(self.driver.wake_at());
            let event = tokio::select! {
                changed = incoming.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    VmEvent::Assigned(incoming.borrow_and_update().clone())
                }
                Some(Notice { uri, what }) = self.notices.recv() => VmEvent::Notice { uri: uri.to_string(), what },
                Some(done) = self.tasks.join_next_with_id() => match self.answer(done) {
                    Some(event) => event,
                    None => continue,
                },
                permit = reports.reserve(), if !self.unsent.is_empty() => {
                    let Ok(permit) = permit else { return };
                    if let Some(report) = self.unsent.pop_front() {
                        permit.send(report);
                    }
                    continue;
                }
                () = sleep_until(wake_at) => VmEvent::Woken,
            };
            for action in self.driver.step(self.clock.now(), event) {
                self.carry_out(action);
            }
        }
    }

    fn carry_out(&mut self, action: VmAction) {
        match action {
            VmAction::EnsureAgent(uri) => drop(self.agents.get(&uri)),
            VmAction::Call(call) => {
                if let Some(work) = &call.work {
                    tracing::debug!(service = %work.service, kind = ?work.kind, call = call.id.0, "asks");
                }
                let id = call.id;
                let (agent, quorate) = (self.agents.get(&call.uri), self.quorate.clone());
                let definitions = self.definitions.clone();
                let task = self.tasks.spawn(async move { (id, ask(call, agent, quorate, definitions).await) });
                self.calls.insert(task.id(), id);
            }
            VmAction::Report(report) => {
                tracing::debug!(?report, "report");
                self.unsent.push_back(report);
            }
            VmAction::Warn { service, text } => tracing::warn!(%service, "{text}"),
        }
    }

    fn answer(&mut self, done: Result<(task::Id, (CallId, Reply)), JoinError>) -> Option<VmEvent> {
        let (call, reply) = match done {
            Ok((task, answered)) => {
                self.calls.remove(&task);
                answered
            }
            // It ended without a word, which is a defect: nobody knows what came of the call.
            Err(error) => {
                tracing::error!("a call of the vm executor failed: {error}");
                let message = format!("belayd failed during the call: {error}");
                let fault = Fault { kind: FaultKind::Unreachable, message };
                (self.calls.remove(&error.id())?, Reply::Answer(Err(fault)))
            }
        };
        Some(VmEvent::Answered { call, reply })
    }
}

/// Makes a call.
async fn ask(call: Call, agent: Agent, quorate: Quorate, definitions: Definitions) -> Reply {
    // Here and not when the driver asked for it: a task may have to wait before it runs.
    if call.needs_quorum && !quorate() {
        return Reply::NotQuorate;
    }
    match call.question {
        Question::Agent(CallKind::List) => Reply::List(agent.list(call.within).await),
        Question::Agent(what) => Reply::Answer(agent.call(what, call.within).await),
        Question::Definition(vm) => Reply::Definition(definitions.read(&vm).await.map_err(|error| error.to_string())),
    }
}
