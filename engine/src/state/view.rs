//! A new quorate view: who came, who went, and who goes on purpose.

use super::State;
use super::history::{Cause, event, node_event};
use super::member::Standing;
use super::service::{AfterStop, Phase, Wanted};
use crate::mutant::{self, Mutant};
use belay_proto::entry::View;
use belay_proto::history::{EventKind, Severity};
use belay_proto::{Incarnation, NodeId, ServiceName, Term};

impl State {
    /// Opens a term: the cluster is quorate with these members.
    pub(crate) fn apply_view(&mut self, view: &View) {
        self.term = view.term.max(Term(self.term.0.saturating_add(1)));
        self.rounds.insert(self.term, view.round);
        let names: Vec<String> = view.members.iter().map(|member| self.node_name(member.node)).collect();
        let text = format!("quorate with {} (ring {}, term {})", names.join(", "), view.ring, self.term);
        self.note(event(EventKind::Quorum, Severity::Notice, text), None);
        self.view = Some(view.clone());
        let resumed = view.members.iter().any(|member| self.stays(member));
        let joins = view.members.iter().any(|member| !self.stays(member));
        let in_view = |id: &NodeId| view.members.iter().any(|member| member.node == *id);
        let gone: Vec<NodeId> =
            self.nodes.iter().filter(|(id, record)| record.in_view() && !in_view(id)).map(|(id, _)| *id).collect();
        for node in gone {
            self.member_gone(node, view.hosts.contains(&node));
        }
        if !resumed {
            self.doubt_proofs(view);
            self.hold_starts(view);
            if mutant::is(Mutant::DisabledForgottenInPowerLoss) {
                self.change_each(|record| {
                    if record.phase == Phase::Disabled {
                        record.phase = Phase::Stopped { wanted: Wanted::Now };
                    }
                });
            }
        }
        self.note_hosts(&view.hosts);
        if view.members.iter().any(|member| member.diverged) {
            self.count_past_the_other_side();
        }
        for member in &view.members {
            self.member_in_view(member);
        }
        self.inquire();
        self.forget_sought();
        self.migrations_after_view();
        self.want_stopped_again();
        self.judge_absent(joins);
    }

    /// With `two_node` a state that nobody carried on may be an old one: the other host may have been back since it was
    /// proven down, and have gone on alone. What was proven of an absent host then has to be proven again.
    fn doubt_proofs(&mut self, view: &View) {
        if !self.config.as_ref().is_some_and(|config| config.two_node) {
            return;
        }
        let absent = |id: &NodeId| !view.members.iter().any(|member| member.node == *id);
        let proven: Vec<NodeId> = self
            .nodes
            .iter()
            .filter(|(id, record)| absent(id) && matches!(record.standing, Standing::Down(_) | Standing::Left { .. }))
            .map(|(id, _)| *id)
            .collect();
        for node in proven {
            let host_alive = view.hosts.contains(&node);
            let text =
                format!("{} may have been back since it was last seen; nothing is known of it", self.node_name(node));
            self.set_standing(node, Standing::Lost { host_alive }, Severity::Warning, text);
        }
    }

    /// What such an old state has a member start, the other host may have started since, and may run still. It may as well
    /// run here already, so it does not count as stopped: its start waits until the other host is back or proven down.
    fn hold_starts(&mut self, view: &View) {
        let Some(config) = self.config.as_ref().filter(|config| config.two_node) else { return };
        let here = |id: &NodeId| view.members.iter().any(|member| member.node == *id);
        let absent: Vec<NodeId> = config.nodes.keys().filter(|id| !here(id)).copied().collect();
        if absent.is_empty() || mutant::is(Mutant::OldStateStarts) {
            return;
        }
        let starts_here = |phase: &Phase| matches!(phase, Phase::Starting { owner } if here(owner));
        let starting = self.services.restless().filter(|(_, record)| starts_here(&record.phase));
        for name in starting.map(|(name, _)| name.clone()).collect::<Vec<_>>() {
            self.with_service(&name, |state, record| {
                record.suspects.extend(&absent);
                let text = "its start waits: the other host may have it since this one was last here".to_owned();
                state.note_service(
                    &name,
                    record,
                    event(EventKind::Blocked, Severity::Warning, text.clone()),
                    Cause::Root,
                );
                record.waiting = Some(text);
            });
        }
    }

    /// A stop by hand lasts until the membership changes (rgmanager.md §2: stopped is temporary).
    fn want_stopped_again(&mut self) {
        self.change_each(|record| {
            if record.phase == (Phase::Stopped { wanted: Wanted::AtNextView }) {
                record.phase = Phase::Stopped { wanted: Wanted::Now };
            }
        });
    }

    /// A host whose daemon is away on purpose, or dead on a living host, may meanwhile have died itself.
    fn note_hosts(&mut self, hosts: &[NodeId]) {
        let dead: Vec<NodeId> = self
            .nodes
            .iter()
            .filter(|(id, record)| {
                let believed_alive =
                    matches!(record.standing, Standing::Lost { host_alive: true } | Standing::Left { stopped: false });
                believed_alive && !hosts.contains(id)
            })
            .map(|(id, _)| *id)
            .collect();
        for node in dead {
            let text = format!("{} is lost; its VMs may still run", self.node_name(node));
            self.set_standing(node, Standing::Lost { host_alive: false }, Severity::Error, text);
            self.hasten_fencing(node);
        }
    }

    /// A member announced that it will leave.
    pub(crate) fn apply_leave(&mut self, from: NodeId, stopped: bool) {
        if !self.nodes.get(&from).is_some_and(super::member::NodeRecord::in_view) {
            return;
        }
        let name = self.node_name(from);
        let text = if stopped {
            format!("{name} is leaving; its VMs are stopped and started elsewhere first")
        } else {
            format!("{name} is leaving; its VMs keep running there")
        };
        self.set_standing(from, Standing::Leaving { stopped }, Severity::Notice, text);
    }

    /// Services on members that leave with everything stopped are stopped there, to be started elsewhere.
    pub(crate) fn drain_leaving(&mut self) {
        let leaving = self.nodes.iter().filter(|(_, node)| node.standing == Standing::Leaving { stopped: true });
        let mut to_stop: Vec<(ServiceName, NodeId)> = leaving
            .flat_map(|(id, _)| self.services.on(*id))
            .filter(|(_, record)| !record.frozen)
            .filter_map(|(name, record)| match record.phase {
                Phase::Started { owner } => Some((name.clone(), owner)),
                // A start that waits for another host may wait for longer than anybody would for this one to leave.
                Phase::Starting { owner } if record.suspects.iter().any(|other| *other != owner) => {
                    Some((name.clone(), owner))
                }
                _ => None,
            })
            .collect();
        to_stop.sort();
        for (name, owner) in to_stop {
            self.with_service(&name, |state, record| {
                let then = AfterStop::Start { wish: None, avoid: Some(owner) };
                state.stop_at(&name, record, owner, then);
            });
        }
    }

    /// Whether a member that is leaving has nothing left to wait for.
    #[must_use]
    pub fn may_leave(&self, me: NodeId) -> bool {
        match self.nodes.get(&me).map(|node| &node.standing) {
            // One that has failed is waited for by nobody: it takes an administrator, who may be asleep.
            Some(Standing::Leaving { stopped: true }) => {
                !self.services.on(me).any(|(_, record)| !record.frozen && !matches!(record.phase, Phase::Failed { .. }))
            }
            Some(Standing::Leaving { stopped: false }) => true,
            _ => false,
        }
    }

    /// A member of the ring has not been heard of: its daemon counts as dead on a living host.
    pub(crate) fn apply_silent(&mut self, node: NodeId, incarnation: Incarnation) {
        let Some(record) = self.nodes.get(&node) else { return };
        if record.standing != Standing::Online || record.incarnation != Some(incarnation) {
            return;
        }
        let text = format!("the daemon on {} does not answer, though it is in the ring", self.node_name(node));
        self.set_standing(node, Standing::Lost { host_alive: true }, Severity::Warning, text);
        self.judge_absent(false);
    }

    /// A member that was held for silent proposes again: it is alive after all.
    pub(crate) fn note_alive(&mut self, node: NodeId) {
        let Some(record) = self.nodes.get_mut(&node) else { return };
        let in_view = self.view.as_ref().is_some_and(|view| view.members.iter().any(|m| m.node == node));
        if !in_view || !matches!(record.standing, Standing::Lost { .. }) {
            return;
        }
        record.standing = Standing::Online;
        record.since = self.time;
        self.inquire();
        let text = format!("the daemon on {} answers again", self.node_name(node));
        let id = self.note(node_event(EventKind::Member, Severity::Notice, node, text), None);
        if !mutant::is(Mutant::FenceWhoAnswers) {
            self.avert_fencing(node, id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::two_hosts::{CONF, ONE, TWO, apply, meet};
    use belay_proto::entry::{FenceOutcome, What};

    fn standing_of_two(state: &State) -> &Standing {
        &state.node(TWO).unwrap().standing
    }

    #[test]
    fn with_two_nodes_a_proof_does_not_outlive_the_daemon_that_could_have_seen_the_other_come_back() {
        let mut state = State::new();
        meet(&mut state, 1, &[(ONE, 1), (TWO, 1)], None);
        apply(&mut state, ONE, What::Config { text: CONF.into() });
        meet(&mut state, 2, &[(ONE, 1)], None);
        apply(&mut state, ONE, What::Tick);
        let outcome = FenceOutcome::Confirmed { method: "m".into(), switch_on: Vec::new() };
        apply(&mut state, ONE, What::FenceOutcome { victim: TWO, attempt: 1, outcome });
        meet(&mut state, 3, &[(ONE, 1)], None);
        assert!(matches!(standing_of_two(&state), Standing::Down(_)), "the same daemon has seen all of it");
        meet(&mut state, 4, &[(ONE, 2)], None);
        assert_eq!(standing_of_two(&state), &Standing::Lost { host_alive: false });
    }
}
