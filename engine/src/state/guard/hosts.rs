//! Hosts: who may be fenced (S11), and who may count as running nothing (S2).
//!
//! What is refused here is a decision and not the host: it is fenced when it is really lost, and counts as down when that
//! is really proven.

use super::super::State;
use super::super::fencing::RETRY_AFTER;
use super::super::history::node_event;
use super::super::member::{NodeRecord, Standing};
use super::{Evidence, Invariant, Tripped};
use belay_proto::NodeId;
use belay_proto::history::{EventKind, Severity};

impl State {
    /// Takes back what must not be decided about hosts.
    pub(super) fn guard_hosts(&mut self, evidence: &Evidence<'_>) {
        if !self.victims.is_empty() {
            self.guard_victims(evidence);
        }
        self.guard_proofs(evidence);
    }

    fn guard_victims(&mut self, evidence: &Evidence<'_>) {
        let broken: Vec<(NodeId, String)> =
            self.victims.keys().filter_map(|id| Some((*id, self.wrong_victim(*id)?))).collect();
        for (node, what) in broken {
            let attempt = self.victims.get(&node).and_then(|victim| victim.attempt.as_ref());
            let decided = attempt.map_or_else(
                || "that it is to be fenced".to_owned(),
                |attempt| format!("that {} fences it", self.node_name(attempt.by)),
            );
            if self.nodes.get(&node).is_some_and(NodeRecord::in_view) {
                self.victims.remove(&node);
            } else if let Some(victim) = self.victims.get_mut(&node) {
                victim.attempt = None;
                victim.not_before = self.time + RETRY_AFTER;
            }
            self.refuse(node, evidence, Invariant::S11, what, decided);
        }
    }

    fn wrong_victim(&self, node: NodeId) -> Option<String> {
        let victim = self.victims.get(&node)?;
        if self.nodes.get(&node).is_some_and(NodeRecord::in_view) {
            return Some("it answers, and is to be fenced".into());
        }
        let attempt = victim.attempt.as_ref().filter(|attempt| attempt.decided == self.index)?;
        let fencer = self.nodes.get(&attempt.by).map(|node| &node.standing);
        // Whoever fences is there and stays: so never are all hosts fenced.
        let able = attempt.by != node && fencer == Some(&Standing::Online) && !self.victims.contains_key(&attempt.by);
        (!able).then(|| {
            format!("{} is to fence it, which is not there or to be fenced itself", self.node_name(attempt.by))
        })
    }

    /// A host counts as down by proof only. Whatever would follow later from its being down is stopped here.
    fn guard_proofs(&mut self, evidence: &Evidence<'_>) {
        let newly_down = |(id, standing): (NodeId, &Standing)| {
            let was = matches!(evidence.standing(id), Some(Standing::Down(_)));
            (matches!(standing, Standing::Down(_)) && !was && !evidence.proves(self, id)).then_some(id)
        };
        let unproven: Vec<NodeId> =
            self.nodes.iter().filter_map(|(id, node)| newly_down((*id, &node.standing))).collect();
        for node in unproven {
            let standing = evidence.standing(node).cloned().unwrap_or(Standing::Unknown);
            if let Some(record) = self.nodes.get_mut(&node) {
                record.standing = standing;
            }
            if let Some(victim) = evidence.victims.get(&node) {
                self.victims.insert(node, victim.clone());
            }
            let what = "nothing proves that it runs nothing".to_owned();
            self.refuse(node, evidence, Invariant::S2, what, "that it is down".to_owned());
        }
    }

    fn refuse(&mut self, node: NodeId, evidence: &Evidence<'_>, invariant: Invariant, what: String, decided: String) {
        let before = evidence.standing(node).map_or_else(|| "unknown".to_owned(), standing_words);
        let tripped = Tripped { invariant, entry: self.index, what, before, decided };
        let text = format!("Belay refuses a decision of its own about {}: {}", self.node_name(node), tripped.words());
        let cause = self.nodes.get(&node).and_then(|record| record.last_event);
        self.note(node_event(EventKind::Guard, Severity::Critical, node, text), cause);
        if let Some(record) = self.nodes.get_mut(&node) {
            record.refused = Some(tripped);
        }
    }
}

fn standing_words(standing: &Standing) -> String {
    match standing {
        Standing::Unknown => "not seen since the cluster formed",
        Standing::Online => "online",
        Standing::Leaving { .. } => "leaving",
        Standing::Lost { .. } => "lost",
        Standing::Down(_) => "down",
        Standing::Left { .. } => "gone on purpose",
    }
    .into()
}
