//! The driver: takes in work, notices and answers, keeps one job a service going, and says what is to be done.

use super::job::{Asker, Calls, Cause, Desk, Ended, Input, Job, Kind, Standing, Task, WorkId};
use super::places::Places;
use super::world::World;
use super::{Call, CallId, NoticeKind, Question, Reply, Settings, VmAction, VmEvent};
use crate::Moment;
use belay_engine::state::work::Assignments;
use belay_proto::ServiceName;
use belay_proto::agent::CallKind;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

/// Work that was dropped, for lack of quorum mostly, is looked at again after this long.
const AGAIN: Duration = Duration::from_millis(200);

/// One host's work on VMs.
#[derive(Debug)]
pub struct VmDriver {
    settings: Arc<Settings>,
    world: World,
    tasks: Vec<Task>,
    /// The agents that were asked for, and whether each takes calls.
    agents: BTreeMap<String, bool>,
    jobs: BTreeMap<ServiceName, Job>,
    /// Jobs that can go on, each once.
    ready: VecDeque<ServiceName>,
    calls: Calls,
    done: BTreeSet<WorkId>,
    /// Work that was dropped, and when it is taken up again if it is still listed then.
    postponed: BTreeSet<WorkId>,
    plan_again: Option<Moment>,
    starts: Places,
    stops: Places,
    out: Vec<VmAction>,
}

impl VmDriver {
    /// A driver that knows nothing yet. Its first [`VmDriver::wake_at`] is in the past: it wants to look.
    #[must_use]
    pub fn new(settings: Settings, now: Moment) -> Self {
        let settings = Arc::new(settings);
        Self {
            world: World::new(Arc::clone(&settings), now),
            tasks: Vec::new(),
            agents: BTreeMap::new(),
            jobs: BTreeMap::new(),
            ready: VecDeque::new(),
            calls: Calls::default(),
            done: BTreeSet::new(),
            postponed: BTreeSet::new(),
            plan_again: None,
            starts: Places::new(settings.starts_at_once),
            stops: Places::new(settings.stops_at_once),
            out: Vec::new(),
            settings,
        }
    }

    /// Takes an event in; gives what is to be done, in order. Time that has passed counts whatever the event is.
    pub fn step(&mut self, now: Moment, event: VmEvent) -> Vec<VmAction> {
        match event {
            VmEvent::Assigned(assignments) => self.assign(now, assignments),
            VmEvent::Notice { uri, what } => self.notice(now, &uri, what),
            VmEvent::Answered { call, reply } => self.answered(now, call, reply),
            VmEvent::Woken => {}
        }
        self.work(now);
        self.time(now);
        self.ask_for_lists(now);
        self.out.extend(std::iter::from_fn(|| self.world.next_report()).map(VmAction::Report));
        std::mem::take(&mut self.out)
    }

    /// When it has something to do even if nothing happens.
    #[must_use]
    pub fn wake_at(&self) -> Moment {
        let jobs = self.jobs.values().filter_map(Job::due);
        jobs.chain(self.plan_again).fold(self.world.wake_at(), Moment::min)
    }

    fn assign(&mut self, now: Moment, assignments: Assignments) {
        self.tasks = assignments.work.iter().filter_map(|work| Task::of(work, &assignments.domains)).collect();
        let listed: BTreeSet<&WorkId> = self.tasks.iter().map(|task| &task.id).collect();
        // What was done and reported is not done again for being listed in a new term: the node proposes a report until
        // it arrives, and a start begun anew would overtake the report that the first one failed.
        self.done.retain(|id| listed.contains(id));
        let worked_on: BTreeSet<ServiceName> = self.tasks.iter().map(|task| task.id.service.clone()).collect();
        let mut changed = Vec::new();
        for (service, job) in &mut self.jobs {
            let standing = if listed.contains(job.id()) {
                Standing::Wanted
            } else if worked_on.contains(service) {
                Standing::Superseded
            } else {
                Standing::Unlisted
            };
            if job.stands(standing) {
                changed.push(service.clone());
            }
        }
        self.world.assign(now, Arc::new(assignments), worked_on);
        for service in changed {
            self.lets_go_on(now, &service, Cause::Standing);
        }
        self.plan(now);
    }

    fn notice(&mut self, now: Moment, uri: &str, what: NoticeKind) {
        match &what {
            NoticeKind::Up => {
                self.agents.insert(uri.to_owned(), true);
                let here = self.jobs.iter().filter(|(_, job)| job.uri() == uri);
                for service in here.map(|(service, _)| service.clone()).collect::<Vec<_>>() {
                    self.lets_go_on(now, &service, Cause::AgentUp);
                }
            }
            NoticeKind::Down { .. } => {
                self.agents.insert(uri.to_owned(), false);
            }
            NoticeKind::Event(_) => {}
        }
        self.world.notice(now, uri, what);
    }

    fn answered(&mut self, now: Moment, call: CallId, reply: Reply) {
        match self.calls.end(call) {
            Some(Asker::World { uri, issued }) => self.world.listed(now, &uri, issued, reply.listing()),
            Some(Asker::Job(service)) => {
                if let Reply::Definition(Ok(text)) = &reply {
                    self.world.defined(service.name(), text);
                }
                let ended = self.with_job(now, &service, |job, desk| job.answered(desk, call, reply));
                self.ended(now, ended);
            }
            None => {}
        }
    }

    /// Lets a job go on with the next [`VmDriver::work`], if this is what it waits for.
    fn lets_go_on(&mut self, now: Moment, service: &ServiceName, cause: Cause) {
        if self.jobs.get(service).is_some_and(|job| job.goes_on(now, cause)) {
            self.ready.push_back(service.clone());
        }
    }

    /// Begins whatever is listed, not done, and not waiting for other work on the same service.
    fn plan(&mut self, now: Moment) {
        for task in &self.tasks {
            let id = &task.id;
            if self.jobs.contains_key(&id.service) || self.done.contains(id) || self.postponed.contains(id) {
                continue;
            }
            self.world.job_began(&id.service);
            let uri = task.vm.hypervisor_uri.as_ref().unwrap_or(&self.settings.hypervisor);
            ensure_agent(&mut self.agents, uri, &mut self.out);
            match id.kind {
                Kind::Start => self.starts.ask(id.service.clone()),
                Kind::Stop => self.stops.ask(id.service.clone()),
                // These neither load the host nor wait for guests, or are too urgent to wait.
                Kind::Migrate | Kind::Look | Kind::StopStray => {
                    self.ready.push_back(id.service.clone());
                }
            }
            self.jobs.insert(id.service.clone(), Job::new(now, task.clone(), uri.clone()));
        }
    }

    /// Lets all jobs go on that can, and those that can because of them.
    fn work(&mut self, now: Moment) {
        loop {
            while let Some(service) = self.ready.pop_front() {
                let ended = self.with_job(now, &service, |job, desk| job.step(desk, Input::GoOn));
                self.ended(now, ended);
            }
            // Only now: what ended without having had its turn has left the queue.
            let Some(service) = self.starts.next().or_else(|| self.stops.next()) else { return };
            self.lets_go_on(now, &service, Cause::Turn);
        }
    }

    fn with_job<T>(
        &mut self,
        now: Moment,
        service: &ServiceName,
        act: impl FnOnce(&mut Job, &mut Desk<'_>) -> Option<T>,
    ) -> Option<T> {
        let job = self.jobs.get_mut(service)?;
        let agent_up = self.agents.get(job.uri()).is_some_and(|up| *up);
        let mut troubles = Vec::new();
        let mut desk = Desk {
            now,
            settings: &self.settings,
            agent_up,
            calls: &mut self.calls,
            out: &mut self.out,
            troubles: &mut troubles,
        };
        let result = act(job, &mut desk);
        for trouble in troubles {
            self.world.trouble(trouble.service, trouble.epoch, trouble.reason);
        }
        result
    }

    fn ended(&mut self, now: Moment, ended: Option<Ended>) {
        let Some(ended) = ended else { return };
        let Some(job) = self.jobs.remove(&ended.service) else { return };
        self.starts.leave(&ended.service);
        self.stops.leave(&ended.service);
        if ended.outcome.is_some() {
            self.done.insert(job.id().clone());
        } else {
            self.plan_again.get_or_insert(now + AGAIN);
            self.postponed.insert(job.id().clone());
        }
        self.world.job_ended(now, ended);
        self.plan(now);
    }

    /// Does what has become due.
    fn time(&mut self, now: Moment) {
        let due = self.jobs.iter().filter(|(_, job)| job.goes_on(now, Cause::Time));
        for service in due.map(|(service, _)| service.clone()).collect::<Vec<_>>() {
            self.ready.push_back(service);
        }
        if self.plan_again.is_some_and(|at| at <= now) {
            self.plan_again = None;
            self.postponed.clear();
            self.plan(now);
        }
        self.work(now);
        self.world.timers(now);
    }

    fn ask_for_lists(&mut self, now: Moment) {
        for uri in self.world.uris() {
            ensure_agent(&mut self.agents, uri, &mut self.out);
        }
        for (uri, issued) in self.world.lists_to_ask(now) {
            let id = self.calls.begin(Asker::World { uri: uri.clone(), issued });
            let (question, within) = (Question::Agent(CallKind::List), self.settings.list_within);
            self.out.push(VmAction::Call(Call { id, uri, question, within, needs_quorum: false, work: None }));
        }
    }
}

/// Asks for the agent of a hypervisor that has just come into use.
fn ensure_agent(agents: &mut BTreeMap<String, bool>, uri: &str, out: &mut Vec<VmAction>) {
    if !agents.contains_key(uri) {
        agents.insert(uri.to_owned(), false);
        out.push(VmAction::EnsureAgent(uri.to_owned()));
    }
}
