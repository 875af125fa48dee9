//! Numbers that neither side of a split has used (design S9).
//!
//! With `two_node` each of two hosts that are apart goes on alone, and both count on from where they were: questions, epochs,
//! attempts to fence. When they meet, one state prevails, and what the other side has numbered is still on its way: an
//! outcome that is proposed again, an answer that an executor believes to have given. Under a number that means something
//! else by now it would be believed. So whatever is decided after they met is numbered beyond anything that either can have
//! reached: by the term, which no side has had before.

use super::State;
use belay_proto::OwnershipEpoch;

/// More than this is not decided about one service, and no more is asked, within the terms from one meeting to the next.
const OF_A_TERM: u64 = 1 << 20;
/// More attempts to fence one host are not made: it is hours of them.
const ATTEMPTS_OF_A_TERM: u64 = 1 << 12;

impl State {
    /// The number of a question to all members. Each is one of its term: a member that takes this state over may have been
    /// asked under another, and would take a number it knows for a question that it has answered.
    pub(crate) fn next_question(&self) -> u64 {
        self.inquiry.saturating_add(1).max(self.term.0.saturating_mul(OF_A_TERM))
    }

    /// A member comes from the other side of a split.
    pub(crate) fn count_past_the_other_side(&mut self) {
        let epoch = OwnershipEpoch(self.term.0.saturating_mul(OF_A_TERM));
        let attempts = u32::try_from(self.term.0.saturating_mul(ATTEMPTS_OF_A_TERM)).unwrap_or(u32::MAX / 2);
        let index = self.index;
        // Not a decision that the guards could judge: everything stays as it was, under another number.
        self.services.change_each(|_, record| {
            if record.epoch < epoch {
                (record.epoch, record.decided) = (epoch, index);
            }
        });
        for node in self.nodes.values_mut() {
            node.fence_attempts = node.fence_attempts.max(attempts);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::service::{AfterStop, Phase};
    use crate::state::two_hosts::{CONF, ONE, TWO, apply, meet};
    use belay_proto::entry::{FenceOutcome, Request, What, WorkOutcome};
    use belay_proto::{NodeId, ServiceName};

    fn a() -> ServiceName {
        "vm:a".parse().unwrap()
    }

    fn lists(state: &mut State, node: NodeId, running: &[&str]) {
        let running = running.iter().map(|name| (*name).parse().unwrap()).collect();
        apply(state, node, What::Inventory { boot: format!("boot{node}").parse().unwrap(), running });
    }

    fn disable(state: &mut State, id: &str) {
        let request = Request::Disable { service: a() };
        apply(state, ONE, What::Request { id: id.parse().unwrap(), by: "root".into(), request });
    }

    /// Two hosts in one view; the second has the VM.
    fn cluster() -> State {
        let mut state = State::new();
        meet(&mut state, 1, &[(ONE, 1), (TWO, 1)], None);
        apply(&mut state, ONE, What::Config { text: CONF.into() });
        lists(&mut state, ONE, &[]);
        lists(&mut state, TWO, &["a"]);
        assert_eq!(state.service(&a()).unwrap().phase, Phase::Started { owner: TWO });
        state
    }

    #[test]
    fn a_host_that_takes_over_the_state_of_the_other_side_is_asked_anew_what_it_runs() {
        let (mut one, mut two) = (cluster(), cluster());
        // As many views for either, but the first has promised more terms, and prevails.
        meet(&mut one, 7, &[(ONE, 1)], None);
        meet(&mut two, 3, &[(TWO, 2)], None);
        meet(&mut two, 4, &[(TWO, 3)], None);
        meet(&mut one, 8, &[(ONE, 1), (TWO, 3)], Some(TWO));
        let asked = |state: &State| state.assignments(TWO, state.index()).inventory_wanted;
        assert!(asked(&one).is_some() && asked(&two).is_some());
        assert_ne!(asked(&one), asked(&two), "it would hold the question for one that it has answered");
    }

    #[test]
    fn an_outcome_of_the_side_that_did_not_prevail_counts_for_nothing() {
        let (mut one, mut two) = (cluster(), cluster());
        meet(&mut two, 3, &[(TWO, 1)], None);
        disable(&mut two, "r1");
        let stopped = two.service(&a()).unwrap().clone();
        let then = AfterStop::Disable { even_if_failed: false };
        assert_eq!(stopped.phase, Phase::Stopping { owner: TWO, then });
        // There it was stopped and enabled again; here nobody knows of that.
        meet(&mut one, 7, &[(ONE, 1)], None);
        meet(&mut one, 8, &[(ONE, 1), (TWO, 1)], Some(TWO));
        lists(&mut one, TWO, &["a"]);
        disable(&mut one, "r2");
        apply(&mut one, TWO, What::Outcome { service: a(), epoch: stopped.epoch, outcome: WorkOutcome::Stopped });
        assert_eq!(one.service(&a()).unwrap().phase, Phase::Stopping { owner: TWO, then }, "it may run still");
    }

    #[test]
    fn a_proof_of_the_side_that_did_not_prevail_proves_nothing_later() {
        let mut one = cluster();
        meet(&mut one, 7, &[(ONE, 1)], None);
        meet(&mut one, 8, &[(ONE, 1), (TWO, 1)], Some(TWO));
        lists(&mut one, TWO, &["a"]);
        meet(&mut one, 9, &[(ONE, 1)], None);
        apply(&mut one, ONE, What::Tick);
        let attempt = one.victims().find_map(|(_, victim)| Some(victim.attempt.as_ref()?.number)).unwrap();
        let confirmed = |attempt| {
            let outcome = FenceOutcome::Confirmed { method: "m".into(), switch_on: Vec::new() };
            What::FenceOutcome { victim: TWO, attempt, outcome }
        };
        for late in 1..20 {
            apply(&mut one, ONE, confirmed(late));
        }
        assert!(one.victims().next().is_some(), "those were attempts of somebody else");
        apply(&mut one, ONE, confirmed(attempt));
        assert!(one.victims().next().is_none());
    }
}
