use super::*;
use crate::Moment;
use belay_engine::state::work::{Assigned, VmWork, Work, WorkKind};
use belay_proto::entry::WorkOutcome;
use belay_proto::{Index, NodeId, OwnershipEpoch, ServiceState, Span};
use proptest::prelude::*;
use std::collections::BTreeMap;

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
fn a_start_reads_the_definition_and_calls_with_quorum() {
    let mut host = Host::new();
    host.list(vec![start("web1", 1)]);
    host.expect("define web1", defined());
    host.expect("start web1 with quorum", runs());
    assert_eq!(host.reported(), ["web1 1 Started"]);
    host.list(vec![start("web1", 1)]);
    host.wait(seconds(60));
    assert!(host.calls.is_empty(), "what is done is not done again");
}

#[test]
fn without_quorum_a_start_is_put_off_and_taken_up_again() {
    let mut host = Host::new();
    host.list(vec![start("web1", 1)]);
    host.expect("define web1", defined());
    host.expect("start web1 with quorum", Reply::NotQuorate);
    assert!(host.calls.is_empty() && host.reported().is_empty());
    host.wait(Duration::from_millis(200));
    host.expect("define web1", defined());
    host.expect("start web1 with quorum", runs());
    assert_eq!(host.reported(), ["web1 1 Started"]);
}

#[test]
fn a_start_waits_for_an_agent_and_asks_for_quorum_only_then() {
    let mut host = Host::without_agent();
    host.list(vec![start("web1", 1)]);
    host.expect("define web1", defined());
    host.wait(seconds(5));
    assert!(host.calls.is_empty());
    host.up();
    host.expect("start web1 with quorum", runs());
    assert_eq!(host.reported(), ["web1 1 Started"]);
}

#[test]
fn a_start_without_any_agent_is_made_sure_of_when_its_time_is_over() {
    let mut host = Host::without_agent();
    host.list(vec![start("web1", 1)]);
    host.expect("define web1", defined());
    host.wait(seconds(20));
    host.expect("list", fails(FaultKind::Unreachable));
    host.expect("stop web1 in 0", fails(FaultKind::Unreachable));
    host.expect("list", fails(FaultKind::Unreachable));
    assert!(host.reported().iter().all(|report| report.starts_with("web1 Unknown")), "nobody knows");
    host.up();
    host.expect("stop web1 in 0", ok(Answer::Stopped { destroyed: false }));
    assert!(host.reported()[0].starts_with("web1 1 StartFailed"));
}

#[test]
fn a_start_of_which_nothing_was_heard_is_looked_for_before_it_is_tried_again() {
    for (sight, next) in [(seen(&["web1"]), None), (seen(&[]), Some("start web1 with quorum"))] {
        let mut host = Host::new();
        host.list(vec![start("web1", 1)]);
        host.expect("define web1", defined());
        host.expect("start web1 with quorum", fails(FaultKind::Deadline));
        host.expect("list", sight);
        host.wait(seconds(1));
        match next {
            Some(call) => host.expect(call, runs()),
            None => assert!(host.calls.is_empty()),
        }
        assert_eq!(host.reported(), ["web1 1 Started"]);
    }
}

#[test]
fn an_answer_that_does_not_fit_says_nothing() {
    let mut host = Host::new();
    host.list(vec![start("web1", 1)]);
    host.expect("define web1", defined());
    host.expect("start web1 with quorum", ok(Answer::Migrated));
    host.expect("list", seen(&["web1"]));
    assert_eq!(host.reported(), ["web1 1 Started"]);
}

#[test]
fn a_refused_start_failed_only_if_it_does_not_run() {
    for (sight, outcome) in [(seen(&["web1"]), "web1 1 Started"), (seen(&[]), "web1 1 StartFailed")] {
        let mut host = Host::new();
        host.list(vec![start("web1", 1)]);
        host.expect("define web1", Reply::Definition(Err("no such file".into())));
        host.expect("list", sight);
        assert!(host.reported()[0].starts_with(outcome));
    }
}

#[test]
fn starts_beyond_the_limit_wait_their_turn_and_stops_do_not() {
    let mut host = Host::new();
    host.list(vec![start("a", 1), start("b", 1), start("c", 1), stop("d", 1)]);
    let ids: Vec<(CallId, String)> = (0..3).map(|_| host.called()).collect();
    let called: Vec<&str> = ids.iter().map(|(_, call)| call.as_str()).collect();
    assert_eq!(called, ["define a", "define b", "stop d in 10000"]);
    assert!(host.calls.is_empty());
    host.answer_to(ids[1].0, Reply::Definition(Ok("<domain/>".into())));
    host.expect("start b with quorum", runs());
    assert_eq!(host.called().1, "define c", "as soon as there is a place");
}

#[test]
fn a_start_that_waits_for_its_turn_gives_way_to_the_stop_that_replaces_it() {
    let mut host = Host::new();
    host.list(vec![start("a", 1), start("b", 1), start("c", 1)]);
    assert_eq!((host.called().1, host.called().1), ("define a".into(), "define b".into()));
    host.list(vec![start("a", 1), start("b", 1), stop("c", 2)]);
    host.expect("stop c in 10000", ok(Answer::Stopped { destroyed: false }));
    assert_eq!(host.reported(), ["c 2 Stopped"]);
}

#[test]
fn a_start_that_is_not_wanted_any_more_is_not_called_for() {
    let mut host = Host::new();
    host.list(vec![start("web1", 1)]);
    let (definition, _) = host.called();
    host.list(Vec::new());
    host.answer_to(definition, defined());
    host.wait(seconds(60));
    assert!(host.calls.is_empty() && host.reported().is_empty());
}

#[test]
fn a_pause_between_two_attempts_ends_when_the_agent_is_back() {
    let mut host = Host::new();
    host.list(vec![stop("web1", 1)]);
    for _ in 0..5 {
        host.expect("stop web1 in 10000", fails(FaultKind::Unreachable));
        host.expect("list", fails(FaultKind::Unreachable));
        host.down();
        assert!(host.calls.is_empty());
        host.up();
    }
    host.expect("stop web1 in 10000", ok(Answer::Stopped { destroyed: true }));
    assert_eq!(host.reported(), ["web1 1 Stopped"]);
}

#[test]
fn a_guest_that_was_asked_to_stop_is_given_what_is_left_of_its_time() {
    let mut host = Host::new();
    host.list(vec![stop("web1", 1)]);
    let (first, _) = host.called();
    host.wait(seconds(7));
    host.answer_to(first, fails(FaultKind::Deadline));
    host.expect("list", seen(&["web1"]));
    host.wait(Duration::from_millis(200));
    host.expect("stop web1 in 2800", ok(Answer::Stopped { destroyed: true }));
    assert_eq!(host.reported(), ["web1 1 Stopped"]);
}

#[test]
fn a_stop_that_does_not_succeed_fails_in_the_end_and_a_strays_does_not() {
    let mut host = Host::new();
    host.list(vec![stop("web1", 1), WorkKind::StopStray(vm_work("web2", 1))]);
    for _ in 0..100 {
        while !host.calls.is_empty() {
            let (id, what) = host.called();
            let both = seen(&["web1", "web2"]);
            host.answer_to(id, if what == "list" { both } else { fails(FaultKind::Failed) });
        }
        host.wait(seconds(1));
    }
    let reports = host.reported();
    assert!(reports.iter().any(|report| report.starts_with("web1 1 StopFailed")), "{reports:?}");
    assert!(!reports.iter().any(|report| report.starts_with("web2 1")), "{reports:?}");
    assert!(reports.iter().any(|report| report.starts_with("web2 Unknown")), "status shows it: {reports:?}");
}

#[test]
fn a_failed_migration_is_cancelled_before_it_is_reported() {
    for kind in [FaultKind::Failed, FaultKind::Deadline] {
        let mut host = Host::new();
        host.list(vec![migration("web1", 1)]);
        host.expect("migrate web1 with quorum", fails(kind));
        assert!(host.reported().is_empty(), "an earlier one may still be under way");
        host.expect("cancel web1", ok(Answer::Cancelled));
        assert!(host.reported()[0].starts_with("web1 1 MigrateEnded { ok: false"));
    }
}

#[test]
fn a_migration_whose_agent_died_is_cancelled_by_the_next_agent() {
    // The call's end may be heard of before the agent's, or after it.
    for down_first in [true, false] {
        let mut host = Host::new();
        host.list(vec![migration("web1", 1)]);
        let (call, _) = host.called();
        if down_first {
            host.down();
        }
        host.answer_to(call, fails(FaultKind::Unreachable));
        if !down_first {
            host.expect("cancel web1", fails(FaultKind::Unreachable));
            host.down();
            host.wait(seconds(1));
        }
        assert!(host.calls.is_empty() && host.reported().is_empty());
        host.up();
        host.expect("cancel web1", ok(Answer::Cancelled));
        assert!(host.reported()[0].starts_with("web1 1 MigrateEnded { ok: false"));
    }
}

#[test]
fn a_migration_that_nobody_can_cancel_is_reported_in_the_end() {
    let mut host = Host::new();
    host.list(vec![migration("web1", 1)]);
    host.expect("migrate web1 with quorum", fails(FaultKind::Unreachable));
    for _ in 0..200 {
        if host.calls.is_empty() {
            host.wait(seconds(1));
        } else {
            host.expect("cancel web1", fails(FaultKind::Unreachable));
        }
    }
    assert!(host.reported()[0].starts_with("web1 1 MigrateEnded { ok: false"));
}

#[test]
fn a_migration_is_cancelled_again_and_again_when_its_time_is_over_or_other_work_waits() {
    for superseded in [true, false] {
        let mut host = Host::new();
        host.list(vec![migration("web1", 1)]);
        let (call, _) = host.called();
        if superseded {
            host.list(vec![stop("web1", 2)]);
        } else {
            host.wait(Duration::from(Vm::new("web1").migrate_timeout));
        }
        host.expect("cancel web1", fails(FaultKind::Failed));
        host.wait(seconds(4));
        assert!(host.calls.is_empty());
        host.wait(seconds(1));
        let (second, _) = host.called();
        host.wait(seconds(20));
        assert!(host.calls.is_empty(), "one at a time");
        host.answer_to(call, ok(Answer::Migrated));
        assert_eq!(host.reported(), ["web1 1 MigrateEnded { ok: true, reason: \"\" }"]);
        host.answer_to(second, ok(Answer::Cancelled));
    }
}

#[test]
fn where_a_migration_may_be_under_way_it_is_ended_before_anybody_looks() {
    let mut host = Host::new();
    host.state("web1", ServiceState::Migrating, true);
    host.list(vec![WorkKind::Look(vm_work("web1", 1))]);
    host.expect("cancel web1", fails(FaultKind::Unreachable));
    host.wait(seconds(1));
    host.expect("cancel web1", ok(Answer::Cancelled));
    host.expect("list", seen(&["web1"]));
    assert_eq!(host.reported(), ["web1 1 Looked { running: true }"]);
    // At the target there is none to end.
    host.state("web2", ServiceState::Migrating, false);
    host.list(vec![WorkKind::Look(vm_work("web2", 1))]);
    host.expect("list", seen(&[]));
    assert_eq!(host.reported(), ["web2 1 Looked { running: false }"]);
}

#[test]
fn a_look_goes_on_until_somebody_knows() {
    let mut host = Host::new();
    host.list(vec![WorkKind::Look(vm_work("web1", 1))]);
    for _ in 0..10 {
        host.expect("list", Reply::List(Ok(Listing { domains: Vec::new(), complete: false })));
        host.wait(seconds(5));
    }
    assert!(host.reported().iter().all(|report| report.starts_with("web1 Unknown")));
    host.expect("list", seen(&[]));
    assert_eq!(host.reported(), ["web1 1 Looked { running: false }"]);
}

#[test]
fn answers_to_calls_that_nobody_made_have_no_effect() {
    let mut host = Host::new();
    host.list(vec![start("web1", 1)]);
    let (definition, _) = host.called();
    host.answer_to(CallId(9_999), runs());
    host.answer_to(definition, defined());
    host.answer_to(definition, defined());
    host.expect("start web1 with quorum", runs());
    assert_eq!(host.reported(), ["web1 1 Started"]);
}

#[derive(Clone, Debug)]
enum Any {
    List(Vec<(u8, u8, u8)>),
    Answer(u8, u8),
    Up,
    Down,
    Wait(u16),
    Gone(u8),
}

fn any_event() -> impl Strategy<Value = Any> {
    prop_oneof![
        prop::collection::vec((0u8..4, 1u8..4, 0u8..5), 0..5).prop_map(Any::List),
        (0u8..8, 0u8..9).prop_map(|(call, how)| Any::Answer(call, how)),
        (0u8..8, 0u8..9).prop_map(|(call, how)| Any::Answer(call, how)),
        Just(Any::Up),
        Just(Any::Down),
        (0u16..20_000).prop_map(Any::Wait),
        (0u8..4).prop_map(Any::Gone),
    ]
}

fn any_reply(how: u8) -> Reply {
    match how {
        0 => defined(),
        1 => Reply::NotQuorate,
        2 => runs(),
        3 => ok(Answer::Stopped { destroyed: true }),
        4 => seen(&["vm0", "vm2"]),
        5 => seen(&[]),
        6 => fails(FaultKind::Failed),
        7 => fails(FaultKind::Unreachable),
        _ => ok(Answer::Migrated),
    }
}

proptest! {
    /// Whatever happens in whatever order: no panic, no start or migration without the question for quorum, nothing is
    /// said to be stopped that nobody has seen stopped, one report for each piece of work, and time goes on.
    #[test]
    fn whatever_happens_the_driver_keeps_its_promises(events in prop::collection::vec(any_event(), 0..60)) {
        let mut host = Host::new();
        let mut outcomes: BTreeMap<String, u32> = BTreeMap::new();
        let mut listed: Vec<String> = Vec::new();
        for event in events {
            match event {
                Any::List(work) => {
                    let mut list: BTreeMap<u8, WorkKind> = BTreeMap::new();
                    for (name, epoch, kind) in work {
                        let work = vm_work(&format!("vm{name}"), epoch.into());
                        list.insert(name, match kind {
                            0 => WorkKind::Start(work),
                            1 => WorkKind::Stop(work),
                            2 => WorkKind::Look(work),
                            3 => WorkKind::StopStray(work),
                            _ => WorkKind::Migrate { vm: work, to: NodeId(2), to_name: "node2".into() },
                        });
                    }
                    // What leaves the list and comes back is new work.
                    outcomes.clear();
                    listed = list.values().map(|kind| format!("{kind:?}")).collect();
                    host.list(list.into_values().collect());
                }
                Any::Answer(call, how) if !host.calls.is_empty() => {
                    let call = host.calls.remove(usize::from(call) % host.calls.len());
                    let reply = any_reply(how);
                    let unknown = matches!(reply, Reply::Answer(Err(_)) | Reply::NotQuorate);
                    host.answer_to(call.id, reply);
                    if unknown {
                        let stopped = |report: &String| report.ends_with("Stopped");
                        prop_assert!(!host.reports.iter().any(stopped), "{:?}", host.reports);
                    }
                }
                Any::Answer(..) => {}
                Any::Up => host.up(),
                Any::Down => host.down(),
                Any::Wait(millis) => host.wait(Duration::from_millis(millis.into())),
                Any::Gone(name) => host.notice(NoticeKind::Event(AgentEvent::Gone {
                    name: format!("vm{name}"),
                    why: belay_proto::entry::GoneReason::Died,
                    pid: Some(7),
                    witness: belay_proto::agent::Witness::Pidfd,
                })),
            }
            for call in &host.calls {
                let acts =
                    matches!(call.question, Question::Agent(CallKind::Start { .. } | CallKind::Migrate { .. }));
                prop_assert_eq!(acts, call.needs_quorum);
            }
            for report in host.reported() {
                if !report.contains(" Unknown ") && !report.contains(" Gone ") {
                    *outcomes.entry(report).or_default() += 1;
                }
            }
            prop_assert!(outcomes.values().all(|times| *times == 1), "{:?} of {:?}", outcomes, listed);
        }
    }
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
