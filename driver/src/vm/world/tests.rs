use super::*;
use belay_proto::ServiceState;
use belay_proto::agent::{Domain, DomainState, FaultKind, Witness};
use belay_proto::{HostFacts, Size};
use std::time::Duration;

const URI: &str = "test:///default";
const OTHER: &str = "test:///other";

/// A world with a clock that tests turn.
struct Host {
    world: World,
    now: Moment,
    assignments: Assignments,
    asked: Vec<(String, u64)>,
}

impl Host {
    fn new() -> Self {
        let boot = "boot-1".parse().unwrap();
        let settings = Arc::new(Settings::new(URI, boot));
        let now = Moment(1_000_000);
        let mut host =
            Self { world: World::new(settings, now), now, assignments: Assignments::default(), asked: Vec::new() };
        host.event(AgentEvent::Connected);
        host
    }

    /// A host whose first list showed these, and web1 started here.
    fn with_web1(running: &[(&str, u32)]) -> Self {
        let mut host = Self::new();
        host.lists(running);
        host.state("web1", 1, ServiceState::Started, true);
        host.lists(running);
        host.reports();
        host
    }

    fn state(&mut self, domain: &str, epoch: u64, state: ServiceState, mine: bool) {
        let assigned = Assigned {
            service: ServiceName::vm(domain).unwrap(),
            epoch: OwnershipEpoch(epoch),
            state,
            mine,
            hypervisor_uri: None,
        };
        self.assignments.domains.insert(domain.to_owned(), assigned);
        self.assign();
    }

    fn assign(&mut self) {
        self.world.assign(self.now, Arc::new(self.assignments.clone()), BTreeSet::new());
    }

    fn event(&mut self, event: AgentEvent) {
        self.world.notice(self.now, URI, NoticeKind::Event(event));
    }

    fn gone(&mut self, domain: &str, pid: Option<u32>) {
        let (name, why) = (domain.to_owned(), GoneReason::Died);
        self.event(AgentEvent::Gone { name, why, pid, witness: Witness::Pidfd });
    }

    fn started(&mut self, domain: &str, pid: u32) {
        self.event(AgentEvent::Started { name: domain.to_owned(), pid: Some(pid) });
    }

    fn wait(&mut self, time: Duration) {
        self.now = self.now + time;
        self.world.timers(self.now);
    }

    /// Lists that are on their way.
    fn ask(&mut self) {
        let asked = self.world.lists_to_ask(self.now);
        self.asked.extend(asked);
    }

    fn answer(&mut self, running: &[(&str, u32)]) {
        for (uri, issued) in std::mem::take(&mut self.asked) {
            let domains = if uri == URI { domains(running) } else { Vec::new() };
            self.world.listed(self.now, &uri, issued, Ok(Listing { domains, complete: true }));
        }
    }

    /// Answers lists until none is wanted any more.
    fn lists(&mut self, running: &[(&str, u32)]) {
        self.ask();
        while !self.asked.is_empty() {
            self.answer(running);
            self.ask();
        }
    }

    fn job(&mut self, domain: &str, epoch: u64, outcome: Option<WorkOutcome>, pid: Option<u32>) {
        let service = ServiceName::vm(domain).unwrap();
        let (domain, uri, epoch) = (domain.to_owned(), URI.to_owned(), OwnershipEpoch(epoch));
        self.world.job_ended(self.now, Ended { service, epoch, domain, uri, outcome, pid });
    }

    fn began(&mut self, domain: &str) {
        self.world.job_began(&ServiceName::vm(domain).unwrap());
    }

    /// What was reported, in words.
    fn reports(&mut self) -> Vec<String> {
        let mut said = Vec::new();
        while let Some(report) = self.world.next_report() {
            said.push(match report {
                What::Outcome { epoch, outcome, .. } => format!("{epoch} {outcome:?}"),
                What::Observation { epoch, seen, .. } => format!("{epoch} {seen:?}"),
                What::Inventory { running, .. } => format!("inventory {running:?}"),
                other => panic!("{other:?}"),
            });
        }
        said
    }
}

fn domains(running: &[(&str, u32)]) -> Vec<Domain> {
    let of = |(name, pid): &(&str, u32)| Domain {
        name: (*name).to_owned(),
        uuid: String::new(),
        state: DomainState::Running,
        pid: Some(*pid),
        size: None,
    };
    running.iter().map(of).collect()
}

const DIED: &str = "1 Gone { why: Died }";
const MISSING: &str = "1 Gone { why: Missing }";

#[test]
fn a_death_is_reported_once_whoever_sees_it_too() {
    let mut host = Host::with_web1(&[("web1", 10)]);
    host.gone("web1", Some(10));
    assert_eq!(host.reports(), [DIED]);
    host.gone("web1", Some(10));
    host.gone("web1", None);
    host.lists(&[]);
    assert_eq!(host.reports(), [""; 0]);
}

#[test]
fn that_a_domain_is_back_is_news_to_whoever_was_told_that_it_went() {
    let mut host = Host::with_web1(&[("web1", 10)]);
    host.gone("web1", Some(10));
    host.started("web1", 11);
    assert_eq!(host.reports(), [DIED, "1 Running"]);
    host.lists(&[("web1", 11)]);
    host.started("web1", 11);
    assert_eq!(host.reports(), [""; 0], "told once");
    host.gone("web1", Some(11));
    host.wait(Duration::from_secs(30));
    host.lists(&[("web1", 12)]);
    assert_eq!(host.reports(), [DIED, "1 Running"], "nobody saw it start");
}

#[test]
fn the_death_of_an_earlier_process_is_old_news() {
    let mut host = Host::with_web1(&[("web1", 11)]);
    host.gone("web1", Some(10));
    host.lists(&[("web1", 11)]);
    assert_eq!(host.reports(), [""; 0]);
}

#[test]
fn a_death_without_a_pid_is_looked_at_before_it_is_believed() {
    let mut host = Host::with_web1(&[("web1", 11)]);
    host.gone("web1", None);
    assert_eq!(host.reports(), [""; 0]);
    host.lists(&[("web1", 11)]);
    assert_eq!(host.reports(), [""; 0], "it runs");
    host.gone("web1", None);
    host.lists(&[]);
    assert_eq!(host.reports(), [DIED], "with the reason the event gave");
}

#[test]
fn a_domain_that_dies_right_after_its_start_is_reported_after_the_start() {
    let mut host = Host::new();
    host.lists(&[]);
    host.state("web1", 1, ServiceState::Starting, true);
    host.began("web1");
    host.started("web1", 10);
    host.gone("web1", Some(10));
    host.job("web1", 1, Some(WorkOutcome::Started), Some(10));
    assert_eq!(host.reports(), ["1 Started", DIED]);
}

#[test]
fn a_death_between_two_attempts_to_start_is_not_the_death_of_the_one_that_runs() {
    let mut host = Host::new();
    host.lists(&[]);
    host.state("web1", 1, ServiceState::Starting, true);
    host.began("web1");
    for pid in [9, 10] {
        host.started("web1", pid);
        host.gone("web1", Some(pid));
    }
    host.started("web1", 11);
    host.job("web1", 1, Some(WorkOutcome::Started), Some(11));
    host.lists(&[("web1", 11)]);
    assert_eq!(host.reports(), ["1 Started"]);
}

#[test]
fn what_happens_while_it_is_being_stopped_is_no_observation() {
    let mut host = Host::with_web1(&[("web1", 10)]);
    host.began("web1");
    host.gone("web1", Some(10));
    host.job("web1", 1, Some(WorkOutcome::Stopped), None);
    host.lists(&[]);
    assert_eq!(host.reports(), ["1 Stopped"]);
}

#[test]
fn a_domain_missing_without_an_event_is_reported_when_two_lists_miss_it() {
    let mut host = Host::with_web1(&[("web1", 10)]);
    host.wait(Duration::from_secs(30));
    host.ask();
    host.answer(&[]);
    assert_eq!(host.reports(), [""; 0]);
    host.ask();
    host.answer(&[]);
    assert_eq!(host.reports(), [MISSING]);
}

#[test]
fn a_list_asked_for_before_a_start_says_nothing_against_it() {
    let mut host = Host::with_web1(&[]);
    host.state("web1", 2, ServiceState::Starting, true);
    host.reports();
    host.wait(Duration::from_secs(30));
    host.ask();
    host.began("web1");
    host.job("web1", 2, Some(WorkOutcome::Started), Some(10));
    host.state("web1", 2, ServiceState::Started, true);
    host.answer(&[]);
    host.lists(&[("web1", 10)]);
    assert_eq!(host.reports(), ["2 Started"]);
}

#[test]
fn a_migrated_domain_is_not_missed_by_a_list_from_before_it_came() {
    let mut host = Host::new();
    host.lists(&[]);
    host.state("web1", 3, ServiceState::Migrating, false);
    host.wait(Duration::from_secs(30));
    host.ask();
    host.state("web1", 4, ServiceState::Started, true);
    host.answer(&[]);
    host.lists(&[("web1", 10)]);
    assert_eq!(host.reports(), [""; 0]);
}

#[test]
fn an_incomplete_list_and_a_failed_one_make_nothing_look_gone() {
    let mut host = Host::with_web1(&[("web1", 10)]);
    host.assignments.inventory_wanted = Some(1);
    host.assign();
    for _ in 0..5 {
        host.wait(Duration::from_secs(5));
        host.ask();
        for (uri, issued) in std::mem::take(&mut host.asked) {
            host.world.listed(host.now, &uri, issued, Ok(Listing { domains: Vec::new(), complete: false }));
        }
        host.wait(Duration::from_millis(5001));
        host.ask();
        for (uri, issued) in std::mem::take(&mut host.asked) {
            let fault = Fault { kind: FaultKind::Deadline, message: "libvirt hangs".into() };
            host.world.listed(host.now, &uri, issued, Err(fault));
        }
    }
    assert_eq!(host.reports(), ["1 Unknown { reason: \"libvirt hangs\" }"], "that once, and nothing else");
}

#[test]
fn a_hypervisor_that_is_silent_for_a_moment_is_not_worth_a_word() {
    let mut host = Host::with_web1(&[("web1", 10)]);
    host.world.notice(host.now, URI, NoticeKind::Down { reason: "was killed".into() });
    host.wait(Duration::from_secs(9));
    host.event(AgentEvent::Connected);
    host.lists(&[("web1", 10)]);
    host.wait(Duration::from_secs(60));
    assert_eq!(host.reports(), [""; 0]);
}

#[test]
fn what_died_while_the_agent_was_away_is_found_when_it_is_back() {
    let mut host = Host::with_web1(&[("web1", 10)]);
    host.assignments.inventory_wanted = Some(1);
    host.assign();
    host.lists(&[("web1", 10)]);
    assert_eq!(host.reports(), ["inventory [\"web1\"]"]);
    host.world.notice(host.now, URI, NoticeKind::Down { reason: "was killed".into() });
    host.event(AgentEvent::Connected);
    host.lists(&[]);
    assert_eq!(host.reports(), [MISSING, "inventory []"]);
}

#[test]
fn an_inventory_waits_for_every_hypervisor_a_managed_domain_may_be_on() {
    let mut host = Host::new();
    host.state("web1", 1, ServiceState::Started, true);
    let assigned = host.assignments.domains.get_mut("web1").unwrap();
    assigned.hypervisor_uri = Some(OTHER.into());
    host.assignments.inventory_wanted = Some(7);
    host.assign();
    host.ask();
    assert_eq!(host.asked.len(), 2);
    let other = host.asked.iter().position(|(uri, _)| uri == OTHER).unwrap();
    let (_, issued) = host.asked.remove(other);
    // Another host's namesake on the default hypervisor is not the managed one.
    host.lists(&[("web1", 5), ("pet", 6)]);
    assert_eq!(host.reports(), [""; 0]);
    let list = Listing { domains: Vec::new(), complete: true };
    host.world.listed(host.now, OTHER, issued, Ok(list));
    host.lists(&[("web1", 5), ("pet", 6)]);
    let reports = host.reports();
    assert_eq!(reports.last().map(String::as_str), Some("inventory [\"pet\"]"), "{reports:?}");
    host.assign();
    host.lists(&[("web1", 5), ("pet", 6)]);
    assert_eq!(host.reports(), [""; 0], "once for each time it is wanted");
}

#[test]
fn an_inventory_knows_of_a_start_that_was_reported_before_it() {
    let mut host = Host::new();
    host.lists(&[]);
    host.state("web1", 1, ServiceState::Starting, true);
    host.assignments.inventory_wanted = Some(1);
    host.assign();
    host.ask();
    host.began("web1");
    host.job("web1", 1, Some(WorkOutcome::Started), Some(10));
    host.answer(&[]);
    assert_eq!(host.reports(), ["1 Started", "inventory [\"web1\"]"]);
}

#[test]
fn a_copy_where_the_state_has_none_is_reported_once_after_a_moment() {
    let mut host = Host::with_web1(&[]);
    host.reports();
    host.state("web1", 2, ServiceState::Started, false);
    host.started("web1", 10);
    assert_eq!(host.reports(), [""; 0]);
    host.wait(Duration::from_millis(501));
    assert_eq!(host.reports(), ["2 Running"]);
    host.wait(Duration::from_secs(60));
    host.lists(&[("web1", 10)]);
    assert_eq!(host.reports(), [""; 0]);
    host.state("web1", 3, ServiceState::Started, false);
    host.wait(Duration::from_millis(501));
    assert_eq!(host.reports(), ["3 Running"], "a new decision about it needs to know");
}

#[test]
fn an_arriving_migration_and_a_copy_that_is_already_being_stopped_are_no_strays() {
    let mut host = Host::new();
    host.lists(&[]);
    host.state("web1", 2, ServiceState::Migrating, false);
    host.started("web1", 10);
    host.wait(Duration::from_secs(1));
    assert_eq!(host.reports(), [""; 0]);
    host.state("web1", 3, ServiceState::Stopped, false);
    let worked_on = BTreeSet::from([ServiceName::vm("web1").unwrap()]);
    host.world.assign(host.now, Arc::new(host.assignments.clone()), worked_on);
    host.wait(Duration::from_secs(1));
    assert_eq!(host.reports(), [""; 0]);
}

#[test]
fn pauses_are_told_when_they_begin_and_end_and_a_start_is_no_end_of_one() {
    let mut host = Host::with_web1(&[("web1", 10)]);
    let name = || "web1".to_owned();
    host.event(AgentEvent::Resumed { name: name() });
    host.event(AgentEvent::Paused { name: name(), why: "ioerror".into() });
    host.event(AgentEvent::Paused { name: name(), why: "ioerror".into() });
    host.event(AgentEvent::Resumed { name: name() });
    host.event(AgentEvent::Rebooted { name: name() });
    assert_eq!(host.reports(), ["1 Paused { why: \"ioerror\" }", "1 Resumed", "1 Rebooted"]);
}

#[test]
fn a_pause_that_nobody_saw_begin_is_found_in_a_list() {
    let mut host = Host::with_web1(&[("web1", 10)]);
    host.wait(Duration::from_secs(30));
    host.ask();
    let (uri, issued) = host.asked.remove(0);
    let mut list = domains(&[("web1", 10)]);
    list[0].state = DomainState::Paused;
    host.world.listed(host.now, &uri, issued, Ok(Listing { domains: list, complete: true }));
    assert_eq!(host.reports(), ["1 Paused { why: \"unknown\" }"]);
    host.wait(Duration::from_secs(30));
    host.lists(&[("web1", 10)]);
    assert_eq!(host.reports(), ["1 Resumed"]);
}

#[test]
fn events_that_trail_a_death_do_not_bring_the_domain_back() {
    let mut host = Host::with_web1(&[("web1", 10)]);
    host.gone("web1", Some(10));
    host.started("web1", 10);
    host.event(AgentEvent::Paused { name: "web1".into(), why: "user".into() });
    host.assignments.inventory_wanted = Some(1);
    host.assign();
    host.lists(&[]);
    assert_eq!(host.reports(), [DIED, "inventory []"]);
}

#[test]
fn a_death_nothing_came_of_is_told_again_ever_more_seldom() {
    let mut host = Host::with_web1(&[("web1", 10)]);
    host.gone("web1", Some(10));
    host.reports();
    let mut told = Vec::new();
    for second in 1..400 {
        host.wait(Duration::from_secs(1));
        host.lists(&[]);
        if !host.reports().is_empty() {
            told.push(second);
        }
    }
    assert_eq!(told, [30, 90, 210]);
}

#[test]
fn guests_of_others_are_nobodys_news_but_the_inventorys() {
    let mut host = Host::with_web1(&[("web1", 10), ("pet", 20)]);
    host.gone("pet", Some(20));
    host.started("cat", 30);
    host.wait(Duration::from_secs(1));
    assert_eq!(host.reports(), [""; 0]);
    host.assignments.inventory_wanted = Some(1);
    host.assign();
    host.lists(&[("web1", 10), ("cat", 30)]);
    assert_eq!(host.reports(), ["inventory [\"cat\", \"web1\"]"]);
}

#[test]
fn an_idle_host_wakes_only_for_its_safety_net() {
    let mut host = Host::with_web1(&[("web1", 10)]);
    assert_eq!(host.world.wake_at(), host.now + Duration::from_secs(30));
    host.wait(Duration::from_secs(30));
    assert!(host.world.wake_at() <= host.now, "to ask");
}

#[test]
fn the_end_of_a_copy_that_was_told_of_is_told_too() {
    let mut host = Host::new();
    host.lists(&[]);
    host.state("web1", 1, ServiceState::Disabled, false);
    host.started("web1", 10);
    host.wait(Duration::from_secs(1));
    assert_eq!(host.reports(), ["1 Running"]);
    host.gone("web1", Some(10));
    assert_eq!(host.reports(), [DIED]);
    // By a list, when no event tells.
    host.started("web1", 11);
    host.wait(Duration::from_secs(1));
    assert_eq!(host.reports(), ["1 Running"]);
    host.wait(Duration::from_secs(60));
    host.lists(&[]);
    assert_eq!(host.reports(), [MISSING]);
    host.wait(Duration::from_secs(60));
    host.lists(&[]);
    assert_eq!(host.reports(), [""; 0]);
}

#[test]
fn a_copy_that_goes_before_it_was_told_of_makes_no_noise() {
    let mut host = Host::new();
    host.lists(&[]);
    host.state("web1", 1, ServiceState::Disabled, false);
    host.started("web1", 10);
    host.gone("web1", Some(10));
    host.wait(Duration::from_secs(1));
    assert_eq!(host.reports(), [""; 0]);
}

#[test]
fn a_copy_that_has_become_the_service_itself_is_no_copy_any_more_when_it_ends() {
    let mut host = Host::new();
    host.lists(&[]);
    host.state("web1", 1, ServiceState::Stopped, false);
    host.started("web1", 10);
    host.wait(Duration::from_secs(1));
    host.state("web1", 2, ServiceState::Started, true);
    host.reports();
    host.gone("web1", Some(10));
    assert_eq!(host.reports(), ["2 Gone { why: Died }"]);
}

#[test]
fn how_big_the_host_and_its_domains_are_is_told_once() {
    let mut host = Host::with_web1(&[("web1", 10)]);
    host.assignments.inventory_wanted = Some(1);
    host.assign();
    let facts = HostFacts { memory_mib: 64_000, cpus: 16 };
    let listed = |host: &mut Host, memory_mib| {
        host.wait(Duration::from_secs(60));
        host.ask();
        for (uri, issued) in std::mem::take(&mut host.asked) {
            let size = Some(Size { memory_mib, vcpus: 2 });
            let domains = domains(&[("web1", 10), ("foreign", 11)]).into_iter();
            let domains = domains.map(|domain| Domain { size, ..domain }).collect();
            host.world.listed(host.now, &uri, issued, Ok(Listing { domains, complete: true }));
        }
        std::iter::from_fn(|| host.world.next_report()).filter(|what| matches!(what, What::Facts { .. })).collect()
    };
    host.event(AgentEvent::Host(facts));
    let told: Vec<What> = listed(&mut host, 2048);
    let of = |names: &[&str], memory_mib| {
        let size = Size { memory_mib, vcpus: 2 };
        What::Facts { host: facts, domains: names.iter().map(|name| ((*name).to_owned(), size)).collect() }
    };
    assert_eq!(told, [of(&[], 0), of(&["web1"], 2048)], "its own at once, then the managed domain's");
    host.event(AgentEvent::Host(facts));
    assert_eq!(listed(&mut host, 2048), Vec::<What>::new());
    assert_eq!(listed(&mut host, 4096), [of(&["web1"], 4096)]);
    host.world.defined("web1", "<domain><memory unit='GiB'>8</memory><vcpu>2</vcpu></domain>");
    assert_eq!(host.world.next_report(), Some(of(&["web1"], 8192)));
    // A new term that knows nothing of it: its history did not prevail.
    host.assignments.inventory_wanted = Some(2);
    host.assign();
    assert_eq!(std::iter::from_fn(|| host.world.next_report()).next(), Some(of(&["web1"], 8192)));
}
