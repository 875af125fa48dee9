//! The driver against a hypervisor that answers as each story wants.

use super::*;
use crate::Moment;
use belay_engine::state::work::{Assigned, VmWork, Work, WorkKind};
use belay_proto::entry::WorkOutcome;
use belay_proto::{Index, NodeId, OwnershipEpoch, ServiceState, Span};
use std::collections::BTreeMap;

mod anything;
mod endings;
mod starts;

const URI: &str = "test:///default";

/// A driver with a clock that tests turn, calls that they answer, and work that they list.
struct Host {
    driver: VmDriver,
    now: Moment,
    /// Calls without an answer, in order, and not those for lists of the world.
    calls: Vec<Call>,
    reports: Vec<String>,
    assignments: Assignments,
}

impl Host {
    /// Its agent takes calls, and lists of the world show nothing.
    fn new() -> Self {
        let mut host = Self::without_agent();
        host.up();
        host
    }

    fn without_agent() -> Self {
        let settings = Settings { starts_at_once: 2, ..Settings::new(URI, "boot-1".parse().unwrap()) };
        let now = Moment(5_000);
        let driver = VmDriver::new(settings, now);
        let assignments = Assignments::default();
        let mut host = Self { driver, now, calls: Vec::new(), reports: Vec::new(), assignments };
        host.step(VmEvent::Woken);
        host
    }

    fn step(&mut self, event: VmEvent) {
        for action in self.driver.step(self.now, event) {
            match action {
                VmAction::Call(call) if call.work.is_none() => {
                    let nothing = Listing { domains: Vec::new(), complete: false };
                    self.answer_to(call.id, Reply::List(Ok(nothing)));
                }
                VmAction::Call(call) => self.calls.push(call),
                VmAction::Report(What::Outcome { service, epoch, outcome }) => {
                    self.reports.push(format!("{} {epoch} {outcome:?}", service.name()));
                }
                VmAction::Report(What::Observation { service, seen, .. }) => {
                    self.reports.push(format!("{} {seen:?}", service.name()));
                }
                VmAction::Report(_) | VmAction::EnsureAgent(_) | VmAction::Warn { .. } => {}
            }
        }
    }

    fn notice(&mut self, what: NoticeKind) {
        self.step(VmEvent::Notice { uri: URI.to_owned(), what });
    }

    fn up(&mut self) {
        self.notice(NoticeKind::Up);
    }

    fn down(&mut self) {
        self.notice(NoticeKind::Down { reason: "was killed".into() });
    }

    /// Lets time pass as the driver wants to be woken.
    fn wait(&mut self, length: Duration) {
        let until = self.now + length;
        loop {
            let next = self.driver.wake_at().max(self.now);
            if next > until {
                break;
            }
            self.now = next;
            self.step(VmEvent::Woken);
            assert!(self.driver.wake_at() > self.now, "it is woken again and again and does nothing");
        }
        self.now = until;
    }

    fn list(&mut self, work: Vec<WorkKind>) {
        self.assignments.work = work.into_iter().map(|what| Work { decided: Index(1), what }).collect();
        self.step(VmEvent::Assigned(self.assignments.clone()));
    }

    fn state(&mut self, domain: &str, state: ServiceState, mine: bool) {
        let service = ServiceName::vm(domain).unwrap();
        let assigned = Assigned { service, epoch: OwnershipEpoch(1), state, mine, hypervisor_uri: None };
        self.assignments.domains.insert(domain.to_owned(), assigned);
    }

    /// The next call, in a word and its domain.
    fn called(&mut self) -> (CallId, String) {
        assert!(!self.calls.is_empty(), "no call; reported: {:?}", self.reports);
        let call = self.calls.remove(0);
        (call.id, words(&call))
    }

    fn answer_to(&mut self, call: CallId, reply: Reply) {
        self.step(VmEvent::Answered { call, reply });
    }

    /// Expects this call next and answers it.
    fn expect(&mut self, call: &str, reply: Reply) {
        let (id, what) = self.called();
        assert_eq!(what, call);
        self.answer_to(id, reply);
    }

    fn reported(&mut self) -> Vec<String> {
        std::mem::take(&mut self.reports)
    }
}

fn words(call: &Call) -> String {
    let quorum = if call.needs_quorum { " with quorum" } else { "" };
    let what = match &call.question {
        Question::Definition(vm) => format!("define {}", vm.name),
        Question::Agent(CallKind::List) => "list".to_owned(),
        Question::Agent(CallKind::Start { name, .. }) => format!("start {name}"),
        Question::Agent(CallKind::Stop { name, grace_ms, .. }) => format!("stop {name} in {grace_ms}"),
        Question::Agent(CallKind::Migrate { name, .. }) => format!("migrate {name}"),
        Question::Agent(CallKind::CancelMigration { name }) => format!("cancel {name}"),
    };
    what + quorum
}

fn vm_work(name: &str, epoch: u64) -> VmWork {
    let vm = Vm { start_timeout: Span::seconds(20), stop_timeout: Span::seconds(10), ..Vm::new(name) };
    VmWork { service: ServiceName::vm(name).unwrap(), epoch: OwnershipEpoch(epoch), vm }
}

fn start(name: &str, epoch: u64) -> WorkKind {
    WorkKind::Start(vm_work(name, epoch))
}

fn stop(name: &str, epoch: u64) -> WorkKind {
    WorkKind::Stop(vm_work(name, epoch))
}

fn migration(name: &str, epoch: u64) -> WorkKind {
    WorkKind::Migrate { vm: vm_work(name, epoch), to: NodeId(2), to_name: "node2".into() }
}

fn defined() -> Reply {
    Reply::Definition(Ok("<domain/>".into()))
}

fn ok(answer: Answer) -> Reply {
    Reply::Answer(Ok(answer))
}

fn runs() -> Reply {
    ok(Answer::Started { pid: Some(7), already: false })
}

fn fails(kind: FaultKind) -> Reply {
    Reply::Answer(Err(Fault { kind, message: "it went wrong".into() }))
}

fn seen(names: &[&str]) -> Reply {
    let domain = |name: &&str| Domain {
        name: (*name).to_owned(),
        uuid: String::new(),
        state: belay_proto::agent::DomainState::Running,
        pid: Some(7),
        size: None,
    };
    Reply::List(Ok(Listing { domains: names.iter().map(domain).collect(), complete: true }))
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[test]
fn a_reason_is_kept_short_enough_for_the_history() {
    let mut host = Host::new();
    host.list(vec![start("web1", 1)]);
    host.expect("define web1", Reply::Definition(Err("x".repeat(100_000))));
    let (id, _) = host.called();
    let actions = host.driver.step(host.now, VmEvent::Answered { call: id, reply: seen(&[]) });
    let reason = actions.iter().find_map(|action| match action {
        VmAction::Report(What::Outcome { outcome: WorkOutcome::StartFailed { reason }, .. }) => Some(reason.len()),
        _ => None,
    });
    assert!(reason.is_some_and(|length| length < 3000), "{reason:?}");
}
