//! Fencing: making sure that a lost host runs nothing, before anything it ran is started elsewhere (design S2).
//!
//! A host that is gone without having said goodbye becomes a [`Victim`]. After its delay one member is told to fence it;
//! when that fails, or that member dies, the next one is, for as long as it takes. Only what the victim ran waits. A
//! [`FencedProof`] ends it, and there are four ways to one, each with its constructor in [`proof`] and nowhere else.

pub mod owed;
pub mod proof;
pub mod victim;

use super::State;
use super::history::{Cause, node_event};
use super::member::{NodeRecord, Standing};
use super::service::{LostEnd, Phase, ServiceRecord, Wanted};
use crate::mutant::{self, Mutant};
use belay_config::model::Cluster;
use belay_proto::entry::FenceOutcome;
use belay_proto::history::{EventId, EventKind, Severity};
use belay_proto::{NodeId, ServiceName, Span};
use proof::{FencedProof, How};
pub use victim::{Attempt, Victim};

/// How long to wait after a failed attempt; the `override_time` of the original.
pub(super) const RETRY_AFTER: Span = Span::seconds(3);

/// How long a dead daemon on a living host may stay away: systemd restarts it at once, an upgrade takes seconds.
pub const DAEMON_GRACE: Span = Span::seconds(30);

impl State {
    /// The hosts that must be fenced.
    pub fn victims(&self) -> impl Iterator<Item = (NodeId, &Victim)> {
        self.victims.iter().map(|(id, victim)| (*id, victim))
    }

    /// Makes victims of all hosts that are absent without proof of being down. While members are joining, absent ones
    /// may be on their way too: they get the longer delay, so that a cluster that boots does not shoot its slowest host.
    pub(crate) fn judge_absent(&mut self, joins: bool) {
        let Some(config) = self.config.clone() else { return };
        let absent: Vec<(NodeId, Standing)> = self
            .nodes
            .iter()
            .filter(|(id, record)| {
                matches!(record.standing, Standing::Unknown | Standing::Lost { .. }) && !self.victims.contains_key(id)
            })
            .map(|(id, record)| (*id, record.standing.clone()))
            .collect();
        for (node, standing) in absent {
            if standing == Standing::Unknown && config.fence_daemon.clean_start {
                self.assume_down(node, &config, &standing);
            } else if self.disarmed.is_none() || mutant::is(Mutant::DisarmedIsForgotten) {
                let delay = self.fencing_delay(&standing, joins);
                self.make_victim(node, &standing, delay);
            }
        }
    }

    /// How long a host that is absent in this way is waited for before it is fenced.
    pub(super) fn fencing_delay(&self, standing: &Standing, joins: bool) -> Span {
        let Some(daemon) = self.config.as_ref().map(|config| &config.fence_daemon) else { return DAEMON_GRACE };
        match standing {
            Standing::Unknown => daemon.post_join_delay,
            Standing::Lost { host_alive: true } if mutant::is(Mutant::NoDaemonGrace) => Span::ZERO,
            Standing::Lost { host_alive: true } => daemon.daemon_grace,
            _ if joins => daemon.post_join_delay.max(daemon.post_fail_delay),
            _ => daemon.post_fail_delay,
        }
    }

    fn assume_down(&mut self, node: NodeId, config: &Cluster, standing: &Standing) {
        let text = format!("{} is taken to be off, as clean_start says", self.node_name(node));
        let id = self.note(node_event(EventKind::Fence, Severity::Warning, node, text), None);
        if let Some(proof) = FencedProof::clean_start(config, standing, id) {
            self.stand_down(node, proof, "is taken to be off");
        }
    }

    fn make_victim(&mut self, node: NodeId, standing: &Standing, delay: Span) {
        let name = self.node_name(node);
        let why = match standing {
            Standing::Unknown => "it was not seen since the cluster formed",
            Standing::Lost { host_alive: true } => "its daemon is gone",
            _ => "it was lost without a word",
        };
        let when = if delay.is_zero() { "now".to_owned() } else { format!("in {delay}, unless it comes back") };
        let text = format!("{name} is to be fenced {when}: {why}");
        let record = self.nodes.get(&node);
        let (cause, attempts) = record.map_or((None, 0), |r| (r.last_event, r.fence_attempts));
        let id = self.note(node_event(EventKind::Fence, Severity::Warning, node, text), cause);
        let victim = Victim {
            since: self.time,
            not_before: self.time + delay,
            first_attempt: attempts.saturating_add(1),
            attempt: None,
            failures: 0,
            last_failure: None,
            no_method: false,
            cause: Some(id),
        };
        self.victims.insert(node, victim);
    }

    /// A victim turned out to be in a worse state than thought: its grace ends.
    pub(crate) fn hasten_fencing(&mut self, node: NodeId) {
        let delay = self.config.as_ref().map_or(Span::ZERO, |config| config.fence_daemon.post_fail_delay);
        let soon = self.time + delay;
        if let Some(victim) = self.victims.get_mut(&node) {
            victim.not_before = victim.not_before.min(soon);
        }
    }

    /// A victim came back by itself.
    pub(crate) fn avert_fencing(&mut self, node: NodeId, cause: EventId) {
        if self.victims.remove(&node).is_some() {
            let text = format!("fencing of {} is averted: it is back", self.node_name(node));
            self.note(node_event(EventKind::Fence, Severity::Notice, node, text), Some(cause));
        }
    }

    /// Begins the attempts that are due, and takes over those whose member is gone.
    pub(crate) fn advance_fencing(&mut self) {
        if self.disarmed.is_some() && !mutant::is(Mutant::DisarmedIsForgotten) {
            return;
        }
        let fencers: Vec<NodeId> =
            self.nodes.iter().filter(|(_, r)| r.standing == Standing::Online).map(|(id, _)| *id).collect();
        let due: Vec<NodeId> = self
            .victims
            .iter()
            .filter(|(_, victim)| match &victim.attempt {
                Some(attempt) => !fencers.contains(&attempt.by),
                None => victim.not_before <= self.time,
            })
            .map(|(id, _)| *id)
            .collect();
        for node in due {
            self.begin_attempt(node, &fencers);
        }
    }

    fn begin_attempt(&mut self, node: NodeId, fencers: &[NodeId]) {
        let methods = self.config.as_ref().and_then(|c| c.nodes.get(&node)).map_or(0, |n| n.methods.len());
        let Some(mut victim) = self.victims.remove(&node) else { return };
        let name = self.node_name(node);
        if methods == 0 {
            if !victim.no_method {
                let text = format!(
                    "{name} has no fence method: what it ran stays down until it returns, or until you made sure it is \
                     off and say so with: belay ack-fence {name}"
                );
                self.note(node_event(EventKind::Blocked, Severity::Critical, node, text), victim.cause);
            }
            victim.no_method = true;
            victim.attempt = None;
        } else if !fencers.is_empty() {
            // Each attempt by the next member: the one before may be cut off from the device.
            let by = fencers[(victim.failures as usize) % fencers.len()];
            let time = self.time;
            let record = self.nodes.entry(node).or_insert_with(|| NodeRecord::new(time));
            record.fence_attempts = record.fence_attempts.saturating_add(1);
            let number = record.fence_attempts;
            let nth = victim.nth(number);
            let methods = self.methods_words(node);
            let text = format!("{} fences {name} (attempt {nth}): {methods}", self.node_name(by));
            let id = self.note(node_event(EventKind::Fence, Severity::Warning, node, text), victim.cause);
            victim.no_method = false;
            victim.cause = Some(id);
            victim.attempt = Some(Attempt { number, by, decided: self.index });
            if let Some(proof) = FencedProof::forged(Mutant::StartBeforeFenced, id) {
                self.release(node, proof, "is being fenced");
            }
        }
        self.victims.insert(node, victim);
    }

    /// The methods in order, with their devices: what somebody who looks for the broken one has to know.
    fn methods_words(&self, node: NodeId) -> String {
        let methods = self.config.as_ref().and_then(|config| config.nodes.get(&node)).map(|node| &node.methods);
        let words = methods.into_iter().flatten().map(|method| {
            let devices: Vec<&str> = method.devices.iter().map(|device| device.fence_device.as_str()).collect();
            format!("method {} ({})", method.name, devices.join(", "))
        });
        words.collect::<Vec<_>>().join(", then ")
    }

    /// How far the fencing of a host is, and what a person can do about it.
    pub(super) fn victim_words(&self, node: NodeId) -> Option<String> {
        let victim = self.victims.get(&node)?;
        let name = self.node_name(node);
        let vouch = format!("make sure that it is off, then: belay ack-fence {name}");
        if victim.no_method {
            return Some(format!("no fence method; {vouch}"));
        }
        Some(match (&victim.attempt, &victim.last_failure) {
            _ if self.disarmed.is_some() => "not fenced while the cluster is disarmed".to_owned(),
            (Some(attempt), None) => format!("being fenced by {}", self.node_name(attempt.by)),
            (Some(attempt), Some(failure)) => format!(
                "being fenced by {} (attempt {}); fencing failed {} times: {failure}; to end it by hand, {vouch}",
                self.node_name(attempt.by),
                victim.nth(attempt.number),
                victim.failures
            ),
            (None, Some(failure)) => {
                format!("fencing failed {} times: {failure}; to end it by hand, {vouch}", victim.failures)
            }
            (None, None) => format!("to be fenced in {}", victim.not_before.since(self.time)),
        })
    }

    /// An attempt ended, to fence a host or to switch it on again.
    pub(crate) fn apply_fence_outcome(&mut self, from: NodeId, node: NodeId, number: u32, outcome: &FenceOutcome) {
        match outcome {
            FenceOutcome::Confirmed { method, switch_on } => {
                self.fencing_confirmed(from, node, number, method, switch_on);
            }
            FenceOutcome::Failed { reason } => self.fencing_failed(from, node, number, reason),
            FenceOutcome::SwitchedOn => self.switching_on_ended(from, node, number, None),
            FenceOutcome::StaysOff { reason } => self.switching_on_ended(from, node, number, Some(reason)),
        }
    }

    /// Any attempt of this loss proves it, also one that was given up meanwhile.
    fn fencing_confirmed(&mut self, from: NodeId, node: NodeId, number: u32, method: &str, switch_on: &[u32]) {
        let Some(victim) = self.victims.get(&node).cloned() else { return };
        let tried = self.nodes.get(&node).map_or(0, |record| record.fence_attempts);
        let earlier = number < victim.first_attempt && !mutant::is(Mutant::LateFenceOutcomeProves);
        if earlier || number > tried {
            return;
        }
        let (name, by, took) = (self.node_name(node), self.node_name(from), self.time.since(victim.since));
        let text = format!("{name} is fenced: {by} confirmed it by method {method}, {took} after it was lost");
        let id = self.note(node_event(EventKind::Fence, Severity::Notice, node, text), victim.cause);
        let proof = FencedProof::confirmed(&victim, tried, number, id);
        if let Some(proof) = proof.or_else(|| FencedProof::forged(Mutant::LateFenceOutcomeProves, id)) {
            self.stand_down(node, proof, "was fenced");
            self.owe_switch_on(node, from, method, switch_on, id);
        }
    }

    fn fencing_failed(&mut self, from: NodeId, node: NodeId, number: u32, reason: &str) {
        let Some(victim) = self.victims.get(&node) else { return };
        if victim.attempt.as_ref().map(|attempt| attempt.number) != Some(number) {
            return;
        }
        let (name, by) = (self.node_name(node), self.node_name(from));
        let text = format!("{by} could not fence {name}, trying again in {RETRY_AFTER}: {reason}");
        let id = self.note(node_event(EventKind::Fence, Severity::Error, node, text), victim.cause);
        let not_before = self.time + RETRY_AFTER;
        if let Some(victim) = self.victims.get_mut(&node) {
            victim.attempt = None;
            victim.failures = victim.failures.saturating_add(1);
            victim.not_before = not_before;
            victim.last_failure = Some(reason.to_owned());
            victim.cause = Some(id);
        }
    }

    /// An absent host is proven to run nothing. Whoever vouches for it has it off as it is, so it is not switched on.
    pub(super) fn stand_down(&mut self, node: NodeId, proof: FencedProof, words: &str) {
        self.victims.remove(&node);
        let time = self.time;
        let record = self.nodes.entry(node).or_insert_with(|| NodeRecord::new(time));
        record.standing = Standing::Down(proof.clone());
        record.ended = true;
        record.since = time;
        record.ready = false;
        record.unverified = false;
        record.refused = None;
        record.switch_on = None;
        record.last_event = Some(proof.event());
        self.release(node, proof, words);
    }

    /// Takes from a host all it had: it proved to run nothing.
    // The proof is consumed though its fields are hardly read: to hold one is the permission.
    #[allow(clippy::needless_pass_by_value)]
    pub(super) fn release(&mut self, node: NodeId, proof: FencedProof, words: &str) {
        self.victims.remove(&node);
        let concerned = |record: &ServiceRecord| {
            record.phase.may_run_on(node)
                || record.rivals.contains_key(&node)
                || record.suspects.contains(&node)
                || record.sought.contains(&node)
        };
        let of_it = self.services.iter().filter(|(_, record)| concerned(record));
        let names: Vec<ServiceName> = of_it.map(|(name, _)| name.clone()).collect();
        for name in names {
            self.with_service(&name, |state, record| {
                record.rivals.remove(&node);
                record.suspects.remove(&node);
                state.not_found_on(&name, record, node);
                state.release_service(&name, record, node, &proof, words);
            });
        }
    }

    fn release_service(
        &mut self,
        name: &ServiceName,
        record: &mut ServiceRecord,
        node: NodeId,
        proof: &FencedProof,
        words: &str,
    ) {
        let cause = Cause::Event(proof.event());
        if record.phase.owner() == Some(node) && mutant::is(Mutant::QueueDiesWithOwner) {
            record.queue.clear();
        }
        match record.phase.clone() {
            // It was gone from there before, and where it is now is not proven by this.
            Phase::Started { .. } if record.ended.is_some() => {}
            Phase::Starting { owner } | Phase::Started { owner } if owner == node => {
                let text = format!("ran on {}, which {words}", self.node_name(node));
                self.lost_with_host(name, record, proof, text);
            }
            Phase::Stopping { owner, then } if owner == node => {
                record.epoch = record.epoch.next();
                self.after_stop(name, record, then, cause);
            }
            // It was off, but it is there again, and the migration may have reached it since: it has to be asked.
            Phase::Migrating { to, .. } if to == node && proof.how() == How::NewBoot => {}
            Phase::Migrating { from, to, stage } if from == node || to == node => {
                record.lose_end(LostEnd { node, proof: proof.clone(), words: words.to_owned() }, from);
                self.migration_end_known(name, record, (from, to), stage, node, false);
            }
            _ => {}
        }
    }

    /// A service was lost with its host, which is proven to run nothing: it is to be started elsewhere, whatever its policy
    /// for deaths of its own says.
    pub(super) fn lost_with_host(
        &mut self,
        name: &ServiceName,
        record: &mut ServiceRecord,
        proof: &FencedProof,
        text: String,
    ) {
        record.search = super::service::Search { avoid: record.search.avoid, ..Default::default() };
        let wanted = self.wanted_after_loss(proof.how() == How::Acknowledged);
        record.epoch = record.epoch.next();
        let cause = Cause::Event(proof.event());
        self.enter(name, record, Phase::Stopped { wanted }, Severity::Warning, text, cause);
        record.waiting = self.disarmed_reason().filter(|_| wanted == Wanted::WhenArmed);
    }
}
