//! What a scenario expects of a cluster, and how it is written.

use super::ask::Answer;
use super::event::Names;
use super::words::{Words, Wrong, number, wrong};
use belay_proto::control::MemberState;
use belay_proto::entry::NodeMode;
use belay_proto::{NodeId, ServiceState};

/// Something that must be so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expect {
    /// The cluster says that a VM is in a state, and on which hosts it may be; `started` is held against the hypervisors.
    State {
        /// Which VM.
        vm: String,
        /// What it is shown as.
        state: ServiceState,
        /// Where, if that matters.
        on: Vec<NodeId>,
        /// A part of what it waits for.
        waiting: Option<String>,
    },
    /// Where processes of a VM are, whatever the cluster believes.
    Runs {
        /// Which VM.
        vm: String,
        /// All its places.
        on: Vec<NodeId>,
    },
    /// Whether a VM is frozen.
    Frozen(String, bool),
    /// How many restarts its window holds.
    Restarts(String, u32),
    /// How often it was started since the story began.
    WasStarted(String, u64),
    /// The chain of causes of its present state.
    Why(String, Vec<String>),
    /// What the cluster knows of a host.
    Member(NodeId, MemberState),
    /// What a host is used for.
    Mode(NodeId, NodeMode),
    /// The sentence on a host in the status.
    Says(NodeId, String),
    /// How often fencing of a host was confirmed since the story began.
    Fenced(NodeId, usize),
    /// How often it was tried.
    FencingTried(NodeId, usize),
    /// Whether a host's power is on.
    Powered(NodeId, bool),
    /// Whether a host is in a quorate view.
    Quorate(NodeId, bool),
    /// Texts of the history, in this order.
    Log(Vec<String>),
    /// A text that the history does not have.
    NoLog(String),
    /// What needs a person.
    Alarm(String),
    /// Nothing needs a person.
    NoAlarm,
    /// Whether services are locked.
    Locked(bool),
    /// Whether the cluster is disarmed.
    Disarmed(bool),
    /// A named request was answered; not yet, without an answer.
    Answered(String, Option<Answer>),
    /// Everything is as it should be.
    Settled,
}

/// An expectation, and in whose eyes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// What must be so.
    pub what: Expect,
    /// The host that is asked; the first quorate one if none is named.
    pub by: Option<NodeId>,
}

const HELP: &str = "what can be expected: VM started|stopped|disabled|failed|… [on HOST [or HOST]] [waiting \"…\"], VM runs on \
                    HOST…|nowhere, VM [not] frozen, VM restarts N, VM was started N times, VM why \"…\" then \"…\", HOST \
                    online|lost|down|left|unknown, HOST active|maintenance|standby, HOST says \"…\", HOST fenced N times, \
                    HOST fencing tried N times, HOST powered on|off, HOST [not] quorate, log \"…\" then \"…\", no log \"…\", \
                    alarm \"…\", no alarm, [not] locked, [not] disarmed, REQUEST answered …|unanswered, settled";

/// Reads what stands behind `expect`. `asked` are the names of requests so far.
pub(crate) fn read(words: &mut Words<'_>, names: Names<'_>, asked: &[String]) -> Result<Seen, Wrong> {
    let what = what(words, names, asked)?;
    let by = if words.take("seen by") { Some(names.host(words)?) } else { None };
    words.end(HELP)?;
    Ok(Seen { what, by })
}

fn what(words: &mut Words<'_>, names: Names<'_>, asked: &[String]) -> Result<Expect, Wrong> {
    let fixed = [
        ("settled", Expect::Settled),
        ("no alarm", Expect::NoAlarm),
        ("locked", Expect::Locked(true)),
        ("not locked", Expect::Locked(false)),
        ("disarmed", Expect::Disarmed(true)),
        ("not disarmed", Expect::Disarmed(false)),
    ];
    for (phrase, expect) in fixed {
        if words.take(phrase) {
            return Ok(expect);
        }
    }
    if words.take("log") {
        return Ok(Expect::Log(texts(words)?));
    }
    if words.take("no log") {
        return Ok(Expect::NoLog(words.quoted(HELP)?));
    }
    if words.take("alarm") {
        return Ok(Expect::Alarm(words.quoted(HELP)?));
    }
    let subject = words.need("what is expected", HELP)?;
    if let Some(host) = names.host_named(subject) {
        return of_host(words, host);
    }
    if let Some(vm) = names.vm_named(subject) {
        return of_vm(words, names, vm);
    }
    if asked.iter().any(|name| name == subject) {
        if words.take("unanswered") {
            return Ok(Expect::Answered(subject.to_owned(), None));
        }
        if words.take("answered") {
            return Ok(Expect::Answered(subject.to_owned(), Some(Answer::read(words)?)));
        }
    }
    wrong(format!("'{subject}' is no VM, no host and no request, and nothing else that can be expected"), HELP)
}

/// `"…" then "…" then "…"`.
fn texts(words: &mut Words<'_>) -> Result<Vec<String>, Wrong> {
    let mut texts = vec![words.quoted(HELP)?];
    while words.take("then") {
        texts.push(words.quoted(HELP)?);
    }
    Ok(texts)
}

fn times(words: &mut Words<'_>) -> Result<u64, Wrong> {
    let count = number(words.need("how often", HELP)?)?;
    if words.take("times") || words.take("time") { Ok(count) } else { wrong("'times' is missing", HELP) }
}

fn of_host(words: &mut Words<'_>, host: NodeId) -> Result<Expect, Wrong> {
    let fixed = [
        ("online", Expect::Member(host, MemberState::Online)),
        ("lost", Expect::Member(host, MemberState::Lost)),
        ("down", Expect::Member(host, MemberState::Down)),
        ("left", Expect::Member(host, MemberState::Left)),
        ("unknown", Expect::Member(host, MemberState::Unknown)),
        ("active", Expect::Mode(host, NodeMode::Active)),
        ("maintenance", Expect::Mode(host, NodeMode::Maintenance)),
        ("standby", Expect::Mode(host, NodeMode::Standby)),
        ("quorate", Expect::Quorate(host, true)),
        ("not quorate", Expect::Quorate(host, false)),
        ("powered on", Expect::Powered(host, true)),
        ("powered off", Expect::Powered(host, false)),
    ];
    for (phrase, expect) in fixed {
        if words.take(phrase) {
            return Ok(expect);
        }
    }
    let as_count = |count: u64| usize::try_from(count).unwrap_or(usize::MAX);
    if words.take("fencing tried") {
        Ok(Expect::FencingTried(host, as_count(times(words)?)))
    } else if words.take("fenced") {
        Ok(Expect::Fenced(host, as_count(times(words)?)))
    } else if words.take("says") {
        Ok(Expect::Says(host, words.quoted(HELP)?))
    } else {
        wrong(format!("what is expected of node{host} is not understood"), HELP)
    }
}

fn of_vm(words: &mut Words<'_>, names: Names<'_>, vm: String) -> Result<Expect, Wrong> {
    if words.take("runs nowhere") {
        return Ok(Expect::Runs { vm, on: Vec::new() });
    }
    if words.take("runs on") {
        let mut on = vec![names.host(words)?];
        while words.take("and") {
            on.push(names.host(words)?);
        }
        return Ok(Expect::Runs { vm, on });
    }
    if words.take("not frozen") {
        return Ok(Expect::Frozen(vm, false));
    }
    if words.take("frozen") {
        return Ok(Expect::Frozen(vm, true));
    }
    if words.take("was started") {
        return Ok(Expect::WasStarted(vm, times(words)?));
    }
    if words.take("why") {
        return Ok(Expect::Why(vm, texts(words)?));
    }
    if words.take("restarts") {
        let count = number(words.need("how many restarts", HELP)?)?;
        return Ok(Expect::Restarts(vm, u32::try_from(count).unwrap_or(u32::MAX)));
    }
    let Some(state) = ServiceState::ALL.into_iter().find(|state| words.take(state.word())) else {
        return wrong(format!("what is expected of {vm} is not understood"), HELP);
    };
    let mut on = Vec::new();
    if words.take("on") {
        on.push(names.host(words)?);
        while words.take("or") {
            on.push(names.host(words)?);
        }
    }
    let waiting = if words.take("waiting") { Some(words.quoted(HELP)?) } else { None };
    Ok(Expect::State { vm, state, on, waiting })
}
