//! Jobs: one piece of work on one service, driven to its end the way the daemon's tasks drive it. Where a job cannot
//! know how its work ended it goes on looking; where it is not wanted any more it is dropped without an outcome.

use crate::executor::{Answer, ExecEv, Executor, Key, Kind, key_of};
use crate::hypervisor::Asker;
use crate::sim::{DaemonEv, Sim};
use belay_config::model::Vm;
use belay_engine::state::work::{Work, WorkKind};
use belay_proto::entry::WorkOutcome;
use belay_proto::{NodeId, ServiceName};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Ask,
    Call,
    /// Looks; what the look is for.
    Look(For),
    /// Stops by force after a start whose time is over.
    MakeSure,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum For {
    Itself,
    Refused,
    Start,
    Sure,
    Stop,
}

#[derive(Clone, Debug)]
pub(crate) struct Job {
    key: Key,
    vm: Vm,
    to: Option<NodeId>,
    began: u64,
    token: u64,
    stage: Stage,
    pause: u64,
    last: String,
}

impl Job {
    fn asker(&self, life: u64) -> Asker {
        Asker { life, service: self.key.service.clone(), token: self.token }
    }
}

impl Sim {
    pub(crate) fn plan(&mut self, host: NodeId, exec: &mut Executor) {
        for work in exec.assignments.work.clone() {
            let Some(key) = key_of(&work) else { continue };
            let free = !exec.jobs.contains_key(&key.service);
            if free && !exec.done.contains(&key) && !exec.postponed.contains(&key) {
                self.begin_job(host, exec, key, &work);
            }
        }
    }

    fn begin_job(&mut self, host: NodeId, exec: &mut Executor, key: Key, work: &Work) {
        let (vm, to) = match &work.what {
            WorkKind::Start(vm) | WorkKind::Stop(vm) | WorkKind::Look(vm) | WorkKind::StopStray(vm) => (vm, None),
            WorkKind::Migrate { vm, to, .. } => (vm, Some(*to)),
            WorkKind::Fence(_) => return,
        };
        exec.job_began(&key.service);
        let service = key.service.clone();
        let job = Job {
            key,
            vm: vm.vm.clone(),
            to,
            began: self.now,
            token: 0,
            stage: Stage::Ask,
            pause: 200,
            last: String::new(),
        };
        exec.jobs.insert(service.clone(), job);
        self.go_on(host, exec, &service);
    }

    /// Does the next thing of a job that waits for nothing.
    fn go_on(&mut self, host: NodeId, exec: &mut Executor, service: &ServiceName) {
        exec.tokens += 1;
        let token = exec.tokens;
        let Some(life) = self.daemon(host).map(|daemon| daemon.life) else { return };
        let agent_up = exec.agent_up;
        let Some(job) = exec.jobs.get_mut(service) else { return };
        job.token = token;
        let wanted = exec.listed.contains(&job.key);
        let (name, now) = (job.vm.name.clone(), self.now);
        match (job.stage, job.key.kind) {
            (Stage::Look(_), _) | (Stage::Ask, Kind::Look) => {
                if job.stage == Stage::Ask {
                    job.stage = Stage::Look(For::Itself);
                }
                let (delay, list) = self.ask_list(host, agent_up);
                let known = list.is_some();
                let sight = list.and_then(|list| list.get(&name).copied());
                let event = ExecEv::Looked { service: service.clone(), token, sight, known };
                self.daemon_after(host, delay, DaemonEv::Exec(event));
            }
            (Stage::Ask, Kind::Start | Kind::Migrate) => {
                if !agent_up && wanted {
                    if job.key.kind == Kind::Start && now >= job.began + job.vm.start_timeout.0 {
                        job.stage = Stage::MakeSure;
                    }
                    return self.pause_job(host, exec, service);
                }
                if !wanted || !self.may_act(host) {
                    return self.end_job(host, exec, service, None, None);
                }
                job.stage = Stage::Call;
                let (asker, to, epoch) = (job.asker(life), job.to, job.key.epoch);
                match to {
                    None => {
                        self.begins_start(host, service, epoch);
                        self.call_start(host, &name, asker);
                    }
                    Some(to) => {
                        self.begins_migration(host, service, to);
                        self.call_migrate(host, &name, to, asker);
                    }
                }
            }
            (Stage::Call | Stage::Ask, kind) => {
                job.stage = Stage::Call;
                let limit = job.vm.stop_timeout.0;
                let grace = if kind == Kind::StopStray { 0 } else { limit.saturating_sub(now - job.began) };
                let asker = job.asker(life);
                if kind == Kind::Stop {
                    self.begins_stop(host, service);
                }
                self.stop_through_agent(host, &name, grace, asker, agent_up);
            }
            (Stage::MakeSure, _) => {
                let asker = job.asker(life);
                self.stop_through_agent(host, &name, 0, asker, agent_up);
            }
        }
    }

    fn stop_through_agent(&mut self, host: NodeId, name: &str, grace: u64, asker: Asker, agent_up: bool) {
        if agent_up {
            self.call_stop(host, name, grace, asker);
        } else {
            self.answer(host, 300, asker, Answer::Unknown("there is no libvirt agent"));
        }
    }

    fn pause_job(&mut self, host: NodeId, exec: &mut Executor, service: &ServiceName) {
        let Some(job) = exec.jobs.get_mut(service) else { return };
        let delay = job.pause;
        job.pause = (delay * 2).min(5000);
        let event = ExecEv::Pause { service: service.clone(), token: job.token };
        self.daemon_after(host, delay, DaemonEv::Exec(event));
    }

    pub(crate) fn job_goes_on(&mut self, host: NodeId, exec: &mut Executor, service: &ServiceName, token: u64) {
        if exec.jobs.get(service).is_some_and(|job| job.token == token) {
            self.go_on(host, exec, service);
        }
    }

    pub(crate) fn job_answer(
        &mut self,
        host: NodeId,
        exec: &mut Executor,
        service: &ServiceName,
        token: u64,
        result: Answer,
    ) {
        let Some(job) = exec.jobs.get_mut(service).filter(|job| job.token == token) else { return };
        let pid = self.hosts.get(&host).and_then(|h| h.hyper.domains.get(&job.vm.name)).map(|dom| dom.pid);
        let name = job.vm.name.clone();
        if let Answer::Failed(reason) | Answer::Unknown(reason) = &result {
            (*reason).clone_into(&mut job.last);
        }
        let reason = job.last.clone();
        let look = match (job.stage, job.key.kind, &result) {
            (Stage::MakeSure, _, Answer::Done) => {
                return self.end_job(host, exec, service, Some(WorkOutcome::StartFailed { reason }), None);
            }
            (Stage::MakeSure, ..) => For::Sure,
            (_, Kind::Start, Answer::Done) => {
                return self.end_job(host, exec, service, Some(WorkOutcome::Started), pid);
            }
            (_, Kind::Start, Answer::Failed(_)) => For::Refused,
            (_, Kind::Start, Answer::Unknown(_)) => For::Start,
            (_, Kind::Stop, Answer::Done) => {
                return self.end_job(host, exec, service, Some(WorkOutcome::Stopped), None);
            }
            (_, Kind::StopStray, Answer::Done) => {
                return self.end_job(host, exec, service, Some(WorkOutcome::StrayStopped), None);
            }
            (_, Kind::Migrate, result) => {
                let ok = matches!(result, Answer::Done);
                if matches!(result, Answer::Unknown(_)) {
                    self.cancel_migration(host, &name);
                }
                return self.end_job(host, exec, service, Some(WorkOutcome::MigrateEnded { ok, reason }), None);
            }
            _ => For::Stop,
        };
        if let Some(job) = exec.jobs.get_mut(service) {
            job.stage = Stage::Look(look);
        }
        self.go_on(host, exec, service);
    }

    /// `sight`: nothing if it could not be seen; then whether it runs, with its process where that is known.
    pub(crate) fn job_looked(
        &mut self,
        host: NodeId,
        exec: &mut Executor,
        service: &ServiceName,
        token: u64,
        sight: Option<Option<Option<u32>>>,
    ) {
        let Some(job) = exec.jobs.get_mut(service).filter(|job| job.token == token) else { return };
        let Stage::Look(purpose) = job.stage else { return };
        let wanted = exec.listed.contains(&job.key);
        let late = self.now >= job.began + job.vm.start_timeout.0;
        let given_up = self.now >= job.began + (job.vm.stop_timeout.0 * 3).max(15_000);
        let (kind, reason) = (job.key.kind, job.last.clone());
        let stray = kind == Kind::StopStray;
        let outcome = match (purpose, sight) {
            (For::Itself, Some(Some(_))) => WorkOutcome::Looked { running: true },
            (For::Itself, Some(None)) => WorkOutcome::Looked { running: false },
            (For::Refused | For::Start | For::Sure, Some(Some(_))) => WorkOutcome::Started,
            (For::Refused, Some(None)) => WorkOutcome::StartFailed { reason },
            (For::Stop, Some(None)) if stray => WorkOutcome::StrayStopped,
            (For::Stop, Some(None)) => WorkOutcome::Stopped,
            (For::Stop, _) if given_up && !stray => WorkOutcome::StopFailed { reason },
            (For::Start, _) if late => {
                job.stage = Stage::MakeSure;
                return self.go_on(host, exec, service);
            }
            _ if !wanted => return self.end_job(host, exec, service, None, None),
            (For::Start, Some(None)) => {
                job.stage = Stage::Ask;
                return self.pause_job(host, exec, service);
            }
            (For::Sure, _) => {
                job.stage = Stage::MakeSure;
                return self.pause_job(host, exec, service);
            }
            (For::Stop, _) => {
                job.stage = Stage::Call;
                return self.pause_job(host, exec, service);
            }
            (For::Itself | For::Refused | For::Start, _) => return self.pause_job(host, exec, service),
        };
        let pid = sight.flatten().flatten();
        self.end_job(host, exec, service, Some(outcome), pid);
    }

    fn end_job(
        &mut self,
        host: NodeId,
        exec: &mut Executor,
        service: &ServiceName,
        outcome: Option<WorkOutcome>,
        pid: Option<u32>,
    ) {
        let Some(job) = exec.jobs.remove(service) else { return };
        if outcome.is_some() {
            exec.done.insert(job.key.clone());
        } else {
            exec.postponed.insert(job.key.clone());
            if !std::mem::replace(&mut exec.plans_again, true) {
                self.daemon_after(host, 200, DaemonEv::Exec(ExecEv::PlanAgain));
            }
        }
        exec.job_ended(self.now, &job.key, outcome, pid);
        self.plan(host, exec);
    }

    /// A migration that other work waits for is given up.
    pub(crate) fn cancel_superseded(&mut self, host: NodeId, exec: &Executor) {
        for job in exec.jobs.values() {
            let other = exec.listed.iter().any(|key| key.service == job.key.service);
            if job.key.kind == Kind::Migrate && !exec.listed.contains(&job.key) && other {
                self.cancel_migration(host, &job.vm.name);
            }
        }
    }

    /// Every call that was under way ends without anybody knowing how.
    pub(crate) fn agent_lost(&mut self, host: NodeId, exec: &mut Executor) {
        let Some(life) = self.daemon(host).map(|daemon| daemon.life) else { return };
        for job in exec.jobs.values_mut() {
            if matches!(job.stage, Stage::Call | Stage::MakeSure) {
                exec.tokens += 1;
                job.token = exec.tokens;
                let asker = job.asker(life);
                self.answer(host, 1, asker, Answer::Unknown("the libvirt agent died"));
            }
        }
    }
}
