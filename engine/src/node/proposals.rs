//! What this host wants the others to know, until it has seen that they do.
//!
//! A proposal may get lost with the ring it was sent on. Each is kept, in order, until it comes back through the ring,
//! and proposed again in every new quorate view until then. That it may arrive twice does no harm: requests have ids and
//! reports have epochs.

use super::{Action, HEARTBEAT_MS, Identity, Node, Now, SILENT_AFTER_MS, TICK_STEP_MS};
use crate::mutant::{self, Mutant};
use crate::state::member::{NodeRecord, Standing};
use belay_proto::control::Verdict;
use belay_proto::entry::{ENTRY_VERSION, Entry, GoneReason, Request, Seen, What};
use belay_proto::ring::{RingMessage, RoundId};
use belay_proto::{Code, RequestId, ServiceName};
use std::collections::{BTreeSet, VecDeque};

/// More unconfirmed proposals than this are damage: the oldest are let go, since level-triggered work reports again.
const UNCONFIRMED_MAX: usize = 20_000;

/// Proposals that were not seen to arrive.
#[derive(Debug, Default)]
pub(super) struct Proposals {
    unconfirmed: VecDeque<What>,
    rounds_opened: u64,
}

impl Proposals {
    pub(super) fn next_round(&mut self, identity: &Identity) -> RoundId {
        self.rounds_opened += 1;
        RoundId { initiator: identity.node, incarnation: identity.incarnation, serial: self.rounds_opened }
    }

    /// Whether it is still to be told that a service's copy is gone.
    fn tell_of_the_end_of(&self, service: &ServiceName) -> bool {
        let end = |what: &What| matches!(what, What::Observation { service: of, seen: Seen::Gone { .. }, .. } if of == service);
        self.unconfirmed.iter().any(end)
    }

    /// One of this host's proposals came back in order.
    pub(super) fn delivered(&mut self, what: &What) {
        // The ring keeps each sender's order, so it is the first one, unless that is a repetition.
        if let Some(position) = self.unconfirmed.iter().position(|waiting| waiting == what) {
            self.unconfirmed.remove(position);
        }
    }
}

impl Node {
    /// Keeps and, if possible, sends.
    fn propose(&mut self, now: Now, what: What) {
        if self.proposals.unconfirmed.len() >= UNCONFIRMED_MAX {
            self.proposals.unconfirmed.pop_front();
        }
        self.proposals.unconfirmed.push_back(what.clone());
        if self.quorate {
            self.send(now, what);
        }
    }

    /// Sends without keeping: what is out of date when it gets lost.
    fn send(&mut self, now: Now, what: What) {
        let entry = Entry { version: ENTRY_VERSION, from: self.identity.node, time: self.clock(now), what };
        self.actions.push(Action::Propose(RingMessage::Entry(entry)));
    }

    /// A new quorate view: what was on its way may be lost.
    pub(super) fn repropose(&mut self, now: Now) {
        let waiting: Vec<What> = self.proposals.unconfirmed.iter().cloned().collect();
        if mutant::is(Mutant::ProposalsLost) {
            return;
        }
        for what in waiting {
            self.send(now, what);
        }
    }

    pub(super) fn report(&mut self, now: Now, what: What) {
        // Without quorum what is seen is not news for anybody: after it returns an inventory tells it all. Only ends of
        // work that was begun must not get lost, nor that a VM went elsewhere or was switched off by its guest: an inventory
        // would only show it missing. And what is told once is told for good.
        let lasting = match &what {
            What::Outcome { .. } | What::FenceOutcome { .. } | What::Facts { .. } => true,
            What::Observation { seen: Seen::Gone { why }, .. } => {
                matches!(why, GoneReason::Migrated | GoneReason::GuestShutdown)
            }
            // Nor that it is back, where the others have yet to hear that it went.
            What::Observation { seen: Seen::Running, service, .. } => self.proposals.tell_of_the_end_of(service),
            _ => false,
        };
        if lasting || self.quorate {
            self.propose(now, what);
        }
    }

    pub(super) fn submit(&mut self, now: Now, id: RequestId, by: String, request: Request) {
        if self.state.knows_request(&id) && !mutant::is(Mutant::RepeatedRequestRunsAgain) {
            self.waiters.insert(id);
            return;
        }
        let refusal = if !self.quorate {
            Some((Code::Quorum, "this host is not in a quorate view".to_owned()))
        } else if let Some(reason) = &self.disk_trouble {
            Some((Code::Failure, format!("this host cannot write its store, so it takes no requests: {reason}")))
        } else if self.leaving.is_some() {
            Some((Code::Again, "this host is leaving; ask another one".to_owned()))
        } else {
            None
        };
        if let Some((code, reason)) = refusal {
            self.actions.push(Action::Reply { id, verdict: Verdict { code, reason, owner: None } });
            return;
        }
        self.waiters.insert(id.clone());
        self.propose(now, What::Request { id, by, request });
    }

    /// A request that was taken in by a history that did not win is in no state and on no way into one: whoever waits for
    /// its answer would wait for ever.
    pub(super) fn answer_forgotten(&mut self) {
        if !self.quorate {
            return;
        }
        let unknown: Vec<&RequestId> = self.waiters.iter().filter(|id| !self.state.knows_request(id)).collect();
        if unknown.is_empty() {
            return;
        }
        // Looked up, not searched for: thousands may wait at a time, and this is asked after every step.
        let proposed = self.proposals.unconfirmed.iter().filter_map(|what| match what {
            What::Request { id, .. } => Some(id),
            _ => None,
        });
        let on_its_way: BTreeSet<&RequestId> = proposed.collect();
        let forgotten: Vec<RequestId> = unknown.into_iter().filter(|id| !on_its_way.contains(*id)).cloned().collect();
        for id in forgotten {
            self.waiters.remove(&id);
            let reason = "it was lost with a side of the cluster that did not prevail; ask again".to_owned();
            self.actions.push(Action::Reply { id, verdict: Verdict { code: Code::Again, reason, owner: None } });
        }
    }

    /// Offers the local file when it is newer than what the cluster has, once a term.
    pub(super) fn offer_config(&mut self, now: Now) {
        let Some((version, text)) = &self.file else { return };
        if !self.quorate || self.file_offered_in == Some(self.state.term()) {
            return;
        }
        let newer = self.state.config().is_none_or(|config| *version > config.version);
        self.file_offered_in = Some(self.state.term());
        if newer {
            let text = text.clone();
            self.send(now, What::Config { text });
        }
    }

    /// The local file changed.
    pub(super) fn file_changed(&mut self, version: u64, text: String) {
        self.file_config = belay_config::read("cluster.conf", &text).cluster;
        self.file = Some((version, text));
        self.file_offered_in = None;
    }

    /// Announces that this host goes, waits for its VMs if they are to be stopped, and goes.
    pub(super) fn leave_if_told(&mut self, now: Now) {
        let Some(stop_vms) = self.leaving else { return };
        if self.left {
            return;
        }
        let ready = !self.quorate || self.leave_proposed && self.state.may_leave(self.identity.node);
        if ready {
            self.left = true;
            self.actions.push(Action::LeaveRing);
        } else if !self.leave_proposed {
            self.leave_proposed = true;
            self.propose(now, What::Leave { stopped: stop_vms });
        }
    }

    /// When the state wants to be woken. Only an entry changes that, and acknowledgements are many times more.
    fn wake_of_state(&mut self) -> Option<belay_proto::Timestamp> {
        let key = (self.commit.history(), self.state.index());
        if let Some((of, at)) = self.wake
            && of == key
        {
            return at;
        }
        let at = self.state.wake_at_or_due();
        self.wake = Some((key, at));
        at
    }

    /// Signs of life, ticks, and whoever gives no sign of life.
    pub(super) fn keep_time(&mut self, now: Now) {
        if now.mono_ms >= self.heartbeat_due_ms {
            self.heartbeat_due_ms = now.mono_ms + HEARTBEAT_MS;
            self.acknowledge();
            self.look_for_silent(now);
            self.protest(now);
        }
        let mut wake = self.heartbeat_due_ms;
        if self.quorate
            && let Some(at) = self.wake_of_state()
        {
            let clock = self.clock(now);
            if at <= clock {
                if now.mono_ms >= self.tick_due_ms {
                    self.send(now, What::Tick);
                    self.tick_due_ms = now.mono_ms + TICK_STEP_MS;
                }
                wake = wake.min(self.tick_due_ms);
            } else {
                // The lowest member ticks; the others only if it does not.
                let rank = self.sync.members().iter().position(|id| *id == self.identity.node).unwrap_or(0);
                let due = now.mono_ms.saturating_add(at.since(clock).0).saturating_add(rank as u64 * TICK_STEP_MS);
                self.tick_due_ms = due;
                wake = wake.min(due);
            }
        }
        self.actions.push(Action::WakeAt(wake.max(now.mono_ms + 1)));
    }

    /// Held for silent, this member says something that is an entry: signs of life count for the ring only, and after its
    /// grace it would be fenced although it answers.
    fn protest(&mut self, now: Now) {
        let lost = |record: &NodeRecord| matches!(record.standing, Standing::Lost { .. });
        if self.quorate && self.state.node(self.identity.node).is_some_and(lost) {
            self.send(now, What::Tick);
        }
    }

    fn look_for_silent(&mut self, now: Now) {
        let me = self.identity.node;
        let Some(round) = self.sync.joined().filter(|_| self.quorate) else { return };
        let old = |id| round.heard.get(&id).is_none_or(|at| now.mono_ms.saturating_sub(*at) > SILENT_AFTER_MS);
        if old(me) {
            // Not even this host's own messages come back: the ring is at fault, not the others.
            return;
        }
        let silent: Vec<What> = round
            .hellos
            .iter()
            .filter(|(id, _)| **id != me && old(**id))
            .filter(|(id, _)| self.state.node(**id).is_some_and(NodeRecord::in_view))
            .map(|(id, hello)| What::Silent { node: *id, incarnation: hello.incarnation })
            .collect();
        for what in silent {
            self.send(now, what);
        }
    }
}
