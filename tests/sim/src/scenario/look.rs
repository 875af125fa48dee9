//! Whether what a scenario expects is so: the same questions for simulated clusters and for real ones.

use super::ask::Answer;
use super::expect::{Expect, Seen};
use belay_proto::control::{MemberStatus, ServiceStatus, Status, Verdict};
use belay_proto::history::{EventKind, HistoryEvent};
use belay_proto::{NodeId, ServiceName, ServiceState};

/// A cluster that can be asked.
pub trait World {
    /// The status as a host has it, or as the first quorate one has it.
    ///
    /// # Errors
    /// Why nobody answers.
    fn status(&self, by: Option<NodeId>) -> Result<Status, String>;
    /// Where processes of a VM are.
    fn places(&self, vm: &str) -> Vec<u32>;
    /// How often a process of it began since the story did.
    fn begun(&self, vm: &str) -> u64;
    /// The history since the story began, oldest first.
    fn events(&self) -> Vec<HistoryEvent>;
    /// The chain of causes of a service's state.
    fn chain(&self, service: &ServiceName) -> Vec<String>;
    /// Whether a host has power.
    fn powered(&self, host: NodeId) -> bool;
    /// The answer to a named request so far.
    fn answer(&self, name: &str) -> Option<Verdict>;
    /// Whether all is as it should be.
    ///
    /// # Errors
    /// What is not.
    fn settled(&self) -> Result<(), String>;
}

/// Whether something is as expected.
///
/// # Errors
/// What is so instead.
pub fn check(world: &dyn World, seen: &Seen) -> Result<(), String> {
    match &seen.what {
        Expect::State { vm, state, on, waiting } => {
            let service = service(world, seen.by, vm)?;
            let there = on.is_empty() || service.owner.is_some_and(|owner| on.contains(&owner));
            if service.state != *state || !there {
                return Err(told(&service));
            }
            if let Some(text) = waiting
                && !service.waiting.as_ref().is_some_and(|reason| reason.contains(text))
            {
                return Err(format!("{}, and waits for {:?}", told(&service), service.waiting));
            }
            // What waits although it is started does not run: it died frozen, or nobody can tell.
            if *state == ServiceState::Started && waiting.is_none() {
                let owner: Vec<u32> = service.owner.iter().map(|owner| owner.0).collect();
                return places(world, vm, &owner);
            }
            Ok(())
        }
        Expect::Runs { vm, on } => places(world, vm, &on.iter().map(|host| host.0).collect::<Vec<_>>()),
        Expect::Frozen(vm, yes) => is(service(world, seen.by, vm)?.frozen, *yes, "frozen"),
        Expect::Restarts(vm, count) => equal(service(world, seen.by, vm)?.restarts, *count, "restarts are counted"),
        Expect::WasStarted(vm, count) => equal(world.begun(vm), *count, "starts were seen"),
        Expect::Why(vm, texts) => match ServiceName::vm(vm) {
            Ok(name) => in_order(&world.chain(&name), texts),
            Err(error) => Err(error.to_string()),
        },
        Expect::Log(texts) => in_order(&lines(&world.events()), texts),
        Expect::NoLog(text) => match lines(&world.events()).into_iter().find(|line| line.contains(text)) {
            Some(line) => Err(format!("the history has: {line}")),
            None => Ok(()),
        },
        Expect::Answered(name, answer) => answered(world.answer(name), answer.as_ref()),
        Expect::Settled => world.settled(),
        of_cluster => of_cluster_is(world, of_cluster, seen.by),
    }
}

fn of_cluster_is(world: &dyn World, expect: &Expect, by: Option<NodeId>) -> Result<(), String> {
    match expect {
        Expect::Member(host, state) => {
            let member = member(world, by, *host)?;
            if member.state == *state { Ok(()) } else { Err(format!("it is {:?}: {}", member.state, member.detail)) }
        }
        Expect::Mode(host, mode) => {
            let member = member(world, by, *host)?;
            if member.mode == *mode { Ok(()) } else { Err(format!("it is {}", member.mode.word())) }
        }
        Expect::Says(host, text) => {
            let detail = member(world, by, *host)?.detail;
            if detail.contains(text) { Ok(()) } else { Err(format!("it says {detail:?}")) }
        }
        Expect::Fenced(host, times) => {
            equal(fencing(world, *host, " is fenced: "), *times, "confirmations are in the history")
        }
        Expect::FencingTried(host, times) => {
            equal(fencing(world, *host, " fences "), *times, "attempts are in the history")
        }
        Expect::Powered(host, yes) => is(world.powered(*host), *yes, "powered on"),
        Expect::Quorate(host, yes) => is(world.status(Some(*host)).is_ok_and(|status| status.quorate), *yes, "quorate"),
        Expect::Alarm(text) => {
            let alarms = world.status(by)?.alarms;
            if alarms.iter().any(|alarm| alarm.contains(text)) {
                Ok(())
            } else {
                Err(format!("the alarms are {alarms:?}"))
            }
        }
        Expect::NoAlarm => {
            let alarms = world.status(by)?.alarms;
            if alarms.is_empty() { Ok(()) } else { Err(format!("the alarms are {alarms:?}")) }
        }
        Expect::Locked(yes) => is(world.status(by)?.locked, *yes, "locked"),
        Expect::Disarmed(yes) => is(world.status(by)?.disarmed.is_some(), *yes, "disarmed"),
        other => Err(format!("this is not about the cluster: {other:?}")),
    }
}

fn service(world: &dyn World, by: Option<NodeId>, vm: &str) -> Result<ServiceStatus, String> {
    let ours = |service: &ServiceStatus| service.name.kind() == "vm" && service.name.name() == vm;
    world.status(by)?.services.into_iter().find(ours).ok_or_else(|| format!("there is no service vm:{vm}"))
}

fn member(world: &dyn World, by: Option<NodeId>, host: NodeId) -> Result<MemberStatus, String> {
    world
        .status(by)?
        .members
        .into_iter()
        .find(|member| member.id == host)
        .ok_or_else(|| format!("node{host} is no member"))
}

fn told(service: &ServiceStatus) -> String {
    let on = service.owner.map(|owner| format!(" on node{owner}")).unwrap_or_default();
    let waiting = service.waiting.as_ref().map(|reason| format!(" ({reason})")).unwrap_or_default();
    format!("{} is {}{on}{waiting}", service.name, service.state)
}

fn places(world: &dyn World, vm: &str, expected: &[u32]) -> Result<(), String> {
    let places = world.places(vm);
    if places == expected {
        return Ok(());
    }
    let named: Vec<String> = places.iter().map(|host| format!("node{host}")).collect();
    Err(if named.is_empty() { format!("{vm} runs nowhere") } else { format!("{vm} runs on {}", named.join(" and ")) })
}

fn is(so: bool, expected: bool, what: &str) -> Result<(), String> {
    if so == expected { Ok(()) } else { Err(format!("it is {}{what}", if so { "" } else { "not " })) }
}

fn equal<T: PartialEq + std::fmt::Display>(found: T, expected: T, what: &str) -> Result<(), String> {
    if found == expected { Ok(()) } else { Err(format!("{found} {what}")) }
}

fn fencing(world: &dyn World, host: NodeId, part: &str) -> usize {
    let about = |event: &&HistoryEvent| event.kind == EventKind::Fence && event.node == Some(host);
    world.events().iter().filter(about).filter(|event| event.text.contains(part)).count()
}

/// The history as people read it.
#[must_use]
pub fn lines(events: &[HistoryEvent]) -> Vec<String> {
    let line = |event: &HistoryEvent| match &event.service {
        Some(service) => format!("{service} {}", event.text),
        None => event.text.clone(),
    };
    events.iter().map(line).collect()
}

fn in_order(lines: &[String], texts: &[String]) -> Result<(), String> {
    let mut rest = lines.iter();
    for (index, text) in texts.iter().enumerate() {
        if !rest.any(|line| line.contains(text)) {
            let after =
                if index == 0 { String::new() } else { " after what stands before it in the scenario".to_owned() };
            return Err(format!("'{text}' is not there{after}; there is:\n    {}", lines.join("\n    ")));
        }
    }
    Ok(())
}

/// Whether an answer is the expected one.
pub(crate) fn answered(verdict: Option<Verdict>, expected: Option<&Answer>) -> Result<(), String> {
    match (verdict, expected) {
        (None, None) => Ok(()),
        (None, Some(_)) => Err("there is no answer yet".into()),
        (Some(verdict), None) => Err(format!("it was answered: {} ({})", verdict.code, verdict.reason)),
        (Some(verdict), Some(answer)) => {
            let since = answer.since.as_ref().is_none_or(|since| verdict.reason.contains(since));
            if verdict.code == answer.code && since {
                return Ok(());
            }
            Err(format!("the answer is: {}, since {:?}", verdict.code, verdict.reason))
        }
    }
}
