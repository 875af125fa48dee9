use super::*;
use crate::Moment;
use belay_config::model::{Device, FenceDevice, Method};
use belay_proto::entry::FenceOutcome;
use proptest::prelude::*;
use std::collections::BTreeSet;

/// A driver with a clock that tests turn, and runs that they end.
struct Host {
    driver: FenceDriver,
    now: Moment,
    /// Agents that run, in order.
    runs: Vec<Run>,
    stopped: Vec<RunId>,
    reports: Vec<(u32, u32, FenceOutcome)>,
    told: Vec<String>,
}

impl Host {
    fn new() -> Self {
        let driver = FenceDriver::new(Settings::default());
        let (runs, stopped, reports, told) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        Self { driver, now: Moment(7_000), runs, stopped, reports, told }
    }

    fn step(&mut self, event: FenceEvent) {
        for action in self.driver.step(self.now, event) {
            match action {
                FenceAction::Run(run) => self.runs.push(run),
                FenceAction::Stop(run) => self.stopped.push(run),
                FenceAction::Report(What::FenceOutcome { victim, attempt, outcome }) => {
                    self.reports.push((victim.0, attempt, outcome));
                }
                FenceAction::Report(other) => panic!("{other:?}"),
                FenceAction::Tell { text, .. } => self.told.push(text),
            }
        }
    }

    fn want(&mut self, works: &[FenceWork]) {
        self.step(FenceEvent::Wanted(works.iter().map(|work| (work.victim, Task::Fence(work.clone()))).collect()));
    }

    /// Is to switch a victim on by these agents.
    fn want_on(&mut self, victim: u32, attempt: u32, agents: &[(&str, &str)]) {
        let on = Task::SwitchOn(on_again(work(victim, attempt, &[agents])));
        self.step(FenceEvent::Wanted([(NodeId(victim), on)].into()));
    }

    fn wait(&mut self, length: Duration) {
        let until = self.now + length;
        while let Some(next) = self.driver.wake_at().map(|at| at.max(self.now)).filter(|at| *at <= until) {
            self.now = next;
            self.step(FenceEvent::Woken);
            assert!(self.driver.wake_at().is_none_or(|at| at > self.now), "it is woken again and again");
        }
        self.now = until;
    }

    /// Expects this run next and ends it.
    fn expect(&mut self, run: &str, how: RunEnd) {
        assert!(!self.runs.is_empty(), "no run; reported: {:?}", self.reports);
        let next = self.runs.remove(0);
        assert_eq!(words(&next), run);
        self.step(FenceEvent::Ended { run: next.id, how });
    }

    fn reported(&mut self) -> Vec<(u32, u32, FenceOutcome)> {
        std::mem::take(&mut self.reports)
    }
}

fn words(run: &Run) -> String {
    let action = run.arguments.iter().find(|(key, _)| key == "action").map_or("", |(_, value)| value.as_str());
    let quorum = if run.needs_quorum { " with quorum" } else { "" };
    format!("{} {action} of {}{quorum}", run.agent, run.victim_name)
}

/// An attempt on a victim, with these methods, each a list of agents and of what each is told to do.
fn work(victim: u32, attempt: u32, methods: &[&[(&str, &str)]]) -> FenceWork {
    let device = |(agent, action): &(&str, &str)| Device {
        fence_device: (*agent).to_owned(),
        arguments: if action.is_empty() { Vec::new() } else { vec![("action".to_owned(), (*action).to_owned())] },
    };
    let fence_device = |(agent, _): &(&str, &str)| {
        let name = (*agent).to_owned();
        (name.clone(), FenceDevice { name: name.clone(), agent: name, arguments: Vec::new() })
    };
    FenceWork {
        victim: NodeId(victim),
        victim_name: format!("node{victim}"),
        attempt,
        methods: (1..)
            .zip(methods)
            .map(|(n, devices)| Method { name: format!("m{n}"), devices: devices.iter().map(device).collect() })
            .collect(),
        devices: methods.iter().flat_map(|devices| devices.iter()).map(fence_device).collect(),
    }
}

/// The second half of the first method.
fn on_again(work: FenceWork) -> SwitchOnWork {
    let FenceWork { victim, victim_name, attempt, mut methods, devices } = work;
    SwitchOnWork { victim, victim_name, attempt, uses: methods.remove(0).devices, devices }
}

fn good() -> RunEnd {
    RunEnd::Succeeded { output: String::new() }
}

fn bad() -> RunEnd {
    RunEnd::Failed { why: "it ended with exit status 1".into() }
}

fn says(default: &str) -> RunEnd {
    let output = format!(
        "<resource-agent><parameters><parameter name=\"action\"><content default=\"{default}\"/></parameter>\
         </parameters></resource-agent>"
    );
    RunEnd::Succeeded { output }
}

fn confirmed(victim: u32, attempt: u32, method: &str) -> (u32, u32, FenceOutcome) {
    confirmed_and_on(victim, attempt, method, &[])
}

/// Confirmed, with these devices of the method to switch it on again.
fn confirmed_and_on(victim: u32, attempt: u32, method: &str, on: &[u32]) -> (u32, u32, FenceOutcome) {
    (victim, attempt, FenceOutcome::Confirmed { method: method.to_owned(), switch_on: on.to_vec() })
}

#[test]
fn a_device_that_fails_ends_its_method_and_the_first_whose_devices_all_succeed_ends_the_attempt() {
    let mut host = Host::new();
    host.want(&[work(2, 1, &[&[("a", "off"), ("b", "off")], &[("c", "off"), ("d", "off")], &[("e", "off")]])]);
    host.expect("a off of node2 with quorum", good());
    host.expect("b off of node2 with quorum", bad());
    host.expect("c off of node2 with quorum", good());
    host.expect("d off of node2 with quorum", good());
    assert_eq!(host.reported(), [confirmed(2, 1, "m2")]);
    assert!(host.runs.is_empty());
}

#[test]
fn an_attempt_that_nothing_worked_for_says_why_for_each_method() {
    let mut host = Host::new();
    let mut work = work(2, 1, &[&[("a", "off")], &[], &[("gone", "off")]]);
    work.devices.remove("gone");
    host.want(&[work]);
    host.expect("a off of node2 with quorum", bad());
    let reports = host.reported();
    let [(2, 1, FenceOutcome::Failed { reason })] = reports.as_slice() else { panic!("{reports:?}") };
    let whys = [
        "method m1: device a (a): it ended with exit status 1",
        "method m2: it names no device",
        "method m3: device gone (no agent): there is no fencedevice",
    ];
    assert!(whys.iter().all(|why| reason.contains(why)), "{reason}");
}

#[test]
fn a_power_cycle_is_proven_by_the_off_of_all_devices_and_the_on_is_left_to_whoever_is_told_to() {
    let mut host = Host::new();
    host.want(&[work(2, 1, &[&[("psu1", ""), ("out", "off"), ("psu2", "reboot")]])]);
    host.expect("psu1 metadata of node2", says("reboot"));
    host.expect("psu1 off of node2 with quorum", good());
    host.expect("out off of node2 with quorum", good());
    assert!(host.reported().is_empty());
    host.expect("psu2 off of node2 with quorum", good());
    assert_eq!(host.reported(), [confirmed_and_on(2, 1, "m1", &[0, 2])], "what is only to be off stays off");
    host.want(&[]);
    assert!(host.runs.is_empty(), "{:?}", host.runs);
}

#[test]
fn devices_that_only_switch_on_follow_the_proof_and_cannot_spoil_it() {
    let mut host = Host::new();
    host.want(&[work(2, 1, &[&[("psu1", "off"), ("psu2", "off"), ("psu1", "on"), ("psu2", "on")]])]);
    host.expect("psu1 off of node2 with quorum", good());
    host.expect("psu2 off of node2 with quorum", good());
    assert_eq!(host.reported(), [confirmed_and_on(2, 1, "m1", &[2, 3])]);
    assert!(host.runs.is_empty(), "{:?}", host.runs);
}

#[test]
fn all_devices_are_switched_on_whatever_the_one_before_said() {
    let mut host = Host::new();
    host.want_on(2, 4, &[("psu1", "reboot"), ("psu2", "")]);
    host.expect("psu1 on of node2", bad());
    assert!(host.reported().is_empty());
    host.expect("psu2 on of node2", good());
    let reason = "device psu1 (psu1): it ended with exit status 1".to_owned();
    assert_eq!(host.reported(), [(2, 4, FenceOutcome::StaysOff { reason })]);
    host.want_on(2, 5, &[("psu1", "reboot"), ("psu2", "")]);
    host.expect("psu1 on of node2", good());
    host.expect("psu2 on of node2", good());
    assert_eq!(host.reported(), [(2, 5, FenceOutcome::SwitchedOn)]);
}

#[test]
fn a_victim_that_is_lost_again_is_not_fenced_before_the_agent_that_switches_it_on_has_ended() {
    let mut host = Host::new();
    host.want_on(2, 2, &[("psu1", ""), ("psu2", "")]);
    host.want(&[work(2, 3, &[&[("psu1", "off")]])]);
    assert_eq!((host.stopped.len(), host.runs.len()), (1, 1), "it is stopped once");
    host.expect("psu1 on of node2", RunEnd::Cancelled);
    host.expect("psu1 off of node2 with quorum", good());
    assert_eq!(host.reported(), [confirmed(2, 3, "m1")]);
}

#[test]
fn what_a_failed_method_switched_off_is_not_switched_on_for_it() {
    let mut host = Host::new();
    host.want(&[work(2, 1, &[&[("psu1", "reboot"), ("psu2", "reboot")], &[("switch", "off")]])]);
    host.expect("psu1 off of node2 with quorum", good());
    host.expect("psu2 off of node2 with quorum", bad());
    host.expect("switch off of node2 with quorum", good());
    assert_eq!(host.reported(), [confirmed(2, 1, "m2")]);
    assert!(host.runs.is_empty(), "{:?}", host.runs);
}

#[test]
fn an_agent_is_asked_once_what_it_does_and_whoever_cannot_be_asked_is_called_as_configured() {
    let mut host = Host::new();
    host.want(&[work(2, 1, &[&[("a", "")]]), work(3, 1, &[&[("a", "")]]), work(4, 1, &[&[("b", "")]])]);
    assert_eq!(host.runs.len(), 2, "{:?}", host.runs);
    host.expect("a metadata of node2", says("off"));
    host.expect("b metadata of node4", bad());
    host.expect("a  of node2 with quorum", good());
    host.expect("a  of node3 with quorum", good());
    host.expect("b  of node4 with quorum", good());
    assert_eq!(host.reported(), [confirmed(2, 1, "m1"), confirmed(3, 1, "m1"), confirmed(4, 1, "m1")]);
}

#[test]
fn who_awaits_the_word_of_an_agent_asks_itself_when_the_other_is_given_up() {
    let mut host = Host::new();
    let (two, three) = (work(2, 1, &[&[("a", "")]]), work(3, 1, &[&[("a", "")]]));
    host.want(&[two, three.clone()]);
    host.want(&[three]);
    host.expect("a metadata of node2", RunEnd::Cancelled);
    host.expect("a metadata of node3", says("off"));
    host.expect("a  of node3 with quorum", good());
    assert_eq!(host.reported(), [confirmed(3, 1, "m1")]);
}

#[test]
fn without_quorum_it_waits_and_says_so_once() {
    let mut host = Host::new();
    host.want(&[work(2, 1, &[&[("a", "off")]])]);
    for _ in 0..5 {
        host.expect("a off of node2 with quorum", RunEnd::NotQuorate);
        assert!(host.runs.is_empty());
        host.wait(Duration::from_millis(100));
    }
    assert_eq!(host.told, ["fencing node2 waits for quorum"]);
    host.expect("a off of node2 with quorum", good());
    assert_eq!(host.reported(), [confirmed(2, 1, "m1")]);
}

#[test]
fn what_waits_for_quorum_is_given_up_at_once() {
    let mut host = Host::new();
    host.want(&[work(2, 1, &[&[("a", "off")]])]);
    host.expect("a off of node2 with quorum", RunEnd::NotQuorate);
    host.want(&[]);
    host.wait(Duration::from_secs(60));
    assert!(host.runs.is_empty() && host.reported().is_empty());
}

#[test]
fn the_next_attempt_begins_when_the_agent_of_the_last_has_ended() {
    let mut host = Host::new();
    host.want(&[work(2, 1, &[&[("a", "off")]])]);
    host.want(&[work(2, 2, &[&[("b", "off")]])]);
    host.want(&[work(2, 3, &[&[("c", "off")]])]);
    assert_eq!((host.stopped.len(), host.runs.len()), (1, 1), "it is stopped once");
    host.expect("a off of node2 with quorum", RunEnd::Cancelled);
    host.expect("c off of node2 with quorum", good());
    assert_eq!(host.reported(), [confirmed(2, 3, "m1")]);
}

#[test]
fn a_success_that_came_before_the_end_was_asked_for_counts() {
    let mut host = Host::new();
    host.want(&[work(2, 1, &[&[("a", "off"), ("b", "off")]])]);
    host.want(&[]);
    host.expect("a off of node2 with quorum", good());
    assert!(host.runs.is_empty(), "but nothing new begins");
    host.want(&[work(2, 2, &[&[("a", "off")]])]);
    host.want(&[]);
    host.expect("a off of node2 with quorum", good());
    assert_eq!(host.reported(), [confirmed(2, 2, "m1")]);
}

#[test]
fn an_outcome_is_reported_again_while_it_is_asked_for() {
    let mut host = Host::new();
    let work = work(2, 1, &[&[("a", "off")]]);
    host.want(std::slice::from_ref(&work));
    host.expect("a off of node2 with quorum", good());
    assert_eq!(host.reported().len(), 1);
    host.wait(Duration::from_secs(16));
    assert_eq!(host.reported().len(), 3);
    host.want(&[]);
    host.wait(Duration::from_secs(60));
    assert!(host.reported().is_empty() && host.driver.wake_at().is_none());
}

#[test]
fn a_run_does_not_show_what_its_agent_reads() {
    let mut host = Host::new();
    let mut work = work(2, 1, &[&[("a", "off")]]);
    work.devices.get_mut("a").unwrap().arguments = vec![("passwd".to_owned(), "hunter2".to_owned())];
    host.want(&[work]);
    let run = &host.runs[0];
    assert!(input_text(&run.arguments).contains("passwd=hunter2") && !format!("{run:?}").contains("hunter2"));
}

#[derive(Clone, Debug)]
enum Any {
    Want(Vec<(u32, u32, u8)>),
    End(u8, u8),
    Wait(u16),
}

fn any_event() -> impl Strategy<Value = Any> {
    prop_oneof![
        prop::collection::vec((2u32..4, 1u32..4, 0u8..4), 0..3).prop_map(Any::Want),
        (0u8..4, 0u8..6).prop_map(|(run, how)| Any::End(run, how)),
        (0u8..4, 0u8..6).prop_map(|(run, how)| Any::End(run, how)),
        (0u16..12_000).prop_map(Any::Wait),
    ]
}

fn any_methods(kind: u8) -> &'static [&'static [(&'static str, &'static str)]] {
    match kind {
        0 => &[&[("a", "off")]],
        1 => &[&[("d", ""), ("b", "")], &[("c", "off")]],
        2 => &[&[("e", "reboot"), ("f", "off")]],
        _ => &[],
    }
}

proptest! {
    /// Whatever happens in whatever order: one agent a victim at a time, none without the question for quorum that may
    /// switch a host off, and no confirmation without as many successes as the method has devices.
    #[test]
    fn whatever_happens_nothing_is_confirmed_that_did_not_succeed(events in prop::collection::vec(any_event(), 0..60)) {
        let mut host = Host::new();
        let mut successes: BTreeSet<(u32, u32, String, String)> = BTreeSet::new();
        for event in events {
            match event {
                Any::Want(list) => {
                    let task = |(victim, attempt, kind): &(u32, u32, u8)| {
                        let work = work(*victim, *attempt, any_methods(*kind));
                        let on = *attempt == 2 && !work.methods.is_empty();
                        let task = if on { Task::SwitchOn(on_again(work)) } else { Task::Fence(work) };
                        (NodeId(*victim), task)
                    };
                    host.step(FenceEvent::Wanted(list.iter().map(task).collect()));
                }
                Any::End(run, how) if !host.runs.is_empty() => {
                    let run = host.runs.remove(usize::from(run) % host.runs.len());
                    let stopped = host.stopped.contains(&run.id);
                    let how = match how {
                        0 => says("reboot"),
                        1 => bad(),
                        2 if run.needs_quorum => RunEnd::NotQuorate,
                        3 if stopped => RunEnd::Cancelled,
                        _ => good(),
                    };
                    if let (Purpose::Fence { method, device }, RunEnd::Succeeded { .. }) = (run.purpose, &how) {
                        successes.insert((run.victim.0, run.attempt, method, device));
                    }
                    host.step(FenceEvent::Ended { run: run.id, how });
                }
                Any::End(..) => {}
                Any::Wait(millis) => host.wait(Duration::from_millis(millis.into())),
            }
            let mut busy: Vec<NodeId> = host.runs.iter().map(|run| run.victim).collect();
            busy.sort();
            busy.dedup();
            prop_assert_eq!(busy.len(), host.runs.len(), "two agents on one victim");
            for run in &host.runs {
                prop_assert_eq!(run.needs_quorum, matches!(run.purpose, Purpose::Fence { .. }));
            }
            for (victim, attempt, outcome) in host.reported() {
                let FenceOutcome::Confirmed { method, .. } = outcome else { continue };
                let worked = |device: &str| successes.contains(&(victim, attempt, method.clone(), device.to_owned()));
                let all: &[&[&str]] = if method == "m1" { &[&["a"], &["d", "b"], &["e", "f"]] } else { &[&["c"]] };
                prop_assert!(all.iter().any(|devices| devices.iter().all(|device| worked(device))), "{successes:?}");
            }
        }
    }
}
