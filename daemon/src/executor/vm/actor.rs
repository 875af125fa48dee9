//! The executor's one owner of everything: takes in work, notices and the ends of tasks, starts tasks, and sends
//! reports one after the other.

use super::definition::Definitions;
use super::job::{Ended, Job, Key, Standing, Task, Trouble};
use super::world::World;
use super::{Quorate, VmSettings};
use crate::executor::agent::{Agents, Listing, Notice};
use belay_engine::state::work::Assignments;
use belay_proto::ServiceName;
use belay_proto::agent::Fault;
use belay_proto::entry::What;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::{self, JoinSet};
use tokio::time::{Instant, sleep_until};

/// Notices that may wait. The actor never waits for anything else, so this is only for bursts.
const NOTICES: usize = 1024;
/// Stops that run at once. Guests shut down side by side, but an agent takes only so many calls.
const STOPS_AT_ONCE: usize = 256;
/// Work that was dropped, for lack of quorum mostly, is looked at again after this long.
const AGAIN: Duration = Duration::from_millis(200);

/// A task that goes on.
struct Running {
    key: Key,
    domain: String,
    uri: String,
    standing: watch::Sender<Standing>,
    task: task::Id,
}

/// What comes back from spawned tasks.
enum Done {
    Job(Box<Ended>),
    List { uri: String, issued: u64, list: Result<Listing, Fault> },
}

/// The actor.
pub(super) struct Actor {
    settings: Arc<VmSettings>,
    reports: mpsc::Sender<What>,
    quorate: Quorate,
    world: World,
    assignments: Arc<Assignments>,
    agents: Agents,
    notices: mpsc::Receiver<Notice>,
    troubles: (mpsc::UnboundedSender<Trouble>, mpsc::UnboundedReceiver<Trouble>),
    tasks: JoinSet<Done>,
    running: BTreeMap<ServiceName, Running>,
    done: BTreeSet<Key>,
    /// Work that was dropped, and when it is taken up again if it is still listed then.
    postponed: BTreeSet<Key>,
    plan_again: Option<Instant>,
    starts: Arc<Semaphore>,
    stops: Arc<Semaphore>,
    definitions: Definitions,
}

impl Actor {
    pub(super) fn new(settings: VmSettings, reports: mpsc::Sender<What>, quorate: Quorate) -> Self {
        let settings = Arc::new(settings);
        let (sender, notices) = mpsc::channel(NOTICES);
        Self {
            world: World::new(Arc::clone(&settings), Instant::now()),
            reports,
            quorate,
            assignments: Arc::default(),
            agents: Agents::new(settings.agent.clone(), sender),
            notices,
            troubles: mpsc::unbounded_channel(),
            tasks: JoinSet::new(),
            running: BTreeMap::new(),
            done: BTreeSet::new(),
            postponed: BTreeSet::new(),
            plan_again: None,
            starts: Arc::new(Semaphore::new(settings.starts_at_once.max(1))),
            stops: Arc::new(Semaphore::new(STOPS_AT_ONCE)),
            definitions: Definitions::new(settings.definition_within),
            settings,
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
            self.ask_for_lists();
            let wake_at = self.plan_again.map_or_else(|| self.world.wake_at(), |at| at.min(self.world.wake_at()));
            tokio::select! {
                changed = incoming.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    let assignments = Arc::new(incoming.borrow_and_update().clone());
                    self.assign(assignments);
                }
                Some(notice) = self.notices.recv() => self.world.notice(Instant::now(), &notice.uri, notice.what),
                Some(done) = self.tasks.join_next_with_id() => self.finished(done),
                Some(Trouble { service, epoch, reason }) = self.troubles.1.recv() => {
                    self.world.trouble(service, epoch, reason);
                }
                permit = reports.reserve(), if self.world.has_reports() => {
                    let Ok(permit) = permit else { return };
                    if let Some(report) = self.world.next_report() {
                        tracing::debug!(?report, "report");
                        permit.send(report);
                    }
                }
                () = sleep_until(wake_at) => {
                    self.world.timers(Instant::now());
                    if self.plan_again.is_some_and(|at| at <= Instant::now()) {
                        self.plan_again = None;
                        self.postponed.clear();
                        self.plan();
                    }
                }
            }
        }
    }

    fn assign(&mut self, assignments: Arc<Assignments>) {
        self.assignments = Arc::clone(&assignments);
        let tasks: Vec<Task> = assignments.work.iter().filter_map(Task::of).collect();
        let listed: BTreeSet<&Key> = tasks.iter().map(|task| &task.key).collect();
        // What was done and reported is not done again for being listed in a new term: the node proposes a report until
        // it arrives, and a start begun anew would overtake the report that the first one failed.
        self.done.retain(|key| listed.contains(key));
        let worked_on: BTreeSet<ServiceName> = tasks.iter().map(|task| task.key.service.clone()).collect();
        for running in self.running.values() {
            let standing = if listed.contains(&running.key) {
                Standing::Wanted
            } else if worked_on.contains(&running.key.service) {
                Standing::Superseded
            } else {
                Standing::Unlisted
            };
            running.standing.send_if_modified(|old| std::mem::replace(old, standing) != standing);
        }
        self.world.assign(Instant::now(), assignments, worked_on);
        self.plan();
    }

    /// Starts whatever is listed, not done, and not waiting for other work on the same service.
    fn plan(&mut self) {
        let assignments = Arc::clone(&self.assignments);
        for task in assignments.work.iter().filter_map(Task::of) {
            let free = !self.running.contains_key(&task.key.service);
            if free && !self.done.contains(&task.key) && !self.postponed.contains(&task.key) {
                self.begin(task);
            }
        }
    }

    fn begin(&mut self, task: Task) {
        let (standing, watched) = watch::channel(Standing::Wanted);
        let key = task.key.clone();
        let uri = task.vm.hypervisor_uri.clone().unwrap_or_else(|| self.settings.hypervisor.clone());
        self.world.job_began(&key.service);
        let job = Job {
            task,
            agent: self.agents.get(&uri),
            standing: watched,
            quorate: Arc::clone(&self.quorate),
            starts: Arc::clone(&self.starts),
            stops: Arc::clone(&self.stops),
            definitions: self.definitions.clone(),
            settings: Arc::clone(&self.settings),
            troubles: self.troubles.0.clone(),
        };
        let domain = job.domain().to_owned();
        let task = self.tasks.spawn(async move { Done::Job(Box::new(job.run().await)) }).id();
        self.running.insert(key.service.clone(), Running { key, domain, uri, standing, task });
    }

    fn ask_for_lists(&mut self) {
        for uri in self.world.uris() {
            // Also starts the agent of a hypervisor that has just come into use.
            self.agents.get(&uri);
        }
        for (uri, issued) in self.world.lists_to_ask(Instant::now()) {
            let agent = self.agents.get(&uri);
            let within = self.settings.list_within;
            self.tasks.spawn(async move { Done::List { list: agent.list(within).await, uri, issued } });
        }
    }

    fn finished(&mut self, done: Result<(task::Id, Done), task::JoinError>) {
        let now = Instant::now();
        match done {
            Ok((_, Done::List { uri, issued, list })) => self.world.listed(now, &uri, issued, list),
            Ok((_, Done::Job(ended))) => {
                let known = ended.outcome.is_some();
                if let Some(running) = self.running.remove(&ended.service) {
                    if known {
                        self.done.insert(running.key)
                    } else {
                        self.postpone(now, running.key)
                    };
                }
                self.world.job_ended(now, *ended);
                self.plan();
            }
            Err(error) => self.failed(now, &error),
        }
    }

    fn postpone(&mut self, now: Instant, key: Key) -> bool {
        self.plan_again.get_or_insert(now + AGAIN);
        self.postponed.insert(key)
    }

    /// A task ended without a word, which is a defect; its work is taken up again.
    fn failed(&mut self, now: Instant, error: &task::JoinError) {
        tracing::error!("a task of the vm executor failed: {error}");
        let broken = self.running.iter().find(|(_, running)| running.task == error.id());
        let Some(service) = broken.map(|(service, _)| service.clone()) else { return };
        let Some(Running { key, domain, uri, .. }) = self.running.remove(&service) else { return };
        let epoch = key.epoch;
        self.postpone(now, key);
        self.world.job_ended(now, Ended { service, epoch, domain, uri, outcome: None, pid: None });
    }
}
