//! What a majority has on disk. Nothing is acted on and nothing is answered before (design S5): whatever quorate view
//! comes next, one of its members knows of it.

use super::{Action, History, Node};
use crate::mutant::{self, Mutant};
use crate::state::State;
use belay_proto::history::Severity;
use belay_proto::ring::{RingMessage, RoundId};
use belay_proto::{Index, NodeId};
use std::collections::BTreeMap;

/// Who has what on disk.
#[derive(Debug)]
pub(super) struct Commit {
    history: History,
    /// The last entry on this host's own disk.
    mine: Index,
    /// What members of the round have said.
    members: BTreeMap<NodeId, Index>,
    committed: Index,
}

impl Commit {
    pub(super) fn new(persisted: Index) -> Self {
        Self { history: History::default(), mine: persisted, members: BTreeMap::new(), committed: Index(0) }
    }

    pub(super) fn committed(&self) -> Index {
        self.committed
    }

    pub(super) fn history(&self) -> History {
        self.history
    }

    pub(super) fn new_round(&mut self, members: &[NodeId]) {
        self.members = members.iter().map(|id| (*id, Index(0))).collect();
    }

    /// The state was replaced by a peer's: what this host has on disk counts for nothing until it says so again.
    pub(super) fn taken_over(&mut self) {
        self.history.0 += 1;
        self.mine = Index(0);
        self.committed = Index(0);
    }

    /// The greatest index that members with enough votes have reached. What is older than the present term counts only
    /// together with its view: until a majority has that, a term between the two may come back with one of its members,
    /// and is the more advanced one.
    fn count(&mut self, votes: impl Fn(NodeId) -> u32, needed: Needed, opened: Index) {
        let mut reached: Vec<(Index, u32)> = self.members.iter().map(|(id, index)| (*index, votes(*id))).collect();
        reached.sort_unstable_by_key(|(index, _)| std::cmp::Reverse(*index));
        let mut sum = 0;
        for (position, (index, vote)) in reached.iter().enumerate() {
            sum += vote;
            let enough = match needed {
                Needed::All => position + 1 == reached.len(),
                Needed::Votes(votes) => sum >= votes,
            };
            if enough {
                if *index >= opened || mutant::is(Mutant::FormerTermCounts) {
                    self.committed = self.committed.max(*index);
                }
                return;
            }
        }
    }
}

/// Who must have an entry.
#[derive(Clone, Copy)]
enum Needed {
    /// Every member of the view: before there is a configuration, and with `two_node`, where one member is a quorum and
    /// so a majority would not meet the next quorum.
    All,
    /// Members with this many votes.
    Votes(u32),
}

impl Node {
    /// The store has written up to here.
    pub(super) fn persisted(&mut self, history: History, index: Index) {
        if self.disk_trouble.take().is_some() {
            self.log(Severity::Notice, "the store can be written again");
        }
        // What was on its way to the disk when the state was replaced does not count for the new one.
        if history == self.commit.history && index <= self.state.index() {
            self.commit.mine = self.commit.mine.max(index);
        }
        self.acknowledge();
    }

    pub(super) fn persist_failed(&mut self, reason: String) {
        if self.disk_trouble.as_ref() != Some(&reason) {
            let text = format!("the store cannot be written; nothing is acknowledged until it can: {reason}");
            self.log(Severity::Critical, text);
        }
        self.disk_trouble = Some(reason);
    }

    /// Tells the others what this host has on disk.
    pub(super) fn acknowledge(&mut self) {
        let Some(id) = self.sync.joined().and_then(|round| round.id) else { return };
        let index = if mutant::is(Mutant::AckBeforeDisk) { self.state.index() } else { self.commit.mine };
        self.actions.push(Action::Propose(RingMessage::Persisted { round: id, index }));
    }

    pub(super) fn peer_persisted(&mut self, from: NodeId, round: RoundId, index: Index) {
        if self.round().and_then(|round| round.id) != Some(round) {
            return;
        }
        if let Some(reached) = self.commit.members.get_mut(&from) {
            *reached = (*reached).max(index);
        }
        if !self.quorate && !mutant::is(Mutant::FormerTermCounts) {
            return;
        }
        let needed = self.needed();
        let votes = |id| votes_of(&self.state, id);
        self.commit.count(votes, needed, self.opened);
    }

    fn needed(&self) -> Needed {
        match self.state.config() {
            Some(config) if !config.two_node => Needed::Votes(config.quorum()),
            _ => Needed::All,
        }
    }

    /// Whether these are so many members of the round that every quorate view to come has one of them.
    pub(super) fn enough(&self, nodes: &[NodeId]) -> bool {
        match self.needed() {
            Needed::All => self.sync.members().iter().all(|id| nodes.contains(id)),
            Needed::Votes(needed) => nodes.iter().map(|id| votes_of(&self.state, *id)).sum::<u32>() >= needed,
        }
    }
}

fn votes_of(state: &State, id: NodeId) -> u32 {
    state.config().and_then(|config| config.nodes.get(&id)).map_or(0, |node| node.votes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn commit(reached: &[(u32, u64)]) -> Commit {
        let mut commit = Commit::new(Index(0));
        commit.members = reached.iter().map(|(id, index)| (NodeId(*id), Index(*index))).collect();
        commit
    }

    #[test]
    fn an_entry_counts_when_members_with_enough_votes_have_it() {
        let mut three = commit(&[(1, 9), (2, 7), (3, 0)]);
        three.count(|_| 1, Needed::Votes(2), Index(5));
        assert_eq!(three.committed(), Index(7));
    }

    #[test]
    fn what_is_older_than_the_term_counts_only_together_with_the_terms_view() {
        let mut three = commit(&[(1, 9), (2, 7), (3, 0)]);
        three.count(|_| 1, Needed::Votes(2), Index(8));
        assert_eq!(three.committed(), Index(0));
        three.members.insert(NodeId(3), Index(8));
        three.count(|_| 1, Needed::Votes(2), Index(8));
        assert_eq!(three.committed(), Index(8));
    }

    #[test]
    fn taking_over_a_history_forgets_what_the_disk_had_of_the_former_one() {
        let mut commit = Commit::new(Index(9));
        let before = commit.history();
        commit.taken_over();
        assert_ne!(commit.history(), before);
        assert_eq!((commit.mine, commit.committed()), (Index(0), Index(0)));
    }

    #[test]
    fn in_a_cluster_of_two_both_must_have_it_while_both_are_there() {
        let mut both = commit(&[(1, 9), (2, 4)]);
        both.count(|_| 1, Needed::All, Index(1));
        assert_eq!(both.committed(), Index(4));
        let mut alone = commit(&[(1, 9)]);
        alone.count(|_| 1, Needed::All, Index(1));
        assert_eq!(alone.committed(), Index(9));
    }

    #[test]
    fn a_member_without_votes_does_not_help() {
        let mut with_guest = commit(&[(1, 9), (2, 0), (9, 9)]);
        with_guest.count(|id| u32::from(id.0 < 9), Needed::Votes(2), Index(1));
        assert_eq!(with_guest.committed(), Index(0));
    }
}
