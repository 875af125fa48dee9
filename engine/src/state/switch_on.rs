//! Switching a fenced host on again: the second half of a power cycle.
//!
//! Off is the proof, and what the host ran starts elsewhere from that moment on. That the host is to come back is work of
//! its own, owned by one member and taken over by the next one when that member dies or fails, so that no host stays off
//! only because its fencer died at the wrong moment. Nobody waits for it. It ends when the devices have done it, when the
//! host is a member again, when an administrator decides otherwise (maintenance, other fence devices), or after
//! [`SWITCH_ON_ATTEMPTS`], loudly: then a person has to look.
//!
//! What must never happen here: switching on what nobody switched off. Only devices that the confirmed method has cycled
//! are used, as the member that fenced named them, and only while the proof that the host is off stands.

use super::State;
use super::fencing::Attempt;
use super::fencing::owed::{Stage, SwitchOn};
use super::history::node_event;
use super::member::{NodeRecord, Standing};
use crate::mutant::{self, Mutant};
use belay_config::model::Device;
use belay_proto::history::{EventId, EventKind, Severity};
use belay_proto::{NodeId, NodeMode, Span, Timestamp};
use std::collections::BTreeMap;

/// How many times a fenced host is tried to be switched on, whoever tries it.
pub const SWITCH_ON_ATTEMPTS: u32 = 5;

/// How long to wait after one that failed. Nothing waits for it, and a power switch may need a moment.
const AGAIN_AFTER: Span = Span::seconds(10);

impl State {
    /// What a host's devices are to be switched on by, while that is owed and the configuration knows them.
    pub(super) fn switched_on_by(&self, node: NodeId) -> Option<Vec<Device>> {
        let owed = self.nodes.get(&node)?.switch_on.as_ref()?;
        let mut named =
            self.config.as_ref()?.nodes.get(&node)?.methods.iter().filter(|method| method.name == owed.method);
        // Of two methods of one name nobody knows which is meant, and some devices must not be switched on.
        let (method, None) = (named.next()?, named.next()) else { return None };
        owed.uses.iter().map(|place| method.devices.get(*place as usize).cloned()).collect()
    }

    /// A host was fenced by devices that are to switch it on again.
    pub(super) fn owe_switch_on(&mut self, node: NodeId, by: NodeId, method: &str, uses: &[u32], cause: EventId) {
        let not_before = self.time;
        let Some(record) = self.nodes.get_mut(&node).filter(|_| !uses.is_empty()) else { return };
        record.switch_on = Some(SwitchOn {
            method: method.to_owned(),
            uses: uses.to_vec(),
            next: by,
            tries: 0,
            stage: Stage::Waits { not_before },
            last_failure: None,
            cause: Some(cause),
        });
        if self.switched_on_by(node).is_none() {
            self.leave_off(node, "its configuration has no such fence method any more, or two of that name");
        }
    }

    /// Ends what nobody wants any more, begins the attempts that are due, and takes over those whose member is gone.
    pub(crate) fn advance_switching_on(&mut self) {
        let owed: Vec<NodeId> =
            self.nodes.iter().filter(|(_, record)| record.switch_on.is_some()).map(|(id, _)| *id).collect();
        for node in owed {
            let Some(record) = self.nodes.get(&node) else { continue };
            if !matches!(record.standing, Standing::Down(_)) {
                self.is_back(node);
            } else if record.mode == NodeMode::Maintenance {
                // Somebody may have the hands in it.
                if self.is_being_switched_on(node) {
                    self.leave_off(node, "it is in maintenance");
                }
            } else if self.disarmed.is_none() {
                self.advance_switch_on(node);
            }
        }
    }

    fn advance_switch_on(&mut self, node: NodeId) {
        let online = |record: &NodeRecord| record.standing == Standing::Online;
        let members: Vec<NodeId> = self.nodes.iter().filter(|(_, record)| online(record)).map(|(id, _)| *id).collect();
        let Some(owed) = self.nodes.get(&node).and_then(|record| record.switch_on.as_ref()) else { return };
        match &owed.stage {
            Stage::Waits { not_before } if *not_before <= self.time => {}
            Stage::Tried(attempt) if !members.contains(&attempt.by) && !mutant::is(Mutant::SwitchOnDiesWithFencer) => {}
            _ => return,
        }
        if owed.tries >= SWITCH_ON_ATTEMPTS {
            return self.give_up_switching_on(node);
        }
        // Each attempt by the next member: the one before may be cut off from the device.
        let Some(by) = members.iter().find(|id| **id >= owed.next).or(members.first()).copied() else { return };
        let text = match owed.tries {
            0 => format!("{} switches {} on again", self.node_name(by), self.node_name(node)),
            tries => format!(
                "{} switches {} on again (attempt {} of {SWITCH_ON_ATTEMPTS})",
                self.node_name(by),
                self.node_name(node),
                tries + 1
            ),
        };
        let id = self.note(node_event(EventKind::Fence, Severity::Notice, node, text), owed.cause);
        let decided = self.index;
        let Some(record) = self.nodes.get_mut(&node) else { return };
        record.fence_attempts = record.fence_attempts.saturating_add(1);
        let number = record.fence_attempts;
        if let Some(owed) = &mut record.switch_on {
            owed.tries += 1;
            owed.next = NodeId(by.0.saturating_add(1));
            owed.cause = Some(id);
            owed.stage = Stage::Tried(Attempt { number, by, decided });
        }
    }

    /// An attempt ended.
    pub(super) fn switching_on_ended(&mut self, from: NodeId, node: NodeId, number: u32, failure: Option<&str>) {
        let Some(owed) = self.nodes.get(&node).and_then(|record| record.switch_on.as_ref()) else { return };
        if owed.attempt().is_none_or(|attempt| attempt.number != number || attempt.by != from) {
            return;
        }
        let (name, by, cause, last) =
            (self.node_name(node), self.node_name(from), owed.cause, owed.tries >= SWITCH_ON_ATTEMPTS);
        let (stage, severity, text) = match failure {
            None => {
                let text = format!("{by} has switched {name} on again; it takes VMs once its belayd is back");
                (Stage::Done { by: from }, Severity::Notice, text)
            }
            Some(reason) => {
                let then = if last { String::new() } else { format!(", trying again in {AGAIN_AFTER}") };
                let text = format!("{by} could not switch {name} on again{then}: {reason}");
                (Stage::Waits { not_before: self.time + AGAIN_AFTER }, Severity::Warning, text)
            }
        };
        let id = self.note(node_event(EventKind::Fence, severity, node, text), cause);
        if let Some(owed) = self.nodes.get_mut(&node).and_then(|record| record.switch_on.as_mut()) {
            owed.stage = stage;
            owed.cause = Some(id);
            owed.last_failure = failure.map(str::to_owned);
        }
        if failure.is_some() && last {
            self.give_up_switching_on(node);
        }
    }

    fn give_up_switching_on(&mut self, node: NodeId) {
        let name = self.node_name(node);
        let Some(owed) = self.nodes.get_mut(&node).and_then(|record| record.switch_on.as_mut()) else { return };
        owed.stage = Stage::GivenUp;
        let cause = owed.cause;
        let text = format!(
            "{name} is fenced and stays off: {SWITCH_ON_ATTEMPTS} attempts to switch it on again came to nothing; switch \
             it on by hand"
        );
        self.note(node_event(EventKind::Blocked, Severity::Error, node, text), cause);
    }

    /// Somebody wants it as it is.
    fn leave_off(&mut self, node: NodeId, because: &str) {
        let text = format!("{} is fenced and stays off: {because}; switch it on by hand", self.node_name(node));
        let owed = self.nodes.get_mut(&node).and_then(|record| record.switch_on.take());
        if let Some(owed) = owed {
            self.note(node_event(EventKind::Fence, Severity::Warning, node, text), owed.cause);
        }
    }

    /// It is a member again, or nobody knows any more what it is: whichever, it is not to be switched on.
    fn is_back(&mut self, node: NodeId) {
        let Some(record) = self.nodes.get_mut(&node) else { return };
        let Some(owed) = record.switch_on.take() else { return };
        // One supply is enough to boot with, and nobody would look at the other one.
        if owed.uses.len() < 2 || !record.in_view() || matches!(owed.stage, Stage::Done { .. }) {
            return;
        }
        let name = self.node_name(node);
        let said = owed.last_failure.map(|reason| format!(": {reason}")).unwrap_or_default();
        let text = format!(
            "{name} is back before all devices of method {} had switched it on: look whether each of its power supplies \
             has power{said}",
            owed.method
        );
        self.note(node_event(EventKind::Fence, Severity::Warning, node, text), owed.cause);
    }

    /// While the cluster is disarmed nobody is told to switch anything; afterwards it goes on.
    pub(super) fn hold_switching_on(&mut self) {
        let not_before = self.time;
        for owed in self.nodes.values_mut().filter_map(|record| record.switch_on.as_mut()) {
            if matches!(owed.stage, Stage::Tried(_)) {
                owed.stage = Stage::Waits { not_before };
            }
        }
    }

    /// What is owed by which devices, before a new configuration is in force.
    pub(super) fn owed_switch_ons(&self) -> BTreeMap<NodeId, Vec<Device>> {
        let done = |record: &NodeRecord| {
            record.switch_on.as_ref().is_some_and(|owed| matches!(owed.stage, Stage::Done { .. }))
        };
        let owed = self.nodes.iter().filter(|(_, record)| !done(record));
        owed.filter_map(|(node, _)| Some((*node, self.switched_on_by(*node)?))).collect()
    }

    /// A new configuration: whoever changed how a host is fenced looks after it; with the same devices, whose agents may
    /// have been given the right password at last, it is tried again.
    pub(super) fn review_switch_ons(&mut self, owed: &BTreeMap<NodeId, Vec<Device>>) {
        let not_before = self.time;
        for (node, uses) in owed {
            if self.switched_on_by(*node).as_ref() != Some(uses) {
                self.leave_off(*node, "its fence devices were changed meanwhile");
            } else if let Some(owed) = self.nodes.get_mut(node).and_then(|record| record.switch_on.as_mut())
                && owed.stage == Stage::GivenUp
            {
                owed.tries = 0;
                owed.stage = Stage::Waits { not_before };
            }
        }
    }

    /// When the next attempt may begin.
    pub(super) fn switch_on_due(&self) -> impl Iterator<Item = Timestamp> {
        let armed = self.disarmed.is_none();
        self.nodes.values().filter_map(move |record| match record.switch_on.as_ref()?.stage {
            Stage::Waits { not_before } if armed && not_before > self.time => Some(not_before),
            _ => None,
        })
    }

    /// Whether a host that is off will be on again by what the cluster does.
    #[must_use]
    pub fn is_being_switched_on(&self, node: NodeId) -> bool {
        let owed = self.nodes.get(&node).and_then(|record| record.switch_on.as_ref());
        owed.is_some_and(|owed| matches!(owed.stage, Stage::Waits { .. } | Stage::Tried(_)))
    }

    /// A few words for the status of a host that was fenced.
    pub(super) fn switch_on_words(&self, node: NodeId) -> Option<String> {
        let owed = self.nodes.get(&node)?.switch_on.as_ref()?;
        let failed = owed.last_failure.as_ref().map(|reason| format!(" (failed {} times: {reason})", owed.tries));
        Some(match &owed.stage {
            Stage::Waits { .. } => format!("fenced, to be switched on again{}", failed.unwrap_or_default()),
            Stage::Tried(attempt) => {
                format!("fenced, being switched on again by {}", self.node_name(attempt.by))
            }
            Stage::Done { by } => format!("fenced, switched on again by {}, not back yet", self.node_name(*by)),
            Stage::GivenUp => format!("fenced; switch it on by hand{}", failed.unwrap_or_default()),
        })
    }

    /// What needs a person.
    pub(super) fn switch_on_alarms(&self) -> impl Iterator<Item = String> {
        self.nodes.iter().filter_map(|(node, record)| {
            let owed = record.switch_on.as_ref().filter(|owed| owed.stage == Stage::GivenUp)?;
            let said = owed.last_failure.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
            let name = self.node_name(*node);
            Some(format!("{name} was fenced and could not be switched on again, switch it on by hand{said}"))
        })
    }
}
