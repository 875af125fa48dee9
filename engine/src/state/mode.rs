//! Hosts in maintenance and in standby: they are emptied by live migration, take nothing new, and stay so until somebody
//! says otherwise, whatever restarts meanwhile.
//!
//! A host in maintenance gets its VMs back when it is active again (each service's record knows its home); one in standby
//! does not. Emptying a host is a [`Drain`]: it ends by itself, empty or blocked, and the request is answered then, with
//! the names of what is in the way and why. Nothing is stopped to empty a host: a VM that cannot be migrated, has no legal
//! place elsewhere or is frozen stays, named, and whoever wants it stopped says so (`clusvcadm -r`). What blocked it may
//! pass, so the moves are tried again for as long as the host is to be empty.
//!
//! Whether a host is fenced does not depend on its mode: one that vanishes in maintenance may still run a VM that was in
//! the way. One that is empty and leaves in an orderly way is not fenced, like any other.

use super::State;
use super::history::node_event;
use super::member::Drain;
use super::service::{MoveWait, Moves, Phase, ServiceRecord};
use belay_proto::history::{EventKind, Severity};
use belay_proto::{Code, NodeId, NodeMode, Request, RequestId, ServiceName, Span, Timestamp};

/// A drain that makes no progress for so long is reported as blocked: longer than the time limit of a migration (600 s), so
/// that one that merely takes its time is waited for.
const PATIENCE: Span = Span::seconds(900);

/// How many names a sentence lists before it only counts.
const NAMES_MAX: usize = 5;

/// What is left on a host that is to be empty.
#[derive(Debug, Default)]
struct Left {
    moving: Vec<String>,
    waiting: Vec<String>,
    blocked: Vec<String>,
}

impl Left {
    fn count(&self) -> usize {
        self.moving.len() + self.waiting.len() + self.blocked.len()
    }

    fn words(&self) -> String {
        let mut parts = Vec::new();
        for (list, verb) in [(&self.moving, ""), (&self.blocked, ""), (&self.waiting, "waiting: ")] {
            if list.is_empty() {
                continue;
            }
            let shown: Vec<&str> = list.iter().take(NAMES_MAX).map(String::as_str).collect();
            let more = list.len().saturating_sub(NAMES_MAX);
            let more = if more == 0 { String::new() } else { format!(" and {more} more") };
            parts.push(format!("{verb}{}{more}", shown.join(", ")));
        }
        parts.join("; ")
    }
}

impl State {
    /// Somebody changes what a host is used for.
    pub(super) fn set_mode(&mut self, id: &RequestId, by: &str, node: NodeId, mode: NodeMode, reason: &str) {
        let name = self.node_name(node);
        let Some(before) = self.nodes.get(&node).map(|record| record.mode) else {
            return self.set_answer(id, Code::NoNode, format!("there is no member {name}"), None);
        };
        self.answer_drain(node, Code::Again, "superseded by a later request".into());
        let because = if reason.trim().is_empty() { String::new() } else { format!(": {}", reason.trim()) };
        let text = if mode == before {
            format!("{by} asked for {name} to be {}, which it is{because}", mode.word())
        } else {
            format!("{name} is {} by {by}{because}", mode.verb())
        };
        let cause = self.note(node_event(EventKind::Request, Severity::Notice, node, text), None);
        let deadline = self.time + PATIENCE;
        let Some(record) = self.nodes.get_mut(&node) else { return };
        record.mode = mode;
        record.mode_reason = reason.trim().to_owned();
        record.mode_event = Some(cause);
        let request = (mode != NodeMode::Active).then(|| id.clone());
        record.drain = request.map(|id| Drain { request: Some(id), cause, deadline, empty: false, blocked: None });
        self.set_homes(node, mode);
        if mode == NodeMode::Active {
            let back = self.services.restless().filter(|(_, record)| record.home == Some(node)).count();
            let reason = if back == 0 { String::new() } else { format!("{back} VMs are brought back") };
            self.set_answer(id, Code::Success, reason, None);
        }
    }

    fn set_homes(&mut self, node: NodeId, mode: NodeMode) {
        self.change_each(|record| {
            let here = record.phase.owner() == Some(node);
            match mode {
                NodeMode::Maintenance if here => {
                    record.home.get_or_insert(node);
                }
                NodeMode::Standby if record.home == Some(node) => record.home = None,
                _ => {}
            }
            if here || record.home == Some(node) {
                // Somebody looks after it now: what failed before is tried again.
                record.moves = Moves { asked: record.moves.asked, ..Moves::default() };
            }
        });
    }

    /// An administrator who decides where a service runs, or that it does not, decides that it is not brought back.
    pub(super) fn forget_home(record: &mut ServiceRecord, request: &Request) {
        if matches!(
            request,
            Request::Enable { .. } | Request::Disable { .. } | Request::Relocate { .. } | Request::Migrate { .. }
        ) {
            record.home = None;
        }
    }

    /// Why a host that was asked for takes no services, if that is because of its mode.
    pub(super) fn refuse_mode(&self, node: NodeId) -> Option<String> {
        let record = self.nodes.get(&node)?;
        let called = self.node_name(node);
        (record.mode != NodeMode::Active).then(|| format!("{called} is in {}", record.mode.word()))
    }

    /// Something moved: the patience with the drain of that host begins anew.
    pub(super) fn note_drain_progress(&mut self, node: NodeId) {
        let deadline = self.time + PATIENCE;
        if let Some(drain) = self.nodes.get_mut(&node).and_then(|record| record.drain.as_mut()) {
            drain.deadline = deadline;
        }
    }

    /// When a drain is to be called blocked, whose request still waits.
    pub(super) fn drain_due(&self) -> Option<Timestamp> {
        let drains = self.nodes.values().filter_map(|record| record.drain.as_ref());
        drains.filter(|drain| drain.request.is_some()).map(|drain| drain.deadline).min()
    }

    /// Says of each host that is to be empty how that ended, when it has.
    pub(super) fn judge_drains(&mut self) {
        let draining: Vec<NodeId> =
            self.nodes.iter().filter(|(_, record)| record.drain.is_some()).map(|(id, _)| *id).collect();
        for node in draining {
            self.judge_drain(node);
        }
    }

    fn judge_drain(&mut self, node: NodeId) {
        let left = self.left_on(node);
        let name = self.node_name(node);
        let Some(drain) = self.nodes.get(&node).and_then(|record| record.drain.clone()) else { return };
        let overdue = drain.request.is_some() && drain.deadline <= self.time;
        if left.count() == 0 {
            if !drain.empty {
                let text = format!("{name} is empty: no VM is left there");
                self.note(node_event(EventKind::Member, Severity::Notice, node, text), Some(drain.cause));
            }
            self.remember_drain(node, true, None);
            self.answer_drain(node, Code::Success, "no VM is left there".into());
        } else if left.moving.is_empty() && left.waiting.is_empty() || overdue {
            let words = left.words();
            let text = format!("{name} cannot be emptied: {words}");
            if drain.blocked.as_ref() != Some(&text) {
                self.note(node_event(EventKind::Blocked, Severity::Warning, node, text.clone()), Some(drain.cause));
            }
            self.remember_drain(node, false, Some(text));
            let count = left.count();
            let stay = if count == 1 { "1 VM stays".to_owned() } else { format!("{count} VMs stay") };
            self.answer_drain(node, Code::Warning, format!("{stay} there: {words}"));
        } else {
            self.remember_drain(node, false, None);
        }
    }

    fn remember_drain(&mut self, node: NodeId, empty: bool, blocked: Option<String>) {
        if let Some(drain) = self.nodes.get_mut(&node).and_then(|record| record.drain.as_mut()) {
            drain.empty = empty;
            // While one is tried again it is not told anew that it is in the way.
            if empty || blocked.is_some() {
                drain.blocked = blocked;
            }
        }
    }

    fn answer_drain(&mut self, node: NodeId, code: Code, reason: String) {
        let drain = self.nodes.get_mut(&node).and_then(|record| record.drain.as_mut());
        if let Some(id) = drain.and_then(|drain| drain.request.take()) {
            self.set_answer(&id, code, reason, None);
        }
    }

    fn left_on(&self, node: NodeId) -> Left {
        let mut left = Left::default();
        for (name, record) in self.services.on(node) {
            self.sort_left(node, name, record, &mut left);
        }
        left
    }

    fn sort_left(&self, node: NodeId, name: &ServiceName, record: &ServiceRecord, left: &mut Left) {
        let present = self.nodes.get(&node).is_some_and(super::member::NodeRecord::in_view);
        match (&record.phase, &record.moves.waits) {
            (Phase::Migrating { from, to, .. }, _) if *from == node => {
                left.moving.push(format!("{name} is moving to {}", self.node_name(*to)));
            }
            (Phase::Failed { .. }, _) => left.blocked.push(format!("{name} could not be stopped there")),
            (Phase::Started { .. }, _) if record.frozen => left.blocked.push(format!("{name} is frozen")),
            _ if !present => left.blocked.push(format!("{name} may run there, and {} is away", self.node_name(node))),
            (Phase::Started { .. }, Some(MoveWait::Blocked(reason))) => left.blocked.push(format!("{name} {reason}")),
            (Phase::Started { .. }, _) => left.waiting.push(name.to_string()),
            (phase, _) => left.waiting.push(format!("{name} ({})", phase.shown())),
        }
    }

    /// What people are told of a host that is not active.
    #[must_use]
    pub(super) fn mode_detail(&self, node: NodeId) -> Option<String> {
        let record = self.nodes.get(&node).filter(|record| record.mode != NodeMode::Active)?;
        let because = if record.mode_reason.is_empty() { String::new() } else { format!(" ({})", record.mode_reason) };
        let left = self.left_on(node);
        let here = match left.count() {
            0 => "no VM is left here".to_owned(),
            1 => format!("1 VM still here: {}", left.words()),
            count => format!("{count} VMs still here: {}", left.words()),
        };
        Some(format!("{}{because}: {here}", record.mode.word()))
    }
}
